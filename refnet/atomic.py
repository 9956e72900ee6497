"""Files that exist whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Gives a temporary name beside `path` to write to; it takes the place of `path` once the block ends well.

    A block that raises leaves `path` as it was. Raises InputError when the system refuses to write there.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}", do="choose another place") from error
    finally:
        temporary.unlink(missing_ok=True)
