"""What a model may answer: the truth of its pictures, and how far rounding takes it from there."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..drift import DEFAULT_TRUTH, TRUTHS
from ..drift.logits import top_classes
from ..drift.measures import relative_error
from ..drift.truth import truth_of
from ..drift.verdict import Verdict
from ..errors import InputError
from ..forward import predict
from ..images import load_image
from ..verdict.bands import Band, bands
from ..verdict.outputs import kept_in, sum_limit
from ..weights import Weights, load_weights
from .outputs import KINDS, Float64, as_logits, checked, checked_kind

Array = NDArray[np.floating]
Image = str | PathLike[str] | NDArray[np.floating]

REDUCED = ("tf32", "float16", "bfloat16")
LIKE = 4.0
"""Outputs are said to be as far from the truth as a lower precision if the two distances are within this factor."""


@dataclass(frozen=True)
class Expected:
    """The truth of some pictures and weights, and the band of float32 rounding around it.

    x: (n, height, width, 3) float32.  truth: (n, classes) float64 logits.  bands: one for each picture; factor: how
    much larger than theirs an error may be and still be rounding.  image, source: what the user called them.
    """

    x: Array
    w: Weights
    truth: Float64
    bands: tuple[Band, ...]
    factors: tuple[float, ...]
    image: str
    source: str

    def judge(self, outputs: object, *, kind: str | None = None) -> Verdict:
        """The worst verdict of all pictures: rounding, or mismatch with the reason. `kind` as in assert_rounding_only.

        margin: the largest evidence over its threshold; above 1 it is no rounding.  power: the smallest relative L2
        error of logits that would not have passed.
        """
        y = checked(outputs, self.truth.shape)
        found = checked_kind(y, kind)
        return max(
            (self._judge(picture, y[picture : picture + 1], found) for picture in range(len(y))),
            key=lambda verdict: (verdict.rank, verdict.margin),
        )

    def assert_rounding_only(self, outputs: object, *, kind: str | None = None) -> None:
        """Raises AssertionError, which says what, how far, and what to run next, unless outputs are rounding."""
        __tracebackhide__ = True
        verdict = self.judge(outputs, kind=kind)
        if not verdict.fine:
            raise AssertionError(f"{verdict}: {verdict.reason}\n{self._next()}")

    def _judge(self, picture: int, y: Array, kind: str) -> Verdict:
        truth, band, factor = self.truth[picture : picture + 1], self.bands[picture], self.factors[picture]
        name = f"the {KINDS[kind]} of picture {picture + 1} of {len(self.truth)}"
        strange = int(np.count_nonzero(~np.isfinite(y)))
        if strange:
            return Verdict("mismatch", reason=f"{name} hold {strange} NaN or infinities", margin=float("inf"))
        z, told = as_logits(y, truth, kind)
        if verdict := _of_what_is_told(name, y, z, told):
            return verdict
        error, power = relative_error(z, truth), factor * band.high
        margin = max(band.excess(z, truth), error / power if power else 0.0 if error == 0 else float("inf"))
        where = f"{name} are {error:.2g} from the truth (relative L2 of logits)"
        if margin <= 1 and kind == "softmax" and (verdict := _of_sum(name, y)):
            return verdict
        if margin <= 1:
            return Verdict(
                "rounding", "float32", f"{where}, {margin:.2g} times what rounding explains", margin=margin, power=power
            )
        reason = (
            f"{where}, and rounding explains {power:.2g} (refnet's own float32 passes: {band.low:.2g} to "
            f"{band.high:.2g}): {margin:.3g} times too far\n"
            f"{_largest(z, truth)}{self._as_far_as(picture, error)}{_kept(y)}"
        )
        return Verdict("mismatch", reason=reason, margin=margin, power=power)

    def _as_far_as(self, picture: int, error: float) -> str:
        """Which lower precision is as far from the truth, if one is."""
        distances = {}
        for precision in REDUCED:
            logits = predict(self.x[picture : picture + 1], self.w, precision=precision, classifier_activation=None)
            distances[precision] = relative_error(np.asarray(logits, np.float64), self.truth[picture : picture + 1])
        like = min(distances, key=lambda precision: abs(log(distances[precision] / error)))
        if not error / LIKE <= distances[like] <= error * LIKE:
            return ""
        return f"\na network in {like} is as far ({distances[like]:.2g}): is a lower precision switched on?"

    def _next(self) -> str:
        """The commands that find the cause."""
        files = f"--image {self.image} --weights {self.source}"
        return (
            'next: numpy.save("outputs.npy", outputs); '
            f"refnet diagnose --outputs outputs.npy {files}\n"
            "      refnet doctor shows what each backend computes in here, and which traps are set"
        )


def expect(
    image: Image,
    weights: str | PathLike[str] | Weights,
    *,
    truth: str = DEFAULT_TRUTH,
    threads: int | None = None,
    cache: Path | None = None,
) -> Expected:
    """The truth and the band of some pictures; takes seconds, so keep it, or use the fixture `refnet_truth`.

    image: a file, read as `refnet.load_image` does, or a float32 array (n, height, width, 3), already preprocessed.
    weights: what `refnet.load_weights` takes, or Weights.  truth: "certified", or "float64", which is quicker.
    threads: of refnet.  cache: where certificates are kept.  Raises InputError for anything else.
    """
    if truth not in TRUTHS:
        raise InputError(f"truth {truth!r}", expected=f"one of {', '.join(TRUTHS)}")
    w = (
        weights
        if isinstance(weights, Weights)
        else load_weights(weights if isinstance(weights, str) else Path(weights))
    )
    if not w.include_top:
        raise InputError(
            "the weights have no top, so there are no outputs to compare", do="give weights with their top"
        )
    x = image if isinstance(image, np.ndarray) else load_image(image)
    if x.ndim != 4 or x.shape[-1] != 3 or not len(x) or x.dtype != np.float32:
        raise InputError(f"pictures of {x.dtype} {x.shape}", expected="float32 (n, height, width, 3), preprocessed")
    output = w.graph(x.shape[1:3]).output.name
    true = truth_of(truth, x, w, threads=threads, cache=cache, tell=lambda name, stage, seconds: None)
    logits = np.asarray(true.trace[output], np.float64)
    found = [bands(x[k : k + 1], w, {output: logits[k : k + 1]}, threads=threads) for k in range(len(x))]
    return Expected(
        x,
        w,
        logits,
        tuple(band[output] for band in found),
        tuple(band.factor for band in found),
        "PICTURE" if isinstance(image, np.ndarray) else str(image),
        "WEIGHTS" if isinstance(weights, Weights) else str(weights),
    )


def assert_rounding_only(
    outputs: object,
    image: Image,
    weights: str | PathLike[str] | Weights,
    *,
    kind: str | None = None,
    truth: str = DEFAULT_TRUTH,
    threads: int | None = None,
    cache: Path | None = None,
) -> None:
    """Passes if outputs are ResNet50's for this picture and these weights, up to float32 rounding.

    outputs: (n, classes), logits or softmax of them, of any floating-point type.  kind: "logits" or "softmax"; None
    finds out.  image, weights, truth, threads, cache: as `expect` takes them.

    The limit is derived from refnet's own float32 passes on this very data and from no tolerance (docs/testing.md).
    Raises AssertionError, worded as a verdict, for what rounding does not explain, and InputError for outputs of
    another shape and for pictures and weights that cannot be.
    """
    __tracebackhide__ = True
    expect(image, weights, truth=truth, threads=threads, cache=cache).assert_rounding_only(outputs, kind=kind)


def _kept(y: Array) -> str:
    """What to know of outputs that are numbers of a format narrower than float32."""
    name = kept_in(y).name
    return f"\nthey are kept in {name}, which alone takes outputs far: hand out float32" if name in REDUCED else ""


def _of_sum(name: str, y: Array) -> Verdict | None:
    """mismatch where probabilities do not add up to 1: their logits forget a factor that all of them have."""
    total, limit = float(y.sum(dtype=np.float64)), sum_limit(y)
    if abs(total - 1) <= limit:
        return None
    reason = f"{name} add up to {total:.9g}, and rounding explains {limit:.2g} from 1"
    return Verdict("mismatch", reason=reason, margin=abs(total - 1) / limit, power=limit)


def _of_what_is_told(name: str, y: Array, z: Float64, told: int) -> Verdict | None:
    """undecided where outputs y tell few of the logits z; mismatch where they are 0 and should not be."""
    if 2 * told < z.size:
        few = f"{name} tell only {told} of {z.size} logits, the others being too small for {y.dtype}"
        return Verdict("undecided", reason=f"{few}: give logits")
    zeros = int(np.count_nonzero(~np.isfinite(z)))
    if not zeros:
        return None
    reason = f"{name} are 0 for {zeros} classes whose true probability {y.dtype} can hold"
    return Verdict("mismatch", reason=reason, margin=float("inf"))


def _largest(y: Float64, truth: Float64) -> str:
    """The logit that is farthest off, and the best classes of both."""
    place = int(np.argmax(np.abs(y - truth)))
    best, wanted = int(top_classes(y, 1)[0, 0]), int(top_classes(truth, 1)[0, 0])
    classes = f"both rank class {best} first" if best == wanted else f"class {best} comes first and not {wanted}"
    return f"farthest off is class {place}: {y[0, place]:.9g} for {truth[0, place]:.9g}; {classes}"
