"""What a diagnosis says: causes, ranked, and what was found on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import InputError

SCHEMA = 1
VERDICTS = ("rounding", "explained", "none")
NONE = "none"


@dataclass(frozen=True)
class Cause:
    """name: a stable identifier (docs/diagnose.md).  detail: what the program does, or why it cannot be told.

    before, after: the residual without and with the change, in the order in which the causes stand in an explanation:
    RMS of (outputs - refnet's outputs) over the RMS of refnet's outputs, as docs/diagnose.md compares them.
    """

    name: str
    detail: str
    before: float
    after: float


@dataclass(frozen=True)
class Diagnosis:
    """verdict: `rounding` (nothing differs but rounding), `explained`, or `none` (none of the changes explains it).

    causes: ranked; the first len(explanation) of them together bring the residual down to rounding.
    explanation: their names.  before: the residual of the unchanged program.  after: that of the explanation.
    threshold: what rounding explains at most.  form: what the outputs are, a name in refnet.diagnosis.FORMS.
    equivalent: changes that cannot show in this data, each with the reason.  not_tried: what was left out, and why.
    first_layer: the first layer of the trace that departs; departing: all of them.  tried: programs run.
    finished: False where the search ended early: interrupted by the user, or its time was up.
    """

    verdict: str
    causes: tuple[Cause, ...]
    explanation: tuple[str, ...]
    before: float
    after: float
    threshold: float
    form: str
    equivalent: tuple[Cause, ...] = ()
    not_tried: tuple[str, ...] = ()
    first_layer: str | None = None
    departing: tuple[str, ...] = ()
    tried: int = 0
    seconds: float = 0.0
    finished: bool = True
    interrupted: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise InputError(f"verdict {self.verdict!r}", expected=f"one of {', '.join(VERDICTS)}")
        if self.explanation != tuple(cause.name for cause in self.causes[: len(self.explanation)]):
            raise InputError("an explanation that does not begin the causes", expected="its names first")

    def __getitem__(self, place: int) -> Cause:
        return self.causes[place]

    def __len__(self) -> int:
        return len(self.causes)

    def document(self) -> dict[str, Any]:
        """What `refnet diagnose --json` writes: the fields by name (schema 1, docs/diagnose.md)."""
        return {"schema": SCHEMA, **asdict(self)}
