"""An order that is not always the same is reported as such, and what is held equal is said."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from reveal_support import made_up

from refnet.graph import resnet
from refnet.reveal import network
from refnet.reveal.layer_order import probe_layer
from refnet.reveal.sameness import Sameness

GRAPH = resnet(50, input_shape=(96, 96))
LAYER = "conv4_block1_1_conv"

ALTERNATING = """
calls = 0
def layer(x, weights, node):
    global calls
    calls += 1
    return direct(x, weights, node, order=("sequential", "reversed")[calls % 2])
"""
DRAWN = """
rng = np.random.default_rng()
def layer(x, weights, node):
    return direct(x, weights, node, order=f"permuted:{rng.integers(99)}")
"""
BY_SIGN = """
def layer(x, weights, node):
    return direct(x, weights, node, order="lanes:8" if x.flat[0] < 0 else "sequential")
"""
BY_SIZE = """
def layer(x, weights, node):
    return direct(x, weights, node, order="lanes:8" if abs(x).max() > 16 else "sequential")
"""
LARGEST_FIRST = """
def layer(x, weights, node):
    terms = x.reshape(len(x), -1, x.shape[-1])
    terms = np.take_along_axis(terms, np.argsort(-abs(terms), axis=1, kind="stable"), axis=1)
    return np.cumsum(terms, axis=1)[:, -1] / np.float32(terms.shape[1])
"""
LAST_PICTURE = """
def layer(x, weights, node):
    y = direct(x, weights, node, order="sequential")
    y[-1] = direct(x, weights, node, order="lanes:8")[-1]
    return y
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (ALTERNATING, "changes from run to run"),
        (DRAWN, "changes from run to run"),
        (BY_SIGN, "depends on the numbers: .* when all inputs are -1 times as large"),
        (BY_SIZE, "depends on the numbers: .* when all inputs are 16 times as large"),
        (LARGEST_FIRST, "depends on the numbers' sizes"),
    ],
    ids=["alternating", "drawn", "by a sign", "by a size", "largest first"],
)
def test_an_order_that_changes_is_no_order(tmp_path: Path, code: str, words: str) -> None:
    layer = "avg_pool" if code == LARGEST_FIRST else LAYER
    with made_up(tmp_path, GRAPH, code) as session:
        found = probe_layer(session, GRAPH[layer])
    assert found.order is None and found.same is None
    assert re.search(words, found.reason), found.reason


def test_what_is_held_equal_is_said(tmp_path: Path) -> None:
    """In a profile's entry; a layer's line counts its outputs, and says more only where some differ."""
    with made_up(tmp_path, GRAPH, 'layer = lambda x, w, node: direct(x, w, node, order="lanes:8")') as session:
        found, entry = probe_layer(session, GRAPH[LAYER]), network._sum_entry(session, GRAPH[LAYER])
    assert str(found.same) == "36 places, 256 channels, 1 picture, 3 runs"
    assert str(found).endswith("0 of 9216 outputs differ")
    assert entry["same"] == {"places": [36, 36], "channels": [256, 256], "pictures": [1, 1], "runs": 3}
    assert entry["subnormals"] == "kept" and entry["differing"] == 0


@pytest.mark.slow
def test_pictures_of_a_batch_may_differ(tmp_path: Path) -> None:
    with made_up(tmp_path, GRAPH, LAST_PICTURE, batch_size=3) as session:
        found = probe_layer(session, GRAPH[LAYER])
    assert found.same is not None and found.same.pictures == (2, 3) and found.same.places[0] < 36
    assert "2 of 3 pictures" in str(found)


def test_counts_of_one_output() -> None:
    """One output of another place and channel, of another picture."""
    ours = np.zeros((2, 3, 4, 5), np.float32)
    theirs = ours.copy()
    theirs[1, 2, 3, 4] = 1
    same = Sameness.of(theirs, ours, pictures=2)
    assert (same.places, same.channels, same.pictures) == ((11, 12), (4, 5), (1, 2))
    assert str(same) == "11 of 12 places, 4 of 5 channels, 1 of 2 pictures, 3 runs"
    assert Sameness.of(theirs[:, 0, 0], ours[:, 0, 0], pictures=2).places == (1, 1)
