"""No miss: each fault of the list, made in a real Keras model, is found first; with a trace also its first layer.

The models are those of seeded_faults.py, which shares no code with refnet, run by at least two of Keras's backends.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import refnet
from refnet.diagnosis import Diagnosis, Reference, diagnose_with
from refnet.weights import Weights

SIZE = 64
BACKENDS = ("torch", "jax")
SCRIPT = Path(__file__).parent / "seeded_faults.py"


@dataclass(frozen=True)
class Fault:
    """name: refnet's.  layer: the first that departs in a trace; None where the outputs' form alone is wrong.

    condition: where it can be seen.  data: the weights and picture on which it is seeded.  also: a second fault without
    which it cannot be seen.  backends: those that have it.
    """

    name: str
    layer: str | None
    condition: str = "always"
    data: str = "plain"
    also: tuple[str, ...] = ()
    backends: tuple[str, ...] = BACKENDS

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.also)


X, BN, CONV1 = "input_layer", "conv1_bn", "conv1_conv"
LARGE_VARIANCES = "variances that are not large against the difference of the epsilons"
NOT_SQUARE = "a picture that is not of the network's proportions"
RESIZED = "a picture of another size than the network's"
FAULTS = (
    *(Fault(f"preprocess:{name}", X) for name in ("torch", "tf", "none", "/255", "/255+caffe", "twice")),
    *(Fault(f"channels:{name}", X, "a picture that is not grey") for name in ("rgb", "rgb:own-mean")),
    *(Fault(f"input:{name}", X) for name in ("float16", "bfloat16")),
    *(
        Fault(f"resize:{name}", X, RESIZED)
        for name in ("bilinear", "bicubic", "hamming", "box", "lanczos", "area", "bilinear:no-antialias")
    ),
    *(Fault(f"resize:{name}", X, RESIZED) for name in ("bilinear:antialias", "nearest:corner")),
    Fault("resize:bicubic:no-antialias", X, RESIZED, backends=("torch",)),
    Fault("resize:bicubic:keys", X, RESIZED, backends=("jax",)),
    *(Fault(name, X, NOT_SQUARE) for name in ("crop", "crop:resized", "crop:0.875")),
    Fault("decode:exif", X, "a JPEG with an EXIF orientation", "jpeg"),
    Fault("decode:chroma-repeated", X, "a JPEG whose chroma has half the resolution", "jpeg"),
    Fault("decode:half-scale", X, "a JPEG", "jpeg"),
    *(Fault(f"epsilon:{name}", BN, LARGE_VARIANCES) for name in ("1e-3", "1e-5", "outside-root")),
    Fault("batch_norm:training", BN),
    Fault("batch_norm:swapped", BN, "moving means that are not negative; else NaN", "positive"),
    Fault("batch_norm:gamma-beta", BN),
    Fault("stride:v1.5", "conv3_block1_1_conv"),
    Fault("padding:same", CONV1),
    Fault("padding:same:conv1_conv", CONV1),
    Fault("padding:same:pool1_pool", "pool1_pool"),
    Fault("pool_padding:none", "pool1_pool"),
    Fault("pool_padding:-inf", "pool1_pad", "negative values before the pool", also=("relu:missing:conv1_relu",)),
    Fault("pool:average", "pool1_pool"),
    Fault("bias:dropped", CONV1, "biases that are not zero"),
    Fault("bias:dropped:conv4_block3_2_conv", "conv4_block3_2_conv", "a bias that is not zero"),
    Fault("bias:dropped:predictions", "predictions", "a bias that is not zero"),
    Fault("relu:missing:conv2_block2_1_relu", "conv2_block2_2_conv", "negative values before it"),
    Fault("relu:missing:conv5_block3_out", "avg_pool", "negative values before it"),
    Fault("kernel:transposed", CONV1),
    Fault("kernel:transposed:conv3_block2_2_conv", "conv3_block2_2_conv"),
    Fault("kernel:flipped", CONV1),
    Fault("kernel:flipped:conv4_block2_2_conv", "conv4_block2_2_conv"),
    Fault("kernel:in-out:conv3_block3_2_conv", "conv3_block3_2_conv"),
    *(Fault(f"weights:{name}", CONV1) for name in ("float16", "bfloat16", "int8", "int8:tensor")),
    Fault("weights:other:conv3_block1_2_conv", "conv3_block1_2_conv", "a trace, or the other checkpoint"),
    Fault("weights:other:conv2_block1_3_bn", "conv2_block1_3_bn", "a trace, or the other checkpoint"),
    *(Fault(f"precision:{name}", None) for name in ("bfloat16", "float16", "tf32")),
    *(Fault(f"softmax:{name}", None) for name in ("missing", "twice")),
)
NOISY = {f"precision:{name}" for name in ("bfloat16", "float16", "tf32")}  # their rounding is the effect itself
PAGE = Path(__file__).parent.parent / "docs" / "diagnose.md"
IN_CI = ("torch", "stride:v1.5")
RUNS = [
    pytest.param(
        fault,
        backend,
        id=f"{backend}-{fault.name}",
        marks=pytest.mark.slow if (backend, fault.name) == IN_CI else pytest.mark.exhaustive,
    )
    for backend in BACKENDS
    for fault in FAULTS
    if backend in fault.backends
]


def data(kind: str, synthetic: Weights, folder: Path) -> tuple[Weights, Path]:
    """The weights and the picture's file."""
    if kind == "positive":
        tensors = {k: np.abs(v) if k.endswith("moving_mean") else v for k, v in synthetic.items()}
        return Weights(tensors), refnet.bundled_image()
    if kind == "jpeg":
        path, image = folder / "picture.jpg", Image.open(refnet.bundled_image())
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(path, quality=90, exif=exif)
        return synthetic, path
    return synthetic, refnet.bundled_image()


class Seeded:
    """Models with faults, run when they are first asked for, all of a backend and of one kind of data at once."""

    def __init__(self, synthetic: Weights, folder: Path, wanted: Sequence[tuple[tuple[str, ...], str, str]]) -> None:
        self.synthetic, self.folder, self.wanted = synthetic, folder, wanted
        self.places: dict[tuple[str, str], tuple[Path, list[tuple[str, ...]]]] = {}
        self.references: dict[tuple[str, bool], Reference] = {}

    def case(self, names: tuple[str, ...], kind: str, backend: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Outputs and activations."""
        if (kind, backend) not in self.places:
            cases = sorted({n for n, k, b in self.wanted if (k, b) == (kind, backend)} | {names})
            self.places[kind, backend] = self.run(cases, kind, backend), cases
        place, cases = self.places[kind, backend]
        number = cases.index(names)
        return np.load(place / f"{number}.npy"), dict(np.load(place / f"{number}.npz"))

    def run(self, cases: list[tuple[str, ...]], kind: str, backend: str) -> Path:
        for needed in (backend, *(["tensorflow"] if kind == "jpeg" else [])):
            if find_spec(needed) is None:
                pytest.skip(f"{needed} is not installed")
        out = Path(tempfile.mkdtemp(dir=self.folder, prefix=f"{kind}-{backend}-"))
        weights, picture = data(kind, self.synthetic, self.folder)
        np.savez(out / "weights.npz", **weights)
        np.savez(out / "other.npz", **refnet.load_weights("synthetic", seed=1))
        job = {"cases": cases, "weights": str(out / "weights.npz"), "other": str(out / "other.npz")}
        job |= {"picture": str(picture), "size": SIZE, "out": str(out)}
        (out / "job.json").write_text(json.dumps(job))
        environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, str(SCRIPT), str(out / "job.json")]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return out

    def reference(self, kind: str) -> Reference:
        if kind not in self.references:
            weights, picture = data(kind, self.synthetic, self.folder)
            self.references[kind] = Reference(None, weights, image=picture, size=(SIZE, SIZE))
        return self.references[kind]


@pytest.fixture(scope="module")
def seeded(synthetic: Weights, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Seeded:
    chosen = [getattr(item, "callspec", None) for item in request.session.items]
    asked = [spec.params for spec in chosen if spec and {"fault", "backend"} <= spec.params.keys()]
    wanted = [(params["fault"].names, params["fault"].data, params["backend"]) for params in asked]
    return Seeded(synthetic, tmp_path_factory.mktemp("seeded"), wanted)


@pytest.mark.parametrize(("fault", "backend"), RUNS)
def test_a_seeded_fault_is_found_first(fault: Fault, backend: str, seeded: Seeded) -> None:
    outputs, trace = seeded.case(fault.names, fault.data, backend)
    reference = seeded.reference(fault.data)
    with_trace = diagnose_with(reference, outputs, trace=trace)
    check(with_trace, fault)
    _, change, best, _ = rows()[fault.names]
    if change != "-":
        assert with_trace.before == pytest.approx(float(change), rel=0.3 if fault.name in NOISY else 0.05)
    own = reference.oracle.logits.argmax(1)
    assert (outputs.argmax(1) != own).any() == (best == "changes")
    if fault.layer is not None:
        assert with_trace.first_layer == fault.layer
    if not fault.name.startswith("weights:other"):
        check(diagnose_with(reference, outputs), fault)


def check(found: Diagnosis, fault: Fault) -> None:
    assert found.verdict == "explained", found.causes[:4]
    assert set(found.explanation) == set(fault.names)
    assert found.causes[0].name in fault.names


def rows() -> dict[tuple[str, ...], tuple[str, str, str, str]]:
    """The page's table: names -> seen with, change, class, first layer."""
    table = PAGE.read_text(encoding="utf-8").split("| first layer |\n", 1)[1].splitlines()[1:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if line.startswith("|")]
    return {tuple(re.findall("`([^`]*)`", names)): tuple(others) for names, *others in cells}


def test_the_page_lists_every_fault() -> None:
    expected = {fault.names: (fault.condition, f"`{fault.layer}`" if fault.layer else "-") for fault in FAULTS}
    assert {names: (seen, layer) for names, (seen, _, _, layer) in rows().items()} == expected


def drawn_pairs(count: int) -> list[tuple[str, str]]:
    """Pairs of faults that outputs alone can show, of two families, in the order in which a fixed seed draws them.

    A crop resizes in its own way, so that no other resizing is in that model.
    """
    alone = [f.name for f in FAULTS if f.data == "plain" and f.layer and not f.also and f.backends == BACKENDS]
    names = [name for name in alone if not name.startswith("weights:other")]
    draw, pairs = np.random.default_rng(5), list[tuple[str, str]]()
    while len(pairs) < count:
        first, second = (names[place] for place in draw.choice(len(names), 2, replace=False))
        families = {first.split(":")[0], second.split(":")[0]}
        if len(families) == 2 and families != {"crop", "resize"}:
            pairs.append((first, second))
    return pairs


@pytest.mark.exhaustive
@pytest.mark.parametrize("backend", BACKENDS)
def test_of_ten_drawn_pairs_both_faults_are_found_in_nine(backend: str, seeded: Seeded) -> None:
    """From the outputs alone."""
    pairs = drawn_pairs(10)
    seeded.wanted = [(pair, "plain", backend) for pair in pairs]
    seeded.places.pop(("plain", backend), None)
    missed = {}
    for pair in pairs:
        outputs, _ = seeded.case(pair, "plain", backend)
        found = diagnose_with(seeded.reference("plain"), outputs)
        if set(found.explanation) != set(pair):
            missed[pair] = found.explanation
    assert len(missed) <= 1, missed
