"""Backends that misbehave: each becomes a row with its reason, the others go on, and nothing is left behind.

The child that runs here is the fake of backends_support.
"""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from backends_support import CLASSES, FAKE, fake, random_images, random_weights

from refnet.backends import VARIANTS, Run, run, select
from refnet.backends.result import reason_in_log
from refnet.errors import InputError
from refnet.weights import Weights

EXPECTED = {
    "good": ("ok", r"^$"),
    "missing": ("missing", r'no_such_module is not installed; pip install "refnet\[torch\]"'),
    "killed": ("killed", r"^killed by signal 9 \(out of memory\?\)$"),
    "segfault": ("killed", r"^killed by signal 11 \(SIGSEGV\)$"),
    "raises": ("failed", r"^ValueError: no such layer$"),
    "status": ("failed", r"^ended with exit status 7$"),
    "silent": ("failed", r"left no whole result"),
    "memory": ("failed", r"^numpy\._core\._exceptions\._ArrayMemoryError: Unable to allocate"),
    "abort": ("killed", r"^killed by signal 6 \(SIGABRT\): terminate called after throwing 'std::bad_alloc'$"),
    "garbage-index": ("failed", r"left no whole result: .*index\.json is not JSON"),
    "garbage-logits": ("failed", r"left no whole result: "),
    "logits-float64": ("failed", r"logits of the plain model .* is float64 \(3, 10\); expected float32 \(3, 10\)"),
    "logits-int64": ("failed", r"logits of the plain model .* is int64; expected one of float16, "),
    "no-gpu": ("missing", r"^no GPU that torch can use here$"),
    "places": ("ok", r"^copies of one picture in a batch differ in pool1_pool$"),
    "places-of-logits": ("ok", r"^copies of one picture in a batch differ in logits of the plain model$"),
    "nan": ("ok", r"^3 numbers are NaN or infinite, first in pool1_pool$"),
    "infinite-logits": ("ok", r"^30 numbers are NaN or infinite, first in logits of the plain model$"),
    "incomplete": ("failed", r"^the trace lacks \w+, \w+$"),
    "other-shape": ("failed", r"^layers have another shape: conv2_block1_1_conv "),
    "truncated": ("failed", r"left no whole result: .*not a readable"),
    "other-weights": ("failed", r"^the plain model held other weights than were given to it: conv1_conv/kernel$"),
    "other-layered-weights": ("failed", r"^the model of all layers held other weights .*: conv1_conv/kernel$"),
    "fewer-weights": ("failed", r"^the plain model and the weights differ in conv1_conv/bias$"),
    "mute": ("failed", r"did not say which weights"),
    "tells-data-format": ("failed", r"^the plain model had the data_format 7 instead of channels_last$"),
    "tells-backend": ("failed", r"^the plain model had the backend 7 instead of torch$"),
    "tells-dtype-policy": ("failed", r"^the plain model had the dtype_policy 7 instead of float32$"),
    "tells-inference-precision": ("failed", r"^the plain model had the inference_precision 7 instead of f32$"),
    "tells-threads": ("failed", r"^the plain model had the threads 7 instead of 1$"),
    "tells-no-threads": ("ok", r"^$"),
    "log-taken": ("failed", r"log-taken\.log: Is a directory$"),
    "good-again": ("ok", r"^$"),
}


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fake") / "fake_child.py"
    path.write_text(FAKE)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def runs(weights: Weights, cache: Path, script: Path, folder: Path) -> dict[str, Run]:
    variants = [fake(name) for name in EXPECTED]
    (folder / "log-taken.log").mkdir()
    how = {"threads": 1, "timeout": 120, "at_once": 2, "cache": cache, "child": script}
    found = run(variants, weights, random_images(3), folder, **how)  # type: ignore[arg-type]
    return {result.variant: result for result in found}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_misfortune_is_a_row_with_its_reason(name: str, runs: dict[str, Run]) -> None:
    status, reason = EXPECTED[name]
    found = runs[name]
    assert found.status == status, found.reason
    assert re.search(reason, found.reason)
    assert "\n" not in found.reason
    assert (found.trace is None) == (found.logits is None) == (status != "ok")
    assert found.provenance["variant"] == name


def test_nothing_half_written_stays(runs: dict[str, Run], folder: Path) -> None:
    started = {f"{name}.log" for name, found in runs.items() if found.status != "missing" or name == "no-gpu"}
    whole = {name for name, found in runs.items() if found.status == "ok"}
    assert {path.name for path in folder.iterdir()} == started | whole


def test_the_log_keeps_all_of_stderr(runs: dict[str, Run], folder: Path) -> None:
    log = (folder / "raises.log").read_text(errors="replace")
    assert "garbage" not in log, "stdout is for stages only"
    assert "in this backend" in log


def test_pictures_keep_their_places(runs: dict[str, Run]) -> None:
    """Three pictures, each in a batch of two copies; the fake model answers with each picture's first value."""
    corner = random_images(3)[:, 0, 0, 0]
    for array in (runs["good"].logits, *list(runs["good"].trace.values())[1:]):  # type: ignore[union-attr]
        assert np.array_equal(array.reshape(3, -1).max(axis=1), corner)
        assert np.array_equal(array.reshape(3, -1).min(axis=1), corner)


def test_the_child_gets_its_environment_before_it_loads_anything(runs: dict[str, Run]) -> None:
    asked = runs["good"].provenance["backend"]["environment"]
    assert asked["FAKE_SETTING"] == "good"
    assert asked["OMP_NUM_THREADS"] == "1"
    assert "FAKE_SETTING" not in os.environ


def gone(process: int) -> bool:
    """No such process, or one that only waits to be reaped."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("interrupted", [False, True], ids=["timeout", "interrupt"])
def test_a_child_that_hangs_goes_with_all_it_started(
    interrupted: bool, weights: Weights, cache: Path, script: Path, tmp_path: Path
) -> None:
    processes: list[int] = []

    def progress(variant: str, stage: str, seconds: float) -> None:
        numbers = [int(word) for word in stage.split() if word.isdigit()]
        processes.extend(numbers)
        if numbers and interrupted:
            raise KeyboardInterrupt

    arguments = ([fake("hang")], weights, random_images(1), tmp_path)
    keywords = {"timeout": 5, "cache": cache, "child": script, "progress": progress}
    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            run(*arguments, **keywords)  # type: ignore[arg-type]
    else:
        (found,) = run(*arguments, **keywords)  # type: ignore[arg-type]
        assert found.status == "timeout"
        assert found.reason.startswith("no result within 5 s; the last stage was ")
    deadline = time.monotonic() + 10
    while not all(map(gone, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(processes) == 2
    assert all(map(gone, processes))
    assert [path.name for path in tmp_path.iterdir()] == ["hang.log"]


def test_an_interrupt_ends_all_children_that_work_and_starts_no_more(
    weights: Weights, cache: Path, script: Path, tmp_path: Path
) -> None:
    processes: list[int] = []

    def progress(variant: str, stage: str, seconds: float) -> None:
        numbers = [int(word) for word in stage.split() if word.isdigit()]
        processes.extend(numbers)
        if len(processes) == 4:
            os.kill(os.getpid(), signal.SIGINT)

    hanging = [fake(name) for name in ("hang-1", "hang-2", "hang-3")]
    how = {"at_once": 2, "timeout": 60, "cache": cache, "child": script, "progress": progress}
    with pytest.raises(KeyboardInterrupt):
        run(hanging, weights, random_images(1), tmp_path, **how)  # type: ignore[arg-type]
    deadline = time.monotonic() + 10
    while not all(map(gone, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(processes) == 4 and all(map(gone, processes))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hang-1.log", "hang-2.log"]


def test_a_child_that_prints_without_end_fills_no_disk(
    weights: Weights, cache: Path, script: Path, tmp_path: Path
) -> None:
    (found,) = run([fake("endless")], weights, random_images(1), tmp_path, timeout=3, cache=cache, child=script)
    assert found.status == "timeout"
    assert (tmp_path / "endless.log").stat().st_size == 0


def test_a_second_run_replaces_the_first(weights: Weights, cache: Path, script: Path, tmp_path: Path) -> None:
    for count in (1, 2):
        (found,) = run([fake("good")], weights, random_images(count), tmp_path, cache=cache, child=script)
        assert found.logits is not None
        assert found.logits.shape == (count, CLASSES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good", "good.log"]


def test_a_users_own_folder_is_never_replaced(weights: Weights, script: Path, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "letter.txt").write_text("keep")
    with pytest.raises(InputError, match="not a result of refnet"):
        run([fake("good")], weights, random_images(1), tmp_path, child=script)
    assert [path.name for path in tmp_path.rglob("*")] == ["good", "letter.txt"]


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("warning\nTraceback (most recent call last):\n  File x\nKeyError: 'a'\nbye\n", "KeyError: 'a'"),
        ("Traceback (most recent call last):\n  x\nMemoryError\n", "MemoryError"),
        (
            "Traceback (most recent call last):\n  x\nValueError: first\n\nDuring handling:\n\n"
            "Traceback (most recent call last):\n  y\nkeras.E: last\n",
            "keras.E: last",
        ),
        ("terminate called\n\n", "terminate called"),
        ("", ""),
    ],
)
def test_the_reason_is_the_last_meaningful_line(log: str, reason: str) -> None:
    assert reason_in_log(log) == reason


@pytest.mark.parametrize(
    ("variants", "images", "keywords"),
    [
        (["no-such"], random_images(1), {}),
        (["torch", "torch"], random_images(1), {}),
        (["torch"], random_images(1)[0], {}),
        (["torch"], random_images(1).astype(np.float64), {}),
        (["torch"], random_images(1) * np.nan, {}),
        (["torch"], random_images(1), {"timeout": 0}),
        (["torch"], random_images(1), {"threads": 0}),
    ],
    ids=["unknown", "twice", "no batch", "float64", "NaN", "no time", "no threads"],
)
def test_bad_input_is_refused_before_anything_runs(
    variants: list[str], images: np.ndarray, keywords: dict[str, int], weights: Weights, tmp_path: Path
) -> None:
    with pytest.raises(InputError):
        run(variants, weights, images, tmp_path / "runs", **keywords)  # type: ignore[arg-type]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../x"},
        {"framework": "torch"},
        {"batch_size": 0},
        {"threads": 0},
        {"settings": {"jit": True}},
        {"compile": {"optimizer": True}},
        {"dtype_policy": "int8"},
        {"data_format": "channels_middle"},
        {"needs": ("luck",)},
        {"needs": "gpu"},
        {"environment": {"A": 1}},
        {"default": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_variant_checks_itself(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        dataclasses.replace(VARIANTS["torch"], **change)  # type: ignore[arg-type]


def test_a_variants_mappings_cannot_change() -> None:
    with pytest.raises(TypeError):
        VARIANTS["torch"].environment["KERAS_BACKEND"] = "jax"  # type: ignore[index]


def test_variants_are_chosen_by_name_value_or_all() -> None:
    assert [variant.name for variant in select(["all"])] == list(VARIANTS)
    assert select(["none"]) == ()
    mine = fake("mine")
    assert select(["jax", mine]) == (VARIANTS["jax"], mine)
