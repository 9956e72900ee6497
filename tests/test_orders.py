"""The orders: their texts, and the trees of additions that they stand for, against the written definitions."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest
from arithmetics import TEXTS
from hypothesis import given
from hypothesis import strategies as st

from refnet.arithmetic import CHAINS, ORDERS, Order, Schedule, parse_order
from refnet.arithmetic.chains import Chain
from refnet.arithmetic.orders import Blocks, Lanes, Pairwise, Permuted, schedule_of
from refnet.errors import InputError

Tree = Any  # a list of terms that one chain takes in sequence, or a pair of trees that are added

WRITTEN = {"pairwise": "pairwise:1"}  # texts that are a short form
BAD = (
    "", "Sequential", "sorted", "sequential:", "sequential:1", "reversed:2", "kahan:1", "dot2:", "permuted",
    "permuted:", "permuted:-1", "permuted:x", "permuted:1,2", "blocks", "blocks:", "blocks:0", "blocks:3,0",
    "blocks:3,,1", "blocks:1.5", "lanes", "lanes:", "lanes:0", "lanes:3", "lanes:-4", "lanes:4,4", "pairwise:",
    "pairwise:0", "pairwise:2,3", "pairwise: 8", "pairwise:8_0", "lanes:٤", " sequential", "sequential ",
)  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_and_its_order_are_the_same_thing(text: str) -> None:
    order = parse_order(text)
    assert type(order) is ORDERS[text.partition(":")[0]]
    assert str(order) == WRITTEN.get(text, text)
    assert parse_order(str(order)) == order == parse_order(order)
    assert hash(parse_order(str(order))) == hash(order)


@given(st.lists(st.integers(1, 10**20), min_size=1, max_size=5), st.integers(0, 10**30), st.integers(0, 10))
def test_every_argument_survives_the_round_trip(sizes: list[int], seed: int, log: int) -> None:
    blocks = ",".join(map(str, sizes))
    for text in (f"blocks:{blocks}", f"permuted:{seed}", f"lanes:{2**log}", f"pairwise:{sizes[0]}"):
        assert str(parse_order(text)) == text


@pytest.mark.parametrize("text", BAD)
def test_a_bad_text_is_one_error_that_says_how_it_is_written(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_order(text)
    kind = ORDERS.get(text.partition(":")[0])
    usages = [kind.usage] if kind else [other.usage for other in ORDERS.values()]
    expected = ["a power of two"] if text == "lanes:3" else usages
    assert all(usage in str(caught.value) for usage in expected)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", [None, 5, 1.5, ["sequential"], b"sequential"])
def test_what_is_no_text_is_refused(order: Any) -> None:
    with pytest.raises(InputError, match="expected a text"):
        parse_order(order)


@pytest.mark.parametrize("kind", ORDERS.values(), ids=ORDERS)
def test_every_order_names_a_chain_and_cites_its_bound(kind: type[Order]) -> None:
    """A plain order says its own; of a compensated one the chain does, which the order names."""
    chain = type(CHAINS[kind.chain])
    text = kind.__doc__ if kind.chain == "plain" else chain.__doc__
    assert "|error| <=" in str(text) and re.search(r"[A-Z]\w+[^()]* (19|20)\d\d\b", str(text)), text
    assert kind.chain == "plain" or f"chains.{chain.__name__}" in str(kind.__doc__)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_every_chain_cites_its_bound(chain: Chain) -> None:
    text = str(type(chain).__doc__)
    assert "|error| <=" in text and re.search(r"[A-Z]\w+[^()]* (19|20)\d\d\b", text), text


@pytest.mark.parametrize(
    "make",
    [
        lambda: Pairwise(2.0), lambda: Pairwise("2"), lambda: Pairwise(None), lambda: Pairwise(True),
        lambda: Pairwise(np.float64(2)), lambda: Lanes(4.0), lambda: Permuted(1.5), lambda: Permuted([1]),
        lambda: Blocks([2, 3]), lambda: Blocks(5), lambda: Blocks((2, 3.0)), lambda: Blocks("23"),
    ],
)  # fmt: skip
def test_an_order_made_of_other_things_than_ints_is_refused(make: Callable[[], Order]) -> None:
    with pytest.raises(InputError, match=r"^order \w+\(.*\); expected arguments of type int"):
        make()


@pytest.mark.parametrize("text", [*TEXTS, "tree:(0)"])
@pytest.mark.parametrize("terms", [0, -1])
def test_a_sum_without_terms_has_no_schedule(text: str, terms: int) -> None:
    with pytest.raises(InputError, match=rf"for a sum of {terms} terms; expected at least 1"):
        parse_order(text).schedule(terms)


@pytest.mark.parametrize("text", [*TEXTS, "tree:(0..2)+((3),4,5)"])
def test_schedules_are_shared_and_so_nobody_can_change_one(text: str) -> None:
    schedule = schedule_of(parse_order(text), 6)
    assert schedule is schedule_of(parse_order(text), 6)
    arrays = [getattr(schedule, field.name) for field in dataclasses.fields(schedule)]
    arrays = [array for array in arrays if isinstance(array, np.ndarray)]
    assert len(arrays) >= 3
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_schedule_leaves_the_arrays_that_it_is_made_of_alone() -> None:
    permutation = np.arange(3)
    Schedule(permutation, np.array([3]), np.array([0]))
    permutation[0] = 0
    assert permutation.flags.writeable


# ---- what the definitions say, once more: lists of terms and pairs -------------------------------------------------


def blocks(terms: list[int], sizes: list[int]) -> Tree:
    parts = [terms[sum(sizes[:i]) : sum(sizes[: i + 1])] for i in range(len(sizes))]
    return reduce(lambda left, right: (left, right), parts)


def equal_blocks(terms: list[int], size: int) -> Tree:
    return reduce(lambda left, right: (left, right), [terms[i : i + size] for i in range(0, len(terms), size)])


def lanes(terms: list[int], width: int) -> Tree:
    sums: list[Tree] = [[k for k in terms if k % width == lane] for lane in range(width)]
    while width > 1:
        width //= 2
        sums = [(sums[lane], sums[lane + width]) for lane in range(width)]
    return sums[0]


def pairwise(terms: list[int], leaf: int) -> Tree:
    if len(terms) <= leaf:
        return terms
    split = max(leaf * 2**j for j in range(20) if leaf * 2**j < len(terms))
    return pairwise(terms[:split], leaf), pairwise(terms[split:], leaf)


DEFINITIONS: dict[str, Callable[[list[int], str], Tree]] = {
    "sequential": lambda terms, _: terms,
    "reversed": lambda terms, _: terms[::-1],
    "permuted": lambda terms, seed: np.random.default_rng(int(seed)).permutation(len(terms)).tolist(),
    "blocks": lambda terms, size: equal_blocks(terms, int(size)),
    "lanes": lambda terms, width: lanes(terms, int(width)),
    "pairwise": lambda terms, leaf: pairwise(terms, int(leaf or 1)),
    **dict.fromkeys(("kahan", "neumaier", "dot2", "exact"), lambda terms, _: terms),
}


def tree_of(schedule: Schedule) -> Tree:
    """The tree that the schedule's little program builds."""
    terms, stack = iter(schedule.permutation.tolist()), []
    highest = 0
    for length, merges in zip(schedule.lengths.tolist(), schedule.merges.tolist(), strict=True):
        stack.append([next(terms) for _ in range(length)])
        highest = max(highest, len(stack))
        for _ in range(merges):
            newest = stack.pop()
            stack.append((stack.pop(), newest))
    assert len(stack) == 1 and not list(terms) and highest == schedule.depth
    return stack[0]


def test_every_order_has_a_definition_here() -> None:
    assert set(ORDERS) - {"tree"} == set(DEFINITIONS)


@pytest.mark.parametrize("text", [*TEXTS, "pairwise:3", "pairwise:5", "blocks:7", "blocks:100", "lanes:1", "lanes:64"])
@given(terms=st.integers(1, 200))
def test_the_schedule_is_the_tree_of_the_definition(text: str, terms: int) -> None:
    name, _, argument = text.partition(":")
    schedule = parse_order(text).schedule(terms)
    assert sorted(schedule.permutation.tolist()) == list(range(terms))
    assert schedule.lengths.sum() == terms and len(schedule.merges) == len(schedule.lengths)
    assert tree_of(schedule) == DEFINITIONS[name](list(range(terms)), argument)
    assert schedule.in_place == (schedule.permutation.tolist() == list(range(terms)))


@given(st.lists(st.integers(1, 9), min_size=2, max_size=9))
def test_blocks_of_given_sizes(sizes: list[int]) -> None:
    order = parse_order("blocks:" + ",".join(map(str, sizes)))
    assert tree_of(order.schedule(sum(sizes))) == blocks(list(range(sum(sizes))), sizes)
    for wrong in (sum(sizes) - 1, sum(sizes) + 1):
        with pytest.raises(InputError, match=f"has {sum(sizes)} terms, the sum has {wrong}"):
            order.schedule(wrong)


@pytest.mark.parametrize(
    ("text", "terms", "expected"),
    [
        ("lanes:4", 6, "((04)(2))((15)(3))"),
        ("lanes:4", 2, "((0)())((1)())"),
        ("pairwise", 5, "(((0)(1))((2)(3)))(4)"),
        ("pairwise:2", 7, "((01)(23))((45)(6))"),
        ("pairwise:3", 7, "((012)(345))(6)"),
        ("blocks:2", 5, "((01)(23))(4)"),
        ("blocks:1,3,2", 6, "((0)(123))(45)"),
    ],
)
def test_a_few_trees_by_hand(text: str, terms: int, expected: str) -> None:
    def parentheses(tree: Tree) -> str:
        inner = "".join(map(parentheses if isinstance(tree, tuple) else str, tree))
        return f"({inner})"

    assert parentheses(tree_of(parse_order(text).schedule(terms)))[1:-1] == expected


PERMUTATIONS = {(0, 5): [2, 4, 3, 0, 1], (1, 6): [4, 0, 2, 1, 5, 3], (7, 9): [8, 0, 7, 1, 3, 6, 2, 4, 5]}
LONG_PERMUTATION = "325567dc84dd58d26662a185bd5ec38d6ba511736b2174ac9688ca903c8b77a1"  # seed 12345, 4608 terms


def test_permutations_are_pinned() -> None:
    """NumPy promises no stream for ever: if it changes one, the bits of `permuted` change, and this says so."""
    for (seed, terms), expected in PERMUTATIONS.items():
        assert parse_order(f"permuted:{seed}").schedule(terms).permutation.tolist() == expected
    long = parse_order("permuted:12345").schedule(4608).permutation.astype("<i8")
    assert hashlib.sha256(long.tobytes()).hexdigest() == LONG_PERMUTATION


@pytest.mark.parametrize(
    ("terms", "lengths", "merges"),
    [(3, [3], [1]), (3, [2], [0]), (3, [1, 2], [0, 0]), (3, [1, 2], [1, 0]), (3, [1, 2], [1]), (3, [3, 0], [0, 2])],
)
def test_what_is_no_schedule_is_refused(terms: int, lengths: list[int], merges: list[int]) -> None:
    with pytest.raises(ValueError, match="not a schedule"):
        Schedule(np.arange(terms), np.array(lengths), np.array(merges))


def test_orders_are_values() -> None:
    order: Order = parse_order("lanes:8")
    with pytest.raises(AttributeError):
        order.width = 4  # type: ignore[attr-defined]
    assert len({parse_order("lanes:8"), order, parse_order("lanes:16")}) == 2
