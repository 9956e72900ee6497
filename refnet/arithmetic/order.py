"""What every accumulation order is: a value with a text, a chain and a schedule."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import ClassVar, Self

import numpy as np

from ..errors import InputError
from .formats import Format
from .schedule import Schedule, one_chain

ARGUMENTS = re.compile(r"-?\d+(,-?\d+)*", re.ASCII)

WIDTH = 60  # characters of an order in a line


def shortened(text: str, width: int = WIDTH) -> str:
    """A long text without its middle: so many characters, of its beginning and its end."""
    kept = (width - len(" ... ")) // 2
    return text if len(text) <= width else f"{text[:kept]} ... {text[-kept:]}"


@dataclass(frozen=True)
class Order:
    """name: as a user writes it, before the colon.  chain: a name in CHAINS; "plain" has a fused form."""

    name: ClassVar[str]
    chain: ClassVar[str] = "plain"
    usage: ClassVar[str]

    def schedule(self, terms: int) -> Schedule:
        """The shape of a sum of so many terms. Raises InputError for none, or a number that does not fit."""
        if terms < 1:
            raise InputError(f"order {self} for a sum of {terms} terms", expected="at least 1")
        return self._arranged(terms)

    def _arranged(self, terms: int) -> Schedule:
        """`schedule` for 1 term and more."""
        return one_chain(np.arange(terms))

    def check(self, accumulate: Format) -> None:
        """Raises InputError where sums in `accumulate` have no meaning for it."""

    @property
    def tiled(self) -> bool:
        """Whether the register tile can run it; what it cannot runs by the definition in ops."""
        return True

    def __str__(self) -> str:
        values = [getattr(self, field.name) for field in fields(self)]
        texts = [",".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in values]
        return ":".join([self.name, *texts])

    def summary(self, width: int = WIDTH) -> str:
        """The text in one line of at most so many characters, its middle left out where it is longer."""
        return shortened(str(self), width)

    @classmethod
    def read(cls, text: str) -> Self:
        """The order of its whole text, `blocks:3,4`. Raises InputError for arguments that do not fit."""
        _, colon, arguments = text.partition(":")
        if colon and not ARGUMENTS.fullmatch(arguments):
            raise InputError(f"order {text!r}", expected=cls.usage)
        try:
            numbers = tuple(int(number) for number in arguments.split(",")) if arguments else ()
            takes_many = [field.type for field in fields(cls)] == ["tuple[int, ...]"]
            return cls(*((numbers,) if takes_many and numbers else numbers))
        except (TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"order {text!r}", expected=cls.usage) from error
