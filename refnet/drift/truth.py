"""What drift is measured from: the certified numbers, or the quick choice, refnet's own float64 pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..certificate import Certificate, kept_certificate
from ..forward import activations
from ..trace import Trace
from ..weights import Weights
from .storage import plain

BITS = 53  # the truth is rounded to float64
Tell = Callable[[str, str, float], None]


@dataclass(frozen=True)
class Truth:
    """float64 numbers of every layer, and what drift.json says of them."""

    trace: Trace
    about: dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A truth that can be asked for: make(x, w, threads, cache, tell)."""

    description: str
    make: Callable[[NDArray[np.floating], Weights, int | None, Path | None, Tell], tuple[Trace, dict[str, Any]]]


def truth_of(
    name: str, x: NDArray[np.floating], w: Weights, *, threads: int | None, cache: Path | None, tell: Tell
) -> Truth:
    """The truth of that name, one of TRUTHS."""
    kind = TRUTHS[name]
    trace, more = kind.make(x, w, threads, cache, tell)
    return Truth(trace, plain({"kind": name, "description": kind.description, **more, "provenance": trace.provenance}))


@contextmanager
def timed(name: str, tell: Tell) -> Iterator[None]:
    """Tells the beginning of a stage, and its seconds once it has ended well."""
    begin = time.monotonic()
    tell(name, "start", 0.0)
    yield
    tell(name, "ok", time.monotonic() - begin)


def _certified(
    x: NDArray[np.floating], w: Weights, threads: int | None, cache: Path | None, tell: Tell
) -> tuple[Trace, dict[str, Any]]:
    """Picture by picture, so that no more than one certificate is in memory and each is kept by itself."""

    def progress(layer: str, place: int, layers: int, working: int) -> None:
        tell("certificate", f"{layer}, {place + 1} of {layers}, {working} bits", 0.0)

    traces, proofs = [], []
    with timed("certificate", tell):
        for place in range(len(x)):
            proof = kept_certificate(x[place : place + 1], w, BITS, threads=threads, progress=progress, cache=cache)
            traces.append(proof.trace())
            proofs.append(proven(proof))
    layers = {name: np.concatenate([trace[name] for trace in traces]) for name in traces[0]}
    pictures = [trace.provenance["picture"] for trace in traces]
    return Trace(layers, {**traces[0].provenance, "picture": pictures}), together(proofs)


def proven(certificate: Certificate) -> dict[str, Any]:
    """What drift.json says of the certificate of one picture."""
    return {
        "bits": certificate.bits,
        "working_precision": certificate.working_precision,
        "needed": certificate.needed,
        "digits": certificate.digits,
        "layer_digits": {name: layer.digits for name, layer in certificate.layers.items()},
        "decided": certificate.decided,
        "open_logits": len(certificate.open),
        "open_layers": list(certificate.open_layers),
    }


def together(proofs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of several pictures, the least that is proven and the most that it took."""
    layers = proofs[0]["layer_digits"]
    return {
        "bits": proofs[0]["bits"],
        "working_precision": max(proof["working_precision"] for proof in proofs),
        "needed": max(proof["needed"] for proof in proofs),
        "digits": min(proof["digits"] for proof in proofs),
        "layer_digits": {name: min(proof["layer_digits"][name] for proof in proofs) for name in layers},
        "decided": all(proof["decided"] for proof in proofs),
        "open_logits": sum(proof["open_logits"] for proof in proofs),
        "open_layers": [name for name in layers if any(name in proof["open_layers"] for proof in proofs)],
    }


def _float64(
    x: NDArray[np.floating], w: Weights, threads: int | None, cache: Path | None, tell: Tell
) -> tuple[Trace, dict[str, Any]]:
    with timed("refnet-float64", tell):
        return activations(x, w, precision="float64", threads=threads), {}


TRUTHS = {
    "certified": Kind(
        "certified: proven midpoints of balls that hold the exact value of the network, each rounded once to float64; "
        "their radii are far below half an ulp of float64 wherever nothing is open",
        _certified,
    ),
    "float64": Kind(
        "refnet's own forward pass in float64: sequential order, fused multiply-add; quick, not certified", _float64
    ),
}
DEFAULT_TRUTH = "certified"
