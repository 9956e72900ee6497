"""A layer of a backend as a black box: one sum in each output channel, at one place of the output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from ..arithmetic import FORMATS
from ..arithmetic.formats import Array
from ..arithmetic.schedule import Indices
from ..errors import InputError
from ..graph import Graph, Node
from .black_box import BlackBox
from .directness import check_direct
from .session import Session
from .windows import corner, middle

FORMAT = FORMATS["float32"]
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


def layer_boxes(session: Session, node: Node, seed: int = 0, *, behind: bool = False) -> list[tuple[Indices, BlackBox]]:
    """The sums of a layer that the session takes up: of a convolution, a dense layer, or a mean pool.

    Each query has an output channel to itself. Channels that add alike (see alike) are a box: (channels, box), the most
    channels first. Raises InputError for another layer, or a window that reaches over the edge of the picture at every
    place.
    """
    check_asked(node)
    shape = (session.variant.batch_size, *session.take(node.name, behind=behind))
    if node.operation == "conv2d":
        check_direct(session, node, shape, seed)
    ask = ASKED[node.operation](session, node, shape)
    return [(channels, _box(ask, node, channels)) for channels in alike(ask, seed)]


def _box(ask: Asked, node: Node, chosen: Indices) -> BlackBox:
    def sum_of(weights: Array, inputs: Array) -> Array:
        spread_out = np.zeros((ask.channels, weights.shape[1]), np.float32)
        spread_out[chosen[: len(weights)]] = weights
        return ask.answer(spread_out, inputs)[chosen[: len(weights)]]

    return BlackBox(
        sum_of, ask.terms, FORMAT, ask.bias, node.operation != "mean_pool", ask.divisor, at_once=len(chosen)
    )


def check_asked(node: Node) -> None:
    """Raises InputError for a layer that adds nothing up."""
    if node.operation not in ASKED:
        raise InputError(f"layer {node.name} is a {node.operation}", expected=f"one that adds: {', '.join(ASKED)}")


def terms_of(graph: Graph, node: Node) -> int:
    """Of each sum of a layer, the bias not counted."""
    return prod(node.weights["kernel"][:-1] if "kernel" in node.weights else graph[node.inputs[0]].shape[:2])


@dataclass(frozen=True)
class Asked:
    """A layer with a query in every channel. answer: (channels, terms), (terms,) -> (channels,); else as BlackBox."""

    answer: Callable[[Array, Array], Array]
    terms: int
    channels: int
    bias: bool = False
    divisor: int = 1


def alike(ask: Asked, seed: int) -> list[Indices]:
    """Channels that add in one way, by some drawn questions put to all of them; the largest such class first."""
    rng = np.random.default_rng(seed)
    answers = []
    for number in range(QUESTIONS if ask.terms > 1 else 0):
        question = np.ones((1, ask.terms), np.float32)
        first = rng.integers(ask.terms)
        apart = rng.integers(1, min(NEAR, ask.terms) if number % 2 else ask.terms)
        question[0, [first, (first + apart) % ask.terms]] = 2.0**FORMAT.emax, -(2.0**FORMAT.emax)
        answers.append(ask.answer(np.repeat(question, ask.channels, 0), np.ones(ask.terms, np.float32)))
    if not answers:
        return [np.arange(ask.channels)]
    _, classes, sizes = np.unique(np.array(answers), axis=1, return_inverse=True, return_counts=True)
    return [np.flatnonzero(classes.reshape(-1) == which) for which in np.argsort(-sizes, kind="stable")]


def _convolution(session: Session, node: Node, shape: tuple[int, ...]) -> Asked:
    height, width, channels, filters = node.weights["kernel"]
    place = middle(node, shape)
    given, has_bias = Given(session), "bias" in node.weights
    top, left = corner(node, shape, place)

    def whole(inputs: Array) -> Array:
        if (inputs == inputs[0]).all():
            return np.full(shape, inputs[0], np.float32)
        x = np.zeros(shape, np.float32)
        x[0, top : top + height, left : left + width] = inputs[: height * width * channels].reshape(height, width, -1)
        return x

    def answer(weights: Array, inputs: Array) -> Array:
        given(inputs, whole)
        tensors = _tensors(weights, (height, width, channels, filters), has_bias)
        return session.run(*tensors, position=(0, *place))

    return Asked(answer, height * width * channels + has_bias, filters, has_bias)


def _dense(session: Session, node: Node, shape: tuple[int, ...]) -> Asked:
    terms, units = node.weights["kernel"]
    given = Given(session)

    def answer(weights: Array, inputs: Array) -> Array:
        given(inputs, lambda x: np.broadcast_to(x[:terms], shape))
        return session.run(*_tensors(weights, (terms, units), True), position=(0,))

    return Asked(answer, terms + 1, units, bias=True)


def _mean_pool(session: Session, node: Node, shape: tuple[int, ...]) -> Asked:
    _, height, width, channels = shape

    def answer(terms: Array, ones: Array) -> Array:
        x = np.zeros(shape, np.float32)
        x[0] = terms.T.reshape(height, width, channels)
        session.give(x)
        return session.run(position=(0,))

    pixels = height * width
    return Asked(answer, pixels, channels, divisor=pixels)


ASKED: dict[str, Callable[[Session, Node, tuple[int, ...]], Asked]] = {
    "conv2d": _convolution,
    "dense": _dense,
    "mean_pool": _mean_pool,
}


def _tensors(weights: Array, shape: tuple[int, ...], has_bias: bool) -> list[Array]:
    """Queries (channels, terms) as a layer's kernel, and bias."""
    terms = prod(shape[:-1])
    kernel = np.ascontiguousarray(weights[:, :terms].T).reshape(shape)
    return [kernel, weights[:, terms].copy()] if has_bias else [kernel]
