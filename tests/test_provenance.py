"""Provenance: hashes that are the same on every machine, and nothing of the environment that is not named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnet import provenance as module
from refnet.provenance import cpu, installed_packages, provenance, relevant_environment, sha256_of_array, usable_cores

ARRAYS = arrays.arrays(
    st.sampled_from([np.dtype(name) for name in ("float16", "float32", "float64")]),
    arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


def test_the_hash_is_of_dtype_shape_and_little_endian_values() -> None:
    array = np.array([[1.0, -2.0]], np.float32)
    by_hand = b"<f4|1,2|" + bytes.fromhex("0000803f000000c0")
    assert sha256_of_array(array) == hashlib.sha256(by_hand).hexdigest()


@given(ARRAYS)
def test_the_hash_ignores_byte_order_and_memory_layout(array: np.ndarray) -> None:
    expected = sha256_of_array(array)
    assert sha256_of_array(array.astype(array.dtype.newbyteorder(">"))) == expected
    assert sha256_of_array(np.array(array, order="F")) == expected


def test_the_hash_sees_the_dtype_the_shape_and_the_sign_of_zero() -> None:
    zeros = np.zeros((2, 3), np.float32)
    others: list[np.ndarray] = [zeros.T, zeros.reshape(6), zeros.astype(np.float64), -zeros, zeros.view(np.int32)]
    assert len({sha256_of_array(array) for array in [zeros, *others]}) == 1 + len(others)


def test_provenance_is_json_and_takes_more() -> None:
    found = provenance(weights="abc", seed=0)
    assert json.loads(json.dumps(found)) == found
    assert found["weights"] == "abc"
    assert found["seed"] == 0


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("KERAS_BACKEND", True),
        ("OMP_NUM_THREADS", True),
        ("ONEDNN_MAX_CPU_ISA", True),
        ("TF_ENABLE_ONEDNN_OPTS", True),
        ("NUMBA_CPU_NAME", True),
        ("OPENBLAS_CORETYPE", True),
        ("HOME", False),
        ("AWS_SECRET_ACCESS_KEY", False),
        ("TF_VAR_password", False),  # Terraform's, not TensorFlow's
        ("TF_TOKEN_app_terraform_io", False),
        ("KERAS_HOME", False),
        ("NUMBA_CACHE_DIR", False),
    ],
)
def test_only_variables_that_can_change_bits_are_recorded(name: str, kept: bool) -> None:
    assert (name in relevant_environment({name: "1"})) is kept


def test_packages_are_looked_up_by_version_and_absent_ones_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGES", ("numpy", "no-such-distribution"))
    assert installed_packages() == {"numpy": np.__version__}


def test_without_proc_the_processor_still_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    found = cpu()
    assert found["model"]
    assert found["flags"] == []


def test_cores_are_those_this_process_may_use() -> None:
    assert cpu()["cores"] == usable_cores() >= 1
