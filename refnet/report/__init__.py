"""Reports of a drift and of a certificate: on the terminal, as pages, a picture, and as data."""

from .certificate import certificate_tables, check_lines
from .comparison import comparison_tables
from .files import check_report, write_pages, write_report
from .html import html
from .markdown import markdown
from .plot import plot
from .table import tables

__all__ = [
    "certificate_tables",
    "check_lines",
    "check_report",
    "comparison_tables",
    "html",
    "markdown",
    "plot",
    "tables",
    "write_pages",
    "write_report",
]
