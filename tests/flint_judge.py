"""Whole certificates held to FLINT: which layers have a ball that the true number may lie outside of."""

from __future__ import annotations

from typing import Any

from flint import arb, ctx
from flint_layers import exactly
from flint_network import evaluate

from refnet.certificate import Certificate
from refnet.certificate.layers import CertifiedLayer
from refnet.weights import Weights

EXACTLY = 8192  # bits at which midpoints and radii of certificates are compared: enough for exact sums


def kept(layer: CertifiedLayer) -> tuple[Any, Any]:
    """Midpoints and radii of the pairs that every certificate has, as numbers without radius."""
    pairs = zip(layer.hi.ravel().tolist(), layer.lo.ravel().tolist(), strict=True)
    scale = arb((1, layer.exponent))
    return [arb(hi) + arb(lo) for hi, lo in pairs], [arb(radius) * scale for radius in layer.radius.ravel().tolist()]


def lies_inside(judged: Any, middles: Any, radii: Any) -> bool:
    """Whether each of FLINT's balls, its whole width, lies in the certified one; then the two overlap, too."""
    return all(abs(ball - middle) <= radius for ball, middle, radius in zip(judged, middles, radii, strict=True))


def holds(layer: CertifiedLayer, judged: Any) -> bool:
    """Whether FLINT's balls lie in those of a layer: in the pairs', and in the full ones where these are kept."""
    with ctx.workprec(EXACTLY):
        if not lies_inside(judged.ravel(), *kept(layer)):
            return False
        return layer.full is None or lies_inside(judged.ravel(), *(part.ravel() for part in exactly(layer.full)))


def faults(certificate: Certificate, weights: Weights, picture: Any, *, bits: int, last: str = "") -> list[str]:
    """Layers, as far as `last`, with a certified ball that FLINT's does not lie in."""
    wrong = []
    for node, judged in evaluate(weights.graph(picture.shape[:2]), weights, picture, bits):
        if not holds(certificate.layers[node.name], judged):
            wrong.append(node.name)
        if node.name == last:
            break
    return wrong
