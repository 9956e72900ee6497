"""The softmax of a backend, asked with logits of one's own: those of a dense layer whose activation it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arithmetic.formats import Array
from ..errors import InputError
from ..graph import Node
from .session import Session

ACTIVATION = "softmax"
AT_ONCE = 1024  # rows of one question; the model gets them in batches of the size that the network has
FEWEST = 8
NOTHING = -120.0  # exp of it is no float32 number but 0, or what some backends have in its place: nothing beside 1


@dataclass(frozen=True)
class SoftmaxRows:
    """Rows of logits to the softmax of the output layer of the session's network, which has to take it up first.

    The kernel is the identity and the bias zero, so that the layer's inputs are the logits: each sum has one term that
    is not zero. Raises InputError where the layer has fewer inputs than classes, or fewer classes than a probe needs.
    """

    session: Session
    node: Node

    def __post_init__(self) -> None:
        terms, classes = self.node.weights["kernel"]
        if terms < classes:
            raise InputError(f"{self.node.name} of {terms} inputs and {classes} classes", expected="an input for each")
        if classes < FEWEST:
            raise InputError(f"{self.node.name} of {classes} classes", expected=f"at least {FEWEST}")

    @property
    def classes(self) -> int:
        return self.node.shape[-1]

    def take(self) -> None:
        """Let the session take up the layer, with its softmax."""
        self.session.take(self.node.name, activation=ACTIVATION)

    def ask(self, logits: Array, *, together: bool = False) -> Array:
        """(rows, classes) float32 -> the same of the softmax, computed in batches as the network's own.

        together: in batches as large as they can be, which is faster, and of other bits in some backends.
        """
        batch = min(len(logits), AT_ONCE) if together else self.session.variant.batch_size
        terms = self.node.weights["kernel"][0]
        identity, zero = np.eye(terms, self.classes, dtype=np.float32), np.zeros(self.classes, np.float32)
        answers = []
        for start in range(0, len(logits), AT_ONCE):
            part = logits[start : start + AT_ONCE]
            x = np.zeros((len(part) + -len(part) % batch, terms), np.float32)
            x[: len(part), : self.classes] = part
            self.session.give(x)
            answers.append(self.session.run(identity, zero, batch=batch)[: len(part)])
        return np.concatenate(answers)
