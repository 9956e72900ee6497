"""Run the experiments of the claims: each variant once, in a child process of its own, asked in all the ways needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.run import Progress
from ..drift.truth import timed
from ..errors import InputError
from ..forward import predict
from ..provenance import about_pictures, provenance
from ..weights import Weights
from .calls import CALLS, picture_of
from .claim import Claim, Experiment
from .limit import Limit, limit_of_rounding
from .measured import Measured, compare
from .runs import Answers, Asking
from .sentence import sentence, verdict
from .table import CLAIMS

Array = NDArray[np.floating]
Float64 = NDArray[np.float64]
TIMEOUT = 300.0  # seconds for one variant


@dataclass(frozen=True)
class Claims:
    """What `measure_claims` found. measured: claim name -> one Measured for each of its experiments, in their order.

    runs: variant -> its status, reason, seconds, and what it said of itself.
    """

    provenance: Mapping[str, Any]
    limit: Limit
    measured: Mapping[str, tuple[Measured, ...]]
    runs: Mapping[str, Mapping[str, Any]]

    def __post_init__(self) -> None:
        for name, found in self.measured.items():
            if tuple(row.experiment for row in found) != CLAIMS[name].experiments:
                raise InputError(f"measurements of {name}", expected="one for each of its experiments")

    def document(self) -> dict[str, Any]:
        """What `refnet claims --json` writes (docs/claims.md), schema 1."""
        return {
            "schema": 1,
            "provenance": dict(self.provenance),
            "limit": asdict(self.limit),
            "claims": [
                {
                    "claim": name,
                    "text": CLAIMS[name].text,
                    "verdict": verdict(found),
                    "sentence": sentence(CLAIMS[name], found),
                    "experiments": [_document(row) for row in found],
                }
                for name, found in self.measured.items()
            ],
            "runs": {name: dict(run) for name, run in self.runs.items()},
        }


def _document(row: Measured) -> dict[str, Any]:
    sides = {"first": asdict(row.experiment.first), "second": asdict(row.experiment.second)}
    return sides | {field.name: getattr(row, field.name) for field in fields(row) if field.name != "experiment"}


def measure_claims(
    x: Array,
    w: Weights,
    claims: Sequence[str] = tuple(CLAIMS),
    *,
    threads: int | None = None,
    timeout: float = TIMEOUT,
    progress: Progress | None = None,
    cache: Path | None = None,
) -> Claims:
    """Measure claims on one picture and one set of weights.

    x: (1, height, width, 3) float32, preprocessed.  w: with their top.  claims: names in CLAIMS.  threads: of refnet
    and of each backend; None is each one's own choice.  timeout: seconds for one variant.  progress: called as
    progress(variant, stage or final status, seconds).  cache: where the weights for the backends are kept.

    A variant that does not run leaves a reason in each experiment that needs it; the others go on.
    Raises InputError for unknown claims, several pictures, and weights without a top.
    """
    chosen = _check(x, w, claims)
    tell = progress or (lambda variant, stage, seconds: None)
    with timed("refnet-float64", tell):
        truths = truths_of(chosen, x, w, threads)
    with timed("refnet-float32", tell):
        limit = limit_of_rounding(x, w, truths["predict"], threads=threads)
    with TemporaryDirectory(prefix="refnet-") as temporary:
        asking = Asking(x, w, Path(temporary), threads, timeout, tell, cache)
        runs = asking.run_all(calls_of(chosen))
    measured = {
        claim.name: tuple(_measure(experiment, runs, truths, limit) for experiment in claim.experiments)
        for claim in chosen
    }
    about = provenance(
        weights={"source": w.source, "sha256": w.hash}, pictures=about_pictures(x), threads=threads, timeout=timeout
    )
    return Claims(about, limit, measured, {name: answers.document() for name, answers in runs.items()})


def calls_of(claims: Sequence[Claim]) -> dict[str, tuple[str, ...]]:
    """Variant -> the calls that these claims need of it, in the order of CALLS; variants as they first come up."""
    pairs = [pair for claim in claims for pair in claim.experiments]
    needed = [(arm.variant, arm.call) for pair in pairs for arm in (pair.first, pair.second)]
    variants = dict.fromkeys(variant for variant, _ in needed)
    return {variant: tuple(call for call in CALLS if (variant, call) in needed) for variant in variants}


def truths_of(claims: Sequence[Claim], x: Array, w: Weights, threads: int | None) -> dict[str, Float64]:
    """Call -> the true logits (1, classes) of its picture: refnet's float64 pass, once for each picture."""
    needed = {"predict", *(call for calls in calls_of(claims).values() for call in calls)}
    truths: dict[str, Float64] = {}
    known: dict[bytes, Float64] = {}
    for call in (name for name in CALLS if name in needed):
        picture = picture_of(call, x)
        key = picture.tobytes()
        if key not in known:
            logits = predict(picture, w, precision="float64", classifier_activation=None, threads=threads)
            known[key] = np.asarray(logits, np.float64)
        truths[call] = known[key]
    return truths


def _check(x: Array, w: Weights, claims: Sequence[str]) -> list[Claim]:
    unknown = [name for name in claims if name not in CLAIMS]
    if unknown or not claims:
        raise InputError(f"claims {', '.join(unknown) or '(none named)'}", expected=f"some of {', '.join(CLAIMS)}")
    if x.ndim != 4 or len(x) != 1 or x.dtype != np.float32:
        raise InputError(f"pictures of {x.dtype} {x.shape}", expected="one, float32 (1, height, width, 3)")
    if not w.include_top:
        raise InputError("the weights have no top, so there are no logits to compare", do="give weights with their top")
    return [CLAIMS[name] for name in dict.fromkeys(claims)]


def _measure(
    experiment: Experiment, runs: Mapping[str, Answers], truths: Mapping[str, Float64], limit: Limit
) -> Measured:
    """ "not run", with the reason, where a side has no logits."""
    sides = (experiment.first, experiment.second)
    reasons = {
        arm.variant: f"{arm.variant}: {answers.reason}"
        for arm in sides
        if (answers := runs[arm.variant]).status != "ok"
    }
    if reasons:
        return Measured(experiment, "not run", "; ".join(reasons.values()))
    first, second = (runs[arm.variant].logits[arm.call] for arm in sides)
    return compare(experiment, first, second, (truths[sides[0].call], truths[sides[1].call]), limit)
