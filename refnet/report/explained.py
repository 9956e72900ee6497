"""Where the drift of a wholly replayed backend comes from: orders and forms, their shares, what others would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from ..drift import Drift, Explanation, Part, VariantDrift
from .grids import Grid, Heading, Row
from .summary import short

OPERATIONS = {
    "conv2d": "convolutions",
    "dense": "the classifier",
    "batch_norm": "batch normalisations",
    "mean_pool": "the mean pool",
    "add": "additions",
    "input": "the picture",
    "pad": "padding",
    "max_pool": "the max pool",
    "relu": "ReLUs",
    "": "everything",
}
"""Operation of layers -> what a report calls them; "" is all of them."""

CAPTION = (
    "refnet makes every bit of these backends again, in the orders and forms below. The share of a layer is what its "
    "own rounding does to the logits, through all that comes after it, as a part of their drift: all shares add up to "
    "100 %, and one is negative where its layer takes away what others added. The second table is the same pass with "
    "some layers computed otherwise. These are numbers of the pictures at hand: the errors of others fall otherwise."
)
LOCAL = "RMS(y - e) / RMS(e), e the exact result on the layer's own inputs"
SMALLEST = 0.01  # of the shares that a sentence names


@dataclass(frozen=True)
class Alike:
    """Layers of one operation that compute alike. equal: how many have every bit of the backend's.

    added: RMS of what each added, the RMS over all of them.  share: of the drift, all of them together.
    """

    operation: str
    form: str
    layers: tuple[str, ...]
    equal: int
    added: float
    share: float

    @property
    def names(self) -> str:
        return self.layers[0] if len(self.layers) == 1 else f"{self.layers[0]} ... {self.layers[-1]}"


def explained(drift: Drift) -> list[tuple[VariantDrift, Explanation]]:
    """The variants whose drift is explained."""
    return [(row, row.explanation) for row in drift.variants if row.explanation]


def alike(row: VariantDrift, parts: Sequence[Part]) -> list[Alike]:
    """The layers by operation and form, those with the largest share first."""
    groups: dict[tuple[str, str], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.operation, part.form), []).append(part)
    found = [
        Alike(
            operation,
            form,
            tuple(part.layer for part in own),
            sum(part.layer in row.verdicts and row.verdicts[part.layer].kind == "identical" for part in own),
            sqrt(sum(part.added**2 for part in own) / len(own)),
            sum(part.share for part in own),
        )
        for (operation, form), own in groups.items()
    ]
    return sorted(found, key=lambda group: -group.share)


def why(row: VariantDrift, explanation: Explanation) -> str:
    """What follows the variant's name: what most of its drift comes from, and what that would be in other orders."""
    of = {name: explanation.share_of(name) for name in OPERATIONS if name}
    largest = sorted((name for name in of if of[name] >= SMALLEST), key=lambda name: -of[name])
    shares = ", ".join(f"{of[name]:.0%} from {OPERATIONS[name]}" for name in largest)
    otherwise = ", ".join(
        f"{short(way.rel_l2)} with {OPERATIONS[way.operation]} {way.how}"
        for way in explanation.otherwise
        if way.operation in (largest[0], "")
    )
    layers, equal = len(row.layers), sum(verdict.kind == "identical" for verdict in row.verdicts.values())
    return (
        f"{equal} of {layers} layers replayed. Of its drift {shares}. "
        f"The logits' relative L2 is {short(row.logits['rel_l2'])}; it would be {otherwise}."
    )


def orders_grid(drift: Drift) -> Grid:
    """A row for each order and form of each variant."""
    headings = (
        *(Heading(title, words=True) for title in ("variant", "layers", "order or form")),
        Heading("share", "of the drift of the logits"),
        Heading("local error", f"{LOCAL}; RMS over the layers"),
        Heading("equal to the bit", "layers whose every bit is the backend's, of those that compute so"),
        Heading("from ... to", words=True),
    )
    rows = [
        Row("", (row.variant, _name(group.operation), group.form, *_numbers(group), group.names))
        for row, explanation in explained(drift)
        for group in alike(row, explanation.parts)
    ]
    return Grid("orders", "In which order", headings, tuple(rows))


def otherwise_grid(drift: Drift) -> Grid:
    """A row for each other way of computing, behind the way that was replayed."""
    headings = (
        *(Heading(title, words=True) for title in ("variant", "layers", "computed")),
        Heading("relative L2", "of the logits against the truth"),
        Heading("of the replay's", "relative L2 over that of the replay"),
    )
    rows = []
    for row, explanation in explained(drift):
        own = row.logits["rel_l2"]
        rows.append(Row("", (row.variant, _name(""), "as replayed", short(own), "100%")))
        rows += [
            Row("", (row.variant, _name(way.operation), way.how, short(way.rel_l2), f"{way.rel_l2 / own:.0%}"))
            for way in explanation.otherwise
        ]
    return Grid("otherwise", "What another order would have given", headings, tuple(rows))


def shares_grid(drift: Drift) -> Grid:
    """A row for each layer that rounds."""
    headings = (
        *(Heading(title, words=True) for title in ("variant", "layer", "order or form")),
        Heading("share", "of the drift of the logits"),
        Heading("local error", LOCAL),
    )
    rows = [
        Row("", (row.variant, part.layer, part.form, percent(part.share), short(part.added)))
        for row, explanation in explained(drift)
        for part in explanation.parts
    ]
    return Grid("shares", "The share of every layer", headings, tuple(rows))


def percent(share: float) -> str:
    """A share in percent: two decimals where it is small, and no -0."""
    text = f"{100 * share:.{1 if abs(share) >= 0.1 else 2}f}%"
    return text.removeprefix("-") if not text.strip("-0.%") else text


def _numbers(group: Alike) -> tuple[str, str, str]:
    return percent(group.share), short(group.added), f"{group.equal} of {len(group.layers)}"


def _name(operation: str) -> str:
    return OPERATIONS[operation].removeprefix("the ")
