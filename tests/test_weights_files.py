"""Every container gives back what was put in, to the bit, and Keras and torch agree with what refnet reads and writes.

Keras 3 and tf-keras run in one child process each: it loads refnet's files through its own loader and says what it
got, then fills a model with random numbers and saves it in each of its own ways.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from random_weights import random_tensors, random_weights
from safetensors.numpy import save_file

from refnet.errors import InputError
from refnet.graph import resnet
from refnet.weights import CONTAINERS, Weights, convert, read_weights, save_weights

WRITTEN = [container.suffix for container in CONTAINERS if container.write]
KERAS_LOADS = (".weights.h5", ".h5")  # by model.load_weights
FRAMEWORKS = {  # what each writes
    "keras": ("full.keras", "full.h5", "full.weights.h5", "bare.weights.h5", "loaded.weights.h5"),
    "tf_keras": ("full.keras", "full.h5", "full.weights.h5", "full_legacy.h5", "bare_legacy.h5", "frozen_legacy.h5"),
}
KERAS_FILES = [(framework, path) for framework, paths in FRAMEWORKS.items() for path in paths]
CHILD = """
import importlib, json, os, sys
import numpy as np
framework, folder = sys.argv[1:]
keras = importlib.import_module(framework)
ResNet50 = importlib.import_module(framework + ".applications").ResNet50
os.chdir(folder)

def name(variable):
    return getattr(variable, "path", variable.name).removesuffix(":0")

def save_arrays(model, path):
    np.savez(path, **{name(v): a for layer in model.layers for v, a in zip(layer.weights, layer.get_weights())})

first = ResNet50(weights=None, include_top=False, input_shape=(32, 32, 3))  # so that automatic names go on counting
model = ResNet50(weights=None, classes=7, input_shape=(32, 32, 3))

for path in sorted(os.listdir()):
    if path.startswith("ours"):
        model.set_weights([np.zeros_like(a) for a in model.get_weights()])
        model.load_weights(path)
        save_arrays(model, "got_" + path + ".npz")

generator = np.random.default_rng(1)
for net, stem in ((first, "bare"), (model, "full")):
    net.set_weights([generator.random(a.shape, dtype=np.float32) for a in net.get_weights()])
    save_arrays(net, stem + ".npz")
    net.save_weights(stem + ".weights.h5")
    if framework == "tf_keras":
        net.save_weights(stem + "_legacy.h5")
model.save("full.keras")
if framework == "keras":
    keras.models.load_model("full.keras").save_weights("loaded.weights.h5")
model.save("full.h5")
if framework == "tf_keras":
    model.trainable = False
    model.save_weights("frozen_legacy.h5")
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For large files: unlike pytest's own folders it is gone at the end."""
    made = tmp_path_factory.mktemp("weights")
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def child_of(folder: Path) -> Callable[[str], Path]:
    """Framework -> the folder in which its child process, run once, has left its files."""
    return cache(partial(_run_child, folder))


@pytest.fixture
def framework(request: pytest.FixtureRequest, child_of: Callable[[str], Path]) -> Path:
    return child_of(request.param)


def _run_child(folder: Path, name: str) -> Path:
    place = folder / name
    place.mkdir()
    for suffix in KERAS_LOADS:
        save_weights(random_weights(dtype="float32"), place / f"ours{suffix}")
    environment = os.environ | {"KERAS_BACKEND": "numpy", "TF_CPP_MIN_LOG_LEVEL": "3"}
    run = subprocess.run([sys.executable, "-c", CHILD, name, place], env=environment, capture_output=True, text=True)
    if f"No module named '{name}'" in run.stderr:
        pytest.skip(f"{name} is not installed")
    assert run.returncode == 0, run.stderr
    return place


def assert_same(weights: Weights, tensors: Any) -> None:
    assert weights.keys() == set(tensors)
    for name, array in weights.items():
        assert array.dtype == tensors[name].dtype
        assert array.tobytes() == tensors[name].tobytes(), name


@pytest.mark.parametrize("framework", FRAMEWORKS, indirect=True)
@pytest.mark.parametrize("suffix", KERAS_LOADS)
@pytest.mark.slow
def test_keras_loads_our_files(framework: Path, suffix: str) -> None:
    assert_same(random_weights(dtype="float32"), np.load(framework / f"got_ours{suffix}.npz"))


@pytest.mark.parametrize(("framework", "path"), KERAS_FILES, indirect=["framework"])
def test_we_read_kerass_files(framework: Path, path: str) -> None:
    expected = np.load(framework / ("bare.npz" if path.startswith("bare") else "full.npz"))
    weights = read_weights(framework / path)
    assert_same(weights, expected)
    assert (weights.depth, weights.variant) == (50, "v1")


@pytest.mark.parametrize("options", [{}, {"include_top": False, "variant": "v1.5"}], ids=["v1", "v1.5 without top"])
@pytest.mark.parametrize("suffix", WRITTEN)
def test_what_is_saved_comes_back(folder: Path, suffix: str, options: dict[str, Any]) -> None:
    weights = random_weights(**options)
    path = save_weights(weights, folder / f"x{suffix}")
    back = read_weights(path)
    assert (back.hash, list(back), back.variant) == (weights.hash, list(weights), weights.variant)
    assert_same(back, weights)
    assert back.source == str(path)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("suffix", WRITTEN)
def test_no_container_casts(folder: Path, suffix: str, dtype: str) -> None:
    weights = random_weights(include_top=False, dtype=dtype)
    assert read_weights(save_weights(weights, folder / f"y{suffix}")) == weights


def test_compressed_files_are_read(folder: Path) -> None:
    """Each tensor is a number of its own, so that packing is quick."""
    shapes = resnet(include_top=False).weights
    tensors = {name: np.full(shape, 1 + k, np.float16) for k, (name, shape) in enumerate(shapes.items())}
    np.savez_compressed(folder / "z.npz", allow_pickle=False, **tensors)
    assert read_weights(folder / "z.npz") == Weights(tensors)
    with h5py.File(save_weights(Weights(tensors), folder / "z.h5"), "r+") as file:
        place = "conv1_conv/conv1_conv/kernel:0"
        del file[place]
        file.create_dataset(place, data=tensors["conv1_conv/kernel"], compression="gzip", chunks=(3, 3, 3, 5))
    assert read_weights(folder / "z.h5") == Weights(tensors)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_a_file_of_others_without_biases_is_v1_5_only_if_that_is_said(folder: Path, suffix: str) -> None:
    weights = random_weights(variant="v1.5", include_top=False)
    path = save_weights(weights, folder / f"unsaid{suffix}")
    match suffix:
        case ".npz":
            np.savez(path, allow_pickle=False, **weights)
        case ".safetensors":
            save_file(dict(weights), path)
        case _:
            with h5py.File(path, "r+") as file:
                del file.attrs["refnet_variant"]
    with pytest.raises(InputError, match="missing: conv1_conv/bias"):
        read_weights(path)
    said = convert(path, folder / "said.npz", variant="v1.5")
    assert said == read_weights(folder / "said.npz") == weights


def test_a_word_in_an_npz_must_be_one(folder: Path) -> None:
    np.savez(folder / "words.npz", allow_pickle=False, refnet_variant=np.array("v1.5" * 1000))
    with pytest.raises(InputError, match="expected one word"):
        read_weights(folder / "words.npz")


def test_convert(folder: Path) -> None:
    source = save_weights(random_weights(), folder / "from.npz")
    assert convert(source, folder / "to.h5") == read_weights(folder / "to.h5") == random_weights()


# --- names without names, and names of 2016 ---------------------------------------------------------------------


def test_order_decides_where_keras_wrote_no_names(folder: Path) -> None:
    """As tf-keras writes, and with counting that starts elsewhere and the group's name of Keras 2.12."""
    path = save_weights(random_weights(), folder / "plain.weights.h5")
    with h5py.File(path, "r+") as file:
        file.move("layers", "_layer_checkpoint_dependencies")
        layers = file["_layer_checkpoint_dependencies"]
        for name in list(layers):
            del layers[name]["vars"].attrs["name"]
            stem, _, number = name.rpartition("_")
            stem, number = (stem, int(number)) if number.isdigit() else (name, 0)
            layers.move(name, f"new_{stem}_{number + 53}")
        for name in list(layers):
            layers.move(name, name.removeprefix("new_"))
    assert read_weights(path) == random_weights()


def old_name(name: str) -> str:
    """The layer names of the ResNet50 of 2016: conv3_block2_1_conv was res3b_branch2a."""
    if name.startswith("conv1"):
        return {"conv1_conv": "conv1", "conv1_bn": "bn_conv1"}[name]
    if name == "predictions":
        return "fc1000"
    stage, block, branch, kind = name.split("_")
    letter = "abcdef"[int(block.removeprefix("block")) - 1]
    prefix = {"conv": "res", "bn": "bn"}[kind]
    return f"{prefix}{stage[-1]}{letter}_branch{('1', '2a', '2b', '2c')[int(branch)]}"


@pytest.mark.parametrize("keras_1", [False, True], ids=["Keras 2", "Keras 1"])
def test_files_of_2016(folder: Path, keras_1: bool) -> None:
    """Keras 1 called the variables W, b, running_mean and so on: their place says what they are."""
    weights = random_weights()
    layers: dict[str, list[str]] = {}
    for name in weights:
        layers.setdefault(name.split("/")[0], []).append(name.split("/")[1])
    path = folder / "of_2016.h5"
    with h5py.File(path, "w") as file:
        names = sorted(layers)  # it had another order of layers than today's
        file.attrs["layer_names0"] = np.array([old_name(name).encode() for name in names[:50]])
        file.attrs["layer_names1"] = np.array([old_name(name).encode() for name in names[50:]])
        for layer in names:
            group = file.create_group(old_name(layer))
            stored = [f"{old_name(layer)}_{k}:0" if keras_1 else f"{v}:0" for k, v in enumerate(layers[layer])]
            group.attrs["weight_names"] = np.array([name.encode() for name in stored])
            for variable, key in zip(layers[layer], stored, strict=True):
                group[key] = weights[f"{layer}/{variable}"]
    assert read_weights(path) == weights


def test_a_layer_of_another_model_is_named(folder: Path) -> None:
    path = save_weights(random_weights(), folder / "other.h5")
    with h5py.File(path, "r+") as file:
        file.move("predictions", "my_head")
        names = [name.replace(b"predictions", b"my_head") for name in file.attrs["layer_names"]]
        file.attrs["layer_names"] = np.array(names)
    with pytest.raises(InputError, match="not of this network: my_head/kernel, my_head/bias"):
        read_weights(path)


# --- torchvision ------------------------------------------------------------------------------------------------


def torch_name(name: str) -> str:
    """Keras's name for a tensor -> torchvision's, written from torchvision's state dict."""
    layer, variable = name.split("/")
    if layer == "predictions":
        return {"kernel": "fc.weight", "bias": "fc.bias"}[variable]
    kind = layer.split("_")[-1]
    keys = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    key = "weight" if kind == "conv" else keys[variable]
    if layer.startswith("conv1_"):
        return f"{kind}1.{key}"
    stage, block, place, _ = layer.split("_")
    module = f"{kind}{place}" if place != "0" else {"conv": "downsample.0", "bn": "downsample.1"}[kind]
    return f"layer{int(stage[-1]) - 1}.{int(block.removeprefix('block')) - 1}.{module}.{key}"


def torch_layout(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(array, (-1, -2), (0, 1)) if array.ndim == 4 else array.T)


@pytest.mark.parametrize("include_top", [True, False])
def test_torchvision(folder: Path, include_top: bool) -> None:
    weights = random_weights(variant="v1.5", include_top=include_top)
    state = {torch_name(name): torch_layout(array) for name, array in weights.items()}
    assert {"conv1.weight", "layer4.2.bn3.running_var", "layer1.0.downsample.1.bias"} <= state.keys()
    state |= {"bn1.num_batches_tracked": np.array(7)}
    save_file(state, folder / "torch.safetensors")
    back = read_weights(folder / "torch.safetensors")
    assert back == weights
    assert back.variant == "v1.5"


def test_torchvision_faults_have_kerass_names(folder: Path) -> None:
    weights = random_weights(variant="v1.5")
    state = {torch_name(name): torch_layout(array) for name, array in weights.items()}
    del state["layer3.0.downsample.1.running_var"]
    state["layer2.1.conv2.weight"] = np.full_like(state["layer2.1.conv2.weight"], np.nan)
    state["layer5.0.conv1.weight"] = np.zeros((1, 1, 1, 1), np.float16)
    save_file(state, folder / "torch.safetensors")
    with pytest.raises(InputError) as error:
        read_weights(folder / "torch.safetensors")
    assert "missing: conv4_block1_0_bn/moving_variance" in str(error.value)
    assert "NaN: conv3_block2_2_conv/kernel" in str(error.value)
    assert "not of this network: layer5.0.conv1.weight" in str(error.value)


# --- writing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.keras", "x.pt", "x", "x.bin"])
def test_what_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        save_weights(random_weights(), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", WRITTEN)
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"old")

    class Broken(Weights):
        def __getitem__(self, name: str) -> np.ndarray:
            if name == "predictions/bias":
                raise OSError(28, "No space left on device")
            return super().__getitem__(name)

    with pytest.raises(InputError, match="No space left"):
        save_weights(Broken(random_tensors()), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        save_weights(random_weights(), tmp_path / "none" / "x.npz")


def test_the_table_decides_by_the_longest_suffix() -> None:
    suffixes = [container.suffix for container in CONTAINERS]
    assert all(not later.endswith(early) for k, early in enumerate(suffixes) for later in suffixes[k + 1 :])
