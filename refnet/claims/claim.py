"""What a claim is: something that the usual answer blames, and the experiments that show whether it has an effect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..errors import InputError
from .calls import CALLS

OUTCOMES = ("same", "rounding", "picture", "higher", "lower", "not run")
"""Of one experiment: every bit of the logits is the same; bits differ, and neither side is farther from the truth of
its picture than float32 rounding; the pictures differ, and the logits as their truths do; one side is far nearer to
its truth; one side is farther from it than rounding explains; a side did not run."""


@dataclass(frozen=True)
class Arm:
    """One side of an experiment. variant: a name of refnet.backends.VARIANTS.  call: one of CALLS."""

    variant: str
    call: str = "predict"

    def __post_init__(self) -> None:
        if self.call not in CALLS:
            raise InputError(f"call {self.call!r}", expected=f"one of {', '.join(CALLS)}")

    def __str__(self) -> str:
        return self.variant if self.call == "predict" else f"{self.variant}: {CALLS[self.call]}"


@dataclass(frozen=True)
class Experiment:
    """Two sides that differ in one thing, on the same picture and the same weights."""

    first: Arm
    second: Arm

    def __post_init__(self) -> None:
        if self.first == self.second:
            raise InputError(f"{self.first} against itself", expected="two sides that differ")


@dataclass(frozen=True)
class Claim:
    """name: stable, small letters and hyphens.  text: the claim, as people make it.

    because: outcome -> a sentence that explains it, said only where all experiments have that outcome.
    """

    name: str
    text: str
    experiments: tuple[Experiment, ...]
    because: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise InputError(f"claim {self.name!r}", expected="small letters, digits and hyphens")
        if not self.experiments:
            raise InputError(f"claim {self.name} has no experiment")
        unknown = set(self.because) - set(OUTCOMES)
        if unknown:
            raise InputError(f"outcomes {sorted(unknown)} of {self.name}", expected=f"some of {', '.join(OUTCOMES)}")
        object.__setattr__(self, "because", MappingProxyType(dict(self.because)))
