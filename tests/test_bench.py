"""refnet bench: the numbers that it derives, what it writes and prints, and that a failing peer is a row. Never a time.

Rows come from made-up times, or from real calls on 32 x 32 pictures of which only the shape of the result is looked at.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refnet.bench.session
from refnet.arithmetic import ORDERS, PRECISIONS
from refnet.arithmetic.double_double import DoubleDouble
from refnet.backends import VARIANTS
from refnet.bench import BASE, DEFAULT_ORDERS, GOALS, TRUTH, Bench, Row, default_precisions, label, parse
from refnet.bench.arithmetics import arithmetics, reference
from refnet.bench.compare import changes, different_conditions
from refnet.bench.error import relative_error
from refnet.bench.goals import SHAPES, Goal, Limit, verdicts, with_a_goal
from refnet.bench.load import BusyMachineWarning, warn_if_busy
from refnet.bench.memory import own_peak
from refnet.bench.pareto import dominates, front
from refnet.bench.peers import PEERS, Peer, select_peers
from refnet.bench.pictures import fresh_pictures
from refnet.bench.plot import peer_points, plot, points
from refnet.bench.replays import profiles_of, replays_of
from refnet.bench.rows import KINDS, relative_times
from refnet.bench.session import Plan, Session
from refnet.bench.shapes import convolutions
from refnet.bench.storage import load, save
from refnet.bench.table import tables
from refnet.bench.timing import FIRST_SEED, WARM_UPS, in_turn
from refnet.bench.worker import Worker
from refnet.cli import main
from refnet.cli.bench import exit_code
from refnet.cli.screen import output
from refnet.errors import InputError, VariantError
from refnet.graph import resnet
from refnet.images import bundled_image, load_image
from refnet.provenance import provenance
from refnet.reveal import Profile, keep
from refnet.weights import load_weights

ALL = arithmetics(default_precisions(), DEFAULT_ORDERS)


def row(subject: str, times: list[float], other: str = "", others: list[float] | None = None, **more: object) -> Row:
    return Row(more.pop("kind", "arithmetic"), subject, tuple(times), other, tuple(others or ()), **more)


@pytest.fixture
def bench() -> Bench:
    """One row of each kind, one of them without values."""
    return Bench(
        provenance(threads=2, size=32),
        TRUTH,
        (
            row(BASE, [0.5, 0.7], "jax", [1.0, 1.0], kind="keras", other_error=2e-6),
            Row("keras", BASE, other="torch", reason="killed by signal 9"),
            row(BASE, [0.5], "openvino-compiled", [0.4], kind="compiled", other_error=2e-6),
            row(BASE, [2.0, 4.0, 3.0], error=2e-6),
            row("float64 sequential", [6.0, 8.0], BASE, [3.0, 4.0], error=1e-15),
            row("double-double sequential", [60.0], "float64 sequential", [3.0], error=0.0),
            row("jax, logits", [0.5], BASE, [0.4], kind="replay"),
            row("56x56 1x1 64->64", [1e-4], "sgemm", [2e-4], kind="shape"),
            row(BASE, [4.5e8], kind="memory", unit="bytes"),
        ),
    )


# --- arithmetics and what they are compared to ------------------------------------------------------------------------


def test_every_format_and_order_is_timed() -> None:
    """But a tree, which has the number of terms of one layer and none of a whole network."""
    assert {order.partition("/")[0].partition(":")[0] for order in DEFAULT_ORDERS} == set(ORDERS) - {"tree"}
    assert {arithmetic.precision for arithmetic in ALL} == set(PRECISIONS)


@pytest.mark.parametrize("arithmetic", ALL, ids=label)
def test_a_name_and_its_arithmetic_are_one(arithmetic) -> None:
    assert parse(label(arithmetic)) == arithmetic


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("float32 sequential", None),
        ("float32 reversed", "float32 sequential"),
        ("float32 sequential/no-fma", "float32 sequential"),
        ("float32 pairwise:1/no-fma", "float32 sequential/no-fma"),
        ("float32 kahan", "float32 sequential"),
        ("bfloat16 dot2", "bfloat16 sequential"),
        ("bfloat16 sequential", "float32 sequential"),
        ("bfloat16/bfloat16 sequential", "float32 sequential"),
        ("double-double lanes:16", "double-double sequential"),
        ("double-double sequential", "float64 sequential"),
        ("float64 sequential", "float32 sequential"),
    ],
)
def test_references_are_those_of_the_goals(name: str, other: str | None) -> None:
    found = reference(parse(name))
    assert (found and label(found)) == other


def test_references_are_timed_before_what_needs_them_and_nothing_twice() -> None:
    names = [label(arithmetic) for arithmetic in arithmetics(["double-double"], ["pairwise:8"])]
    assert names == [BASE, "float64 sequential", "double-double sequential", "double-double pairwise:8"]
    assert len(set(ALL)) == len(ALL)


@pytest.mark.parametrize("name", ["float32", "float32 sequential/fma", "float31 sequential", "float32 sideways", ""])
def test_a_name_without_meaning_is_an_error(name: str) -> None:
    with pytest.raises(InputError):
        parse(name)


def test_combinations_without_meaning_are_left_out_unless_they_are_all_there_is() -> None:
    assert "double-double kahan" not in map(label, arithmetics(["float32", "double-double"], ["sequential", "kahan"]))
    for precisions, orders in (["double-double"], ["kahan"]), (["float32"], ["sequential", "sideways"]):
        with pytest.raises(InputError):
            arithmetics(precisions, orders)


# --- rows, ratios, goals ----------------------------------------------------------------------------------------------


def test_ratios_are_of_medians_and_of_pairs() -> None:
    measured = row("float64 sequential", [4.0, 9.0, 5.0], BASE, [2.0, 3.0, 5.0])
    assert (measured.value, measured.other_value) == (5.0, 3.0)
    assert measured.ratio == 5 / 3 and measured.paired_ratio == 2.0 and measured.measured == measured.ratio
    alone = row(BASE, [4.0])
    assert np.isnan(alone.ratio) and np.isnan(alone.paired_ratio) and alone.measured == 4.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "guess"},
        {"values": ()},
        {"reason": "no"},
        {"other_values": (1.0,)},
        {"other": "jax"},
        {"values": (0.0,)},
        {"values": (float("nan"),)},
        {"unit": "ms"},
    ],
)
def test_a_row_that_contradicts_itself_is_an_error(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Row(**{"kind": "arithmetic", "subject": BASE, "values": (1.0,), **wrong})


def test_times_over_base_are_products_along_the_references(bench: Bench) -> None:
    assert relative_times(bench.rows) == {
        BASE: 1.0,
        "float64 sequential": 2.0,
        "double-double sequential": pytest.approx(40.0),
    }
    cut = [row for row in bench.rows if row.subject != "float64 sequential"]
    assert set(relative_times(cut)) == {BASE}


@pytest.mark.parametrize(
    ("measured", "outcome"), [([0.9, 0.5], "aim"), ([0.9, 1.1], "must"), ([0.5, 2.1], "missed"), ([], "not measured")]
)
def test_the_slowest_row_decides(measured: list[float], outcome: str) -> None:
    goal = Goal("g", "arithmetic", ("float32 *",), (BASE,), Limit(2.0), Limit(1.0))
    rows = [row(f"float32 lanes:{i}", [value], BASE, [1.0]) for i, value in enumerate(measured)]
    others = [row("float64 lanes:1", [99.0], BASE, [1.0]), row("float32 lanes:9", [99.0], BASE, [1.0], batch=8)]
    verdict = goal.judge(rows + others)
    assert verdict.outcome == outcome
    assert [row.measured for row in verdict.rows] == sorted(measured, reverse=True)


@pytest.mark.parametrize(("fast", "outcome"), [(14, "missed"), (15, "must"), (20, "must")])
def test_of_the_convolutions_fifteen_must_be_fast(fast: int, outcome: str) -> None:
    rows = [row(f"{i}", [1.0 if i < fast else 1.2], "sgemm", [1.0], kind="shape") for i in range(SHAPES)]
    (verdict,) = (verdict for verdict in verdicts(rows) if verdict.goal.kind == "shape")
    assert verdict.outcome == outcome and verdict.reached == fast


def test_every_goal_about_arithmetics_finds_its_rows_in_a_whole_run() -> None:
    """A pattern with a slip in it would stay `not measured` for ever."""
    rows = [row(label(a), [1.0], label(other), [1.0]) for a in ALL if (other := reference(a))]
    for verdict in verdicts(rows):
        assert (verdict.outcome != "not measured") == (verdict.goal.kind == "arithmetic"), verdict.goal.name
    asked = {row.subject for verdict in verdicts(rows) for row in verdict.rows}
    assert asked <= set(map(label, with_a_goal(ALL)))


def test_must_and_aim_are_in_order_and_kinds_known() -> None:
    assert all(goal.aim.most <= goal.must.most and goal.kind in KINDS for goal in GOALS)


# --- Pareto front -----------------------------------------------------------------------------------------------------

numbers = st.floats(1e-9, 1e9) | st.integers(1, 4).map(float)  # the small integers make ties


@given(st.dictionaries(st.text(min_size=1), st.tuples(numbers, numbers)))
def test_the_front_is_what_no_point_dominates(points: dict[str, tuple[float, float]]) -> None:
    expected = {name for name in points if not any(dominates(other, points[name]) for other in points.values())}
    best = front(points)
    assert set(best) == expected and len(best) == len(expected)
    assert [points[name] for name in best] == sorted(points[name] for name in best)


# --- errors -----------------------------------------------------------------------------------------------------------


def test_errors_are_those_of_rational_numbers() -> None:
    """Two double-doubles that differ in their low parts only: float64 alone would see no difference."""
    truth = DoubleDouble(np.array([3.0, 4.0]), np.array([0.0, 2.0**-60]))
    values = DoubleDouble(np.array([3.0, 4.0]), np.array([2.0**-60, 2.0**-60]))
    assert relative_error(values, truth) == 2.0**-60 / 5
    assert relative_error(np.array([3.0, 5.0], np.float32), np.array([3.0, 4.0])) == 1 / 5


# --- times ------------------------------------------------------------------------------------------------------------


def test_timers_take_turns_and_never_see_a_seed_twice() -> None:
    calls: list[tuple[str, int]] = []

    def timer(name: str):
        def seconds(seed: int) -> float:
            calls.append((name, seed))
            return float(len(calls))

        return seconds

    own, theirs = in_turn((timer("a"), timer("b")), 3, pause=0)
    assert [name for name, _ in calls] == ["a"] * WARM_UPS + ["b"] * WARM_UPS + ["a", "b"] * 3
    assert [seed for _, seed in calls] == list(range(FIRST_SEED, FIRST_SEED + len(calls)))
    assert own == (5.0, 7.0, 9.0) and theirs == (6.0, 8.0, 10.0)


def test_pictures_are_new_for_each_seed_and_the_first_of_a_batch_is_that_of_one() -> None:
    base = np.full((1, 4, 4, 3), 100, np.float32)
    one, batch = fresh_pictures(base, 1, 7), fresh_pictures(base, 3, 7)
    assert one.dtype == np.float32 and batch.shape == (3, 4, 4, 3)
    assert (one[0] == batch[0]).all() and (batch[0] != batch[1]).all() and (one != fresh_pictures(base, 1, 8)).any()


def test_resnet50_has_twenty_distinct_convolutions() -> None:
    graph = resnet(50, input_shape=(224, 224))
    found = convolutions(graph)
    assert len(found) == len({str(shape) for shape in found}) == len({shape.product for shape in found}) == SHAPES
    assert found[0].product == (112 * 112, 7 * 7 * 3, 64)
    assert str(found[2]) == "56x56 3x3 64->64" and found[2].product == (56 * 56, 9 * 64, 64)


def test_a_busy_machine_is_warned_about(monkeypatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    with pytest.warns(BusyMachineWarning, match="load 99"):
        warn_if_busy()


@pytest.mark.slow
def test_peak_memory_grows_with_what_is_held() -> None:
    before = own_peak()
    held = np.ones(before // 8 * 2)
    assert own_peak() >= before + held.nbytes // 2


# --- a session on small pictures --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    return load_weights("synthetic"), load_image(bundled_image(), size=32)


class FakeWorker:
    """Answers as a peer does; the second batch kills it."""

    def __init__(self) -> None:
        self.requests: list[dict[str, int]] = []

    def ask(self, **request: int) -> dict[str, object]:
        self.requests.append(request)
        if request["batch"] == 8:
            raise VariantError("killed by signal 9")
        return {"seconds": 1.0, "logits": [1.0] * 1000}


def test_a_session_measures_what_was_planned_and_a_peer_that_dies_is_a_row(small, monkeypatch) -> None:
    import contextlib

    worker = FakeWorker()
    monkeypatch.setattr(refnet.bench.session, "peer_worker", lambda *_: contextlib.nullcontext(worker))
    plan = Plan(arithmetics(["float32"], ["kahan"]), (Peer("jax", "keras", "jax"),), 1, (1, 8), 2, False, False, 0.0)
    session = Session(plan, *small)
    told: list[str] = []
    rows = list(session.rows(told.append))
    assert [(row.kind, row.subject, row.other, row.batch) for row in rows] == [
        ("keras", BASE, "jax", 1),
        ("keras", BASE, "jax", 8),
        ("arithmetic", BASE, "", 1),
        ("arithmetic", "float32 kahan", BASE, 1),
    ]
    assert len(session) == len(rows) and told[-1] == "float32 kahan"
    assert rows[0].other_values == (1.0, 1.0) and rows[1].reason == "killed by signal 9"
    base, kahan = rows[2].error, rows[3].error
    assert base and kahan and 0 < kahan < base < 1e-4
    seeds = [request["seed"] for request in worker.requests if request["batch"] == 1]
    assert len(set(seeds)) == len(seeds)


def small_profile() -> Profile:
    """Another order in one layer; of pictures of 32 x 32."""
    layers = {"conv2_block1_1_conv": {"order": "reversed", "fma": True, "bias": "last"}}
    return Profile("torch", ("ResNet50", "v1"), (32, 32), {}, layers, provenance={"threads": None})


def test_replays_are_timed_beside_plain_passes_that_give_the_same_layers(small) -> None:
    weights, base = small
    plan = Plan((), (), 1, repeats=2, shapes=False, memory=False, pause=0.0, profiles=(small_profile(),))
    session, told = Session(plan, weights, base), []
    rows = list(session.rows(told.append))
    assert [(row.kind, row.subject, row.other) for row in rows] == [
        ("replay", "torch, logits", BASE),
        ("replay", "torch, every layer", f"{BASE}, every layer"),
    ]
    assert len(session) == len(rows) == len(told) and all(len(row.values) == 2 for row in rows)
    goal = next(goal for goal in GOALS if goal.kind == "replay")
    assert {row.subject for row in goal.judge(rows).rows} == {row.subject for row in rows}


def test_a_replay_and_its_plain_pass_compute_what_their_names_say(small) -> None:
    weights, base = small
    logits, layers = replays_of(small_profile(), weights, weights, 1)
    order = {"conv2_block1_1_conv": "reversed"}
    for one in logits, layers:
        own, plain = one.own(base), one.plain(base)
        assert type(own) is type(plain)
    assert (logits.own(base) == refnet.predict(base, weights, order=order, classifier_activation=None)).all()
    assert (logits.plain(base) == refnet.predict(base, weights, classifier_activation=None)).all()
    assert (layers.own(base)["predictions"] == logits.own(base)).all() and len(layers.own(base)) == len(own)
    assert (layers.plain(base)["predictions"] == logits.plain(base)).all()
    assert (logits.own(base) != logits.plain(base)).any()


def test_profiles_without_the_constants_of_the_weights_are_left_out(small, tmp_path, monkeypatch) -> None:
    weights, _ = small
    monkeypatch.setattr("refnet.reveal.kept_profiles.cache_folder", lambda: tmp_path)
    given = {"conv1_bn": {"batch_norm": "shifted", "shift": "rounded", "scale": "given"}}
    keep(small_profile(), VARIANTS["torch"], weights)
    keep(dataclasses.replace(small_profile(), variant="jax", layers=given), VARIANTS["jax"], weights)
    assert [profile.variant for profile in profiles_of("kept", weights, (32, 32), None)] == ["torch"]
    assert profiles_of("none", weights, (32, 32), None) == ()
    small_profile().save(tmp_path / "p.json")
    assert [profile.variant for profile in profiles_of(str(tmp_path / "p.json"), weights, (32, 32), None)] == ["torch"]


def test_a_peer_that_is_not_installed_is_a_row_for_each_batch(small, monkeypatch) -> None:
    monkeypatch.setattr("refnet.backends.variants.Variant.missing_modules", ("jax",))
    plan = Plan((), select_peers(["jax"]), 1, (1, 8), 1, False, False, 0.0)
    assert [row.reason.partition(";")[0] for row in Session(plan, *small).rows()] == ["jax is not installed"] * 2


def test_convolutions_without_a_worker_are_rows_too(small, monkeypatch) -> None:
    monkeypatch.setattr("refnet.bench.worker.START_TIMEOUT", 0.0)
    rows = list(Session(Plan((), (), 1, memory=False, pause=0.0), *small).rows())
    assert [row.reason for row in rows] == ["no answer within 0 s"] * SHAPES


def test_sgemm_answers_and_its_process_ends_with_the_block(tmp_path: Path) -> None:
    with Worker({"worker": "sgemm", "environment": {"OPENBLAS_NUM_THREADS": "1"}}, tmp_path) as worker:
        answer = worker.ask(shape=[4, 5, 6], calls=2, seed=1)
        process = worker._process
        assert answer["seconds"] > 0 and process.poll() is None
    assert process.poll() == -signal.SIGKILL


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(VariantError, match="KeyError: 'nothing'"),
        Worker({"worker": "nothing", "environment": {}}, tmp_path),
    ):
        pass
    with Worker({"worker": "sgemm", "environment": {}}, tmp_path) as worker:
        with pytest.raises(VariantError, match="KeyError"):
            worker.ask(seed=1)
        with pytest.raises(VariantError):
            worker.ask(seed=2)


def test_a_worker_that_is_silent_is_given_up(tmp_path: Path) -> None:
    with Worker({"worker": "sgemm", "environment": {}}, tmp_path, timeout=0.2) as worker:
        os.kill(worker._process.pid, signal.SIGSTOP)
        with pytest.raises(VariantError, match=r"no answer within 0\.2 s"):
            worker.ask(shape=[1, 1, 1], calls=1, seed=1)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", PEERS)
def test_every_peer_gives_logits_close_to_the_truth(name: str, small) -> None:
    (peer,) = select_peers([name])
    plan = Plan((), (peer,), 1, (1, 2), 1, False, False, 0.0)
    for measured in Session(plan, *small).rows():
        if "is not installed" in measured.reason:
            pytest.skip(measured.reason)
        assert not measured.reason and measured.other_error is not None
        assert 0 < measured.other_error < 1e-4, "a peer that computes something else is no peer"


@pytest.mark.exhaustive
def test_memory_of_a_real_prediction(small) -> None:
    weights, base = small
    (measured,) = Session(Plan((), (), 1, shapes=False), weights, base).rows()
    assert measured.unit == "bytes" and measured.value > sum(tensor.nbytes for tensor in weights.values())


# --- files, tables, pictures ------------------------------------------------------------------------------------------


def test_a_file_holds_everything(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    save(bench, path)
    assert load(path) == dataclasses.replace(bench, provenance=json.loads(json.dumps(bench.provenance)))
    document = json.loads(path.read_text())
    assert document["rows"][0]["ratio_of_medians"] == median([0.5, 0.7]) and document["rows"][1]["median"] is None
    assert {goal["name"]: goal["outcome"] for goal in document["goals"]}[
        "float64 sequential / float32 sequential"
    ] == "aim"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document.update(schema=2), "schema 2"),
        (lambda document: document.update(kind="drift"), "no benchmark"),
        (lambda document: document.pop("rows"), "damaged"),
        (lambda document: document["rows"][0].pop("values"), "damaged"),
        (lambda document: document["rows"][0].update(values=[-1.0]), "damaged"),
        (lambda document: document["rows"][0].update(values="ab"), "damaged"),
    ],
)
def test_another_file_is_refused_in_one_line(change, said: str, bench: Bench, tmp_path: Path, capsys) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    save(bench, good)
    document = json.loads(good.read_text())
    change(document)
    bad.write_text(json.dumps(document))
    assert main(["bench", "--compare", str(good), str(bad)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1


def test_compare_divides_matching_rows(bench: Bench) -> None:
    faster = dataclasses.replace(
        bench,
        provenance={**bench.provenance, "threads": 4},
        rows=(row("float64 sequential", [3.5], BASE, [7.0]), row("float64 dot2", [1.0], BASE, [1.0])),
    )
    (change,) = changes(bench, faster)
    assert change.of_values == 0.5 and change.of_ratios == 0.25
    assert different_conditions(bench, faster) == ["threads: 2, 4"] and different_conditions(bench, bench) == []
    with pytest.raises(InputError, match="in common"):
        changes(bench, dataclasses.replace(bench, rows=()))


def test_compare_prints_the_ratios(bench: Bench, tmp_path: Path, capsys) -> None:
    save(bench, tmp_path / "a.json")
    assert main(["bench", "--compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 0
    out = capsys.readouterr().out
    assert "float64 sequential beside float32 sequential" in out and "1.00" in out and "450 MB" in out


def test_tables_show_every_row_and_whether_goals_hold(bench: Bench, capsys) -> None:
    output().print(tables(bench))
    out = capsys.readouterr().out
    for expected in ("jax", "openvino-compiled", "double-double sequential", "56x56 1x1 64->64", "1 of 1 at 1.0x"):
        assert expected in out
    assert "interrupted" not in out
    output().print(tables(dataclasses.replace(bench, finished=False)))
    assert "interrupted" in capsys.readouterr().out
    assert "torch, batch 1: killed by signal 9" in out and "not measured" in out and "450 MB" in out


def test_points_are_relative_and_what_has_no_error_has_none(bench: Bench, tmp_path: Path) -> None:
    assert points(bench) == {BASE: (1.0, 2e-6), "float64 sequential": (2.0, 1e-15)}
    assert peer_points(bench)["openvino-compiled"] == (pytest.approx(0.8), 2e-6)
    for name, drawn in ("full.png", bench), ("empty.png", dataclasses.replace(bench, rows=())):
        plot(drawn, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


# --- command line -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--precisions", "float31"], "float31"),
        (["--orders", "sideways"], "sideways"),
        (["--orders", ","], "no arithmetics"),
        (["--precisions", "double-double", "--orders", "kahan"], "double-double"),
        (["--peers", "nobody"], "nobody"),
        (["--peers", ","], "none named"),
        (["--batch", "one"], "--batch one"),
        (["--batch", "0"], "batches"),
        (["--batch", "1,1"], "batches"),
        (["--repeats", "0"], "--repeats"),
        (["--threads", "0"], "--threads"),
        (["--size", "31"], "--size"),
        (["--json", "bench.txt"], "expected .json"),
        (["--json", "nowhere/bench.json"], "cannot be written"),
        (["--compare", "a.json"], "--compare"),
        (["--compare", "a.json", "b.json"], "cannot read a.json"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, said: str, monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1 and list(tmp_path.iterdir()) == []


def run_cli(monkeypatch, tmp_path: Path, bench: Bench, *arguments: str, stop: bool = False) -> int:
    """The command with the measuring replaced by the rows of `bench`; `stop`: Ctrl-C after the third."""

    def rows(self, progress):
        for place, measured in enumerate(bench.rows):
            if stop and place == 3:
                raise KeyboardInterrupt
            progress(measured.subject)
            yield measured

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(refnet.bench.session.Session, "rows", rows)
    return main(["bench", "--size", "32", "--threads", "2", *arguments])


def test_the_command_prints_and_writes(bench: Bench, monkeypatch, tmp_path: Path, capsys) -> None:
    assert run_cli(monkeypatch, tmp_path, bench) == 3  # torch was killed
    assert "written: bench.json, bench.png" in capsys.readouterr().out
    written = load(tmp_path / "bench.json")
    assert written.rows == bench.rows and written.finished
    about = written.provenance
    assert (about["threads"], about["size"], about["load"]) == (2, 32, 0.0) and "flags" in about["cpu"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.json", "bench.png"]


def test_an_interruption_keeps_what_was_measured(bench: Bench, monkeypatch, tmp_path: Path) -> None:
    assert run_cli(monkeypatch, tmp_path, bench, "--json", "b.json", stop=True) == 130
    written = load(tmp_path / "b.json")
    assert written.rows == bench.rows[:3] and not written.finished


def test_quiet_prints_nothing(bench: Bench, monkeypatch, tmp_path: Path, capsys) -> None:
    whole = dataclasses.replace(bench, rows=tuple(row for row in bench.rows if row.values))
    assert run_cli(monkeypatch, tmp_path, whole, "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("reason", "peers", "code"),
    [
        ("jax is not installed; pip", "all", 0),
        ("jax is not installed; pip", "jax", 3),
        ("killed by signal 9", "all", 3),
    ],
)
def test_exit_code_of_a_peer_that_did_not_run(reason: str, peers: str, code: int) -> None:
    assert exit_code(Bench({}, TRUTH, (Row("keras", BASE, other="jax", reason=reason),)), peers) == code
