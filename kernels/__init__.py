"""Dot products, matrix products, convolutions and mean pools in a declared order: arrays in, arrays out.

The definitions are in refnet/ops and refnet/arithmetic; every function here equals them bit for bit, for any number
of threads, batch, tile and vector length. integer_matmul takes integers of any size and is exact.
"""

from .integer_matmul import integer_matmul
from .products import conv2d, dot, matmul, mean_pool

__all__ = ["conv2d", "dot", "integer_matmul", "matmul", "mean_pool"]
