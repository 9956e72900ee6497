"""Reports of a drift: on the terminal, as Markdown with a picture, and as data."""

from .files import check_report, write_report
from .markdown import markdown
from .plot import plot
from .table import tables

__all__ = ["check_report", "markdown", "plot", "tables", "write_report"]
