"""In which formats a black box multiplies, adds and answers, found before its order is.

A number 1 + 2^-k against -1 leaves 2^-k if the operand keeps so many bits. For sums, 2^-k goes in with 1 and -1 at
three terms, in each of three turns: two of three terms meet first, and in one of the turns these are 2^-k and 1. The
output is told by the answers themselves: drawn sums, all of which it holds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..arithmetic import ACCUMULATE, FORMATS, Format, round_to
from ..arithmetic.arithmetic import accumulates
from ..arithmetic.formats import Array
from ..errors import InputError
from .black_box import BlackBox, NoTreeError
from .sum_formats import SumFormats

TRIPLES = 6  # of terms that tell the format of sums; half of them drawn, half of them neighbours
LARGE = 14  # the exponent at which sums are asked: so that little of it lies in the range of float16
DEEPEST = 38  # bits below it, still in that range
BY_WIDTH = sorted(FORMATS.values(), key=lambda format_: (format_.precision, format_.emax))


def with_formats(box: BlackBox, seed: int = 0) -> BlackBox:
    """The box with its own formats, given one in the formats of what is sent to it and comes back.

    A bias that joins only when the sum has been rounded to a narrower output is no term of it; it is left out of the
    box, which says so. Raises NoTreeError for formats that are unknown, or not the same in all parts of the sum.
    """
    if box.terms - box.bias < 3:
        return box  # too few terms to ask, and nothing to round
    sums, output = kept_by_sums(box, seed), kept_by_output(box, seed)
    weights = kept_by_weights(box)
    inputs = kept_by_inputs(box) if box.products else weights
    if inputs != weights:
        raise NoTreeError(f"weights are rounded to {weights.name}, inputs to {inputs.name}: no known formats")
    try:
        formats = SumFormats(weights.name, sums.name, output.name, is_cut(box, sums, output))
    except InputError as error:
        raise NoTreeError(f"formats that fit no known sum: {error}") from error
    found = replace(box, formats=formats)
    if box.bias and output.precision < sums.precision and is_bias_after(found):
        wide = kept_with_bias(found)
        formats = replace(formats, with_bias=wide.name if wide != output and accumulates(wide, output) else "")
        return _without_bias(replace(found, formats=formats))
    return found


def kept_by_weights(box: BlackBox) -> Format:
    """The format to which weights are rounded."""
    bits = _bits(box)
    weights = np.zeros((bits + 1, box.terms), box.working)
    weights[:bits, 0], weights[:bits, 1] = 1 + 2.0 ** -np.arange(1.0, bits + 1), -1
    weights[bits, :2] = 2.0**16, -(2.0**16)
    left = box.ask_all(weights)
    return _operands("weights", int((left[:bits] != 0).sum()), bool(np.isfinite(left[bits])))


def kept_by_inputs(box: BlackBox) -> Format:
    """The format to which inputs are rounded: the same questions, asked of as many terms as there are."""
    bits, found = _bits(box), 0
    last = box.terms - box.bias - 1
    for start in range(0, bits, last):
        some = np.arange(start, min(bits, start + last))
        inputs, weights = np.ones(box.terms, box.working), np.zeros((len(some), box.terms), box.working)
        inputs[some - start] = 1 + 2.0 ** -(some + 1.0)
        weights[np.arange(len(some)), some - start], weights[:, last] = 1, -1
        found += int((box.ask_all(weights, inputs) != 0).sum())
    inputs, weights = np.ones(box.terms, box.working), np.zeros((1, box.terms), box.working)
    inputs[:2], weights[0, :2] = 2.0**16, [2.0**-14, -(2.0**-14)]
    return _operands("inputs", found, bool(np.isfinite(box.ask(weights, inputs)[0])))


def _bits(box: BlackBox) -> int:
    """Fraction bits of what can be sent."""
    return box.formats.operand.precision - 1


def _operands(what: str, bits: int, wide: bool) -> Format:
    for format_ in BY_WIDTH:
        if format_.precision == bits + 1 and (format_.emax > FORMATS["float16"].emax) == wide:
            return format_
    raise NoTreeError(f"{what} keep {bits + 1} significand bits, as no known format does")


def kept_by_sums(box: BlackBox, seed: int = 0) -> Format:
    """The format in which sums grow: all parts of it that lose anything lose the same bits."""
    factors, deepest = box.terms - box.bias, min(DEEPEST, 2 * _bits(box))
    rng = np.random.default_rng(seed)
    kept = set()
    for number in range(TRIPLES):
        near = rng.integers(factors - 2) + np.arange(3)
        terms = near if number % 2 else rng.choice(factors, 3, replace=False)
        numbers = np.zeros((3, deepest, 3))
        numbers[..., 0], numbers[..., 1] = 2.0**LARGE, -(2.0**LARGE)
        numbers[..., 2] = 2.0 ** (LARGE - np.arange(1, deepest + 1))
        weights = np.zeros((3 * deepest, box.terms), box.working)
        for turn in range(3):
            weights[turn * deepest : (turn + 1) * deepest, terms] = np.roll(numbers[turn], turn, axis=-1)
        left = box.ask_all(weights).reshape(3, deepest)
        kept.add(int((left != 0).sum(1).min()) + 1)
    known = {NARROWEST[bits] for bits in kept if bits in NARROWEST}
    lost = kept - NARROWEST.keys() - {deepest + 1}  # terms that meet in one fused sum lose nothing
    if lost or len(known) > 1:
        raise NoTreeError(
            f"sums keep {', '.join(map(str, sorted(kept)))} significand bits: not in one format, or not of "
            "rounded additions alone (perhaps compensated)"
        )
    return known.pop() if known else WIDEST


NARROWEST = {FORMATS[name].precision: FORMATS[name] for name in ACCUMULATE if name in FORMATS}
WIDEST = NARROWEST[max(NARROWEST)]


def kept_by_output(box: BlackBox, seed: int = 0) -> Format:
    """The narrowest format that holds all of some answers, one of them beyond the range of float16 if that is kept."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((33, box.terms), box.working)
    weights[:32, : box.terms - box.bias] = rng.standard_normal((32, box.terms - box.bias))
    weights[32, :3] = 2.0**15
    return narrowest(box.ask_all(weights))


def narrowest(numbers: Array) -> Format:
    """The narrowest format that holds all of these."""
    for format_ in BY_WIDTH:
        if np.array_equal(np.asarray(round_to(numbers, format_), np.float64), numbers):
            return format_
    raise AssertionError("what comes back is a number of some format")


def is_cut(box: BlackBox, sums: Format, output: Format) -> bool:
    """Whether 1 and three quarters of the last place of a narrower output come back as 1."""
    weights = np.zeros((1, box.terms), box.working)
    weights[0, :2] = 1, 1.5 * output.unit_roundoff
    return box.divisor == 1 and output.precision < sums.precision and bool(box.ask(weights)[0] == 1)


def is_bias_after(box: BlackBox) -> bool:
    """Whether a bias of -1 finds 1 where the sum is 1 and a little more, which the output does not hold."""
    weights = np.zeros((1, box.terms), box.working)
    weights[0, [0, 1, -1]] = 1, 2.0 ** -(box.formats.out.precision + 1), -1
    return not box.ask(weights)[0]


def kept_with_bias(box: BlackBox) -> Format:
    """The narrowest format that holds a finished sum with what was added to it."""
    weights = np.zeros((33, box.terms), box.working)
    weights[:32, 0], weights[:32, -1] = 1, np.random.default_rng(0).standard_normal(32)
    weights[32, :3] = 2.0**15  # beyond the range of float16
    return narrowest(box.ask_all(weights))


def _without_bias(box: BlackBox) -> BlackBox:
    place = "narrowed" if box.formats.with_bias else "stored"

    def sum_of(weights: Array, inputs: Array) -> Array:
        nothing = np.zeros((len(weights), 1), weights.dtype)
        return box.sum_of(np.hstack([weights, nothing]), np.append(inputs, inputs[:1]))

    return replace(box, sum_of=sum_of, terms=box.terms - 1, bias=False, bias_after=place)
