"""`refnet reveal` and `refnet replay` as a user types them; the backend is replaced but in the last test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends_support import random_images, random_weights

import refnet.backends
import refnet.images
import refnet.reveal
import refnet.reveal.kept_profiles
import refnet.weights
from refnet.arithmetic import Tree, parse_order
from refnet.arithmetic.tree_nodes import add, chain
from refnet.backends import VARIANTS, Run, Variant
from refnet.cli import main
from refnet.errors import VariantError
from refnet.graph import resnet
from refnet.reveal import LayerOrder, Profile, SoftmaxForm, profiles_for, replay
from refnet.trace import Trace

WEIGHTS, PICTURE = random_weights(), random_images(1)


def profile_of(variant: str = "torch", *, threads: int | None = None, **entries: Any) -> Profile:
    """What a backend's first convolution might be; all other layers are refnet's own."""
    layers = {"conv1_conv": {"order": "reversed", "fma": True, "bias": "last", "differing": 0, "outputs": 9}, **entries}
    told: dict[str, Any] = {"threads": threads, "seconds": 1.5}
    return Profile(variant, ("ResNet50", "v1"), (32, 32), {}, layers, provenance=told)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to work in, with a small picture and small weights in place of the real ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(refnet.images, "load_images", lambda files, **how: PICTURE)
    monkeypatch.setattr(refnet.weights, "load_weights", lambda source: WEIGHTS)
    monkeypatch.setattr(refnet.reveal.kept_profiles, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run | None], None]:
    """backend(run) is what backends.run then gives; None: the profile's own bits."""

    def answers(given: Run | None) -> None:
        trace = replay("torch", PICTURE, WEIGHTS, profile=profile_of())
        told = given or Run("torch", "ok", trace=trace, logits=trace["predictions"])
        monkeypatch.setattr(refnet.backends, "run", lambda *_, **__: [told])

    return answers


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["reveal"], "--variants"),
        (["reveal", "--variants", "nonsense", "--all"], "expected some of tensorflow"),
        (["reveal", "--variants", "torch"], "one of --layer NAME, --softmax and --all"),
        (
            ["reveal", "--variants", "torch", "--all", "--layer", "conv1_conv"],
            "one of --layer NAME, --softmax and --all",
        ),
        (["reveal", "--variants", "torch", "--all", "--softmax"], "one of --layer NAME, --softmax and --all"),
        (["reveal", "--variants", "torch", "--all", "--compare-threads", "1"], "expected --layer"),
        (["reveal", "--variants", "torch", "--layer", "conv9"], "no layer 'conv9'"),
        (["reveal", "--variants", "torch", "--layer", "conv1_relu"], "expected one that adds"),
        (["reveal", "--variants", "torch,jax", "--all", "-o", "p.json"], "one variant"),
        (["reveal", "--variants", "torch", "--layer", "conv1_conv", "-o", "p.json"], "--output"),
        (["reveal", "--variants", "torch", "--all", "-o", "nowhere/p.json"], "cannot be written"),
        (["reveal", "--variants", "torch", "--all", "--weights", "nothing.h5"], "nothing.h5"),
        (["replay", "--variants", "torch,jax"], "expected one"),
        (["replay", "--variants", "torch", "--profile", "nothing.json"], "nothing.json"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: Sequence[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("refnet: ") and said in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("profile", "threads", "said"),
    [
        (profile_of("jax"), [], "a profile of jax"),
        (profile_of(threads=2), [], "say --threads 2"),
        (profile_of(threads=2), ["--threads", "1"], "say --threads 2"),
        (profile_of(), ["--threads", "1"], "leave --threads out"),
        (Profile("torch", ("ResNet50", "v1"), (64, 64), {}, {}), [], "64 x 64"),
        (profile_of(conv1_bn={"batch_norm": "shifted", "scale": "given", "differing": 0}), [], "constants"),
    ],
    ids=["variant", "threads left out", "threads", "threads given", "size", "weights"],
)
def test_a_profile_of_something_else(
    here: Path, capsys: pytest.CaptureFixture[str], profile: Profile, threads: list[str], said: str
) -> None:
    profile.save(here / "p.json")
    assert main(["replay", "--variants", "torch", "--profile", "p.json", *threads]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1


def test_a_layer_in_one_line_and_its_tree(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    order = Tree(add(chain([0, 1]), chain(2)))
    found = {
        "torch": LayerOrder("conv1_conv", 147, parse_order("blocks:100,47"), outputs=9),
        "jax": LayerOrder("conv1_conv", 3, order, fma=False, outputs=9, differing=2, reason="channels 3"),
        "numpy": LayerOrder("conv1_conv", 147, None, reason="counts contradict each other"),
    }
    monkeypatch.setattr(refnet.reveal, "reveal_layer", lambda variant, **_: found[variant.name])
    arguments = ["reveal", "--variants", ",".join(found), "--layer", "conv1_conv"]
    assert main([*arguments, "--tree"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "torch conv1_conv: blocks:100,47, fma, bias last; 0 of 9 outputs differ"
    assert lines[1] == "tree:(0..99)+(100..146)" and lines[3] == "├─ chain 0..99"
    assert f"jax conv1_conv: {order}, no fma, bias last; 2 of 9 outputs differ: channels 3" in lines
    assert lines[-1] == "numpy conv1_conv: counts contradict each other"
    assert main([*arguments, "--quiet"]) == 0 and capsys.readouterr() == ("", "")


def test_another_number_of_threads_is_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second session's order is said where it is another one, or has its bias elsewhere."""
    on = {
        1: LayerOrder("conv1_conv", 147, parse_order("blocks:49"), outputs=9),
        2: LayerOrder("conv1_conv", 147, parse_order("sequential"), outputs=9),
        3: LayerOrder("conv1_conv", 147, parse_order("sequential"), bias="first", outputs=9),
        4: LayerOrder("conv1_conv", 147, parse_order("sequential"), outputs=9, seconds=3),
    }
    monkeypatch.setattr(refnet.reveal, "reveal_layer", lambda variant, threads, **_: on[threads])
    arguments = ["reveal", "--variants", "torch", "--layer", "conv1_conv", "--threads", "2", "--compare-threads"]
    said = {}
    for other in (1, 3, 4):
        assert main([*arguments, str(other)]) == 0
        first, said[other] = capsys.readouterr().out.splitlines()
        assert first == "torch conv1_conv: sequential, fma, bias last; 0 of 9 outputs differ"
    assert said[1] == "on 1 thread: conv1_conv: blocks:49, fma, bias last; 0 of 9 outputs differ"
    assert "bias first" in said[3] and said[4] == "on 4 threads: the same"
    on[1] = on[2] = LayerOrder("conv1_conv", 147, None, reason="the order changes from run to run")
    assert main([*arguments, "1"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("conv1_conv: the order changes from run to run")


SOFTMAX = SoftmaxForm(
    "predictions", True, "multiply", 0, 900, 5000, 4500, 0.9371, parse_order("lanes:8"), differing=3, outputs=32000
)
IN_WORDS = (
    "softmax, maximum subtracted, multiplied by the reciprocal of the sum, exp within 0.94 ulp (4500 of 5000 correctly "
    "rounded), sum lanes:8, 3 of 32000 outputs differ by its own exp"
)


def test_a_softmax_in_one_line(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """By itself, and of a network, where it stands in the profile's file too."""
    monkeypatch.setattr(refnet.reveal, "reveal_softmax", lambda variant, **_: SOFTMAX)
    assert main(["reveal", "--variants", "torch", "--softmax"]) == 0
    assert capsys.readouterr().out == f"torch predictions: {IN_WORDS}\n"
    alike = profile_of().layers["conv1_conv"]
    flushed = {**alike, "subnormals": "inputs, sums"}
    found = profile_of(c=flushed, predictions={**alike, "softmax": SOFTMAX.to_json()})
    monkeypatch.setattr(refnet.reveal, "reveal", lambda *_, **__: found)
    assert main(["reveal", "--variants", "torch", "--all", "-o", "p.json"]) == 0
    out = capsys.readouterr().out
    assert (
        f"      {IN_WORDS}: predictions\n" in out and "3  reversed, fma, bias last: conv1_conv, c, predictions" in out
    )
    assert "      subnormal inputs, sums taken for zero: c" in out
    assert Profile.load("p.json").layers["predictions"]["softmax"] == SOFTMAX.to_json()


def test_a_variant_that_cannot_run_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def found(variant: Variant, **_: Any) -> LayerOrder:
        if variant.name == "torch":
            raise VariantError("torch is not installed", status="missing")
        return LayerOrder("conv1_conv", 147, parse_order("sequential"), outputs=9)

    monkeypatch.setattr(refnet.reveal, "reveal_layer", found)
    assert main(["reveal", "--variants", "torch,jax", "--layer", "conv1_conv"]) == 3
    out, err = capsys.readouterr()
    assert out.startswith("jax conv1_conv: sequential") and err == "refnet: torch: torch is not installed\n"


def test_a_network_is_summed_up_and_written(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = {"reason": "a window of 3 x 3 over 1 x 1 pixels"}
    found = profile_of(a=unknown, b=unknown, c={**profile_of().layers["conv1_conv"], "differing": 3})
    monkeypatch.setattr(refnet.reveal, "reveal", lambda *_, **__: found)
    assert main(["reveal", "--variants", "torch", "--all", "-o", "p.json", "--size", "32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "torch: 4 layers probed in 1.5 s"
    assert lines[1].lstrip() == "2  reversed, fma, bias last: conv1_conv, c"
    assert "   2  not explained: a window of 3 x 3 over 1 x 1 pixels: a, b" in lines
    assert "   1  not explained: 3 of 9 outputs differ: c" in lines and lines[-1] == "written: p.json"
    assert Profile.load("p.json").to_json() == found.to_json()
    (kept,) = profiles_for([VARIANTS["torch"]], WEIGHTS, (32, 32))
    assert kept.to_json() == found.to_json()


def test_what_is_otherwise_in_the_plain_model_and_by_channel_is_said(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alike = profile_of().layers["conv1_conv"]
    entries: dict[str, dict[str, Any]] = {
        "conv1_bn": {"batch_norm": "shifted", "shift": "rounded", "scale": "computed", "differing": 0, "outputs": 9},
        "conv2_block1_add": {"differing": 0, "outputs": 0, "plain": {"addition": "shifts-last"}},
        "predictions": {**alike, "parts": [{"order": "blocks:8", "fma": True, "bias": "last", "channels": "8..9"}]},
    }
    entries["conv1_bn"]["plain"] = {"batch_norm": "centred"}
    found = replace(profile_of(**entries), plain={"differing": 3, "outputs": 10})
    monkeypatch.setattr(refnet.reveal, "reveal", lambda *_, **__: found)
    assert main(["reveal", "--variants", "torch", "--all"]) == 0
    out = capsys.readouterr().out
    assert "batch normalisation shifted; in the plain model batch_norm centred: conv1_bn" in out
    assert "addition; in the plain model addition shifts-last: conv2_block1_add" in out
    assert "reversed, fma, bias last; channels 8..9: blocks:8, fma, bias last: predictions" in out
    assert "not explained: 3 of 10 outputs differ: the plain model" in out and "every probed layer" not in out


def test_a_profile_that_cannot_be_kept_is_shown_and_written_all_the_same(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "cache").write_text("a file where the folder would be")
    monkeypatch.setattr(refnet.reveal, "reveal", lambda *_, **__: profile_of())
    assert main(["reveal", "--variants", "torch", "--all", "-o", "p.json"]) == 0
    out, err = capsys.readouterr()
    assert "torch: 1 layers probed" in out and err.startswith("refnet: not kept for later: ")
    assert Profile.load("p.json").to_json() == profile_of().to_json()


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [("torch", "missing", 3), ("default", "missing", 0), ("default", "failed", 3), ("all", "missing", 0)],
)
def test_a_backend_that_nobody_named_may_be_missing(
    here: Path, monkeypatch: pytest.MonkeyPatch, asked: str, status: str, code: int
) -> None:
    """As in refnet drift: of a group only what is installed must run, and something must."""

    def one_runs(variant: Variant, **_: Any) -> Profile:
        if variant.name != "jax":
            raise VariantError("no", status=status)
        return profile_of("jax")

    monkeypatch.setattr(refnet.reveal, "reveal", one_runs)
    assert main(["reveal", "--variants", asked, "--all", "--quiet"]) == code


def test_interruption_is_silent_and_leaves_no_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(refnet.reveal, "reveal", interrupted)
    assert main(["reveal", "--variants", "torch", "--all", "-o", "p.json"]) == 130
    assert capsys.readouterr() == ("", "") and list(here.iterdir()) == []


def test_replay_counts_what_differs(
    here: Path, backend: Callable[[Run | None], None], capsys: pytest.CaptureFixture[str]
) -> None:
    profile_of().save("p.json")
    arguments = ["replay", "--variants", "torch", "--profile", "p.json", "--check"]
    backend(None)
    numbers = sum(int(np.prod(node.shape)) for node in resnet(50, input_shape=(32, 32), classes=10).nodes)
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"torch: 177 of 177 layers equal to the bit ({numbers:,} numbers in all)",
        "logits of the plain model: 0 of 10 differ",
    ]
    trace = replay("torch", PICTURE, WEIGHTS, profile=profile_of())
    layer, zeros = trace["conv1_conv"].copy(), trace["conv1_relu"].copy()
    layer.flat[5] = np.nextafter(layer.flat[5], np.float32(9))
    zeros[zeros == 0] = -0.0
    logits = trace["predictions"].copy()
    logits[0, :2] += 1
    backend(Run("torch", "ok", trace=Trace({**trace, "conv1_conv": layer, "conv1_relu": zeros}), logits=logits))
    assert main(arguments) == 1 and main(arguments[:-1]) == 0
    out = capsys.readouterr().out
    assert f"conv1_conv               1 of {layer.size:,} differ\n" in out
    assert f", and {int((zeros == 0).sum()):,} in the sign of a zero" in out
    assert "torch: 175 of 177 layers equal to the bit" in out and "logits of the plain model: 2 of 10 differ" in out


def test_replay_of_a_backend_that_does_not_run(
    here: Path,
    backend: Callable[[Run | None], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    profile_of().save("p.json")
    backend(Run("torch", "missing", "torch is not installed"))
    assert main(["replay", "--variants", "torch", "--profile", "p.json"]) == 3
    said = "refnet: torch missing: torch is not installed\n"
    assert capsys.readouterr().err == said

    def missing(*_: Any, **__: Any) -> None:
        raise VariantError("torch is not installed", status="missing")

    monkeypatch.setattr(refnet.reveal, "kept_profile", missing)
    assert main(["replay", "--variants", "torch"]) == 3
    assert capsys.readouterr().err == said


@pytest.mark.exhaustive
@pytest.mark.skipif(bool(VARIANTS["torch"].missing), reason="torch is not installed")
@pytest.mark.parametrize("variant", ["torch", "torch-channels-first"])
def test_a_layer_of_torch_from_the_command_line(variant: str) -> None:
    command = [sys.executable, "-m", "refnet", "reveal", "--variants", variant, "--layer", "conv2_block1_2_conv"]
    done = subprocess.run([*command, "--size", "64", "--threads", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith(f"{variant} conv2_block1_2_conv: ") and "; 0 of 16384 outputs differ" in done.stdout
