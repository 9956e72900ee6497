"""The synthetic weights: the same bits everywhere, and a network that behaves like a trained one."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from refnet.errors import InputError
from refnet.graph import DEPTHS, VARIANTS, Graph, resnet
from refnet.provenance import cpu
from refnet.weights import counter, fixed_point, scenes, synthetic
from refnet.weights.synthetic import synthetic_weights

SMALL = 64  # calibrating on small pictures runs the same code in a third of the time
HASHES = {  # size of the calibration pictures -> digest of ResNet50, seed 0
    SMALL: "213146f3cebff8a150f5f8d04cc6831c5e207fc80e377cea42bc6c715468b7b1",
    224: "251c716e042b2b01a4ae49d34890aa95bf1506feeae62fd1450ecfb87371685c",
}

Tensors = dict[str, np.ndarray]


def digest(tensors: Tensors) -> str:
    """SHA-256 over names, shapes and bytes, in order."""
    total = sha256()
    for name, tensor in tensors.items():
        total.update(f"{name} {tensor.shape} {tensor.dtype.str}".encode() + tensor.tobytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def weights() -> Tensors:
    return synthetic_weights(resnet(50))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "SIZE", SMALL)


# --- the generator


PUBLISHED = {  # first outputs: Vigna's splitmix64.c with seed 0, and the task "Splitmix64" of Rosetta Code
    0: (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC),
    1234567: (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821),
}


@pytest.mark.parametrize("seed", PUBLISHED)
def test_splitmix64_gives_the_published_numbers(seed: int) -> None:
    assert tuple(counter.splitmix64(seed, len(PUBLISHED[seed])).tolist()) == PUBLISHED[seed]


@given(start=st.integers(0, 2**64 - 1), index=st.integers(0, 300))
def test_each_number_depends_on_its_index_alone(start: int, index: int) -> None:
    """Against the definition in Python's integers."""
    z = (start + (index + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    assert int(counter.splitmix64(start, 301)[index]) == z ^ z >> 31


def test_normal_numbers_have_the_moments_of_four_added_uniforms() -> None:
    n = counter.normal(3, "any name", (400, 500))
    assert abs(n.mean()) < 0.01 and abs(n.std() - 1) < 0.005
    assert abs((n**3).mean()) < 0.02
    assert abs((n**4).mean() - (3 - 6 / 5 / 4)) < 0.03  # the excess kurtosis of a uniform is -6/5
    assert 3 < abs(n).max() < 3.47


def test_names_and_seeds_give_unrelated_numbers() -> None:
    draws = [counter.uniform(seed, name, (20000,)) for seed in (0, 1) for name in ("a", "b")]
    correlation = np.corrcoef(draws)
    assert abs(correlation - np.eye(4)).max() < 0.03
    assert all(draw.min() >= 0 and draw.max() < 1 for draw in draws)


# --- fixed point


@given(st.integers(0, 2**32), st.integers(1, 17), st.integers(1, 17))
def test_products_and_moments_equal_those_of_whole_numbers(seed: int, a_bits: int, b_bits: int) -> None:
    """Second route: Python's integers and fractions."""
    draw = np.random.default_rng(seed)
    a, b = draw.integers(-(2**a_bits), 2**a_bits, (6, 40)), draw.integers(-(2**b_bits), 2**b_bits, (40, 3))
    product = fixed_point.exact_product(a.astype(float), b.astype(float))
    assert (product == (a.astype(object) @ b.astype(object))).all()
    mean, variance = fixed_point.mean_and_variance(a.astype(float))
    for channel, values in enumerate(a.T.tolist()):
        true_mean = Fraction(sum(values), 6)
        true_variance = sum((value - true_mean) ** 2 for value in values) / 6
        assert mean[channel] == pytest.approx(float(true_mean), rel=1e-14, abs=1e-14)
        assert variance[channel] == pytest.approx(float(true_variance), rel=1e-9, abs=1e-9 * 4**a_bits)


@given(st.integers(0, 2**32), st.integers(-60, 60))
def test_moments_do_not_depend_on_the_order_of_the_values(seed: int, exponent: int) -> None:
    draw = np.random.default_rng(seed)
    x = np.ldexp(draw.normal(size=(500, 3)) + 0.3, exponent)
    found, shuffled = fixed_point.mean_and_variance(x), fixed_point.mean_and_variance(x[draw.permutation(500)])
    assert np.array_equal(found, shuffled)
    assert np.allclose(found, (x.mean(axis=0), x.var(axis=0)), rtol=1e-3)


def test_what_might_be_inexact_raises() -> None:
    with pytest.raises(ArithmeticError, match="2\\^53"):
        fixed_point.exact_product(np.full((1, 4), 2.0**26), np.full((4, 1), 2.0**26))
    with pytest.raises(ArithmeticError, match="2\\^17"):
        fixed_point.mean_and_variance(np.zeros((2**17 + 1, 1)))


# --- names, shapes, what depends on what


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.usefixtures("small")
def test_every_graph_gets_its_tensors(depth: int, variant: str) -> None:
    graph = resnet(depth, variant=variant, classes=7)
    tensors = synthetic_weights(graph)
    assert {name: tensor.shape for name, tensor in tensors.items()} == graph.weights
    assert list(tensors) == list(graph.weights)
    for tensor in tensors.values():
        assert tensor.dtype == np.float32 and tensor.flags.c_contiguous and np.isfinite(tensor).all()
        assert not (np.signbit(tensor) & (tensor == 0)).any()


@pytest.mark.usefixtures("small")
@pytest.mark.slow
def test_input_size_and_top_do_not_change_the_other_tensors() -> None:
    whole = synthetic_weights(resnet(50, classes=10))
    assert digest(synthetic_weights(resnet(50, classes=10, input_shape=(32, 48)))) == digest(whole)
    headless = {name: tensor for name, tensor in whole.items() if not name.startswith("predictions/")}
    assert digest(synthetic_weights(resnet(50, include_top=False))) == digest(headless)


@pytest.mark.usefixtures("small")
def test_seeds_give_other_weights_and_bad_seeds_raise() -> None:
    graph = resnet(50, classes=1)
    kernels = [synthetic_weights(graph, seed)["conv2_block1_1_conv/kernel"].ravel() for seed in (0, 1)]
    assert abs(np.corrcoef(kernels)[0, 1]) < 0.1
    for seed in (-1, 1.5, "0", None):
        with pytest.raises(InputError, match="integer"):
            synthetic_weights(graph, seed)  # type: ignore[arg-type]


# --- the same bits on every machine


@pytest.mark.parametrize("size", HASHES)
def test_pinned_hash(size: int, weights: Tensors, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes these bits changes the golden hashes of everyone: say so in the change log."""
    monkeypatch.setattr(synthetic, "SIZE", size)
    assert digest(weights if size == 224 else synthetic_weights(resnet(50))) == HASHES[size]


MACHINES = {  # what a BLAS and NumPy would do on other processors, and threads
    "nehalem": {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "1", "MKL_CBWR": "COMPATIBLE"},
    "haswell": {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "2", "MKL_CBWR": "AVX2"},
    "skylake": {"OPENBLAS_CORETYPE": "SkylakeX", "OPENBLAS_NUM_THREADS": "3"},
    "numpy without wide vectors": {
        "NPY_DISABLE_CPU_FEATURES": " ".join(np.show_config("dicts")["SIMD Extensions"].get("found", []))
    },
}
CHILD = """
import sys
from test_synthetic import digest
from refnet.graph import resnet
from refnet.weights import synthetic
synthetic.SIZE = int(sys.argv[1])
print(digest(synthetic.synthetic_weights(resnet(50))))
"""


NEEDS = {"nehalem": "sse4_2", "haswell": "avx2", "skylake": "avx512f"}  # OpenBLAS runs the kernels that it is told to


@pytest.mark.parametrize("machine", MACHINES)
def test_another_machine_gives_the_pinned_bits(machine: str, project: Path) -> None:
    flags = cpu()["flags"]
    if flags and NEEDS.get(machine, flags[0]) not in flags:
        pytest.skip(f"this processor has no {NEEDS[machine]}, so that its kernels end with an illegal instruction")
    environment = {
        **os.environ,
        **MACHINES[machine],
        "PYTHONPATH": os.pathsep.join([str(project), str(project / "tests")]),
    }
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(SMALL)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.split() == [HASHES[SMALL]]


# --- a network like a trained one


def forward(graph: Graph, tensors: Tensors, x: np.ndarray) -> dict[str, np.ndarray]:
    """Every activation, by the plainest route: im2col and NumPy's own matrix product, in the type of x."""
    activations: dict[str, np.ndarray] = {}
    for node in graph.nodes:
        inputs = [activations[name] for name in node.inputs]
        own = [tensors[f"{node.name}/{key}"].astype(x.dtype) for key in node.weights]
        activations[node.name] = _layer(
            node.operation, node.settings, x if node.operation == "input" else inputs[0], inputs[1:], own
        )
    return activations


def _layer(operation: str, settings: dict, x: np.ndarray, others: list, own: list) -> np.ndarray:
    match operation:
        case "input":
            return x
        case "pad":
            return np.pad(x, ((0, 0), *settings["padding"], (0, 0)))
        case "conv2d":
            x = np.pad(x, ((0, 0), *settings["padding"], (0, 0)))
            step, size = settings["strides"][0], own[0].shape[0]
            columns = sliding_window_view(x, (size, size), axis=(1, 2))[:, ::step, ::step]
            return np.tensordot(columns, own[0].transpose(2, 0, 1, 3), axes=3) + (own[1] if len(own) > 1 else 0)
        case "batch_norm":
            gamma, beta, mean, variance = own
            return (x - mean) / np.sqrt(variance + x.dtype.type(settings["epsilon"])) * gamma + beta
        case "relu":
            return np.maximum(x, 0)
        case "max_pool":
            return sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max(axis=(-2, -1))
        case "add":
            return x + others[0]
        case "mean_pool":
            return x.mean(axis=(1, 2))
        case _:
            return x @ own[0] + own[1]


def pictures(project: Path) -> np.ndarray:
    """20 pictures unlike those of the calibration: noise, ramps, waves, a chess board, discs, and the bundled one."""
    draw = np.random.default_rng(7)
    down, across = np.mgrid[:224, :224] / 224
    frequency = np.hypot(np.fft.fftfreq(224)[:, None], np.fft.fftfreq(224)) + 1 / 224
    found = [np.asarray(Image.open(project / "refnet/data/picture.png").convert("RGB").resize((224, 224)), float)]
    for power in (0.8, 1.0, 1.2, 1.4, 1.6):
        noise = np.fft.ifft2(
            np.fft.fft2(draw.normal(size=(224, 224, 3)), axes=(0, 1)) / frequency[..., None] ** power, axes=(0, 1)
        ).real
        found.append(draw.uniform(90, 160, 3) + draw.uniform(25, 60) * noise / noise.std())
    found.append(draw.uniform(0, 255, (224, 224, 3)))
    found.append(np.stack([255 * down, 255 * across, 80 + 0 * down], axis=-1))
    found.append(np.repeat(20 + 200 * ((1 - down) * across)[..., None], 3, axis=2))
    found.append(127 + 100 * np.sin(40 * across + 9 * down)[..., None] * draw.uniform(0.2, 1, 3))
    found.append(
        20 + 200.0 * ((down * 8).astype(int) + (across * 8).astype(int) & 1)[..., None] * draw.uniform(0.5, 1, 3)
    )
    while len(found) < 20:
        picture = np.ones((224, 224, 3)) * draw.uniform(0, 255, 3)
        for _ in range(draw.integers(5, 30)):
            y, x, radius = draw.uniform(0, 1, 3)
            picture[np.hypot(down - y, across - x) < 0.05 + 0.25 * radius**2] = draw.uniform(0, 255, 3)
        found.append(picture + draw.normal(size=picture.shape) * draw.uniform(0, 15))
    return (np.clip(np.rint(np.array(found)), 0, 255)[..., ::-1] - scenes.CAFFE_MEANS).astype(np.float32)


class Observed:
    """What the tests below judge, collected in one run over all pictures."""

    def __init__(self, graph: Graph, tensors: Tensors, x: np.ndarray) -> None:
        runs = [forward(graph, tensors, part) for part in np.split(x, 5)]
        self.rms, self.zeros, self.shift, self.stretch = {}, {}, {}, {}
        for node in graph.nodes[1:]:
            y = np.concatenate([run[node.name] for run in runs]).astype(np.float64)
            self.rms[node.name] = np.sqrt((y * y).mean())
            if node.operation == "relu":
                self.zeros[node.name] = (y == 0).mean()
            if node.operation == "batch_norm":
                gamma, beta = (tensors[f"{node.name}/{key}"].astype(float) for key in ("gamma", "beta"))
                z = (y - beta) / gamma
                self.shift[node.name] = np.sqrt((z.mean(axis=(0, 1, 2)) ** 2).mean())
                self.stretch[node.name] = np.sqrt((z.std(axis=(0, 1, 2)) ** 2).mean())
        self.logits = np.concatenate([run["predictions"] for run in runs])


@pytest.fixture(scope="module")
def observed(weights: Tensors, project: Path) -> Observed:
    return Observed(resnet(50), weights, pictures(project))


@pytest.mark.slow
def test_every_layer_is_at_a_natural_scale(observed: Observed) -> None:
    del observed.rms["conv1_pad"]  # the picture itself
    assert {name: rms for name, rms in observed.rms.items() if not 0.1 < rms < 8} == {}


@pytest.mark.slow
def test_relu_outputs_are_partly_zero(observed: Observed) -> None:
    assert {name: share for name, share in observed.zeros.items() if not 0.2 < share < 0.8} == {}


def test_statistics_fit_pictures_that_were_not_calibrated_on(observed: Observed) -> None:
    """Normalised inputs have nearly mean 0 and deviation 1 in each layer, also in the last."""
    assert max(observed.shift.values()) < 0.4
    assert {name: value for name, value in observed.stretch.items() if not 0.7 < value < 1.5} == {}


def test_parameters_spread_as_trained_ones_do(weights: Tensors) -> None:
    of_kind = {
        kind: np.concatenate([tensor.ravel() for name, tensor in weights.items() if name.endswith(kind)])
        for kind in ("conv/kernel", "/bias", "gamma", "beta", "moving_mean", "moving_variance")
    }
    variances = of_kind["moving_variance"]
    assert 1e-4 <= variances.min() < 2e-4 and 1 < variances.max() < 2.1
    assert 0.01 < of_kind["gamma"].min() < 0.1 and 1.5 < of_kind["gamma"].max() < 3
    for kind in ("/bias", "beta", "moving_mean"):
        assert (of_kind[kind] != 0).all() and of_kind[kind].std() > 0.01
    mantissas = of_kind["conv/kernel"].view(np.uint32) & 0xFFF
    assert (mantissas != 0).mean() > 0.99  # all 24 bits are in use: no lower format holds these kernels


def test_classes_depend_on_the_picture(observed: Observed) -> None:
    logits = observed.logits
    softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
    best = (softmax / softmax.sum(axis=1, keepdims=True)).max(axis=1)
    assert len(set(logits.argmax(axis=1))) >= 12
    assert 0.1 < np.median(best) < 0.9
    assert (best > 0.03).all()


def test_margins_are_far_above_float32_rounding(observed: Observed, weights: Tensors, project: Path) -> None:
    second, first = np.sort(observed.logits, axis=1)[:, -2:].T
    chosen = pictures(project)[:2]
    exact = forward(resnet(50), weights, chosen.astype(np.float64))["predictions"]
    noise = abs(exact - observed.logits[:2]).max()
    assert 1e-7 < noise < 1e-3
    assert (first - second)[0] > 100 * noise  # of the bundled picture
    assert np.median(first - second) > 100 * noise
