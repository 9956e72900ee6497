"""Weights read in a child process: a damaged HDF5 file can make the HDF5 library crash, or never come to an end.

The child is isolated_child.py: it writes what it reads as a `.safetensors` file, and what is wrong with the file goes
to its standard output as the parts of an InputError.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import InputError
from .damage import AGAIN
from .safetensors_file import open_safetensors
from .stored import StoredNetwork

CHILD = f"{__package__}.isolated_child"
SECONDS = 300.0  # for one file; a sound one of 100 MB takes one second
REFUSED = 3  # exit status: the parts of an InputError were written


@contextmanager
def open_isolated(
    path: Path, variant: str | None = None, *, python: str = sys.executable, seconds: float = SECONDS
) -> Iterator[StoredNetwork]:
    """The tensors of the file by Keras's names, checked already; `python` reads it, within `seconds`.

    Raises InputError as reading it here would, and where the child crashed or came to no end.
    """
    with TemporaryDirectory(prefix="refnet-") as folder:
        target = Path(folder) / "weights.safetensors"
        _read_in_child([python, "-P", "-m", CHILD, str(path), str(target), variant or ""], path, seconds)
        with open_safetensors(target) as network:
            yield network


def _read_in_child(command: list[str], path: Path, seconds: float) -> None:
    try:
        child = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise _damaged(f"reading {path} came to no end within {seconds:g} s") from error
    if child.returncode == REFUSED:
        raise InputError(**json.loads(child.stdout))
    if child.returncode < 0:
        raise _damaged(f"the HDF5 library crashed (signal {-child.returncode}) reading {path}")
    if child.returncode > 0:
        raise _damaged(f"{path} could not be read ({(child.stderr.strip().splitlines() or ['no reason given'])[-1]})")


def _damaged(found: str) -> InputError:
    return InputError(found, do=f"the file is damaged: {AGAIN}")
