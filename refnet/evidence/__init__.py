"""Evidence: the verdicts on every variant, many pictures and several weights, where the truth about them is known."""

from .cell import Cell, Judged
from .matrix import Matrix, saved
from .page import page, summary, within
from .pictures import VIEWS, pictures

__all__ = ["VIEWS", "Cell", "Judged", "Matrix", "page", "pictures", "saved", "summary", "within"]
