"""The operations are those of Keras's layers: pad, pool, ReLU and addition exactly, sums within proven bounds."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from refnet import ops
from refnet.arithmetic import Arithmetic
from refnet.graph import BATCH_NORM_EPSILON

pytestmark = pytest.mark.slow  # Keras takes eight seconds to start

U = 2.0**-24
CONVOLUTIONS = {  # name -> kernel, strides, padding
    "plain": ((3, 3), (1, 1), ((0, 0), (0, 0))),
    "conv1": ((7, 7), (2, 2), ((3, 3), (3, 3))),
    "strided 1x1": ((1, 1), (2, 2), ((0, 0), (0, 0))),
    "odd": ((2, 3), (3, 1), ((1, 0), (2, 1))),
}
POOLS = {"pool1": ((3, 3), (2, 2), ((1, 1), (1, 1))), "odd": ((2, 1), (1, 3), ((0, 2), (1, 0)))}

CHILD = """
import sys
import keras
import numpy as np
given, made = dict(np.load(sys.argv[1])), {}
x = given["x"]
for name, (size, strides, padding) in CONVOLUTIONS.items():
    layers = [keras.layers.ZeroPadding2D(padding), keras.layers.Conv2D(5, size, strides)]
    net = keras.Sequential([keras.Input(x.shape[1:]), *layers])
    layers[1].set_weights([given[name], given["bias"]])
    made["conv " + name] = net.predict(x, verbose=0)
for name, (size, strides, padding) in POOLS.items():
    net = keras.Sequential([
        keras.Input(x.shape[1:]), keras.layers.ZeroPadding2D(padding), keras.layers.MaxPooling2D(size, strides)
    ])
    made["pool " + name] = net.predict(x, verbose=0)
norm = keras.layers.BatchNormalization(epsilon=EPSILON)
norm.build(x.shape)
norm.set_weights(list(given["norm"]))
dense = keras.layers.Dense(6, activation="softmax")
dense.build((None, x.shape[-1]))
dense.set_weights([given["matrix"], given["offset"]])
as_array = keras.ops.convert_to_numpy
made["norm"] = as_array(norm(x, training=False))
made["relu"] = as_array(keras.layers.Activation("relu")(x))
made["mean"] = as_array(keras.layers.GlobalAveragePooling2D()(x))
made["add"] = as_array(keras.layers.Add()([x, x[::-1].copy()]))
made["pad"] = as_array(keras.layers.ZeroPadding2D(((1, 0), (2, 3)))(x))
made["softmax"] = as_array(dense(x[:, 0, 0]))
np.savez(sys.argv[2], **made)
"""


@pytest.fixture(scope="module")
def given() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    kernels = {name: normal(*size, 4, 5) for name, (size, _, _) in CONVOLUTIONS.items()}
    norm = np.stack([normal(4), normal(4), normal(4), abs(normal(4))])
    return kernels | {
        "x": normal(2, 9, 8, 4),
        "bias": normal(5),
        "norm": norm,
        "matrix": normal(4, 6),
        "offset": normal(6),
    }


@pytest.fixture(scope="module")
def keras(given: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What Keras's layers give, from one child process."""
    if not (find_spec("keras") and find_spec("torch")):
        pytest.skip("Keras with its torch backend is not installed")
    folder: Path = tmp_path_factory.mktemp("keras")
    np.savez(folder / "given.npz", **given)
    tables = f"CONVOLUTIONS, POOLS, EPSILON = {CONVOLUTIONS!r}, {POOLS!r}, {BATCH_NORM_EPSILON!r}\n"
    command = [sys.executable, "-c", tables + CHILD, str(folder / "given.npz"), str(folder / "made.npz")]
    done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "torch"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "made.npz"))


def exact_products(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, **how: object) -> tuple[np.ndarray, np.ndarray]:
    """conv2d in float64, 29 bits better than what is judged, and the any-order bound of a float32 sum."""
    wide = Arithmetic("float64")
    y = ops.conv2d(*(z.astype(np.float64) for z in (x, kernel, bias)), arithmetic=wide, **how)
    sizes = ops.conv2d(*(abs(z).astype(np.float64) for z in (x, kernel, bias)), arithmetic=wide, **how)
    return y, (kernel[..., 0].size + 1) * U * sizes


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_conv2d(name: str, given: dict[str, np.ndarray], keras: dict[str, np.ndarray]) -> None:
    _, strides, padding = CONVOLUTIONS[name]
    x, kernel, bias = given["x"], given[name], given["bias"]
    y, bound = exact_products(x, kernel, bias, strides=strides, padding=padding)
    ours = ops.conv2d(x, kernel, bias, strides=strides, padding=padding, arithmetic=Arithmetic())
    for theirs in (keras[f"conv {name}"], ours):
        assert theirs.shape == y.shape and (abs(theirs - y) <= bound).all()
    swapped = kernel[::-1] if kernel.shape[0] > 1 else kernel[:, :, ::-1]
    assert (abs(exact_products(x, swapped, bias, strides=strides, padding=padding)[0] - y) > bound).any()  # it can fail


@pytest.mark.parametrize("name", POOLS)
def test_max_pool_is_exact(name: str, given: dict[str, np.ndarray], keras: dict[str, np.ndarray]) -> None:
    size, strides, padding = POOLS[name]
    assert (ops.max_pool(ops.pad(given["x"], padding), size=size, strides=strides) == keras[f"pool {name}"]).all()


def test_pad_relu_and_add_are_exact(given: dict[str, np.ndarray], keras: dict[str, np.ndarray]) -> None:
    x = given["x"]
    assert (ops.pad(x, ((1, 0), (2, 3))) == keras["pad"]).all()
    assert (ops.relu(x) == keras["relu"]).all()
    assert (ops.add(x, x[::-1], arithmetic=Arithmetic()) == keras["add"]).all()


@pytest.mark.parametrize("form", ["centred", "shifted", "shifted-fma"])
def test_batch_norm(form: str, given: dict[str, np.ndarray], keras: dict[str, np.ndarray]) -> None:
    """s has five roundings, every form at most three more, each of a number up to |x s| + |mean s| + |beta|."""
    x, (gamma, beta, mean, variance) = given["x"].astype(np.float64), given["norm"].astype(np.float64)
    s = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
    exact, size = (x - mean) * s + beta, (abs(x) + abs(mean)) * abs(s) + abs(beta)
    arithmetic = Arithmetic(batch_norm=form)
    ours = ops.batch_norm(given["x"], *given["norm"], epsilon=BATCH_NORM_EPSILON, arithmetic=arithmetic)
    for y in (ours, keras["norm"]):
        assert (abs(y - exact) <= 9 * U * size).all()


def test_mean_pool(given: dict[str, np.ndarray], keras: dict[str, np.ndarray]) -> None:
    x = given["x"].astype(np.float64)
    for y in (ops.mean_pool(given["x"], arithmetic=Arithmetic()), keras["mean"]):
        assert (abs(y - x.mean((1, 2))) <= (x[0, ..., 0].size + 1) * U * abs(x).mean((1, 2))).all()


def test_dense_and_softmax(given: dict[str, np.ndarray], keras: dict[str, np.ndarray]) -> None:
    """An error d of the logits changes a probability by up to 2 d of itself; then come a few roundings."""
    x, matrix, offset = (given[name].astype(np.float64) for name in ("x", "matrix", "offset"))
    x = x[:, 0, 0]
    logits, bound = x @ matrix + offset, 5 * U * (abs(x) @ abs(matrix) + abs(offset))
    exact = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    ours = ops.dense(given["x"][:, 0, 0], given["matrix"], given["offset"], arithmetic=Arithmetic())
    assert (abs(ours - logits) <= bound).all()
    limit = (2 * bound.max(-1, keepdims=True) + (8 + 2 * abs(logits).max()) * U) * exact * 1.01
    for y in (ops.softmax(ours, arithmetic=Arithmetic()), keras["softmax"]):
        assert (abs(y - exact) <= limit).all()
