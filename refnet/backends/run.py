"""Run variants, each in a fresh child process; whatever happens to one, the others go on."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from ..errors import InputError, VariantError
from ..provenance import provenance, sha256_of_array
from ..trace import Trace, publish
from ..weights import Weights, exchange_file
from .checks import TIMEOUT, check_run
from .child import MISSING, STAGE
from .job import make_job
from .kept import fingerprint, mark, seconds_of
from .process import watch
from .result import read_result, reason_of_status, remarks
from .side_by_side import side_by_side
from .variant import Variant
from .variants import select

STATUSES = ("ok", "missing", "failed", "timeout", "killed")
CHILD = Path(__file__).with_name("child.py")

Progress = Callable[[str, str, float], None]
"""Called as progress(variant name, stage or final status, seconds since this variant began)."""


@dataclass(frozen=True)
class Run:
    """How one variant went.

    status: one of STATUSES; reason: one line, for "ok" what `remarks` found worth saying.  trace: all layers,
    `predictions` being logits.
    logits: those of the plain model, which returns its last layer only.  Both are None unless the status is "ok";
    they are memory-mapped from the folder of the run.  provenance: ready for JSON.  seconds: of the whole child.
    """

    variant: str
    status: str
    reason: str = ""
    trace: Trace | None = None
    logits: np.ndarray | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise InputError(f"status {self.status!r} of {self.variant}", expected=f"one of {', '.join(STATUSES)}")
        ran = self.trace is not None and self.logits is not None
        if (self.status == "ok") != ran or not (ran or self.reason):
            raise InputError(f"run of {self.variant} is {self.status}", expected="a trace and logits, or else a reason")


@dataclass(frozen=True)
class _Task:
    """What all variants of one call share."""

    weights: Weights
    exchange: Path
    images: np.ndarray
    images_file: Path
    folder: Path
    threads: int | None
    seed: int
    timeout: float
    resume: bool
    child: Path
    progress: Progress
    stop: Event


def run(
    variants: Sequence[str | Variant],
    weights: Weights,
    images: np.ndarray,
    folder: str | Path,
    *,
    threads: int | None = None,
    seed: int = 0,
    timeout: float = TIMEOUT,
    resume: bool = False,
    at_once: int = 1,
    progress: Progress | None = None,
    cache: Path | None = None,
    child: Path = CHILD,
    stop: Event | None = None,
    ended: Callable[[Run], None] | None = None,
) -> list[Run]:
    """Run each variant on `images` (n, height, width, 3), float32, already preprocessed; one Run each, in their order.

    Under `folder` a variant that succeeds gets a folder of its name (`logits.npy` and the Trace folder `trace`), and
    each one that was started gets `NAME.log`, its stderr. `threads=None` leaves each framework's own choice; `seed` is
    what the frameworks' generators start from; `timeout` is in seconds, for one variant; `resume` takes results that an
    earlier run left in `folder` where all that they come from is the same (kept.fingerprint); `at_once` is how many
    children there are at a time, which saves the time in which a framework starts on one core; `progress` and `ended`
    are called from other threads then, `ended` with each Run when it is there; `cache` is where the exchange file of
    the weights is kept; `child` is the script that does the work; `stop`, set by another thread, ends all of it with
    StoppedError. Raises InputError for what check_run refuses; whatever else goes wrong with a variant is the reason of
    its Run.
    """
    chosen = select(variants)
    folder = Path(folder)
    check_run(chosen, images, folder, threads=threads, timeout=timeout)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".work-") as work:
            images_file = Path(work) / "images.npy"
            np.save(images_file, images, allow_pickle=False)
            task = _Task(
                weights=weights,
                exchange=exchange_file(weights, cache, otherwise=Path(work)).absolute(),
                images=images,
                images_file=images_file.absolute(),
                folder=folder,
                threads=threads,
                seed=seed,
                timeout=timeout,
                resume=resume,
                child=child,
                progress=progress or (lambda variant, stage, seconds: None),
                stop=stop or Event(),
            )

            def run_one(variant: Variant) -> Run:
                ran = _run_one(variant, task)
                if ended is not None:
                    ended(ran)
                return ran

            return side_by_side(run_one, chosen, at_once, task.stop)
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror or error}") from error


def _run_one(variant: Variant, task: _Task) -> Run:
    begin = time.monotonic()
    facts = _facts(variant, task)
    last_stage, missing = "start", variant.missing

    def on_line(line: str) -> None:
        nonlocal last_stage, missing
        if line.startswith(MISSING):
            missing = line.removeprefix(MISSING).strip()
        if line.startswith(STAGE):
            last_stage = line.removeprefix(STAGE).strip()
            task.progress(variant.name, last_stage, time.monotonic() - begin)

    def ended(status: str, reason: str = "", **results: Any) -> Run:
        told = {"reason": reason, "provenance": facts, "seconds": time.monotonic() - begin, **results}
        task.progress(variant.name, status, told["seconds"])
        return Run(variant.name, status, **told)

    if missing:
        return ended("missing", missing)
    task.progress(variant.name, last_stage, 0.0)
    log = task.folder / f"{variant.name}.log"
    job = _job(variant, task, facts)
    try:
        if (kept := _kept(variant, task, job, facts)) is not None:
            return ended("ok", **kept)
        with tempfile.TemporaryDirectory(dir=task.folder, prefix=f".{variant.name}-") as work:
            command, environment = _command(job, task, Path(work)), job["environment"]
            status = watch(command, log, timeout=task.timeout, on_line=on_line, stop=task.stop, environment=environment)
            if status is None:
                return ended("timeout", f"no result within {task.timeout:g} s; the last stage was {last_stage}")
            if status != 0:
                return ended("killed" if status < 0 else "failed", reason_of_status(status, log))
            if missing:
                return ended("missing", missing)
            result = Path(work) / "result"
            read = _read(variant, task, result)
            mark(result, fingerprint(job, facts, task.child), time.monotonic() - begin)
            publish(result, task.folder / variant.name)  # what is mapped stays mapped under the new name
            return ended("ok", **read)
    except VariantError as error:
        return ended("failed", str(error))
    except OSError as error:
        return ended("failed", f"{error.filename or task.folder}: {error.strerror or error}")


def _facts(variant: Variant, task: _Task) -> dict[str, Any]:
    """The provenance that every row has, also one that could not run."""
    return provenance(
        variant=variant.name,
        description=variant.description,
        weights={"sha256": task.weights.hash, "source": task.weights.source},
        images={"sha256": sha256_of_array(task.images), "shape": list(task.images.shape)},
        threads=variant.threads or task.threads,
        seed=task.seed,
    )


def _job(variant: Variant, task: _Task, facts: Mapping[str, Any]) -> dict[str, Any]:
    return make_job(
        variant,
        task.weights.graph(task.images.shape[1:3]),
        weights=task.exchange,
        images=task.images_file,
        output=Path("result"),
        threads=task.threads,
        seed=task.seed,
        provenance=facts,
    )


def _command(job: Mapping[str, Any], task: _Task, work: Path) -> list[str]:
    """Write the job; the command that does it. -P: the script's folder must not shadow what the framework imports."""
    path = work / "job.json"
    path.write_text(json.dumps(job, indent=1), encoding="utf-8")
    return [sys.executable, "-P", str(task.child), str(path)]


def _read(variant: Variant, task: _Task, result: Path) -> dict[str, Any]:
    """What a Run says of a result, once it is checked. Raises VariantError."""
    graph = task.weights.graph(task.images.shape[1:3])
    threads = variant.threads or task.threads
    trace, logits = read_result(result, graph, task.weights, len(task.images), variant, threads)
    return {
        "reason": remarks(trace, logits),
        "trace": trace,
        "logits": logits,
        "provenance": dict(trace.provenance),
    }


def _kept(variant: Variant, task: _Task, job: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result of an earlier run, where one is to be taken and is there, whole, and made from the same."""
    if not task.resume:
        return None
    place = task.folder / variant.name
    try:
        seconds = seconds_of(place, fingerprint(job, facts, task.child))
        return {**_read(variant, task, place), "seconds": seconds}
    except VariantError:
        return None
