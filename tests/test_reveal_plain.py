"""What a backend computes together in its plain run: a fake whose whole network rounds otherwise, and real ones."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends_support import random_weights

import refnet.reveal
from refnet.backends import VARIANTS, run
from refnet.graph import resnet
from refnet.reveal import Session, differences, network, replay
from refnet.reveal.plain import probe_plain
from refnet.reveal.together import asked, block_ends, computed, differing, draw, merged, probe_end

SIZE = (64, 64)
GRAPH = resnet(50, input_shape=SIZE, classes=10)

# In place of the backend: several layers at once by refnet, in the settings that the environment names.
CHILD = """
import json, os, sys
sys.path[:0] = json.loads(os.environ["REFNET_PATH"])
from refnet.forward.constants import Constants
from refnet.graph import resnet
from refnet.reveal.child import read, write
from refnet.reveal.together import Drawn, block_ends, computed
how = json.loads(os.environ["REFNET_HOW"])
graph = resnet(50, input_shape=(64, 64), classes=10)
answers, taken, inputs = sys.stdout.buffer, None, []
while question := read(sys.stdin.buffer):
    (ask, settings), arrays = question
    if ask == "together":
        (taken,) = (end for end in block_ends(graph) if end.output.name == settings["names"][-1])
    elif ask == "whole":
        taken = graph
    elif ask == "inputs":
        inputs = arrays
    if ask != "run":
        write(answers, {}, [])
        continue
    entries = [node.name for node in taken.nodes if node.operation == "input"]
    keys = [f"{node.name}/{key}" for node in taken.nodes for key in node.weights]
    drawn = Drawn(dict(zip(entries, inputs)), dict(zip(keys, arrays)), Constants())
    write(answers, {}, [computed(taken, how, drawn)])
"""


def entries(**by_operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A profile's entries for each layer that adds up or normalises."""
    return {node.name: dict(by_operation[node.operation]) for node in GRAPH.nodes if node.operation in by_operation}


ALONE = entries(
    conv2d={"order": "blocks:64", "fma": True},
    batch_norm={"batch_norm": "shifted-fma", "shift": "fused", "scale": "computed"},
    mean_pool={"order": "sequential", "mean": "divide", "plain": {"order": "reversed", "mean": "multiply"}},
    dense={"order": "lanes:8"},
)
SHIFTED = merged(ALONE, {name: {"batch_norm": "shifted"} for name in ALONE if name.endswith("bn")})
ADDITIONS = [node.name for node in GRAPH.nodes if node.operation == "add"]
NORMS = [name for name in ALONE if name.endswith("bn")]


@pytest.fixture
def backend(tmp_path: Path) -> Any:
    """backend(plain): a session whose layers, taken together, are computed as these entries say."""

    def session(plain: dict[str, Any]) -> Session:
        child = tmp_path / "child.py"
        child.write_text(CHILD, encoding="utf-8")
        environment = {"REFNET_PATH": json.dumps(sys.path), "REFNET_HOW": json.dumps(plain)}
        return Session(replace(VARIANTS["numpy"], modules=("numpy",), environment=environment), GRAPH, child=child)

    return session


def test_block_ends_hold_every_addition_and_the_mean_pool() -> None:
    ends = list(block_ends(GRAPH))
    assert len(ends) == 16 and ends[-1].output.name == "avg_pool"
    assert ends[0].names == (
        *("pool1_pool", "conv2_block1_2_relu"),
        *("conv2_block1_0_conv", "conv2_block1_3_conv", "conv2_block1_0_bn", "conv2_block1_3_bn"),
        *("conv2_block1_add", "conv2_block1_out"),
    )
    assert ends[1].names[:2] == ("conv2_block2_2_relu", "conv2_block1_out")


@pytest.mark.slow
@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"avg_pool": {"order": "reversed", "mean": "multiply"}},
        {NORMS[-1]: {"batch_norm": "shifted"}},
        {name: {"batch_norm": "shifted"} for name in NORMS[-5:]},
        {name: {"addition": "shifts-last"} for name in ADDITIONS},
    ],
    ids=["nothing", "the mean", "the last block", "more than the last block", "every addition"],
)
def test_what_differs_in_the_plain_run_is_found(backend: Any, plain: dict[str, Any]) -> None:
    alone = SHIFTED if ADDITIONS[0] in plain else ALONE
    with backend(merged(alone, plain)) as session:
        found, fit = probe_plain(session, GRAPH, alone)
    assert found == plain and fit == {"differing": 0, "outputs": 10}


def test_a_plain_run_that_nothing_explains_is_counted(backend: Any) -> None:
    """Its first block alone computes otherwise, which no end shows and no reach explains."""
    how = {**ALONE, "conv2_block1_1_conv": {"order": "reversed"}}
    with backend(how) as session:
        found, fit = probe_plain(session, GRAPH, ALONE)
    assert found == {} and 0 < fit["differing"] <= fit["outputs"] == 10
    profile = replace(PROFILE, plain=fit)
    assert profile.unexplained == {"the plain model": f"{fit['differing']} of 10 outputs differ"}


PROFILE = refnet.reveal.Profile("numpy", ("ResNet50", "v1"), SIZE, {}, {})


@pytest.mark.exhaustive
@pytest.mark.parametrize("variant", ["tensorflow"])
def test_the_plain_run_of_a_backend_is_made_again(variant: str, tmp_path: Path) -> None:
    if VARIANTS[variant].missing:
        pytest.skip(f"{variant} is not installed")
    weights = random_weights()
    x = np.random.default_rng(1).uniform(-120, 150, (1, 96, 96, 3)).astype(np.float32)
    profile = refnet.reveal.reveal(variant, weights=weights, size=(96, 96), threads=1)
    assert profile.unexplained == {} and profile.plain["differing"] == 0
    ours = replay(variant, x, weights, profile=profile, plain=True, threads=1)
    (result,) = run([VARIANTS[variant]], weights, x, tmp_path, threads=1)
    assert result.logits is not None
    (found,) = differences({"logits": ours["predictions"]}, {"logits": result.logits})
    assert (found.bits, found.zeros) == (0, 0)


@pytest.mark.exhaustive
@pytest.mark.skipif(bool(VARIANTS["jax"].missing), reason="jax is not installed")
def test_the_last_block_of_jax_is_made_again() -> None:
    """Its mean pool is computed together with what comes before, in other forms than where each layer is returned."""
    graph = resnet(50, input_shape=(224, 224))
    end = list(block_ends(graph))[-1]
    with Session(VARIANTS["jax"], graph, threads=1) as session:
        layers = network._probed(session, end, lambda layer, place, count: None)
        found = probe_end(session, end, layers)
        drawn = draw(session, end, layers, seed=1)
        session.take_together([node.name for node in end.nodes if node.operation != "input"], list(drawn.inputs))
        theirs = asked(session, drawn)
    assert found["conv5_block3_3_bn"] == {"batch_norm": "shifted"}
    assert differing(computed(end, merged(layers, found), drawn), theirs) == 0
    assert differing(computed(end, layers, drawn), theirs) > 0
