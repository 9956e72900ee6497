"""A kept profile is asked for one layer of each kind before it is used, and one that no longer holds is made again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest
from backends_support import random_images, random_weights

import refnet.backends
import refnet.images
import refnet.reveal
import refnet.weights
from refnet.arithmetic import Arithmetic
from refnet.backends import VARIANTS, Run
from refnet.cli import main
from refnet.errors import InputError
from refnet.forward.kernel_engine import KernelEngine
from refnet.forward.walk import evaluate
from refnet.reveal import (
    Difference,
    Profile,
    checking,
    keep,
    kept_profile,
    kept_profiles,
    lost_in,
    lost_layers,
    remembered_checks,
    replay,
)
from refnet.reveal.checking import asked_again, explained_by

WEIGHTS, PICTURE = random_weights(), random_images(1)
GRAPH = WEIGHTS.graph((32, 32))
TORCH = VARIANTS["torch"]


def entries() -> dict[str, dict[str, Any]]:
    """Two orders and one form: fma in all but the dense layer and the mean."""
    found: dict[str, dict[str, Any]] = {}
    for node in GRAPH.nodes:
        if node.operation in ("conv2d", "dense", "mean_pool"):
            found[node.name] = {"order": "sequential", "fma": node.operation == "conv2d", "bias": "last"}
        if node.operation == "batch_norm":
            found[node.name] = {"batch_norm": "shifted", "shift": "rounded", "scale": "computed"}
    found["avg_pool"]["mean"] = "multiply"
    found["conv5_block1_1_conv"]["order"] = found["conv5_block2_1_conv"]["order"] = "blocks:400"
    return found


def profile_of(**changed: Any) -> Profile:
    return Profile("torch", ("ResNet50", "v1"), (32, 32), {}, {**entries(), **changed}, provenance={"threads": None})


class Backend:
    """In the place of a session: each layer computed by refnet as a profile says."""

    whole_graphs, precision = False, "float32"
    variant = TORCH

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def take(self, layer: str, *, behind: bool = False) -> tuple[int, ...]:
        self.node = GRAPH[layer]
        shape: tuple[int, ...] = GRAPH[self.node.inputs[0]].shape
        return shape

    def give(self, x: np.ndarray) -> None:
        self.x = x

    def run(self, *weights: np.ndarray) -> np.ndarray:
        name = self.node.name
        known = {field: of[name] for field, of in self.profile.settings().items() if name in of}
        named = {f"{name}/{key}": value for key, value in zip(self.node.weights, weights, strict=True)}
        result: np.ndarray = evaluate(self.node, KernelEngine(Arithmetic(**known), name), named, self.x)
        return result


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Any:
    """now(profile): what the backend computes by from then on; None: it must not be asked."""

    def computes(profile: Profile | None) -> None:
        def session(*_: Any, **__: Any) -> Backend:
            return Backend(profile) if profile else pytest.fail("the framework was started")

        monkeypatch.setattr(checking, "Session", session)

    return computes


def test_the_smallest_layer_of_each_kind_is_asked() -> None:
    asked = asked_again(profile_of(), GRAPH)
    assert len(asked) == 5  # sequential, blocks, the form, the dense layer, the mean
    assert {"avg_pool", "predictions"} < set(asked)
    assert {"conv5_block1_1_conv", "conv5_block2_1_conv"} & set(asked) == {"conv5_block1_1_conv"}  # 512 channels wide
    unknown = {"reason": "no tree"}
    differing = {**entries()["predictions"], "differing": 7, "outputs": 10}
    asked = asked_again(profile_of(avg_pool=unknown, predictions=differing), GRAPH)
    assert len(asked) == 3 and not {"avg_pool", "predictions"} & set(asked)


CHANGES: Mapping[str, dict[str, Any]] = {
    "predictions": {"order": "sequential", "fma": True, "bias": "last"},
    "conv5_block1_1_conv": {"order": "blocks:399", "fma": True, "bias": "last"},
}


@pytest.mark.parametrize("layer", CHANGES)
def test_a_layer_that_computes_otherwise_now_is_lost(now: Any, layer: str) -> None:
    now(profile_of())
    assert lost_layers(profile_of(), TORCH, WEIGHTS) == ()
    now(profile_of(**{layer: CHANGES[layer]}))
    assert lost_layers(profile_of(), TORCH, WEIGHTS) == (layer,)


def test_a_form_of_batch_normalisation_that_changed_is_lost(now: Any) -> None:
    norms = {name: {**entry, "batch_norm": "centred"} for name, entry in entries().items() if "batch_norm" in entry}
    now(profile_of(**norms))
    (layer,) = lost_layers(profile_of(), TORCH, WEIGHTS)
    assert layer in norms


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of one kept profile, of which nobody knows any more that it holds."""
    monkeypatch.setattr(kept_profiles, "reveal", lambda *_, **__: pytest.fail("revealed"))
    keep(profile_of(), TORCH, WEIGHTS, folder=tmp_path)
    for record in (tmp_path / "checked").iterdir():
        record.unlink()
    return tmp_path


def given(folder: Path, **how: Any) -> dict[str, Any]:
    return kept_profile(TORCH, WEIGHTS, (32, 32), folder=folder, **how).to_json()


def test_a_kept_profile_is_given_if_it_holds(now: Any, kept: Path) -> None:
    now(None)
    assert given(kept, check="never") == profile_of().to_json()
    with pytest.raises(pytest.fail.Exception, match="the framework was started"):
        given(kept)
    now(profile_of())
    assert given(kept) == profile_of().to_json()


def test_a_check_counts_for_a_day(now: Any, kept: Path) -> None:
    """The second use starts no framework; `always` does."""
    now(profile_of())
    given(kept)
    now(None)
    assert given(kept) == profile_of().to_json()
    with pytest.raises(pytest.fail.Exception, match="the framework was started"):
        given(kept, check="always")


def test_what_was_just_revealed_is_not_asked_again(now: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now(None)
    keep(profile_of(), TORCH, WEIGHTS, folder=tmp_path / "of a command")
    assert given(tmp_path / "of a command") == profile_of().to_json()
    monkeypatch.setattr(kept_profiles, "reveal", lambda *_, **__: profile_of())
    for _ in range(2):
        assert given(tmp_path / "of a call") == profile_of().to_json()


def a_day_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    then = remembered_checks._now()
    monkeypatch.setattr(remembered_checks, "_now", lambda: then + timedelta(days=1))


def before_the_check(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    then = remembered_checks._now()
    monkeypatch.setattr(remembered_checks, "_now", lambda: then - timedelta(minutes=5))


def after_another_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "boot").write_text("another")
    monkeypatch.setattr(remembered_checks, "BOOT", folder / "boot")


def with_another_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = folder.glob("*.json")
    file.write_text(file.read_text() + " ")


def with_another_variable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same profile under the name that it would have there: that file was never seen to hold."""
    (file,) = folder.glob("*.json")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    file.rename(folder / kept_profiles._file(TORCH, WEIGHTS, (32, 32), None))


def with_a_spoiled_record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (record,) = (folder / "checked").iterdir()
    record.write_text("[1]")


def with_half_a_record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (record,) = (folder / "checked").iterdir()
    record.write_text(json.dumps({**json.loads(record.read_text()), "time": None}))


LATER = (
    a_day_later, before_the_check, after_another_start, with_another_file, with_another_variable,
    with_a_spoiled_record, with_half_a_record,
)  # fmt: skip


@pytest.mark.parametrize("later", LATER, ids=lambda later: later.__name__)
def test_a_check_counts_for_nothing_else(
    later: Callable[[Path, pytest.MonkeyPatch], None], now: Any, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now(profile_of())
    given(kept)
    now(None)
    given(kept)
    later(kept, monkeypatch)
    with pytest.raises(pytest.fail.Exception, match="the framework was started"):
        given(kept)


def test_a_folder_that_cannot_be_written_is_asked_each_time(now: Any, kept: Path) -> None:
    (kept / "checked").rmdir()
    (kept / "checked").write_text("a file where the folder would be")
    now(profile_of())
    for _ in range(2):
        assert given(kept) == profile_of().to_json()
    assert (kept / "checked").read_text() == "a file where the folder would be"
    now(None)
    with pytest.raises(pytest.fail.Exception, match="the framework was started"):
        given(kept)


def test_an_unknown_check_is_refused(kept: Path) -> None:
    with pytest.raises(InputError, match="check='weekly'; expected one of daily, always, never"):
        given(kept, check="weekly")


def test_a_kept_profile_that_no_longer_holds_is_revealed_again(
    now: Any, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = profile_of(predictions=CHANGES["predictions"])
    monkeypatch.setattr(kept_profiles, "reveal", lambda *_, **__: newer)
    now(newer)
    with pytest.warns(UserWarning, match="no longer holds in predictions: it is revealed again"):
        found = given(kept)
    assert found == newer.to_json()
    now(None)
    assert given(kept) == newer.to_json()  # and that is kept, and known to hold


def test_what_is_lost_in_a_replay_is_its_first_layer_if_that_was_explained() -> None:
    def found(*differing: str) -> list[Difference]:
        return [Difference(name, int(name in differing), 1, 9) for name in GRAPH.names]

    assert lost_in(profile_of(), found()) is None
    assert lost_in(profile_of(), found("conv3_block1_1_conv", "predictions")) == "conv3_block1_1_conv"
    unknown = profile_of(conv1_conv={"reason": "no tree"})
    assert lost_in(unknown, found("conv1_conv", "predictions")) is None
    assert "conv1_conv" not in explained_by(unknown) and "conv1_relu" not in explained_by(unknown)


def test_replay_checks_the_kept_profile_by_the_picture(
    now: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No layer is asked where the backend, which runs anyway, has the profile's bits. Where it has not, a few are: sums
    of the picture may be subnormal, and then the profile stays."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(refnet.images, "load_images", lambda files, **how: PICTURE)
    monkeypatch.setattr(refnet.weights, "load_weights", lambda source: WEIGHTS)
    monkeypatch.setattr(kept_profiles, "cache_folder", lambda: tmp_path / "cache")
    newer = profile_of(predictions=CHANGES["predictions"])
    trace = replay("torch", PICTURE, WEIGHTS, profile=newer)
    run = Run("torch", "ok", trace=trace, logits=trace["predictions"])
    monkeypatch.setattr(refnet.backends, "run", lambda *_, **__: [run])
    monkeypatch.setattr(kept_profiles, "reveal", lambda *_, **__: newer)
    monkeypatch.setattr(refnet.reveal, "lost_layers", lambda *_, **__: lost)
    now(None)
    keep(profile_of(), TORCH, WEIGHTS)
    lost: tuple[str, ...] = ()
    assert main(["replay", "--variants", "torch", "--check"]) == 1
    out, err = capsys.readouterr()
    assert err == "" and "176 of 177 layers equal to the bit" in out
    lost = ("predictions",)
    for said in ("refnet: the profile of torch no longer holds in predictions: it is revealed again\n", ""):
        assert main(["replay", "--variants", "torch", "--check"]) == 0
        out, err = capsys.readouterr()
        assert err == said and "177 of 177 layers equal to the bit" in out


def test_a_profile_from_a_file_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(refnet.images, "load_images", lambda files, **how: PICTURE)
    monkeypatch.setattr(refnet.weights, "load_weights", lambda source: WEIGHTS)
    trace = replay("torch", PICTURE, WEIGHTS, profile=replace(profile_of(), layers=CHANGES))
    run = Run("torch", "ok", trace=trace, logits=trace["predictions"])
    monkeypatch.setattr(refnet.backends, "run", lambda *_, **__: [run])
    profile_of().save("p.json")
    assert main(["replay", "--variants", "torch", "--profile", "p.json", "--check"]) == 1
    out, err = capsys.readouterr()
    assert err == "" and "differ" in out
