"""A claim's verdict is what was measured: the same bits, rounding, or more; and a backend that is missing is told."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
from backends_support import random_images, random_weights
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rich.console import Console

import refnet
import refnet.claims.runs
from refnet.backends import VARIANTS, Variant
from refnet.claims import (
    CLAIMS,
    OUTCOMES,
    Arm,
    Claim,
    Claims,
    Experiment,
    Limit,
    Measured,
    measure_claims,
    sentence,
    verdict,
)
from refnet.claims.calls import CALLS, FINER
from refnet.claims.child import ASK
from refnet.claims.limit import limit_of_rounding
from refnet.claims.measured import compare
from refnet.claims.measuring import calls_of, truths_of
from refnet.claims.sentence import VERDICTS, gravest
from refnet.cli import main
from refnet.cli.claims import exit_code
from refnet.drift.measures import relative_error
from refnet.drift.storage import plain
from refnet.errors import InputError
from refnet.report.claims import claims_markdown, claims_tables

PAIR = Experiment(Arm("jax"), Arm("torch"))
LIMIT = Limit(5e-6, 1e-5)
LOGITS = st.floats(-64, 64, width=32)


def measured(outcome: str, experiment: Experiment = PAIR) -> Measured:
    if outcome == "not run":
        return Measured(experiment, outcome, "torch: torch is not installed")
    errors = {
        "same": (1e-6, 1e-6),
        "rounding": (1e-6, 2e-6),
        "picture": (1e-15, 1e-15),
        "higher": (1e-6, 1e-15),
        "lower": (1e-6, 1e-2),
    }[outcome]
    differing = 0 if outcome == "same" else 9
    return Measured(experiment, outcome, "", 1e-3 * differing, 7.0, differing, 10, *errors, LIMIT.rounding, True)


# --- what is compared -------------------------------------------------------------------------------------------------


@given(arrays(np.float32, (1, 8), elements=LOGITS), arrays(np.float32, (1, 8), elements=LOGITS))
def test_differences_are_those_of_numpy(a: np.ndarray, b: np.ndarray) -> None:
    """max_ulp by a second way: NumPy's own spacing of the numbers."""
    found = compare(PAIR, a, b, (truth := a.astype(np.float64) + 1, truth), LIMIT)
    assert found.max_abs == np.abs(a.astype(np.float64) - b).max()
    assert found.differing == sum(x.tobytes() != y.tobytes() for x, y in zip(a[0], b[0], strict=True))
    ulps = [abs(float(y) - float(x)) / float(np.spacing(abs(x))) for x, y in zip(a[0], b[0], strict=True) if x]
    assert found.max_ulp == pytest.approx(max(ulps, default=0), rel=1e-12)


TRUTH = np.linspace(1, 2, 10)[None]
NEAR = TRUTH.astype(np.float32)


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        (NEAR.copy(), "same"),
        (np.nextafter(NEAR, np.float32(9)), "rounding"),
        (TRUTH * (1 + 2e-16), "higher"),
        (NEAR * np.float32(1.001), "lower"),
        (NEAR.astype(np.float16), "lower"),
        (np.full_like(NEAR, nan), "lower"),
        (np.full_like(NEAR, inf), "lower"),
    ],
    ids=["same", "one ulp", "float64", "a thousandth off", "float16", "NaN", "infinity"],
)
def test_the_outcome_follows_from_bits_and_truth(second: np.ndarray, outcome: str) -> None:
    assert compare(PAIR, NEAR, second, (TRUTH, TRUTH), LIMIT).outcome == outcome
    assert compare(PAIR, second, NEAR, (TRUTH, TRUTH), LIMIT).outcome == outcome, "from either side"


@pytest.mark.parametrize("lost", [nan, inf], ids=str)
def test_what_is_not_finite_is_never_the_same(lost: float) -> None:
    both = np.full_like(NEAR, lost)
    found = compare(PAIR, both, both.copy(), (TRUTH, TRUTH), LIMIT)
    assert found.outcome == "lower"
    assert "jax and torch give NaN or infinity: more than" in sentence(CLAIMS["seed"], [found])


def test_the_same_bits_are_more_than_equal_numbers() -> None:
    """-0 equals +0, and float32 numbers are equal to themselves in float64; neither has the same bits."""
    zero = NEAR * np.float32([[0] + 9 * [1]])
    truths = (zero.astype(np.float64),) * 2
    assert compare(PAIR, zero, -zero * np.float32([[1] + 9 * [-1]]), truths, LIMIT).differing == 1
    assert compare(PAIR, zero, zero.astype(np.float64), truths, LIMIT).differing == 10


def test_each_side_is_held_against_the_truth_of_its_own_picture() -> None:
    """Digits that only float64 keeps: each side is right for its picture, and none is called the nearer one."""
    other = TRUTH * (1 + 1e-9)
    found = compare(PAIR, TRUTH * (1 + 2e-16), other, (TRUTH, other), LIMIT)
    assert found.outcome == "picture"
    assert max(found.error_first, found.error_second) < 1e-15
    assert compare(PAIR, NEAR, NEAR.copy(), (TRUTH, other), LIMIT).outcome == "same", "a picture that was cast"


def test_two_sides_that_are_equally_far_are_not_held_against_each_other() -> None:
    found = compare(PAIR, NEAR * np.float32(1.01), NEAR * np.float32(1.02), (TRUTH, TRUTH), LIMIT)
    assert "jax and torch are 1.0e-02 and 2.0e-02 from the truth: more than" in sentence(CLAIMS["seed"], [found])


def test_two_sides_that_are_both_wrong_but_differ_are_not_called_rounding() -> None:
    wrong = NEAR * np.float32(1.1)
    assert compare(PAIR, wrong, np.nextafter(wrong, np.float32(9)), (TRUTH, TRUTH), LIMIT).outcome == "lower"


def test_logits_of_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="one shape"):
        compare(PAIR, NEAR, NEAR[:, :5], (TRUTH, TRUTH), LIMIT)


@pytest.mark.exhaustive
def test_the_limit_holds_orders_that_it_was_not_made_from_and_no_lower_precision() -> None:
    """At 32 x 32, with random weights: refnet's passes that make it are not among these."""
    x, w = random_images(1), random_weights()
    truth = np.asarray(refnet.predict(x, w, precision="float64", classifier_activation=None))

    def error(**how: object) -> float:
        return relative_error(np.asarray(refnet.predict(x, w, classifier_activation=None, **how), np.float64), truth)

    limit = limit_of_rounding(x, w, truth).rounding
    for how in ({"order": "permuted:7"}, {"order": "blocks:64"}, {"order": "lanes:8"}, {"order": "kahan"}):
        assert error(**how) < limit
    for precision in ("tf32", "float16", "bfloat16"):
        assert error(precision=precision) > 10 * limit


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False).filter(bool))
def test_the_float64_picture_has_digits_that_float32_has_not_and_rounds_back(value: float) -> None:
    finer = np.float64(value) * FINER
    assert finer != value
    assert np.float32(finer) == np.float32(value)


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_every_experiment_is_between_variants_and_calls_that_exist(claim: Claim) -> None:
    for pair in claim.experiments:
        for arm in (pair.first, pair.second):
            assert arm.variant in VARIANTS
            assert arm.call == "predict" or arm.call in ASK
        assert pair.first.variant == pair.second.variant or pair.first.call == pair.second.call, "one thing differs"
    assert set(ASK) == set(CALLS) - {"predict"}


def test_each_variant_is_started_once_and_asked_all_that_is_needed() -> None:
    wanted = calls_of(list(CLAIMS.values()))
    asked = {(name, call) for name, calls in wanted.items() for call in calls}
    arms = {arm for claim in CLAIMS.values() for pair in claim.experiments for arm in (pair.first, pair.second)}
    assert asked == {(arm.variant, arm.call) for arm in arms}
    assert all(list(calls) == [call for call in CALLS if call in calls] for calls in wanted.values())


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_words_follow_the_measurement_whatever_the_claim(claim: Claim, outcome: str) -> None:
    """No claim has its verdict written beforehand: each can have each."""
    found = [measured(outcome, pair) for pair in claim.experiments]
    assert verdict(found) == VERDICTS[outcome]
    text = sentence(claim, found)
    assert text.endswith(".")
    assert ("Not one of 10 logits changes" in text) == (outcome == "same")
    assert ("more than rounding explains" in text) == (outcome == "lower")
    assert ("not installed" in text) == (outcome == "not run")
    assert all((because in text) == (outcome == told) for told, because in claim.because.items())


def test_the_gravest_outcome_that_was_measured_is_the_verdict() -> None:
    for place, outcome in enumerate(OUTCOMES[:-1]):
        found = [measured(lesser) for lesser in (*OUTCOMES[: place + 1], "not run")]
        assert gravest(found) == outcome
        assert "Not measured: torch is not" not in sentence(CLAIMS["seed"], found)
    assert gravest([measured("not run")]) == "not run"


def test_one_experiment_with_another_outcome_takes_the_explanation_away() -> None:
    claim = CLAIMS["seed"]
    found = [measured("same", pair) for pair in claim.experiments]
    assert claim.because["same"] in sentence(claim, found)
    found[-1] = measured("rounding", claim.experiments[-1])
    assert claim.because["same"] not in sentence(claim, found)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: Arm("jax", "shout"),
        lambda: Experiment(Arm("jax"), Arm("jax")),
        lambda: Claim("Bad Name", "x", (PAIR,)),
        lambda: Claim("name", "x", ()),
        lambda: Claim("name", "x", (PAIR,), {"perhaps": "x"}),
        lambda: Measured(PAIR, "perhaps"),
        lambda: Measured(PAIR, "not run"),
        lambda: Measured(PAIR, "same", "a reason"),
    ],
)
def test_values_check_themselves(broken: object) -> None:
    with pytest.raises(InputError):
        broken()  # type: ignore[operator]


# --- real runs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def in_place_of(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """Every variant that a claim asks for is jax with these changes."""

    def select(names: list[str]) -> tuple[Variant, ...]:
        return tuple(replace(VARIANTS["jax"], name=name, **changes) for name in names)  # type: ignore[arg-type]

    monkeypatch.setattr(refnet.claims.runs, "select", select)


def test_a_missing_backend_is_told_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    in_place_of(monkeypatch, modules=("no_such_module",))
    found = measure_claims(random_images(1), random_weights(), ["xla", "call"], cache=cache)
    for name in ("xla", "call"):
        assert {row.outcome for row in found.measured[name]} == {"not run"}
        assert "no_such_module is not installed; pip install" in sentence(CLAIMS[name], found.measured[name])
    assert exit_code(found) == 3
    json.dumps(plain(found.document()), allow_nan=False)


def test_refnets_truth_keeps_the_digits_of_the_float64_picture() -> None:
    """Else the two pictures would have one truth, and the side with the further digits would be the wrong one."""
    claim = CLAIMS["input-dtype"]
    truths = truths_of([claim], random_images(1), random_weights(), None)
    assert truths.keys() == {"predict", "float64", "wide", "wide-float64"}
    assert truths["predict"] is truths["wide"] and truths["float64"] is truths["wide-float64"]
    change = relative_error(truths["float64"], truths["predict"])
    assert 1e-10 < change < 1e-6


@pytest.mark.exhaustive
@pytest.mark.skipif(bool(VARIANTS["jax"].missing_modules), reason="jax is not installed")
def test_a_real_backend_keeps_its_bits_from_call_to_call_and_casts_a_float64_picture(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    in_place_of(monkeypatch)
    claims = CLAIMS["run-to-run"].experiments[:1], CLAIMS["input-dtype"].experiments[:1]
    few = {
        "run-to-run": replace(CLAIMS["run-to-run"], experiments=claims[0]),
        "input-dtype": replace(CLAIMS["input-dtype"], experiments=claims[1]),
    }
    monkeypatch.setattr(refnet.claims.measuring, "CLAIMS", few)
    stages: list[tuple[str, str]] = []
    found = measure_claims(
        random_images(1),
        random_weights(),
        list(few),
        cache=cache,
        progress=lambda name, stage, seconds: stages.append((name, stage)),
    )
    assert [row.outcome for rows in found.measured.values() for row in rows] == ["same", "same"]
    assert found.runs["tensorflow"]["facts"]["rows_agree"] == {"predict": True, "again": True, "float64": True}
    assert [name for name, stage in stages if stage == "start"] == ["refnet-float64", "refnet-float32", "tensorflow"]
    assert exit_code(found) == 0
    assert str(cache.parent) not in json.dumps(plain(found.document()))


@pytest.mark.exhaustive
def test_all_claims_on_all_backends(cache: Path) -> None:
    """What holds on every machine; the rest of the table is this machine's."""
    found = measure_claims(random_images(1), random_weights(), cache=cache)
    for name in ("seed", "run-to-run", "fresh-model"):
        assert {row.outcome for row in found.measured[name]} <= {"same", "not run"}
    by_sides = {str(row.experiment.second): row.outcome for rows in found.measured.values() for row in rows}
    assert by_sides["tensorflow-float64: float64 input and picture"] in ("picture", "not run")
    assert by_sides["tensorflow-float64"] in ("higher", "not run")
    assert by_sides["torch-mixed-bfloat16"] in ("lower", "not run")
    assert by_sides["tf-keras"] in ("rounding", "same", "not run")


# --- what is shown ----------------------------------------------------------------------------------------------------


def sample() -> Claims:
    about = {
        "weights": {"source": "synthetic", "sha256": "ab" * 32},
        "pictures": {"shape": [1, 32, 32, 3], "sha256": []},
    }
    outcomes = [OUTCOMES[place % len(OUTCOMES)] for place in range(len(CLAIMS))]
    rows = {
        claim.name: tuple(measured(outcome, pair) for pair in claim.experiments)
        for claim, outcome in zip(CLAIMS.values(), outcomes, strict=True)
    }
    runs = {"jax": {"status": "ok", "reason": "", "seconds": 1.0, "facts": {}}}
    return Claims(about, LIMIT, rows, runs)


def test_the_terminal_shows_every_claim_within_80_columns() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(claims_tables(sample()))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    assert all(claim.text in flat for claim in CLAIMS.values())
    assert all(VERDICTS[outcome] in flat for outcome in OUTCOMES)


def test_the_markdown_table_has_a_row_for_each_claim() -> None:
    lines = [line for line in claims_markdown(sample()).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(CLAIMS)
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--only", "nonsense"],
        ["--only", ","],
        ["--json", "x.txt"],
        ["--markdown", "nowhere/x.md"],
        ["--size", "8"],
        ["--image", "nothing.png"],
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["claims", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("statuses", "code"),
    [(["ok"], 0), (["ok", "missing"], 0), (["missing"], 3), (["ok", "killed"], 3), (["ok", "timeout"], 3)],
)
def test_exit_codes(statuses: list[str], code: int) -> None:
    runs = {str(place): {"status": status} for place, status in enumerate(statuses)}
    assert exit_code(replace(sample(), runs=runs)) == code
