"""Weights: what they tell about themselves, that they cannot change, and that one error lists all that is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_weights import random_tensors, random_weights

from refnet.errors import InputError
from refnet.graph import resnet
from refnet.weights import Weights, inspect
from refnet.weights.checks import MOST_CLASSES

NAMES = tuple(random_tensors(include_top=False))


def without_top(**changes: Any) -> dict[str, Any]:
    return dict(random_tensors(include_top=False)) | changes


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 50},
        {"depth": 101, "include_top": False},
        {"depth": 152, "include_top": False},
        {"depth": 50, "variant": "v1.5", "classes": 3},
        {"depth": 50, "variant": "v1.5", "include_top": False},
    ],
)
def test_what_they_are_follows_from_the_tensors(options: dict[str, Any]) -> None:
    weights = random_weights(**options)
    assert weights.depth == options["depth"]
    assert weights.variant == options.get("variant", "v1")
    assert weights.include_top == options.get("include_top", True)
    assert weights.classes == (options.get("classes", 7) if weights.include_top else None)
    assert weights.graph((64, 32)).input_shape == (64, 32, 3)
    assert list(weights) == list(weights.graph().weights)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nothing_is_cast(dtype: str) -> None:
    given = random_tensors(include_top=False, dtype=dtype)
    weights = Weights(given)
    assert all(weights[name].dtype == dtype and np.array_equal(weights[name], given[name]) for name in given)


def test_they_cannot_change() -> None:
    mine = np.full(64, 0.75, np.float32)
    weights = Weights(without_top(**{"conv1_bn/gamma": mine}))
    before = weights.hash
    mine[:] = 0
    assert weights["conv1_bn/gamma"].min() == 0.75
    with pytest.raises(ValueError, match="read-only"):
        weights["conv1_bn/gamma"][0] = 1
    with pytest.raises(TypeError):
        weights["conv1_bn/gamma"] = mine  # type: ignore[index]
    assert all(array.flags.c_contiguous and not array.flags.writeable for array in weights.values())
    assert before == Weights(weights).hash


def test_memory_layout_and_byte_order_are_no_content() -> None:
    name = "conv1_conv/kernel"
    kernel = random_tensors(include_top=False)[name]
    other = np.asfortranarray(kernel).astype(kernel.dtype.newbyteorder())
    weights = Weights(without_top(**{name: other}))
    assert weights == random_weights(include_top=False)
    assert weights[name].flags.c_contiguous
    assert weights[name].dtype.isnative


def test_the_hash_is_that_of_the_content_alone() -> None:
    tensors = random_tensors(include_top=False)
    weights = random_weights(include_top=False)
    assert Weights(dict(reversed(tensors.items())), source="elsewhere") == weights
    assert list(Weights(dict(reversed(tensors.items())))) == list(weights)
    others = [
        without_top(**{"conv1_bn/beta": np.nextafter(tensors["conv1_bn/beta"], np.float16(1))}),
        without_top(**{"conv1_bn/beta": tensors["conv1_bn/gamma"], "conv1_bn/gamma": tensors["conv1_bn/beta"]}),
        without_top(**{"conv1_bn/beta": tensors["conv1_bn/beta"].astype(np.float32)}),
        without_top(**{"conv1_bn/beta": np.zeros(64, np.float16)}),
        without_top(**{"conv1_bn/beta": -np.zeros(64, np.float16)}),
    ]
    assert len({weights.hash, *(Weights(other).hash for other in others)}) == 6


def test_the_hash_is_pinned() -> None:
    """Files and reports name weights by it: it must not change from one release or machine to the next."""
    tensors = {name: np.full(shape, 0.5, np.float32) for name, shape in resnet(include_top=False).weights.items()}
    assert Weights(tensors).hash == "e384376b7d18e7be1628a8df9617c37ce84b0c8c4712fc3b0042c00ce3737c1e"


FAULTS: dict[str, Any] = {  # what the error says -> what makes the tensor so
    "missing": lambda array: None,
    "NaN": lambda array: np.full_like(array, np.nan),
    "infinite": lambda array: np.full_like(array, -np.inf),
    "of shape": lambda array: array[..., :-1],
    "int32 instead of": lambda array: array.astype(np.int32),
    "object instead of": lambda array: array.astype(object),
    "complex64 instead of": lambda array: array.astype(np.complex64),
}


@settings(max_examples=15)
@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(list(FAULTS)), min_size=1, max_size=6))
def test_one_error_lists_every_fault(faults: dict[str, str]) -> None:
    tensors = without_top(**{"stranger/kernel": np.zeros(3)})
    for name, fault in faults.items():
        tensors[name] = FAULTS[fault](tensors[name])
    with pytest.raises(InputError) as error:
        Weights({name: array for name, array in tensors.items() if array is not None}, variant="v1", source="here")
    text = str(error.value)
    assert text.startswith("here is no ResNet50 v1: ")
    assert "\n" not in text
    parts = dict(part.split(": ", 1) for part in error.value.found.removeprefix("here is no ResNet50 v1: ").split("; "))
    listed = {name: kind for kind, names in parts.items() for name in names.split(", ")}
    assert listed.pop("stranger/kernel") == "not of this network"
    assert listed.keys() == faults.keys()
    assert all(listed[name].startswith(fault) for name, fault in faults.items())


@pytest.mark.parametrize(("value", "fine"), [(0.0, True), (-1e-5, True), (-1.001e-5, False), (-1.0, False)])
def test_a_variance_must_leave_a_root(value: float, fine: bool) -> None:
    tensors = without_top(**{"conv1_bn/moving_variance": np.full(64, value)})
    if fine:
        Weights(tensors)
    else:
        with pytest.raises(InputError, match="a variance not above -epsilon: conv1_bn/moving_variance"):
            Weights(tensors)


@pytest.mark.parametrize("classes", [1, 2, 1001])
def test_other_class_counts(classes: int) -> None:
    head = {"predictions/kernel": np.ones((2048, classes)), "predictions/bias": np.ones(classes)}
    assert Weights(without_top(**head)).classes == classes


def test_a_head_too_large_is_refused_unread() -> None:
    one = np.ones(1)
    head = {"predictions/kernel": np.broadcast_to(one, (2048, MOST_CLASSES + 1)), "predictions/bias": one}
    with pytest.raises(InputError, match=r"of shape \(2048, 65537\) instead of .*: predictions/kernel"):
        Weights(without_top(**head))


def test_a_variant_asked_for_is_held_against_the_tensors() -> None:
    with pytest.raises(InputError, match=r"is no ResNet50 v1\.5: not of this network: conv1_conv/bias"):
        Weights(random_tensors(include_top=False), variant="v1.5")


def test_v1_that_lost_its_biases_is_not_taken_for_v1_5() -> None:
    tensors = {name: t for name, t in random_tensors().items() if not name.endswith("_conv/bias")}
    lost = sorted(set(random_tensors()) - set(tensors))
    with pytest.raises(InputError, match=r"is no ResNet50 v1: missing: .*say variant='v1\.5'") as error:
        Weights(tensors)
    assert len(lost) == 53 and all(name in str(error.value) for name in lost)
    assert Weights(Weights(tensors, variant="v1.5")).variant == "v1.5"


def test_the_source_cannot_change() -> None:
    with pytest.raises(AttributeError):
        random_weights(include_top=False).source = "elsewhere"  # type: ignore[misc]


def test_tensors_of_something_else() -> None:
    with pytest.raises(InputError, match="2 tensors and none of a ResNet"):
        Weights({"a": np.zeros(3), "b": np.zeros(4)})
    with pytest.raises(InputError, match="0 tensors"):
        Weights({})


def test_a_name_cannot_break_the_line() -> None:
    with pytest.raises(InputError) as error:
        Weights(without_top(**{"a\n\x1b[31mb": np.zeros(3)}))
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)


def test_inspect_has_a_row_for_each_tensor() -> None:
    weights = random_weights(include_top=False)
    rows = {row.name: row for row in inspect(weights)}
    assert list(rows) == list(weights)
    bias = weights["conv1_conv/bias"].astype(np.float64)
    row = rows["conv1_conv/bias"]
    assert (row.shape, row.dtype, row.minimum, row.maximum) == ((64,), "float16", bias.min(), bias.max())
    assert row.rms == pytest.approx(np.linalg.norm(bias) / 8)
