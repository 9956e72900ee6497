"""Number formats, accumulation orders, and the value that combines them: what `which bits` means."""

from .arithmetic import ACCUMULATE, BIAS_PLACES, PRECISIONS, ROUNDED_BEFORE, Arithmetic, digits_of
from .big_floats import BigFloats
from .chains import CHAINS
from .double_double import DoubleDouble, planewise, shape_of, spread
from .formats import FORMATS, NUMBERS, Format, round_to
from .forms import ADDITIONS, BATCH_NORM_FORMS, CONSTANTS, MEANS, RELUS, SHIFTS
from .numpy_ops import NumpyOps, exported, numpy_ops, stored
from .order import Order, shortened
from .orders import ORDERS, parse_order
from .parts import Part
from .recognise import recognise
from .schedule import Schedule
from .tree import Tree

__all__ = [
    "ACCUMULATE",
    "ADDITIONS",
    "BATCH_NORM_FORMS",
    "BIAS_PLACES",
    "CHAINS",
    "CONSTANTS",
    "FORMATS",
    "MEANS",
    "NUMBERS",
    "ORDERS",
    "PRECISIONS",
    "RELUS",
    "ROUNDED_BEFORE",
    "SHIFTS",
    "Arithmetic",
    "BigFloats",
    "DoubleDouble",
    "Format",
    "NumpyOps",
    "Order",
    "Part",
    "Schedule",
    "Tree",
    "digits_of",
    "exported",
    "numpy_ops",
    "parse_order",
    "planewise",
    "recognise",
    "round_to",
    "shape_of",
    "shortened",
    "spread",
    "stored",
]
