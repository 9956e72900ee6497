"""The ratios that refnet must reach and aims for, as data, and which of them hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..arithmetic import Arithmetic
from .arithmetics import BASE, WIDE_BASE, label, with_references
from .rows import Row

OUTCOMES = ("not measured", "missed", "must", "aim")


@dataclass(frozen=True)
class Limit:
    """No more than `most` on at least `rows` of the rows (None: on all)."""

    most: float
    rows: int | None = None

    def holds(self, measured: list[float]) -> bool:
        return sum(value <= self.most for value in measured) >= (len(measured) if self.rows is None else self.rows)


@dataclass(frozen=True)
class Goal:
    """A limit on every row of `kind` whose subject and other fit a pattern of numerator and denominator.

    The measured number is time over time, or bytes where there is no denominator; smaller is better.
    """

    name: str
    kind: str
    numerator: tuple[str, ...]
    denominator: tuple[str, ...]
    must: Limit
    aim: Limit
    batch: int = 1

    @property
    def is_about_truth(self) -> bool:
        """Whether truth.py measures it: its memory is that of many digits."""
        return self.kind == "truth" or (self.kind == "memory" and self.numerator != (BASE,))

    def judge(self, rows: Iterable[Row]) -> Verdict:
        found = [row for row in rows if row.values and self._concerns(row)]
        return Verdict(self, tuple(sorted(found, key=lambda row: row.measured, reverse=True)))

    def _concerns(self, row: Row) -> bool:
        fits = _fits(row.subject, self.numerator) and _fits(row.other, self.denominator)
        return fits and (row.kind, row.batch) == (self.kind, self.batch)


@dataclass(frozen=True)
class Verdict:
    """How a goal fared. rows: those that it concerns, the slowest first."""

    goal: Goal
    rows: tuple[Row, ...]

    @property
    def outcome(self) -> str:
        """One of OUTCOMES: the best limit that holds."""
        measured = [row.measured for row in self.rows]
        if not measured:
            return "not measured"
        return "aim" if self.goal.aim.holds(measured) else "must" if self.goal.must.holds(measured) else "missed"

    @property
    def reached(self) -> int:
        """How many rows are within the limit that must hold."""
        return sum(row.measured <= self.goal.must.most for row in self.rows)


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _ratio(numerator: str | tuple[str, ...], denominator: str, must: float, aim: float, name: str = "") -> Goal:
    """A goal between arithmetics."""
    numerators = (numerator,) if isinstance(numerator, str) else numerator
    title = name or f"{' | '.join(numerators)} / {denominator}"
    return Goal(title, "arithmetic", numerators, (denominator,), Limit(must), Limit(aim))


SHAPES = 20  # distinct convolutions of ResNet50
REORDERED = ("reversed", "permuted:*", "blocks:*", "lanes:*", "pairwise:8")
FASTEST = ("*",)  # the limit holds against every peer, hence against the fastest

GOALS: tuple[Goal, ...] = (
    Goal(f"{BASE} / fastest Keras backend", "keras", (BASE,), FASTEST, Limit(1.0), Limit(0.7)),
    Goal(f"{BASE} / compiled model", "compiled", (BASE,), FASTEST, Limit(1.1), Limit(0.8)),
    Goal(f"{BASE} / fastest Keras backend, batch 8", "keras", (BASE,), FASTEST, Limit(1.0), Limit(0.8), batch=8),
    Goal("convolution / sgemm", "shape", ("*",), ("sgemm",), Limit(1.0, 15), Limit(1 / 1.1, SHAPES)),
    _ratio(WIDE_BASE, BASE, 2.6, 2.2),
    _ratio(tuple(f"float32 {order}" for order in REORDERED), BASE, 1.5, 1.15, name=f"float32, another order / {BASE}"),
    _ratio("float32 pairwise:1/no-fma", "float32 sequential/no-fma", 2.5, 1.8),
    _ratio(("bfloat16 sequential", "float16 sequential", "tf32 sequential"), BASE, 1.4, 1.15, name=f"narrow / {BASE}"),
    _ratio("float32 kahan", BASE, 6, 4.5),
    _ratio("float32 neumaier", BASE, 9, 6.5),
    _ratio("float32 dot2", BASE, 10, 7),
    _ratio("bfloat16/bfloat16 sequential", BASE, 10, 6),
    _ratio("double-double sequential", WIDE_BASE, 30, 20),
    Goal(f"replay of a backend / {BASE}", "replay", ("*",), (f"{BASE}*",), Limit(1.3), Limit(1.1)),
    *(
        Goal(f"{name}, seconds", "truth", (name,), ("",), Limit(must), Limit(aim))
        for name, must, aim in (
            ("float32 exact", 2, 1),
            ("float64 exact", 4, 2),
            ("mp50", 8, 4),
            ("mp100", 15, 8),
            ("mp1000", 240, 100),
            ("certify 53", 20, 8),
        )
    ),
    Goal("mp50 / FLINT's products alone", "truth", ("mp50",), ("flint products",), Limit(1.0), Limit(1 / 3)),
    Goal("mp50 / mpmath.fdot, per term", "truth", ("mp50 per term",), ("*",), Limit(1 / 180), Limit(1 / 350)),
    Goal("peak memory, mp50", "memory", ("mp50",), ("",), Limit(3e9), Limit(2e9)),
    Goal("peak memory, mp1000", "memory", ("mp1000",), ("",), Limit(8e9), Limit(4e9)),
    Goal("peak memory, batch 1, no trace", "memory", (BASE,), ("",), Limit(700e6), Limit(400e6)),
)


def with_a_goal(chosen: Iterable[Arithmetic]) -> tuple[Arithmetic, ...]:
    """Those that a goal is about, after the references that they need."""
    patterns = tuple(pattern for goal in GOALS if goal.kind == "arithmetic" for pattern in goal.numerator)
    return with_references(arithmetic for arithmetic in chosen if _fits(label(arithmetic), (BASE, *patterns)))


def verdicts(rows: Iterable[Row]) -> list[Verdict]:
    """Every goal, judged; those about the truth only where it was measured."""
    rows = list(rows)
    about_truth = any(row.kind == "truth" for row in rows)
    return [goal.judge(rows) for goal in GOALS if goal.is_about_truth == about_truth]
