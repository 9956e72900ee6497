"""Traces: what is saved comes back to the bit, nothing in a trace can change, and a damaged folder is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refnet.errors import InputError
from refnet.trace import DTYPES, INDEX, Trace

ONCE_A_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
LAYER = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays.arrays(np.dtype(dtype), st.tuples(st.just(2), st.integers(0, 3), st.integers(1, 3)))
)
NAMES = st.text(min_size=1, max_size=12)


def example() -> Trace:
    values = np.arange(12, dtype=np.float32).reshape(2, 6)
    return Trace({"conv1_conv": values, "predictions": values.astype(np.float64)}, {"seed": 0})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    example().save(tmp_path / "trace")
    return tmp_path / "trace"


def edit(folder: Path, change: Any) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index)
    (folder / INDEX).write_text(json.dumps(index))


@ONCE_A_FOLDER
@given(layers=st.dictionaries(NAMES, LAYER, max_size=4))
def test_saving_and_loading_gives_the_same_bits_names_and_order(
    layers: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("trace") / "t"
    Trace(layers, {"seed": 3}).save(folder)
    back = Trace.load(folder)
    assert list(back) == list(layers)
    assert back.provenance == {"seed": 3}
    for name, array in layers.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()


def test_the_format_of_a_layer_that_its_array_cannot_tell_is_kept(tmp_path: Path) -> None:
    layers = dict(example())
    Trace(layers, formats={"conv1_conv": "bfloat16"}).save(tmp_path / "trace")
    again = Trace.load(tmp_path / "trace")
    assert dict(again.formats) == {"conv1_conv": "bfloat16", "predictions": "float64"}
    assert dict(example().formats) == {"conv1_conv": "float32", "predictions": "float64"}
    index = json.loads((tmp_path / "trace" / INDEX).read_text())
    assert [entry.get("computed") for entry in index["layers"]] == ["bfloat16", None]
    edit(tmp_path / "trace", lambda index: index["layers"][0].update(computed=16))
    with pytest.raises(InputError, match="malformed layers"):
        Trace.load(tmp_path / "trace")


def test_nothing_in_a_trace_can_change_and_what_was_given_stays_writable(saved: Path) -> None:
    given_array = np.zeros((1, 2), np.float32)
    for trace in (Trace({"a": given_array}), Trace.load(saved)):
        with pytest.raises(ValueError, match="read-only"):
            next(iter(trace.values()))[...] = 1
        with pytest.raises(TypeError):
            trace["a"] = given_array  # type: ignore[index]
        with pytest.raises(TypeError):
            trace.provenance["a"] = 1  # type: ignore[index]
    assert given_array.flags.writeable


def test_a_big_endian_array_is_written_little_endian(tmp_path: Path) -> None:
    Trace({"a": np.ones((1, 2), ">f4")}).save(tmp_path / "t")
    assert Trace.load(tmp_path / "t")["a"].dtype.str == "<f4"


@pytest.mark.parametrize(
    "layers",
    [
        {"a": np.zeros((1, 2)), "b": np.zeros((2, 2))},
        {"a": np.float32(1.0)},
        {"a": np.array(1.0)},
        {"a": [1.0]},
    ],
    ids=["two batch sizes", "scalar", "no batch axis", "list"],
)
def test_what_is_no_trace_is_refused(layers: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Trace(layers)


@pytest.mark.parametrize("dtype", ["O", "i4", "c8", "U3"])
def test_only_floating_point_is_saved_and_a_refusal_leaves_nothing(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(InputError, match="float16"):
        Trace({"a": np.ones((1, 2)), "b": np.ones((1, 2)).astype(dtype)}).save(tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_provenance_that_is_not_json_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    for value in (object(), float("nan")):
        with pytest.raises(InputError, match="JSON"):
            Trace({"a": np.ones((1, 2))}, {"x": value}).save(tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_only_when_asked_and_only_a_trace(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists"):
        example().save(saved)
    Trace({"other": np.ones((1, 2))}).save(saved, overwrite=True)
    assert list(Trace.load(saved)) == ["other"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep")
    with pytest.raises(InputError, match="not a trace"):
        example().save(tmp_path / "mine", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "trace"]


def test_a_path_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        example().save(tmp_path / "file" / "trace")


def forget_file(folder: Path) -> None:
    next(folder.glob("*.npy")).unlink()


def cut_file(folder: Path) -> None:
    path = next(folder.glob("*.npy"))
    path.write_bytes(path.read_bytes()[:-4])


def flip_bit(folder: Path) -> None:
    path = next(folder.glob("*.npy"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def pickle_objects(folder: Path) -> None:
    np.save(next(folder.glob("*.npy")), np.array([{}, {}], dtype=object), allow_pickle=True)


def write_integers(folder: Path) -> None:
    np.save(next(folder.glob("*.npy")), np.zeros((2, 6), np.int32))


def write_zip(folder: Path) -> None:
    path = next(folder.glob("*.npy"))
    np.savez(folder / "x.npz", np.zeros(2))
    (folder / "x.npz").rename(path)


def link_away(folder: Path) -> None:
    path = next(folder.glob("*.npy"))
    path.rename(folder.parent / "away.npy")
    path.symlink_to(folder.parent / "away.npy")


DAMAGE = {
    "no index": lambda folder: (folder / INDEX).unlink(),
    "index is a list": lambda folder: (folder / INDEX).write_text("[]"),
    "index is not JSON": lambda folder: (folder / INDEX).write_text("{"),
    "index is deep": lambda folder: (folder / INDEX).write_text("[" * 100_000),
    "other schema": lambda folder: edit(folder, lambda index: index.update(schema=2)),
    "no layers": lambda folder: edit(folder, lambda index: index.pop("layers")),
    "layer twice": lambda folder: edit(folder, lambda index: index["layers"].append(index["layers"][0])),
    "provenance is text": lambda folder: edit(folder, lambda index: index.update(provenance="x")),
    "negative size": lambda folder: edit(folder, lambda index: index["layers"][0].update(shape=[-1])),
    "other shape": lambda folder: edit(folder, lambda index: index["layers"][0].update(shape=[6, 2])),
    "other dtype": lambda folder: edit(folder, lambda index: index["layers"][0].update(dtype="float16")),
    "path upwards": lambda folder: edit(folder, lambda index: index["layers"][0].update(file="../trace/x.npy")),
    "absolute path": lambda folder: edit(folder, lambda index: index["layers"][0].update(file="/etc/passwd")),
    "NUL in a path": lambda folder: edit(folder, lambda index: index["layers"][0].update(file="\0.npy")),
    "link that leaves": link_away,
    "missing file": forget_file,
    "truncated file": cut_file,
    "changed value": flip_bit,
    "pickled objects": pickle_objects,
    "integers": write_integers,
    "zip": write_zip,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_in_one_line(saved: Path, damage: str) -> None:
    DAMAGE[damage](saved)
    with pytest.raises(InputError) as caught:
        Trace.load(saved)
    assert "\n" not in str(caught.value)


def test_a_hash_is_optional_and_can_be_left_unchecked(saved: Path) -> None:
    flip_bit(saved)
    assert len(Trace.load(saved, verify=False)) == 2
    edit(saved, lambda index: [entry.pop("sha256") for entry in index["layers"]])
    assert len(Trace.load(saved)) == 2


@settings(ONCE_A_FOLDER, max_examples=300)
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255), target=st.sampled_from([INDEX, "000_conv1_conv.npy"]))
def test_any_byte_may_be_wrong(saved: Path, place: int, byte: int, target: str) -> None:
    """Fuzz: one changed byte gives the same trace, another valid one (in the provenance), or an InputError."""
    path = saved / target
    whole = path.read_bytes()
    place %= len(whole)
    path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    try:
        Trace.load(saved)
    except InputError as error:
        assert "\n" not in str(error)
    finally:
        path.write_bytes(whole)
