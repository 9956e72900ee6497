"""The form of a softmax: known ones behind the pipes are named, the exponentials read off are those computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reveal_support import made_up

from refnet.arithmetic import FORMATS, Arithmetic, Tree, parse_order, recognise
from refnet.arithmetic.exponential import exp
from refnet.errors import InputError
from refnet.graph import Graph, resnet
from refnet.ops.products import plain_sums
from refnet.reveal import softmax_form
from refnet.reveal.assembly import program_of
from refnet.reveal.black_box import NoTreeError
from refnet.reveal.meetings import Meeting
from refnet.reveal.softmax_division import turned_back
from refnet.reveal.softmax_form import SoftmaxForm, probe_softmax
from refnet.reveal.softmax_order import tree_by_triples
from refnet.reveal.softmax_rows import SoftmaxRows

CLASSES, TERMS = 100, 128
DENSE = resnet(50, input_shape=(32, 32)).output
SMALL = replace(DENSE, shape=(CLASSES,), weights={"kernel": (TERMS, CLASSES), "bias": (CLASSES,)})
GRAPH = Graph("small", "v1", (replace(resnet(50, input_shape=(32, 32)).nodes[0], name="x", shape=(TERMS,)),
                              replace(SMALL, inputs=("x",))))  # fmt: skip

# exp to the bit in float64, rounded, and its last bit turned around where a hash of the number says so.
SOFTMAX = """
from refnet.arithmetic import FORMATS, parse_order
from refnet.ops.products import plain_sums

def own_exp(x):
    with np.errstate(over="ignore"):
        e = np.exp(x.astype(np.float64)).astype(np.float32)
    odd = (x.view(np.uint32) * np.uint32(2654435761) >> np.uint32(29) == 0) & (e > 1e-37) & (e < 1)
    return (e.view(np.uint32) ^ odd.astype(np.uint32)).view(np.float32)

def layer(x, weights, node):
    z = x @ weights[0] + weights[1]
    z = z - z.max(axis=1, keepdims=True) if {maximum} else z
    e = own_exp(z)
    s = {total}
    with np.errstate(over="ignore", invalid="ignore"):
        return {quotient}
"""
DIVIDE, MULTIPLY = "e / s", "e * (np.float32(1) / s)"
LOGARITHM = "own_exp(z - np.log(s))"
IN_DOUBLE = "e.sum(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)"


def in_order(order: str) -> str:
    return f"plain_sums(e, Arithmetic(order={order!r}, fma=False))[:, None]"


def probed(folder: Path, total: str, quotient: str = DIVIDE, maximum: bool = True) -> SoftmaxForm:
    code = SOFTMAX.format(total=total, quotient=quotient, maximum=maximum)
    with made_up(folder, GRAPH, code) as session:
        return probe_softmax(session, GRAPH.output)


@pytest.mark.parametrize(
    ("order", "quotient", "division"),
    [("lanes:8", MULTIPLY, "multiply"), ("sequential", DIVIDE, "divide"), ("blocks:7", DIVIDE, "divide")],
)
def test_a_known_form_is_found(tmp_path: Path, order: str, quotient: str, division: str) -> None:
    """Blocks of seven are in no list: their tree is found, and named."""
    found = probed(tmp_path, in_order(order), quotient)
    assert (found.maximum, found.division, str(found.order)) == (True, division, order)
    assert found.differing == found.differing_divisions == 0 < found.outputs and not found.reason
    assert 0.8 < found.rounded / found.exponentials < 0.95 and 0.5 < found.largest_error <= 1.5  # one in eight is off


def test_a_tree_without_a_name_is_found(tmp_path: Path) -> None:
    halves = "plain_sums(e[:, :40], A)[:, None] + plain_sums(e[:, 40:], A)[:, None]"
    found = probed(tmp_path, halves.replace("A)", 'Arithmetic(order="lanes:8", fma=False))'))
    assert isinstance(found.order, Tree) and found.differing == 0 and not found.reason


def test_of_a_whole_network_only_named_orders_are_tried(tmp_path: Path) -> None:
    code = SOFTMAX.format(total=in_order("blocks:7"), quotient=DIVIDE, maximum=True)
    with made_up(tmp_path, GRAPH, code) as session:
        found = probe_softmax(session, GRAPH.output, tree=False)
    assert found.order in softmax_form._named(GRAPH.output.shape[-1]) and found.differing > 0
    assert "refnet reveal --softmax" in found.reason


def test_what_cannot_be_known_is_said(tmp_path: Path) -> None:
    """A sum in float64 has no tree; nothing is read off through a logarithm; a maximum that stays is seen."""
    wide = probed(tmp_path, IN_DOUBLE)
    assert wide.differing > 0 and "more exact than float32" in wide.reason and "named orders" in wide.reason
    logarithm = probed(tmp_path, in_order("sequential"), LOGARITHM)
    assert (logarithm.division, logarithm.order) == ("logarithm", None) and "logarithm" in logarithm.reason
    assert not probed(tmp_path, in_order("sequential"), maximum=False).maximum


def test_an_unknown_division_reads_nothing_off(tmp_path: Path) -> None:
    found = probed(tmp_path, in_order("sequential"), "e / np.nextafter(s, np.float32(9e9))")
    assert found.differing_divisions > 0 and found.exponentials == 0 and "no form" in found.reason
    assert f"{found.differing_divisions} of {found.divisions} quotients differ" in str(found)


def test_rows_go_in_as_they_are_and_in_batches_as_the_network_has(tmp_path: Path) -> None:
    code = "layer = lambda x, weights, node: np.float32(len(x)) * (x @ weights[0] + weights[1])"
    logits = np.random.default_rng(0).standard_normal((5, CLASSES)).astype(np.float32)
    with made_up(tmp_path, GRAPH, code, batch_size=2) as session:
        rows = SoftmaxRows(session, GRAPH.output)
        rows.take()
        assert (rows.ask(logits) == 6 * logits).all()  # this backend gets all rows at once, padded to whole batches
    with pytest.raises(InputError, match="an input for each"):
        SoftmaxRows(session, replace(SMALL, weights={"kernel": (CLASSES - 1, CLASSES)}))
    with pytest.raises(InputError, match="at least 8"):
        SoftmaxRows(session, replace(SMALL, weights={"kernel": (9, 7)}))


@pytest.mark.parametrize("division", ["divide", "multiply"])
def test_quotients_are_turned_back(division: str) -> None:
    """What is certain is right; most is certain. The sums include those that have a neighbour with the same inverse."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-20, -0.1, (50, 400)).astype(np.float32)
    e, one = exp(x, FORMATS["float32"]), np.float32(1)
    total = rng.uniform(1, 900, (50, 1)).astype(np.float32)
    quotients = e / total if division == "divide" else e * (one / total)
    found, certain = turned_back(quotients, one / total, division)
    assert (found == e)[certain].all() and certain.mean() > 0.3


# ---- trees from triples --------------------------------------------------------------------------------------------


def paths(node: int | Meeting, above: tuple[int, ...] = ()) -> dict[int, tuple[int, ...]]:
    """Each term's way down from the root."""
    if not isinstance(node, Meeting):
        return {node: above}
    found: dict[int, tuple[int, ...]] = {}
    for place, child in enumerate(node.children):
        found |= paths(child, (*above, place))
    return found


@st.composite
def meetings(draw: st.DrawFn) -> tuple[Meeting, int]:
    """A tree of two-term meetings over up to 40 terms."""
    terms = draw(st.integers(2, 40))
    nodes: list[int | Meeting] = list(draw(st.permutations(range(terms))))
    while len(nodes) > 1:
        right, left = (nodes.pop(draw(st.integers(0, len(nodes) - 1))) for _ in range(2))
        nodes.append(Meeting([left, right]))
    assert isinstance(nodes[0], Meeting)
    return nodes[0], terms


@pytest.mark.slow
@given(meetings(), st.integers(0, 99))
def test_triples_tell_every_tree(drawn: tuple[Meeting, int], seed: int) -> None:
    tree, terms = drawn
    way = paths(tree)

    def together(a: int, b: int) -> int:
        """How many meetings hold both: the deeper the last one, the earlier they meet."""
        return next((k for k, (x, y) in enumerate(zip(way[a], way[b], strict=False)) if x != y), 99)

    def meets(triples: np.ndarray) -> np.ndarray:
        return np.array([together(j, k) > together(i, j) for i, j, k in triples], bool)

    found = tree_by_triples(terms, meets, np.random.default_rng(seed))

    def order(top: Meeting) -> object:
        return recognise(Tree(program_of(top, np.ones(terms, bool), False)), fma=False)

    wanted, told = order(tree), order(found)
    assert sorted(paths(found)) == list(range(terms))
    rng = np.random.default_rng(0)
    e = rng.uniform(0, 1, (20, terms)).astype(np.float32)
    sums = [plain_sums(e, Arithmetic(order=each, fma=False)) for each in (wanted, told)]
    assert (sums[0] == sums[1]).all()
    assert parse_order(str(told)) == told


def test_answers_that_contradict_each_other_are_no_tree() -> None:
    with pytest.raises(NoTreeError, match="more than one pair"):
        tree_by_triples(5, lambda triples: np.ones(len(triples), bool), np.random.default_rng(0))
