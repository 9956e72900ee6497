"""The text of a tree and its data for JSON.

(0..5)            a chain from +0 over the leaves 0 to 5
(5..0,8,10..20/2) a chain over 5 down to 0, 8, and 10 to 20 in steps of 2
x+y+z             fl(fl(x + y) + z)
(x,7)             a chain that goes on from x: with fma, fma(a_7, b_7, x)
{x,0..3}          x and four products summed exactly and rounded once; {0..3}@bfloat16~zero says how
()                +0
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from .fused_sum import Rounding
from .tree_nodes import Add, Fuse, Grow, Node, Program, Ranges

TOKEN = re.compile(
    r"(?P<open>[({])|(?P<close>\)|\}(?:@(?P<format>\w+))?(?:~(?P<mode>\w+))?)|(?P<plus>\+)|(?P<comma>,)"
    r"|(?P<run>\d+(?:\.\.\d+(?:/\d+)?)?)",
    re.ASCII,
)
RUN = re.compile(r"(\d+)(?:\.\.(\d+)(?:/(\d+))?)?", re.ASCII)
FOLLOWS = {  # which tokens may come after which
    "start": ("open",),
    "open": ("open", "run", "close"),
    "run": ("comma", "close"),
    "comma": ("run",),
    "plus": ("open",),
    "close": ("plus", "comma", "close", "end"),
}


def written(program: Program) -> str:
    """The program as a text that `parsed` reads."""
    stack: list[tuple[str, bool]] = []  # texts, and whether they are sums that need parentheses on the right of a +
    for node in program:
        if isinstance(node, Add):
            (right, is_sum), (left, _) = stack.pop(), stack.pop()
            stack.append((f"{left}+({right})" if is_sum else f"{left}+{right}", True))
            continue
        inner = ",".join([*([stack.pop()[0]] if node.on_top else []), *map(run_text, node.leaves)])
        stack.append((f"({inner})" if isinstance(node, Grow) else f"{{{inner}}}{rounding_text(node.rounding)}", False))
    return stack[0][0]


def run_text(run: range) -> str:
    """range(0, 6) -> 0..5; range(4, -1, -2) -> 4..0/2."""
    if len(run) == 1:
        return str(run[0])
    return f"{run[0]}..{run[-1]}" + (f"/{abs(run.step)}" if abs(run.step) > 1 else "")


def rounding_text(rounding: Rounding) -> str:
    """What follows the braces of a fused node."""
    return (f"@{rounding.format}" if rounding.format else "") + (f"~{rounding.mode}" * (rounding.mode != "nearest"))


def run_of(text: str) -> range:
    """What run_text wrote. Raises ValueError for another text, or a step that misses the end."""
    match = RUN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no run of leaves")
    first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
    run = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    if run[-1] != last:
        raise ValueError(f"the run {text} misses its end")
    return run


@dataclass
class _Open:
    """A parenthesis that is still open: whether a value stands in it, a + waits in it, and its leaves."""

    brace: str
    value: bool = False
    plus: bool = False
    leaves: list[range] = field(default_factory=list)


def parsed(text: str, usage: str) -> Program:
    """The program of an order's text, `tree:(0..2)+(3..5)`. Raises InputError."""
    name, _, body = text.partition(":")
    try:
        return _parsed(body)
    except (ValueError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        shown = body if len(body) < 60 else f"{body[:57]}..."
        raise InputError(f"order '{name}:{shown}': {error}", expected=usage) from error


def _parsed(text: str) -> Program:
    program: list[Node] = []
    stack, last, place = [_Open("")], "start", 0
    while place < len(text):
        match = TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise ValueError(f"{text[place]!r} at place {place}")
        kind = next(name for name in ("open", "close", "plus", "comma", "run") if match[name])
        if kind not in FOLLOWS[last]:
            raise ValueError(f"{match[0]!r} at place {place}")
        if kind == "open":
            stack.append(_Open(match[0]))
        elif kind == "run":
            stack[-1].leaves.append(run_of(match[0]))
        elif kind == "plus":
            stack[-1].plus = True
        elif kind == "close":
            _close(stack, match, program)
        last, place = kind, match.end()
    if "end" not in FOLLOWS[last] or len(stack) > 1:
        raise ValueError("the text ends too early")
    return tuple(program)


def _close(stack: list[_Open], match: re.Match[str], program: list[Node]) -> None:
    """A closing parenthesis is the node that it makes, and a + that waited for this value."""
    group, outer = stack.pop(), stack[-1:]
    if not outer or match[0][0] != {"(": ")", "{": "}"}[group.brace]:
        raise ValueError(f"{match[0]!r} without its beginning")
    leaves = tuple(group.leaves)
    if group.brace == "{":
        program.append(Fuse(leaves, group.value, Rounding(match["format"], match["mode"] or "nearest")))
    elif leaves or not group.value:
        program.append(Grow(leaves, group.value))
    if outer[0].plus:
        program.append(Add())
    outer[0].value, outer[0].plus = True, False


def as_data(program: Program) -> list[dict[str, Any]]:
    """The program for JSON: one object a node."""
    data: list[dict[str, Any]] = []
    for node in program:
        if isinstance(node, Add):
            data.append({"node": "add"})
            continue
        common = {"start": "newest" if node.on_top else "zero", "leaves": list(map(run_text, node.leaves))}
        if isinstance(node, Grow):
            data.append({"node": "chain", **common})
        else:
            data.append({"node": "fused", **common, "format": node.rounding.format, "mode": node.rounding.mode})
    return data


def from_data(data: Any) -> Program:
    """What as_data gave. Raises InputError for anything else."""
    try:
        return tuple(_node(entry) for entry in data)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"no program of a tree: {error}", expected="what Tree.save wrote") from error


def _node(entry: dict[str, Any]) -> Node:
    kind = entry["node"]
    if kind == "add":
        return Add()
    leaves: Ranges = tuple(map(run_of, entry["leaves"]))
    on_top = {"newest": True, "zero": False}[entry["start"]]
    if kind == "chain":
        return Grow(leaves, on_top)
    if kind == "fused":
        return Fuse(leaves, on_top, Rounding(entry["format"], entry["mode"]))
    raise ValueError(f"a node {kind!r}")
