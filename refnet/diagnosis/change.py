"""One thing that a program may do otherwise, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InputError
from .program import Program

STAGES = ("picture", "weights", "graph", "arithmetic")  # the order in which changes are applied


@dataclass(frozen=True)
class Change:
    """name: a stable identifier, FAMILY:WHAT[:LAYER].  detail: what the program does, for people.

    stage: one of STAGES.  apply: the program with this change.  layers: those it changes; none for a change of the
    picture or of the arithmetic.  single: it changes one layer of many alike, and is tried after those that do not.
    unseen: why it may not show in the data, where that is known beforehand.  without: names of changes of other
    families that it cannot be together with.
    """

    name: str
    detail: str
    stage: str
    apply: Callable[[Program], Program]
    layers: frozenset[str] = frozenset()
    single: bool = False
    unseen: str = ""
    without: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise InputError(f"stage {self.stage!r} of the change {self.name}", expected=f"one of {', '.join(STAGES)}")

    @property
    def family(self) -> str:
        return self.name.partition(":")[0]

    def excludes(self, other: Change) -> bool:
        """Whether the two would change the same thing, so that they cannot both be."""
        if self.name in other.without or other.name in self.without:
            return True
        if self.family != other.family:
            return False
        return not self.layers or not other.layers or bool(self.layers & other.layers)


def applied(program: Program, *changes: Change) -> Program:
    """The program with all the changes, stage by stage. Raises InputError where a size would vanish."""
    for change in sorted(changes, key=lambda change: STAGES.index(change.stage)):
        program = change.apply(program)
    return program
