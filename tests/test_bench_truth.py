"""`refnet bench --truth`: its rows, its goals, and what it does where python-flint is missing."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from random_weights import random_weights

from refnet.bench import truth
from refnet.bench.goals import GOALS, verdicts
from refnet.bench.rows import Row
from refnet.bench.shapes import convolutions, layers_alike
from refnet.bench.truth import FDOT, FLINT, LONG, PREDICTED, TruthPlan, TruthSession, random_integers
from refnet.errors import InputError


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> TruthSession:
    """One whose forward passes take no time; what each was told is in `asked`."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(truth, "predict", lambda x, weights, **how: asked.append(how))
    monkeypatch.setattr(truth, "certify", lambda x, weights, **how: asked.append({"certify": True, **how}))
    monkeypatch.setattr(truth, "fdot_seconds", lambda: 1e-6)
    made = TruthSession(TruthPlan(2, 2, memory=False), random_weights(), np.zeros((1, 32, 32, 3), np.float32))
    made.asked = asked  # type: ignore[attr-defined]
    return made


def test_every_row_is_measured_once_and_mp1000_only_once(
    session: TruthSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truth, "flint_seconds", lambda flint, shape, bits: 1.0)
    rows = list(session.rows())
    assert len(rows) == len(session)
    assert [row.subject for row in rows[: len(PREDICTED)]] == list(PREDICTED)
    lengths = {row.subject: len(row.values) for row in rows if not row.other}
    assert lengths[LONG] == 1 and set(lengths.values()) == {1, 2}
    told = [how["precision"] for how in session.asked if "precision" in how]  # type: ignore[attr-defined]
    assert set(told) == {how["precision"] for how in PREDICTED.values()}
    beside = next(row for row in rows if row.other == FLINT)
    assert beside.other_values == (53.0,)  # every convolution of the network


def test_quick_leaves_mp1000_out() -> None:
    assert LONG not in TruthPlan(1, long=False).subjects and LONG in TruthPlan(1).subjects


def test_without_flint_its_row_says_so(session: TruthSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flint", None)
    (row,) = [row for row in session.rows() if row.other == FLINT]
    assert row.reason == "python-flint is not installed" and not row.values


@pytest.mark.slow
def test_terms_are_those_of_all_convolutions(session: TruthSession) -> None:
    (row,) = [row for row in session.rows() if row.other == FDOT]
    alike = layers_alike(session.graph)
    assert sum(alike.values()) == 53 and tuple(alike) == convolutions(session.graph)
    assert row.other_values == (1e-6,) * len(row.values)


def test_goals_about_the_truth_are_judged_only_where_it_was_measured() -> None:
    about_truth = {goal.name for goal in GOALS if goal.is_about_truth}
    measured = verdicts([Row("truth", "mp50", (7.0,))])
    assert {verdict.goal.name for verdict in measured} == about_truth
    assert {verdict.goal.name: verdict.outcome for verdict in measured}["mp50, seconds"] == "must"
    assert not about_truth & {
        verdict.goal.name for verdict in verdicts([Row("arithmetic", "float32 sequential", (1.0,))])
    }


@pytest.mark.parametrize("bits", [1, 8, 49, 194])
def test_flint_gets_integers_of_just_so_many_bits(bits: int) -> None:
    numbers = random_integers(np.random.default_rng(0), 2000, bits)
    assert max(abs(number).bit_length() for number in numbers) == bits
    assert min(numbers) < 0 < max(numbers)


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"threads": 1, "repeats": 0}])
def test_a_plan_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least 1"):
        TruthPlan(**wrong)
