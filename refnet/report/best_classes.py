"""The best classes of every variant beside those of the truth, with the digits that agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..drift import Drift
from ..drift.logits import Ranked, read_best_logits
from .summary import proven_digits_of
from .words import look_of

DIGITS = 9  # significant decimal digits, as float32 needs them


@dataclass(frozen=True)
class Place:
    """A class at its rank. agreed, rest: its logit, cut where it leaves the truth's.  right: it is the truth's."""

    number: int
    agreed: str
    rest: str
    right: bool


@dataclass(frozen=True)
class Line:
    """One variant's best classes, the best first; the truth's line has no kind."""

    name: str
    kind: str
    places: tuple[Place, ...]


@dataclass(frozen=True)
class BestClasses:
    """Of one picture: the truth's line and that of every variant that ran."""

    picture: int
    lines: tuple[Line, ...]


def best_classes(drift: Drift) -> list[BestClasses]:
    """For each picture; none if nobody kept the best logits."""
    true = read_best_logits(drift.truth.get("top5", ()))
    rows = [row for row in drift.variants if len(row.best_logits) == len(true)]
    return [
        BestClasses(
            picture,
            (
                Line(_name_of_truth(drift), "", _places(ranked, ranked)),
                *(Line(row.variant, look_of(row).kind, _places(row.best_logits[picture], ranked)) for row in rows),
            ),
        )
        for picture, ranked in enumerate(true)
    ]


def _name_of_truth(drift: Drift) -> str:
    digits = proven_digits_of(drift, [drift.layers[-1]] if drift.layers else [])
    return f"truth, {digits[1]} digits proven" if len(digits) > 1 else f"truth ({drift.truth['kind']})"


def _places(found: Ranked, true: Ranked) -> tuple[Place, ...]:
    """Digits are held against the truth's logit of the same class, where it is among the best."""
    logits = dict(true)
    places = []
    for rank, (number, logit) in enumerate(found):
        text = f"{logit:.{DIGITS}g}"
        same = _in_common(text, f"{logits[number]:.{DIGITS}g}") if number in logits else 0
        places.append(Place(number, text[:same], text[same:], _at(true, rank) == number))
    return tuple(places)


def _in_common(text: str, other: str) -> int:
    """How many characters the two begin with alike."""
    pairs = enumerate(zip(text, other, strict=False))
    return next((place for place, (one, two) in pairs if one != two), min(len(text), len(other)))


def _at(ranked: Sequence[tuple[int, float]], rank: int) -> int | None:
    return ranked[rank][0] if rank < len(ranked) else None
