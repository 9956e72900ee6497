"""A child's side of the doctor: `python -m refnet.backends.probe job.json` asks one variant what it computes in.

Nothing is taken on trust that can be measured. The model is one 1x1 convolution and one dense layer with diagonal
kernels 1 + 2^-j, so each output is one product: j counts the fraction bits of the operands that survive. A second
picture of 2^100 is beyond float16 and within float32, bfloat16 and TF32. Then the weights are exchanged: a model that
answers as before has kept the old ones. The answer is one line of JSON on standard output, after ANSWER.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np

from . import child

ANSWER = "refnet-answer: "
CHANNELS = 64  # more than the 52 fraction bits of float64
HUGE = 2.0**100


def main(job: child.Job) -> None:
    os.environ["KERAS_HOME"] = job["home"]  # the user's keras.json must not decide anything
    child.stage("import")
    keras = child.configure(job)
    if "gpu" in job["needs"] and not child.has_gpu(child.backend_of(keras)):
        print(f"\n{child.MISSING}no GPU that {child.backend_of(keras)} can use here", flush=True)
        return
    child.stage("probe")
    model = build(keras, job)
    ladder = np.diag(1 + 2.0 ** -np.arange(1, CHANNELS + 1))
    first = predict(model, ladder)
    found = {name: measured(output) for name, output in first.items()}
    told = child.describe(keras, job, model)
    del told["weights"]
    second = predict(model, np.eye(CHANNELS))
    stale = all(np.array_equal(first[name], second[name], equal_nan=True) for name in first)
    print(f"\n{ANSWER}{json.dumps({**told, 'operands': found, 'keeps_first_weights': stale})}", flush=True)


def build(keras: Any, job: child.Job) -> Any:
    """Both layers beside each other; one pixel, so that the data format only moves an axis of length 1."""
    last = keras.backend.image_data_format() == "channels_last"
    picture = keras.layers.Input((1, 1, CHANNELS) if last else (CHANNELS, 1, 1))
    vector = keras.layers.Input((CHANNELS,))
    convolved = keras.layers.Conv2D(CHANNELS, 1, use_bias=False)(picture)
    multiplied = keras.layers.Dense(CHANNELS, use_bias=False)(vector)
    model = keras.Model([picture, vector], [convolved, multiplied])
    if job["compile"]:
        model.compile(**job["compile"])
    return model


def predict(model: Any, kernel: np.ndarray) -> dict[str, np.ndarray]:
    """Layer -> (2, CHANNELS): what a row of ones becomes, and what a row of HUGE becomes."""
    model.set_weights([kernel[None, None], kernel])
    x = np.repeat(np.array([[1.0], [HUGE]], np.float32), CHANNELS, axis=1)
    outputs = model.predict([x.reshape(2, *model.inputs[0].shape[1:]), x], verbose=0)
    return {
        name: np.asarray(output).astype(np.float64).reshape(2, CHANNELS)
        for name, output in zip(("convolution", "dense"), outputs, strict=True)
    }


def measured(output: np.ndarray) -> dict[str, Any]:
    """fraction_bits: of the operands, that reach the output; wide: numbers beyond float16 stay finite."""
    ones, huge = output
    return {"fraction_bits": int(np.count_nonzero(ones > 1)), "wide": bool(np.isfinite(huge).all())}


if __name__ == "__main__":
    child.start(sys.argv[1], main)
