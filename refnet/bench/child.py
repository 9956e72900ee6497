"""A worker's own side: `python -m refnet.bench.child job.json`.

It prepares what the job names, says that it is ready, and then answers requests, one JSON object a line on standard
input, until that ends. Answers are lines of standard output that begin with ANSWER; other lines are the frameworks'.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..backends import child as backend
from .pictures import fresh_pictures

ANSWER = "refnet-answer: "

Job = Mapping[str, Any]
Call = Callable[[Job], dict[str, Any]]
"""From a request to its answer."""


def main(job: Job) -> None:
    call = WORKERS[job["worker"]](job)
    answer({})
    for line in sys.stdin:
        answer(call(json.loads(line)))


def answer(content: Mapping[str, Any]) -> None:
    print(f"\n{ANSWER}{json.dumps(content)}", flush=True)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def keras_worker(job: Job) -> Call:
    """Keras's predict of the plain model. A request has `batch` and `seed`, its answer `seconds` and `logits`."""
    base = np.load(job["images"], allow_pickle=False)
    model = backend.build(backend.configure(job), job)

    def call(request: Job) -> dict[str, Any]:
        batch = request["batch"]
        pictures = fresh_pictures(base, batch, request["seed"])
        seconds, logits = timed(lambda: model.predict(pictures, batch_size=batch, verbose=0))
        return {"seconds": seconds, "logits": np.asarray(logits, np.float64)[0].tolist()}

    return call


def openvino_worker(job: Job) -> Call:
    """OpenVINO's own call: the Keras model is exported once, and compiled for the batch size of each request."""
    base = np.load(job["images"], allow_pickle=False)
    model = backend.build(backend.configure(job), job)
    openvino: Any = importlib.import_module("openvino")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.xml")
        model.export(path, format="openvino", verbose=False)
        network = openvino.Core().read_model(path)
    config = {"INFERENCE_PRECISION_HINT": job["settings"]["inference_precision"], "PERFORMANCE_HINT": "LATENCY"}
    if job["threads"] is not None:
        config["INFERENCE_NUM_THREADS"] = job["threads"]
    requests: dict[int, Any] = {}

    def call(request: Job) -> dict[str, Any]:
        batch = request["batch"]
        pictures = fresh_pictures(base, batch, request["seed"])
        if batch not in requests:
            network.reshape(list(pictures.shape))
            requests[batch] = openvino.Core().compile_model(network, "CPU", config).create_infer_request()
        seconds, logits = timed(lambda: requests[batch].infer([pictures], share_inputs=True)[0])
        return {"seconds": seconds, "logits": np.asarray(logits, np.float64)[0].tolist()}

    return call


def sgemm_worker(job: Job) -> Call:
    """NumPy's float32 product of (m, k) and (k, n): `seconds` are the least of `calls`, each with another left side."""

    def call(request: Job) -> dict[str, Any]:
        m, k, n = request["shape"]
        random = np.random.default_rng(request["seed"])
        right = random.standard_normal((k, n), np.float32)
        lefts = random.standard_normal((request["calls"], m, k), np.float32)
        return {"seconds": min(timed(functools.partial(np.matmul, left, right))[0] for left in lefts)}

    return call


WORKERS: Mapping[str, Callable[[Job], Call]] = {
    "keras": keras_worker,
    "compiled": openvino_worker,
    "sgemm": sgemm_worker,
}


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
