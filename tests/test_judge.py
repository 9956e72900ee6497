"""The judge itself is judged: by the processor through NumPy, by the C library's fma, by math.fsum, by hand."""

from __future__ import annotations

import ctypes
import ctypes.util
import itertools
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import judge
import ml_dtypes
import numpy as np
import pytest
from gendot import gendot
from hypothesis import given
from hypothesis import strategies as st

TYPES: dict[str, Any] = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
}
PATTERNS = {"float16": np.uint16, "bfloat16": np.uint16, "float32": np.uint32, "float64": np.uint64}
EVERY_TYPE = pytest.mark.parametrize("name", TYPES)
BINARY: dict[str, tuple[Callable[..., judge.Number], Callable[..., Any]]] = {
    "add": (judge.add, operator.add),
    "subtract": (judge.subtract, operator.sub),
    "multiply": (judge.multiply, operator.mul),
    "divide": (judge.divide, operator.truediv),
}
ORDERS = ["sequential", "reversed", "permuted:7", "blocks:3", "lanes:4", "pairwise", "pairwise:2", "exact"]
ORDERS += ["kahan", "neumaier", "dot2"]
EVERY_ORDER = pytest.mark.parametrize("order", ORDERS)
SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan]


def pattern(x: Any, name: str) -> int:
    """The bits of a NumPy number; every NaN becomes the one that the judge writes."""
    number = TYPES[name](x)
    return judge.bits("nan", name) if number != number else int(np.array(number).view(PATTERNS[name]))


def numbers(name: str) -> st.SearchStrategy[Any]:
    """Any bit pattern of the format, and often numbers that meet: special ones, small integers, limits."""
    width = 8 * np.dtype(TYPES[name]).itemsize
    any_bits = st.integers(0, 2**width - 1).map(lambda n: np.array(n, PATTERNS[name]).view(TYPES[name])[()])
    info = ml_dtypes.finfo(TYPES[name])
    often = st.sampled_from([*SPECIAL, info.max, info.smallest_subnormal, *range(-3, 4)]).map(TYPES[name])
    return any_bits | often | st.floats(-4, 4).map(TYPES[name])


@EVERY_TYPE
@given(st.data())
def test_bits_are_those_in_memory(name: str, data: st.DataObject) -> None:
    x = data.draw(numbers(name))
    assert judge.bits(judge.read(x), name) == pattern(x, name)


@pytest.mark.parametrize("name", ["float16", "float32"])
@given(st.floats())
def test_rounding_is_numpy_s(name: str, x: float) -> None:
    with np.errstate(over="ignore"):
        assert judge.bits(judge.round_to(judge.read(x), name), name) == pattern(x, name)


@given(st.floats(width=32))
def test_rounding_to_bfloat16_is_that_of_ml_dtypes(x: float) -> None:
    assert judge.bits(judge.round_to(judge.read(x), "bfloat16"), "bfloat16") == pattern(np.float32(x), "bfloat16")


@given(st.fractions() | st.fractions().map(lambda x: x * Fraction(2) ** 1100) | st.fractions(-1, 1, max_denominator=9))
def test_rounding_to_float64_is_python_s(x: Fraction) -> None:
    for value in (x, x / 2**1100):
        try:
            expected = float(value)
        except OverflowError:
            expected = math.inf if value > 0 else -math.inf
        assert judge.to_float(judge.round_to(value, "float64")) == expected


@given(st.floats(width=32, allow_nan=False))
def test_tf32_drops_thirteen_bits_by_integer_arithmetic(x: float) -> None:
    """The usual trick on the encoding, carries into the exponent and to infinity included."""
    encoding = int(np.float32(x).view(np.uint32))
    expected = encoding if math.isinf(x) else (encoding + 0xFFF + (encoding >> 13 & 1)) & ~0x1FFF
    assert judge.bits(judge.round_to(judge.read(x), "tf32"), "tf32") == expected


@EVERY_TYPE
@pytest.mark.parametrize("operation", BINARY)
@given(st.data())
def test_operations_are_those_of_the_processor(name: str, operation: str, data: st.DataObject) -> None:
    ours, theirs = BINARY[operation]
    x, y = data.draw(numbers(name)), data.draw(numbers(name))
    with np.errstate(all="ignore"):
        expected = pattern(theirs(x, y), name)
    assert judge.bits(ours(judge.read(x), judge.read(y), name), name) == expected


@EVERY_TYPE
@given(st.data())
def test_square_root_is_that_of_the_processor(name: str, data: st.DataObject) -> None:
    x = data.draw(numbers(name))
    with np.errstate(all="ignore"):
        assert judge.bits(judge.sqrt(judge.read(x), name), name) == pattern(np.sqrt(x), name)


@EVERY_TYPE
@pytest.mark.parametrize("operation", BINARY)
def test_special_numbers_meet_each_other(name: str, operation: str) -> None:
    ours, theirs = BINARY[operation]
    for x, y in itertools.product([TYPES[name](v) for v in [*SPECIAL, 1, -1]], repeat=2):
        with np.errstate(all="ignore"):
            assert judge.bits(ours(judge.read(x), judge.read(y), name), name) == pattern(theirs(x, y), name)


@pytest.mark.parametrize(
    ("name", "function", "ctype"), [("float32", "fmaf", "c_float"), ("float64", "fma", "c_double")]
)
@given(st.data())
def test_fma_is_that_of_the_c_library(name: str, function: str, ctype: str, data: st.DataObject) -> None:
    library = ctypes.util.find_library("m")
    if library is None:
        pytest.skip("no C mathematics library to compare with")
    fma = getattr(ctypes.CDLL(library), function)
    fma.restype, fma.argtypes = getattr(ctypes, ctype), [getattr(ctypes, ctype)] * 3
    x, y, z = (data.draw(numbers(name)) for _ in range(3))
    if data.draw(st.booleans()):  # the interesting ones cancel
        with np.errstate(all="ignore"):
            z = -(x * y)
    expected = pattern(fma(float(x), float(y), float(z)), name)
    assert judge.bits(judge.fma(judge.read(x), judge.read(y), judge.read(z), name), name) == expected


def test_fma_in_bfloat16_is_rounded_once() -> None:
    """1.0078125^2 = 1.015625 + 2^-14 is no tie; one more 2^-40 below a float32 tie shows a second rounding."""
    x, z = Fraction(129, 128), Fraction(1, 2**40)
    tie = Fraction(1) + Fraction(1, 256)  # half way between 1 and the next bfloat16
    assert judge.fma(tie, Fraction(1), z, "bfloat16") == x
    assert judge.fma(tie, Fraction(1), -z, "bfloat16") == 1


def evaluate(expression: str, products: list[np.float16]) -> np.float16:
    """A sum written with its parentheses, terms t0, t1, ..., in the processor's float16."""
    return eval(expression, {f"t{k}": t for k, t in enumerate(products)})


SHAPES = {  # (order, K) -> what it means, by hand
    ("sequential", 4): "((t0+t1)+t2)+t3",
    ("reversed", 4): "((t3+t2)+t1)+t0",
    ("permuted:0", 5): "(((t2+t4)+t3)+t0)+t1",
    ("permuted:1", 6): "((((t4+t0)+t2)+t1)+t5)+t3",
    ("blocks:2", 5): "((t0+t1)+(t2+t3))+t4",
    ("blocks:3", 6): "((t0+t1)+t2)+((t3+t4)+t5)",
    ("blocks:1,3,2", 6): "(t0+((t1+t2)+t3))+(t4+t5)",
    ("lanes:1", 3): "(t0+t1)+t2",
    ("lanes:4", 6): "((t0+t4)+t2)+((t1+t5)+t3)",
    ("lanes:4", 2): "t0+t1",
    ("lanes:8", 8): "((t0+t4)+(t2+t6))+((t1+t5)+(t3+t7))",
    ("pairwise", 5): "((t0+t1)+(t2+t3))+t4",
    ("pairwise:1", 7): "((t0+t1)+(t2+t3))+((t4+t5)+t6)",
    ("pairwise:2", 7): "((t0+t1)+(t2+t3))+((t4+t5)+t6)",
    ("pairwise:3", 7): "(((t0+t1)+t2)+((t3+t4)+t5))+t6",
    ("pairwise:3", 6): "((t0+t1)+t2)+((t3+t4)+t5)",
}


@pytest.mark.parametrize(("order", "size"), SHAPES)
@given(st.data())
def test_orders_mean_what_is_written_by_hand(order: str, size: int, data: st.DataObject) -> None:
    small = st.floats(-8, 8, width=16).map(np.float16)
    a, b = (data.draw(st.lists(small, min_size=size, max_size=size)) for _ in range(2))
    products = [x * y for x, y in zip(a, b, strict=True)]
    ours = judge.dot(a, b, format="float16", accumulate="float16", order=order, fma=False)
    assert judge.to_float(ours) == evaluate(SHAPES[order, size], products)


@EVERY_ORDER
@pytest.mark.parametrize("bias_at", ["first", "last", "stored", "narrowed"])
@pytest.mark.parametrize("fma", [False, None])
def test_small_integers_are_summed_exactly_by_every_order(order: str, bias_at: str, fma: bool | None) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-9, 9, 11), rng.integers(-9, 9, 11)
    for name in judge.OPERANDS:
        value = judge.dot(a, b, format=name, order=order, fma=fma, bias=5, bias_at=bias_at)
        assert value == judge.round_to(Fraction(int(a @ b) + 5), judge.STORAGE[name])


@EVERY_ORDER
@pytest.mark.parametrize("special", SPECIAL)
def test_no_term_and_special_terms(order: str, special: float) -> None:
    assert judge.dot([], [], format="float32", order=order) == 0
    value = judge.dot([1.0, special], [1.0, 1.0], format="float32", order=order)
    if order in ("kahan", "neumaier", "dot2"):  # infinity minus infinity in the correction, as the formulas give it
        finite_or_nan = 1.0 if special == 0 else math.nan
        expected = math.copysign(math.inf, special) if order == "kahan" and math.isinf(special) else finite_or_nan
    else:
        expected = 1.0 + special
    np.testing.assert_equal(judge.to_float(value), expected)


def compensated(order: str, terms: list[np.float32]) -> np.float32:
    """Kahan and Neumaier by the processor, products given."""
    s = c = np.float32(0)
    for p in terms:
        if order == "kahan":
            y = p - c
            t = s + y
            c, s = (t - s) - y, t
        else:
            t = s + p
            z = t - s
            c, s = c + ((s - (t - z)) + (p - z)), t
    return s if order == "kahan" else s + c


@pytest.mark.parametrize("order", ["kahan", "neumaier"])
@given(st.lists(st.floats(width=32), max_size=9))
def test_compensated_sums_are_those_of_the_processor(order: str, terms: list[float]) -> None:
    with np.errstate(all="ignore"):
        expected = pattern(compensated(order, [np.float32(t) for t in terms]), "float32")
    assert judge.bits(judge.dot(terms, [1] * len(terms), format="float32", order=order), "float32") == expected


@pytest.mark.parametrize(
    ("order", "terms", "expected"),
    [
        ("sequential", [1, 2.0**24, 1, -(2.0**24)], 0),  # 1 + 2^24 is a tie and goes to even
        ("kahan", [1, 2.0**30, 1, -(2.0**30)], 0),  # Kahan's sum loses a term larger than the sum before it
        ("neumaier", [1, 2.0**30, 1, -(2.0**30)], 2),
        ("dot2", [1, 2.0**30, 1, -(2.0**30)], 2),
        ("kahan", [1] + [2.0**-25] * 8, 1 + 2.0**-22),
        ("sequential", [1] + [2.0**-25] * 8, 1),
        ("exact", [2.0**100, 1, -(2.0**100), 2.0**-100], 1),
    ],
)
def test_known_examples(order: str, terms: list[float], expected: float) -> None:
    assert judge.dot(terms, [1] * len(terms), format="float32", order=order) == expected


def test_dot2_keeps_what_the_products_lose() -> None:
    x = 1 + 2.0**-20
    assert judge.dot([x, -1], [x, 1 + 2.0**-19], format="float32", order="dot2") == Fraction(1, 2**40)
    assert judge.dot([x, -1], [x, 1 + 2.0**-19], format="float32", order="neumaier") == 0


def test_the_place_of_the_bias_shows() -> None:
    terms, ones = [1.0, 1.0], [1, 1]
    assert judge.dot(terms, ones, format="float32", bias=2.0**24) == 2**24 + 2
    assert judge.dot(terms, ones, format="float32", bias=2.0**24, bias_at="first") == 2**24
    assert judge.dot(terms, ones, format="float32", bias=2.0**24, bias_at="first", order="lanes:2") == 2**24
    assert judge.dot(terms, ones, format="float32", bias=2.0**24, bias_at="first", order="neumaier") == 2**24 + 2
    in_bfloat16 = {"format": "bfloat16", "bias": 1}  # 257 lies half way between two numbers, and is rounded down to 256
    assert judge.dot([256, 1], [1, 1], **in_bfloat16) == 258
    assert judge.dot([256, 1], [1, 1], **in_bfloat16, bias_at="stored") == 256
    operands = {"format": "bfloat16-operands", "bias": 1}  # 257 is a number of float32
    assert judge.dot([256, 1], [1, 1], **operands) == judge.dot([256, 1], [1, 1], **operands, bias_at="stored") == 258
    assert judge.dot([256, 1], [1, 1], **operands, bias_at="narrowed") == 257


def test_narrow_formats_accumulate_in_float32_and_round_once_at_the_end() -> None:
    terms = [1.0] + [2.0**-12] * 4
    assert judge.dot(terms, [1] * 5, format="float16") == 1 + Fraction(1, 1024)
    assert judge.dot(terms, [1] * 5, format="float16", accumulate="float16") == 1
    assert judge.dot([1 + 2.0**-11], [1], format="tf32") == 1  # the operand is rounded, ties to even
    assert judge.dot([1], [1], format="tf32", bias=2.0**-20) == 1 + Fraction(1, 2**20)  # the bias is not


@given(st.lists(st.floats(-1e300, 1e300), max_size=12))
def test_exact_is_fsum(terms: list[float]) -> None:
    value = judge.dot(terms, [1] * len(terms), format="float64", order="exact")
    assert judge.to_float(value) == math.fsum(terms)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("condition", [1e3, 1e10, 1e36, 1e100])
def test_gendot_reaches_its_condition(dtype: str, condition: float) -> None:
    made = gendot(60, condition, seed=3, dtype=dtype)
    assert condition / 10 < made.condition < condition * 1000
    assert made.x.dtype == made.y.dtype == np.dtype(dtype) and np.isfinite(made.x).all() and np.isfinite(made.y).all()
    assert judge.dot(made.x, made.y, format=dtype, order="exact") == judge.round_to(made.value, dtype)
    again = gendot(60, condition, seed=3, dtype=dtype)
    assert (again.x == made.x).all() and (again.y == made.y).all()


@pytest.mark.parametrize(("order", "condition"), [("sequential", 1e3), ("neumaier", 1e6), ("dot2", 1e6)])
def test_orders_are_as_good_as_theory_says(order: str, condition: float) -> None:
    """Relative error about u cond for plain sums and rounded products; about u + u^2 cond for dot2 (Ogita et al.)."""
    made, u = gendot(50, condition, seed=1, dtype="float32"), 2.0**-24
    error = abs(judge.to_float(judge.dot(made.x, made.y, format="float32", order=order)) - float(made.value))
    bound = (u + (50 * u) ** 2 * made.condition) if order == "dot2" else 50 * u * made.condition
    assert error <= bound * abs(float(made.value))


@pytest.mark.parametrize("form", ["centred", "shifted"])
@given(st.lists(st.floats(-10, 10, width=32), min_size=4, max_size=4), st.floats(0, 10, width=32))
def test_batch_norm_is_that_of_the_processor(form: str, values: list[float], variance: float) -> None:
    x, gamma, beta, mean = map(np.float32, values)
    s = gamma * (np.float32(1) / np.sqrt(np.float32(variance) + np.float32(1.001e-5)))
    expected = (x - mean) * s + beta if form == "centred" else x * s + (beta - mean * s)
    ours = judge.batch_norm(x, gamma, beta, mean, variance, epsilon=1.001e-5, format="float32", form=form)
    assert judge.to_float(ours) == expected


def test_fused_batch_norm_and_folding_differ_from_the_plain_form_as_they_must() -> None:
    x, gamma, beta, mean, variance = (np.float32(v) for v in (1.1, 0.7, -0.3, 0.9, 0.01))
    plain: dict[str, Any] = {"epsilon": 1.001e-5, "format": "float32"}
    s = judge.scale_of(gamma, variance, **plain)
    t = judge.fma(judge.read(-mean), s, judge.read(beta), "float32")
    ours = judge.batch_norm(x, gamma, beta, mean, variance, **plain, form="shifted-fma", fused_shift=True)
    assert ours == judge.fma(judge.read(x), s, t, "float32")
    kernel, bias = judge.folded([x], 0, gamma, beta, mean, variance, **plain)
    assert kernel == [judge.multiply(judge.read(x), s, "float32")]
    shift = judge.multiply(judge.read(-mean), s, "float32")
    assert bias == judge.add(shift, judge.read(beta), "float32")


def test_mean_maximum_relu_softmax() -> None:
    values = [np.float32(v) for v in (0.1, 0.2, 0.7, 1.3, 2.9, 3.1, 0.3)]
    total = np.float32(0)
    for value in values:
        total += value
    assert judge.to_float(judge.mean(values, format="float32")) == total / np.float32(7)
    by_reciprocal = judge.mean(values, format="float32", by_reciprocal=True)
    assert judge.to_float(by_reciprocal) == total * (np.float32(1) / np.float32(7))
    assert judge.maximum([1, math.nan, 3]) == "nan" and judge.maximum([-math.inf, -2.0]) == -2
    assert [judge.relu(v) for v in (-1, -0.0, math.inf, math.nan, 2)] == [0, 0, "+inf", "nan", 2]
    two_to_the = lambda x, format: judge.round_to(Fraction(2) ** int(x), format)  # noqa: E731
    assert judge.softmax([0, 2, 0], format="float32", exp=two_to_the) == [
        judge.round_to(Fraction(n, 6), "float32") for n in (1, 4, 1)
    ]


def test_wrong_orders_are_refused() -> None:
    for order, fma in [("kahan", True), ("blocks:2,2", None), ("lanes:3", None), ("lanes:0", None), ("sorted", None)]:
        with pytest.raises(ValueError):
            judge.dot([1, 2, 3], [1, 2, 3], format="float32", order=order, fma=fma)
