"""Which arithmetics are timed, what they are called, and what each is compared to.

A name is `PRECISION[/ACCUMULATE] ORDER[/no-fma]`, such as `bfloat16/bfloat16 pairwise:8` or `float32 reversed/no-fma`.
The accumulate format is named where it is not the precision's own, fma where an order that could use it does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product

from ..arithmetic import FORMATS, PRECISIONS, Arithmetic
from ..errors import InputError

BASE = "float32 sequential"
"""What the peers are held against."""

WIDE_BASE = "float64 sequential"

TRUTH = "certified"
"""What errors are measured from: logits of which refnet.certify has proven every bit of a float64."""

DEFAULT_ORDERS = (
    *("sequential", "sequential/no-fma", "reversed", "permuted:0", "blocks:512", "lanes:16", "pairwise:8"),
    *("pairwise:1/no-fma", "kahan", "neumaier", "dot2", "exact"),
)
PURE = ("float16/float16", "bfloat16/bfloat16")  # accumulation in the narrow format itself
NO_FMA = "no-fma"


def default_precisions() -> tuple[str, ...]:
    return (*PRECISIONS, *PURE)


def parse(name: str) -> Arithmetic:
    """The arithmetic of a name. Raises InputError for a name that is none or has no meaning."""
    formats, _, order = name.partition(" ")
    precision, _, accumulate = formats.partition("/")
    order, _, fused = order.partition("/")
    if fused not in ("", NO_FMA) or not order:
        raise InputError(f"arithmetic {name!r}", expected=f"PRECISION[/ACCUMULATE] ORDER[/{NO_FMA}]")
    return Arithmetic(precision, accumulate or None, order, False if fused else None)


def label(arithmetic: Arithmetic) -> str:
    """The name that `parse` reads."""
    formats = arithmetic.precision
    if arithmetic.accumulate != Arithmetic(arithmetic.precision).accumulate:
        formats += f"/{arithmetic.accumulate}"
    return f"{formats} {arithmetic.order}" + ("" if arithmetic == _usual(arithmetic) else f"/{NO_FMA}")


def reference(arithmetic: Arithmetic) -> Arithmetic | None:
    """What an arithmetic's time is divided by; None for BASE.

    Another order: sequential in the same formats, with the same fma where the order knows one. Sequential without fma:
    with it. Another format: BASE, or WIDE_BASE for sums wider than float64.
    """
    plain = arithmetic.summation.chain == "plain"
    sequential = replace(arithmetic, order="sequential", fma=arithmetic.fma if plain else None)
    if arithmetic != sequential:
        return sequential
    if arithmetic != _usual(arithmetic):
        return _usual(arithmetic)
    above = parse(WIDE_BASE if arithmetic.sums.precision > FORMATS["float64"].precision else BASE)
    return None if arithmetic == above else above


def arithmetics(precisions: Iterable[str], orders: Iterable[str]) -> tuple[Arithmetic, ...]:
    """Every precision with every order that has a meaning in it, after the references that they need; each once.

    Raises InputError for a precision or an order that has no meaning with any of the others.
    """
    found: dict[tuple[str, str], Arithmetic] = {}
    without: dict[tuple[str, str], InputError] = {}
    for pair in product(precisions, orders):
        try:
            found[pair] = parse(" ".join(pair))
        except InputError as error:
            without[pair] = error
    used = {name for pair in found for name in pair}
    for pair, reason in without.items():
        if not used.issuperset(pair):
            raise reason
    return with_references(found.values())


def with_references(chosen: Iterable[Arithmetic]) -> tuple[Arithmetic, ...]:
    return tuple(dict.fromkeys(needed for arithmetic in chosen for needed in _upwards(arithmetic)))


def _upwards(arithmetic: Arithmetic) -> Iterator[Arithmetic]:
    above = reference(arithmetic)
    if above is not None:
        yield from _upwards(above)
    yield arithmetic


def _usual(arithmetic: Arithmetic) -> Arithmetic:
    """The same with fma wherever it has a meaning."""
    return replace(arithmetic, fma=None)
