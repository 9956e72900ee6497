"""Weights: loading, checking, saving, and the synthetic ones that need no download."""

from .containers import CONTAINERS, Container, read_weights, save_weights
from .imagenet import imagenet, imagenet_file, keras_home
from .inspection import TensorSummary, inspect
from .loading import NAMED, convert, exchange_file, load_weights
from .weights import Weights

__all__ = [
    "CONTAINERS",
    "NAMED",
    "Container",
    "TensorSummary",
    "Weights",
    "convert",
    "exchange_file",
    "imagenet",
    "imagenet_file",
    "inspect",
    "keras_home",
    "load_weights",
    "read_weights",
    "save_weights",
]
