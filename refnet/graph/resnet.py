"""The bottleneck ResNets of He et al. 2015 (arXiv 1512.03385) as keras.applications builds them.

The depths differ in the blocks of each stage and in nothing else. Two variants exist: `v1`, Keras's own (the stride
sits in the first 1x1 convolution, convolutions have biases), and `v1.5`, torchvision's (the stride sits in the 3x3,
convolutions have no biases, epsilon is 1e-5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from ..errors import InputError
from .node import BATCH_NORM_EPSILON, Graph, Node

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}  # blocks in conv2 .. conv5
SMALLEST_SIZE = 32  # as keras.applications asks with and without top


@dataclass(frozen=True)
class Variant:
    """Where the block's stride sits (which of its three convolutions), and what batch normalisation adds."""

    strided: int
    use_bias: bool
    epsilon: float


VARIANTS = {
    "v1": Variant(strided=1, use_bias=True, epsilon=BATCH_NORM_EPSILON),
    "v1.5": Variant(strided=2, use_bias=False, epsilon=1e-5),
}


@lru_cache(maxsize=64)
def resnet(
    depth: int = 50,
    *,
    input_shape: tuple[int, int] = (224, 224),
    classes: int = 1000,
    include_top: bool = True,
    variant: str = "v1",
) -> Graph:
    """The graph of ResNet50, 101 or 152 for pictures of `input_shape` (height, width) with three channels.

    Raises InputError for an unknown depth or variant, a size below 32 or fewer than one class.
    """
    if depth not in DEPTHS:
        raise InputError(f"depth {depth}", expected=f"one of {', '.join(map(str, DEPTHS))}")
    if variant not in VARIANTS:
        raise InputError(f"variant {variant!r}", expected=f"one of {', '.join(VARIANTS)}")
    if min(input_shape) < SMALLEST_SIZE:
        raise InputError(f"input size {input_shape}", expected=f"at least {SMALLEST_SIZE} x {SMALLEST_SIZE}")
    if classes < 1:
        raise InputError(f"{classes} classes", expected="at least 1")
    build = _Builder((*input_shape, 3), VARIANTS[variant])
    build.stem()
    for stage, blocks in enumerate(DEPTHS[depth]):
        for block in range(blocks):
            build.bottleneck(
                f"conv{stage + 2}_block{block + 1}",
                filters=64 << stage,
                stride=2 if stage and not block else 1,
                project=not block,
            )
    if include_top:
        build.head(classes)
    return Graph(f"ResNet{depth}", variant, tuple(build.nodes))


class _Builder:
    """Collects nodes; each method appends one layer that reads `inputs` (by default the layer before)."""

    def __init__(self, shape: tuple[int, int, int], variant: Variant) -> None:
        self.variant = variant
        self.nodes = [Node("input_layer", "input", (), shape)]

    def stem(self) -> None:
        self.pad("conv1_pad", 3)
        self.conv("conv1_conv", 64, 7, stride=2)
        self.batch_norm("conv1_bn")
        self.relu("conv1_relu")
        self.pad("pool1_pad", 1)
        self.max_pool("pool1_pool", 3, stride=2)

    def bottleneck(self, name: str, *, filters: int, stride: int, project: bool) -> None:
        """1x1, 3x3, 1x1 beside a shortcut that is the identity or a strided 1x1; in Keras's order of layers."""
        strides = {place: stride if place == self.variant.strided else 1 for place in (1, 2)}
        entry = self.nodes[-1].name
        for place, size in ((1, 1), (2, 3)):
            self.conv(f"{name}_{place}_conv", filters, size, stride=strides[place], padding=size // 2)
            self.batch_norm(f"{name}_{place}_bn")
            self.relu(f"{name}_{place}_relu")
        inner, shortcut = self.nodes[-1].name, entry
        if project:
            self.conv(f"{name}_0_conv", 4 * filters, 1, stride=stride, inputs=(entry,))
        self.conv(f"{name}_3_conv", 4 * filters, 1, inputs=(inner,))
        if project:
            self.batch_norm(f"{name}_0_bn", inputs=(f"{name}_0_conv",))
            shortcut = f"{name}_0_bn"
        self.batch_norm(f"{name}_3_bn", inputs=(f"{name}_3_conv",))
        self._append(f"{name}_add", "add", self.nodes[-1].shape, inputs=(shortcut, f"{name}_3_bn"))
        self.relu(f"{name}_out")

    def head(self, classes: int) -> None:
        channels = self.nodes[-1].shape[-1]
        self._append("avg_pool", "mean_pool", (channels,))
        weights = {"kernel": (channels, classes), "bias": (classes,)}
        self._append("predictions", "dense", (classes,), weights=weights)

    def pad(self, name: str, width: int) -> None:
        height, across, channels = self.nodes[-1].shape
        shape = (height + 2 * width, across + 2 * width, channels)
        self._append(name, "pad", shape, padding=((width, width), (width, width)))

    def conv(
        self, name: str, filters: int, size: int, *, stride: int = 1, padding: int = 0, inputs: tuple[str, ...] = ()
    ) -> None:
        height, across, channels = self._shape_of(inputs)
        shape = (_strided(height + 2 * padding, size, stride), _strided(across + 2 * padding, size, stride), filters)
        weights = {"kernel": (size, size, channels, filters)} | ({"bias": (filters,)} if self.variant.use_bias else {})
        self._append(
            name,
            "conv2d",
            shape,
            inputs=inputs,
            weights=weights,
            strides=(stride, stride),
            padding=((padding, padding), (padding, padding)),
        )

    def batch_norm(self, name: str, *, inputs: tuple[str, ...] = ()) -> None:
        shape = self._shape_of(inputs)
        weights = dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), shape[-1:])
        self._append(name, "batch_norm", shape, inputs=inputs, weights=weights, epsilon=self.variant.epsilon)

    def relu(self, name: str) -> None:
        self._append(name, "relu", self.nodes[-1].shape)

    def max_pool(self, name: str, size: int, *, stride: int) -> None:
        height, across, channels = self.nodes[-1].shape
        shape = (_strided(height, size, stride), _strided(across, size, stride), channels)
        self._append(name, "max_pool", shape, size=(size, size), strides=(stride, stride))

    def _shape_of(self, inputs: tuple[str, ...]) -> tuple[int, ...]:
        name = inputs[0] if inputs else self.nodes[-1].name
        return next(node.shape for node in reversed(self.nodes) if node.name == name)

    def _append(
        self,
        name: str,
        operation: str,
        shape: tuple[int, ...],
        *,
        inputs: tuple[str, ...] = (),
        weights: Mapping[str, tuple[int, ...]] | None = None,
        **settings: object,
    ) -> None:
        inputs = inputs or (self.nodes[-1].name,)
        self.nodes.append(Node(name, operation, inputs, shape, weights or {}, settings))


def _strided(size: int, window: int, stride: int) -> int:
    return (size - window) // stride + 1
