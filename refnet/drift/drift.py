"""Drift as a value: what every variant's layers and logits measured, with where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from ..errors import InputError
from .explanation import Explanation
from .histogram import read_histogram
from .logits import read_best_logits
from .storage import check_output, number, read_json, write_csv, write_json, write_parquet
from .variant import LAYER_COLUMNS, LOGIT_COLUMNS, VariantDrift
from .verdict import NO_VERDICT, VERDICT_COLUMNS, Verdict

SCHEMA = 1
SUFFIXES = (".json", ".csv", ".parquet")
HEAD = ("variant", "status", *VERDICT_COLUMNS)


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
        """One row for each variant and layer; a variant that did not run is one row without a layer.

        `reason` and the other VERDICT_COLUMNS are those of the layer where it was judged, else of the variant.
        """
        rows = [
            _head(row, row.verdicts.get(layer) or row.verdict) | {"layer": layer} | dict(numbers)
            for row in self.variants
            for layer, numbers in (row.layers.items() if row.ran else [("", {})])
        ]
        table = pd.DataFrame(rows, columns=[*HEAD, "layer", *LAYER_COLUMNS])
        return table.assign(layer=table["layer"].replace("", None))

    @property
    def logits(self) -> pd.DataFrame:
        """One row for each variant: measures of the plain model's logits, and what looking at every layer changes.

        VERDICT_COLUMNS are those of the whole variant.
        """
        rows = [
            _head(row, row.verdict) | {"first_layer": row.first_layer, "seconds": row.seconds} | dict(row.logits)
            for row in self.variants
        ]
        return pd.DataFrame(rows, columns=[*HEAD, "first_layer", "seconds", *LOGIT_COLUMNS])

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
    return {
        "variant": row.variant,
        "status": row.status,
        **_verdict_document(row.verdict),
        "reason": row.reason,
        "first_layer": row.first_layer,
        "seconds": row.seconds,
        "provenance": row.provenance,
        "logits": {**_verdict_document(row.logits_verdict), **row.logits, "top5": row.best_logits} if row.ran else {},
        "layers": [
            {"layer": layer, **_verdict_document(row.verdicts.get(layer)), **numbers, **_histogram_document(row, layer)}
            for layer, numbers in row.layers.items()
        ],
        "explanation": row.explanation.document() if row.explanation else None,
    }


def _verdict_document(verdict: Verdict | None) -> Mapping[str, Any]:
    return verdict.document() if verdict else NO_VERDICT


def _histogram_document(row: VariantDrift, layer: str) -> Mapping[str, Any]:
    return {"ulp_histogram": row.ulp_histograms[layer]} if layer in row.ulp_histograms else {}


def _from_document(row: Mapping[str, Any]) -> VariantDrift:
    logits = {name: number(row["logits"].get(name)) for name in LOGIT_COLUMNS} if row["logits"] else {}
    layers = {layer["layer"]: {name: number(layer.get(name)) for name in LAYER_COLUMNS} for layer in row["layers"]}
    verdicts = {layer["layer"]: verdict for layer in row["layers"] if (verdict := Verdict.from_document(layer))}
    histograms = {
        layer["layer"]: read_histogram(layer["ulp_histogram"]) for layer in row["layers"] if "ulp_histogram" in layer
    }
    return VariantDrift(
        row["variant"],
        row["status"],
        row["reason"],
        row.get("seconds"),
        logits,
        layers,
        row.get("provenance", {}),
        Verdict.from_document(row),
        row.get("first_layer"),
        Verdict.from_document(row["logits"]),
        verdicts,
        histograms,
        read_best_logits(row["logits"].get("top5", ())),
        Explanation.from_document(row.get("explanation")),
    )


def _head(row: VariantDrift, verdict: Verdict | None) -> dict[str, Any]:
    return {
        "variant": row.variant,
        "status": row.status,
        "reason": row.reason,
        **(verdict.document() if verdict else {}),
    }
