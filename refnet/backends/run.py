"""Run variants one after the other, each in a fresh child process; whatever happens to one, the others go on."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import check_writable
from ..errors import InputError, VariantError
from ..provenance import provenance, sha256_of_array
from ..trace import INDEX, Trace, publish
from ..weights import Weights, exchange_file
from .child import STAGE
from .job import make_job
from .process import watch
from .result import nonfinite, read_result, reason_of_status
from .variants import Variant, select

STATUSES = ("ok", "missing", "failed", "timeout", "killed")
CHILD = Path(__file__).with_name("child.py")
TIMEOUT = 600.0  # seconds for one variant, start and both models included

Progress = Callable[[str, str, float], None]
"""Called as progress(variant name, stage or final status, seconds since this variant began)."""


@dataclass(frozen=True)
class Run:
    """How one variant went.

    status: one of STATUSES; reason: one line, for "ok" empty unless there are NaN or infinities.  trace: all layers,
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
    child: Path
    progress: Progress


def run(
    variants: Sequence[str | Variant],
    weights: Weights,
    images: np.ndarray,
    folder: str | Path,
    *,
    threads: int | None = None,
    seed: int = 0,
    timeout: float = TIMEOUT,
    progress: Progress | None = None,
    cache: Path | None = None,
    child: Path = CHILD,
) -> list[Run]:
    """Run each variant on `images` (n, height, width, 3), float32, already preprocessed; one Run each, in their order.

    Under `folder` a variant that succeeds gets a folder of its name (`logits.npy` and the Trace folder `trace`), and
    each one that was started gets `NAME.log`, its stderr. `threads=None` leaves each framework's own choice; `seed` is
    what the frameworks' generators start from; `timeout` is in seconds, for one variant; `cache` is where the exchange
    file of the weights is kept; `child` is the script that does the work. Raises InputError for what check_run
    refuses; whatever else goes wrong with a variant is the reason of its Run.
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
                exchange=exchange_file(weights, cache, otherwise=Path(work)),
                images=images,
                images_file=images_file,
                folder=folder,
                threads=threads,
                seed=seed,
                timeout=timeout,
                child=child,
                progress=progress or (lambda variant, stage, seconds: None),
            )
            return [_run_one(variant, task) for variant in chosen]
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror or error}") from error


def check_run(
    variants: Sequence[Variant],
    images: np.ndarray,
    folder: Path | None,
    *,
    threads: int | None = None,
    timeout: float = TIMEOUT,
) -> None:
    """Raise InputError now for what `run` would refuse, and make its folder, if one is named."""
    _check_images(images)
    if not timeout > 0:
        raise InputError(f"timeout {timeout}", expected="seconds above 0")
    if threads is not None and threads < 1:
        raise InputError(f"{threads} threads", expected="at least 1, or None for each framework's own choice")
    if folder is not None:
        check_folder(folder, variants)


def check_folder(folder: Path, variants: Sequence[Variant]) -> None:
    """Make the folder of the results; raises InputError if it cannot be, or holds something else in their place."""
    _check_places(folder, variants)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror or error}", do="name another") from error
    check_writable(folder / ".work")


def _check_images(images: np.ndarray) -> None:
    if images.ndim != 4 or images.shape[-1] != 3 or not len(images) or images.dtype != np.float32:
        raise InputError(f"images are {images.dtype} {images.shape}", expected="float32 (n, height, width, 3)")
    if not np.isfinite(images).all():
        raise InputError("images hold NaN or infinity", expected="finite values")


def _check_places(folder: Path, variants: Sequence[Variant]) -> None:
    """Results replace older results and nothing else: `torch` may be a user's own folder."""
    for place in (folder / variant.name for variant in variants):
        if place.exists() and not (place / "trace" / INDEX).is_file():
            raise InputError(f"{place} exists and is not a result of refnet", do="choose another folder")


def _run_one(variant: Variant, task: _Task) -> Run:
    begin = time.monotonic()
    facts = _facts(variant, task)
    last_stage = "start"

    def on_line(line: str) -> None:
        nonlocal last_stage
        if line.startswith(STAGE):
            last_stage = line.removeprefix(STAGE).strip()
            task.progress(variant.name, last_stage, time.monotonic() - begin)

    def ended(status: str, reason: str = "", **results: Any) -> Run:
        seconds = time.monotonic() - begin
        task.progress(variant.name, status, seconds)
        return Run(variant.name, status, **{"reason": reason, "provenance": facts, **results}, seconds=seconds)

    if variant.missing_modules:
        absent = ", ".join(variant.missing_modules)
        return ended("missing", f'{absent} is not installed; pip install "refnet[{variant.extra}]"')
    task.progress(variant.name, last_stage, 0.0)
    log = task.folder / f"{variant.name}.log"
    try:
        with tempfile.TemporaryDirectory(dir=task.folder, prefix=f".{variant.name}-") as work:
            command = _prepare(variant, task, Path(work), facts)
            status = watch(command, log, timeout=task.timeout, on_line=on_line)
            if status is None:
                return ended("timeout", f"no result within {task.timeout:g} s; the last stage was {last_stage}")
            if status != 0:
                return ended("killed" if status < 0 else "failed", reason_of_status(status, log))
            return ended("ok", **_accept(variant, task, Path(work) / "result", facts))
    except VariantError as error:
        return ended("failed", str(error))
    except OSError as error:
        return ended("failed", f"{error.filename or task.folder}: {error.strerror or error}")


def _facts(variant: Variant, task: _Task) -> dict[str, Any]:
    """The provenance that every row has, also one that could not run."""
    return provenance(
        variant=variant.name,
        weights={"sha256": task.weights.hash, "source": task.weights.source},
        images={"sha256": sha256_of_array(task.images), "shape": list(task.images.shape)},
        threads=task.threads,
        seed=task.seed,
    )


def _prepare(variant: Variant, task: _Task, work: Path, facts: Mapping[str, Any]) -> list[str]:
    """Write the job; the command that does it. -P: the script's folder must not shadow what the framework imports."""
    job = make_job(
        variant,
        task.weights.graph(task.images.shape[1:3]),
        weights=task.exchange,
        images=task.images_file,
        output=work / "result",
        threads=task.threads,
        seed=task.seed,
        provenance=facts,
    )
    path = work / "job.json"
    path.write_text(json.dumps(job, indent=1), encoding="utf-8")
    return [sys.executable, "-P", str(task.child), str(path)]


def _accept(variant: Variant, task: _Task, result: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Check the child's result and give it its place under the folder."""
    graph = task.weights.graph(task.images.shape[1:3])
    trace, logits = read_result(result, graph, task.weights, len(task.images), variant, task.threads)
    publish(result, task.folder / variant.name)  # what is mapped stays mapped under the new name
    provenance = {**facts, "backend": trace.provenance["backend"]}
    return {"reason": nonfinite(trace, logits), "trace": trace, "logits": logits, "provenance": provenance}
