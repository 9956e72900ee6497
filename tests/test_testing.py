"""What a project's own tests get: rounding passes, everything else fails with a text that reads like the verdict."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from backends_support import CLASSES, SIZE, random_images, random_weights
from drift_samples import LAYERS, judged_variant, sample_drift, variant
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import refnet.reveal
import refnet.testing
import refnet.verdict
import refnet.weights
from refnet.backends import VARIANTS, run
from refnet.cli import main
from refnet.drift import EVIDENCE, OWN, TOLERANCES, Drift, VariantDrift, Verdict
from refnet.drift.verdict import KINDS
from refnet.errors import InputError
from refnet.testing import Expected, assert_rounding_only, expect
from refnet.testing.baseline import absent, failing, worse_than
from refnet.testing.keys import key_of
from refnet.testing.outputs import as_logits, checked_kind
from refnet.verdict.outputs import sum_limit

PICTURES = 2
WEIGHTS = random_weights()


PASSES: dict[tuple[object, ...], np.ndarray] = {}


@pytest.fixture(autouse=True)
def each_pass_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong is held against lower precisions, the same ones in test after test: each is computed once."""

    def predict(x: np.ndarray, w: refnet.Weights, **how: object) -> np.ndarray:
        key = (x.tobytes(), w.hash, *sorted(how.items()))
        if key not in PASSES:
            PASSES[key] = np.asarray(refnet.predict(x, w, **how))
        return PASSES[key]

    monkeypatch.setattr("refnet.testing.expected.predict", predict)


@pytest.fixture(scope="module")
def expected() -> Expected:
    return expect(random_images(PICTURES), WEIGHTS, truth="float64")


def answer(kind: str = "logits", **how: object) -> np.ndarray:
    activation = "softmax" if kind == "softmax" else None
    return np.asarray(refnet.predict(random_images(PICTURES), WEIGHTS, classifier_activation=activation, **how))


# --- what passes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["logits", "softmax"])
@pytest.mark.parametrize(
    "how",
    [{}, {"order": "kahan"}, {"order": "lanes:16"}, {"order": "blocks:64", "fma": False}, {"precision": "float64"}],
    ids=str,
)
def test_rounding_passes_whatever_the_order_and_the_last_layer(
    how: dict[str, object], kind: str, expected: Expected
) -> None:
    outputs = answer(kind, **how)
    assert checked_kind(outputs, None) == kind
    assert expected.judge(outputs).margin < 1
    expected.assert_rounding_only(outputs)


def test_one_call_does_it_all() -> None:
    assert_rounding_only(answer()[:1], random_images(1), WEIGHTS, kind="logits", truth="float64")
    with pytest.raises(AssertionError, match="mismatch"):
        assert_rounding_only(answer()[1:], random_images(1), WEIGHTS, truth="float64")


@pytest.mark.exhaustive
@pytest.mark.skipif(bool(VARIANTS["jax"].missing_modules), reason="jax is not installed")
def test_a_real_backend_passes_and_says_so_with_room_to_spare(expected: Expected, tmp_path: Path) -> None:
    (ran,) = run(["jax"], WEIGHTS, random_images(PICTURES), tmp_path, cache=tmp_path / "cache")
    assert ran.logits is not None, ran.reason
    verdict = expected.judge(ran.logits)
    assert verdict.kind == "rounding"
    assert verdict.margin < 1


# --- what fails -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["logits", pytest.param("softmax", marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("precision", ["tf32", "float16", "bfloat16"])
def test_a_lower_precision_fails_and_is_named(precision: str, kind: str, expected: Expected) -> None:
    with pytest.raises(AssertionError) as caught:  # in float32, which has room for small probabilities
        expected.assert_rounding_only(np.asarray(answer(kind, precision=precision), np.float32))
    text = str(caught.value)
    assert text.startswith(f"mismatch: the {'logits' if kind == 'logits' else 'probabilities'} of picture ")
    assert f"a network in {precision} is as far" in text or "whose true probability float32 can hold" in text
    assert kind == "softmax" or "is as far" in text
    assert "refnet diagnose --outputs outputs.npy --image PICTURE --weights WEIGHTS" in text


def spoiled(name: str) -> np.ndarray:
    y = answer()
    match name:
        case "one logit off by a thousandth of the layer":
            y[1, 3] += 1e-3 * np.sqrt(np.mean(y[1] ** 2))
        case "classes swapped":
            y[1, [2, 5]] = y[1, [5, 2]]
        case "NaN":
            y[1, 0] = np.nan
        case "infinity":
            y[1, 0] = np.inf
        case "pictures swapped":
            y = y[::-1].copy()
        case "all zero":
            y[1] = 0
    return y


@pytest.mark.parametrize(
    "name",
    [
        "one logit off by a thousandth of the layer",
        "classes swapped",
        "NaN",
        "infinity",
        "pictures swapped",
        "all zero",
    ],
)
def test_a_fault_in_one_picture_fails(name: str, expected: Expected) -> None:
    with pytest.raises(AssertionError, match=r"mismatch: the logits of picture \d of 2"):
        expected.assert_rounding_only(spoiled(name))


def test_the_picture_and_the_class_that_are_wrong_are_named(expected: Expected) -> None:
    y = answer()
    y[1, 3] += 1
    with pytest.raises(AssertionError, match=r"picture 2 of 2 (.|\n)*farthest off is class 3: "):
        expected.assert_rounding_only(y)


def test_the_power_is_true(expected: Expected) -> None:
    """An error of the power along the truth itself passes just below it and fails just above it."""
    verdict = expected.judge(expected.truth)
    for factor, fine in ((0.9, True), (1.1, False)):
        assert expected.judge(expected.truth * (1 + factor * verdict.power)).fine is fine


@pytest.mark.parametrize("twice", [False, True])
def test_softmax_where_there_should_be_logits_is_seen(twice: bool, expected: Expected) -> None:
    probabilities = answer("softmax")
    if twice:
        exponentials = np.exp(probabilities)
        probabilities = exponentials / exponentials.sum(-1, keepdims=True)
        assert not expected.judge(probabilities).fine
    assert not expected.judge(probabilities, kind="logits").fine


@pytest.mark.parametrize("factor", [1.009, 1.0009, 0.995, 1 + 1e-5, 1 - 1e-5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_that_do_not_add_up_to_1_fail(factor: float, dtype: type, expected: Expected) -> None:
    """Logarithms forget a factor of all probabilities, so their logits agree."""
    probabilities = answer("softmax").astype(dtype) * dtype(factor)
    with pytest.raises(AssertionError, match=r"mismatch: the probabilities .* add up to [01]\.[09]"):
        expected.assert_rounding_only(probabilities)


@given(
    arrays(np.float64, (1, 1000), elements=st.floats(-40, 40)), st.sampled_from([np.float16, np.float32, np.float64])
)
def test_the_sum_of_a_float32_softmax_is_within_its_limit(logits: np.ndarray, dtype: type) -> None:
    """Added one by one, the order with the largest errors."""
    exponentials = np.exp((logits - logits.max()).astype(np.float32))
    total = np.add.accumulate(exponentials, axis=-1, dtype=np.float32)[:, -1:]
    p = (exponentials / total).astype(dtype)
    assert abs(p.sum(dtype=np.float64) - 1) <= sum_limit(p)


def test_outputs_kept_in_float16_are_told_so(expected: Expected) -> None:
    with pytest.raises(AssertionError, match="kept in float16, which alone"):
        expected.assert_rounding_only(answer("logits").astype(np.float16))


def test_probabilities_too_small_for_their_type_are_undecided(expected: Expected) -> None:
    """In float16 most of these classes are 0: one class alone would always agree with itself."""
    peaked = replace(expected, truth=expected.truth * 8)
    probabilities = np.exp(peaked.truth - peaked.truth.max(-1, keepdims=True))
    probabilities = (probabilities / probabilities.sum(-1, keepdims=True)).astype(np.float16)
    with pytest.raises(AssertionError, match=r"undecided: .* tell only \d of 10 logits.*give logits"):
        peaked.assert_rounding_only(probabilities)


# --- outputs ----------------------------------------------------------------------------------------------------------


@given(arrays(np.float64, (2, 6), elements=st.floats(-200, 200)))
def test_probabilities_give_their_logits_back_where_float32_holds_them(truth: np.ndarray) -> None:
    exponentials = np.exp(truth - truth.max(-1, keepdims=True))
    exact = exponentials / exponentials.sum(-1, keepdims=True)
    p = exact.astype(np.float32)
    assert checked_kind(p, None) == "softmax"
    logits, told = as_logits(p, truth, "softmax")
    assert np.allclose(logits, truth, rtol=0, atol=1e-6)
    assert told == np.count_nonzero(exact >= np.finfo(np.float32).tiny)


@pytest.mark.parametrize(
    ("outputs", "kind"),
    [
        ([[0.25, 0.75]], "softmax"),
        ([[0.5, 0.65]], "logits"),
        ([[-0.25, 1.25]], "logits"),
        ([[np.nan, 1.0]], "logits"),
        ([[0.0, 1.0], [3.0, 4.0]], "logits"),
    ],
)
def test_what_outputs_are_is_found_out(outputs: list[list[float]], kind: str) -> None:
    assert checked_kind(np.array(outputs), None) == kind


@pytest.mark.parametrize(
    "outputs",
    [np.zeros((PICTURES, CLASSES + 1)), np.zeros(CLASSES), np.zeros((1, CLASSES)), np.zeros((PICTURES, CLASSES), int)],
    ids=["classes", "one row", "pictures", "integers"],
)
def test_outputs_of_another_shape_are_refused(outputs: np.ndarray, expected: Expected) -> None:
    with pytest.raises(InputError, match="outputs of"):
        expected.assert_rounding_only(outputs)


@pytest.mark.parametrize(
    "outputs",
    [[[1.0], [2.0, 3.0]], b"bytes", np.zeros((PICTURES, CLASSES), "V2"), np.full((PICTURES, CLASSES), "1.0"), None],
    ids=["ragged", "bytes", "void", "texts", "none"],
)
def test_outputs_that_are_no_numbers_are_refused(outputs: object, expected: Expected) -> None:
    with pytest.raises(InputError, match=r"outputs (of|that are no array)"):
        expected.assert_rounding_only(outputs)


@pytest.mark.parametrize(
    ("image", "more"),
    [
        (np.zeros((SIZE, SIZE, 3), np.float32), {}),
        (np.zeros((1, SIZE, SIZE, 3)), {}),
        ("nothing.png", {}),
        (random_images(1), {"truth": "revealed"}),
    ],
    ids=["no batch", "float64", "no file", "truth"],
)
def test_pictures_and_truths_that_cannot_be_are_refused(image: object, more: dict[str, str]) -> None:
    with pytest.raises(InputError):
        expect(image, WEIGHTS, **{"truth": "float64", **more})  # type: ignore[arg-type]


def test_logits_are_no_softmax(expected: Expected, recwarn: pytest.WarningsRecorder) -> None:
    assert (answer() < 0).any()
    with pytest.raises(InputError, match=r"kind='softmax' and .* outputs below 0"):
        expected.judge(answer(), kind="softmax")
    assert not recwarn.list


def test_an_unknown_kind_is_refused(expected: Expected) -> None:
    with pytest.raises(InputError, match="kind 'perhaps'"):
        expected.judge(answer(), kind="perhaps")


@pytest.mark.exhaustive
def test_the_certified_truth_gives_the_same_verdict(tmp_path: Path, expected: Expected) -> None:
    certified = expect(random_images(1), WEIGHTS, cache=tmp_path)
    assert np.allclose(certified.truth, expected.truth[:1], rtol=1e-12)
    certified.assert_rounding_only(answer()[:1])


# --- pytest -----------------------------------------------------------------------------------------------------------

PORT = """
import numpy as np
import refnet

def test_a_port(refnet_truth):
    x = refnet.load_image(refnet.bundled_image(), size=32, interpolation="bilinear")
    y = refnet.predict(x, refnet.load_weights("synthetic"), order="lanes:8")
    assert refnet_truth(x) is refnet_truth(x.copy()), "once a session"
    refnet_truth(x).assert_rounding_only(y)

def test_a_bad_port(refnet_truth):
    x = refnet.load_image(refnet.bundled_image(), size=32, interpolation="bilinear")
    refnet_truth(x).assert_rounding_only(np.full((1, 1000), 0.001, np.float32))
"""


@pytest.mark.exhaustive
def test_the_fixture_computes_once_and_a_failure_is_the_verdict(tmp_path: Path) -> None:
    (tmp_path / "test_port.py").write_text(PORT)
    installed = any(
        point.value == "refnet.testing.plugin" for point in importlib.metadata.entry_points(group="pytest11")
    )
    plugin = [] if installed else ["-p", "refnet.testing.plugin"]
    command = [sys.executable, "-m", "pytest", "-q", *plugin, "--refnet-truth", "float64", "test_port.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "mismatch: the probabilities of picture 1 of 1 are" in done.stdout
    assert "refnet/testing" not in done.stdout.replace("\\", "/"), "the trace back ends in the user's own test"


def test_the_plugin_costs_pytest_nothing_before_it_is_used() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import refnet.testing.plugin; print(set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(eval(done.stdout))  # a set of names, as our own code printed it
    assert not {name for name in loaded if not name.startswith("refnet")} - {"__future__"}
    assert {name for name in loaded if name.startswith("refnet")} == {
        "refnet",
        "refnet.testing",
        "refnet.testing.plugin",
    }


def test_what_is_remembered_follows_contents_and_not_names(tmp_path: Path) -> None:
    picture = tmp_path / "x.png"
    picture.write_bytes(b"a")
    first = key_of(picture, "synthetic", {})
    picture.write_bytes(b"b")
    assert key_of(picture, "synthetic", {}) != first
    assert key_of(random_images(1), WEIGHTS, {}) == key_of(random_images(1).copy(), random_weights(), {})
    assert key_of(random_images(1), WEIGHTS, {}) != key_of(random_images(1), random_weights(seed=1), {})
    assert key_of("x", "synthetic", {"truth": "float64"}) != key_of("x", "synthetic", {})


@pytest.mark.parametrize("name", refnet.testing.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(refnet.testing, name) is not None
    with pytest.raises(AttributeError):
        _ = refnet.testing.no_such_name  # type: ignore[attr-defined]


# --- fail-on and baseline ---------------------------------------------------------------------------------------------


def judged(name: str, kind: str, **layers: str) -> VariantDrift:
    """A variant of this verdict; layers: name -> kind, the others are rounding."""

    def verdict(which: str) -> Verdict:
        replayed = "sequential" if which == "identical" else None
        return Verdict(which, "bfloat16" if which == "reduced" else "float32", f"{which} it is", replayed)

    verdicts = {layer: verdict(layers.get(layer, "rounding")) for layer in LAYERS}
    evidence = dict.fromkeys(EVIDENCE, 1e-7) | {"simulated_high": 3e-7, "simulated_low": 1e-7}
    numbers = dict.fromkeys(LAYERS, evidence)
    whole = verdict(kind)
    return variant(name, 1e-7).judged(whole, whole, verdicts, numbers, dict.fromkeys(TOLERANCES, 1e-5))


def drift(*rows: VariantDrift) -> Drift:
    return replace(sample_drift(), variants=(judged(OWN, "rounding"), *rows))


@pytest.mark.parametrize("asked", KINDS[1:])
@pytest.mark.parametrize("kind", KINDS)
def test_fail_on_fails_from_that_verdict_on(kind: str, asked: str) -> None:
    lines = failing(drift(judged("torch", kind)), asked)
    assert bool(lines) == (KINDS.index(kind) >= KINDS.index(asked))
    assert all(line.startswith(f"torch is {kind}") and f"{kind} it is" in line for line in lines)


def test_fail_on_knows_its_words() -> None:
    for word in ("identical", "everything"):
        with pytest.raises(InputError, match="--fail-on"):
            failing(drift(), word)


def with_local_error(row: VariantDrift, layer: str, error: float) -> VariantDrift:
    return replace(row, layers={**row.layers, layer: {**row.layers[layer], "local_rms": error}})


def test_nothing_is_worse_than_itself_nor_than_something_worse() -> None:
    before = drift(judged("torch", "reduced", conv1_conv="mismatch"))
    assert worse_than(before, before) == []
    assert worse_than(before, drift(judged("torch", "rounding"), judged("jax", "mismatch"))) == []


@pytest.mark.parametrize("layer", ["identical", "rounding"])
def test_another_error_of_the_same_order_is_not_worse(layer: str) -> None:
    """An upstream layer changed, so an order has other inputs, and rounds more or less than it did: of `identical` no
    other order was simulated, and what lies among the simulated ones is rounding as before."""
    kinds = dict.fromkeys(LAYERS, layer)
    apart = {"simulated_low": 2e-7, "simulated_high": 2e-7 if layer == "identical" else 2.1e-7}

    def with_error(error: float) -> Drift:
        row = judged("torch", layer, **kinds)
        return drift(replace(row, layers={name: {**row.layers[name], **apart, "local_rms": error} for name in LAYERS}))

    assert worse_than(with_error(1e-7), with_error(2e-7)) == []
    assert bool(worse_than(with_error(1e-7), with_error(2.2e-7))) == (layer == "rounding")
    assert worse_than(with_error(2.2e-7), with_error(1e-7)) == []


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (judged("torch", "mismatch"), "torch is mismatch and was rounding: mismatch it is"),
        (judged("torch", "rounding", conv1_conv="reduced"), r"worse on conv1_conv \(rounding to reduced:bfloat16\)$"),
        (
            judged("torch", "rounding", **dict.fromkeys(LAYERS[2:7], "mismatch")),
            rf"worse on {LAYERS[2]} .*{LAYERS[4]} \(rounding to mismatch\) and 2 more$",
        ),
        (
            with_local_error(judged("torch", "rounding"), "conv1_conv", 3.1e-7),
            r"local error grew .* conv1_conv \(1e-07 to 3.1e-07\)$",
        ),
        (VariantDrift("torch", "killed", "signal 9"), "torch ran before and is killed now: signal 9"),
    ],
    ids=["verdict", "layer", "layers", "local error", "killed"],
)
def test_what_is_worse_is_told(after: VariantDrift, said: str) -> None:
    lines = worse_than(drift(judged("torch", "rounding")), drift(after))
    assert any(re.search(said, line) for line in lines), lines


def reduced_to(format_: str) -> VariantDrift:
    """torch in that format, as a whole and in its first convolution."""
    row = judged("torch", "reduced", conv1_conv="reduced")
    verdict = Verdict("reduced", format_, row.reason)
    return replace(row, verdict=verdict, logits_verdict=verdict, verdicts={**row.verdicts, "conv1_conv": verdict})


def test_another_format_is_worse_whichever_it_is() -> None:
    """No order of formats is claimed: tf32 has more digits than bfloat16, and float16 less range than both."""
    for old, new in (("tf32", "bfloat16"), ("bfloat16", "tf32"), ("float16", "bfloat16")):
        lines = worse_than(drift(reduced_to(old)), drift(reduced_to(new)))
        assert any(line.startswith(f"torch is reduced:{new} and was reduced:{old}") for line in lines), lines
        assert any(f"conv1_conv (reduced:{old} to reduced:{new})" in line for line in lines), lines
    assert worse_than(drift(reduced_to("tf32")), drift(reduced_to("tf32"))) == []


def test_what_was_not_run_now_is_named_and_no_failure() -> None:
    before, after = drift(judged("torch", "rounding"), judged("jax", "rounding")), drift(judged("jax", "rounding"))
    assert worse_than(before, after) == []
    assert absent(before, after) == ["torch is in the baseline and was not run now"]
    assert absent(after, before) == absent(before, before) == []


def test_a_drift_that_does_not_say_of_what_it_is_is_bad_input() -> None:
    known = drift(judged("jax", "rounding"))
    for unknown in (replace(known, provenance={}), replace(known, provenance={"weights": None})):
        for pair in ((known, unknown), (unknown, known)):
            with pytest.raises(InputError, match="does not say of which weights"):
                worse_than(*pair)


def test_a_local_error_within_the_simulated_spread_is_no_worse() -> None:
    before, after = judged("torch", "rounding"), with_local_error(judged("torch", "rounding"), "conv1_conv", 2.9e-7)
    assert worse_than(drift(before), drift(after)) == []


@pytest.mark.parametrize("what", ["weights", "pictures"])
def test_a_baseline_of_something_else_is_refused(what: str) -> None:
    before = drift(judged("torch", "rounding"))
    other = {**before.provenance, what: {"sha256": ["other"]}}
    with pytest.raises(InputError, match=f"baseline is of other {what}"):
        worse_than(replace(before, provenance=other), before)


def test_a_baseline_without_verdicts_is_refused() -> None:
    with pytest.raises(InputError, match="no verdicts"):
        worse_than(sample_drift(), drift(judged("torch", "rounding")))


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs `refnet drift` with a made-up measurement, and gives its exit code and standard error."""

    def command(measured: Drift, *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(refnet.verdict, "measure_drift", lambda *_, **__: measured)
        code = main(["drift", "--variants", "torch", "--quiet", "--json", "new.json", *arguments])
        return code, capsys.readouterr().err

    class Held:
        hash = "ab" * 32

    monkeypatch.setattr(refnet.weights, "load_weights", lambda source, **_: Held())
    monkeypatch.setattr(refnet.reveal, "profiles_for", lambda *_, **__: ())
    monkeypatch.setattr(refnet.provenance, "sha256_of_array", lambda array: "cd" * 32)
    monkeypatch.chdir(tmp_path)
    return command


@pytest.mark.slow
def test_the_command_fails_where_it_was_asked_to(commands) -> None:
    bad = drift(judged_variant("torch"))
    assert commands(bad) == (0, "")
    assert commands(bad, "--fail-on", "mismatch") == (0, "")
    code, said = commands(bad, "--fail-on", "reduced")
    assert (code, said) == (1, "refnet: torch is reduced:bfloat16: outputs are bfloat16 numbers\n")
    code, said = commands(bad, "--fail-on", "identical")
    assert code == 2
    assert said.count("\n") == 1


def test_the_command_holds_a_drift_against_the_one_that_was_kept(commands, tmp_path: Path) -> None:
    drift(judged("torch", "rounding")).save(tmp_path / "kept.json")
    assert commands(drift(judged("torch", "rounding")), "--baseline", "kept.json") == (0, "")
    code, said = commands(drift(judged("torch", "mismatch")), "--baseline", "kept.json")
    assert code == 1
    assert said.startswith("refnet: worse than kept.json: torch is mismatch and was rounding")
    code, said = commands(drift(), "--baseline", "kept.json")
    assert (code, said) == (3, "refnet: note: torch is in the baseline and was not run now\n")
    assert commands(drift(), "--baseline", "nothing.json")[0] == 2
    sample_drift().save(tmp_path / "unjudged.json")
    code, said = commands(drift(), "--baseline", "unjudged.json")
    assert code == 2
    assert "no verdicts" in said


def test_a_baseline_may_be_the_report_that_is_replaced(commands, tmp_path: Path) -> None:
    drift(judged("torch", "rounding")).save(tmp_path / "new.json")
    assert commands(drift(judged("torch", "mismatch")), "--baseline", "new.json")[0] == 1
    assert str(Drift.load(tmp_path / "new.json")["torch"].verdict) == "mismatch"
