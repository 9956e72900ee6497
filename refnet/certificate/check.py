"""A certificate recomputed: other primes, the same midpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..kernels.threads import usable_threads
from .certificate import Certificate
from .proof import Progress, Run


@dataclass(frozen=True)
class Check:
    """Layers whose midpoints came out otherwise, layers whose radii did, and logits that did."""

    midpoints: tuple[str, ...]
    radii: tuple[str, ...]
    logits: int

    @property
    def holds(self) -> bool:
        return not self.midpoints and not self.radii and not self.logits


def check_certificate(
    certificate: Certificate,
    x: np.ndarray,
    weights: Mapping[str, np.ndarray],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Check:
    """Compute it again at its own precision with primes of which it used none, and compare every bit.

    Raises InputError where the certificate is of another picture or of other weights.
    """
    run = Run(x, weights, usable_threads(threads), progress=progress, smaller_primes=True)
    about = run.about()
    for what in ("weights", "picture"):
        if about[what] != certificate.provenance.get(what):
            found = f"{what} with the hash {about[what][:12]}"
            raise InputError(
                found, expected=f"{str(certificate.provenance.get(what))[:12]}, which the certificate is of"
            )
    again = run.at(certificate.working_precision)
    pairs = {name: (layer, again.layers.get(name)) for name, layer in certificate.layers.items()}
    values, radii = again.logits.midpoints.to_mpf(), again.logits.radii.to_mpf()
    return Check(
        tuple(name for name, (old, new) in pairs.items() if new is None or old.sha256 != new.sha256),
        tuple(name for name, (old, new) in pairs.items() if new is None or not _same_planes(old, new)),
        int(np.sum((values != certificate.value) | (radii != certificate.radius))),
    )


def _same_planes(old: object, new: object) -> bool:
    return all(np.array_equal(getattr(old, name), getattr(new, name)) for name in ("hi", "lo", "radius", "exponent"))
