"""Outputs of one layer that are added in another way than its others.

Libraries compute the last rows and columns of a matrix product by kernels of their own, which may add in another order:
so the last pixels of a convolution, or the last channels of a dense layer, can have other bits in the same library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .order import Order
from .orders import parse_order
from .schedule import Indices
from .tree_nodes import ranges_of
from .tree_text import run_of, run_text


@dataclass(frozen=True)
class Part:
    """Some outputs of a convolution or a dense layer, and how they are added.

    order, fma, bias: as in Arithmetic.  channels: output channels.  places: of one channel's outputs, counted row by
    row in each picture (always 0 in a dense layer).  Both as runs, `156..157,194`; empty stands for all.

    Raises InputError for runs that cannot be read, and where neither channels nor places are said.
    """

    order: str | Order = "sequential"
    fma: bool | None = None
    bias: str = "last"
    channels: str = ""
    places: str = ""

    def __post_init__(self) -> None:
        if not self.channels and not self.places:
            raise InputError("a part that is the whole layer", expected="channels or places, such as '156..157,194'")
        object.__setattr__(self, "order", parse_order(self.order))
        for name in ("channels", "places"):
            object.__setattr__(self, name, _checked(name, getattr(self, name)))

    @classmethod
    def of(cls, given: Part | Mapping[str, Any]) -> Part:
        """A part, or its fields as to_json has them. Raises InputError for anything else."""
        if isinstance(given, Part):
            return given
        try:
            return cls(**given)
        except TypeError as error:
            raise InputError(
                f"a part {given!r}", expected=f"a mapping with {', '.join(cls.__annotations__)}"
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON; what is said of no output is left out."""
        own = {"order": str(self.order), "fma": self.fma, "bias": self.bias}
        return own | {name: text for name in ("channels", "places") if (text := getattr(self, name))}

    @property
    def where(self) -> str:
        """Which outputs it has, in words: `places 156..157`, `channels 3 of places 48`."""
        return " of ".join(f"{name} {text}" for name in ("channels", "places") if (text := getattr(self, name)))

    def rows(self, pictures: int, places: int) -> Indices:
        """Which rows of (pictures x places) outputs of one channel it has. Raises InputError where there are fewer."""
        chosen = _within("places", self.places, places)
        return (np.arange(pictures)[:, None] * places + chosen).reshape(-1)

    def columns(self, filters: int) -> Indices:
        """Which of the output channels it has. Raises InputError where there are fewer."""
        return _within("channels", self.channels, filters)


def parts_of(given: Any) -> tuple[Part, ...]:
    """Several parts, each as Part.of takes it. Raises InputError for anything else."""
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise InputError(f"parts {given!r}", expected="a list of parts, such as [{'places': '48', 'order': 'lanes:8'}]")
    return tuple(Part.of(part) for part in given)


def runs_text(numbers: Indices) -> str:
    """Numbers as runs: `4,992..999`."""
    return ",".join(map(run_text, ranges_of(numbers.tolist())))


def _numbers(text: str) -> Indices:
    return np.concatenate([np.array(run_of(run), np.int64) for run in text.split(",")])


def _checked(name: str, text: str) -> str:
    """The runs, written in one way: each number once, from below."""
    try:
        numbers = _numbers(text) if text else np.empty(0, np.int64)
        if (np.diff(numbers) <= 0).any():
            raise ValueError("not from below, each once")
        return runs_text(numbers) if text else ""
    except (ValueError, AttributeError) as error:
        raise InputError(f"{name} {text!r} of a part: {error}", expected="runs such as '156..157,194'") from error


def _within(name: str, text: str, count: int) -> Indices:
    numbers = _numbers(text) if text else np.arange(count)
    if numbers[-1] >= count:
        raise InputError(f"{name} {text} of a part", expected=f"0 to {count - 1}, as many as the layer has")
    return numbers
