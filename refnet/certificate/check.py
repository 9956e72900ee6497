"""A certificate recomputed: other primes, the same midpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..kernels.threads import usable_threads
from .certificate import Certificate, Objects
from .layers import CertifiedLayer, sha256_of
from .proof import Progress, Run
from .radii import Radii

KEPT = ("hi", "lo", "radius", "exponent", "largest")  # of each layer


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
    full = any(layer.full is not None for layer in certificate.layers.values())
    run = Run(x, weights, usable_threads(threads), full=full, progress=progress, smaller_primes=True)
    about = run.about()
    for what in ("weights", "picture"):
        if about[what] != certificate.provenance.get(what):
            found = f"{what} with the hash {about[what][:12]}"
            raise InputError(
                found, expected=f"{str(certificate.provenance.get(what))[:12]}, which the certificate is of"
            )
    again = run.at(certificate.working_precision)
    names = dict.fromkeys((*again.layers, *certificate.layers))
    pairs = {name: (certificate.layers.get(name), again.layers.get(name)) for name in names}
    values, radii = again.logits.midpoints.to_mpf(), again.logits.radii.to_mpf()
    return Check(
        tuple(name for name, pair in pairs.items() if not _alike(*pair, _same_midpoints)),
        tuple(name for name, pair in pairs.items() if not _alike(*pair, _same_planes)),
        _different(values, radii, certificate),
    )


def _alike(
    old: CertifiedLayer | None, new: CertifiedLayer | None, same: Callable[[CertifiedLayer, CertifiedLayer], bool]
) -> bool:
    """A layer that only one of the two has is not alike."""
    return old is not None and new is not None and same(old, new)


def _same_midpoints(old: CertifiedLayer, new: CertifiedLayer) -> bool:
    return old.sha256 == new.sha256 and (old.full is None or sha256_of(old.full.midpoints) == new.sha256)


def _same_planes(old: CertifiedLayer, new: CertifiedLayer) -> bool:
    """What is kept in any case; of full midpoints, whose hash is compared, the radii too."""
    if old.full is not None and (new.full is None or not _same_radii(old.full.radii, new.full.radii)):
        return False
    return all(np.array_equal(getattr(old, name), getattr(new, name)) for name in KEPT)


def _same_radii(old: Radii, new: Radii) -> bool:
    return old.exponent == new.exponent and np.array_equal(old.values, new.values)


def _different(values: Objects, radii: Objects, certificate: Certificate) -> int:
    """How many logits differ: all of them where there is another number of them."""
    if values.shape != certificate.value.shape:
        return int(values.size)
    return int(np.sum((values != certificate.value) | (radii != certificate.radius)))
