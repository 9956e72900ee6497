"""Parts: outputs that are added in another way than a layer's others have the bits of that way, and no others do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from backends_support import random_images, random_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from judge.layers import dot
from judge.numbers import to_float
from trees import random_tree

import refnet
from refnet import ops
from refnet.arithmetic import Arithmetic, Part, Tree, stored
from refnet.errors import InputError
from refnet.kernels.any_order import convolve, prepare
from refnet.reveal.cut_windows import whole_order
from refnet.reveal.tree_finder import Found

WAYS: tuple[dict[str, Any], ...] = (
    {"order": "sequential"},
    {"order": "blocks:10", "bias": "first"},
    {"order": "lanes:4", "fma": False},
    {"order": "reversed", "fma": True},
    {"order": "tree:(0..30/2)+(1..31/2,32..71)"},
)
PADDINGS = (((0, 0), (0, 0)), ((1, 1), (1, 1)), ((1, 0), (0, 2)))


def numbers(seed: int, precision: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two pictures of 7 x 6 pixels, a kernel 3 x 3 x 8 x 20 and a bias, in the precision's storage."""
    rng = np.random.default_rng(seed)
    format_ = Arithmetic(precision).storage
    x, kernel, bias = (stored(rng.standard_normal(shape), format_) for shape in ((2, 7, 6, 8), (3, 3, 8, 20), (20,)))
    return x, kernel, bias


@settings(max_examples=40)
@given(
    seed=st.integers(0, 99), ways=st.permutations(range(len(WAYS))), strides=st.sampled_from([(1, 1), (2, 1), (2, 2)]),
    padding=st.sampled_from(PADDINGS), precision=st.sampled_from(["float32", "float16", "tf32"]),
    places=st.sets(st.integers(0, 5), min_size=1), channels=st.sets(st.integers(0, 19), min_size=1),
)  # fmt: skip
def test_parts_have_the_bits_of_their_own_order(
    seed: int, ways: list[int], strides: Any, padding: Any, precision: str, places: set[int], channels: set[int]
) -> None:
    """Held against passes in one order each, of which rows and columns are taken; kernels equal the definition."""
    whole, by_place, by_channel, of_both = (WAYS[way] for way in ways[:4])
    rows, columns = (",".join(map(str, numbers)) for numbers in (sorted(places), sorted(channels)))
    parts = ({**by_place, "places": rows}, {**by_channel, "channels": columns})
    parts = (*parts, {**of_both, "places": rows, "channels": columns})
    x, kernel, bias = numbers(seed, precision)
    how: dict[str, Any] = {"strides": strides, "padding": padding}
    arithmetic = Arithmetic(precision, **whole, parts=parts)
    spec = ops.conv2d(x, kernel, bias, arithmetic=arithmetic, **how)
    fast = convolve(x, prepare(kernel, arithmetic), bias, arithmetic=arithmetic, threads=2, **how)
    assert spec.tobytes() == fast.tobytes()
    each = [
        ops.conv2d(x, kernel, bias, arithmetic=Arithmetic(precision, **way), **how).reshape(2, -1, 20)
        for way in (whole, by_place, by_channel, of_both)
    ]
    expected, at, of = each[0], sorted(places), sorted(channels)
    expected[:, at] = each[1][:, at]
    expected[:, :, of] = each[2][:, :, of]
    expected[np.ix_([0, 1], at, of)] = each[3][np.ix_([0, 1], at, of)]
    assert spec.tobytes() == expected.tobytes()


def test_the_judge_adds_a_part_as_it_is_written() -> None:
    """Exact fractions, by code that shares nothing: at place 3 in another order, elsewhere in the layer's."""
    x, kernel, bias = numbers(0, "float32")
    arithmetic = Arithmetic(order="sequential", parts=({"order": "blocks:10", "fma": False, "places": "3"},))
    y = ops.conv2d(x, kernel, bias, strides=(1, 1), padding=PADDINGS[0], arithmetic=arithmetic).reshape(2, -1, 20)
    matrix = kernel.reshape(-1, 20)
    for place, how in ((2, {"order": "sequential"}), (3, {"order": "blocks:10", "fma": False})):
        window = x[1, :3, place : place + 3].reshape(-1)
        for channel in (0, 7):
            value = dot(window, matrix[:, channel], format="float32", bias=bias[channel], **how)  # type: ignore[arg-type]
            assert np.float32(to_float(value)) == y[1, place, channel]


def test_a_part_says_where_it_is_and_comes_back_from_its_data() -> None:
    part = Part("blocks:8", channels="3..4,5", places="156,194,195")
    assert (part.channels, part.places, part.where) == ("3..5", "156,194..195", "channels 3..5 of places 156,194..195")
    assert Part.of(part.to_json()) == part == Part.of(part)
    assert part.rows(2, 200).tolist() == [156, 194, 195, 356, 394, 395]
    assert Part(places="0").columns(3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "whole layer"),
        ({"places": "all"}, "places 'all' of a part"),
        ({"channels": "3..1/5"}, "channels '3..1/5' of a part"),
        ({"channels": "5..2"}, "channels '5..2' of a part: not from below"),
        ({"places": "4,4"}, "places '4,4' of a part"),
        ({"channels": 3}, "channels 3 of a part"),
        ({"order": "sideways", "places": "0"}, "sideways"),
        ({"where": "here"}, "a mapping with order, fma"),
    ],
)
def test_what_is_no_part_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Part.of(fields)


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"parts": {"conv1_conv": [{"places": "256"}]}}, "layer conv1_conv: places 256 of a part; expected 0 to 255"),
        ({"parts": {"predictions": [{"channels": "9..12"}]}}, "layer predictions: channels 9..12"),
        ({"parts": {"conv1_relu": [{"places": "0"}]}}, "layer conv1_relu: parts of a relu"),
        ({"parts": {"conv1_conv": [{"places": "0", "order": "blocks:1,2"}]}}, "layer conv1_conv: .*blocks:1,2"),
        ({"parts": {"conv1_conv": [{"places": "0", "order": "kahan", "fma": True}]}}, "layer conv1_conv: fma=True"),
        ({"parts": {"conv1_conv": [{"places": "0"}]}, "precision": "double-double"}, "parts in double-double"),
        (
            {"parts": {"conv1_conv": [{"places": "0"}]}, "order": "exact"},
            "parts in double-double or with the order exact",
        ),
    ],
)
def test_parts_that_a_network_cannot_have_are_refused(settings_: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        refnet.predict(random_images(1), random_weights(), **settings_)


@settings(max_examples=60)
@given(seed=st.integers(0, 999), leaves=st.integers(1, 40), cut=st.integers(0, 40), fma=st.booleans())
def test_an_order_without_the_padding_gives_the_bits_with_it(seed: int, leaves: int, cut: int, fma: bool) -> None:
    """A drawn tree over the terms inside, one over all terms: with zeros outside both give the same sums."""
    rng = np.random.default_rng(seed)
    inside = np.sort(rng.permutation(leaves + cut)[:leaves])
    found = Found(random_tree(seed, leaves), fma, "last")
    whole = whole_order(found, inside, leaves + cut)
    assert Tree.of(whole.order, leaves + cut).leaves.tolist() and whole.fma == fma
    a, b = np.zeros((5, leaves + cut), np.float32), rng.standard_normal((leaves + cut, 3)).astype(np.float32)
    a[:, inside] = rng.standard_normal((5, leaves))
    outer = ops.sums(a, b, None, arithmetic=Arithmetic(order=whole.order, fma=fma))
    inner = ops.sums(a[:, inside], b[inside], None, arithmetic=Arithmetic(order=found.order, fma=fma))
    assert (outer == inner).all()
