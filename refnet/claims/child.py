"""A child's side of the claims: `python -m refnet.claims.child job.json` asks one variant in several ways.

For each call of the job it writes `CALL.npy`, the logits (1, classes), into the folder `job["output"]`, and answers
with what ran. One start of a framework serves all calls.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..backends import child
from ..backends.probe import ANSWER
from .calls import CALLS, COPIES, OTHER_SEED, picture_of

Ask = Callable[[Any, Any, child.Job, np.ndarray], np.ndarray]
"""From keras, a model that has answered once, the job and the picture (1, height, width, 3) to logits."""


def main(job: child.Job) -> None:
    os.environ["KERAS_HOME"] = job["home"]  # the user's keras.json must not decide anything
    x = np.load(job["images"], allow_pickle=False)
    child.stage("import")
    keras = child.configure(job)
    child.stage("predict")
    model = child.build(keras, job)
    answers = {"predict": predict(model, x)}
    told = child.describe(keras, job, model)
    for call in (name for name in CALLS if name in job["calls"] and name not in answers):
        child.stage(call)
        answers[call] = ASK[call](keras, model, job, x)
    for call, answer in answers.items():
        np.save(Path(job["output"]) / f"{call}.npy", storable(answer[:1]))
    agree = {call: bool((bits(answer) == bits(answer[:1])).all()) for call, answer in answers.items()}
    del told["weights"]
    print(f"\n{ANSWER}{json.dumps({**told, 'rows_agree': agree})}", flush=True)


def predict(model: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(x, batch_size=len(x), verbose=0))


def fresh(keras: Any, job: child.Job, x: np.ndarray) -> np.ndarray:
    return predict(child.build(keras, job), x)


def seeded(keras: Any, job: child.Job, x: np.ndarray) -> np.ndarray:
    keras.utils.set_random_seed(OTHER_SEED)
    return fresh(keras, job, x)


def wide(keras: Any, job: child.Job, x: np.ndarray) -> np.ndarray:
    """The dtype policy is the job's; floatx decides what type a model's input is."""
    keras.backend.set_floatx("float64")
    return fresh(keras, job, x)


def called(keras: Any, model: Any, x: np.ndarray) -> np.ndarray:
    """Without predict, the tensor is the framework's own."""
    answer = model(x, training=False)
    return np.asarray(keras.ops.convert_to_numpy(answer) if hasattr(keras, "ops") else answer)


ASK: Mapping[str, Ask] = {
    "again": lambda keras, model, job, x: predict(model, x),
    "fresh": lambda keras, model, job, x: fresh(keras, job, x),
    "seed": lambda keras, model, job, x: seeded(keras, job, x),
    "float64": lambda keras, model, job, x: predict(model, picture_of("float64", x)),
    "called": lambda keras, model, job, x: called(keras, model, x),
    "wide": lambda keras, model, job, x: wide(keras, job, x),
    "wide-float64": lambda keras, model, job, x: wide(keras, job, picture_of("wide-float64", x)),
    "eight": lambda keras, model, job, x: predict(model, np.repeat(x, COPIES, axis=0)),
}


def bits(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).view(f"u{x.dtype.itemsize}")


def storable(x: np.ndarray) -> np.ndarray:
    """bfloat16 is no type that .npy files know; float32 holds its numbers exactly."""
    return x if x.dtype in (np.float16, np.float32, np.float64) else x.astype(np.float32)


if __name__ == "__main__":
    child.start(sys.argv[1], main)
