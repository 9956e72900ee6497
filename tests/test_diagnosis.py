"""The diagnosis without a framework: comparison, thresholds, equivalents, errors, and the oracle's shortcuts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

import refnet
from refnet.arithmetic import Arithmetic
from refnet.arithmetic.formats import FORMATS, round_to
from refnet.claims.limit import limit_of_rounding
from refnet.diagnosis import Reference, diagnose, diagnose_with
from refnet.diagnosis.change import Change, applied
from refnet.diagnosis.direction import least_cosine
from refnet.diagnosis.form_causes import narrow_cause
from refnet.diagnosis.graph_changes import arithmetic_changes
from refnet.diagnosis.graph_edits import same_padding
from refnet.diagnosis.oracle import Oracle, engines
from refnet.diagnosis.outputs import comparable, form_of, given
from refnet.diagnosis.resizing import RESIZES, Area
from refnet.diagnosis.search import STAGES
from refnet.diagnosis.trials import Progress, Trials
from refnet.errors import InputError
from refnet.forward.walk import evaluate
from refnet.weights import Weights

SIZE = 64
FOREIGN = "blocks:64"  # an order that the thresholds are not made from


@pytest.fixture(scope="module")
def reference(synthetic: Weights) -> Reference:
    return Reference(None, synthetic, image=refnet.bundled_image(), size=(SIZE, SIZE))


def stop_at(prefix: str) -> Progress:
    """Ends the search as Ctrl-C does, at the first change of that name."""

    def stop(what: str, done: int, total: int) -> None:
        if what.startswith(prefix):
            raise KeyboardInterrupt

    return stop


def change(reference: Reference, name: str) -> Change:
    return next(change for change in reference.changes if change.name == name)


def foreign(reference: Reference, *names: str) -> np.ndarray:
    """Logits of a program with these changes that adds in an order of its own, computed without any shortcut."""
    program = applied(reference.program, *(change(reference, name) for name in names))
    return Oracle(replace(program, arithmetic=replace(program.arithmetic, order=FOREIGN))).logits


def test_refnet_in_another_order_differs_by_rounding_alone(reference: Reference) -> None:
    found = diagnose_with(reference, foreign(reference), classifier_activation=None)
    assert (found.verdict, found.causes, found.explanation) == ("rounding", (), ())
    assert 0 < found.before < found.threshold < 1e-4


@pytest.mark.parametrize(
    "name", ["epsilon:1e-3", "pool_padding:none", "kernel:flipped:conv4_block2_2_conv", "relu:missing:conv1_relu"]
)
def test_shortcuts_change_no_bit(name: str, reference: Reference) -> None:
    """Layers before a change and weights beside it are kept from the unchanged program."""
    changed = change(reference, name)
    whole = Oracle(applied(reference.program, changed)).logits
    assert np.array_equal(reference.logits([changed]), whole)
    folded = replace(applied(reference.program, changed), arithmetic=Arithmetic(batch_norm="folded"))
    assert np.array_equal(reference.oracle.run(folded), Oracle(folded).logits)


@pytest.mark.slow
def test_a_change_that_cannot_show_is_equivalent_with_its_reason(reference: Reference) -> None:
    found = diagnose_with(reference, foreign(reference, "epsilon:1e-3"), classifier_activation=None)
    assert found.explanation == ("epsilon:1e-3",)
    reasons = {cause.name: cause.detail for cause in found.equivalent}
    assert "zeros never win" in reasons["pool_padding:-inf"]


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_random_outputs_are_explained_by_nothing(activation: str | None, reference: Reference) -> None:
    """Though reduced precision is tried, which never comes down to rounding."""
    y = np.random.default_rng(0).normal(size=(1, 1000)).astype(np.float32)
    found = diagnose_with(reference, y, classifier_activation=activation, progress=stop_at("preprocess:"))
    assert (found.verdict, found.explanation) == ("none", ())


@pytest.mark.slow
def test_no_precision_explains_an_error_of_its_size(reference: Reference, synthetic: Weights) -> None:
    """Weights that are all a little off, by as much as bfloat16 rounds them: nothing of the list, though as large."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        off = {
            name: w * (1 + rng.uniform(-(2**-8), 2**-8, w.shape)).astype(np.float32) for name, w in synthetic.items()
        }
        y = refnet.predict(reference.program.x, Weights(off), classifier_activation=None)
        trials = Trials(y, reference, 600.0, lambda what, done, total: None)
        exact = [change for change in reference.changes if change.stage != "arithmetic"]
        assert STAGES["changes of many layers"](trials, exact, []) is None
        assert STAGES["reduced precision"](trials, exact, list(arithmetic_changes())) is None
        moved = trials.moved(next(trial for trial in trials.done if trial.changes[0].name == "precision:bfloat16"))
        assert 0.5 < trials.before / moved < 2


@drawn(st.integers(10, 2000), st.integers(0, 99))
def test_directions_at_random_are_seldom_taken_for_one_another(size: int, seed: int) -> None:
    """The threshold is five deviations of a cosine, 1 / sqrt(size), as near as fifty of them tell."""
    draws = np.random.default_rng(seed).standard_normal((54, size))
    least = least_cosine(list(draws[:4]), list(draws[4:]))
    assert least == 1 or 3 < least * np.sqrt(size) < 7
    assert least_cosine(list(draws[:4]), []) == 1


def test_statistics_of_the_batch_are_never_folded(reference: Reference) -> None:
    training = change(reference, "batch_norm:training")
    for precision in ("bfloat16", "float16", "tf32"):
        assert training.excludes(change(reference, f"precision:{precision}:folded"))
        assert change(reference, f"precision:{precision}:folded").excludes(training)
        assert not training.excludes(change(reference, f"precision:{precision}"))
    folded = replace(applied(reference.program, training), arithmetic=Arithmetic(batch_norm="folded"))
    plain = replace(folded, arithmetic=Arithmetic())
    assert np.array_equal(reference.oracle.run(folded), reference.oracle.run(plain))


def test_the_limit_is_that_of_the_other_verdicts(reference: Reference) -> None:
    """What the bands say of refnet's own logits; just above it outputs are not called rounding."""
    truth = reference.truth()
    limit = limit_of_rounding(reference.program.x, reference.weights, truth).rounding
    inside, outside = truth * (1 + limit * 0.9), truth * (1 + limit * 1.1)
    assert diagnose_with(reference, inside, classifier_activation=None).verdict == "rounding"
    found = diagnose_with(reference, outside, classifier_activation=None, progress=stop_at("preprocess:"))
    assert (found.verdict, found.threshold) == ("none", pytest.approx(limit, rel=1e-12, abs=0))


def test_one_output_that_is_far_off_is_no_rounding(reference: Reference) -> None:
    y = foreign(reference).copy()
    y[0, 7] += 5e-4
    found = diagnose_with(reference, y, classifier_activation=None, progress=stop_at("preprocess:"))
    assert found.before <= found.threshold and found.verdict == "none"


def softmax64(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_outputs_kept_in_a_narrow_format_are_named(name: str, reference: Reference) -> None:
    """As logits and, where that shows, as probabilities, many of which are too small for float16."""
    y = round_to(foreign(reference), FORMATS[name])
    found = diagnose_with(reference, y, classifier_activation=None)
    assert (found.verdict, found.explanation) == ("explained", (f"outputs:{name}",))
    p = round_to(softmax64(foreign(reference)), FORMATS[name])
    found = diagnose_with(reference, p)
    assert found.form == "softmax" and found.explanation in ((f"outputs:{name}",), ())
    assert found.verdict in ("explained", "rounding")


def test_float32_is_no_narrow_format_of_outputs(reference: Reference) -> None:
    """Though a changed program may round more than the unchanged one does."""
    trials = Trials(foreign(reference), reference, 600.0, lambda what, done, total: None)
    assert narrow_cause(trials, 2 * trials.rounding, ()) == ()


def test_a_fault_is_found_in_outputs_kept_in_float16(reference: Reference) -> None:
    y = foreign(reference, "epsilon:1e-3").astype(np.float16)
    found = diagnose_with(reference, y, classifier_activation=None)
    assert set(found.explanation) == {"epsilon:1e-3", "outputs:float16"}


def test_scaled_probabilities_are_named(reference: Reference) -> None:
    y = (softmax64(foreign(reference)) * 1.0009).astype(np.float32)
    found = diagnose_with(reference, y)
    assert (found.verdict, found.explanation) == ("explained", ("softmax:scaled",))
    assert "1.0009" in found.causes[0].detail


@pytest.mark.slow
def test_a_precision_is_found_before_single_layers_are_tried(reference: Reference) -> None:
    found = diagnose_with(reference, foreign(reference, "precision:bfloat16"), classifier_activation=None)
    assert found.explanation == ("precision:bfloat16",) and found.tried < 180


@pytest.mark.slow
def test_weights_in_a_format_and_another_change_are_not_taken_for_that_format(reference: Reference) -> None:
    """Though they go its way."""
    names = ("weights:bfloat16", "input:float16")
    found = diagnose_with(reference, foreign(reference, *names), classifier_activation=None)
    assert set(found.explanation) == set(names) and found.tried < 180


def test_the_search_stops_at_the_layer_that_explains(reference: Reference) -> None:
    name = "relu:missing:conv2_block1_1_relu"
    shown: list[str] = []
    trials = Trials(foreign(reference, name), reference, 600.0, lambda what, done, total: shown.append(what))
    found = STAGES["changes of single layers"](trials, list(reference.changes), [])
    assert found is not None and [c.name for c in found.changes] == [name]
    assert shown[-1] == name


def test_every_name_is_its_own(reference: Reference) -> None:
    names = [change.name for change in reference.changes]
    assert len(set(names)) == len(names) > 300


def test_nothing_of_the_list_is_answered_none(synthetic: Weights) -> None:
    """A fault that no change describes; the time is up before all pairs are tried."""
    x = refnet.load_image(refnet.bundled_image(), size=32)
    y = refnet.predict(x[:, ::-1], synthetic)
    found = diagnose(y, x, synthetic, budget=3)
    assert (found.verdict, found.causes[0].name, found.explanation, found.finished) == ("none", "none", (), False)
    assert any("image=" in line for line in found.not_tried)
    assert "not found in" in found.causes[0].detail and "all other pairs" in found.causes[0].detail
    assert "none of the changes" not in found.causes[0].detail


def test_ctrl_c_keeps_what_was_found(reference: Reference) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    y = foreign(reference, "preprocess:torch")
    found = diagnose_with(reference, y, classifier_activation=None, progress=stop)
    assert found.interrupted and found.explanation == ("preprocess:torch",)


# --- outputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [0, 1, 2])
@drawn(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.5, 10))
def test_the_form_of_outputs_is_found_and_undone(form: int, seed: int, scale: float) -> None:
    logits = np.random.default_rng(seed).standard_normal((2, 50)).astype(np.float32) * np.float32(scale)
    y = logits
    for _ in range(form):
        e = np.exp(y.astype(np.float64) - y.max(1, keepdims=True))
        y = (e / e.sum(1, keepdims=True)).astype(np.float32)
    assert form_of(y) == form
    assert np.abs(comparable(y, form) - given(logits, form)).max() < 1e-5


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (np.zeros((1, 999), np.float32), "shape"),
        (np.zeros((2, 1000), np.float32), "1 picture"),
        (np.full((1, 1000), np.nan, np.float32), "1000 of 1000 outputs"),
        (np.zeros((1, 1000), np.int64), "int64"),
    ],
)
def test_outputs_that_cannot_be_are_refused_in_one_line(outputs: np.ndarray, said: str, reference: Reference) -> None:
    with pytest.raises(InputError, match=said) as refused:
        diagnose_with(reference, outputs)
    assert "\n" not in str(refused.value)


def test_a_trace_of_another_network_is_refused(reference: Reference) -> None:
    with pytest.raises(InputError, match="none of them"):
        diagnose_with(reference, foreign(reference), trace={"block1": np.zeros((1, 2))})


TRACES = {
    "channels first": ({"conv1_relu": (1, 64, 32, 32)}, "conv1_relu.*channels are the last axis"),
    "flat": ({"conv1_relu": (1, 65536)}, "conv1_relu.*(1, 65536)"),
    "other pictures": ({"conv1_relu": (2, 32, 32, 64)}, "conv1_relu.*1 picture"),
    "other channels": ({"conv1_relu": (1, 32, 32, 63)}, "conv1_relu.*63"),
}


@pytest.mark.parametrize("name", TRACES)
def test_layers_that_cannot_be_are_refused_by_name(name: str, reference: Reference) -> None:
    shapes, said = TRACES[name]
    trace = {layer: np.zeros(shape, np.float32) for layer, shape in shapes.items()}
    with pytest.raises(InputError, match=said) as refused:
        diagnose_with(reference, foreign(reference), trace=trace)
    assert "\n" not in str(refused.value)


def test_a_trace_with_nan_is_refused_at_its_first_layer(reference: Reference) -> None:
    trace = {name: np.full((1, 32, 32, 64), np.nan, np.float32) for name in ("conv1_relu", "conv1_bn")}
    with pytest.raises(InputError, match="conv1_bn of the trace holds 65536 NaN"):
        diagnose_with(reference, foreign(reference), trace=trace)


@pytest.mark.parametrize("budget", [-1.0, float("nan")])
def test_a_budget_that_is_none_is_refused(budget: float, reference: Reference) -> None:
    with pytest.raises(InputError, match="budget"):
        diagnose_with(reference, foreign(reference), budget=budget)


# --- pictures ---------------------------------------------------------------------------------------------------------


@drawn(size=st.integers(2, 40), target=st.integers(1, 40), name=st.sampled_from(sorted(RESIZES)))
def test_a_resize_keeps_a_flat_picture_flat(size: int, target: int, name: str) -> None:
    flat = np.full((size, size, 3), 117, np.uint8)
    assert np.allclose(RESIZES[name](flat, target, target), 117, atol=1e-4)


@drawn(size=st.integers(1, 60), factor=st.integers(1, 7))
def test_area_is_the_mean_where_sizes_divide(size: int, factor: int) -> None:
    x = np.random.default_rng(size).uniform(0, 255, size * factor)
    assert np.allclose(Area().matrix(size * factor, size) @ x, x.reshape(size, factor).mean(1))


def test_pixels_are_found_again_from_preprocessed_values(synthetic: Weights) -> None:
    x = refnet.load_image(refnet.bundled_image(), size=32)
    pixels = refnet.load_image(refnet.bundled_image(), size=32, preprocess=None)
    assert np.array_equal(Reference(x, synthetic).program.source.pixels, pixels)


@drawn(length=st.integers(1, 50), window=st.integers(1, 7), step=st.integers(1, 3))
def test_same_padding_gives_a_window_for_each_step(length: int, window: int, step: int) -> None:
    (before, behind), _ = same_padding((length, length), (window, window), (step, step))
    padded = length + before + behind
    assert behind - before in (0, 1)
    assert padded < window or (padded - window) // step + 1 == -(-length // step)


def traced_with(reference: Reference, flipped: str | None, bit: int, order: str) -> refnet.Trace:
    """Every layer of a program that adds in that order, one bit of one weight of a layer's kernel being another."""
    tensors = dict(reference.program.tensors)
    if flipped is not None:
        kernel = tensors[f"{flipped}/kernel"].copy()
        kernel.reshape(-1).view(np.uint32)[np.argmax(np.abs(kernel))] ^= np.uint32(1 << bit)
        tensors[f"{flipped}/kernel"] = kernel
    return refnet.activations(reference.program.x, Weights(tensors), order=order)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "bit", "order"),
    [("conv4_block2_2_conv", 0, "sequential"), ("predictions", 8, "sequential"), ("conv4_block2_2_conv", 13, FOREIGN)],
)
def test_one_bit_of_a_weight_is_found_in_a_trace(layer: str, bit: int, order: str, reference: Reference) -> None:
    """Where the other channels replay, any bit; else one whose effect is far above rounding in its channel."""
    trace = traced_with(reference, layer, bit, order)
    found = diagnose_with(reference, np.array(trace["predictions"]), trace=trace, classifier_activation=None)
    assert found.first_layer == layer
    assert found.explanation == (f"weights:other:{layer}",)


def test_a_trace_in_another_order_is_rounding(reference: Reference) -> None:
    trace = traced_with(reference, None, 0, "permuted:9")
    found = diagnose_with(reference, np.array(trace["predictions"]), trace=trace, classifier_activation=None)
    assert (found.verdict, found.first_layer) == ("rounding", None)


@pytest.mark.parametrize("has_relu", [True, False])
def test_two_faults_are_found_that_only_together_explain_a_layer(has_relu: bool, reference: Reference) -> None:
    """A pool padded with -inf is nothing behind a ReLU, and the ReLU is missing; the trace may have its layer.

    Without padding the pool would read what this trace's padding reads; but the trace has a padding.
    """
    names = ("relu:missing:conv1_relu", "pool_padding:-inf")
    program = applied(reference.program, *(change(reference, name) for name in names))
    own, trace = engines(program, 1, {}), {}
    for node in program.graph.nodes:
        inputs = [trace[name] for name in node.inputs] or [program.x]
        with np.errstate(all="ignore"):
            trace[node.name] = evaluate(node, own[node.name], program.tensors, *inputs)
    if has_relu:
        trace["conv1_relu"] = trace["conv1_bn"]
    found = diagnose_with(reference, trace["predictions"], trace=trace, classifier_activation=None)
    assert set(found.explanation) == set(names)
    assert found.first_layer == ("conv1_relu" if has_relu else "pool1_pad")
