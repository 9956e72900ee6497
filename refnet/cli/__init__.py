"""The command line: `refnet` and `python -m refnet`."""

from .main import main

__all__ = ["main"]
