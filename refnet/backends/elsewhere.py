"""Traces from elsewhere: a job that another machine can run without refnet, and what comes back from it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, VariantError
from ..provenance import about_pictures, sha256_of_array
from ..trace import INDEX, Trace, publish
from ..weights import Weights, save_weights
from .checks import check_images
from .job import make_job
from .result import check_weights, complete, models, read_logits, remarks
from .run import CHILD, Run
from .variant import Variant

SCRIPT = "write_trace.py"
OUTPUT_PREFIX = "trace:"  # of the row's name, so that it stands beside the variant of this machine


def write_job(
    variants: Sequence[Variant],
    weights: Weights,
    images: np.ndarray,
    folder: str | Path,
    *,
    threads: int | None = None,
    seed: int = 0,
) -> list[str]:
    """Write a folder to be copied to another machine: SCRIPT, the pictures, the weights and a job for each variant.

    There `python write_trace.py torch.json` needs only NumPy and the framework, and writes the folder `torch`, which
    load_run reads. images: (n, height, width, 3) float32, preprocessed. The folder appears whole or not at all. Returns
    the commands to be run there. Raises InputError if the folder exists or cannot be written.
    """
    folder = Path(folder)
    check_images(images)
    if folder.exists():
        raise InputError(f"{folder} exists", do="choose another folder")
    facts = {
        "weights": {"sha256": weights.hash, "source": weights.source},
        "images": {"sha256": sha256_of_array(images), "shape": list(images.shape)},
        "seed": seed,
    }
    graph = weights.graph(images.shape[1:3])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            whole = Path(temporary) / "job"
            whole.mkdir()
            shutil.copyfile(CHILD, whole / SCRIPT)
            np.save(whole / "images.npy", images, allow_pickle=False)
            save_weights(weights, whole / "weights.h5")
            for variant in variants:
                places = {"weights": Path("weights.h5"), "images": Path("images.npy"), "output": Path(variant.name)}
                provenance = {**facts, "threads": variant.threads or threads}
                job = make_job(variant, graph, **places, threads=threads, seed=seed, provenance=provenance)
                (whole / f"{variant.name}.json").write_text(json.dumps(job, indent=1), encoding="utf-8")
            publish(whole, folder)
    except OSError as error:
        raise InputError(f"cannot write the job {folder}: {error.strerror or error}") from error
    return [f"python {SCRIPT} {variant.name}.json" for variant in variants]


def load_run(folder: str | Path, weights: Weights, images: np.ndarray) -> Run:
    """What SCRIPT or Trace.save wrote, as the run `trace:NAME` with NAME the folder's.

    Logits are those of the plain model where there are any (SCRIPT's `logits.npy`), else the trace's last layer. Raises
    InputError for what is no whole trace of this graph, and where it tells of other weights or pictures than these.
    """
    folder = Path(folder)
    result = (folder / "trace" / INDEX).is_file()
    graph = weights.graph(images.shape[1:3])
    trace = Trace.load(folder / "trace" if result else folder)
    _check_hashes(folder, trace.provenance, weights, images)
    try:
        trace = complete(trace, graph, len(images))
        logits = read_logits(folder, trace, graph.output.name) if result else trace[graph.output.name]
        told = trace.provenance.get("backend")
        for model_name, model in models(told).items() if isinstance(told, Mapping) else ():
            check_weights(model_name, model.get("weights"), weights)
    except VariantError as error:
        raise InputError(f"the trace in {folder} cannot be compared: {error}") from error
    name = f"{OUTPUT_PREFIX}{folder.resolve().name}"
    return Run(name, "ok", remarks(trace, logits), trace, logits, dict(trace.provenance))


def load_runs(folders: Sequence[str | Path], weights: Weights, images: np.ndarray) -> list[Run]:
    """load_run of each folder. Raises InputError for two of one name, too."""
    runs = [load_run(folder, weights, images) for folder in folders]
    names = [run.variant for run in runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"traces named twice: {', '.join(twice)}", expected="folders of different names")
    return runs


def _check_hashes(folder: Path, told: Mapping[str, Any], weights: Weights, images: np.ndarray) -> None:
    """What the trace says that it was computed from, in any of the ways that refnet writes it, against what is here."""
    picture = sha256_of_array(images)
    here = {
        "weights": ("weights", weights.hash),
        "images": ("pictures", picture),
        "picture": ("pictures", picture),
        "pictures": ("pictures", about_pictures(images)["sha256"]),
    }
    for key, (what, expected) in here.items():
        value = told.get(key)
        found = value.get("sha256") if isinstance(value, Mapping) else value
        if found is not None and found != expected:
            raise InputError(
                f"the trace in {folder} was computed from other {what}, with the sha256 {found}", expected=str(expected)
            )
