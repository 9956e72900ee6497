"""Drift as a value: what every variant's layers and logits measured, with where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from ..backends import STATUSES
from ..errors import InputError
from .logits import LOGIT_MEASURES
from .measures import MEASURES
from .storage import check_output, number, read_json, write_csv, write_json, write_parquet

SCHEMA = 1
SUFFIXES = (".json", ".csv", ".parquet")
LAYERED = ("layered_values", "layered_zero_signs", "layered_max_abs")
"""What looking changes: logits of the plain model against those of the model that returns every layer. Numbers whose
bits differ, zeros whose sign differs, largest |difference| of finite ones (NaN if there are none)."""

LAYER_COLUMNS = tuple(MEASURES)
LOGIT_COLUMNS = (*LOGIT_MEASURES, *MEASURES, *LAYERED)


@dataclass(frozen=True)
class VariantDrift:
    """One variant: `logits` (LOGIT_COLUMNS -> number) and `layers` (layer -> LAYER_COLUMNS -> number).

    status: one of STATUSES; all but "ok" leave both empty and say why in `reason`, where "ok" says how many numbers
    are NaN or infinite.  seconds: of the child process, or of refnet's own pass.
    A number is NaN where its measure has no meaning.
    """

    variant: str
    status: str
    reason: str
    seconds: float | None = None
    logits: Mapping[str, float] = field(default_factory=dict)
    layers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise InputError(f"{self.variant} has the status {self.status!r}", expected=f"one of {', '.join(STATUSES)}")
        _check_columns(f"the logits of {self.variant}", self.logits, LOGIT_COLUMNS if self.ran else ())
        for layer, numbers in self.layers.items():
            _check_columns(f"layer {layer} of {self.variant}", numbers, LAYER_COLUMNS)
        if bool(self.layers) != self.ran:
            raise InputError(f"{self.variant} with the status {self.status} has {len(self.layers)} layers")
        object.__setattr__(self, "logits", MappingProxyType(dict(self.logits)))
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))

    @property
    def ran(self) -> bool:
        return self.status == "ok"

    @property
    def worst_layer(self) -> str:
        """The layer with the largest relative L2 error; "" if the variant did not run."""
        known = {name: row["rel_l2"] for name, row in self.layers.items() if row["rel_l2"] == row["rel_l2"]}
        return max(known, key=known.__getitem__, default="")


@dataclass(frozen=True)
class Drift:
    """The drift of several variants from one truth; `truth["kind"]` names it.

    Raises InputError when variants share a name or their layers have other names.
    """

    provenance: Mapping[str, Any]
    truth: Mapping[str, Any]
    variants: tuple[VariantDrift, ...]

    def __post_init__(self) -> None:
        names = [row.variant for row in self.variants]
        if len(set(names)) < len(names):
            raise InputError(f"a drift has variants of one name ({', '.join(names)})", expected="each variant once")
        if len({tuple(row.layers) for row in self.variants if row.ran}) > 1:
            raise InputError("the variants of a drift have different layers", expected="the same layers in all")
        if not isinstance(self.truth.get("kind"), str):
            raise InputError("a drift does not say what its truth is", expected='truth["kind"], such as "float64"')
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))
        object.__setattr__(self, "truth", MappingProxyType(dict(self.truth)))

    def __getitem__(self, variant: str) -> VariantDrift:
        for row in self.variants:
            if row.variant == variant:
                return row
        raise InputError(
            f"no variant {variant!r}", expected=f"one of {', '.join(row.variant for row in self.variants)}"
        )

    @property
    def layers(self) -> tuple[str, ...]:
        """Layer names in the order of the graph; empty if nothing ran."""
        return next((tuple(row.layers) for row in self.variants if row.ran), ())

    @property
    def table(self) -> pd.DataFrame:
        """One row for each variant and layer; a variant that did not run is one row without a layer."""
        rows = [
            _head(row) | {"layer": layer} | dict(numbers)
            for row in self.variants
            for layer, numbers in (row.layers.items() if row.ran else [(None, {})])
        ]
        return pd.DataFrame(rows, columns=["variant", "status", "reason", "layer", *LAYER_COLUMNS])

    @property
    def logits(self) -> pd.DataFrame:
        """One row for each variant: measures of the plain model's logits, and what looking at every layer changes."""
        rows = [_head(row) | {"seconds": row.seconds} | dict(row.logits) for row in self.variants]
        return pd.DataFrame(rows, columns=["variant", "status", "reason", "seconds", *LOGIT_COLUMNS])

    def save(self, path: str | Path) -> None:
        """Write .json (everything; docs/drift.md), .csv or .parquet (the table, its provenance), whole or not at all.

        Raises InputError for another suffix, a place that cannot be written, or .parquet without pyarrow.
        """
        path = Path(path)
        check_output(path, SUFFIXES)
        if path.suffix == ".json":
            write_json(self.document(), path)
        else:
            write = write_csv if path.suffix == ".csv" else write_parquet
            write(self.table, {"schema": SCHEMA, "truth": self.truth, "provenance": self.provenance}, path)

    @classmethod
    def load(cls, path: str | Path) -> Drift:
        """Read a .json that `save` wrote; a measure that the file does not have is NaN.

        Raises InputError for anything else, and for another schema.
        """
        document = read_json(Path(path))
        if document.get("schema") != SCHEMA:
            found = f"{path} has the schema {document.get('schema')!r}"
            raise InputError(found, expected=str(SCHEMA), do="use the refnet that wrote it")
        try:
            variants = tuple(_from_document(row) for row in document["variants"])
            return cls(document["provenance"], document["truth"], variants)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(f"{path} is no drift ({error})", expected="what docs/drift.md describes") from error

    def document(self) -> dict[str, Any]:
        """What the JSON file holds, as docs/drift.md describes it; numbers are as measured, NaN included."""
        variants = [_document(row) for row in self.variants]
        return {"schema": SCHEMA, "provenance": self.provenance, "truth": self.truth, "variants": variants}


def _document(row: VariantDrift) -> dict[str, Any]:
    """`verdict` and `first_layer` are null in this version, which measures and does not judge."""
    undecided: dict[str, Any] = {"verdict": None}
    return {
        "variant": row.variant,
        "status": row.status,
        **undecided,
        "reason": row.reason,
        "first_layer": None,
        "seconds": row.seconds,
        "provenance": row.provenance,
        "logits": row.logits,
        "layers": [{"layer": layer, **undecided, **numbers} for layer, numbers in row.layers.items()],
    }


def _from_document(row: Mapping[str, Any]) -> VariantDrift:
    logits = {name: number(row["logits"].get(name)) for name in LOGIT_COLUMNS} if row["logits"] else {}
    layers = {layer["layer"]: {name: number(layer.get(name)) for name in LAYER_COLUMNS} for layer in row["layers"]}
    seconds = row.get("seconds")
    return VariantDrift(
        row["variant"], row["status"], row["reason"], seconds, logits, layers, row.get("provenance", {})
    )


def _head(row: VariantDrift) -> dict[str, Any]:
    return {"variant": row.variant, "status": row.status, "reason": row.reason}


def _check_columns(what: str, found: Mapping[str, float], wanted: tuple[str, ...]) -> None:
    wrong = sorted(set(found).symmetric_difference(wanted))
    if wrong:
        raise InputError(f"{what} lack or should not have {', '.join(wrong)}", expected="the measures of refnet.drift")
