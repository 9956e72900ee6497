"""torchvision's names and layout for a ResNet, translated into Keras's.

Kernels are (out, in, height, width) there, dense ones (out, in). The network is v1.5: its convolutions have no biases.
`num_batches_tracked` is a counter of the training and no weight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .stored import StoredTensor

AXES = {4: (2, 3, 1, 0), 2: (1, 0)}  # dimensions -> torch's axes in Keras's order
BATCH_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
LINEAR = {"weight": "kernel", "bias": "bias"}
NAMES = re.compile(
    r"(?:layer(?P<stage>[1-4])\.(?P<block>\d+)\.)?(?P<layer>conv\d|bn\d|downsample\.[01]|fc)\.(?P<key>\w+)"
)


def is_torchvision(names: Mapping[str, object]) -> bool:
    return "conv1.weight" in names


def from_torchvision(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The same tensors by Keras's names and in Keras's layout; names that torchvision does not have stay."""
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith(".num_batches_tracked")}
    return {_keras_name(name): _keras_layout(tensor) for name, tensor in kept.items()}


def _keras_layout(tensor: StoredTensor) -> StoredTensor:
    axes = AXES.get(len(tensor.shape))
    return tensor.transposed(axes) if axes else tensor


def _keras_name(name: str) -> str:
    """layer3.0.downsample.1.running_var -> conv4_block1_0_bn/moving_variance."""
    found = NAMES.fullmatch(name)
    if not found:
        return name
    stage, block, layer, key = found["stage"], found["block"], found["layer"], found["key"]
    if layer == "fc":
        return f"predictions/{LINEAR.get(key, key)}"
    kind = "bn" if layer.startswith("bn") or layer == "downsample.1" else "conv"
    variables = BATCH_NORM if kind == "bn" else LINEAR
    place = 0 if layer.startswith("downsample") else int(layer[-1])
    where = f"conv{int(stage) + 1}_block{int(block) + 1}_{place}" if stage else f"conv{place}"
    return f"{where}_{kind}/{variables.get(key, key)}"
