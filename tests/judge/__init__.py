"""The third judge: refnet's arithmetic once more, from its written semantics, in exact fractions and slowly.

It imports nothing of refnet. `judge.dot(a, b, format=, accumulate=, order=, fma=, bias=, bias_at=)` takes Python or
NumPy numbers and gives a Number; `judge.to_float` and `judge.bits` turn that into something to compare.
"""

from .layers import batch_norm, dot, folded, maximum, mean, relu, scale_of, softmax, total
from .numbers import (
    DEFAULT_ACCUMULATE,
    FORMATS,
    INF,
    NAN,
    NEGATIVE_INF,
    NEGATIVE_ZERO,
    OPERANDS,
    STORAGE,
    Number,
    bits,
    read,
    round_to,
    to_float,
)
from .operations import add, divide, fma, multiply, sqrt, subtract, two_product, two_sum
from .orders import accumulated

__all__ = [
    "DEFAULT_ACCUMULATE",
    "FORMATS",
    "INF",
    "NAN",
    "NEGATIVE_INF",
    "NEGATIVE_ZERO",
    "OPERANDS",
    "STORAGE",
    "Number",
    "accumulated",
    "add",
    "batch_norm",
    "bits",
    "divide",
    "dot",
    "fma",
    "folded",
    "maximum",
    "mean",
    "multiply",
    "read",
    "relu",
    "round_to",
    "scale_of",
    "softmax",
    "sqrt",
    "subtract",
    "to_float",
    "total",
    "two_product",
    "two_sum",
]
