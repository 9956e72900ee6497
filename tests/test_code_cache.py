"""Compiled code on disk is used again, never stale, and never in the way: shown in processes with their own cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import refnet
from refnet.kernels.code_cache import KEPT_VERSIONS

# Prints the bits of a product in some orders, and how many functions were compiled and how many came from the cache.
CHILD = """
import json, sys
import numpy as np
from numba.core.dispatcher import Dispatcher
import refnet.kernels
rng = np.random.default_rng(0)
a, b = rng.standard_normal((2, 3, 40)).astype(np.float32)
orders = json.loads(sys.argv[1])
bits = {str(how): refnet.kernels.matmul(a, b.T, **how).tobytes().hex() for how in orders}
modules = [module for name, module in list(sys.modules.items()) if name.startswith("refnet.kernels")]
dispatchers = {id(d): d for module in modules for d in vars(module).values() if isinstance(d, Dispatcher)}.values()
hits = sum(sum(d.stats.cache_hits.values()) for d in dispatchers)
misses = sum(sum(d.stats.cache_misses.values()) for d in dispatchers)
print(json.dumps({"bits": bits, "hits": hits, "misses": misses, "file": refnet.__file__}))
"""
# Prints how many functions `predict` compiled and the bits of what it gave, for a network of zeros and a bias.
PREDICT = """
import json, sys
import numpy as np
from numba.core import event
import refnet
from refnet.graph import resnet
weights = {name: np.zeros(shape, np.float32) for name, shape in resnet(50).weights.items()}
weights["predictions/bias"] = np.arange(1000, dtype=np.float32) / 1000
with event.install_recorder("numba:compile") as recorder:
    y = refnet.predict(np.ones((1, 32, 32, 3), np.float32), weights)
print(json.dumps({"bits": y.tobytes().hex(), "compiled": len(recorder.buffer), "file": refnet.__file__}))
"""
FUSED, PLAIN = {"order": "sequential"}, {"order": "sequential", "fma": False}
ORDERS: dict[str, dict[str, Any]] = {
    "plain": PLAIN, "fused": FUSED, "kahan": {"order": "kahan"}, "neumaier": {"order": "neumaier"},
    "dot2": {"order": "dot2"},
}  # fmt: skip
# chain -> a line of its algebra in arithmetic/chains.py, and that line broken
EDITS = {
    "plain": ("return (ops.add(state[0], ops.mul(a, b)),)", "return (ops.sub(state[0], ops.mul(a, b)),)"),
    "fused": ("return (ops.fma(a, b, state[0]),)", "return (ops.add(ops.mul(a, b), state[0]),)"),
    "kahan": ("y = ops.sub(ops.mul(a, b), c)", "y = ops.add(ops.mul(a, b), c)"),
    "neumaier": ("s, e = two_sum(ops, state[0], ops.mul(a, b))\n        return s, ops.add(state[1], e)",
                 "s, e = two_sum(ops, state[0], ops.mul(a, b))\n        return s, ops.sub(state[1], e)"),
    "dot2": ("return s, ops.add(state[1], ops.add(r, e))", "return s, ops.add(state[1], ops.sub(r, e))"),
}  # fmt: skip


@dataclass(frozen=True)
class Installation:
    """A copy of the package that may be edited, and a cache folder."""

    root: Path
    cache: Path

    def run(self, *orders: dict[str, Any], cache: Path | None = None) -> dict[str, Any]:
        return self.child(CHILD, json.dumps(orders or (FUSED,)), cache=cache or self.cache)

    def child(self, program: str, *arguments: str, cache: Path) -> dict[str, Any]:
        """What a program prints in a process of its own that imports this copy."""
        environment = {**os.environ, "PYTHONPATH": str(self.root), "XDG_CACHE_HOME": str(cache)}
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, env=environment, cwd=self.root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        assert Path(result["file"]).is_relative_to(self.root)
        return result

    def files(self) -> dict[Path, int]:
        """The files of compiled code and when each was written."""
        return {path: path.stat().st_mtime_ns for path in self.cache.rglob("*") if path.is_file()}

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / "refnet" / file
        source = path.read_text(encoding="utf-8")
        assert source.count(old) == 1, f"{old!r} is not one place of {file}"
        path.write_text(source.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Installation, dict[str, Any]]:
    """An installation whose cache was empty and has seen one process, and what that process said."""
    folder = tmp_path_factory.mktemp("compiled")
    package, kernels = folder / "copy" / "refnet", Path(refnet.kernels.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__", "kernels")
    shutil.copytree(Path(refnet.__file__).parent, package, ignore=ignored)
    shutil.copytree(kernels, package / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    made = Installation(folder / "copy", folder / "cache")
    return made, made.run()


@pytest.fixture
def first(compiled: tuple[Installation, dict[str, Any]]) -> dict[str, Any]:
    """What the process said that found the cache empty."""
    return compiled[1]


@pytest.fixture
def installation(compiled: tuple[Installation, dict[str, Any]], tmp_path: Path) -> Installation:
    """A copy of the compiled one, to be spoiled."""
    shutil.copytree(compiled[0].root, tmp_path / "copy")
    shutil.copytree(compiled[0].cache, tmp_path / "cache")
    return Installation(tmp_path / "copy", tmp_path / "cache")


def test_a_second_process_compiles_nothing_and_leaves_the_folder_alone(
    installation: Installation, first: dict[str, Any]
) -> None:
    files = installation.files()
    assert first["misses"] > 0 and files
    second = installation.run()
    assert second["misses"] == 0 and second["hits"] > 0 and second["bits"] == first["bits"]
    assert installation.files() == files


@pytest.mark.slow
def test_the_first_predict_of_a_second_process_compiles_nothing(installation: Installation) -> None:
    """What makes it start at once: all of a network's code comes from the folder, and none is added to it."""
    first = installation.child(PREDICT, cache=installation.cache)
    files = installation.files()
    second = installation.child(PREDICT, cache=installation.cache)
    assert first["compiled"] > 0 and second["compiled"] == 0
    assert second["bits"] == first["bits"] and installation.files() == files


@pytest.mark.slow
def test_one_edited_line_changes_the_bits_of_the_next_process(
    installation: Installation, first: dict[str, Any]
) -> None:
    installation.edit("arithmetic/chains.py", *EDITS["fused"])
    after = installation.run(FUSED)
    assert after["misses"] > 0 and after["bits"] != first["bits"]
    again = installation.run(FUSED)
    assert again["misses"] == 0 and again["bits"] == after["bits"]


@pytest.mark.exhaustive
def test_every_order_s_algebra_is_seen(installation: Installation) -> None:
    before = installation.run(*ORDERS.values())["bits"]
    for edit in EDITS.values():
        installation.edit("arithmetic/chains.py", *edit)
    after = installation.run(*ORDERS.values())["bits"]
    assert [order for order in before if before[order] == after[order]] == []


@pytest.mark.slow
def test_old_versions_do_not_pile_up(installation: Installation) -> None:
    folder = installation.cache / "refnet" / "kernels"
    shutil.rmtree(folder)  # the folder of these sources is new
    for number in range(KEPT_VERSIONS + 1):
        old = folder / f"old{number}"
        old.mkdir(parents=True)
        os.utime(old, (number, number))
    installation.run()
    left = {path.name for path in folder.iterdir()}
    newest = {f"old{number}" for number in range(2, KEPT_VERSIONS + 1)}
    assert newest < left and len(left) == KEPT_VERSIONS, "the newest stay, and the folder that was made"


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign"])
def test_a_spoiled_file_is_made_again(damage: str, installation: Installation, first: dict[str, Any]) -> None:
    for path in installation.files():
        whole = path.read_bytes()
        flipped = bytearray(whole)
        for place in range(len(whole) // 3, len(whole), 97):
            flipped[place] ^= 0x55
        spoiled = {"truncated": whole[: len(whole) // 2], "empty": b"", "foreign": b"hello\n", "flipped": flipped}
        path.write_bytes(spoiled[damage])
    again = installation.run()
    assert again["bits"] == first["bits"] and again["misses"] > 0
    assert installation.run()["misses"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("place", ["below a file", "/proc/nothing"])
def test_without_a_folder_to_write_to_everything_is_compiled_and_nothing_fails(
    place: str, installation: Installation, first: dict[str, Any]
) -> None:
    """Places where nobody can write, root included: what a read-only home is to a user."""
    file = installation.root / "file"
    file.touch()
    without = installation.run(cache=file if place == "below a file" else Path(place))
    assert without["bits"] == first["bits"] and without["misses"] > 0
