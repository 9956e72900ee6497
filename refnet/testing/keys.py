"""What a picture and weights are remembered by: their contents, so that a file that changes is a new one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..provenance import sha256_of_array
from ..weights import NAMED, Weights


def key_of(image: Any, weights: Any, options: Mapping[str, Any]) -> tuple[Any, ...]:
    """Equal for equal contents and options."""
    picture = sha256_of_array(image) if isinstance(image, np.ndarray) else _of_file(image)
    held = weights.hash if isinstance(weights, Weights) else weights if weights in NAMED else _of_file(weights)
    return (picture, held, *sorted(options.items()))


def _of_file(path: Any) -> str:
    """A path that cannot be read keys as its name: whoever reads it next says what is wrong with it."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return str(path)
