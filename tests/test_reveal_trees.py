"""The tree finder against trees that are known: drawn ones, added by refnet's own definition, are recovered exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_sums import FLOAT32, FUSED, assert_same, box_of, counted
from trees import random_tree

from refnet import ops
from refnet.arithmetic import FORMATS, Arithmetic, Tree, parse_order, stored
from refnet.arithmetic.tree_nodes import Add, Grow, add, chain, fuse
from refnet.reveal import BlackBox, NoTreeError, SumFormats, find_tree

NAMED = ["sequential", "reversed", "blocks:7", "blocks:20,30,13", "lanes:8", "pairwise:1", "pairwise:8"]
PLACES = pytest.mark.parametrize("bias", [None, "last", "first"])
SUMS = [SumFormats.alike(name) for name in FORMATS if name != "tf32"]  # tf32 is a format of operands only
MIXED = [
    SumFormats("bfloat16", "float32", "bfloat16"), SumFormats("float16", "float32", "float16"),
    SumFormats("tf32", "float32", "float32"), SumFormats("bfloat16", "float32", "float32"),
    SumFormats("bfloat16", "float32", "bfloat16", cut=True),
]  # fmt: skip
ALL = pytest.mark.parametrize("formats", [*SUMS, *MIXED], ids=str)


def recover(seed: int, leaves: int, formats: SumFormats, fma: bool, bias: str | None, fused: bool) -> None:
    tree = random_tree(seed, leaves, fused=FUSED if fused else ())
    assert_same(find_tree(box_of(tree, leaves, formats=formats, fma=fma, bias=bias)), tree, fma, bias)


@ALL
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32), leaves=st.integers(2, 60), fma=st.booleans(), fused=st.booleans(),
    bias=st.sampled_from([None, "last", "first"]),
)  # fmt: skip
def test_random_trees_are_recovered_exactly(
    seed: int, leaves: int, formats: SumFormats, fma: bool, bias: str | None, fused: bool
) -> None:
    recover(seed, leaves, formats, fma, bias, fused)


@PLACES
def test_an_fma_at_the_end_of_a_chain_of_rounded_products(bias: str | None) -> None:
    """Where a bias starts the chain, only fma=False with a fused sum of one product says so."""
    tree = Tree(fuse([4], chain(range(4))))
    found = find_tree(box_of(tree, 5, formats=SumFormats.alike("float16"), fma=False, bias=bias))
    assert found.fma == (bias != "first")
    if bias == "first":
        assert_same(found, tree, False, bias)


@pytest.mark.parametrize(
    ("formats", "leaves"),
    [(SumFormats.alike("float32"), 1000), (SumFormats.alike("float64"), 400), (SumFormats.alike("bfloat16"), 400),
     (MIXED[0], 1000)],
    ids=str,
)  # fmt: skip
def test_hundreds_of_leaves(formats: SumFormats, leaves: int) -> None:
    """In bfloat16 more than its sums or its output can count: parts are switched off."""
    recover(7, leaves, formats, True, "last", False)


@ALL
@pytest.mark.parametrize("fused", [False, True], ids=["chains", "fused"])
@pytest.mark.parametrize(
    "leaves", [pytest.param(1000, marks=pytest.mark.slow), pytest.param(5000, marks=pytest.mark.exhaustive)]
)
def test_thousands_of_leaves(leaves: int, formats: SumFormats, fused: bool) -> None:
    """The largest take one to six minutes each."""
    recover(11, leaves, formats, True, None, fused)


@PLACES
@pytest.mark.parametrize("fma", [True, False])
@pytest.mark.parametrize("name", NAMED)
def test_named_orders_are_found_by_their_names(name: str, fma: bool, bias: str | None) -> None:
    order = parse_order(name)
    found = find_tree(box_of(order, 63, fma=fma, bias=bias))
    assert str(found.order) == name and found.bias == (bias or "last")
    assert found.fma == fma or name == "pairwise:1"


def test_a_chain_needs_few_questions() -> None:
    """K - 1 pairs and K products; from the other end a few times as many, not K^2 / 2."""
    for name, most in (("sequential", 2.3), ("reversed", 6), ("lanes:16", 6)):
        asked = []
        box = counted(box_of(parse_order(name), 1000), asked)
        find_tree(box)
        assert sum(asked) < most * 1000, name


# ---- what is no tree, and says so ----------------------------------------------------------------------------------


def drawn_each_time(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Another order in every call."""
    rng = np.random.default_rng(weights.view(np.uint32).sum() + drawn_each_time.__dict__.setdefault("calls", 0))
    drawn_each_time.__dict__["calls"] += 1
    return np.cumsum((weights * inputs)[:, rng.permutation(weights.shape[1])], axis=1)[:, -1]


def large_first(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """The order depends on the numbers."""
    products = weights * inputs
    order = np.argsort(-np.abs(products), axis=1, kind="stable")
    return np.cumsum(np.take_along_axis(products, order, axis=1), axis=1)[:, -1]


def two_orders(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """One output adds forwards, the next one backwards."""
    products = weights * inputs
    products[1::2] = products[1::2, ::-1]
    return np.cumsum(products, axis=1)[:, -1]


def compensated(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    a, b = inputs[None], np.ascontiguousarray(weights.T)
    result: np.ndarray = ops.sums(a, b, None, arithmetic=Arithmetic(order="kahan"))[0]
    return result


def by_transform(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """As fast convolutions do: sums of weights times sums of inputs, put together."""
    w, x = weights.reshape(len(weights), -1, 2), inputs.reshape(-1, 2)
    with np.errstate(over="ignore", invalid="ignore"):  # the masks are large
        both = (w.sum(2) * x.sum(1)).sum(1, dtype=np.float32)
        return both - (w[:, :, 0] * x[:, 1] + w[:, :, 1] * x[:, 0]).sum(1, dtype=np.float32)


@pytest.mark.parametrize("sum_of", [drawn_each_time, large_first, two_orders, compensated, by_transform])
def test_what_is_no_tree_is_reported(sum_of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    with pytest.raises(NoTreeError):
        find_tree(BlackBox(sum_of, 64, FLOAT32))


def test_a_bias_in_the_middle_is_reported() -> None:
    tree = Tree((Grow((range(3),)), Grow((range(5, 6),)), Add(), Grow((range(3, 5),)), Add()))
    box = box_of(tree, 6)
    swapped = BlackBox(lambda w, x: box.sum_of(w, np.where(np.arange(6) == 5, 1, x)), 6, box.formats, bias=True)
    with pytest.raises(NoTreeError, match="bias"):
        find_tree(swapped)


def test_operands_that_are_rounded_are_reported() -> None:
    """Weights cut to bfloat16 on their way into a float32 sum."""
    inner = box_of(parse_order("sequential"), 40)
    box = BlackBox(lambda w, x: inner.sum_of(stored(w, FORMATS["bfloat16"]), x), 40, inner.formats)
    with pytest.raises(NoTreeError, match="narrower"):
        find_tree(box)


def test_fused_sums_that_masks_confuse() -> None:
    """{0, 1, x} with x = {2, 3} and {x, 2, 3} with x = {0, 1} answer all masks alike; rounding tells them apart."""
    for program in (fuse([0, 1], fuse([2, 3])), fuse([2, 3], fuse([0, 1])), add(fuse([0, 1]), fuse([2, 3])),
                    fuse([0, 1, 2, 3]), fuse([1, 2, 3], chain(0)), fuse([0, 1, 2], fuse([3, 4, 5]))):  # fmt: skip
        tree = Tree(program)
        assert_same(find_tree(box_of(tree, len(tree.leaves))), tree, True, None)
