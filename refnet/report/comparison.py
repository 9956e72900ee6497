"""Two variants side by side on a terminal: where they part and why, how the difference grows, and the logits."""

from __future__ import annotations

from math import isfinite, log10

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..comparison import REASONS, Pair, VariantComparison
from ..comparison.reasons import UNNAMED
from ..reveal import command_of
from .summary import short, stage_ends
from .table import add_row, reason_line, table_of

BAR = 24  # cells of the widest bar
DECADES = 3  # a bar of no cells is this far below the widest


def comparison_tables(found: VariantComparison) -> Group:
    """What `refnet compare` prints; give it to a rich Console."""
    parts: list[RenderableType] = [
        Text.assemble((" against ".join(found.names), "bold"), f"  truth: {found.truth['kind']}"),
        Text(),
        _parting(found),
        Text(),
        *map(reason_line, found.variants),
    ]
    if found.otherwise:
        parts += [Text(), Text("Layers that compute otherwise, whatever came before", style="bold"), _otherwise(found)]
    if found.first is not None:
        parts += [Text(), Text("The difference, by depth", style="bold"), _by_depth(found)]
    return Group(*parts, Text(), _logits(found))


def _parting(found: VariantComparison) -> Text:
    """The layers that are equal, the first that is not, and the reason."""
    count, first = len(found.layers), found.first
    if first is None:
        numbers = sum(pair.numbers for pair in found.layers)
        return Text(f"All {count} layers are equal to the bit ({numbers:,} numbers).", style="green")
    place = next(place for place, pair in enumerate(found.layers) if pair is first)
    text = Text.assemble(
        f"{place} of {count} layers are equal to the bit, then they part at ",
        (first.layer, "bold"),
        f": {_counted(first)}, from the same inputs.\n",
    )
    if first.reason is None:
        return text.append("Both are known to compute it alike: does one of them change from run to run?")
    text.append(_capital(first.reason.between(*found.names)), style="bold yellow")
    unnamed = [name for name, way in zip(found.names, first.reason.ways, strict=True) if way == UNNAMED]
    if unnamed:
        _, height, width, _ = found.provenance["pictures"]["shape"]
        command = command_of(",".join(unnamed), (height, width), found.provenance["threads"])
        text.append(f"\n(unnamed: refnet has no name for it yet; {command} finds it)")
    return text


def _otherwise(found: VariantComparison) -> Table:
    table = _words("layers", "", "differ in", *found.names)
    for reason, layers in found.otherwise.items():
        shown = layers[0] if len(layers) == 1 else f"{layers[0]} ... {layers[-1]}"
        add_row(table, f"{len(layers):4d}", Text(shown, style="dim"), REASONS[reason.kind], *reason.ways)
    return table


def _words(*titles: str) -> Table:
    """A table of texts, with room between them."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def _by_depth(found: VariantComparison) -> Table:
    """At the end of each stage: how much differs, how far apart, and how far each is from the truth."""
    first, second = found.names
    table = table_of("layer", "bits that differ", "apart", "", f"{first} from truth", f"{second} from truth")
    pairs = {pair.layer: pair for pair in found.layers}
    shown = dict.fromkeys([_first(found).layer, *stage_ends(pairs).values()])
    widest = max((pairs[layer].distance for layer in shown if isfinite(pairs[layer].distance)), default=0.0)
    for layer in sorted(shown, key=list(pairs).index):
        pair = pairs[layer]
        errors = [short(row.layers[layer]["rel_l2"]) for row in found.variants]
        share = f"{pair.bits / pair.numbers:.1%}"
        add_row(table, layer, share, short(pair.distance), Text(_bar(pair.distance, widest), style="yellow"), *errors)
    return table


def _first(found: VariantComparison) -> Pair:
    assert found.first is not None
    return found.first


def _bar(distance: float, widest: float) -> str:
    """On a log scale, so that growth by a factor is a length."""
    if not distance or not isfinite(distance):
        return ""
    return "█" * max(1, round(BAR * (1 + log10(distance / widest) / DECADES)))


def _logits(found: VariantComparison) -> Text:
    first, second = found.names
    errors = [short(row.logits["rel_l2"]) for row in found.variants]
    text = Text.assemble(("Logits of the plain models: ", "bold"), _counted(found.logits))
    if not found.logits.equal:
        text.append(f", by {short(found.logits.largest)} at most")
        if found.first is None:
            text.append(", though every layer is equal where it is returned: a plain model computes some otherwise")
    text.append(f". Relative error: {first} {errors[0]}, {second} {errors[1]}")
    return text.append(f"; {found.nearer} is nearer to the truth." if found.nearer else ".")


def _counted(pair: Pair) -> str:
    zeros = f", and {pair.zeros:,} in the sign of a zero" if pair.zeros else ""
    return f"{pair.bits:,} of {pair.numbers:,} numbers differ{zeros}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
