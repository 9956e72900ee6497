"""The forward pass: the graph walked by an engine, which computes each operation in a declared arithmetic."""

from .oracle import activations, predict

__all__ = ["activations", "predict"]
