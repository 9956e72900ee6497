"""In which order a backend adds, found from outside; and its bits, made again without it."""

from .black_box import BlackBox, NoTreeError
from .checking import lost_layers, no_longer_holds
from .chosen_profiles import check_threads, command_of, lost_in, profiles_for, remarks_on
from .kept_profiles import forget, keep, kept_profile, known_profile
from .layer_order import LayerOrder, reveal_layer, reveal_order
from .network import reveal, with_constants
from .norm_form import NormForm
from .profile import Profile
from .replaying import Difference, differences, replay
from .sameness import Sameness
from .session import Session
from .softmax_form import SoftmaxForm, described_softmax, reveal_softmax
from .sum_formats import SumFormats
from .tree_finder import Found, find_tree

__all__ = [
    "BlackBox",
    "Difference",
    "Found",
    "LayerOrder",
    "NoTreeError",
    "NormForm",
    "Profile",
    "Sameness",
    "Session",
    "SoftmaxForm",
    "SumFormats",
    "check_threads",
    "command_of",
    "described_softmax",
    "differences",
    "find_tree",
    "forget",
    "keep",
    "kept_profile",
    "known_profile",
    "lost_in",
    "lost_layers",
    "no_longer_holds",
    "profiles_for",
    "remarks_on",
    "replay",
    "reveal",
    "reveal_layer",
    "reveal_order",
    "reveal_softmax",
    "with_constants",
]
