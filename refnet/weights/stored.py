"""What is still in a file: what it declares is judged before a byte of a tensor is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

VARIANT_KEY = "refnet_variant"
"""Where refnet's own files say whether they are v1 or v1.5: metadata, an HDF5 attribute, a member of an .npz."""


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


@dataclass(frozen=True)
class StoredNetwork:
    """Keras weight name -> tensor, and the network's variant where the file says it."""

    tensors: Mapping[str, StoredTensor]
    variant: str | None = None
