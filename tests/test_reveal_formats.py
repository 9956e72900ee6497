"""Formats before orders: which bits operands, sums and outputs keep, and how an order is found behind few of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from known_sums import FLOAT32, FUSED, assert_same, box_of, counted
from trees import random_tree

from refnet.arithmetic import FORMATS, Order, Tree, parse_order, stored
from refnet.arithmetic.tree_nodes import Program, add, chain, fuse
from refnet.backends import VARIANTS
from refnet.errors import InputError
from refnet.graph import resnet
from refnet.reveal import BlackBox, Found, NoTreeError, Session, SumFormats, find_tree
from refnet.reveal.counting import Sweep, lost_units
from refnet.reveal.format_probe import with_formats
from refnet.reveal.layer_order import probe_layer
from refnet.reveal.norm_form import probe_norm
from refnet.reveal.tree_finder import checked

KNOWN = [
    FLOAT32,
    SumFormats("bfloat16", "float32", "bfloat16"),
    SumFormats("float16", "float32", "float16"),
    SumFormats("float16", "float16", "float16"),
    SumFormats("bfloat16", "bfloat16", "bfloat16"),
    SumFormats("tf32", "float32", "float32"),
    SumFormats("bfloat16", "float32", "float32"),
    SumFormats("float32", "float32", "bfloat16"),
    SumFormats("float32", "float64", "float32"),
    SumFormats("bfloat16", "float32", "bfloat16", cut=True),
]
BFLOAT16 = KNOWN[1]
NINE_BITS = replace(FORMATS["bfloat16"], name="nine bits", precision=9)
ORDERS: dict[str, tuple[Order, int]] = {
    "sequential": (parse_order("sequential"), 64),
    "lanes": (parse_order("lanes:16"), 147),
    "tree": (random_tree(3, 40, fused=FUSED), 40),
}


def piped(formats: SumFormats, order: Order, terms: int, *, bias: bool = False) -> BlackBox:
    """A known sum behind a pipe of float32: what comes in is rounded first, but for a bias that is added to the rounded
    sum in a format of its own.
    """
    inner = box_of(order, terms, formats=formats)

    def sum_of(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        own = stored(weights, formats.operand)
        y = inner.sum_of(own[:, :terms], stored(inputs[:terms], formats.operand))
        if not bias:
            return np.asarray(y, np.float32)
        offset = weights[:, terms] if formats.with_bias else own[:, terms]
        return np.asarray(stored(y + offset, FORMATS[formats.with_bias or formats.output]), np.float32)

    return BlackBox(sum_of, terms + bias, FLOAT32, bias=bias)


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("formats", KNOWN, ids=str)
def test_known_formats_are_found(formats: SumFormats, order: str, bias: bool) -> None:
    """Whatever the order; and whether a bias is a term of the sum or comes after it, where that shows."""
    found = with_formats(piped(formats, *ORDERS[order], bias=bias))
    narrow = formats.out.precision < formats.sum.precision
    assert found.formats == formats
    assert (found.bias, found.bias_after) == (bias and not narrow, "stored" if bias and narrow else "")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("operands", ["bfloat16", "float16"])
def test_a_bias_that_is_added_in_a_wider_format_than_sums_are_rounded_to(operands: str, order: str) -> None:
    """As openvino adds it, in float32, to sums that are rounded to bfloat16. Without a bias that does not show."""
    formats = SumFormats(operands, "float32", operands, with_bias="float32")
    found = with_formats(piped(formats, *ORDERS[order], bias=True))
    assert found.formats == formats and (found.bias, found.bias_after) == (False, "narrowed")
    assert with_formats(piped(formats, *ORDERS[order])).formats == replace(formats, with_bias="")
    assert find_tree(found).bias == "narrowed"


def test_formats_that_are_a_precision_of_refnets_by_name() -> None:
    """And those that are none: cut off, or rounded to another format than operands have."""
    names = {
        SumFormats("bfloat16", "float32", "bfloat16"): "bfloat16",
        SumFormats("bfloat16", "float32", "float32"): "bfloat16-operands",
        SumFormats("bfloat16", "float32", "bfloat16", with_bias="float32"): "bfloat16-operands",
        SumFormats("bfloat16", "float32", "bfloat16", cut=True): None,
        SumFormats("float16", "float32", "float16", with_bias="float32"): None,
        SumFormats("tf32", "float32", "bfloat16", with_bias="float32"): None,
    }
    assert {formats: formats.precision for formats in names} == names


def test_a_bias_that_is_a_term_of_a_wider_sum_stays_one() -> None:
    """As where a library adds it before it rounds."""
    inner = box_of(parse_order("sequential"), 40, formats=BFLOAT16, bias="last")
    narrow = FORMATS["bfloat16"]
    found = with_formats(
        replace(inner, formats=FLOAT32, sum_of=lambda w, x: inner.sum_of(stored(w, narrow), stored(x, narrow)))
    )
    assert found.formats == BFLOAT16 and found.bias and not found.bias_after
    assert find_tree(found).bias == "last"


def in_two_formats(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Runs of eight terms, each rounded to bfloat16, added in float32."""
    runs = (weights * inputs).reshape(len(weights), 8, -1).cumsum(axis=2, dtype=np.float32)[..., -1]
    return np.asarray(stored(runs, FORMATS["bfloat16"]).cumsum(axis=1, dtype=np.float32)[:, -1])


@pytest.mark.parametrize(
    ("sum_of", "said"),
    [
        (lambda w, x: (stored(w, FORMATS["bfloat16"]) * x).cumsum(1)[:, -1], "weights are rounded to bfloat16, inputs"),
        (lambda w, x: (stored(w, NINE_BITS) * x).cumsum(1)[:, -1], "weights keep 9 significand bits"),
        (in_two_formats, "sums keep 8, 24 significand bits"),
    ],
    ids=["operands", "width", "sums"],
)
def test_formats_that_are_unknown_are_reported(sum_of: object, said: str) -> None:
    with pytest.raises(NoTreeError, match=said):
        with_formats(BlackBox(sum_of, 64, FLOAT32))  # type: ignore[arg-type]


@pytest.mark.parametrize("names", [("float32", "bfloat16", "bfloat16"), ("bfloat16", "float16", "float16"),
                                   ("float32", "float16", "float32"), ("float16", "float32", "float64"),
                                   ("nine bits", "float32", "float32")])  # fmt: skip
def test_formats_that_do_not_fit_each_other(names: tuple[str, str, str]) -> None:
    with pytest.raises(InputError):
        SumFormats(*names)


@pytest.mark.parametrize("name", ["bfloat16", "float16", "eight bits"])
def test_a_bias_is_added_in_a_wider_format_or_in_that_of_the_output(name: str) -> None:
    with pytest.raises(InputError):
        SumFormats("bfloat16", "float32", "bfloat16", with_bias=name)


def pairs(terms: int, lanes: int, *, fused: bool) -> Program:
    """A processor's dot products of pairs: each lane adds two products at a time to its sum; lanes are halved then.

    fused: three numbers at once, rounded once; else the two products first.
    """
    sums: list[Program] = []
    for lane in range(lanes):
        total: Program = ()
        for first in range(2 * lane, terms, 2 * lanes):
            pair = [first, first + 1]
            two_steps = add(total, chain(pair)) if total else chain(pair)
            total = fuse(pair, total) if fused else two_steps
        sums.append(total)
    while len(sums) > 1:
        sums = [add(x, y) for x, y in zip(sums[: len(sums) // 2], sums[len(sums) // 2 :], strict=True)]
    return sums[0]


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "two steps"])
@pytest.mark.parametrize("output", ["bfloat16", "float32"])
def test_dot_products_of_pairs(output: str, fused: bool) -> None:
    """As AVX512-BF16 and its like have them; 288 terms are more than bfloat16 can count."""
    tree = Tree(pairs(288, 16, fused=fused))
    box = with_formats(piped(SumFormats("bfloat16", "float32", output), tree, 288))
    assert_same(find_tree(box), tree, True, None)


@pytest.mark.parametrize("formats", [BFLOAT16, SumFormats("float16", "float32", "float16")], ids=str)
def test_another_order_shows_in_sums_that_cancel(formats: SumFormats) -> None:
    """Drawn sums alone would be rounded to the same few bits."""
    box = box_of(parse_order("sequential"), 256, formats=formats)
    assert checked(box, Found(parse_order("sequential"), True, formats=formats)).mean == "divide"
    with pytest.raises(NoTreeError, match=r"[3-6]\d of 128 sums"):
        checked(box, Found(parse_order("reversed"), True, formats=formats))


REAL = {
    f"{backend}-mixed-{output}": SumFormats(output, "float32", output)
    for backend in ("tensorflow", "jax", "torch")
    for output in ("bfloat16", "float16")
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("variant", REAL)
def test_layers_of_real_mixed_policies(variant: str) -> None:
    """Keras casts kernel and input, and adds the bias to what the convolution returns."""
    if VARIANTS[variant].missing:
        pytest.skip(f"{variant} is not installed")
    graph = resnet(50, input_shape=(64, 64))
    with Session(VARIANTS[variant], graph, threads=1) as session:
        convolution, mean = (probe_layer(session, graph[name]) for name in ("conv2_block1_1_conv", "avg_pool"))
        form = probe_norm(session, graph["conv2_block1_1_bn"])
    assert (convolution.formats, convolution.bias, convolution.differing) == (REAL[variant], "stored", 0)
    assert (mean.formats, mean.differing, form.differing) == (REAL[variant], 0, 0)


def test_rounded_counts_halve_the_questions() -> None:
    """One rounded count and one exact one for each pair of a chain of 2000; counted by parts it would be eight."""
    asked: list[int] = []
    find_tree(counted(box_of(parse_order("sequential"), 2000, formats=BFLOAT16), asked))
    assert sum(asked) < 2.3 * 2000


@pytest.mark.parametrize(("siblings", "leaves"), [(2, 5), (2, 13), (3, 6), (4, 13)])
def test_a_fused_sum_is_told_from_an_addition_behind_it_by_rounded_counts(siblings: int, leaves: int) -> None:
    """600 units are counted by fours: that the siblings survive where a whole chain joins them shows in no count."""
    end = siblings + leaves
    tree = Tree(chain(range(end, 600), fuse(range(siblings), chain(range(siblings, end)))))
    assert_same(find_tree(box_of(tree, 600, formats=BFLOAT16)), tree, True, None)


def test_rounded_counts_that_mislead_are_counted_again() -> None:
    """In a fused sum, leaves that lose fewer need not be lost with those that lose more."""
    tree = Tree(fuse([0, 1, 2], chain(range(3, 403))))
    box, sweep = box_of(tree, 403, formats=BFLOAT16), Sweep(np.arange(403), 0)
    (rough,), (exact,) = lost_units(box, [sweep]), lost_units(replace(box, rough=False), [sweep])
    assert rough.tolist() == exact.tolist() == [2, 2, *[401] * 400]
    assert_same(find_tree(box), tree, True, None)
