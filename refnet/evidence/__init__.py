"""Evidence: the verdicts on every variant, many pictures and several weights, where the truth about them is known."""

from .cell import Cell, Judged
from .matrix import Matrix, saved
from .page import page, summary, within
from .pictures import VIEWS, pictures
from .replays import REPLAYED, ReplayCell, Replays, frameworks_blocked, saved_replays
from .replays_page import replays_page, replays_summary

__all__ = [
    "REPLAYED",
    "VIEWS",
    "Cell",
    "Judged",
    "Matrix",
    "ReplayCell",
    "Replays",
    "frameworks_blocked",
    "page",
    "pictures",
    "replays_page",
    "replays_summary",
    "saved",
    "saved_replays",
    "summary",
    "within",
]
