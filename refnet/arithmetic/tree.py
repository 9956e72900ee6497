"""Trees: orders of addition that are written out, term by term; what a probe finds of a backend.

The parts are made by `chain`, `fma`, `add` and `fuse` of tree_nodes; tree_text writes and reads them, tree_drawing
draws them, recognise.py finds the name of a tree that has one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ..atomic import replacing
from ..errors import InputError
from .formats import Format
from .order import Order
from .schedule import Indices, Schedule
from .tree_drawing import drawn
from .tree_nodes import Add, Fuse, Grow, Node, Program, check, joined, ranges_of
from .tree_text import as_data, from_data, parsed, written

SCHEMA = 1  # of the JSON file


@dataclass(frozen=True)
class Tree(Order):
    """A tree of additions over the terms 0 .. K - 1, each of them once.

    program: in the order of evaluation, operands before what joins them. A leaf stands for the product a_k b_k; `bias`
    first is the start of the first chain. After construction the program is in its normal form, so that equal trees
    are equal values: ranges as ranges_of makes them, a chain that only goes on from a chain joined with it.
    |error| <= (h + 1) u sum|a b| with h additions above the deepest leaf, those to +0 not counted; the other u is the
    product's own rounding (Higham 2002, 4.2).
    Raises InputError for what is no tree, and names leaves that are missing or doubled.
    """

    name: ClassVar[str] = "tree"
    usage: ClassVar[str] = "tree:NODES such as tree:(0..3)+(4..6) or a Tree"
    program: Program

    def __post_init__(self) -> None:
        check(tuple(self.program))
        object.__setattr__(self, "program", joined(tuple(self.program)))
        _check_leaves(self.leaves, len(self.leaves))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.program)

    @cached_property
    def leaves(self) -> Indices:
        """The terms in the order in which the tree takes them: (K,)."""
        runs = [run for node in self.program if not isinstance(node, Add) for run in node.leaves]
        return np.array([k for run in runs for k in run], np.int64)

    @property
    def tiled(self) -> bool:
        """Whether it is made of chains and additions only; fused nodes run by the definition."""
        return not any(isinstance(node, Fuse) for node in self.program)

    def check(self, accumulate: Format) -> None:
        for node in self.program:
            if isinstance(node, Fuse):
                node.rounding.within(accumulate)

    def _arranged(self, terms: int) -> Schedule:
        _check_leaves(self.leaves, terms)
        steps: list[list[Any]] = []  # length, merges, continues, rounding
        for node in self.program:
            if isinstance(node, Add):
                steps[-1][1] += 1
            else:
                rounding = node.rounding if isinstance(node, Fuse) else None
                steps.append([sum(map(len, node.leaves)), 0, int(node.on_top), rounding])
        lengths, merges, continues, roundings = zip(*steps, strict=True)
        return Schedule(self.leaves, np.array(lengths), np.array(merges), np.array(continues), roundings)

    @classmethod
    def of(cls, order: Order, terms: int) -> Tree:
        """The tree that an order is for so many terms. Raises InputError for compensated orders, which are none."""
        if order.chain != "plain":
            raise InputError(f"order {order}", expected="one whose additions form a tree")
        schedule, program, done = order.schedule(terms), list[Node](), 0
        for length, merges, continues, rounding in zip(
            schedule.lengths.tolist(), schedule.merges.tolist(), schedule.pops.tolist(), schedule.rounded, strict=True
        ):
            leaves = ranges_of(schedule.permutation[done : done + length])
            program.append(Fuse(leaves, bool(continues), rounding) if rounding else Grow(leaves, bool(continues)))
            program += [Add()] * merges
            done += length
        return cls(tuple(program))

    def __str__(self) -> str:
        return f"{self.name}:{written(self.program)}"

    @classmethod
    def read(cls, text: str) -> Self:
        return cls(parsed(text, cls.usage))

    def summary(self, width: int = 100) -> str:
        """The text in one line of at most so many characters, its middle left out where it is longer."""
        text = str(self)
        if len(text) <= width:
            return text
        note = f" ... {len(self.leaves)} terms, {len(self.program)} nodes ... "
        kept = max(0, width - len(note))
        return text[: kept - kept // 2] + note + text[len(text) - kept // 2 :]

    def drawing(self, lines: int = 200) -> str:
        """The tree as a picture of characters, a chain in one line; of more lines the last says how many are left."""
        return drawn(self.program, lines)

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON: the program with its leaves as texts."""
        return {"schema": SCHEMA, "order": self.name, "terms": len(self.leaves), "program": as_data(self.program)}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """What to_json gave. Raises InputError for anything else."""
        if not isinstance(data, dict) or (data.get("schema"), data.get("order")) != (SCHEMA, cls.name):
            raise InputError("JSON that holds no tree", expected=f'"schema": {SCHEMA} and "order": "{cls.name}"')
        tree = cls(from_data(data.get("program")))
        if data.get("terms") != len(tree.leaves):
            raise InputError(f"a tree of {len(tree.leaves)} terms in a file of {data.get('terms')!r}")
        return tree

    def save(self, path: Path | str) -> None:
        """Writes the tree as a JSON file."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.to_json(), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Reads what `save` wrote. Raises InputError for a file that is missing or holds something else."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is no tree: {error}", expected="a file that Tree.save wrote") from error
        return cls.from_json(data)


def _check_leaves(leaves: Indices, terms: int) -> None:
    """The leaves are 0 .. terms - 1, each once."""
    present, counts = np.unique(leaves, return_counts=True)
    wrong = {
        "missing": np.setdiff1d(np.arange(terms), present),
        "doubled": present[counts > 1],
        "too many": present[present >= terms],
    }
    found = [f"{_listed(numbers)} {what}" for what, numbers in wrong.items() if numbers.size]
    if found or not terms:
        raise InputError(
            f"order tree for a sum of {terms} terms: leaves {'; '.join(found) or 'none'}",
            expected=f"0 to {terms - 1}, each once",
        )


def _listed(numbers: Indices) -> str:
    """A few numbers: `3, 5 and 17 more`."""
    shown = ", ".join(map(str, numbers[:8].tolist()))
    return shown if len(numbers) <= 8 else f"{shown} and {len(numbers) - 8} more"
