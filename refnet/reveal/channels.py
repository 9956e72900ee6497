"""Output channels that add in another order than most: libraries give a matrix's last columns kernels of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import ops
from ..arithmetic import PRECISIONS, Arithmetic, exported, parse_order, stored
from ..arithmetic.formats import Array
from ..arithmetic.schedule import Indices
from ..arithmetic.tree_nodes import ranges_of
from ..arithmetic.tree_text import run_of, run_text
from ..forward.kernel_engine import KernelEngine
from ..kernels import conv2d
from .sum_formats import SumFormats
from .tree_finder import Found

ByChannel = Mapping[str, Found]
"""Channels, as channel_text writes them, that add in another way than a layer's others."""


def channel_text(channels: Indices) -> str:
    """Channels in words: `4,992..999`."""
    return ",".join(map(run_text, ranges_of(channels.tolist())))


def channels_of(text: str) -> Indices:
    """What channel_text wrote. Raises ValueError for another text."""
    return np.concatenate([np.array(run_of(part)) for part in text.split(",")])


def ways_of(entry: Mapping[str, Any]) -> tuple[Found, dict[str, Found]]:
    """How a profile's entry of a dense layer adds, and its `channels` that add otherwise."""
    return _found(entry), {text: _found(own) for text, own in entry.get("channels", {}).items()}


def formats_of(entry: Mapping[str, Any]) -> SumFormats:
    """Those of a profile's entry."""
    own = PRECISIONS[entry.get("precision", "float32")]
    return SumFormats(own.operand.name, entry.get("accumulate", own.accumulate.name), own.storage.name)


def _found(entry: Mapping[str, Any]) -> Found:
    formats = formats_of(entry)
    return Found(parse_order(entry["order"]), entry["fma"], entry["bias"], entry.get("mean", "divide"), formats)


@dataclass(frozen=True)
class ByChannelEngine(KernelEngine):
    """The kernels, for a dense layer whose entry has `channels`."""

    entry: Mapping[str, Any] = field(default_factory=dict)

    def dense(self, x: Array, kernel: Array, bias: Array) -> Array:
        return dense(x, kernel, bias, *ways_of(self.entry)).astype(self.arithmetic.storage.working, copy=False)


def dense(
    x: Array, kernel: Array, bias: Array, found: Found, by_channel: ByChannel, *, engine: str = "kernels"
) -> Array:
    """A dense layer, some of its channels in orders of their own: (n, K), (K, N), (N,) -> (n, N), as users get them.

    engine: `kernels`, or `spec` for the NumPy definition.
    """
    y = ENGINES[engine](x, kernel, bias, found)
    for text, other in by_channel.items():
        channels = channels_of(text)
        y[:, channels] = ENGINES[engine](x, kernel[:, channels], bias[channels], other)
    return y


def _by_kernels(x: Array, kernel: Array, bias: Array, found: Found) -> Array:
    y = conv2d(x[:, None, None, :], np.ascontiguousarray(kernel)[None, None], bias, **found.kernel_fields)
    return y[:, 0, 0, :].copy()


def _by_definition(x: Array, kernel: Array, bias: Array, found: Found) -> Array:
    arithmetic = Arithmetic(**found.fields)
    bias = stored(bias, arithmetic.storage)
    return np.array(exported(ops.dense(x, kernel, bias, arithmetic=arithmetic), arithmetic.storage))


ENGINES = {"kernels": _by_kernels, "spec": _by_definition}
