"""Probing in place: a known backend, refnet itself behind the pipes, is revealed; what goes wrong has a reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends_support import random_images, random_weights
from reveal_support import made_up

import refnet
from refnet import activations
from refnet.arithmetic import parse_order
from refnet.backends import VARIANTS
from refnet.backends.child import MISSING
from refnet.errors import InputError, VariantError
from refnet.graph import resnet
from refnet.reveal import (
    Found,
    NoTreeError,
    Profile,
    Session,
    SumFormats,
    checking,
    differences,
    layer_order,
    layer_parts,
    network,
    replay,
)
from refnet.reveal.layer_order import NOT_STORED, probe_layer
from refnet.reveal.norm_form import probe_norm
from refnet.reveal.profile import formats_of
from refnet.reveal.session import PRECISIONS
from refnet.reveal.sum_formats import FLOAT32
from refnet.weights import Weights

GRAPH = resnet(50, input_shape=(96, 96))

# In place of the backend: layers by refnet, in the arithmetic that HOW says; if asked, s is one ulp off, and the last
# channels and places (rows of a matrix product) are added in another order.
CODE = """
from refnet.arithmetic import stored
how = json.loads(HOW)
off = how.pop("scale_off", False)
last, tail = how.pop("last_channels", 0), how.pop("last_places", 0)
another = how.pop("otherwise", "reversed")
KEYS = {"precision": "precision", "accumulate": "accumulate", "order": "order", "fma": "fma", "bias": "bias_at"}

def layer(x, weights, node):
    y = computed(x, weights, node, Arithmetic(**how))
    if last or tail:
        other = computed(x, weights, node, Arithmetic(**{**how, "order": another}))
        channels, places = y.shape[-1] - last, y[0, ..., 0].size - tail
        y[..., channels:] = other[..., channels:]
        y.reshape(len(y), -1, y.shape[-1])[:, places:] = other.reshape(len(y), -1, y.shape[-1])[:, places:]
    return y.astype(np.float32)

def computed(x, weights, node, arithmetic):
    x = stored(x, arithmetic.storage)
    if node["operation"] == "mean_pool":
        return ops.mean_pool(x, arithmetic=arithmetic)
    if node["operation"] != "batch_norm":
        return direct(x, weights, node, **{key: getattr(arithmetic, name) for name, key in KEYS.items()})
    epsilon, one = node["settings"]["epsilon"], np.float32(1)
    scale = np.nextafter(weights[0] * (one / np.sqrt(weights[3] + np.float32(epsilon))), np.float32(9)) if off else None
    given = {} if scale is None else {"scale": scale}
    return ops.batch_norm(x, *weights, epsilon=epsilon, arithmetic=arithmetic, **given)
"""


@pytest.fixture
def backend(tmp_path: Path) -> Any:
    """backend(order=..., ...): a session whose layers are computed so, in a precision that Keras has a policy for."""

    def session(graph: Any = GRAPH, **how: Any) -> Session:
        policies = {precision: policy for policy, precision in PRECISIONS.items()}
        code = CODE.replace("HOW", repr(json.dumps(how)))
        return made_up(tmp_path, graph, code, dtype_policy=policies.get(how.get("precision"), "float32"))

    return session


@pytest.mark.parametrize(
    ("layer", "how"),
    [
        ("conv5_block1_1_conv", {"order": "blocks:512", "fma": True}),
        ("conv5_block1_1_conv", {"order": "lanes:8", "fma": False, "bias": "first"}),
        ("conv4_block1_2_conv", {"order": "reversed", "fma": True, "bias": "first"}),
        ("conv1_conv", {"order": "pairwise:4", "fma": False}),
        ("predictions", {"order": "blocks:736,736,576", "fma": True}),
        ("avg_pool", {"order": "blocks:4,4,1", "fma": False}),
        ("avg_pool", {"order": "lanes:2", "fma": False, "mean": "multiply"}),
    ],
)
def test_a_known_layer_is_revealed(backend: Any, layer: str, how: dict[str, Any]) -> None:
    with backend(**how) as session:
        found = probe_layer(session, GRAPH[layer])
    assert found.differing == 0 and found.outputs > 0
    assert {name: getattr(found, name) for name in how} | {"order": str(found.order)} == how


def test_where_outputs_differ() -> None:
    differ = np.zeros((2, 7, 7, 12), bool)
    differ[1, 6, 6, [3, 11]] = differ[0, 6, 6, 5] = True
    assert layer_order._where(differ) == "channels 3, 5, 11, at 1 of 49 places: (6, 6)"
    differ[0, 0] = True
    assert layer_order._where(differ) == "channels 0, 1, 2, 3 and 8 more, at 8 of 49 places"


@pytest.mark.slow
def test_channels_that_add_otherwise_have_their_own_order(backend: Any) -> None:
    """Many of them: so many sums are asked at once."""
    with backend(order="blocks:100,412,1536", last_channels=300) as session:
        found = probe_layer(session, GRAPH["predictions"])
    assert str(found.order) == "blocks:100,412,1536" and found.differing == 0
    assert [(part.where, str(part.order)) for part in found.parts] == [("channels 700..999", "reversed")]
    assert "; channels 700..999: reversed, fma, bias last; 0 of 1000" in str(found)


def test_channels_of_a_convolution_too(backend: Any) -> None:
    with backend(order="sequential", last_channels=100, otherwise="blocks:100") as session:
        found = probe_layer(session, GRAPH["conv5_block1_1_conv"])
    assert [(part.where, str(part.order)) for part in found.parts] == [("channels 412..511", "blocks:100")]
    assert found.differing == 0


def last_place(layer: str) -> int:
    """The last place of a layer's output."""
    height, width, _ = GRAPH[layer].shape
    return height * width - 1


@pytest.mark.parametrize(
    ("layer", "otherwise"),
    [
        ("conv5_block1_1_conv", "blocks:256"),
        pytest.param("conv5_block1_2_conv", "lanes:4", marks=pytest.mark.exhaustive),
        ("conv4_block1_2_conv", "blocks:100"),
    ],
)
@pytest.mark.slow
def test_places_that_add_otherwise_have_their_own_order(backend: Any, layer: str, otherwise: str) -> None:
    """Of a 1x1, and of a 3x3 whose window reaches over the edge there, so that some terms cannot be asked."""
    with backend(order="sequential", last_places=1, otherwise=otherwise) as session:
        found = probe_layer(session, GRAPH[layer])
    assert found.differing == 0 and str(found.order) == "sequential"
    assert [part.where for part in found.parts] == [f"places {last_place(layer)}"]
    if layer == "conv5_block1_1_conv":
        assert str(found.parts[0].order) == otherwise


@pytest.mark.exhaustive
def test_an_order_of_every_place_is_found_where_each_window_reaches_over_the_edge(backend: Any) -> None:
    small = resnet(50, input_shape=(64, 64))
    for size, graph in ((64, small), (32, resnet(50, input_shape=(32, 32)))):
        with backend(graph, order="blocks:512", fma=True) as session:
            found = probe_layer(session, graph["conv5_block1_2_conv"])
        assert found.differing == 0 and found.outputs == 512 * (size // 32) ** 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "how"),
    [
        (
            "conv5_block1_1_conv",
            {"precision": "bfloat16", "accumulate": "float32", "order": "lanes:8", "bias": "stored"},
        ),
        (
            "conv5_block1_1_conv",
            {"precision": "bfloat16", "accumulate": "float32", "order": "blocks:512", "bias": "last"},
        ),
        (
            "conv4_block1_2_conv",
            {"precision": "float16", "accumulate": "float32", "order": "reversed", "bias": "stored"},
        ),
        (
            "conv4_block1_1_conv",
            {"precision": "bfloat16-operands", "accumulate": "float32", "order": "lanes:16", "bias": "narrowed"},
        ),
        (
            "predictions",
            {"precision": "bfloat16-operands", "accumulate": "float32", "order": "blocks:64", "bias": "last"},
        ),
        ("conv2_block1_1_conv", {"precision": "float16", "accumulate": "float16", "order": "lanes:4", "fma": False}),
        ("predictions", {"precision": "float16", "accumulate": "float32", "order": "blocks:16", "bias": "first"}),
        ("avg_pool", {"precision": "bfloat16", "accumulate": "float32", "order": "blocks:24,24,1"}),
        ("avg_pool", {"precision": "float16", "accumulate": "float32", "order": "reversed", "mean": "multiply"}),
    ],
    ids=str,
)
def test_a_layer_in_narrow_formats_is_revealed(backend: Any, layer: str, how: dict[str, Any]) -> None:
    """The formats first, and where the output has fewer bits than the sums, the order all the same."""
    graph = resnet(50) if layer == "avg_pool" else GRAPH  # means of 49, whose forms differ more often than those of 9
    with backend(graph, **how) as session:
        found = probe_layer(session, graph[layer])
    assert found.differing == 0 and found.outputs > 0
    told = {"precision": found.formats.precision, "accumulate": found.formats.sums, "order": str(found.order)}
    assert {name: getattr(found, name) for name in how if name not in told} | told == how
    assert formats_of(told | {"bias": found.bias}) == found.formats


ROUNDED_IN_FRONT = """
def layer(x, weights, node):
    from refnet.arithmetic import FORMATS, stored
    return ops.mean_pool(stored(x, FORMATS["bfloat16"]), arithmetic=Arithmetic(order="reversed", fma=False))
"""


def test_a_mean_behind_a_convolution_that_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the convolution in front of it does is no part of the mean, whose profile holds when it is asked again."""
    monkeypatch.setattr(Session, "whole_graphs", True)
    node = GRAPH["avg_pool"]
    with made_up(tmp_path, GRAPH, ROUNDED_IN_FRONT) as session:
        found = probe_layer(session, node, behind=True)
        assert (found.formats, found.through, found.differing, found.reason) == (FLOAT32, "bfloat16", 0, "")
        assert str(found.order) == "reversed" and found.outputs == 2048
        profile = Profile("numpy", ("resnet50", "v1"), (96, 96), {}, {node.name: network._sum_entry(session, node)})
        assert checking._holds(session, node, profile)
        alone = probe_layer(session, node)
    assert (str(alone.formats), alone.reason) == ("operands bfloat16, sums float32, output float32", NOT_STORED)


@pytest.mark.slow
def test_the_whole_output_is_asked_with_sums_that_cancel(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an output of eight bits would hide that the order is another one: here the finder is made to give it."""
    other = Found(parse_order("reversed"), True, "stored", formats=SumFormats("bfloat16", "float32", "bfloat16"))
    monkeypatch.setattr(layer_parts, "find_tree", lambda box, seed: other)
    with backend(precision="bfloat16", order="sequential", bias="stored") as session:
        found = probe_layer(session, GRAPH["conv5_block1_1_conv"])
    assert found.differing > 0.9 * found.outputs / 2  # of the second half; the first shows next to nothing


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS.values())
@pytest.mark.parametrize("form", ["centred", "shifted", "shifted-fma"])
@pytest.mark.parametrize("off", [False, True], ids=["computed", "given"])
def test_the_form_of_a_batch_normalisation(backend: Any, precision: str, form: str, off: bool) -> None:
    """Its own factor is read off to the last bit of float32, through outputs of eight or eleven bits too."""
    with backend(precision=precision, batch_norm=form, scale_off=off) as session:
        found = probe_norm(session, GRAPH["conv5_block1_1_bn"])
    assert (found.batch_norm, found.scale, found.differing) == (form, "given" if off else "computed", 0)


@pytest.mark.parametrize("precision", PRECISIONS.values())
def test_a_fused_shift_is_told_from_a_rounded_one(backend: Any, precision: str) -> None:
    for shift in ("rounded", "fused"):
        with backend(precision=precision, batch_norm="shifted-fma", shift=shift) as session:
            found = probe_norm(session, GRAPH["conv5_block1_1_bn"])
        assert (found.shift, found.differing) == (shift, 0)


def test_constants_are_read_off_under_the_names_that_predict_takes(backend: Any) -> None:
    weights = random_weights()
    given = {"batch_norm": "shifted", "shift": "rounded", "scale": "given", "differing": 0}
    wanted = Profile("numpy", ("ResNet50", "v1"), (96, 96), {}, {"conv1_bn": given})
    with backend(weights.graph((96, 96)), batch_norm="shifted", scale_off=True) as session:
        (constants,) = network._with_constants(wanted, session, weights).constants.values()
    epsilon, one = np.float32(1.001e-5), np.float32(1)
    scale = weights["conv1_bn/gamma"] * (one / np.sqrt(weights["conv1_bn/moving_variance"] + epsilon))
    assert set(constants) == {"conv1_bn/scale"}
    assert (constants["conv1_bn/scale"] == np.nextafter(scale, np.float32(9))).all()


def test_a_layer_without_sums(backend: Any) -> None:
    with backend() as session, pytest.raises(InputError, match="conv1_relu"):
        probe_layer(session, GRAPH["conv1_relu"])


@pytest.mark.parametrize(
    ("code", "reason", "status"),
    [
        ("import sys; print('dear me', file=sys.stderr); sys.exit(3)", "dear me", "failed"),
        (f"import sys; print('{MISSING}no GPU', file=sys.stderr); sys.exit(1)", "^no GPU$", "missing"),
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9", "killed"),
        ("import time; time.sleep(60)", "no answer within 2 s", "timeout"),
        ("import os; os.write(1, b'{} ')", "ended", "failed"),
    ],
)
def test_a_child_that_fails_is_a_reason(tmp_path: Path, code: str, reason: str, status: str) -> None:
    child = tmp_path / "child.py"
    child.write_text(code, encoding="utf-8")
    variant = replace(VARIANTS["numpy"], modules=("numpy",))
    session = Session(variant, GRAPH, child=child, timeout=2)
    with session, pytest.raises(VariantError, match=reason) as raised:
        session.take("conv1_conv")
    assert raised.value.status == status


def test_a_missing_backend_says_how_to_get_it() -> None:
    variant = replace(VARIANTS["torch"], modules=("a_module_that_is_not_there",))
    with pytest.raises(VariantError, match="pip install"):
        Session(variant, GRAPH)


# ---- profiles and replay -------------------------------------------------------------------------------------------

HOW = {
    "order": {"conv5_block2_1_conv": "blocks:1280,768", "avg_pool": "sequential", "*": "sequential"},
    "batch_norm": "shifted",
    "mean": {"avg_pool": "multiply"},
}


@pytest.fixture(scope="module")
def profile() -> Profile:
    """Of a backend that does not exist: every layer has an order or a form, and constants."""
    weights = random_weights()
    graph = weights.graph((32, 32))
    layers: dict[str, dict[str, Any]] = {}
    for node in graph.nodes:
        if node.operation in ("conv2d", "dense", "mean_pool"):
            blocks = node.name == "conv5_block2_1_conv"
            layers[node.name] = {"order": "blocks:1280,768" if blocks else "sequential", "fma": True, "bias": "last"}
        if node.operation == "batch_norm":
            layers[node.name] = {"batch_norm": "shifted", "shift": "rounded", "scale": "given"}
    layers["avg_pool"]["mean"] = "multiply"
    epsilon = np.float32(1.001e-5)
    scale = {
        f"{layer}/scale": weights[f"{layer}/gamma"] / np.sqrt(weights[f"{layer}/moving_variance"] + epsilon)
        for layer, entry in layers.items()
        if "scale" in entry
    }
    return Profile("torch", ("ResNet50", "v1"), (32, 32), {"threads": 2}, layers, {weights.hash: scale})


def test_a_profile_comes_back_from_its_file(profile: Profile, tmp_path: Path) -> None:
    profile.save(tmp_path / "torch.profile.json")
    again = Profile.load(tmp_path / "torch.profile.json")
    assert again.to_json() == profile.to_json()
    for layer, numbers in next(iter(profile.constants.values())).items():
        kept = next(iter(again.constants.values()))[layer]
        assert kept.dtype == np.float32 and kept.tobytes() == numbers.tobytes()


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1}', '{"schema": 1, "kind": "refnet profile", "variant": "x"}'])
def test_a_file_that_is_no_profile(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(InputError):
        Profile.load(tmp_path / "p.json")


@pytest.mark.slow
def test_replay_is_the_forward_pass_of_the_profile(profile: Profile) -> None:
    """By the definition too, and whether each layer is returned or the kernels fuse them."""
    weights, x = random_weights(), random_images(1)
    trace = replay("torch", x, weights, profile=profile, threads=2)
    spec = replay("torch", x, weights, profile=profile, threads=1, engine="spec")
    assert not any(d.bits or d.zeros for d in differences(trace, spec))
    how: dict[str, Any] = {**profile.settings(), "constants": profile.constants[weights.hash]}
    fused = refnet.predict(x, weights, **how, classifier_activation=None)
    assert fused.tobytes() == trace["predictions"].tobytes()
    plain = activations(x, weights)
    assert any(d.bits for d in differences(trace, plain))


def test_a_narrow_precision_is_replayed(profile: Profile) -> None:
    """As mixed policies compute: everything but the picture is stored so, and biases are added to stored sums."""
    weights, x = random_weights(), random_images(1)
    graph = weights.graph((32, 32))
    stored = {node.name: {"precision": "bfloat16"} for node in graph.nodes if node.operation != "input"}
    adds = {name for name, entry in profile.layers.items() if "order" in entry}
    own = {name: {"bias": "stored", "accumulate": "float32"} if name in adds else {} for name in stored}
    layers = {name: {**stored[name], **profile.layers.get(name, {}), **own[name]} for name in stored}
    trace = replay("torch", x, weights, profile=replace(profile, layers=layers))
    how: dict[str, Any] = {**HOW, "constants": profile.constants[weights.hash], "bias": "stored"}
    expected = activations(x, weights, precision={graph.names[0]: "float32", "*": "bfloat16"}, **how)
    assert not any(d.bits or d.zeros for d in differences(trace, expected))
    last = activations(x, weights, precision={graph.names[0]: "float32", "*": "bfloat16"}, **{**how, "bias": "last"})
    assert any(d.bits for d in differences(trace, last))


@pytest.mark.slow
def test_parts_are_replayed_in_their_own_order(profile: Profile, tmp_path: Path) -> None:
    """Columns and rows of forward passes, each in one order; by the definition too, and where kernels fuse layers."""
    blocks, reversed_ = {"order": "blocks:8", "fma": True, "bias": "last"}, {"order": "reversed", "fma": False}
    dense = [{**blocks, "channels": "1..2"}, {**reversed_, "bias": "first", "channels": "9"}]
    conv = [{**blocks, "places": "4..7"}, {**reversed_, "bias": "last", "channels": "0..9", "places": "3"}]
    layers = {name: dict(entry) for name, entry in profile.layers.items()}
    layers["predictions"]["parts"], layers["conv4_block1_3_conv"]["parts"] = dense, conv[1:]
    layers["conv2_block1_1_conv"]["parts"] = conv
    replace(profile, layers=layers).save(tmp_path / "p.json")
    weights, x = random_weights(), random_images(2)
    trace, spec = (
        replay("torch", x, weights, profile=tmp_path / "p.json", engine=each) for each in ("kernels", "spec")
    )
    assert not any(d.bits or d.zeros for d in differences(trace, spec))
    how: dict[str, Any] = {**replace(profile, layers=layers).settings(), "constants": profile.constants[weights.hash]}
    fused = refnet.predict(x, weights, **how, classifier_activation=None)
    assert fused.tobytes() == trace["predictions"].tobytes()
    own = {"constants": profile.constants[weights.hash], **profile.settings()}
    plain = activations(x, weights, **own)
    other = activations(x, weights, **{**own, "order": {**own["order"], "conv2_block1_1_conv": "blocks:8"}})
    first, wanted = "conv2_block1_1_conv", plain["conv2_block1_1_conv"].reshape(2, 64, 64).copy()
    wanted[:, 4:8] = other[first].reshape(2, 64, 64)[:, 4:8]
    back = {**own, "order": {**own["order"], first: "reversed"}, "fma": {**own["fma"], first: False}}
    wanted[:, 3, :10] = activations(x, weights, **back)[first].reshape(2, 64, 64)[:, 3, :10]
    assert trace[first].tobytes() == wanted.tobytes() != plain[first].tobytes()


def test_a_profile_is_for_one_variant_size_and_weights(profile: Profile) -> None:
    x = random_images(1)
    for variant, pictures, weights, words in (
        ("jax", x, random_weights(), "jax"),
        ("torch", np.zeros((1, 64, 64, 3), np.float32), random_weights(), "64"),
        ("torch", x, random_weights(seed=1), "weights"),
    ):
        with pytest.raises(InputError, match=words):
            replay(variant, pictures, weights, profile=profile)


def test_differences_count_bits_and_signs_of_zero() -> None:
    ours = {"a": np.array([[1, 0, np.nan, -0.0]], np.float32)}
    theirs = {"a": np.array([[2, -0.0, np.nan, -0.0]], np.float32)}
    (found,) = differences(ours, theirs)
    assert (found.bits, found.zeros, found.numbers) == (1, 1, 4)
    with pytest.raises(InputError, match="missing"):
        differences(ours, {})


def test_the_whole_network_of_a_known_backend(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers of the same shapes are probed once; every layer has its entry."""
    seen: list[str] = []

    def probed(session: Session, node: Any) -> Any:
        seen.append(node.name)
        raise NoTreeError("not today")

    monkeypatch.setattr(network, "_sum_entry", lambda session, node: seen.append(node.name) or {"reason": "not today"})
    monkeypatch.setattr(network, "_norm_entry", lambda session, node: seen.append(node.name) or {"differing": 0})
    with backend() as session:
        found = network._probed(session, GRAPH, lambda layer, place, count: None)
    assert len(found) == 53 + 53 + 2 and len(seen) < 60 and len(set(seen)) == len(seen)
    with backend(precision="float16") as session:
        found = network._probed(session, GRAPH, lambda layer, place, count: None)
    assert {name for name, entry in found.items() if entry["precision"] == "float16"} == set(GRAPH.names[1:])


@pytest.mark.slow
def test_fused_sums_in_place_are_held_against_the_definition(backend: Any) -> None:
    """Two dot-product instructions, each rounded once: no kernel has them."""
    with backend(order="tree:{0..31}+{32..63}", fma=False) as session:
        found = probe_layer(session, GRAPH["conv2_block1_1_conv"])
    assert (str(found.order), found.differing, found.outputs) == ("tree:{0..31}+{32..63}", 0, 24 * 24 * 64)


def test_subnormal_outputs_are_no_order_that_depends_on_the_numbers(backend: Any) -> None:
    """In float16 some means of 36 numbers lie below the normal numbers, where 16 times one rounds otherwise."""
    graph = resnet(50, input_shape=(192, 192))
    with backend(graph, precision="float16", accumulate="float32", order="sequential") as session:
        found = probe_layer(session, graph["avg_pool"])
    assert found.order is not None and found.differing == 0


def test_a_network_without_top_has_no_softmax(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = random_weights()
    weights = Weights({name: tensor for name, tensor in whole.items() if not name.startswith("predictions")})
    graph = weights.graph((96, 96))
    monkeypatch.setattr(network, "Session", lambda *given, **how: backend(graph))
    monkeypatch.setattr(network, "_probed", lambda session, graph, told: {"conv1_conv": {"differing": 0}})
    monkeypatch.setattr(network, "_with_plain", lambda session, graph, layers: {})
    assert network.reveal("numpy", weights=weights, size=(96, 96)).layers == {"conv1_conv": {"differing": 0}}
