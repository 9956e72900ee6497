"""The measures that only logits have: which classes win, and how far the probabilities are apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .measures import Definition, measure
from .storage import number

Array = NDArray[np.floating]


@dataclass(frozen=True)
class LogitMeasure(Definition):
    """value: from logits y and t of shape (pictures, classes)."""

    value: Callable[[Array, Array], float]


def top_classes(logits: Array, k: int) -> NDArray[np.intp]:
    """(pictures, k): the classes with the largest logits, largest first; of equal logits the lower class first."""
    return np.argsort(-logits, axis=-1, kind="stable")[:, :k]


Ranked = tuple[tuple[int, float], ...]
"""Class and logit, largest logit first."""


def best_logits(logits: Array, k: int = 5) -> tuple[Ranked, ...]:
    """For each picture the k largest logits with their classes; of equal logits the lower class first, NaN last."""
    classes = top_classes(logits, k)
    values = np.take_along_axis(logits, classes, axis=-1)
    return tuple(
        tuple((int(number), float(value)) for number, value in zip(*picture, strict=True))
        for picture in zip(classes, values, strict=True)
    )


def read_best_logits(document: Iterable[Iterable[tuple[Any, Any]]]) -> tuple[Ranked, ...]:
    """What JSON made of `best_logits`. Raises TypeError or ValueError for anything else."""
    return tuple(tuple((int(number_of), number(value)) for number_of, value in picture) for picture in document)


def top_agreement(values: Array, truth: Array, k: int) -> float:
    """The part of the truth's k best classes that are among the measured k best, averaged over pictures.

    A NaN is never among the best, so that a picture without a number agrees in nothing.
    """
    found, wanted = _numbers_among(values, top_classes(values, k)), top_classes(truth, k)
    return float((wanted[:, :, None] == found[:, None, :]).any(axis=-1).mean())


def _numbers_among(logits: Array, classes: NDArray[np.intp]) -> NDArray[np.intp]:
    """The classes, with -1 for those whose logit is NaN."""
    return np.where(np.isnan(np.take_along_axis(logits, classes, axis=-1)), -1, classes)


def log_softmax(logits: Array) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def kl_divergence(truth: Array, values: Array) -> float:
    """KL(softmax(t) || softmax(y)) in nats, the mean over pictures; NaN if a logit is not finite.

    With p = softmax(t), q = softmax(y) and d = log q - log p it is the sum of p (e^d - 1 - d), as sum p e^d = 1. Every
    term is >= 0 and the small ones are quadratic in d (Taylor), so that nothing cancels where y and t are close.
    """
    if not (np.isfinite(truth).all() and np.isfinite(values).all()):
        return float("nan")
    log_p, log_q = log_softmax(truth), log_softmax(values)
    p, q, d = np.exp(log_p), np.exp(log_q), log_q - log_p
    small = p * d * d / 2 * (1 + d / 3 * (1 + d / 4 * (1 + d / 5)))
    terms = np.where(np.abs(d) < 1e-3, small, q - p - p * d)
    return float(terms.sum(axis=-1).mean())


LOGIT_MEASURES = {
    row.name: row
    for row in (
        LogitMeasure(
            "top1_agreement",
            "top-1",
            "part of the pictures whose best class is the truth's",
            "",
            lambda y, t: top_agreement(y, t, 1),
        ),
        LogitMeasure(
            "top5_agreement",
            "top-5",
            "part of the truth's five best classes that are among y's five best, mean over pictures",
            "",
            lambda y, t: top_agreement(y, t, 5),
        ),
        LogitMeasure(
            "kl_nats",
            "KL",
            "KL(softmax(t) || softmax(y)), mean over pictures",
            "nats",
            lambda y, t: kl_divergence(t, y),
        ),
    )
}


def measure_logits(values: Array, truth: Array) -> dict[str, float]:
    """LOGIT_MEASURES, then MEASURES, by name, for logits y and t of shape (pictures, classes)."""
    return {name: row.value(values, truth) for name, row in LOGIT_MEASURES.items()} | measure(values, truth)
