"""Each operation's definition against the judge, which has the same rules in exact fractions and shares no code."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import judge
import mpmath
import numpy as np
import pytest
from arithmetics import random_numbers, special_values
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet import ops
from refnet.arithmetic import BATCH_NORM_FORMS, BIAS_PLACES, FORMATS, MEANS, RELUS, Arithmetic, round_to
from refnet.graph import BATCH_NORM_EPSILON

PRECISIONS = tuple(judge.OPERANDS)  # double-double has its own tests
EVERY = pytest.mark.parametrize("precision", PRECISIONS)
FORMS = tuple(name for name, form in BATCH_NORM_FORMS.items() if form.applied != "none")
# each form with how its shift comes about, where that has an effect
EVERY_FORM = (*((form, "rounded") for form in FORMS), ("shifted", "fused"), ("shifted-fma", "fused"))
GIVEN = ((), ("inverse",), ("scale",), ("shift",), ("inverse", "shift"), ("scale", "shift"))
ORDERS = ("sequential", "reversed", "permuted:3", "blocks:2", "lanes:4", "pairwise:2", "kahan", "neumaier", "dot2")
EVERY_ORDER = pytest.mark.parametrize("order", ORDERS)
WIDE = dict.fromkeys(PRECISIONS, "float32") | {"float64": "float64"}  # where layers other than products compute
few = settings(max_examples=25, deadline=None)


def numbers_of(name: str) -> st.SearchStrategy[float]:
    """Numbers of a format: tame, wild and special ones."""
    format_ = FORMATS[name]
    tame = st.floats(-4, 4).map(lambda x: float(round_to(x, format_)))
    wild = st.floats(allow_nan=False).map(lambda x: float(round_to(x, format_)))
    return st.one_of(tame, tame, tame, wild, st.sampled_from(special_values(format_)))


def array(values: Any, name: str) -> np.ndarray:
    return np.asarray(values, FORMATS[name].working)


def stored(number: judge.Number, precision: str) -> int:
    """The bits of a judge's number, rounded to storage."""
    storage = judge.STORAGE[precision]
    return judge.bits(judge.round_to(number, storage), storage)


def given_to(form: str) -> list[tuple[str, ...]]:
    """The constants that may be given to a form together."""
    return [names for names in GIVEN if set(names) <= set(BATCH_NORM_FORMS[form].constants)]


def bits(x: Any, precision: str) -> Any:
    """The bits of refnet's numbers as the judge writes them; a list, nested like the array."""
    read = np.frompyfunc(lambda number: judge.bits(judge.read(number), judge.STORAGE[precision]), 1, 1)
    return np.asarray(read(np.asarray(x, np.float64))).tolist()


# ---- element by element ---------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize(("form", "shift"), EVERY_FORM)
@pytest.mark.parametrize("epsilon", [BATCH_NORM_EPSILON, 1e-5])
@few
@given(data=st.data())
def test_batch_norm(precision: str, form: str, shift: str, epsilon: float, data: st.DataObject) -> None:
    storage, wide = judge.STORAGE[precision], WIDE[precision]
    x = data.draw(numbers_of(storage))
    gamma, beta, mean = (data.draw(numbers_of(wide)) for _ in range(3))
    variance = data.draw(numbers_of(wide).map(abs) | st.just(0.0))
    given = {name: data.draw(numbers_of(wide)) for name in data.draw(st.sampled_from(given_to(form)))}
    own = {"bias": data.draw(numbers_of(storage))} if form.startswith("sum-") and data.draw(st.booleans()) else {}
    arithmetic = Arithmetic(precision, batch_norm=form, shift=shift)
    vectors = [array([vector], wide) for vector in (gamma, beta, mean, variance)]
    arrays = {name: array([number], wide) for name, number in {**given, **own}.items()}
    ours = ops.batch_norm(array([[[[x]]]], storage), *vectors, epsilon=epsilon, arithmetic=arithmetic, **arrays)
    how: dict[str, Any] = {"epsilon": epsilon, "format": wide, "form": form, "fused_shift": shift == "fused"}
    expected = judge.batch_norm(x, gamma, beta, mean, variance, **how, **given, **own)
    assert bits(ours, precision) == [[[[stored(expected, precision)]]]]


@EVERY
@few
@given(data=st.data())
def test_batch_norm_folded_into_a_convolution(precision: str, data: st.DataObject) -> None:
    """Each weight and the bias, which no bias is a zero of, against the judge's; constants may be given."""
    storage, wide = judge.STORAGE[precision], WIDE[precision]
    kernel = data.draw(st.lists(numbers_of(storage), min_size=3, max_size=3))
    bias = data.draw(st.none() | numbers_of(storage))
    gamma, beta, mean = (data.draw(numbers_of(wide)) for _ in range(3))
    variance = data.draw(numbers_of(wide).map(abs) | st.just(0.0))
    arithmetic = Arithmetic(precision, batch_norm="folded")
    given = {name: data.draw(numbers_of(wide)) for name in data.draw(st.sampled_from(given_to("folded")))}
    arrays = {name: array([number], wide) for name, number in given.items()}
    arrays |= {} if bias is None else {"bias": array([bias], storage)}
    vectors = (array([vector], wide) for vector in (gamma, beta, mean, variance))
    vectors = ops.norm_vectors(*vectors, epsilon=BATCH_NORM_EPSILON, arithmetic=arithmetic, **arrays)
    shaped = array(kernel, storage).reshape(1, 3, 1, 1)
    weights, shift = ops.folded_kernel(shaped, *vectors, arithmetic=arithmetic)
    how: dict[str, Any] = {"epsilon": BATCH_NORM_EPSILON, "format": wide, **given}
    expected, expected_shift = judge.folded(kernel, bias or 0, gamma, beta, mean, variance, **how)
    assert weights.shape == shaped.shape
    assert bits(weights.ravel(), precision) == [stored(number, precision) for number in expected]
    assert bits(shift, precision) == [stored(expected_shift, precision)]


@EVERY
def test_batch_norm_of_many_ordinary_numbers(precision: str) -> None:
    """Full significands, for which every form and shift has other bits somewhere; hypothesis likes short ones."""
    storage, wide, rng = judge.STORAGE[precision], WIDE[precision], np.random.default_rng(2)
    x, bias = (random_numbers(rng, (64,), FORMATS[storage], 0) for _ in range(2))
    vectors = [abs(random_numbers(rng, (64,), FORMATS[wide], 0)) for _ in range(4)]
    constants = {name: random_numbers(rng, (64,), FORMATS[wide], 0) for name in ("inverse", "scale", "shift")}
    channels, how = list(zip(*vectors, strict=True)), {"epsilon": BATCH_NORM_EPSILON}
    for (form, shift), names in itertools.product(EVERY_FORM, GIVEN):
        if names not in given_to(form):
            continue
        arithmetic = Arithmetic(precision, batch_norm=form, shift=shift)
        given = {name: constants[name] for name in names} | ({"bias": bias} if form.startswith("sum-") else {})
        ours = ops.batch_norm(x.reshape(1, 1, 1, 64), *vectors, arithmetic=arithmetic, **how, **given).ravel()
        judged = {"format": wide, "form": form, "fused_shift": shift == "fused", **how}
        for c, own in enumerate(channels):
            expected = judge.batch_norm(x[c], *own, **judged, **{name: vector[c] for name, vector in given.items()})
            assert bits(ours[c], precision) == stored(expected, precision), (form, shift, names)
    arithmetic = Arithmetic(precision, batch_norm="folded")
    joined = ops.norm_vectors(*vectors, arithmetic=arithmetic, bias=bias, **how)
    folded = ops.folded_kernel(x.reshape(1, 1, 1, 64), *joined, arithmetic=arithmetic)
    for c, own in enumerate(channels):
        (weight,), offset = judge.folded(x[c : c + 1], bias[c], *own, format=wide, **how)
        assert bits(folded[0][..., c].item(), precision) == stored(weight, precision)
        assert bits(folded[1][c].item(), precision) == stored(offset, precision)


def test_every_form_of_batch_norm_has_bits_of_its_own() -> None:
    """Numbers for which every form has other bits: a form taken for another would be seen."""
    rng = np.random.default_rng(2)
    x, (bias, *vectors) = rng.standard_normal((1, 4, 4, 8)), rng.uniform(0.1, 2, (5, 8))
    (x, bias), arrays = (array(numbers, "float32") for numbers in (x, bias)), [array(v, "float32") for v in vectors]
    results = []
    for form in FORMS:
        of, given = (x, {"bias": bias}) if form.startswith("sum-") else (x + bias, {})
        arithmetic = Arithmetic(batch_norm=form)
        results.append(ops.batch_norm(of, *arrays, epsilon=BATCH_NORM_EPSILON, arithmetic=arithmetic, **given))
    assert len(results) == 5 and all((a != b).any() for a, b in itertools.combinations(results, 2))


def test_epsilon_is_rounded_to_the_arithmetic_once() -> None:
    zero, one = array([0.0], "float32"), array([1.0], "float32")
    y = ops.batch_norm(
        array([[[[1.0]]]], "float32"), one, zero, zero, zero, epsilon=BATCH_NORM_EPSILON, arithmetic=Arithmetic()
    )
    assert y.item() == np.float32(1) / np.sqrt(np.float32(1.001e-5))


@EVERY
@few
@given(data=st.data())
def test_addition(precision: str, data: st.DataObject) -> None:
    storage = judge.STORAGE[precision]
    x, y = data.draw(numbers_of(storage)), data.draw(numbers_of(storage))
    ours = ops.add(array([x], storage), array([y], storage), arithmetic=Arithmetic(precision))
    expected = judge.add(judge.read(x), judge.read(y), WIDE[precision])
    assert bits(ours, precision) == [stored(expected, precision)]


@EVERY
@pytest.mark.parametrize("form", RELUS)
@given(data=st.data())
def test_relu(precision: str, form: str, data: st.DataObject) -> None:
    storage = judge.STORAGE[precision]
    x = data.draw(numbers_of(storage))
    expected = judge.relu(x, signed_zero=form == "signed-zero")
    assert bits(ops.relu(array([x], storage), form), precision) == [judge.bits(expected, storage)]


def test_relu_of_zeros() -> None:
    zeros = np.array([0.0, -0.0, -1.0])
    assert np.signbit(ops.relu(zeros)).tolist() == [False] * 3
    assert np.signbit(ops.relu(zeros, "signed-zero")).tolist() == [False, True, False]


@given(st.lists(numbers_of("float32"), min_size=6, max_size=6))
def test_max_pool(values: list[float]) -> None:
    """The judge leaves the sign of a zero open; refnet takes +0 for larger than -0, as IEEE 754-2019's maximum."""
    y = ops.max_pool(array(values, "float32").reshape(1, 2, 3, 1), size=(2, 3), strides=(1, 1))
    expected = judge.maximum(values)
    if expected in (0, judge.NEGATIVE_ZERO):
        signs = [np.signbit(value) for value in values if value == 0]
        expected = judge.NEGATIVE_ZERO if all(signs) else Fraction(0)
    assert bits(y.item(), "float32") == judge.bits(expected, "float32")


@pytest.mark.parametrize(("size", "strides"), [((3, 3), (2, 2)), ((1, 2), (3, 1)), ((2, 1), (1, 4))])
def test_max_pool_takes_its_windows_where_it_should(size: tuple[int, int], strides: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 7, 8, 3)).astype(np.float32)
    y = ops.max_pool(x, size=size, strides=strides)
    assert y.shape == (2, (7 - size[0]) // strides[0] + 1, (8 - size[1]) // strides[1] + 1, 3)
    for n, i, j, c in np.ndindex(y.shape):
        top, left = i * strides[0], j * strides[1]
        assert y[n, i, j, c] == max(x[n, top + a, left + b, c] for a in range(size[0]) for b in range(size[1]))


def test_pad_is_zeros_around_the_image() -> None:
    x = np.arange(1, 13, dtype=np.float32).reshape(1, 2, 3, 2)
    y = ops.pad(x, ((1, 2), (0, 3)))
    assert y.shape == (1, 5, 6, 2) and (y[:, 1:3, :3] == x).all() and y.sum() == x.sum()
    assert not np.signbit(y).any()


# ---- sums -----------------------------------------------------------------------------------------------------------


@EVERY
@EVERY_ORDER
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_mean_pool(precision: str, order: str, data: st.DataObject) -> None:
    """The order runs over the pixels row by row; the count is divided by, once, or multiplied by its reciprocal."""
    storage, (height, width) = judge.STORAGE[precision], data.draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    pixels = data.draw(st.lists(numbers_of(storage), min_size=height * width, max_size=height * width))
    x = array(pixels, storage).reshape(1, height, width, 1)
    for form in MEANS:
        ours = ops.mean_pool(x, arithmetic=Arithmetic(precision, order=order, mean=form))
        expected = judge.mean(pixels, format=WIDE[precision], order=order, by_reciprocal=form == "multiply")
        assert bits(ours, precision) == [[stored(expected, precision)]]


def test_the_forms_of_the_mean_differ_where_they_must() -> None:
    """5 fl(1 / 49) is not fl(5 / 49): a form taken for the other would be seen."""
    x = np.zeros((1, 7, 7, 1), np.float32)
    x[0, 0, 0, 0] = 5
    divided, multiplied = (ops.mean_pool(x, arithmetic=Arithmetic(mean=form)).item() for form in MEANS)
    assert divided == np.float32(5) / np.float32(49) != multiplied == np.float32(5) * (np.float32(1) / np.float32(49))


def exact_exp(x: judge.Number, format: str) -> judge.Number:
    """RN(exp(x)) from 400 bits of mpmath: far more than any of these inputs needs to be decided."""
    if isinstance(x, str):
        return {judge.NEGATIVE_INF: Fraction(0), judge.NEGATIVE_ZERO: Fraction(1)}.get(x, x)
    if x < -2000:
        return Fraction(0)
    with mpmath.workprec(400):
        sign, significand, exponent, _ = mpmath.exp(mpmath.mpf(x.numerator) / x.denominator)._mpf_
    return judge.round_to((-1) ** sign * Fraction(int(significand)) * Fraction(2) ** int(exponent), format)


@EVERY
@EVERY_ORDER
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_softmax(precision: str, order: str, data: st.DataObject) -> None:
    storage = judge.STORAGE[precision]
    element = st.floats(-100, 20).map(lambda x: float(round_to(x, FORMATS[storage]))) | numbers_of(storage)
    values = data.draw(st.lists(element, min_size=1, max_size=5))
    ours = ops.softmax(array([values], storage), arithmetic=Arithmetic(precision, order=order))
    expected = judge.softmax(values, format=WIDE[precision], order=order, exp=exact_exp)
    assert bits(ours, precision) == [[stored(number, precision) for number in expected]]


ACCUMULATE = {"float16": ("float16", "float32"), "bfloat16": ("bfloat16", "float64")}


@EVERY
@EVERY_ORDER
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_dense(precision: str, order: str, data: st.DataObject) -> None:
    bias_at = data.draw(st.sampled_from(("last", "first") if order == "exact" else BIAS_PLACES))
    storage, terms = judge.STORAGE[precision], data.draw(st.integers(1, 9))
    accumulate = data.draw(st.sampled_from(ACCUMULATE.get(precision, (None,))))
    fma = None if order in ("kahan", "neumaier", "dot2") else data.draw(st.booleans())
    draw: Callable[[int], list[float]] = lambda n: data.draw(st.lists(numbers_of(storage), min_size=n, max_size=n))  # noqa: E731
    x, kernel, bias = draw(terms), [draw(terms) for _ in range(2)], draw(2)
    ours = ops.dense(
        array([x], storage),
        array(kernel, storage).T,
        array(bias, storage),
        arithmetic=Arithmetic(precision, accumulate, order, fma, bias=bias_at),
    )
    how: dict[str, Any] = {"format": precision, "accumulate": accumulate, "order": order, "fma": fma}
    expected = [judge.dot(x, kernel[f], bias=bias[f], bias_at=bias_at, **how) for f in range(2)]
    assert bits(ours, precision) == [[stored(number, precision) for number in expected]]


@pytest.mark.parametrize(("bias_at", "value"), [("last", 258), ("first", 256), ("stored", 256), ("narrowed", 256)])
def test_a_bias_that_is_added_to_a_stored_sum(bias_at: str, value: int) -> None:
    """256 + 1 + 1 in bfloat16, whose numbers here lie two apart: half way, 257 goes to the even 256."""
    terms, weights, bias = array([256, 1], "bfloat16"), array([[1], [1]], "bfloat16"), array([1], "bfloat16")
    sums = "bfloat16" if bias_at == "first" else "float32"
    arithmetic = Arithmetic("bfloat16", sums, bias=bias_at)
    assert ops.dense(terms[None], weights, bias, arithmetic=arithmetic) == [[value]]


@pytest.mark.parametrize(("bias_at", "value"), [("last", 258), ("first", 258), ("stored", 258), ("narrowed", 257)])
def test_a_bias_that_is_added_to_a_narrowed_sum(bias_at: str, value: int) -> None:
    """256 + 1 + 1 with operands of bfloat16, in float32; without a bias the sum is rounded where it is with one."""
    terms, weights, bias = array([256, 1], "float32"), array([[1], [1]], "float32"), array([1], "float32")
    arithmetic = Arithmetic("bfloat16-operands", bias=bias_at)
    assert ops.dense(terms[None], weights, bias, arithmetic=arithmetic) == [[value]]
    assert ops.dense(terms[None], weights, None, arithmetic=arithmetic) == [[256 if bias_at == "narrowed" else 257]]


GEOMETRIES = st.fixed_dictionaries(
    {
        "images": st.integers(1, 2),
        "size": st.tuples(st.integers(1, 5), st.integers(1, 5)),
        "window": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "strides": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "padding": st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2),
        "channels": st.integers(1, 3),
        "filters": st.integers(1, 2),
    }
)


def window_terms(x: np.ndarray, i: int, j: int, geometry: dict[str, Any]) -> list[float]:
    """The terms of output (i, j) of one image in (kh, kw, cin) order: a plain loop, zeros where there is no image."""
    (top, _), (left, _) = geometry["padding"]
    terms = []
    for dh, dw, c in np.ndindex(*geometry["window"], geometry["channels"]):
        h, w = i * geometry["strides"][0] + dh - top, j * geometry["strides"][1] + dw - left
        inside = 0 <= h < x.shape[0] and 0 <= w < x.shape[1]
        terms.append(float(x[h, w, c]) if inside else 0.0)
    return terms


@EVERY
@pytest.mark.parametrize("order", ["sequential", "reversed", "lanes:4", "pairwise", "kahan"])
@settings(max_examples=10, deadline=None)
@given(geometry=GEOMETRIES, seed=st.integers(0, 1000), with_bias=st.booleans())
def test_conv2d_is_a_plain_loop(
    precision: str, order: str, geometry: dict[str, Any], seed: int, with_bias: bool
) -> None:
    storage, rng = judge.STORAGE[precision], np.random.default_rng(seed)
    padded = [size + sum(padding) for size, padding in zip(geometry["size"], geometry["padding"], strict=True)]
    window = geometry["window"] = tuple(map(min, geometry["window"], padded))
    channels, filters = geometry["channels"], geometry["filters"]
    x = random_numbers(rng, (geometry["images"], *geometry["size"], channels), FORMATS[storage], 0.02)
    kernel = random_numbers(rng, (*window, channels, filters), FORMATS[storage], 0.02)
    bias = random_numbers(rng, (filters,), FORMATS[storage], 0) if with_bias else None
    arithmetic = Arithmetic(precision, order=order)
    how = {"strides": geometry["strides"], "padding": geometry["padding"], "arithmetic": arithmetic}
    y = ops.conv2d(x, kernel, bias, **how)
    out = [(size - w) // s + 1 for size, w, s in zip(padded, window, geometry["strides"], strict=True)]
    assert y.shape == (len(x), *out, filters)
    flat = kernel.reshape(-1, filters)
    for n, i, j, f in itertools.islice(np.ndindex(y.shape), 12):
        terms, offset = window_terms(x[n], i, j, geometry), None if bias is None else bias[f]
        expected = judge.dot(terms, flat[:, f], format=precision, order=order, bias=offset)
        assert bits(y[n, i, j, f], precision) == stored(expected, precision)


def test_padding_is_terms_like_others() -> None:
    """An infinite weight meets a zero of the padding: the product is NaN, as it is in a backend that really pads."""
    x, kernel = np.ones((1, 1, 1, 1), np.float32), np.full((2, 1, 1, 1), np.inf, np.float32)
    y = ops.conv2d(x, kernel, None, strides=(1, 1), padding=((1, 0), (0, 0)), arithmetic=Arithmetic())
    assert np.isnan(y).all()


def test_nothing_that_comes_in_is_changed() -> None:
    rng = np.random.default_rng(0)
    x, kernel, vector = (rng.standard_normal(s).astype("f4") for s in ((1, 4, 4, 3), (3, 3, 3, 3), (3,)))
    before = [array.copy() for array in (x, kernel, vector)]
    for array in (x, kernel, vector):
        array.flags.writeable = False
    for precision, form in itertools.product(PRECISIONS, FORMS):
        arithmetic = Arithmetic(precision, batch_norm=form)
        if arithmetic.storage.working is not np.float32:
            continue
        ops.conv2d(x, kernel, vector, strides=(1, 1), padding=((1, 1), (1, 1)), arithmetic=arithmetic)
        ops.batch_norm(x, vector, vector, vector, abs(vector), epsilon=1e-5, arithmetic=arithmetic)
        ops.mean_pool(x, arithmetic=arithmetic), ops.relu(x), ops.add(x, x, arithmetic=arithmetic)
        ops.softmax(x[0, 0], arithmetic=arithmetic)
    assert all((array == copy).all() for array, copy in zip((x, kernel, vector), before, strict=True))
