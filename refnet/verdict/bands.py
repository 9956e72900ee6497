"""What float32 rounding does end to end: bands of propagated errors, and the tolerances that they justify."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.formats import FORMATS
from ..forward import activations
from ..provenance import usable_cores
from ..trace import Trace
from ..weights import Weights
from .limits import prediction_limit

Array = NDArray[np.floating]
Float64 = NDArray[np.float64]

PASSES: tuple[Mapping[str, Any], ...] = (
    {"order": "sequential"},
    {"order": "sequential", "fma": False, "batch_norm": "shifted"},
    {"order": "reversed", "batch_norm": "shifted-fma", "shift": "fused"},
    {"order": "permuted:0", "batch_norm": "folded"},
    {"order": "pairwise:8", "bias": "first", "batch_norm": "shifted-fma"},
)
"""refnet's own float32 passes: keywords of refnet.activations. The first one is the row of refnet itself."""

WORST_KIND = 4
"""The first of them add in one chain: their spread is that of the orders with the largest errors."""

EXPONENTS = 0x7FF  # of float64


@dataclass(frozen=True)
class Band:
    """Of one layer: smallest and largest relative L2 error of the passes, and the tolerances of all rounding.

    |y - t| <= atol + rtol |t| holds for errors up to the factor times those of the passes.
    """

    low: float
    high: float
    rtol: float
    atol: float

    def of(self, format_: str) -> Band:
        """The band of float32 passes, as it is in float32 or float64: first-order errors are in proportion to u."""
        part = FORMATS[format_].unit_roundoff / FORMATS["float32"].unit_roundoff
        return Band(self.low * part, self.high * part, self.rtol * part, self.atol * part)

    def evidence(self) -> dict[str, float]:
        """The columns of drift.evidence.TOLERANCES."""
        return {"rtol": self.rtol, "atol": self.atol, "band_low": self.low, "band_high": self.high}

    def excess(self, y: Array, truth: Array) -> float:
        """The largest |y - t| over what the tolerances allow; above 1 numpy.testing.assert_allclose fails."""
        error = np.abs(np.asarray(y, np.float64) - truth)
        allowed = self.atol + self.rtol * np.abs(truth)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.max(np.where(error == 0, 0.0, error / allowed), initial=0.0))


@dataclass(frozen=True)
class Bands(Mapping[str, Band]):
    """Layer -> Band. factor: how much larger than the passes' an error may be and still be rounding."""

    factor: float
    layers: Mapping[str, Band] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))

    def __getitem__(self, layer: str) -> Band:
        return self.layers[layer]

    def __iter__(self) -> Any:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)


class _Errors:
    """Errors of one layer in every pass, picture after picture: sums of squares, and the largest by size of truth."""

    def __init__(self, passes: int) -> None:
        self.squares = np.zeros(passes)
        self.truth = 0.0
        self.largest = np.zeros(EXPONENTS)  # by the exponent of |t| as float64 stores it

    def see(self, passes: Sequence[Array], t: Array) -> None:
        """One picture: the layer in every pass, and its truth in float64."""
        largest = np.zeros(t.shape)
        for place, y in enumerate(passes):
            error = np.subtract(y, t, dtype=np.float64)
            self.squares[place] += _squared(error)
            np.maximum(largest, np.abs(error, out=error), out=largest)
        self.truth += _squared(t)
        exponents = (np.ascontiguousarray(t, np.float64).ravel().view(np.int64) >> 52) & EXPONENTS
        np.maximum.at(self.largest, exponents, largest.ravel())

    @property
    def relative(self) -> Float64:
        """Relative L2 error of each pass."""
        known: Float64 = np.sqrt(self.squares / self.truth) if self.truth else np.zeros(len(self.squares))
        return known

    def band(self, factor: float) -> Band:
        """rtol is the factor times the largest relative L2 error; atol the least that holds beside it.

        The least but for the sizes: all truths between two powers of two are taken for the lower one.
        """
        low, high = float(self.relative.min()), float(self.relative.max())
        rtol = factor * high
        sizes = np.ldexp(1.0, np.arange(EXPONENTS) - 1023)  # |t| is at least that ...
        sizes[0] = 0.0  # ... but where it is subnormal
        with np.errstate(over="ignore"):
            atol = float(np.max(factor * self.largest - rtol * sizes, initial=0.0))
        return Band(low, high, rtol, atol)


def bands(
    x: Array,
    weights: Weights,
    truth: Mapping[str, Array],
    *,
    first: Trace | None = None,
    threads: int | None = None,
    watch: Callable[[int], None] | None = None,
) -> Bands:
    """The bands of every layer for these pictures: PASSES of refnet against the truth, picture by picture.

    first: the trace of the first pass, where it is there already.  watch: called before each pass, with the picture.
    The factor is the prediction limit (limits.prediction_limit) of one more order, from the spread of the passes'
    relative errors over all layers.
    """
    errors = {layer: _Errors(len(PASSES)) for layer in truth}
    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        for picture in range(len(x)):
            one = slice(picture, picture + 1)
            passes = [] if first is None else [{layer: y[one] for layer, y in first.items()}]
            for settings in PASSES[len(passes) :]:
                if watch:
                    watch(picture)
                passes.append(dict(activations(x[one], weights, threads=threads, **settings)))

            def see(layer: str, passes: list[dict[str, Array]] = passes, one: slice = one) -> None:
                errors[layer].see([seen[layer] for seen in passes], truth[layer][one])

            list(pool.map(see, errors))
    deviation = spread([kept.relative[:WORST_KIND] for kept in errors.values()])
    factor = prediction_limit(deviation, WORST_KIND, len(errors))
    return Bands(factor, {layer: kept.band(factor) for layer, kept in errors.items()})


def spread(relative: Sequence[Float64]) -> float:
    """Standard deviation of the logarithm of relative errors over passes, from all layers whose errors have one."""
    usable = [errors for errors in relative if (errors > 0).all() and np.isfinite(errors).all()]
    logarithms = np.log(usable or [np.ones(WORST_KIND)])
    deviations = logarithms - logarithms.mean(axis=1, keepdims=True)
    return float(np.sqrt((deviations**2).sum() / (deviations.size - len(deviations))))


def _squared(x: Array) -> float:
    """The sum of squares, by NumPy's own loops: the digits shall not depend on the threads of a library."""
    flat = np.asarray(x, np.float64).ravel()
    return float(np.einsum("i,i->", flat, flat))
