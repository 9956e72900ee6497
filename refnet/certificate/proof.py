"""`certify`: the whole network in balls, at a precision that is raised until the digits are proven."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil, inf, log2
from typing import Any

import numpy as np
from mpmath.libmp import dps_to_prec

from ..arithmetic.big_floats import LIMB_BITS
from ..arithmetic.environment import check_environment
from ..errors import InputError
from ..forward.big_engine import BigEngine
from ..forward.multiprecision import MultiprecisionEngine
from ..forward.walk import walk
from ..graph import Graph, Node
from ..kernels.threads import usable_threads
from ..provenance import provenance, sha256_of_array
from ..weights import Weights
from .ball_engine import BallEngine, Balls
from .certificate import Certificate
from .layers import CertifiedLayer, certified
from .logits import is_decided, log2_of

Progress = Callable[[str, int, int, int], None]
GROWTH_BITS = 250  # by which radii are expected to grow through a ResNet50, facts of random and of trained weights
MAX_DIGITS = 1000


def certify(
    x: np.ndarray,
    weights: Mapping[str, np.ndarray],
    bits: int = 53,
    *,
    max_digits: int = MAX_DIGITS,
    full: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Certificate:
    """Midpoints and proven radii of every number of every layer: |true - midpoint| <= radius.

    True is the exact value of the network in real numbers, for pictures x (n, height, width, 3) of float32 or float64
    and the weights as they are stored, epsilon being the binary64 number nearest 1.001e-5.

    bits: done when each logit's ball has one RN to so many bits, and every layer's radii are at most 2^-bits of its
    root mean square. Until then the working precision is raised, by what is missing and to twice as much at most, up to
    `max_digits` decimal digits; what is still open then is in Certificate.open.  full: keep the midpoints themselves.
    threads: the bits never depend on it.  progress: called before each layer with its name, its place, the number of
    layers, and the working precision. Ctrl-C ends it and leaves nothing behind.

    Raises InputError for bad input, NaN and infinity in it, and activations beyond the range of float64.
    """
    if not isinstance(bits, int) or bits < 2:
        raise InputError(f"bits={bits!r}", expected="a whole number of at least 2")
    least = ceil((bits + LIMB_BITS) / log2(10))
    if not isinstance(max_digits, int) or max_digits < least:
        raise InputError(f"max_digits={max_digits!r}", expected=f"a whole number of at least {least}")
    cap = dps_to_prec(max_digits)
    run = Run(x, weights, usable_threads(threads), full=full, progress=progress)
    working = min(_whole_limbs(bits + GROWTH_BITS), _limbs_within(cap))
    while True:
        proof = run.at(working)
        missing = proof.missing(bits)
        raised = min(_whole_limbs(working + missing), _limbs_within(cap))
        if missing <= 0 or raised == working:
            return proof.certificate(bits, missing)
        working = raised


@dataclass(frozen=True)
class Proof:
    """One run of the network in balls."""

    working: int
    logits: Balls
    layers: dict[str, CertifiedLayer]
    about: dict[str, Any]

    def missing(self, bits: int) -> int:
        """By how many bits the working precision is too low; 0 or less, what is to spare, where nothing is open."""
        layers = max(layer.largest for layer in self.layers.values()) + bits
        return max(self._whole(layers), self._missing_in_logits(bits))

    def _missing_in_logits(self, bits: int) -> int:
        """How far the worst logit is from one RN to `bits` bits.

        A ball that is small enough may still hold the border between two roundings: then the precision is doubled, for
        nobody knows how near the true value is to it.
        """
        worst = -self.working
        values, radii = self.logits.midpoints.to_mpf().ravel(), self.logits.radii.to_mpf().ravel()
        for value, radius in zip(values, radii, strict=True):
            if radius:
                relative = self._whole(log2_of(radius) - log2_of(value) + bits + 1 if value else inf)
                if is_decided(value, radius, bits):
                    worst = max(worst, min(relative, 0))
                else:
                    worst = max(worst, relative if relative > 0 else self.working)
        return worst

    def _whole(self, bits: float) -> int:
        """Bits, upwards, between all of the working precision to spare and as many missing."""
        return ceil(min(max(bits, -self.working), self.working))

    def certificate(self, bits: int, missing: int) -> Certificate:
        values, radii = self.logits.midpoints.to_mpf(), self.logits.radii.to_mpf()
        return Certificate(bits, self.working, self.working + missing, values, radii, self.layers, self.about)


@dataclass
class Run:
    """The network in balls for one batch of pictures; what the weights become is kept between precisions."""

    x: np.ndarray
    weights: Mapping[str, np.ndarray]
    threads: int
    full: bool = False
    progress: Progress | None = None
    smaller_primes: bool = False
    kept: dict[str, Any] = field(default_factory=dict)
    kept_sizes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_environment()
        self.x = np.array(self.x)
        if self.x.ndim != 4 or self.x.shape[-1] != 3 or not len(self.x) or self.x.dtype.name not in ALLOWED:
            found = f"pictures of shape {self.x.shape} and dtype {self.x.dtype}"
            raise InputError(found, expected=f"(n, height, width, 3), {' or '.join(ALLOWED)}")
        self.weights = self.weights if isinstance(self.weights, Weights) else Weights(self.weights)
        self.graph: Graph = self.weights.graph(self.x.shape[1:3])

    def at(self, working: int) -> Proof:
        """All layers at a working precision of so many bits."""
        definition = MultiprecisionEngine(working)
        engines = {name: self._engine(definition, name) for name in self.graph.names}
        layers: dict[str, CertifiedLayer] = {}

        def probe(node: Node, balls: Balls) -> None:
            layers[node.name] = certified(balls, full=self.full, threads=self.threads)

        def tell(node: Node) -> None:
            if self.progress:
                self.progress(node.name, len(layers), len(self.graph.nodes), working)

        logits = walk(self.graph, self.weights, engines, self.x, probe=probe, progress=tell)
        return Proof(working, logits, layers, self.about())

    def about(self) -> dict[str, Any]:
        """Where a certificate comes from."""
        assert isinstance(self.weights, Weights)
        graph = {"name": self.graph.name, "variant": self.graph.variant, "output": self.graph.output.name}
        return provenance(weights=self.weights.hash, picture=sha256_of_array(self.x), graph=graph, threads=self.threads)

    def _engine(self, definition: MultiprecisionEngine, name: str) -> BallEngine:
        midpoints = BigEngine(definition, name, self.threads, self.kept, smaller_primes=self.smaller_primes)
        return BallEngine(midpoints, name, self.threads, self.kept_sizes)


ALLOWED = ("float32", "float64")


def _whole_limbs(bits: int) -> int:
    """A precision of whole limbs: magnitudes are read off the highest one (radii.py)."""
    return -(-bits // LIMB_BITS) * LIMB_BITS


def _limbs_within(bits: int) -> int:
    return bits // LIMB_BITS * LIMB_BITS
