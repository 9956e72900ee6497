"""The form in which a backend evaluates the softmax of the output layer, found by probes of the layer in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arithmetic import Arithmetic, Order, shortened
from ..arithmetic.orders import Blocks, Lanes, Pairwise, Reversed, Sequential
from ..backends import Variant, select
from ..graph import Node, resnet
from ..ops.products import plain_sums
from .black_box import NoTreeError
from .session import Session
from .softmax_division import divided, wrong_by_division
from .softmax_exp import ROWS, Exponentials, read_far, read_near
from .softmax_order import order_of
from .softmax_rows import SoftmaxRows

SHIFT = 1024.0
NO_TREE = "the best of the named orders; refnet reveal --softmax looks for its tree"
DIVIDED = {"divide": "divided by the sum", "multiply": "multiplied by the reciprocal of the sum",
           "logarithm": "the sum's logarithm subtracted"}  # fmt: skip
HEAVY = -8.0  # exponentials of larger numbers are what sums are tried on


@dataclass(frozen=True)
class SoftmaxForm:
    """What was found of a softmax.

    maximum: whether it is subtracted from the logits first.  division: a name in DIVISIONS; `differing_divisions` of
    `divisions` quotients have other bits in that form.
    exponentials: how many of the backend's own were read off; `rounded` of them are correctly rounded, and
    `largest_error`, in units of the last place, is that of the worst.
    order: that of the sum, or of the named orders the one with the fewest differing bits, with the reason; None where
    exponentials could not be read off.
    differing: of `outputs` outputs of drawn logits, how many have other bits than refnet gives by the backend's own
    exponentials, that order and that division.
    """

    layer: str
    maximum: bool
    division: str
    differing_divisions: int
    divisions: int
    exponentials: int = 0
    rounded: int = 0
    largest_error: float = 0.0
    order: Order | None = None
    differing: int = 0
    outputs: int = 0
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.layer}: {described_softmax(self.to_json())}"

    def to_json(self) -> dict[str, Any]:
        """As a profile's entry has it."""
        return {
            "maximum": self.maximum, "division": self.division,
            "differing_divisions": self.differing_divisions, "divisions": self.divisions,
            "exponentials": self.exponentials, "rounded": self.rounded, "largest_error": self.largest_error,
            "order": None if self.order is None else str(self.order),
            "differing": self.differing, "outputs": self.outputs, "reason": self.reason,
        }  # fmt: skip


def described_softmax(entry: Mapping[str, Any]) -> str:
    """What to_json gave, in words."""
    parts = ["softmax", "maximum subtracted" if entry["maximum"] else "maximum not subtracted"]
    division = DIVIDED.get(entry["division"], entry["division"])
    if entry["differing_divisions"]:
        division += f" ({entry['differing_divisions']} of {entry['divisions']} quotients differ)"
    parts.append(division)
    if entry["exponentials"]:
        rounded = f"{entry['rounded']} of {entry['exponentials']} correctly rounded"
        parts.append(f"exp within {entry['largest_error']:.2f} ulp ({rounded})")
    if entry["order"] is not None:
        parts.append(f"sum {shortened(entry['order'])}")
        parts.append(f"{entry['differing']} of {entry['outputs']} outputs differ by its own exp")
    return "; ".join([", ".join(parts), *([entry["reason"]] if entry["reason"] else [])])


def reveal_softmax(variant: str | Variant, *, size: int = 224, threads: int | None = None) -> SoftmaxForm:
    """The form of the softmax of ResNet50's output layer, as a variant computes it.

    Raises VariantError where the backend cannot run.
    """
    (chosen,) = select([variant])
    graph = resnet(50, input_shape=(size, size))
    with Session(chosen, graph, threads=threads) as session:
        return probe_softmax(session, graph.output)


def probe_softmax(session: Session, node: Node, seed: int = 0, *, tree: bool = True) -> SoftmaxForm:
    """The form of the softmax behind the dense layer `node` of the session's network.

    tree: whether to look for the tree of a sum that is no named order, which takes thousands of batches.
    """
    rng = np.random.default_rng(seed)
    rows = SoftmaxRows(session, node)
    rows.take()
    maximum = _subtracts_maximum(rows, rng)
    x, e, known = read_far(rows, rng)
    wrong, divisions = wrong_by_division(rows, x, e, known)
    division = min(wrong, key=lambda name: wrong[name])
    form = SoftmaxForm(node.name, maximum, division, wrong[division], divisions)
    if wrong[division]:
        return replace(form, reason="no form divides so: its exponentials cannot be read off")
    if division == "logarithm":
        return replace(form, reason="the sum is only seen through a logarithm: its order is not known")
    near = read_near(rows, division, rng)
    read = Exponentials.joined(Exponentials(x[known], e[known]), near)
    form = replace(form, exponentials=len(read.x), rounded=read.rounded, largest_error=read.largest_error)
    return _with_order(form, rows, near, rng, tree)


def _subtracts_maximum(rows: SoftmaxRows, rng: np.random.Generator) -> bool:
    """Whether logits that exp cannot take give the bits that they give a power of two further down."""
    logits = np.round(rng.uniform(-8, 0, (1, rows.classes)) * SHIFT).astype(np.float32) / np.float32(SHIFT)
    below, above = rows.ask(logits), rows.ask(logits + np.float32(SHIFT))
    return bool(np.isfinite(above).all() and (below == above).all())


def _with_order(
    form: SoftmaxForm, rows: SoftmaxRows, near: Exponentials, rng: np.random.Generator, tree: bool
) -> SoftmaxForm:
    """A named order with all bits of drawn rows; else the tree that triples of terms tell, held against them too."""
    heavy = np.flatnonzero(near.x > HEAVY)
    drawn = heavy[rng.integers(len(heavy), size=(ROWS, rows.classes))]
    x, e = near.x[drawn], near.e[drawn]
    zero = np.arange(ROWS), rng.integers(rows.classes, size=ROWS)
    x[zero], e[zero] = 0, 1
    theirs = rows.ask(x)

    def differing(order: Order) -> int:
        total = plain_sums(e, Arithmetic(order=order, fma=False))[:, None]
        return int((divided(e, total, form.division) != theirs).sum())

    form = replace(form, outputs=theirs.size)
    counts = {order: differing(order) for order in _named(rows.classes)}
    order = min(counts, key=lambda each: counts[each])
    if not counts[order]:
        return replace(form, order=order)
    if not tree:
        return replace(form, order=order, differing=counts[order], reason=NO_TREE)
    try:
        found = order_of(rows, together=bool((rows.ask(x, together=True) == theirs).all()))
    except NoTreeError as error:
        return replace(form, order=order, differing=counts[order], reason=f"the best of the named orders: {error}")
    if differing(found) > counts[order]:
        return replace(form, order=order, differing=counts[order], reason="the best of the named orders")
    return replace(form, order=found, differing=differing(found))


def _named(terms: int) -> Iterator[Order]:
    """Orders that libraries use for short sums."""
    yield from (Sequential(), Reversed())
    powers = [1 << j for j in range(1, terms.bit_length())]
    for kind in (Lanes, Pairwise):
        yield from (kind(width) for width in powers)
    yield from (Blocks((size,)) for size in powers if size < terms)
