"""Trees drawn with characters: a chain is one line, and so is the head of a sum of many."""

from __future__ import annotations

from .tree_nodes import Add, Fuse, Node, Program
from .tree_text import rounding_text, run_text


def drawn(program: Program, lines: int) -> str:
    """Each node with its operands below it; of more than `lines` lines the rest is counted."""
    operands = _operands(program)
    result: list[str] = []
    waiting = [(len(program) - 1, "", "")]  # node, what stands before it, what stands before its operands
    while waiting and len(result) < lines:
        at, head, indent = waiting.pop()
        result.append(head + _label(program[at], len(operands[at])))
        last = len(operands[at]) - 1
        below = [
            (operand, f"{indent}{'└─ ' if i == last else '├─ '}", f"{indent}{'   ' if i == last else '│  '}")
            for i, operand in enumerate(operands[at])
        ]
        waiting += reversed(below)
    return "\n".join([*result, f"... {len(program) - len(result)} more"] if waiting else result)


def _operands(program: Program) -> list[list[int]]:
    """For each node the nodes that it joins; sums of sums on the left are one sum of many."""
    operands: list[list[int]] = []
    stack: list[int] = []
    for at, node in enumerate(program):
        if isinstance(node, Add):
            right, left = stack.pop(), stack.pop()
            summed = operands[left] if isinstance(program[left], Add) else [left]
            operands.append([*summed, right])
        else:
            operands.append([stack.pop()] if node.on_top else [])
        stack.append(at)
    return operands


def _label(node: Node, operands: int) -> str:
    if isinstance(node, Add):
        return "+" if operands == 2 else f"+ ({operands} in sequence)"
    leaves = ", ".join(map(run_text, node.leaves)) or "+0"
    if isinstance(node, Fuse):
        return f"fused{rounding_text(node.rounding)} {leaves}{' with' if node.on_top else ''}"
    return f"chain {leaves}{' from' if node.on_top else ''}"
