"""Files that are broken, foreign or meant to harm: refused with one line; nothing runs, nothing large is read."""

from __future__ import annotations

import json
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_weights import random_weights
from safetensors.numpy import save_file

from refnet.errors import InputError
from refnet.weights import CONTAINERS, Weights, read_weights, save_weights
from refnet.weights.containers import read_here
from refnet.weights.isolated import open_isolated

SUFFIXES = [container.suffix for container in CONTAINERS]
ISOLATED = [container.suffix for container in CONTAINERS if container.isolated]
KERNEL = np.zeros((7, 7, 3, 64), np.float32)
GREATEST_MEMORY = 64 << 20  # bytes: a refusal reads no more than this


def refusal(path: Path) -> str:
    """The one line that reading says; it must have cost little memory. A child process says the same."""
    tracemalloc.start()
    try:
        said = read_error(path, read_here if path.is_file() else read_weights)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < GREATEST_MEMORY
    assert "\n" not in said
    assert path.name.split(".")[0] in said
    if path.name.endswith(tuple(ISOLATED)):
        assert read_error(path) == said
    return said


def read_error(path: Path, read: Callable[[Path], Weights] = read_weights) -> str:
    with pytest.raises(InputError) as error:
        read(path)
    return str(error.value)


# --- files of any kind ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_folder_empty_and_foreign(tmp_path: Path, suffix: str) -> None:
    assert "does not exist" in refusal(tmp_path / f"none{suffix}")
    (tmp_path / f"dir{suffix}").mkdir()
    assert "is a folder" in refusal(tmp_path / f"dir{suffix}")
    (tmp_path / f"empty{suffix}").touch()
    assert "not a whole" in refusal(tmp_path / f"empty{suffix}")
    (tmp_path / f"picture{suffix}").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256)) * 40)
    assert "not a whole" in refusal(tmp_path / f"picture{suffix}")


def test_a_suffix_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").touch()
    assert ".safetensors" in refusal(tmp_path / "cat.jpg")
    (tmp_path / "net.pth").touch()
    assert "save PyTorch weights as .safetensors" in refusal(tmp_path / "net.pth")


def small(path: Path) -> Path:
    """A file of few tensors in the container that the suffix names: enough of its structure to be damaged."""
    tensors = {f"conv1_bn/{key}": np.ones(64, np.float32) for key in ("gamma", "beta")}
    if path.suffix == ".npz":
        np.savez(path, allow_pickle=False, **tensors)
    elif path.suffix == ".safetensors":
        save_file(tensors, path)
    elif path.suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(small(path.with_name("model.weights.h5")), "model.weights.h5")
    else:
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = ["conv1_bn"]
            group = file.create_group("conv1_bn")
            group.attrs["weight_names"] = list(tensors)
            for name, array in tensors.items():
                group[name] = array
    return path


def damaged(path: Path, data: st.DataObject, *, cut: bool) -> Path:
    """A file like `small`, cut short or with some bytes turned."""
    content = bytearray(small(path).read_bytes())
    places = st.integers(0, len(content) - 1)
    if cut:
        del content[data.draw(places) :]
    else:
        for place in data.draw(st.lists(places, min_size=1, max_size=3, unique=True)):
            content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_is_an_input_error(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    """The few tensors are never a network, and no other error comes out. HDF5 files are only cut, and read here."""
    cut = suffix in ISOLATED or data.draw(st.booleans())
    with pytest.raises(InputError):
        read_here(damaged(tmp_path / f"damaged{suffix}", data, cut=cut))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ISOLATED)
@settings(max_examples=8, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_turned_bytes_of_hdf5_are_an_input_error(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    """A few in ten thousand crash the HDF5 library or keep it busy for ever: no matter, in a process of its own."""
    path = damaged(tmp_path / f"damaged{suffix}", data, cut=False)
    with pytest.raises(InputError), open_isolated(path, seconds=10):
        pass


CHILDREN = {  # what the process that reads does -> what is said of the file
    "kill -SEGV $$": "crashed (signal 11) reading",
    "echo Traceback >&2; echo no memory >&2; exit 1": "could not be read (no memory)",
    "exit 1": "could not be read (no reason given)",
    "exec sleep 60": "came to no end within 0.5 s",
}


@pytest.mark.parametrize("act", CHILDREN)
def test_a_reader_that_dies_or_hangs(tmp_path: Path, act: str) -> None:
    python, path = tmp_path / "python", small(tmp_path / "weights.h5")
    python.write_text(f"#!/bin/sh\n{act}\n")
    python.chmod(0o755)
    with pytest.raises(InputError) as error, open_isolated(path, python=str(python), seconds=0.5):
        pass
    assert f"{CHILDREN[act]}" in str(error.value)
    assert str(path) in str(error.value) and "fetch or save it again" in str(error.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_whole_network_cut_short(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut{suffix}"
    if suffix == ".keras":
        keras_archive(path)
    else:
        save_weights(random_weights(include_top=False), path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1000)
    assert "not a whole" in refusal(path)


# --- HDF5 -------------------------------------------------------------------------------------------------------


def hostile_hdf5(path: Path, fill: Callable[[h5py.Group, str], object]) -> Path:
    """A legacy file with one layer whose kernel `fill` makes."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["conv1_conv"]
        group = file.create_group("conv1_conv")
        group.attrs["weight_names"] = ["kernel"]
        fill(group, "kernel")
    return path


def virtual(group: h5py.Group, name: str) -> None:
    layout = h5py.VirtualLayout(shape=KERNEL.shape, dtype=KERNEL.dtype)
    layout[:] = h5py.VirtualSource("secret.h5", "kernel", shape=KERNEL.shape)
    group.create_virtual_dataset(name, layout)


def shape_bomb(group: h5py.Group, name: str) -> None:
    """Four terabytes declared, one chunk written."""
    group.create_dataset(name, (7, 7, 3, 1 << 40), "f4", chunks=(7, 7, 3, 64))[..., :64] = 1


def chunk_bomb(group: h5py.Group, name: str) -> None:
    """Nine thousand numbers in a chunk of 2.4 GB that packs to nothing; only its declaration is written here."""
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((1 << 16, 7, 3, 64))
    made.set_deflate(9)
    space = h5py.h5s.create_simple(KERNEL.shape, (h5py.h5s.UNLIMITED, 7, 3, 64))
    dataset = h5py.h5d.create(group.id, name.encode(), h5py.h5t.NATIVE_FLOAT, space, made)
    dataset.write_direct_chunk((0, 0, 0, 0), b"\x78\x9c\x03\x00\x00\x00\x00\x01")


HOSTILE_HDF5: dict[str, tuple[Callable[[h5py.Group, str], object], str]] = {
    "external link": (lambda g, n: g.__setitem__(n, h5py.ExternalLink("secret.h5", "/kernel")), "a ExternalLink"),
    "soft link": (lambda g, n: g.__setitem__(n, h5py.SoftLink("/elsewhere")), "a SoftLink"),
    "virtual": (virtual, "a virtual dataset"),
    "external data": (
        lambda g, n: g.create_dataset(n, KERNEL.shape, KERNEL.dtype, external=[("secret.bin", 0, KERNEL.nbytes)]),
        "data kept in other files",
    ),
    "never written": (lambda g, n: g.create_dataset(n, KERNEL.shape, KERNEL.dtype), "never written"),
    "shape bomb": (shape_bomb, "of shape (7, 7, 3, 1099511627776)"),
    "chunk bomb": (chunk_bomb, "chunks larger than the data"),
    "missing": (lambda g, n: None, "no 'kernel'"),
    "a group": (lambda g, n: g.create_group(n), "no tensor at '/conv1_conv/kernel'"),
    "empty": (lambda g, n: g.create_dataset(n, data=h5py.Empty("f4")), "no tensor at"),
    "text": (lambda g, n: g.create_dataset(n, data="text"), "of shape ()"),
    "integers": (lambda g, n: g.create_dataset(n, data=KERNEL.astype("i4")), "int32 instead of"),
    "compound": (lambda g, n: g.create_dataset(n, data=np.zeros(KERNEL.shape, [("a", "f4")])), "void32 instead of"),
}


@pytest.mark.parametrize("kind", HOSTILE_HDF5)
def test_hdf5(tmp_path: Path, kind: str) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["kernel"] = KERNEL
    (tmp_path / "secret.bin").write_bytes(KERNEL.tobytes())
    fill, words = HOSTILE_HDF5[kind]
    assert words in refusal(hostile_hdf5(tmp_path / "hostile.h5", fill))


@pytest.mark.parametrize("group", ["layers", "model_weights", "conv1_conv"])
def test_hdf5_whose_groups_lie_elsewhere(tmp_path: Path, group: str) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file.create_group(group)
    with h5py.File(tmp_path / "hostile.h5", "w") as file:
        file.attrs["layer_names"] = ["conv1_conv"]
        file[group] = h5py.ExternalLink("secret.h5", group)
    assert "ExternalLink" in refusal(tmp_path / "hostile.h5")


def test_hdf5_of_another_model(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "mnist.weights.h5", "w") as file:
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = np.zeros((784, 10)), np.zeros(10)
        file["layers/conv2d/vars/0"] = np.zeros((3, 3, 1, 8))
    assert "another model (1 conv2d, 1 dense)" in refusal(tmp_path / "mnist.weights.h5")
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["numbers"] = np.zeros(5)
    assert "another model (no layers)" in refusal(tmp_path / "table.h5")


def test_bfloat16_is_named(tmp_path: Path) -> None:
    """Keras keeps it as two raw bytes with an attribute; safetensors has a type for it; NumPy has none."""
    with h5py.File(save_weights(random_weights(), tmp_path / "b.weights.h5"), "r+") as file:
        variables = file["layers/conv2d/vars"]
        del variables["0"]
        variables.create_dataset("0", data=KERNEL.astype("f2").view("V2")).attrs["dtype"] = "bfloat16"
    assert "bfloat16 instead of float16, float32, float64: conv1_conv/kernel" in read_error(tmp_path / "b.weights.h5")
    header = {"conv1_conv/kernel": {"dtype": "BF16", "shape": [7, 7, 3, 64], "data_offsets": [0, 18816]}}
    write_raw_safetensors(tmp_path / "b.safetensors", header, bytes(18816))
    assert "bfloat16 instead of float16, float32, float64: conv1_conv/kernel" in refusal(tmp_path / "b.safetensors")


# --- archives ---------------------------------------------------------------------------------------------------


def npy(shape: tuple[int, ...], dtype: str, content: bytes) -> bytes:
    """An npy file with a header of our choice."""
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def archive_of(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


class Marks:
    """Unpickling one writes a file: proof that code ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_in_an_npz_does_not_run(tmp_path: Path) -> None:
    mark, path = tmp_path / "it_ran", tmp_path / "evil.npz"
    kernel = np.empty(KERNEL.shape, object)
    kernel[...] = Marks(mark)
    np.savez(path, allow_pickle=True, **{"conv1_conv/kernel": kernel})
    assert "object instead of float16, float32, float64: conv1_conv/kernel" in refusal(path)
    assert not mark.exists()
    np.load(path, allow_pickle=True)["conv1_conv/kernel"]
    assert mark.exists()  # so the file was as evil as we say


HOSTILE_NPZ = {
    "shape bomb": ({"conv1_conv/kernel.npy": npy((7, 7, 3, 1 << 50), "<f4", b"")}, "shape (7, 7, 3, 1125899906842624)"),
    "zip bomb": ({"stranger.npy": npy((1 << 26,), "<f4", bytes(1 << 28))}, "packs 268435529 bytes into"),
    "header bomb": (
        {"stranger.npy": b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 25) + b" " * ((1 << 25) - 20)},
        "an npy header of 33554432 bytes",
    ),
    "one name": (
        {"a": npy((1,), "<f4", bytes(4)), "a.npy": npy((1,), "<f4", bytes(4))},
        "two members that are called a",
    ),
    "cut": ({"conv1_conv/kernel.npy": npy(KERNEL.shape, "<f4", b"1234")}, "conv1_conv/kernel.npy is not a whole"),
    "no array": ({"conv1_conv/kernel.npy": b"hello"}, "not a whole archive"),
    "code in the header": (
        {"conv1_conv/kernel.npy": b"\x93NUMPY\x01\x00\x18\x00__import__('os').getcwd"},
        "not a whole archive",
    ),
    "leaves upwards": ({"../../conv1_conv/kernel.npy": b""}, "leaves the archive"),
    "absolute": ({"/etc/conv1_conv.npy": b""}, "leaves the archive"),
    "of Windows": ({"C:\\conv1_conv.npy": b""}, "leaves the archive"),
    "nothing": ({}, "0 tensors"),
}


@pytest.mark.parametrize("kind", HOSTILE_NPZ)
def test_npz(tmp_path: Path, kind: str) -> None:
    members, words = HOSTILE_NPZ[kind]
    assert words in refusal(archive_of(tmp_path / "hostile.npz", members))


def test_two_members_of_one_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        archive.writestr("conv1_conv/bias.npy", b"")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("conv1_conv/bias.npy", b"")
    assert "two members of one name" in refusal(tmp_path / "twice.npz")


def test_a_locked_archive(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "locked.npz", {"conv1_conv/bias.npy": npy((64,), "<f4", bytes(256))})
    content = path.read_bytes()
    for sign, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag that says `encrypted`
        at = content.index(sign) + place
        content = content[:at] + b"\x01" + content[at + 1 :]
    path.write_bytes(content)
    assert "not a whole archive" in refusal(path)


LAMBDA = {
    "module": "keras.layers",
    "class_name": "Lambda",
    "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wAAAA=="}}},
}


def keras_archive(path: Path) -> None:
    """A whole `.keras` file whose configuration is a Lambda layer with code in it."""
    weights = save_weights(random_weights(include_top=False), path.with_name("inner.weights.h5"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(LAMBDA))
        archive.write(weights, "model.weights.h5")


def test_the_configuration_of_a_keras_file_is_not_run(tmp_path: Path) -> None:
    keras_archive(tmp_path / "lambda.keras")
    assert read_weights(tmp_path / "lambda.keras") == random_weights(include_top=False)
    assert not {"keras", "tf_keras", "tensorflow"} & sys.modules.keys()


def test_keras_archives(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "bomb.keras", {"model.weights.h5": bytes(1 << 26)})
    assert "packs 67108864 bytes into" in refusal(path)
    path = archive_of(tmp_path / "other.keras", {"config.json": b"{}"})
    assert "no model.weights.h5" in refusal(path)
    path = archive_of(tmp_path / "leaves.keras", {"model.weights.h5": b"", "../config.json": b"{}"})
    assert "leaves the archive" in refusal(path)
    path = archive_of(tmp_path / "junk.keras", {"model.weights.h5": b"junk"})
    assert "not a whole HDF5 file" in refusal(path)


# --- safetensors ------------------------------------------------------------------------------------------------


def write_raw_safetensors(path: Path, header: object, content: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return path


def entry(shape: list[int], start: int, end: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "header",
    [
        {"conv1_conv/bias": entry([64], 0, 1 << 50)},
        {"conv1_conv/bias": entry([1 << 40], 0, 256)},
        {"conv1_conv/bias": entry([64], 0, 256), "conv1_bn/beta": entry([64], 0, 256)},
        {"conv1_conv/bias": {"dtype": "PICKLE", "shape": [64], "data_offsets": [0, 256]}},
        [],
    ],
    ids=["past the end", "shape", "overlap", "dtype", "no mapping"],
)
def test_safetensors(tmp_path: Path, header: object) -> None:
    assert "not a whole" in refusal(write_raw_safetensors(tmp_path / "hostile.safetensors", header, bytes(256)))


def test_a_header_longer_than_the_file(tmp_path: Path) -> None:
    (tmp_path / "long.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    assert "not a whole" in refusal(tmp_path / "long.safetensors")


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Reading makes no files, whatever the archive holds."""
    path = archive_of(tmp_path / "x.npz", {"../y.npy": b"", "z.npy": npy((1,), "<f4", b"1234")})
    refusal(path)
    assert list(tmp_path.iterdir()) == [path]
