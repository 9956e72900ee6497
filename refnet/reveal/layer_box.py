"""A layer of a backend as a black box: one sum in each output channel, at one place of the output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ..arithmetic.formats import Array
from ..arithmetic.schedule import Indices
from ..errors import InputError
from ..graph import Node
from .black_box import BlackBox
from .cut_windows import Place, terms_inside
from .directness import check_direct
from .format_probe import with_formats
from .session import Session
from .sum_formats import FLOAT32
from .windows import corner, middle

QUESTIONS = 8  # by which channels that add in other ways are told apart; half of them on terms that lie near
NEAR = 16


@dataclass
class Given:
    """Inputs of a session, sent when they are others than those that it has."""

    session: Session
    last: Array | None = None

    def __call__(self, inputs: Array, place: Callable[[Array], Array]) -> None:
        """inputs: of one sum.  place: makes a layer's whole input of them."""
        if self.last is None or not np.array_equal(self.last, inputs):
            self.session.give(place(inputs))
            self.last = inputs.copy()


def layer_boxes(
    session: Session, node: Node, seed: int = 0, *, behind: bool = False, place: Place | None = None
) -> list[LayerBox]:
    """The sums of a layer that the session takes up: of a convolution, a dense layer, or a mean pool.

    Each query has an output channel to itself. Channels that add alike (see alike) are a box, the most channels first,
    each in the formats that the layer computes in. place: of a convolution's output; None is the middle. Raises
    InputError for another layer, NoTreeError for formats that are unknown and for what is no direct sum.
    """
    check_asked(node)
    shape = (session.variant.batch_size, *session.take(node.name, behind=behind))
    if node.operation == "conv2d" and place is None and session.precision == "float32":
        check_direct(session, node, shape, seed)
    ask = ASKED[node.operation](session, node, shape, place)
    products = node.operation != "mean_pool"
    box = BlackBox(ask.answer, ask.terms, FLOAT32, ask.bias, products, ask.divisor, at_once=ask.channels)
    whole = with_formats(_of_channels(box, np.arange(ask.channels)), seed)
    return [LayerBox(channels, ask.inside, _of_channels(whole, channels)) for channels in alike(whole, seed)]


@dataclass(frozen=True)
class LayerBox:
    """Channels that add alike, and their sums over the terms `inside` the picture (cut_windows.terms_inside)."""

    channels: Indices
    inside: Indices
    box: BlackBox


def _of_channels(box: BlackBox, chosen: Indices) -> BlackBox:
    """A box with a query in each of some channels, where one answers a query in every channel, and no fewer."""
    channels = box.rows

    def sum_of(weights: Array, inputs: Array) -> Array:
        spread_out = np.zeros((channels, weights.shape[1]), np.float32)
        spread_out[chosen[: len(weights)]] = weights
        return box.sum_of(spread_out, inputs)[chosen[: len(weights)]]

    return replace(box, sum_of=sum_of, at_once=len(chosen))


def check_asked(node: Node) -> None:
    """Raises InputError for a layer that adds nothing up."""
    if node.operation not in ASKED:
        raise InputError(f"layer {node.name} is a {node.operation}", expected=f"one that adds: {', '.join(ASKED)}")


@dataclass(frozen=True)
class Asked:
    """A layer with a query in every channel. answer: (channels, terms), (terms,) -> (channels,); else as BlackBox.

    inside: which of the layer's terms are asked.
    """

    answer: Callable[[Array, Array], Array]
    inside: Indices
    channels: int
    bias: bool = False
    divisor: int = 1

    @property
    def terms(self) -> int:
        """Those that are asked, and the bias."""
        return len(self.inside) + self.bias


def alike(box: BlackBox, seed: int) -> list[Indices]:
    """Channels that add in one way, by some drawn questions put to all of them; the largest such class first."""
    rng = np.random.default_rng(seed)
    answers = []
    for number in range(QUESTIONS if box.terms > 1 else 0):
        question = np.zeros((1, box.terms), np.float32)
        question[0, rng.choice(box.terms, min(box.limit, box.terms), replace=False)] = box.unit
        first = rng.integers(box.terms)
        apart = rng.integers(1, min(NEAR, box.terms) if number % 2 else box.terms)
        question[0, [first, (first + apart) % box.terms]] = box.mask, -box.mask
        answers.append(box.ask(np.repeat(question, box.rows, 0)))
    if not answers:
        return [np.arange(box.rows)]
    _, classes, sizes = np.unique(np.array(answers), axis=1, return_inverse=True, return_counts=True)
    return [np.flatnonzero(classes.reshape(-1) == which) for which in np.argsort(-sizes, kind="stable")]


def _convolution(session: Session, node: Node, shape: tuple[int, ...], place: Place | None) -> Asked:
    kernel: tuple[int, ...] = node.weights["kernel"]
    window, filters = kernel[:3], kernel[3]
    given, has_bias = Given(session), "bias" in node.weights
    place = place or middle(node)
    inside = terms_inside(node, shape, place)
    first = corner(node, shape, place)
    rows, columns, channels = np.unravel_index(inside, window)
    pixels = (0, rows + first[0], columns + first[1], channels)

    def whole(inputs: Array) -> Array:
        if (inputs == inputs[0]).all():
            return np.full(shape, inputs[0], np.float32)
        x = np.zeros(shape, np.float32)
        x[pixels] = inputs[: len(inside)]
        return x

    def answer(weights: Array, inputs: Array) -> Array:
        given(inputs, whole)
        spread_out = np.zeros((filters, prod(window) + has_bias), np.float32)
        spread_out[:, inside] = weights[:, : len(inside)]
        spread_out[:, prod(window) :] = weights[:, len(inside) :]
        return session.run(*_tensors(spread_out, kernel, has_bias), position=(0, *place))

    return Asked(answer, inside, filters, has_bias)


def _dense(session: Session, node: Node, shape: tuple[int, ...], place: Place | None) -> Asked:
    terms, units = node.weights["kernel"]
    given = Given(session)

    def answer(weights: Array, inputs: Array) -> Array:
        given(inputs, lambda x: np.broadcast_to(x[:terms], shape))
        return session.run(*_tensors(weights, (terms, units), True), position=(0,))

    return Asked(answer, np.arange(terms), units, bias=True)


def _mean_pool(session: Session, node: Node, shape: tuple[int, ...], place: Place | None) -> Asked:
    _, height, width, channels = shape

    def answer(terms: Array, ones: Array) -> Array:
        x = np.zeros(shape, np.float32)
        x[0] = terms.T.reshape(height, width, channels)
        session.give(x)
        return session.run(position=(0,))

    pixels = height * width
    return Asked(answer, np.arange(pixels), channels, divisor=pixels)


ASKED: dict[str, Callable[[Session, Node, tuple[int, ...], Place | None], Asked]] = {
    "conv2d": _convolution,
    "dense": _dense,
    "mean_pool": _mean_pool,
}


def _tensors(weights: Array, shape: tuple[int, ...], has_bias: bool) -> list[Array]:
    """Queries (channels, terms) as a layer's kernel, and bias."""
    terms = prod(shape[:-1])
    kernel = np.ascontiguousarray(weights[:, :terms].T).reshape(shape)
    return [kernel, weights[:, terms].copy()] if has_bias else [kernel]
