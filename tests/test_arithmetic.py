"""Arithmetic and the plan of a network: what has a meaning is made whole, what has none says which ones have one."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from arithmetics import TEXTS

from refnet.arithmetic import (
    ACCUMULATE,
    BATCH_NORM_FORMS,
    BIAS_PLACES,
    CHAINS,
    FORMATS,
    PRECISIONS,
    ROUNDED_BEFORE,
    Arithmetic,
    digits_of,
    parse_order,
)
from refnet.arithmetic.plan import plan
from refnet.errors import InputError
from refnet.graph import resnet

# precision -> storage, operands, parameters of batch normalisation, and where sums may be made, the default first
MEANINGS = {
    "float16": ("float16", "float16", "float32", ("float32", "float16", "float64")),
    "bfloat16": ("bfloat16", "bfloat16", "float32", ("float32", "bfloat16", "float64")),
    "bfloat16-operands": ("float32", "bfloat16", "float32", ("float32", "float64")),
    "tf32": ("float32", "tf32", "float32", ("float32", "float64")),
    "float32": ("float32", "float32", "float32", ("float32", "float64")),
    "float64": ("float64", "float64", "float64", ("float64",)),
}
# double-double holds every number of the others, has no fma and no compensated order
WIDEST = "double-double"
WITHOUT_FMA = ("kahan", "neumaier", "dot2", "exact")
LAYERS = resnet().names


def test_the_tables_name_what_is_tested_here() -> None:
    assert set(PRECISIONS) - {WIDEST} == set(MEANINGS)
    assert set(ACCUMULATE) - {WIDEST} == {name for *_, sums in MEANINGS.values() for name in sums}
    assert set(FORMATS) - {WIDEST} == {operands for _, operands, *_ in MEANINGS.values()}


@pytest.mark.parametrize("precision", MEANINGS)
@pytest.mark.parametrize("accumulate", [None, *sorted(set(FORMATS) - {WIDEST})])
def test_every_combination_has_a_meaning_or_says_which_have(precision: str, accumulate: str | None) -> None:
    *formats, sums = MEANINGS[precision]
    for order, fma, bias, form in itertools.product(TEXTS, (None, False, True), BIAS_PLACES, BATCH_NORM_FORMS):
        fields: dict[str, Any] = {"order": order, "fma": fma, "bias": bias, "batch_norm": form}
        if accumulate not in (None, *sums):
            with pytest.raises(InputError) as caught:
                Arithmetic(precision, accumulate, **fields)
            assert all(name in caught.value.expected for name in sums)
        elif order == "exact" and accumulate not in (None, sums[0]):
            with pytest.raises(InputError, match=rf"accumulate='{accumulate}' with order='exact'; leave it out"):
                Arithmetic(precision, accumulate, **fields)
        elif order == "exact" and bias in ROUNDED_BEFORE and not fma:
            with pytest.raises(InputError, match=f"bias='{bias}' with order='exact'; leave it out"):
                Arithmetic(precision, accumulate, **fields)
        elif fma and order in WITHOUT_FMA:
            with pytest.raises(InputError, match=rf"fma=True with order='{order}'"):
                Arithmetic(precision, accumulate, **fields)
        else:
            made = Arithmetic(precision, accumulate, **fields)
            assert [made.storage.name, made.operand.name, made.parameters.name] == formats
            assert made.accumulate == made.sums.name == (accumulate or sums[0])
            assert made.elementwise.name == ("float64" if made.accumulate == "float64" else "float32")
            assert made.order == made.summation == parse_order(order)
            assert made.fma == (order not in WITHOUT_FMA if fma is None else fma)
            assert made.chain == ("fused" if made.fma else parse_order(order).chain) and made.chain in CHAINS
            assert dataclasses.replace(made) == made and hash(dataclasses.replace(made)) == hash(made)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"precision": "float8"}, "precision='float8'; expected one of float16, .*mpN"),
        ({"precision": 32}, "precision=32"),
        ({"precision": "mp50"}, "refnet.predict"),
        ({"precision": "mp5"}, "mp15 to mp10000"),
        ({"accumulate": "mp50"}, "accumulate='mp50'"),
        ({"accumulate": ""}, "accumulate=''"),
        ({"accumulate": "tf32", "precision": "tf32"}, "expected one of float32, float64"),
        ({"bias": "middle"}, "bias='middle'; expected one of last, first"),
        ({"bias": None}, "bias=None"),
        ({"batch_norm": "fused"}, "batch_norm='fused'; expected one of centred"),
        ({"mean": "shift"}, "mean='shift'; expected one of divide, multiply"),
        ({"relu": True}, "relu=True; expected one of positive, signed-zero"),
        ({"order": "exactly"}, "order 'exactly'; expected one of sequential, .*exact"),
        ({"order": None}, "order None"),
        ({"order": "blocks"}, "blocks:B"),
        ({"fma": "yes"}, "fma='yes'; expected one of None, False, True"),
    ],
)
def test_bad_fields_are_one_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Arithmetic(**fields)
    assert "\n" not in str(caught.value)


def test_an_arithmetic_is_a_value() -> None:
    made = Arithmetic(order="pairwise")
    assert made == Arithmetic(order="pairwise:1", accumulate="float32", fma=True)
    assert made != Arithmetic(order="pairwise:2") and len({made, Arithmetic(order=parse_order("pairwise"))}) == 1
    for field in dataclasses.fields(made):
        assert getattr(made, field.name) is not None
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, None)


def test_digits() -> None:
    assert [digits_of(name) for name in ("mp15", "mp50", "mp10000", "float32", "mp", "mp50x", "")] == [
        15, 50, 10000, None, None, None, None,
    ]  # fmt: skip
    assert [digits_of(name) for name in ("mp٥٠", "mp5٠", "mp" + "9" * 5000)] == [None] * 3
    for name in ("mp14", "mp10001", "mp0"):
        with pytest.raises(InputError, match="expected mp15 to mp10000"):
            digits_of(name)


def test_a_plan_of_single_values_is_the_same_everywhere() -> None:
    planned = plan(LAYERS, {"precision": "bfloat16", "order": "lanes:8", "accumulate": None})
    assert tuple(planned) == LAYERS
    assert set(planned.values()) == {Arithmetic("bfloat16", order="lanes:8")}


def test_the_first_matching_pattern_counts_and_defaults_fill_the_rest() -> None:
    orders = {"conv5_block1_*": "blocks:512", "conv5_*": "kahan", "conv[34]_*": "pairwise"}
    planned = plan(LAYERS, {"order": orders, "precision": {"*_bn": "float64", "*": "float32"}})
    assert planned["conv5_block1_1_conv"] == Arithmetic(order="blocks:512")
    assert planned["conv5_block2_1_conv"] == Arithmetic(order="kahan")
    assert planned["conv4_block1_1_conv"] == planned["conv3_block1_1_conv"] == Arithmetic(order="pairwise")
    assert planned["conv2_block1_1_conv"] == planned["predictions"] == Arithmetic()
    assert planned["conv5_block2_1_bn"] == Arithmetic("float64", order="kahan")
    swapped = plan(LAYERS, {"order": dict(reversed(orders.items()))})
    assert swapped["conv5_block1_1_conv"] == Arithmetic(order="kahan")


def test_patterns_are_case_sensitive_and_match_whole_names() -> None:
    for pattern in ("Conv5_*", "conv5", "predictions_*", ""):
        with pytest.raises(InputError, match="matches no layer; expected names such as"):
            plan(LAYERS, {"order": {"*": "kahan", pattern: "pairwise"}})


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"order": {"conv5_block3_2_conv": "blocks:0"}}, "layer conv5_block3_2_conv: order blocks:0"),
        ({"order": {"predictions": "kahan"}, "fma": True}, "layer predictions: fma=True with order='kahan'"),
        (
            {"precision": {"avg_pool": "float64"}, "accumulate": "float32"},
            "layer avg_pool: accumulate='float32' with precision='float64'",
        ),
    ],
)
def test_an_error_names_the_layer_that_it_comes_from(settings: dict[str, Any], found: str) -> None:
    with pytest.raises(InputError) as caught:
        plan(LAYERS, settings)
    assert caught.value.found == found


@pytest.mark.parametrize("value", [["x"], {1}, {}, 5, None])
def test_a_value_by_layer_of_any_type_is_one_error(value: Any) -> None:
    with pytest.raises(InputError, match=r"^layer input_layer: order .*; expected a text such as"):
        plan(LAYERS, {"order": {"*": value}})


@pytest.mark.parametrize("precision", ["mpN (such as mp50)", "mp٥٠", "mp", "", ["float32"], None, {}])
def test_what_is_no_precision_is_refused_with_all_that_are(precision: Any) -> None:
    with pytest.raises(InputError, match=r"^precision=.*; expected one of float16, .* or mpN \(such as mp50\)$"):
        Arithmetic(precision)


def test_an_error_that_is_of_no_layer_names_none() -> None:
    with pytest.raises(InputError, match=r"^order 'sorted'"):
        plan(LAYERS, {"order": "sorted"})
