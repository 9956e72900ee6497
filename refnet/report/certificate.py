"""A certificate on a terminal: what is proven of the first class and the logits, and how the radii grew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR

from mpmath import mpf
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..certificate import Certificate, Check
from ..certificate.logits import FirstClass, proven_digits
from ..certificate.text import ball, decimal
from .summary import digits_text, stage_ends
from .table import table_of

SHOWN = 17  # significant decimal digits, as float64 needs them
LISTED = 5  # classes of a picture, open logits, layers that a check found to differ


def certificate_tables(certificate: Certificate, images: Sequence[str], weights: str) -> Group:
    """What `refnet certify` prints; give it to a rich Console. images, weights: as the user named them."""
    parts: list[RenderableType] = [
        Text(_headline(certificate, weights), style="bold"),
        Text(_precision(certificate)),
        _open(certificate, images),
    ]
    for place, image in enumerate(images):
        parts += [Text(), Text(image, style="bold"), *_picture(certificate, place)]
    title = Text("Largest radius of a layer over its RMS, by depth", style="bold")
    return Group(*parts, Text(), title, growth_table(certificate))


def check_lines(check: Check, certificate: Certificate, path: str) -> Group:
    """What `refnet certify --check` prints."""
    counts = f"{len(certificate.layers)} layers and {certificate.value.size} logits"
    if check.holds:
        return Group(Text(f"{path} holds: {counts} came out the same to the bit with other primes", style="green"))
    found = {"midpoints": check.midpoints, "radii": check.radii, "logits": [str(check.logits)] * bool(check.logits)}
    lines = [Text(f"{path} does not hold: recomputed with other primes,", style="red")]
    lines += [Text(f"  {what} differ: {_listed(names)}") for what, names in found.items() if names]
    return Group(*lines)


def growth_table(certificate: Certificate) -> Table:
    """At the end of each stage: the radius as a power of two, and the decimal digits that this leaves."""
    ends = stage_ends(certificate.layers)
    layers = [certificate.layers[name] for name in ends.values()]
    table = table_of("", *ends)
    table.add_row("radius / RMS", *(_power(layer.largest) for layer in layers))
    table.add_row("digits proven", *(digits_text(layer.digits) for layer in layers))
    return table


def _power(log2: float) -> str:
    """A bound as a power of two; 0 where a layer is exact."""
    return f"2^{math.ceil(log2)}" if math.isfinite(log2) else ("0" if log2 < 0 else "inf")


def _shown(value: mpf, radius: mpf) -> str:
    """As many digits as are proven, up to those that float64 needs; where it is fewer, what is left as a radius."""
    digits = proven_digits(value, radius)
    return decimal(value, SHOWN) if digits >= SHOWN else ball(value, radius, math.floor(digits) + 2)


def _headline(certificate: Certificate, weights: str) -> str:
    count, height, width, _ = next(iter(certificate.layers.values())).hi.shape
    weights_hash = str(certificate.provenance.get("weights", ""))[:12]
    return (
        f"certificate of {certificate.bits} bits · weights: {weights} ({weights_hash}) · "
        f"pictures: {count} of {height} x {width}"
    )


def _precision(certificate: Certificate) -> str:
    numbers = sum(layer.hi.size for layer in certificate.layers.values())
    return (
        f"precision: {certificate.working_precision} bits used, {certificate.needed} needed; every layer is proven to "
        f"{digits_text(certificate.digits)} digits or more\n"
        f"exactly zero: {certificate.exact_zeros:,} of {numbers:,} numbers"
    )


def _open(certificate: Certificate, images: Sequence[str]) -> Text:
    """What no precision up to the cap decided, and what is proven of it all the same."""
    if certificate.decided:
        return Text(f"nothing is open: every logit has one rounding to {certificate.bits} bits", style="green")
    lines = [f"open at {certificate.working_precision} bits; a larger --max-digits may decide it:"]
    for place in certificate.open[:LISTED]:
        ball_of_it = certificate.value[place], certificate.radius[place]
        proven = f"{_shown(*ball_of_it)} ({digits_text(proven_digits(*ball_of_it))} digits proven)"
        lines.append(f"  class {place[1]} of {images[place[0]]}: {proven}")
    if len(certificate.open) > LISTED:
        lines.append(f"  {len(certificate.open) - LISTED} more logits")
    if certificate.open_layers:
        wide = certificate.open_layers
        lines.append(f"  {len(wide)} layers, radius above 2^-{certificate.bits} of the RMS: {_listed(wide)}")
    return Text("\n".join(lines), style="yellow")


def _picture(certificate: Certificate, place: int) -> list[RenderableType]:
    values, radii = certificate.value[place], certificate.radius[place]
    least = min(proven_digits(value, radius) for value, radius in zip(values, radii, strict=True))
    return [
        _first(certificate.top1[place]),
        Text(f"all {len(values)} logits are proven to {digits_text(least)} digits or more"),
        _best(certificate, place),
    ]


def _first(first: FirstClass) -> Text:
    margin = decimal(first.margin, SHOWN, ROUND_FLOOR)
    if first.certified:
        return Text(f"first class {first.number}: certified, {margin} or more before class {first.next}", "green")
    return Text(f"first class {first.number}: not certified, class {first.next} may lie before it", "yellow")


def _best(certificate: Certificate, place: int) -> Table:
    """The largest logits, RN to 17 digits, and bounds of their softmax, rounded outwards."""
    values, radii = certificate.value[place], certificate.radius[place]
    lower, upper = (bounds[place] for bounds in certificate.softmax)
    table = table_of("class", "logit", "digits proven", "softmax ≥", "softmax ≤")
    for number in sorted(range(len(values)), key=values.__getitem__, reverse=True)[:LISTED]:
        table.add_row(
            str(number),
            _shown(values[number], radii[number]),
            digits_text(proven_digits(values[number], radii[number])),
            decimal(lower[number], SHOWN, ROUND_FLOOR),
            decimal(upper[number], SHOWN, ROUND_CEILING),
        )
    return table


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
