"""Two variants side by side: where their bits first part, for which reason, and how the difference then grows."""

from .comparing import compare, two_of
from .pair import Pair, VariantComparison
from .reasons import REASONS, Reason

__all__ = ["REASONS", "Pair", "Reason", "VariantComparison", "compare", "two_of"]
