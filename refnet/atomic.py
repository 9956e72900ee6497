"""Files that exist whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from .errors import InputError


def check_writable(path: Path) -> None:
    """Find out before the work, not after it, that `path` cannot be written. Raises InputError."""
    if path.is_dir():
        raise InputError(f"{path} is a folder", expected="a file name")
    try:
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _refused(path, error) from error


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Gives a temporary name beside `path` to write to; it takes the place of `path` once the block ends well.

    A block that raises leaves `path` as it was. Raises InputError when the system refuses to write there.
    """
    path = Path(path)
    check_writable(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _refused(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be written: {error.strerror or error}", do="choose another place")
