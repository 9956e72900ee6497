"""A cell of the evidence: one variant on one set of weights and all pictures. Statistics are kept, and no trace."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ..backends import STATUSES, Run, Variant
from ..drift import VariantDrift
from ..drift.storage import number, read_json, write_json
from ..errors import InputError
from ..provenance import cpu, installed_packages, relevant_environment

SCHEMA = 1
REDUCED_BY_POLICY = {
    "mixed_bfloat16": "reduced:bfloat16",
    "bfloat16": "reduced:bfloat16",
    "mixed_float16": "reduced:float16",
    "float16": "reduced:float16",
}
"""Keras's dtype policy -> the verdict that names it; under all others an answer is rounding."""

FLOAT32_IN_FLOAT64 = ("jax", "torch")
"""Keras's backends that take a mean in float32 even under the policy float64 (keras.backend's own `mean`, 3.15)."""

REDUCED_BY_HINT = {"bf16": "reduced:bfloat16", "f16": "reduced:float16", "tf32": "reduced:tf32"}
"""What a backend says that it computes in -> the verdict. jax's matmul precision is leave to do less, not a fact."""


@dataclass(frozen=True)
class Judged:
    """One picture. verdict, logits: as `str(verdict)` says them.  margin: of the whole; above 1 no rounding.

    error: relative L2 error of the plain model's logits.  layers: verdict -> how many layers have it.
    """

    picture: str
    verdict: str
    reason: str
    first_layer: str | None
    margin: float
    logits: str
    error: float
    layers: Mapping[str, int]


@dataclass(frozen=True)
class Cell:
    """status: one of STATUSES; all but "ok" have no pictures and say why in `reason`.

    expected: the verdict that this variant should have, "rounding" standing for identical too.  key: the hash of all
    that the cell was made from.  seconds: of the child process, all pictures.
    """

    variant: str
    weights: str
    key: str
    status: str
    reason: str
    expected: str
    seconds: float
    pictures: tuple[Judged, ...]

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise InputError(f"status {self.status!r} of {self.variant}", expected=f"one of {', '.join(STATUSES)}")
        if (self.status == "ok") != bool(self.pictures):
            raise InputError(f"cell {self.variant} is {self.status} with {len(self.pictures)} pictures")

    @property
    def wrong(self) -> tuple[Judged, ...]:
        """The pictures whose verdict is another than expected."""
        fine = ("identical", "rounding") if self.expected == "rounding" else (self.expected,)
        return tuple(row for row in self.pictures if row.verdict not in fine)

    def save(self, path: Path) -> None:
        rows = [vars(row) | {"layers": dict(row.layers)} for row in self.pictures]
        write_json({"schema": SCHEMA, **vars(self), "pictures": rows}, path)

    @classmethod
    def load(cls, path: Path) -> Cell:
        """Raises InputError for anything that `save` did not write."""
        document = read_json(path)
        if document.pop("schema", None) != SCHEMA:
            raise InputError(f"{path} has another schema", expected=str(SCHEMA), do="remove it and run again")
        try:
            rows = tuple(
                Judged(**{**row, "margin": number(row["margin"]), "error": number(row["error"])})
                for row in document["pictures"]
            )
            return cls(**{**document, "pictures": rows})
        except (KeyError, TypeError) as error:
            raise InputError(f"{path} is no cell ({error})", do="remove it and run again") from error


def judged_picture(picture: str, row: VariantDrift) -> Judged:
    """What is kept of a judged row."""
    assert row.verdict is not None and row.logits_verdict is not None
    layers = Counter(map(str, row.verdicts.values()))
    return Judged(
        picture,
        str(row.verdict),
        row.verdict.reason,
        row.first_layer,
        row.verdict.margin,
        str(row.logits_verdict),
        row.logits["rel_l2"],
        dict(layers),
    )


def expected_of(variant: Variant, run: Run) -> str:
    """From the dtype policy, and from what the backend says of itself: its name and its inference precision."""
    told = run.provenance.get("backend", {})
    if variant.dtype_policy == "float64" and told.get("backend") in FLOAT32_IN_FLOAT64:
        return "reduced:float32"
    return REDUCED_BY_POLICY.get(
        variant.dtype_policy, REDUCED_BY_HINT.get(str(told.get("inference_precision")), "rounding")
    )


def key_of(variant: Variant, *made_from: object) -> str:
    """Changes with the variant's switches, what else a cell is made from, such as hashes of weights and pictures, and
    with what can change a bit here: versions, processor, and variables of the environment."""
    fields = {field.name: repr(getattr(variant, field.name)) for field in dataclasses.fields(variant)}
    here = [installed_packages(), cpu(), relevant_environment(os.environ)]
    return sha256(json.dumps([fields, made_from, here], sort_keys=True).encode()).hexdigest()
