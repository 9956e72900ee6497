"""The tables of the page as data: headings with their meanings, rows of text, the verdict of each row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..drift import EVIDENCE, LOGIT_MEASURES, MEASURES, TOLERANCES, Drift, VariantDrift
from ..drift.measures import Definition
from .summary import SUMMARY, short
from .words import label, label_of, look_of, look_of_verdict


@dataclass(frozen=True)
class Heading:
    """title: a few characters.  meaning: shown by the browser when pointed at.  words: text, which stays left."""

    title: str
    meaning: str = ""
    words: bool = False


@dataclass(frozen=True)
class Row:
    """kind: a key of LOOKS, or "" for a row without a verdict.  cells: one text for each heading."""

    kind: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A table that can be sorted, and filtered if it is long. Raises nothing: rows are as wide as its headings."""

    name: str
    title: str
    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]


SHOWN_OF_LAYERS = (
    *("rel_l2", "band_high", "local_rms", "simulated_low", "simulated_high", "amplification"),
    *("p99_ulp", "max_ulp", "max_over_sum", "rtol", "atol"),
)
SHOWN_OF_LOGITS = ("max_abs", "rel_l2", "band_high", "p99_ulp", "max_ulp", "sqnr_db", "kl_nats", "rtol", "atol")
DEFINITIONS: Mapping[str, Definition] = {**LOGIT_MEASURES, **EVIDENCE, **TOLERANCES, **MEASURES}

WORDS: tuple[tuple[Heading, Callable[[VariantDrift], str]], ...] = (
    (Heading("variant", words=True), lambda row: row.variant),
    (Heading("verdict", words=True), label),
    (
        Heading("first layer", "the first that is neither identical nor rounding", True),
        lambda row: row.first_layer or "",
    ),
    (Heading("top-1", LOGIT_MEASURES["top1_agreement"].formula), lambda row: f"{row.logits['top1_agreement']:.0%}"),
    (Heading("top-5", LOGIT_MEASURES["top5_agreement"].formula), lambda row: f"{row.logits['top5_agreement']:.0%}"),
)


def logits_grid(drift: Drift) -> Grid:
    """The plain model's logits, and the time each variant took."""
    seen = next(column for column in SUMMARY if column.title == "when seen")
    columns = (
        *WORDS,
        *((_heading(name), _logit(name)) for name in SHOWN_OF_LOGITS),
        (Heading(seen.title, "largest change of a logit when the model returns every layer"), seen.text),
        (
            Heading("seconds", "of the child process"),
            lambda row: short(math.nan if row.seconds is None else row.seconds),
        ),
    )
    rows = [
        Row(
            look_of(row).kind,
            _padded([text(row) for _, text in columns] if row.ran else [row.variant, label(row)], columns),
        )
        for row in drift.variants
    ]
    return Grid("logits", "Logits of the plain model", tuple(heading for heading, _ in columns), tuple(rows))


def layers_grid(drift: Drift) -> Grid:
    """Every layer of every variant that ran, in the order of the graph."""
    headings = (
        *(Heading(title, words=True) for title in ("variant", "layer", "verdict")),
        *map(_heading, SHOWN_OF_LAYERS),
        Heading("margin", "evidence over threshold, at most 1 inside"),
        Heading("power", "the smallest error that this verdict would have seen, as a part of the layer's RMS"),
        Heading("replayed, or cause", "the order that has every bit; or what is done otherwise", words=True),
    )
    rows = [_layer_row(row, layer) for row in drift.variants for layer in row.layers]
    return Grid("layers", "Every layer of every variant", headings, tuple(rows))


def indexed(grid: Grid) -> dict[str, list[Any]]:
    """The rows as page.js draws them: each text once, the most frequent first; of each row its kind, then its cells."""
    rows = [(row.kind, *row.cells) for row in grid.rows]
    texts = [text for text, _ in Counter(text for row in rows for text in row).most_common()]
    places = {text: place for place, text in enumerate(texts)}
    return {"texts": texts, "rows": [[places[text] for text in row] for row in rows]}


def definitions_grid() -> Grid:
    """What every column means: the tables of refnet.drift."""
    headings = tuple(Heading(title, words=True) for title in ("name", "title", "definition", "unit"))
    rows = (Row("", (name, row.title, row.formula, row.unit)) for name, row in DEFINITIONS.items())
    return Grid("measures", "Measures", headings, tuple(rows))


def _layer_row(row: VariantDrift, layer: str) -> Row:
    verdict, numbers = row.verdicts.get(layer), row.layers[layer]
    cells = [
        row.variant,
        layer,
        label_of(verdict) if verdict else "",
        *(short(numbers[name]) for name in SHOWN_OF_LAYERS),
    ]
    if verdict:
        cells += [short(verdict.margin), short(verdict.power), verdict.replayed or verdict.cause or ""]
    else:
        cells += ["-", "-", ""]
    return Row(look_of_verdict(verdict).kind, tuple(cells))


def _heading(name: str) -> Heading:
    """A formula in brackets stays on one line."""
    definition = DEFINITIONS[name]
    words, bracket, formula = definition.title.partition("(")
    return Heading(words + bracket + formula.replace(" ", "\N{NO-BREAK SPACE}"), definition.formula)


def _logit(name: str) -> Callable[[VariantDrift], str]:
    return lambda row: short(row.logits[name])


def _padded(cells: Sequence[str], columns: Sequence[object]) -> tuple[str, ...]:
    return (*cells, *[""] * (len(columns) - len(cells)))
