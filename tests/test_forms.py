"""The forms that backends need: given constants, sums without a bias, other means and ReLUs; definition = kernels."""

from __future__ import annotations

from typing import Any

import judge
import numpy as np
import pytest
from test_forward import same

import refnet
from refnet.arithmetic import BATCH_NORM_FORMS, CONSTANTS, RELUS, Arithmetic
from refnet.errors import InputError
from refnet.forward.constants import checked_constants
from refnet.forward.engine import SpecEngine
from refnet.forward.fusion import Step, steps_of
from refnet.forward.kernel_engine import KernelEngine
from refnet.forward.walk import evaluate
from refnet.graph import BATCH_NORM_EPSILON, Node
from refnet.provenance import sha256_of_arrays
from refnet.weights import Weights

LOGITS: dict[str, Any] = {"classifier_activation": None}
SIZE = 32


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return refnet.load_image(refnet.bundled_image(), size=SIZE)


@pytest.fixture(scope="module")
def norms(synthetic: Weights) -> list[Node]:
    return [node for node in synthetic.graph((SIZE, SIZE)).nodes if node.operation == "batch_norm"]


def constants_of(weights: Weights, norms: list[Node], names: tuple[str, ...], *, off: float = 0.0) -> dict[str, Any]:
    """In float32 by plain NumPy, each number off by a relative error up to `off`, as an approximate root has it."""
    made, rng = {}, np.random.default_rng(0)
    for norm in norms:
        gamma, beta, mean, variance = (weights[f"{norm.name}/{key}"] for key in norm.weights)
        inverse = np.float32(1) / np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))
        s = gamma * inverse
        values = dict(zip(CONSTANTS, (inverse, s, beta - mean * s), strict=True))
        for name in names:
            error = rng.uniform(-off, off, norm.shape[-1]).astype(np.float32)
            made[f"{norm.name}/{name}"] = values[name] * (1 + error)
    return made


# ---- the kernels have the bits of the definition ---------------------------------------------------------------------

GIVEN: dict[str, tuple[str, tuple[str, ...]]] = {  # what is given -> to which form
    "inverse, centred": ("centred", ("inverse",)),
    "scale and shift, shifted-fma": ("shifted-fma", ("scale", "shift")),
    "scale and shift, folded": ("folded", ("scale", "shift")),
    "inverse and shift, sum-shifted-fma": ("sum-shifted-fma", ("inverse", "shift")),
}
SHIFTED: dict[str, Any] = {"batch_norm": "shifted"}
FORMATS = ("float32", "float64", "bfloat16")


def check_runs(how: dict[str, Any], weights: Weights, x: np.ndarray) -> np.ndarray:
    """predict joins layers, activations computes each alone, the definition is NumPy: one result, whatever threads."""
    y = refnet.predict(x, weights, **LOGITS, **how)
    assert same(y, refnet.predict(x, weights, threads=1, **LOGITS, **how))
    assert same(y, refnet.activations(x, weights, threads=2, **how)["predictions"])
    assert same(y, refnet.predict(x, weights, engine="spec", **LOGITS, **how))
    assert not same(y, refnet.predict(x, weights, precision=how.get("precision", "float32"), **LOGITS))
    return y


@pytest.mark.exhaustive
@pytest.mark.parametrize("precision", FORMATS)
@pytest.mark.parametrize(("form", "names"), GIVEN.values(), ids=GIVEN)
def test_given_constants_have_the_same_bits_in_kernels_and_definition(
    form: str, names: tuple[str, ...], precision: str, synthetic: Weights, norms: list[Node], picture: np.ndarray
) -> None:
    given = constants_of(synthetic, norms, names, off=1e-3)
    check_runs({"batch_norm": form, "constants": given, "precision": precision}, synthetic, picture)


@pytest.mark.exhaustive
@pytest.mark.parametrize("form", ["sum-shifted", "sum-shifted-fma"])
def test_sums_without_a_bias_have_the_same_bits_in_kernels_and_definition(
    form: str, synthetic: Weights, norms: list[Node], picture: np.ndarray
) -> None:
    given = constants_of(synthetic, norms[:9], ("inverse",), off=1e-3)
    how = {"mean": "multiply", "relu": "signed-zero", "constants": given}
    check_runs({"batch_norm": form, **how}, synthetic, picture)


@pytest.mark.slow
def test_shifts_that_come_last(synthetic: Weights, picture: np.ndarray) -> None:
    """Additions by plain NumPy from the layers that they are computed from; each layer shows its own output."""
    how: dict[str, Any] = {"batch_norm": "shifted", "addition": "shifts-last"}
    trace, own = refnet.activations(picture, synthetic, **how), refnet.activations(picture, synthetic, **SHIFTED)
    assert same(check_runs(how, synthetic, picture), trace["predictions"])
    assert same(trace["conv2_block1_3_bn"], own["conv2_block1_3_bn"])

    def parts(norm: str) -> tuple[np.ndarray, np.ndarray]:
        keys = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = (synthetic[f"{norm}/{key}"] for key in keys)
        s = gamma * (np.float32(1) / np.sqrt(variance + np.float32(BATCH_NORM_EPSILON)))
        return trace[norm.replace("_bn", "_conv")] * s, beta - mean * s

    (a, t), (b, u) = parts("conv2_block1_0_bn"), parts("conv2_block1_3_bn")
    assert same(trace["conv2_block1_add"], (a + b) + (t + u)) and not same(trace["conv2_block1_add"], (a + t) + (b + u))
    c, v = parts("conv2_block2_3_bn")
    shortcut = trace["conv2_block1_out"]
    assert same(trace["conv2_block2_add"], (shortcut + c) + v)
    assert not same(trace["conv2_block2_add"], shortcut + (c + v))


# ---- one step of the network, number by number -----------------------------------------------------------------------

PRECISIONS = (*FORMATS, "float16", "tf32", "double-double")


@pytest.fixture(scope="module")
def step(synthetic: Weights) -> Step:
    """The first convolution with its padding, its batch normalisation and its ReLU."""
    steps = steps_of(synthetic.graph((SIZE, SIZE)), frozenset(), frozenset())
    return next(step for step in steps if step.node("conv2d"))


@pytest.fixture(scope="module")
def with_zeros(synthetic: Weights) -> Weights:
    """Channel 5 is scaled by zero, which leaves nothing of its numbers but the sign."""
    changed = {key: synthetic[f"conv1_bn/{key}"].copy() for key in ("gamma", "beta", "moving_mean")}
    changed["gamma"][5], changed["beta"][5], changed["moving_mean"][5] = 0, -0.0, 1
    return Weights({**synthetic, **{f"conv1_bn/{key}": vector for key, vector in changed.items()}})


def one_by_one(step: Step, engine: SpecEngine, weights: Weights, x: Any) -> Any:
    """The layers of a step, each computed alone; a joined batch normalisation with its convolution."""
    pad, convolution, norm, relu = step.nodes
    y = evaluate(pad, engine, weights, x)
    if engine.arithmetic.norm.joined:
        y = engine.fused(
            Step((convolution, norm), ()), dict.fromkeys((convolution.name, norm.name), engine.arithmetic), weights, y
        )
    else:
        y = evaluate(norm, engine, weights, evaluate(convolution, engine, weights, y))
    return evaluate(relu, engine, weights, y)


def planes(x: Any) -> list[np.ndarray]:
    return list(x) if isinstance(x, tuple) else [x]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("form", BATCH_NORM_FORMS)
@pytest.mark.parametrize("relu", RELUS)
def test_a_fused_step_is_its_layers_one_after_another(
    precision: str, form: str, relu: str, step: Step, with_zeros: Weights, picture: np.ndarray
) -> None:
    if precision == "double-double" and form.endswith("fma"):
        with pytest.raises(InputError, match="double-double"):
            Arithmetic(precision, batch_norm=form)
        return
    arithmetic = Arithmetic(precision, batch_norm=form, relu=relu)
    spec, fast = SpecEngine(arithmetic), KernelEngine(arithmetic, step.main.name, threads=2)
    x = spec.storage(picture)
    planned = {node.name: arithmetic for node in step.nodes}
    fused = fast.fused(step, planned, with_zeros, x)
    ours, expected = planes(fused), planes(one_by_one(step, spec, with_zeros, x))
    assert [plane.tobytes() for plane in ours] == [plane.tobytes() for plane in expected]
    keeps = relu == "signed-zero" and form != "folded" and precision != "double-double"  # these two add a +0 before
    assert (np.signbit(ours[0]) & (ours[0] == 0)).any() == keeps


OWN_FORMS: dict[str, dict[str, Any]] = {
    "forms by block": {"batch_norm": {"conv2_*": "shifted", "conv3_*_bn": "shifted-fma"}, "shift": {"*_bn": "fused"}},
    "a ReLU": {"relu": {"conv1_relu": "signed-zero", "conv4_*": "signed-zero"}},
    "shifts last in some blocks": {"batch_norm": {"*_bn": "shifted"}, "addition": {"conv[23]*_add": "shifts-last"}},
    "a folded block": {"batch_norm": {"conv2_block1_*": "folded", "conv3_*_bn": "shifted"}},
}


def steps_and_result(weights: Weights, x: np.ndarray, **how: Any) -> tuple[list[str], np.ndarray]:
    """The last layer of each step of predict, and its result."""
    ends: list[str] = []
    y = refnet.predict(x, weights, progress=lambda node: ends.append(node.name), **LOGITS, **how)
    return ends, y


@pytest.mark.parametrize("how", OWN_FORMS.values(), ids=OWN_FORMS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_layers_of_a_step_keep_forms_of_their_own(
    how: dict[str, Any], precision: str, with_zeros: Weights, picture: np.ndarray
) -> None:
    """As many steps as where all layers are alike, and the bits of the layers one by one."""
    ends, y = steps_and_result(with_zeros, picture, precision=precision, **how)
    alike, other = steps_and_result(with_zeros, picture, precision=precision)
    assert len(ends) == len(alike) < 60
    assert same(y, refnet.activations(picture, with_zeros, precision=precision, **how)["predictions"])
    assert same(y, other) == ("relu" in how)  # the next convolution adds +0 to a -0


@pytest.mark.parametrize("how", OWN_FORMS.values(), ids=OWN_FORMS)
def test_layers_of_a_step_keep_forms_of_their_own_behind_exact_sums(
    how: dict[str, Any], with_zeros: Weights, picture: np.ndarray
) -> None:
    y = refnet.predict(picture, with_zeros, order="exact", **LOGITS, **how)
    assert same(y, refnet.activations(picture, with_zeros, order="exact", **how)["predictions"])


@pytest.mark.parametrize("precision", ["float16", "double-double"])
def test_shifts_last_in_pairs_and_in_narrow_sums(precision: str, with_zeros: Weights, picture: np.ndarray) -> None:
    how: dict[str, Any] = {"precision": precision, **OWN_FORMS["shifts last in some blocks"]}
    how |= {"accumulate": "float16"} if precision == "float16" else {}
    y = refnet.predict(picture, with_zeros, **LOGITS, **how)
    expected = refnet.activations(picture, with_zeros, **how)["predictions"]  # each layer alone, its addition by ops
    assert all(one.tobytes() == other.tobytes() for one, other in zip(planes(y), planes(expected), strict=True))


def test_a_layer_without_a_kernel_keeps_the_others_in_their_steps(synthetic: Weights, picture: np.ndarray) -> None:
    """A fused sum runs by the definition: its convolution is a step of its own, and all others stay as they are."""
    order = {"conv5_block1_1_conv": "tree:{0..1023}"}
    ends, y = steps_and_result(synthetic, picture, order=order)
    alike, _ = steps_and_result(synthetic, picture)
    assert set(ends) - set(alike) == {"conv5_block1_1_conv", "conv5_block1_1_bn"} and set(alike) <= set(ends)
    assert same(y, refnet.activations(picture, synthetic, order=order)["predictions"])


def sum_of(weights: Weights, x: np.ndarray, channel: int, place: tuple[int, int]) -> judge.Number:
    """conv1_conv without its bias, at one place, by the judge."""
    padded = np.pad(x[0], ((3, 3), (3, 3), (0, 0)))
    i, j = 2 * place[0], 2 * place[1]
    terms, kernel = padded[i : i + 7, j : j + 7].ravel(), weights["conv1_conv/kernel"][..., channel].ravel()
    return judge.dot(terms, kernel, format="float32")


@pytest.mark.parametrize("form", ["sum-shifted", "sum-shifted-fma", "folded"])
@pytest.mark.parametrize("names", [(), ("inverse",), ("scale",), ("shift",), ("scale", "shift")], ids=str)
def test_joined_forms_of_the_network_are_those_of_the_judge(
    form: str, names: tuple[str, ...], synthetic: Weights, norms: list[Node], picture: np.ndarray
) -> None:
    given = constants_of(synthetic, norms[:1], names, off=1e-2)
    how: Any = {"batch_norm": {"conv1_*": form}, "constants": given}
    layer = refnet.activations(picture, synthetic, **how)["conv1_bn"]
    for channel, place in [(0, (0, 0)), (7, (3, 9)), (63, (15, 15)), (31, (8, 2))]:
        own = [synthetic[f"conv1_bn/{key}"][channel] for key in norms[0].weights]
        bias = synthetic["conv1_conv/bias"][channel]
        numbers: dict[str, Any] = {name: given[f"conv1_bn/{name}"][channel] for name in names}
        judged: dict[str, Any] = {"epsilon": BATCH_NORM_EPSILON, "format": "float32", **numbers}
        if form == "folded":
            kernel = synthetic["conv1_conv/kernel"][..., channel].ravel()
            scaled, offset = judge.folded(kernel, bias, *own, **judged)
            i, j = 2 * place[0], 2 * place[1]
            terms = np.pad(picture[0], ((3, 3), (3, 3), (0, 0)))[i : i + 7, j : j + 7].ravel()
            floats = [judge.to_float(number) for number in scaled]
            expected = judge.dot(terms, floats, format="float32", bias=judge.to_float(offset))
        else:
            x = judge.to_float(sum_of(synthetic, picture, channel, place))
            expected = judge.batch_norm(x, *own, form=form, bias=bias, **judged)
        assert layer[0, *place, channel] == judge.to_float(expected)


# ---- what constants mean ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "names"),
    [("centred", ("inverse",)), ("centred", ("scale",)), ("shifted", ("scale", "shift")), ("shifted-fma", ("shift",))],
)
def test_constants_that_are_the_computed_ones_change_no_bit(
    form: str, names: tuple[str, ...], synthetic: Weights, norms: list[Node], picture: np.ndarray
) -> None:
    given = constants_of(synthetic, norms, names)
    y = refnet.predict(picture, synthetic, batch_norm=form, constants=given, **LOGITS)
    assert same(y, refnet.predict(picture, synthetic, batch_norm=form, **LOGITS))


@pytest.mark.parametrize("form", ["shifted-fma", "folded"])
def test_what_is_kept_for_some_constants_is_not_used_for_others(
    form: str, synthetic: Weights, norms: list[Node], picture: np.ndarray
) -> None:
    sets = [None, constants_of(synthetic, norms, ("scale",), off=1e-3), constants_of(synthetic, norms[:1], ("shift",))]
    sets[2] = {name: vector + 1 for name, vector in sets[2].items()}
    fresh = [refnet.predict(picture, Weights(synthetic), batch_norm=form, constants=s, **LOGITS) for s in sets]
    assert not same(fresh[0], fresh[1]) and not same(fresh[0], fresh[2])
    for one in (0, 1, 2, 1, 0):
        assert same(refnet.predict(picture, synthetic, batch_norm=form, constants=sets[one], **LOGITS), fresh[one])
    layers = refnet.activations(picture, synthetic, batch_norm=form, constants=sets[1])  # each computed alone
    assert same(layers["predictions"], fresh[1])


def test_constants_are_copied_and_named_in_the_provenance(
    synthetic: Weights, norms: list[Node], picture: np.ndarray
) -> None:
    given = constants_of(synthetic, norms[:2], ("scale",))
    trace = refnet.activations(picture, synthetic, batch_norm="shifted", constants=given)
    assert trace.provenance["constants"] == sha256_of_arrays(given)
    assert trace.provenance["arithmetic"]["mean"] == "divide" and trace.provenance["arithmetic"]["relu"] == "positive"
    assert refnet.activations(picture, synthetic).provenance["constants"] is None
    planned = dict.fromkeys(synthetic.graph((SIZE, SIZE)).names, Arithmetic(batch_norm="shifted"))
    held = checked_constants(given, synthetic.graph((SIZE, SIZE)), planned)
    given["conv1_bn/scale"][:] = 0
    assert held.of("conv1_bn")["scale"].any() and not held.of("conv5_block3_3_bn")


CHANNELS = np.ones(64, np.float32)


@pytest.mark.parametrize(
    ("constants", "how", "message"),
    [
        ({"conv9_bn/scale": CHANNELS}, {}, "constant 'conv9_bn/scale'; expected .*inverse, scale, shift"),
        ({"conv1_conv/scale": CHANNELS}, {}, "constant 'conv1_conv/scale'"),
        ({"conv1_bn/gamma": CHANNELS}, {}, "constant 'conv1_bn/gamma'"),
        ({"conv1_bn": CHANNELS}, {}, "constant 'conv1_bn'"),
        ({5: CHANNELS}, {}, "constant 5"),
        ({"conv1_bn/scale": CHANNELS[:63]}, {}, r"conv1_bn/scale of shape \(63,\).*expected floats of shape \(64,\)"),
        ({"conv1_bn/scale": 1.0}, {}, r"of shape \(\)"),
        ({"conv1_bn/scale": [1] * 64}, {}, "dtype int"),
        ({"conv1_bn/scale": CHANNELS * np.nan}, {}, "NaN or infinity; expected finite"),
        ({"conv1_bn/shift": CHANNELS}, {}, "conv1_bn/shift with batch_norm='centred'; expected one of inverse, scale"),
        ({"conv1_bn/scale": CHANNELS, "conv1_bn/inverse": CHANNELS}, {}, "inverse and conv1_bn/scale; expected one"),
        ({"conv1_bn/scale": CHANNELS}, {"precision": "mp50"}, "constants with precision='mp50'; leave them out"),
        (["conv1_bn/scale"], {}, "constants .*list; expected a mapping"),
        (None, {"precision": "mp50", "mean": "multiply"}, "precision='mp50' with mean='multiply'"),
        (None, {"batch_norm": {"conv1_bn": "sum-shifted"}}, "conv1_bn is joined with conv1_conv, which computes oth"),
        (None, {"addition": "shifts-last"}, "conv2_block1_add.*batch_norm=centred, centred; expected .* form shifted"),
        (None, {"addition": "last"}, "addition='last'; expected one of outputs, shifts-last"),
        (None, {"mean": "half"}, "mean='half'; expected one of divide, multiply"),
        (None, {"relu": "leaky"}, "relu='leaky'; expected one of positive, signed-zero"),
    ],
)
def test_bad_constants_and_forms_are_one_error(
    constants: Any, how: dict[str, Any], message: str, synthetic: Weights, picture: np.ndarray
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        refnet.predict(picture, synthetic, constants=constants, **how)
    assert "\n" not in str(caught.value)


# ---- the mean --------------------------------------------------------------------------------------------------------


def test_the_mean_by_a_product_is_that_of_the_judge(synthetic: Weights) -> None:
    """Three by three pixels: fl(1 / 9) is not exact."""
    x = refnet.load_image(refnet.bundled_image(), size=96)
    trace = refnet.activations(x, synthetic, mean="multiply")
    pixels, means = trace["conv5_block3_out"].reshape(9, -1), trace["avg_pool"][0]
    for channel in range(0, 2048, 64):
        expected = judge.mean(pixels[:, channel], format="float32", by_reciprocal=True)
        assert means[channel] == judge.to_float(expected)
    assert not same(means, refnet.activations(x, synthetic)["avg_pool"][0])
