"""The definition of every operation of the network, in plain NumPy: what the kernels must equal bit for bit.

Images are (n, height, width, channels), kernels (height, width, channels in, channels out). Each function takes the
Arithmetic that says what is rounded when; arrays hold numbers of its formats, in those formats' working types, and
double-double numbers are pairs of arrays. A layer computes in the accumulate format and rounds to storage once, at its
output. Nothing here is fast.
"""

from .elementwise import add, relu
from .normalisation import (
    batch_norm,
    folded_kernel,
    norm_vectors,
    normalised,
    shifts_last,
    sum_of_products,
    sum_of_shifts,
)
from .pooling import max_pool, mean_of, mean_pool
from .products import Padding, Pair, conv2d, dense, exact_sums, pad, plain_sums, sums
from .softmax import softmax

__all__ = [
    "Padding",
    "Pair",
    "add",
    "batch_norm",
    "conv2d",
    "dense",
    "exact_sums",
    "folded_kernel",
    "max_pool",
    "mean_of",
    "mean_pool",
    "norm_vectors",
    "normalised",
    "pad",
    "plain_sums",
    "relu",
    "shifts_last",
    "softmax",
    "sum_of_products",
    "sum_of_shifts",
    "sums",
]
