"""Trees of additions, evaluated while their text is read: (0..3)+({(4),5..6}@bfloat16~zero,7)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import reduce
from itertools import chain, repeat

from .numbers import FORMATS, ZERO, Number, floor_log2, is_negative, round_to, signed
from .operations import add, exact_product, exact_sum, fma, multiply

TOKENS = re.compile(r"[({+,]|\)|\}[@~\w]*|\d+(?:\.\.\d+)?(?:/\d+)?")


def tree(text: str, terms: Sequence[tuple[Number, Number]], start: Number, format: str, fused: bool) -> Number:
    """The value of the text; `start` begins the first chain, the others begin with +0."""
    tokens = iter(TOKENS.findall(text))
    return Evaluation(terms, chain([start], repeat(ZERO)), format, fused).sum(tokens)[0]


class Evaluation:
    def __init__(
        self, terms: Sequence[tuple[Number, Number]], starts: Iterator[Number], format: str, fused: bool
    ) -> None:
        self.terms, self.starts, self.format, self.fused = terms, starts, format, fused

    def sum(self, tokens: Iterator[str], opening: str | None = None) -> tuple[Number, str]:
        """x + y + ... and the token behind it."""
        value, behind = self.node(opening or next(tokens), tokens), next(tokens, "")
        while behind == "+":
            value = add(value, self.node(next(tokens), tokens), self.format)
            behind = next(tokens, "")
        return value, behind

    def node(self, opening: str, tokens: Iterator[str]) -> Number:
        token = next(tokens)
        if token in "({":
            value, token = self.sum(tokens, token)
        else:
            value = next(self.starts)
        leaves: list[int] = []
        while token[0] not in ")}":
            leaves += [] if token == "," else leaves_of(token)
            token = next(tokens)
        products = [self.terms[k] for k in leaves]
        if opening == "{":
            return rounded(reduce(exact_sum, (exact_product(a, b) for a, b in products), value), token[1:], self.format)
        for a, b in products:
            step = fma(a, b, value, self.format)
            value = step if self.fused else add(value, multiply(a, b, self.format), self.format)
        return value


def leaves_of(run: str) -> list[int]:
    ends, _, step = run.partition("/")
    first, _, last = ends.partition("..")
    low, high, by = int(first), int(last or first), int(step or 1)
    return list(range(low, high + 1, by)) if low <= high else list(range(low, high - 1, -by))


def rounded(x: Number, how: str, accumulate: str) -> Number:
    """`@format~mode`: to nearest, cut (zero), or, where inexact, to the neighbour with an odd last bit (odd)."""
    name, _, mode = how.removeprefix("@").partition("~")
    format = name or accumulate
    if mode in ("", "nearest") or not isinstance(x, Fraction) or not x:
        return round_to(x, format)
    precision, emin, emax = FORMATS[format]
    spacing = Fraction(2) ** (max(floor_log2(abs(x)), emin) - precision + 1)
    below = abs(x) // spacing
    if mode == "odd" and below * spacing != abs(x):
        below |= 1
    largest = (2 - Fraction(2) ** (1 - precision)) * Fraction(2) ** emax
    return signed(min(below * spacing, largest), is_negative(x))
