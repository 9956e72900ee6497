"""Which arithmetics are timed, what they are called, and what each is compared to.

A name is `PRECISION[/ACCUMULATE] ORDER[/no-fma]`, such as `bfloat16/bfloat16 pairwise:8` or `float32 sequential/no-fma`:
the accumulate format is named where it is not the precision's own, fma where an order that could use it does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..arithmetic import PRECISIONS, Arithmetic
from ..errors import InputError

BASE = "float32 sequential"
"""What the peers are held against."""

TRUTH = "float64 dot2"
"""The best arithmetic there is now; errors are measured from its logits, and none below its own rounding is seen."""

DEFAULT_ORDERS = (
    *("sequential", "sequential/no-fma", "reversed", "permuted:0", "blocks:512", "lanes:16", "pairwise:8"),
    *("pairwise:1/no-fma", "kahan", "neumaier", "dot2"),
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
    usual = Arithmetic(arithmetic.precision, order=arithmetic.order)
    formats = arithmetic.precision
    if arithmetic.accumulate != usual.accumulate:
        formats += f"/{arithmetic.accumulate}"
    return f"{formats} {arithmetic.order}" + (f"/{NO_FMA}" if usual.fma and not arithmetic.fma else "")


def reference(arithmetic: Arithmetic) -> Arithmetic | None:
    """What an arithmetic's time is divided by; None for BASE.

    Another order: sequential in the same formats, with the same fma where the order knows one. Sequential without fma:
    with it. Another format: BASE.
    """
    sequential = replace(arithmetic, order="sequential", fma=arithmetic.fma if _is_plain(arithmetic) else True)
    if arithmetic != sequential:
        return sequential
    if not arithmetic.fma:
        return replace(arithmetic, fma=True)
    base = parse(BASE)
    return None if arithmetic == base else base


def arithmetics(precisions: Iterable[str], orders: Iterable[str]) -> tuple[Arithmetic, ...]:
    """Every precision with every order, after the references that they need; each once."""
    return with_references(parse(f"{precision} {order}") for precision in precisions for order in orders)


def with_references(chosen: Iterable[Arithmetic]) -> tuple[Arithmetic, ...]:
    return tuple(dict.fromkeys(needed for arithmetic in chosen for needed in _upwards(arithmetic)))


def _upwards(arithmetic: Arithmetic) -> Iterator[Arithmetic]:
    above = reference(arithmetic)
    if above is not None:
        yield from _upwards(above)
    yield arithmetic


def _is_plain(arithmetic: Arithmetic) -> bool:
    return arithmetic.summation.chain == "plain"
