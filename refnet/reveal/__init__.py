"""In which order a backend adds, found from outside; and its bits, made again without it."""

from .black_box import BlackBox, NoTreeError
from .kept_profiles import kept_profile
from .layer_order import LayerOrder, reveal_layer, reveal_order
from .network import reveal, with_constants
from .norm_form import NormForm
from .profile import Profile
from .replaying import Difference, differences, replay
from .session import Session
from .tree_finder import Found, find_tree

__all__ = [
    "BlackBox",
    "Difference",
    "Found",
    "LayerOrder",
    "NoTreeError",
    "NormForm",
    "Profile",
    "Session",
    "differences",
    "find_tree",
    "kept_profile",
    "replay",
    "reveal",
    "reveal_layer",
    "reveal_order",
    "with_constants",
]
