"""Trees: values, texts, files, names; and kernel = definition = judge, bit for bit, for random ones."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import judge
import numpy as np
import pytest
from arithmetics import random_numbers, wildness
from backends_support import random_images, random_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import random_tree

from refnet import activations, kernels, ops, predict
from refnet.arithmetic import Arithmetic, Schedule, Tree, exported, parse_order, planewise, recognise, stored
from refnet.arithmetic.fused_sum import ROUNDINGS
from refnet.arithmetic.tree_nodes import Add, Fuse, Grow, add, chain, fma, fuse
from refnet.errors import InputError

FORMATS = [
    ("float32", None), ("float64", None), ("bfloat16", None), ("bfloat16", "bfloat16"), ("float16", "float16"),
    ("tf32", None), ("float32", "float64"), ("float32", "double-double"), ("double-double", None),
]  # fmt: skip
FUSED = tuple((format_, mode) for format_ in (None, "bfloat16") for mode in ROUNDINGS)
NAMED = ["sequential", "reversed", "blocks:10", "blocks:7,20,3", "lanes:4", "lanes:16", "pairwise:1", "pairwise:8"]
EVERY_FORMAT = pytest.mark.parametrize(("precision", "accumulate"), FORMATS)
trees = st.builds(random_tree, st.integers(0, 2**32), st.integers(1, 200))
fused_trees = st.builds(
    lambda seed, leaves: random_tree(seed, leaves, fused=FUSED), st.integers(0, 2**32), st.integers(1, 40)
)


def bits(x: Any) -> list[list[int]]:
    """The planes of a number as integers, NaN made canonical."""
    planes = [np.asarray(plane) for plane in (x if isinstance(x, tuple) else (x,))]
    integers = {2: np.uint16, 4: np.uint32, 8: np.uint64}
    return [
        np.where(np.isnan(p), p.dtype.type(np.nan), p).view(integers[p.dtype.itemsize]).ravel().tolist() for p in planes
    ]


def how(precision: str, accumulate: str | None, tree: Tree, fused: bool, place: str) -> Arithmetic:
    pairs = "double-double" in (precision, accumulate)
    return Arithmetic(precision, accumulate, tree, fused and not pairs, place)


def product(arithmetic: Arithmetic, a: Any, b: Any, bias: Any) -> Any:
    keywords = {name: getattr(arithmetic, name) for name in ("precision", "accumulate", "order", "fma")}
    y = kernels.conv2d(a[:, None, None, :], b[None, None], bias, bias_at=arithmetic.bias, threads=1, **keywords)
    return planewise(lambda plane: plane[:, 0, 0], y)


# ---- kernel = definition = judge -----------------------------------------------------------------------------------


@EVERY_FORMAT
@settings(max_examples=8)
@given(
    tree=trees, seed=st.integers(0, 2**32), wild=wildness, fused=st.booleans(), place=st.sampled_from(["first", "last"])
)
def test_the_kernel_equals_the_definition(
    precision: str, accumulate: str | None, tree: Tree, seed: int, wild: float, fused: bool, place: str
) -> None:
    arithmetic, rng, terms = (
        how(precision, accumulate, tree, fused, place),
        np.random.default_rng(seed),
        len(tree.leaves),
    )
    storage = arithmetic.storage if arithmetic.storage.planes == 1 else Arithmetic("float64").storage
    a, b, bias = (random_numbers(rng, shape, storage, wild) for shape in ((3, terms), (terms, 19), (19,)))
    operands = (stored(matrix, arithmetic.operand) for matrix in (a, b))
    expected = stored(ops.sums(*operands, bias, arithmetic=arithmetic), arithmetic.storage)
    assert bits(product(arithmetic, a, b, bias)) == bits(exported(expected, arithmetic.storage))


@pytest.mark.parametrize(("precision", "accumulate"), [case for case in FORMATS if "double-double" not in case])
@settings(max_examples=8)
@given(
    tree=st.one_of(trees, fused_trees),
    seed=st.integers(0, 2**32),
    wild=wildness,
    fused=st.booleans(),
    place=st.sampled_from(["first", "last"]),
)
def test_both_equal_the_judge(
    precision: str, accumulate: str | None, tree: Tree, seed: int, wild: float, fused: bool, place: str
) -> None:
    try:
        arithmetic = how(precision, accumulate, tree, fused, place)
    except InputError:
        assert not tree.tiled and accumulate == "float16"  # it has no room for a fused node's bfloat16
        return
    terms = len(tree.leaves)
    numbers = random_numbers(np.random.default_rng(seed), (2 * terms + 1,), arithmetic.storage, wild)
    a, b, bias = numbers[:terms], numbers[terms:-1], numbers[-1:]
    exact = judge.dot(
        a, b, format=precision, accumulate=accumulate, order=str(tree), fma=fused, bias=bias[0], bias_at=place
    )
    got = np.asarray(product(arithmetic, a[None], b[:, None], bias), np.float64)
    assert bits(got) == bits(np.float64(judge.to_float(exact))), str(tree)


@pytest.mark.parametrize("text", NAMED)
@pytest.mark.parametrize("fused", [False, True])
def test_a_named_order_and_its_tree_have_the_same_bits(text: str, fused: bool) -> None:
    rng, order = np.random.default_rng(1), parse_order(text)
    a, b, bias = (rng.standard_normal(shape).astype("f4") for shape in ((5, 30), (30, 40), (40,)))
    for place in ("first", "last"):
        results = [product(Arithmetic(order=o, fma=fused, bias=place), a, b, bias) for o in (order, Tree.of(order, 30))]
        assert bits(results[0]) == bits(results[1])


def test_a_chain_that_goes_on_rounds_once_with_fma_and_twice_without() -> None:
    """1 + 2^-13 squared has a last bit, 2^-26, that only an fma onto the sum of the others keeps."""
    a, tree = [1 + 2.0**-13, -1.0, -(2.0**-12)], Tree(fma(0, add(chain(1), chain(2))))
    b = [1 + 2.0**-13, 1.0, 1.0]
    assert kernels.dot(a, b, order=tree, fma=True) == 2.0**-26
    assert kernels.dot(a, b, order=tree, fma=False) == 0


@pytest.mark.parametrize(
    ("mode", "format_", "expected"),
    [("nearest", None, 1.0), ("zero", None, 1.0), ("odd", None, 1 + 2.0**-23), ("nearest", "bfloat16", 1.0),
     ("odd", "bfloat16", 1 + 2.0**-7)],
)  # fmt: skip
def test_a_fused_node_rounds_its_way(mode: str, format_: str | None, expected: float) -> None:
    """1 + 2^-30 + 2^-60 + (2^60 - 2^60): all four products count, and one rounding follows."""
    tree = Tree(fuse(range(5), format_=format_, mode=mode))
    assert kernels.dot([2.0**60, 1, 2.0**-30, -(2.0**60), 2.0**-60], np.ones(5), order=tree) == expected


@pytest.mark.parametrize("mode", ROUNDINGS)
@pytest.mark.parametrize("scale", [0, 60, -70])
def test_fused_sums_of_integers_meet_every_kind_of_tie(mode: str, scale: int) -> None:
    """Sums of a few more bits than bfloat16 has; scaled by 2^120 they overflow it, by 2^-140 they are subnormal."""
    rng, order = np.random.default_rng(scale + 100), f"tree:{{0..4}}@bfloat16~{mode}"
    a, b = np.ldexp(rng.integers(-40, 41, (2, 60, 5)).astype("f4"), scale)
    got = kernels.matmul(a, b.T, order=order)
    for i in range(60):
        exact = judge.dot(a[i], b[i], format="float32", order=order)
        assert bits(got[i, i]) == bits(np.float32(judge.to_float(exact)))


def test_fused_sums_of_zeros_have_the_sign_that_ieee_754_gives_them() -> None:
    """Every choice of signed zeros and ones for two products, and for the bias where it comes first."""
    values = [0.0, -0.0, 1.0, -1.0]
    for a0, b0, a1, b1, bias in itertools.product(values, [0.0, -0.0, 1.0], values, [1.0], values):
        a, b = np.array([[a0, a1]], "f4"), np.array([[b0], [b1]], "f4")
        for text in ("tree:{0..1}", "tree:{(1),0}"):
            exact = judge.dot(a[0], b[:, 0], format="float32", order=text, bias=bias, bias_at="first")
            got = product(Arithmetic(order=text, bias="first"), a, b, np.array([bias], "f4"))
            assert bits(got) == bits(np.float32(judge.to_float(exact))), (a, b, bias, text)


@given(fused_trees, st.integers(0, 2**32), wildness)
@settings(max_examples=10)
def test_the_whole_forward_seam_runs_fused_nodes_too(tree: Tree, seed: int, wild: float) -> None:
    x = random_numbers(np.random.default_rng(seed), (1, 1, len(tree.leaves), 3), Arithmetic().storage, wild)
    arithmetic = Arithmetic(order=tree)
    expected = ops.mean_pool(x, arithmetic=arithmetic)
    assert bits(kernels.mean_pool(x, order=tree)) == bits(expected)


# ---- values, texts, files ------------------------------------------------------------------------------------------


@given(st.one_of(trees, fused_trees))
def test_texts_and_files_give_the_tree_back(tree: Tree) -> None:
    assert parse_order(str(tree)) == tree and hash(parse_order(str(tree))) == hash(tree)
    assert Tree.from_json(json.loads(json.dumps(tree.to_json()))) == tree
    assert len(tree.summary(120)) <= 120 and "\n" not in tree.summary()
    assert tree.schedule(len(tree.leaves)).permutation.tolist() == tree.leaves.tolist()


def test_a_deep_tree_needs_no_recursion(tmp_path: Path) -> None:
    right = chain(0)
    left = chain(0)
    for k in range(1, 5000):
        left = add(left, chain(k))
        right = add(chain(k), right)
    for tree in (Tree(left), Tree(right)):
        tree.save(tmp_path / "tree.json")
        assert Tree.load(tmp_path / "tree.json") == parse_order(str(tree)) == tree
        assert tree.drawing(lines=20).count("\n") == 20 and recognise(tree) != parse_order("sequential")
        assert recognise(tree, fma=False) == parse_order("sequential")
        a = np.random.default_rng(0).standard_normal(5000).astype("f4")
        assert kernels.dot(a, a, order=tree, fma=False) == kernels.dot(a, a, fma=False)


@pytest.mark.parametrize(
    ("program", "text"),
    [
        (chain(range(6)), "(0..5)"),
        (chain([5, 4, 3, 2, 1, 0]), "(5..0)"),
        (chain([0, 3, 6, 1, 4, 2, 5]), "(0..6/3,1,4,2,5)"),
        (chain([1, 2], chain([0])), "(0..2)"),
        (add(add(chain(0), chain(1)), chain(2)), "(0)+(1)+(2)"),
        (add(chain(0), add(chain(1), chain(2))), "(0)+((1)+(2))"),
        (fma(2, add(chain(0), chain(1))), "((0)+(1),2)"),
        (fuse([0, 1], chain(2), "bfloat16", "zero"), "{(2),0..1}@bfloat16~zero"),
        (chain([], chain([1, 0])), "(1..0)"),
    ],
)
def test_texts_by_hand(program: Any, text: str) -> None:
    assert str(Tree(program)) == f"tree:{text}"
    assert parse_order(f"tree:{text}") == Tree(program)


def test_the_drawing() -> None:
    assert parse_order("tree:(0..9)+(10..19)+({(20..23),24..27}@float32~zero,28)").drawing().splitlines() == [
        "+ (3 in sequence)",
        "├─ chain 0..9",
        "├─ chain 10..19",
        "└─ chain 28 from",
        "   └─ fused@float32~zero 24..27 with",
        "      └─ chain 20..23",
    ]


@pytest.mark.parametrize(
    "text",
    ["", "(", ")", "(0", "(0)+", "+(0)", "0", "(0),1", "(0,)", "(,0)", "(0)(1)", "(0}", "{0)", "(0))", "{}", "(0..4/3)",
     "(0 1)", "(0-1)", "{0}@float99", "{0}~up", "(0)+((1)", "((0),)"],
)  # fmt: skip
def test_what_is_no_tree_is_one_error(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_order(f"tree:{text}")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "terms", "words"),
    [
        ("(0..3)", 6, "leaves 4, 5 missing"),
        ("(0..3)", 3, "leaves 3 too many"),
        ("(0..2)", 4608, "leaves 3, 4, 5, 6, 7, 8, 9, 10 and 4597 more missing"),
    ],
)
def test_leaves_that_do_not_fit_are_named(text: str, terms: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_order(f"tree:{text}").schedule(terms)
    with pytest.raises(InputError, match=words):
        kernels.matmul(np.ones((1, terms)), np.ones((terms, 1)), order=f"tree:{text}")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ((Grow((range(3),)), Grow((range(2, 4),)), Add()), "2 doubled"),
        ((Grow((range(2),)), Add()), "operand is missing"),
        ((Grow((range(2),), True),), "operand is missing"),
        ((Grow((range(2),)), Grow((range(2, 3),))), "2 values"),
        ((), "0 values"),
        ((Fuse(()),), "without leaves"),
        ((Grow((range(-1, 2),)),), "leaves -1 to 1"),
        ((Grow((range(10**30),)),), "leaves 0 to 9"),
        ((Grow((range(10**9, 10**9 + 1),)),), "leaves 1000000000 to"),
        ((0,), "a int in a tree"),
    ],
)
def test_programs_that_are_no_tree_are_refused(program: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Tree(program)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 2, "order": "tree"}',
    '{"schema": 1, "order": "tree", "terms": 2, "program": [{"node": "chain", "start": "zero", "leaves": ["0"]}]}',
    '{"schema": 1, "order": "tree", "terms": 1, "program": [{"node": "chain", "start": "zero", "leaves": ["x"]}]}',
    '{"schema": 1, "order": "tree", "terms": 1, "program": 5}'])  # fmt: skip
def test_files_that_hold_no_tree_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "tree.json").write_text(content)
    with pytest.raises(InputError):
        Tree.load(tmp_path / "tree.json")
    with pytest.raises(InputError):
        Tree.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    "settings_", [{"accumulate": "double-double"}, {"precision": "float16", "accumulate": "float16"}]
)
def test_a_fused_node_that_the_sums_cannot_hold_is_refused(settings_: dict[str, str]) -> None:
    with pytest.raises(InputError, match="a fused node in"):
        Arithmetic(order="tree:{0..3}@bfloat16", **settings_)  # type: ignore[arg-type]


def test_a_schedule_that_goes_on_from_nothing_is_refused() -> None:
    ones = np.array([1])
    with pytest.raises(ValueError, match="not a schedule"):
        Schedule(np.arange(1), ones, 0 * ones, continues=ones)


# ---- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*NAMED, "blocks:1,29", "pairwise:3", "lanes:8", "blocks:4"])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("place", ["last", "first"])
def test_a_named_order_is_recognised(text: str, fused: bool, place: str) -> None:
    """Perhaps by another name, which then is the same tree."""
    tree = Tree.of(parse_order(text), 30)
    found = recognise(tree, fma=fused, bias=place)
    assert not isinstance(found, Tree)
    rng = np.random.default_rng(2)
    a, b, bias = (rng.standard_normal(shape).astype("f4") for shape in ((9, 30), (30, 40), (40,)))
    results = [product(Arithmetic(order=o, fma=fused, bias=place), a, b, bias) for o in (tree, found)]
    assert bits(results[0]) == bits(results[1])
    assert str(found) == text or not fused or text == "blocks:10"


@pytest.mark.parametrize(
    ("text", "fused", "expected"),
    [
        ("(3..5)+(0..2)", True, "blocks:3"),
        ("(1280..2047)+(0..1279)", True, "blocks:1280,768"),
        ("(0..735)+(736..1471)+(1472..2047)", True, "blocks:736,736,576"),
        ("(3..5)+((2)+((0)+(1)))", False, "blocks:3"),
        ("((3)+((2)+((0)+(1))))", False, "sequential"),
        ("((3)+((2)+((0)+(1))))", True, "blocks:1"),
        ("(0)+((1..2)+(3..4))", True, "tree:(0)+((1..2)+(3..4))"),
        ("((1,3)+(0,2))", True, "lanes:2"),
        ("(1,0)", True, "reversed"),
        ("{0..3}", True, "tree:{0..3}"),
    ],
)
def test_names_by_hand(text: str, fused: bool, expected: str) -> None:
    assert str(recognise(parse_order(f"tree:{text}"), fma=fused)) == expected  # type: ignore[arg-type]


def test_with_the_bias_first_the_sides_of_an_addition_are_not_the_same() -> None:
    tree = parse_order("tree:(3..5)+(0..2)")
    assert isinstance(tree, Tree) and recognise(tree, bias="first") is tree


@given(trees, st.integers(0, 2**32))
@settings(max_examples=30)
def test_what_is_recognised_has_the_same_bits(tree: Tree, seed: int) -> None:
    a = np.random.default_rng(seed).standard_normal((2, len(tree.leaves))).astype("f4")
    for fused in (False, True):
        found = recognise(tree, fma=fused)
        values = [kernels.dot(*a, order=order, fma=fused) for order in (tree, found)]
        assert math.copysign(values[0], 1) == math.copysign(values[1], 1) and values[0] == values[1]


def test_compensated_orders_are_no_trees() -> None:
    with pytest.raises(InputError, match="kahan"):
        Tree.of(parse_order("kahan"), 3)


def test_a_network_runs_with_a_tree_in_a_layer() -> None:
    """One layer with chains, which the kernels run, and one with fused nodes, which the definition runs."""
    weights, images = random_weights(), random_images(1)
    order = {
        "conv2_block1_1_conv": "tree:{0..31}+{32..63}@bfloat16",
        "conv2_block1_2_conv": Tree(add(chain(range(300, 576), chain(range(100))), chain(range(100, 300)))),
    }
    traces = [activations(images, weights, order=chosen) for chosen in (order, "sequential")]
    node = weights.graph((32, 32))["conv2_block1_2_conv"]
    own = [weights[f"{node.name}/{key}"] for key in node.weights]
    how: dict[str, Any] = {"strides": node.settings["strides"], "padding": node.settings["padding"]}
    expected = ops.conv2d(traces[0][node.inputs[0]], *own, **how, arithmetic=Arithmetic(order=order[node.name]))
    assert bits(traces[0][node.name]) == bits(expected)
    for name in order:
        assert bits(traces[0][name]) != bits(traces[1][name])
    for chosen in (order, {name: tree for name, tree in order.items() if isinstance(tree, Tree)}):
        plain = predict(images, weights, order=chosen, classifier_activation=None)
        assert bits(plain) == bits(activations(images, weights, order=chosen)["predictions"])
    with pytest.raises(InputError, match=r"layer conv3_block1_1_conv.*64, 65"):
        predict(images, weights, order={"conv3_block1_1_conv": "tree:(0..63)"})
