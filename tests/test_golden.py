"""Same bits everywhere: pinned hashes of the logits, here and as if on machines with fewer instructions."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from golden.make import CASES, FILE, SIZES, hashes, sha256

import refnet

PINNED = json.loads(FILE.read_text(encoding="utf-8"))
# Numba compiles for these instead of the CPU that is there: 32-byte vectors and 16-byte ones without an fma unit.
MACHINES = {
    "AVX2": ("haswell", "+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2"),
    "no FMA": ("nehalem", "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt"),
}
EVERY_MACHINE = pytest.mark.parametrize("machine", MACHINES)
# Each case compiles kernels of its own, so the fast tests take some; the exhaustive ones take all.
FEW = ("float32", "bfloat16", "double-double")
SOME = (*FEW, "float32 without fma", "float32 folded", "float32 shifted-fma, fused shift", "float32 tree", "float16")


def test_every_case_is_pinned() -> None:
    assert {size: set(cases) for size, cases in PINNED.items()} == {str(size): set(CASES) for size in SIZES}


def test_every_case_has_bits_of_its_own() -> None:
    for cases in PINNED.values():
        assert len(set(cases.values())) == len(cases)


@pytest.mark.parametrize("case", SOME)
def test_the_bits_are_those_that_were_pinned(case: str) -> None:
    assert hashes(64, (case,))[case] == PINNED["64"][case]


def test_the_bits_are_those_that_were_pinned_at_full_size() -> None:
    assert hashes(224, ("float32",))["float32"] == PINNED["224"]["float32"]


@pytest.mark.exhaustive
def test_all_the_bits_are_those_that_were_pinned() -> None:
    assert {str(size): hashes(size) for size in SIZES} == PINNED


def test_a_changed_bit_changes_the_hash() -> None:
    y = np.linspace(0, 1, 1000, dtype=np.float32)[None]
    changed = y.copy()
    changed[0, 500] = np.nextafter(changed[0, 500], 1)
    assert len({sha256(y), sha256(changed), sha256(y[0]), sha256(y.astype(np.float64)), sha256(-y)}) == 5
    zeros = np.zeros((1, 4), np.float32)
    assert sha256(zeros) != sha256(-zeros)


def test_a_changed_bit_of_either_plane_changes_the_hash() -> None:
    hi, lo = np.ones((1, 4)), np.full((1, 4), 2.0**-60)
    planes = [(hi, lo), (np.nextafter(hi, 2), lo), (hi, np.nextafter(lo, 1)), (hi, -lo), (lo, hi)]
    assert len({sha256(refnet.DoubleDouble(*pair)) for pair in planes} | {sha256(hi)}) == 6


def on_machine(machine: str, size: int, cases: tuple[str, ...]) -> dict[str, str]:
    """The hashes that a process computes for which Numba was told of another CPU."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip(f"{machine} is a kind of x86-64, this is {platform.machine()}")
    name, features = MACHINES[machine]
    environment = {**os.environ, "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    command = [sys.executable, str(Path(FILE).with_name("make.py")), str(size), *cases]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@EVERY_MACHINE
def test_other_machines_have_the_same_bits(machine: str) -> None:
    assert on_machine(machine, 32, FEW) == {case: PINNED["32"][case] for case in FEW}


@pytest.mark.exhaustive
@EVERY_MACHINE
def test_other_machines_have_the_same_bits_in_every_case(machine: str) -> None:
    assert on_machine(machine, 64, tuple(CASES)) == PINNED["64"]


@EVERY_MACHINE
def test_the_other_machine_is_really_compiled_for(machine: str) -> None:
    name, features = MACHINES[machine]
    script = "from refnet.kernels.jit import vector_bytes; print(vector_bytes())"
    environment = {**os.environ, "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == {"AVX2": 32, "no FMA": 16}[machine]
