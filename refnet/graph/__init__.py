"""ResNet as data: nodes with Keras's layer names, in Keras's topological order."""

from .node import BATCH_NORM_EPSILON, OPERATIONS, Graph, Node
from .resnet import DEPTHS, VARIANTS, resnet

__all__ = ["BATCH_NORM_EPSILON", "DEPTHS", "OPERATIONS", "VARIANTS", "Graph", "Node", "resnet"]
