"""--resume: what an interrupted run has done is taken again, and only where all that it comes from is the same."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends_support import FAKE, fake, random_images, random_weights

from refnet.backends import VARIANTS, Run, Variant, run
from refnet.backends.job import make_job
from refnet.backends.kept import MARK, fingerprint
from refnet.backends.run import CHILD
from refnet.graph import resnet
from refnet.trace import Trace
from refnet.weights import Weights


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights()


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("common")
    script = folder / "fake_child.py"
    script.write_text(FAKE)
    return {"cache": folder / "cache", "child": script, "threads": 1, "timeout": 120}


@pytest.fixture(scope="module")
def once(weights: Weights, common: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the result of `first`; not to be changed."""
    folder = tmp_path_factory.mktemp("once") / "runs"
    run([fake("first")], weights, random_images(1), folder, **common)
    return folder


@pytest.fixture
def folder(once: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(once, tmp_path / "runs")


class Starts:
    """A progress that notes which variants' children were started."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str, stage: str, seconds: float) -> None:
        if stage == "import":
            self.names.append(name)


def resumed(variants: list[Variant], weights: Weights, folder: Path, **common: Any) -> tuple[list[str], list[Run]]:
    starts = Starts()
    found = run(
        variants, weights, common.pop("images", random_images(1)), folder, progress=starts, resume=True, **common
    )
    return starts.names, found


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_was(
    weights: Weights, common: dict[str, Any], once: Path, tmp_path: Path
) -> None:
    def interrupt(name: str, stage: str, seconds: float) -> None:
        if (name, stage) == ("second", "layers"):
            raise KeyboardInterrupt

    variants = [fake("first"), fake("second"), fake("third")]
    with pytest.raises(KeyboardInterrupt):
        run(variants, weights, random_images(1), tmp_path, progress=interrupt, **common)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "first.log", "second.log"]

    names, found = resumed(variants, weights, tmp_path, **common)
    assert names == ["second", "third"]
    assert [one.status for one in found] == ["ok"] * 3
    assert found[0].seconds == json.loads((tmp_path / "first" / MARK).read_text())["seconds"] > 0
    uninterrupted = Trace.load(once / "first" / "trace")
    assert found[0].trace is not None
    assert all(np.array_equal(found[0].trace[name], uninterrupted[name]) for name in uninterrupted)
    assert set(found[0].provenance) == set(uninterrupted.provenance)
    assert resumed(variants, weights, tmp_path, **common)[0] == []


def test_without_resume_everything_runs_again(weights: Weights, common: dict[str, Any], folder: Path) -> None:
    starts = Starts()
    run([fake("first")], weights, random_images(1), folder, progress=starts, **common)
    assert starts.names == ["first"]


def damage_logits(result: Path) -> None:
    (result / "logits.npy").write_bytes(b"")


def alter_logits(result: Path) -> None:
    logits = np.load(result / "logits.npy")
    logits[0, 0] = 999
    np.save(result / "logits.npy", logits)


def damage_layer(result: Path) -> None:
    file = next((result / "trace").glob("007_*.npy"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def damage_mark(result: Path) -> None:
    (result / MARK).write_text("[")


def nest_mark(result: Path) -> None:
    (result / MARK).write_text("[" * 100_000)


def remove_mark(result: Path) -> None:
    (result / MARK).unlink()


def some_fast(cases: Sequence[Any], fast: Sequence[Any]) -> list[Any]:
    """Each case starts a child process anew; a few are enough for the fast tests."""
    return [case if case in fast else pytest.param(case, marks=pytest.mark.exhaustive) for case in cases]


DAMAGES = [damage_logits, alter_logits, damage_layer, damage_mark, nest_mark, remove_mark]
CHANGES = ["weights", "pictures", "threads", "variant", "script", "versions", "environment"]


@pytest.mark.slow
@pytest.mark.parametrize("damage", some_fast(DAMAGES, [alter_logits, damage_layer]))
def test_a_damaged_result_is_run_again(damage: Any, weights: Weights, common: dict[str, Any], folder: Path) -> None:
    damage(folder / "first")
    names, (found,) = resumed([fake("first")], weights, folder, **common)
    assert names == ["first"]
    assert found.status == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("change", some_fast(CHANGES, ["weights", "variant"]))
def test_what_was_made_from_something_else_is_run_again(
    change: str,
    weights: Weights,
    common: dict[str, Any],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variant, more = fake("first"), dict(common)
    match change:
        case "weights":
            weights = random_weights(seed=1)
        case "pictures":
            more["images"] = random_images(1) + np.float32(1)
        case "threads":
            more["threads"] = None
        case "variant":
            variant = dataclasses.replace(variant, batch_size=3)
        case "script":
            more["child"] = tmp_path / "child.py"
            more["child"].write_text(FAKE + "\n")
        case "versions":
            monkeypatch.setattr("refnet.provenance.PACKAGES", ("numpy",))
        case "environment":
            monkeypatch.setenv("DNNL_VERBOSE", "0")
    names, (found,) = resumed([variant], weights, folder, **more)
    assert names == ["first"]
    assert found.status == "ok", found.reason


def fingerprint_of(variant: Variant) -> str:
    nowhere = Path()
    job = make_job(variant, resnet(50), weights=nowhere, images=nowhere, output=nowhere)
    return fingerprint(job, {}, CHILD)


@pytest.mark.parametrize(
    "change",
    [
        {"framework": "tf_keras"},
        {"environment": {**VARIANTS["torch"].environment, "A": "1"}},
        {"settings": {"onednn": False}},
        {"compile": {"run_eagerly": True}},
        {"dtype_policy": "float64"},
        {"data_format": "channels_first"},
        {"threads": 1},
        {"batch_size": 8},
        {"needs": ("gpu",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_fingerprint_knows_every_field_that_the_child_obeys(change: dict[str, Any]) -> None:
    """A user may define a variant anew under its old name."""
    base = dataclasses.replace(VARIANTS["torch"], settings={}, compile={})
    if "framework" in change:
        base = dataclasses.replace(base, environment={})
    assert fingerprint_of(dataclasses.replace(base, **change)) != fingerprint_of(base)
    assert fingerprint_of(dataclasses.replace(base, description="in other words")) == fingerprint_of(base)


def test_what_is_expected_of_a_kept_result_is_asked_again(
    weights: Weights, common: dict[str, Any], folder: Path
) -> None:
    """`expect` is no part of the job: the answer of the earlier run is held against what is expected now."""
    stricter = dataclasses.replace(fake("first"), expect={"inference_precision": "bf16"})
    names, (found,) = resumed([stricter], weights, folder, **common)
    assert names == ["first"]
    assert found.reason == "the plain model had the inference_precision f32 instead of bf16"
