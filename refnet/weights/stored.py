"""A tensor that is still in its file: what it declares is judged before a byte of it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StoredTensor:
    """shape and dtype (a NumPy name, or the container's own such as bfloat16) as declared; `read` fetches the array.

    `read` raises InputError when the file is damaged there.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]

    def transposed(self, axes: tuple[int, ...]) -> StoredTensor:
        """The same tensor with its axes in another order, as np.transpose does it."""
        return StoredTensor(tuple(self.shape[axis] for axis in axes), self.dtype, lambda: self.read().transpose(axes))
