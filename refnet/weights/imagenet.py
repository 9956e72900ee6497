"""Keras's own ImageNet weights: from Keras's cache, else fetched there by Keras itself in a child process."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from ..errors import InputError
from ..graph import DEPTHS
from .containers import read_weights
from .weights import Weights

DOWNLOAD_SECONDS = 1800
BACKENDS = ("jax", "torch", "tensorflow", "openvino")  # of Keras, each a module of its own name


def imagenet_file(depth: int, include_top: bool) -> str:
    """The file's name in keras.applications."""
    return f"resnet{depth}_weights_tf_dim_ordering_tf_kernels{'' if include_top else '_notop'}.h5"


def keras_home() -> Path:
    """Keras's folder: KERAS_HOME, else `.keras` in the user's home."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")


def imagenet(
    *, depth: int = 50, include_top: bool = True, home: Path | None = None, python: str = sys.executable
) -> Weights:
    """The weights that keras.applications was released with; `python` runs Keras if they are to be downloaded.

    Raises InputError for a depth that does not exist, and when the file is neither there nor to be had.
    """
    if depth not in DEPTHS:
        raise InputError(f"depth {depth}", expected=f"one of {', '.join(map(str, DEPTHS))}")
    home = home or keras_home()
    path = home / "models" / imagenet_file(depth, include_top)
    if not path.is_file():
        _download(depth, include_top, home, path, python)
    return read_weights(path)


def backend_installed() -> str:
    """A backend that Keras can be imported with. Raises InputError where Keras, or every backend, is not installed."""
    found = [name for name in BACKENDS if find_spec(name)]
    if find_spec("keras") is None or not found:
        absent = "none of its backends is" if find_spec("keras") else "Keras is not"
        raise InputError(
            f"the ImageNet weights are downloaded by Keras, and {absent} installed",
            do="install keras with a backend (pip install 'refnet[jax]'), or use 'synthetic'",
        )
    return found[0]


def _download(depth: int, include_top: bool, home: Path, path: Path, python: str) -> None:
    code = f"from keras.applications import ResNet{depth} as R; R(weights='imagenet', include_top={include_top})"
    environment = os.environ | {"KERAS_HOME": str(home), "KERAS_BACKEND": backend_installed()}
    try:
        run = subprocess.run(
            [python, "-c", code], env=environment, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
        )
        reason = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if not path.is_file():
        raise InputError(
            f"Keras could not download the ImageNet weights ({reason})",
            do=f"fetch {path.name} of keras.applications elsewhere and put it into {path.parent}, or use 'synthetic'",
        )
