"""A certificate as JSON: what docs/certificate.md describes."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN
from typing import Any

from mpmath import mpf
from mpmath.libmp import repr_dps

from ..arithmetic.formats import FORMATS
from .certificate import Certificate
from .logits import proven_digits
from .text import decimal, hexadecimal

SCHEMA = 1
RADIUS_DIGITS = repr_dps(FORMATS["float64"].precision)


def document(certificate: Certificate, images: Sequence[str]) -> dict[str, Any]:
    """Mappings, lists, text and numbers; -inf and inf where a layer is exact. images: names of the pictures."""
    growth = [
        {"layer": name, "log2_radius_over_rms": layer.largest, "digits": layer.digits}
        for name, layer in certificate.layers.items()
    ]
    return {
        "schema": SCHEMA,
        "provenance": certificate.provenance,
        "bits": certificate.bits,
        "working_precision": certificate.working_precision,
        "needed": certificate.needed,
        "decided": certificate.decided,
        "digits": certificate.digits,
        "exact_zeros": certificate.exact_zeros,
        "open": {"logits": certificate.open, "layers": certificate.open_layers},
        "growth": growth,
        "pictures": _pictures(certificate, images),
    }


def _pictures(certificate: Certificate, images: Sequence[str]) -> list[dict[str, Any]]:
    value_digits, bound_digits = repr_dps(certificate.working_precision), repr_dps(certificate.bits)
    rows = zip(images, certificate.top1, certificate.value, certificate.radius, *certificate.softmax, strict=True)
    return [
        {
            "image": image,
            "top1": {
                "class": first.number,
                "next": first.next,
                "margin": _number(first.margin, RADIUS_DIGITS, ROUND_FLOOR),
                "certified": first.certified,
            },
            "logits": [
                {
                    "value": _number(value, value_digits),
                    "radius": _number(radius, RADIUS_DIGITS, ROUND_CEILING),
                    "digits": proven_digits(value, radius),
                    "softmax": {
                        "lower": _number(lower, bound_digits, ROUND_FLOOR),
                        "upper": _number(upper, bound_digits, ROUND_CEILING),
                    },
                }
                for value, radius, lower, upper in zip(values, radii, lowers, uppers, strict=True)
            ],
        }
        for image, first, values, radii, lowers, uppers in rows
    ]


def _number(x: mpf, digits: int, rounding: str = ROUND_HALF_EVEN) -> dict[str, str]:
    """Exactly, and in decimal digits, which for a bound lie on its safe side."""
    return {"decimal": decimal(x, digits, rounding), "hex": hexadecimal(x)}
