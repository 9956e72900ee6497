"""Output channels that add in another order than most: libraries give a matrix's last columns kernels of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import ops
from ..arithmetic import Arithmetic, parse_order
from ..arithmetic.formats import Array
from ..arithmetic.schedule import Indices
from ..arithmetic.tree_nodes import ranges_of
from ..arithmetic.tree_text import run_of, run_text
from ..forward.kernel_engine import KernelEngine
from ..kernels import conv2d
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


def _found(entry: Mapping[str, Any]) -> Found:
    return Found(parse_order(entry["order"]), entry["fma"], entry["bias"])


@dataclass(frozen=True)
class ByChannelEngine(KernelEngine):
    """The kernels, for a dense layer whose entry has `channels`."""

    entry: Mapping[str, Any] = field(default_factory=dict)

    def dense(self, x: Array, kernel: Array, bias: Array) -> Array:
        return dense(x, kernel, bias, *ways_of(self.entry))


def dense(
    x: Array, kernel: Array, bias: Array, found: Found, by_channel: ByChannel, *, engine: str = "kernels"
) -> Array:
    """A dense layer in float32, some of its channels in orders of their own: (n, K), (K, N), (N,) -> (n, N).

    engine: `kernels`, or `spec` for the NumPy definition.
    """
    return with_channels(ENGINES[engine](x, kernel, bias, found), x, kernel, bias, by_channel, engine=engine)


def with_channels(
    y: Array, x: Array, kernel: Array, bias: Array, by_channel: ByChannel, *, engine: str = "kernels"
) -> Array:
    """The same from what all channels are in the order of most, y (n, N), which stays as it is."""
    y = y.copy()
    for text, other in by_channel.items():
        channels = channels_of(text)
        y[:, channels] = ENGINES[engine](x, kernel[:, channels], bias[channels], other)
    return y


def _by_kernels(x: Array, kernel: Array, bias: Array, found: Found) -> Array:
    how: dict[str, Any] = {"order": found.order, "fma": found.fma, "bias_at": found.bias}
    return conv2d(x[:, None, None, :], np.ascontiguousarray(kernel)[None, None], bias, **how)[:, 0, 0, :]


def _by_definition(x: Array, kernel: Array, bias: Array, found: Found) -> Array:
    y: Array = ops.dense(x, kernel, bias, arithmetic=Arithmetic(order=found.order, fma=found.fma, bias=found.bias))
    return y


ENGINES = {"kernels": _by_kernels, "spec": _by_definition}
