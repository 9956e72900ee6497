"""refnet: ResNet50 from scratch in any number format and accumulation order, and the drift of Keras backends from it.

The public names below are imported when they are first used, so that `import refnet` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # type checkers cannot follow __getattr__; tests hold this list and the table below together
    from . import arithmetic as arithmetic
    from . import backends as backends
    from . import bench as bench
    from . import certificate as certificate
    from . import comparison as comparison
    from . import diagnosis as diagnosis
    from . import drift as drift
    from . import errors as errors
    from . import forward as forward
    from . import graph as graph
    from . import images as images
    from . import kernels as kernels
    from . import reveal as reveal
    from . import trace as trace
    from . import verdict as verdict
    from . import weights as weights
    from .arithmetic import Arithmetic as Arithmetic
    from .arithmetic import DoubleDouble as DoubleDouble
    from .arithmetic import Tree as Tree
    from .certificate import Certificate as Certificate
    from .certificate import certify as certify
    from .certificate import check_certificate as check_certificate
    from .comparison import VariantComparison as VariantComparison
    from .comparison import compare as compare
    from .diagnosis import Cause as Cause
    from .diagnosis import Diagnosis as Diagnosis
    from .diagnosis import diagnose as diagnose
    from .drift import Drift as Drift
    from .errors import InputError as InputError
    from .errors import RefnetError as RefnetError
    from .errors import VariantError as VariantError
    from .forward import activations as activations
    from .forward import predict as predict
    from .graph import Graph as Graph
    from .graph import resnet as resnet
    from .images import bundled_image as bundled_image
    from .images import load_image as load_image
    from .images import load_images as load_images
    from .reveal import NoTreeError as NoTreeError
    from .reveal import Profile as Profile
    from .reveal import replay as replay
    from .reveal import reveal_order as reveal_order
    from .trace import Trace as Trace
    from .verdict import Verdict as Verdict
    from .verdict import measure_drift as measure_drift
    from .weights import Weights as Weights
    from .weights import load_weights as load_weights
    from .weights import save_weights as save_weights

__version__ = "0.1.0"

_NAMES = {
    "arithmetic": ("Arithmetic", "DoubleDouble", "Tree"),
    "backends": (),
    "bench": (),
    "certificate": ("Certificate", "certify", "check_certificate"),
    "comparison": ("VariantComparison", "compare"),
    "diagnosis": ("Cause", "Diagnosis", "diagnose"),
    "drift": ("Drift",),
    "errors": ("InputError", "RefnetError", "VariantError"),
    "forward": ("activations", "predict"),
    "graph": ("Graph", "resnet"),
    "images": ("bundled_image", "load_image", "load_images"),
    "kernels": (),
    "reveal": ("NoTreeError", "Profile", "replay", "reveal_order"),
    "trace": ("Trace",),
    "verdict": ("Verdict", "measure_drift"),
    "weights": ("Weights", "load_weights", "save_weights"),
}  # module -> what it gives to users
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", *_NAMES, *_HOME]


def __getattr__(name: str) -> Any:
    """A public name or module, imported on first use and remembered."""
    if name in _HOME:
        value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    elif name in _NAMES:
        value = import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
