"""What flushes subnormal numbers is named: each switch of a processor by itself, in NumPy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reveal_support import made_up

from refnet.arithmetic import FORMATS, stored
from refnet.graph import resnet
from refnet.reveal import BlackBox, SumFormats
from refnet.reveal.layer_order import probe_layer
from refnet.reveal.subnormals import subnormals

GRAPH = resnet(50, input_shape=(96, 96))
SMALLEST = np.finfo(np.float32).smallest_normal


def flush(x: np.ndarray) -> np.ndarray:
    return np.where(abs(x) < SMALLEST, np.float32(0), x)


def box(*flushed: str, bias: bool = True, products: bool = True) -> BlackBox:
    """Sums one after the other; what is named is flushed on its way."""

    def to_zero(name: str, x: np.ndarray) -> np.ndarray:
        return flush(x) if name in flushed else x

    def sum_of(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        last = weights.shape[1] - bias
        terms = to_zero("products", to_zero("weights", weights[:, :last]) * to_zero("inputs", inputs[:last]))
        total = np.zeros(len(weights), np.float32)
        for term in (terms if products else to_zero("weights", weights)).T:
            total = to_zero("sums", total + term)
        return to_zero("sums", total + to_zero("bias", weights[:, -1])) if bias else total

    return BlackBox(sum_of, 8, SumFormats.alike("float32"), bias=bias, products=products, at_once=3)


@pytest.mark.parametrize(
    ("flushed", "found"),
    [
        ((), "kept"),
        (("inputs",), "inputs"),
        (("weights",), "weights"),
        (("bias",), "bias"),
        (("products",), "products"),
        (("inputs", "weights", "bias"), "inputs, weights, bias"),
        (("sums",), "products, sums, bias"),  # a flushed sum is all that is seen of a subnormal product
    ],
)
def test_each_kind_of_flushing_is_named(flushed: tuple[str, ...], found: str) -> None:
    assert subnormals(box(*flushed)) == found


def test_without_a_bias_and_without_inputs() -> None:
    assert subnormals(box("bias", "inputs", bias=False)) == "inputs"
    assert subnormals(box("inputs", "products", bias=False, products=False)) == "kept"
    assert subnormals(box("sums", bias=False, products=False)) == "sums"


@pytest.mark.parametrize("output", ["bfloat16", "float32"])
def test_narrow_operands_and_outputs_with_all_exponents(output: str) -> None:
    """As bfloat16 has them: what is asked are numbers of it, and what comes back is not rounded to zero."""
    for flushed in ((), ("inputs",), ("weights", "products"), ("sums",)):
        wide = box(*flushed, bias=False)

        def narrowed(w: np.ndarray, x: np.ndarray, wide: BlackBox = wide) -> np.ndarray:
            narrow = FORMATS["bfloat16"]
            return stored(wide.sum_of(stored(w, narrow), stored(x, narrow)), FORMATS[output])

        narrow = replace(wide, formats=SumFormats("bfloat16", "float32", output), sum_of=narrowed)
        assert subnormals(narrow) == subnormals(wide)


def test_a_mean_whose_quotients_a_narrow_output_does_not_hold_is_not_asked() -> None:
    """2^-127 / 144 is zero in bfloat16, though nothing is flushed."""
    mean = replace(box(bias=False, products=False), divisor=144)
    assert subnormals(mean) == "kept"
    assert subnormals(replace(mean, formats=SumFormats("bfloat16", "float32", "bfloat16"))) == ""


def test_a_bias_that_was_not_asked_is_not_said_to_be_kept() -> None:
    for place in ("stored", "narrowed"):
        assert subnormals(replace(box(bias=False), bias_after=place)) == ""
        assert subnormals(replace(box("weights", bias=False), bias_after=place)) == "weights"


def test_formats_with_fewer_exponents_are_not_asked() -> None:
    assert subnormals(replace(box("inputs"), formats=SumFormats("float16", "float32", "float16"))) == ""


def test_one_output_that_flushes_is_enough() -> None:
    whole, part = box(), box("weights")
    mixed = replace(whole, sum_of=lambda w, x: np.append(whole.sum_of(w[:-1], x), part.sum_of(w[-1:], x)))
    assert subnormals(mixed) == "weights"


def test_a_layer_says_what_it_flushes(tmp_path: Path) -> None:
    """Its order is found all the same: drawn numbers are far from subnormal."""
    code = """
def layer(x, weights, node):
    flush = lambda a: np.where(abs(a) < 2.0**-126, np.float32(0), a)
    return flush(direct(x, [flush(w) for w in weights], node, order="lanes:8"))
"""
    with made_up(tmp_path, GRAPH, code) as session:
        found = probe_layer(session, GRAPH["conv3_block1_1_conv"])
    assert found.subnormals == "weights, products, sums, bias" and found.differing == 0
    assert "subnormal weights, products, sums, bias taken for zero" in str(found)
