"""The parts of a tree of additions: a program for a stack of numbers.

Not objects inside objects: thousands of levels deep it still is compared, hashed, printed and run without recursion,
and a run of terms is one `range`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import InputError
from .fused_sum import NEAREST, Rounding

Ranges = tuple[range, ...]
LARGEST = 1 << 24  # leaf: no sum of a network is so long, and a text must not fill the memory


@dataclass(frozen=True)
class Grow:
    """A chain that takes its leaves one after another, from +0 or, `on_top`, from the newest value of the stack."""

    leaves: Ranges = ()
    on_top: bool = False


@dataclass(frozen=True)
class Fuse:
    """The leaves' exact products, and `on_top` the newest value, summed exactly and rounded once."""

    leaves: Ranges
    on_top: bool = False
    rounding: Rounding = NEAREST


@dataclass(frozen=True)
class Add:
    """The two newest values become their sum, rounded to the accumulate format."""


Node = Grow | Fuse | Add
Program = tuple[Node, ...]


def chain(leaves: int | Iterable[int], start: Program = ()) -> Program:
    """The leaves in sequence from `start`, or from +0: s = fma(a_k, b_k, s), or s = fl(s + fl(a_k b_k)) without fma."""
    return (*start, Grow(ranges_of([leaves] if isinstance(leaves, int) else leaves), bool(start)))


def fma(leaf: int, start: Program) -> Program:
    """The leaf's product added to `start`, with one rounding where fma is on."""
    return chain(leaf, start)


def add(left: Program, right: Program) -> Program:
    """fl(left + right)."""
    return (*left, *right, Add())


def fuse(leaves: Iterable[int], start: Program = (), format_: str | None = None, mode: str = "nearest") -> Program:
    """The leaves' products and `start` summed exactly, rounded once to a format (None: the accumulate format)."""
    return (*start, Fuse(ranges_of(leaves), bool(start), Rounding(format_, mode)))


def ranges_of(leaves: Iterable[int]) -> Ranges:
    """Numbers as ranges: three and more at equal distances are one, and two neighbours; always the same way."""
    numbers = [int(leaf) for leaf in leaves]
    ranges, start = [], 0
    while start < len(numbers):
        end, step = start + 1, 1
        if end < len(numbers) and numbers[end] != numbers[start]:
            step = numbers[end] - numbers[start]
            while end < len(numbers) and numbers[end] - numbers[end - 1] == step:
                end += 1
        if end - start == 2 and abs(step) != 1:
            end, step = start + 1, 1
        first = numbers[start]
        ranges.append(range(first, first + (end - start) * step, step))
        start = end
    return tuple(ranges)


def joined(program: Program) -> Program:
    """A chain that goes on from the chain just before becomes one with it; one that takes nothing more goes away."""
    joined: list[Node] = []
    for node in program:
        last = joined[-1] if joined else None
        if isinstance(node, Grow) and node.on_top and not node.leaves and joined:
            continue
        if isinstance(node, Grow) and node.on_top and isinstance(last, Grow):
            joined[-1] = Grow((*last.leaves, *node.leaves), last.on_top)
        else:
            joined.append(node)
    return tuple(_ranged(node) for node in joined)


def _ranged(node: Node) -> Node:
    if isinstance(node, Add):
        return node
    leaves = ranges_of(k for run in node.leaves for k in run)
    return Grow(leaves, node.on_top) if isinstance(node, Grow) else Fuse(leaves, node.on_top, node.rounding)


def check(program: Program) -> None:
    """The program leaves one value, nothing takes from an empty stack, and its leaves are numbers of a sane size."""
    height = leaves = 0
    for node in program:
        if not isinstance(node, Grow | Fuse | Add):
            raise InputError(f"a {type(node).__name__} in a tree", expected="Grow, Fuse and Add")
        height -= 2 if isinstance(node, Add) else int(node.on_top)
        if height < 0:
            raise InputError("a tree in which an operand is missing", expected="operands before what joins them")
        if isinstance(node, Fuse) and not node.leaves:
            raise InputError("a fused node without leaves", expected="one and more")
        for run in () if isinstance(node, Add) else node.leaves:
            if run and not all(0 <= end <= LARGEST for end in (run[0], run[-1])):
                raise InputError(f"a tree with the leaves {run[0]} to {run[-1]}", expected=f"leaves 0 to {LARGEST}")
            leaves += len(run)
        if leaves > LARGEST:
            raise InputError(f"a tree of {leaves} leaves and more", expected=f"at most {LARGEST}")
        height += 1
    if height != 1:
        raise InputError(f"a tree of {height} values", expected="one")
