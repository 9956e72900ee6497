"""What was revealed of a backend explains its layers to the bit, and explains nothing that is not so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends_support import random_images, random_weights

import refnet
from refnet.backends import VARIANTS, Run
from refnet.drift import VariantDrift
from refnet.errors import InputError
from refnet.forward import activations, predict
from refnet.reveal import Profile, keep, known_profile, lost_layers, profiles_for, remarks_on, replay, reveal
from refnet.verdict import judge_runs
from refnet.verdict.layer import judge_layer
from refnet.verdict.revealed import simulations_by_profile
from refnet.weights import Weights

WEIGHTS, PICTURE = random_weights(), random_images(1)
GRAPH = WEIGHTS.graph((32, 32))
NORM, CONV = "conv2_block1_1_bn", "conv3_block1_1_conv"
SCALE = f"{NORM}/scale"
ODD, EVEN = (np.random.default_rng(0).permutation(range(first, 256, 2)) for first in (1, 0))
TREE = f"tree:({','.join(map(str, ODD))})+({','.join(map(str, EVEN))})"


def profile_of(variant: str = "torch", *, threads: int | None = None, **entries: Any) -> Profile:
    """Orders and forms that no simulation has: a convolution in a tree, a factor that is one ulp too large."""
    layers: dict[str, dict[str, Any]] = {
        CONV: {"order": TREE, "fma": True, "bias": "last"},
        NORM: {"batch_norm": "shifted", "shift": "rounded", "scale": "given"},
        "predictions": {"order": "blocks:100,1948", "fma": False, "bias": "first"},
    }
    one, epsilon = np.float32(1), np.float32(1.001e-5)
    scale = WEIGHTS[f"{NORM}/gamma"] * (one / np.sqrt(WEIGHTS[f"{NORM}/moving_variance"] + epsilon))
    constants = {WEIGHTS.hash: {SCALE: np.nextafter(scale, np.float32(9))}}
    told = {"threads": threads}
    return Profile(variant, ("ResNet50", "v1"), (32, 32), {}, {**layers, **entries}, constants, told)


def run_of(profile: Profile, variant: str = "torch", *, plain: bool = False) -> Run:
    """A backend that computes by the profile."""
    how: dict[str, Any] = {"constants": profile.constants[WEIGHTS.hash]}
    trace = activations(PICTURE, WEIGHTS, **profile.settings(), **how)
    logits = predict(PICTURE, WEIGHTS, **profile.settings(plain=plain), **how, classifier_activation=None)
    return Run(variant, "ok", trace=trace, logits=logits)


@pytest.fixture(scope="module")
def truth() -> Any:
    return activations(PICTURE, WEIGHTS, precision="float64")


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (CONV, "tree "),
        (NORM, "shifted, its own factor"),
        ("predictions", "blocks:100,1948, fma=False, bias=first"),
    ],
)
def test_a_layer_is_identical_by_what_was_revealed_and_rounding_without(layer: str, name: str) -> None:
    profile = profile_of()
    trace = run_of(profile).trace
    assert trace is not None
    known = simulations_by_profile(profile, GRAPH, WEIGHTS)
    found = judge_layer(GRAPH[layer], GRAPH, WEIGHTS, trace, known[layer])
    assert found.verdict.kind == "identical" and str(found.verdict.replayed).startswith(name)
    without = judge_layer(GRAPH[layer], GRAPH, WEIGHTS, trace)
    assert without.verdict.kind == "rounding" and without.evidence["simulated_low"] > 0
    bit = trace[layer].copy()
    bit.flat[7] = np.nextafter(bit.flat[7], np.float32(np.inf))
    nudged = {**trace, layer: bit}
    assert judge_layer(GRAPH[layer], GRAPH, WEIGHTS, nudged, known[layer]).verdict.kind != "identical"


@pytest.mark.slow
def test_a_profile_that_is_wrong_explains_nothing_and_is_told_of(truth: Any) -> None:
    run = run_of(profile_of())
    wrong = profile_of(**{CONV: {"order": "blocks:100,156", "fma": True, "bias": "last"}})
    _, row = judge_runs([run], PICTURE, WEIGHTS, truth, profiles=[wrong])
    assert row.verdicts[CONV].kind == "rounding" and row.verdicts[NORM].kind == "identical"
    (remark,) = remarks_on(wrong, row, WEIGHTS)
    assert f"does not give its bits in {CONV}:" in remark and "refnet reveal --variants torch --all" in remark
    assert (
        remarks_on(profile_of(), judge_runs([run], PICTURE, WEIGHTS, truth, profiles=[profile_of()])[1], WEIGHTS) == []
    )
    assert remarks_on(wrong, VariantDrift("torch", "missing", "not here"), WEIGHTS) == []


@pytest.mark.slow
def test_the_whole_is_identical_where_every_layer_and_the_plain_logits_replay(truth: Any) -> None:
    """The plain model computes its last layer otherwise, as the profile knows."""
    last = {"order": "reversed", "fma": True, "bias": "last"}
    profile = profile_of(predictions={**profile_of().layers["predictions"], "plain": last})
    run = run_of(profile, plain=True)
    assert run.trace is not None and (run.logits != run.trace["predictions"]).any()
    _, row = judge_runs([run], PICTURE, WEIGHTS, truth, profiles=[profile])
    assert row.logits_verdict is not None and row.verdict is not None
    assert (row.logits_verdict.kind, row.logits_verdict.replayed) == ("identical", "as revealed")
    assert row.verdict.kind == "identical" and row.first_layer is None
    _, blind = judge_runs([run], PICTURE, WEIGHTS, truth)
    assert blind.verdict is not None and blind.verdict.kind == "rounding"


@pytest.mark.slow
def test_a_verdict_by_a_profile_is_not_that_of_another_variant_with_the_same_bits(truth: Any) -> None:
    runs = [run_of(profile_of(), name) for name in ("torch", "jax")]
    _, torch, jax = judge_runs(runs, PICTURE, WEIGHTS, truth, profiles=[profile_of()])
    assert [row.verdicts[CONV].kind for row in (torch, jax)] == ["identical", "rounding"]
    assert torch.layers[CONV]["local_rms"] == jax.layers[CONV]["local_rms"]


@pytest.mark.slow
def test_constants_of_other_weights_leave_their_layers_out(truth: Any) -> None:
    profile = replace(profile_of(), constants={})
    _, row = judge_runs([run_of(profile_of())], PICTURE, WEIGHTS, truth, profiles=[profile])
    assert row.verdicts[NORM].kind == "rounding" and row.verdicts[CONV].kind == "identical"
    (remark,) = remarks_on(profile, row, WEIGHTS)
    assert "lacks the constants of these weights, so 1 layers" in remark


@pytest.mark.slow
def test_parts_in_orders_of_their_own_are_identical_too(truth: Any) -> None:
    own = [{"order": "reversed", "fma": True, "bias": "last", "channels": "8..9"}]
    profile = profile_of(predictions={**profile_of().layers["predictions"], "parts": own})
    trace = replay("torch", PICTURE, WEIGHTS, profile=profile)
    run = Run("torch", "ok", trace=trace, logits=trace["predictions"])
    _, row = judge_runs([run], PICTURE, WEIGHTS, truth, profiles=[profile])
    assert row.verdicts["predictions"].kind == "identical" == row.verdicts[CONV].kind
    assert "channels 8..9 reversed" in str(row.verdicts["predictions"].replayed)
    assert remarks_on(profile, row, WEIGHTS) == []


def test_long_trees_have_names_that_differ() -> None:
    """Two trees of the same beginning and end."""
    middle = f"{ODD[60]},{ODD[61]}"
    other = TREE.replace(middle, f"{ODD[61]},{ODD[60]}")
    assert other != TREE
    profiles = [profile_of(**{CONV: {"order": text, "fma": True, "bias": "last"}}) for text in (TREE, other)]
    names = [simulations_by_profile(profile, GRAPH, WEIGHTS)[CONV].name for profile in profiles]
    assert names[0] != names[1] and all(len(name) < 60 for name in names)


@pytest.mark.parametrize(
    ("profiles", "said"),
    [([profile_of(), profile_of()], "two profiles of torch"), ([profile_of("numpy")], "a profile of numpy")],
)
def test_profiles_of_what_does_not_run(profiles: list[Profile], said: str) -> None:
    with pytest.raises(InputError, match=said):
        refnet.measure_drift(PICTURE, WEIGHTS, ["torch"], profiles=profiles)
    with pytest.raises(InputError, match=said):
        refnet.compare("torch", "jax", PICTURE, WEIGHTS, profiles=profiles)


# ---- which profiles are used -----------------------------------------------------------------------------------------

CHOSEN = (VARIANTS["torch"], VARIANTS["jax"])


def test_kept_profiles_are_those_of_this_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refnet.reveal.kept_profiles.cache_folder", lambda: tmp_path)
    assert profiles_for(CHOSEN, WEIGHTS, (32, 32)) == []
    keep(profile_of(), CHOSEN[0], WEIGHTS)
    (found,) = profiles_for(CHOSEN, WEIGHTS, (32, 32))
    assert found.to_json() == profile_of().to_json()
    assert profiles_for(CHOSEN, WEIGHTS, (32, 32), which="none") == []
    assert known_profile(CHOSEN[0], WEIGHTS, (32, 32), threads=1) is None
    assert known_profile(CHOSEN[0], WEIGHTS, (64, 64)) is None
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert known_profile(CHOSEN[0], WEIGHTS, (32, 32)) is None


def test_a_newer_profile_takes_the_place_of_the_kept_one(tmp_path: Path) -> None:
    keep(profile_of(), CHOSEN[0], WEIGHTS, folder=tmp_path)
    newer = profile_of(avg_pool={"order": "reversed", "fma": False, "bias": "last"})
    keep(newer, CHOSEN[0], WEIGHTS, folder=tmp_path)
    known = known_profile(CHOSEN[0], WEIGHTS, (32, 32), folder=tmp_path)
    assert known is not None and known.to_json() == newer.to_json()
    assert len(list(tmp_path.glob("*.json"))) == len(list(tmp_path.glob("checked/*"))) == 1


@pytest.mark.parametrize(
    ("profile", "threads", "said"),
    [
        (profile_of(), None, ""),
        (profile_of("numpy"), None, "expected one of torch, jax"),
        (profile_of(threads=2), None, "say --threads 2"),
        (profile_of(), 2, "leave --threads out"),
        (replace(profile_of(), size=(64, 64)), None, "64 x 64"),
        (replace(profile_of(), constants={}), None, "without the constants"),
    ],
)
def test_a_file_must_be_for_what_runs(tmp_path: Path, profile: Profile, threads: int | None, said: str) -> None:
    profile.save(tmp_path / "p.json")
    named: dict[str, Any] = {"threads": threads, "which": str(tmp_path / "p.json")}
    if not said:
        assert [each.variant for each in profiles_for(CHOSEN, WEIGHTS, (32, 32), **named)] == ["torch"]
        return
    with pytest.raises(InputError, match=said):
        profiles_for(CHOSEN, WEIGHTS, (32, 32), **named)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"nothing\.json"):
        profiles_for(CHOSEN, WEIGHTS, (32, 32), which="nothing.json")


# ---- a real backend --------------------------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_a_real_backend_is_explained_in_every_layer_that_its_profile_knows(synthetic: Weights) -> None:
    """On a picture that the probes never saw; and the backend still answers as the profile says."""
    variant = VARIANTS["jax"]
    if variant.missing:
        pytest.skip(variant.missing)
    profile = reveal(variant, weights=synthetic, size=(64, 64), threads=2)
    assert lost_layers(profile, variant, synthetic, threads=2) == ()
    x = np.random.default_rng(5).uniform(-100, 100, (1, 64, 64, 3)).astype(np.float32)
    found = refnet.measure_drift(x, synthetic, ["jax"], truth="float64", threads=2, profiles=[profile])["jax"]
    unexplained = [layer for layer, verdict in found.verdicts.items() if verdict.kind != "identical"]
    assert set(unexplained) <= profile.unexplained.keys() and len(unexplained) < 20
    assert {found.verdicts[layer].kind for layer in unexplained} <= {"rounding"}
