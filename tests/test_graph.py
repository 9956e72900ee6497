"""The graph is keras.applications' ResNet, layer by layer; Keras itself, in a child process, says what that is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from refnet.errors import InputError
from refnet.graph import BATCH_NORM_EPSILON, DEPTHS, VARIANTS, Graph, Node, resnet

MODELS: dict[str, dict[str, Any]] = {  # the options of refnet.graph.resnet
    "ResNet50": {"depth": 50},
    "ResNet101": {"depth": 101},
    "ResNet152": {"depth": 152},
    "no top": {"depth": 50, "include_top": False},
    "32": {"depth": 50, "input_shape": (32, 32)},
    "64": {"depth": 50, "input_shape": (64, 64), "include_top": False},
    "97": {"depth": 50, "input_shape": (97, 97), "classes": 7},
    "not square": {"depth": 50, "input_shape": (97, 64), "classes": 1},
}
PARAMETERS = {50: 25_636_712, 101: 44_707_176, 152: 60_419_944}  # as Keras's documentation and the issue have them
OPERATIONS = {
    "InputLayer": "input",
    "ZeroPadding2D": "pad",
    "Conv2D": "conv2d",
    "BatchNormalization": "batch_norm",
    "Activation": "relu",
    "MaxPooling2D": "max_pool",
    "Add": "add",
    "GlobalAveragePooling2D": "mean_pool",
    "Dense": "dense",
}
CHILD = """
import json, sys
import keras
import keras.applications

def layer(x):
    config = x.get_config()
    settings = {k: config[k] for k in ("strides", "padding", "pool_size", "epsilon", "activation") if k in config}
    return {
        "name": x.name, "class": type(x).__name__, "shape": list(x.output.shape[1:]), "settings": settings,
        "inputs": [t._keras_history.operation.name for node in x._inbound_nodes for t in node.input_tensors],
        "weights": {v.path: list(v.shape) for v in x.weights},
    }

answers = {}
for name, options in json.loads(sys.argv[1]).items():
    keras.backend.clear_session()
    build = getattr(keras.applications, f"ResNet{options.pop('depth')}")
    shape = (*options.pop("input_shape", (224, 224)), 3)
    model = build(weights=None, input_shape=shape, **options)
    answers[name] = {"layers": [layer(x) for x in model.layers], "parameters": model.count_params()}
json.dump(answers, open(sys.argv[2], "w"))
"""


@pytest.fixture(scope="session")
def keras_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    answer = tmp_path_factory.mktemp("graph") / "answer.json"
    environment = os.environ | {"KERAS_BACKEND": "numpy"}
    command = [sys.executable, "-c", CHILD, json.dumps(MODELS), str(answer)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if "No module named 'keras'" in run.stderr:
        pytest.skip("Keras is not installed")
    assert run.returncode == 0, run.stderr
    return json.loads(answer.read_text())


@pytest.fixture(params=MODELS)
def pair(request: pytest.FixtureRequest, keras_models: dict[str, Any]) -> tuple[Graph, dict[str, Any]]:
    return resnet(**MODELS[request.param]), keras_models[request.param]


@pytest.mark.slow
def test_layers_have_kerass_names_order_shapes_and_inputs(pair: tuple[Graph, dict[str, Any]]) -> None:
    graph, keras = pair
    ours = [(n.name, n.operation, list(n.shape), list(n.inputs)) for n in graph.nodes]
    theirs = [(layer["name"], OPERATIONS[layer["class"]], layer["shape"], layer["inputs"]) for layer in keras["layers"]]
    assert ours == theirs


@pytest.mark.slow
def test_weights_have_kerass_names_order_and_shapes(pair: tuple[Graph, dict[str, Any]]) -> None:
    graph, keras = pair
    theirs = [(name, tuple(shape)) for layer in keras["layers"] for name, shape in layer["weights"].items()]
    assert list(graph.weights.items()) == theirs
    assert graph.parameters == keras["parameters"]


def _expected_settings(layer: dict[str, Any], node: Node, input_shape: tuple[int, ...]) -> dict[str, Any]:
    """What Keras's configuration says, in the graph's words."""
    keras = layer["settings"]
    if node.operation == "conv2d":
        size = node.weights["kernel"][0]
        pad = (size - 1) // 2 if keras["padding"] == "same" else 0
        assert keras["padding"] == "valid" or keras["strides"] == [1, 1]  # else `same` is not symmetric
        return {"strides": tuple(keras["strides"]), "padding": ((pad, pad), (pad, pad))}
    if node.operation == "pad":
        return {"padding": tuple(tuple(side) for side in keras["padding"])}
    if node.operation == "max_pool":
        assert keras["padding"] == "valid"
        return {"size": tuple(keras["pool_size"]), "strides": tuple(keras["strides"])}
    if node.operation == "batch_norm":
        return {"epsilon": keras["epsilon"]}
    return {}


@pytest.mark.slow
def test_settings_are_kerass(pair: tuple[Graph, dict[str, Any]]) -> None:
    graph, keras = pair
    for node, layer in zip(graph.nodes, keras["layers"], strict=True):
        assert dict(node.settings) == _expected_settings(layer, node, graph.input_shape), node.name
    assert all(layer["settings"]["activation"] == "relu" for layer in keras["layers"] if layer["class"] == "Activation")


@pytest.mark.parametrize("depth", DEPTHS)
def test_parameters(depth: int) -> None:
    assert resnet(depth).parameters == PARAMETERS[depth]


def test_resnet50_has_177_layers() -> None:
    assert len(resnet().nodes) == 177


@pytest.mark.parametrize("variant", VARIANTS)
def test_epsilon_comes_from_one_place(variant: str) -> None:
    settings = [node.settings["epsilon"] for node in resnet(variant=variant).nodes if node.operation == "batch_norm"]
    assert set(settings) == {VARIANTS[variant].epsilon}
    assert len(settings) == 53
    assert VARIANTS["v1"].epsilon == BATCH_NORM_EPSILON == 1.001e-5


@pytest.mark.parametrize(("variant", "place"), [("v1", 1), ("v1.5", 2)])
@pytest.mark.parametrize("depth", DEPTHS)
def test_the_stride_sits_in_one_convolution_and_the_shortcut(depth: int, variant: str, place: int) -> None:
    graph = resnet(depth, variant=variant)
    strided = [n.name for n in graph.nodes if n.operation == "conv2d" and n.settings["strides"] == (2, 2)]
    blocks = [f"conv{stage}_block1_{k}_conv" for stage in (3, 4, 5) for k in sorted({0, place}, key=lambda k: k == 0)]
    assert strided == ["conv1_conv", *blocks]


@pytest.mark.parametrize("size", [(32, 32), (97, 64), (224, 224)])
def test_v1_5_gives_the_shapes_of_v1_at_the_end_of_each_block(size: tuple[int, int]) -> None:
    v1, v15 = resnet(input_shape=size), resnet(input_shape=size, variant="v1.5")
    assert v1.names == v15.names
    shapes = {n.name: n.shape for n in v15.nodes}
    assert all(shapes[n.name] == n.shape for n in v1.nodes if not n.name.endswith(("_1_conv", "_1_bn", "_1_relu")))
    assert v15["conv3_block1_1_conv"].shape[:2] == v15["conv2_block3_out"].shape[:2]


def test_v1_5_has_torchvisions_parameters() -> None:
    graph = resnet(variant="v1.5")
    assert not any(name.endswith("_conv/bias") for name in graph.weights)
    statistics = sum(shape[0] for name, shape in graph.weights.items() if "/moving_" in name)
    assert graph.parameters - statistics == 25_557_032  # torchvision counts what is trained


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 34}, "depth 34"),
        ({"input_shape": (31, 224)}, "(31, 224)"),
        ({"classes": 0}, "0 classes"),
        ({"variant": "v2"}, "'v2'"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        resnet(**options)
    assert words in str(error.value)


def test_a_graph_is_checked_when_made() -> None:
    first = Node("a", "input", (), (1,))
    with pytest.raises(InputError, match="before they exist"):
        Graph("net", "v1", (first, Node("b", "relu", ("c",), (1,))))
    with pytest.raises(InputError, match="taken"):
        Graph("net", "v1", (first, first))
    with pytest.raises(InputError, match="operation"):
        Node("a", "convolve", (), (1,))
    with pytest.raises(InputError, match="shape"):
        Node("a", "relu", (), (0,))
    with pytest.raises(InputError, match="no layer 'b'"):
        Graph("net", "v1", (first,))["b"]
