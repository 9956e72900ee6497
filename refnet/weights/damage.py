"""What libraries raise on broken files, as the one error of refnet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import InputError

AGAIN = "fetch or save it again"


@contextmanager
def damage_named(found: str, kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    """Errors of these kinds become an InputError that says `found`, and in parentheses the library's own words."""
    try:
        yield
    except InputError:
        raise
    except kinds as error:
        raise InputError(f"{found} ({' '.join(str(error).split())})", do=AGAIN) from error
