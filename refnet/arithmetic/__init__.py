"""Number formats, accumulation orders, and the value that combines them: what `which bits` means."""

from .arithmetic import ACCUMULATE, BATCH_NORM_FORMS, BIAS_PLACES, PRECISIONS, Arithmetic, digits_of
from .chains import CHAINS
from .formats import FORMATS, Format, round_to
from .numpy_ops import NumpyOps
from .orders import ORDERS, Order, parse_order
from .schedule import Schedule

__all__ = [
    "ACCUMULATE",
    "BATCH_NORM_FORMS",
    "BIAS_PLACES",
    "CHAINS",
    "FORMATS",
    "ORDERS",
    "PRECISIONS",
    "Arithmetic",
    "Format",
    "NumpyOps",
    "Order",
    "Schedule",
    "digits_of",
    "parse_order",
    "round_to",
]
