"""Backends that do not exist, behind the pipes of a session: a test writes down how they compute a layer."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from refnet.backends import VARIANTS
from refnet.graph import Graph
from refnet.reveal import Session

CHILD = """
import json, os, sys
import numpy as np
sys.path[:0] = json.loads(os.environ["REFNET_PATH"])
from refnet import kernels, ops
from refnet.arithmetic import Arithmetic
from refnet.reveal.child import read, write
job = json.load(open(sys.argv[1]))
nodes = {node["name"]: node for node in job["nodes"]}
answers, x, node, activation = sys.stdout.buffer, None, None, None


def direct(x, weights, node, **how):
    if node["operation"] == "dense":
        return kernels.conv2d(x[:, None, None], weights[0][None, None], weights[1], threads=1, **how)[:, 0, 0].copy()
    if node["operation"] == "mean_pool":
        return ops.mean_pool(x, arithmetic=Arithmetic(**how))
    s = node["settings"]
    return kernels.conv2d(x, *weights, strides=s["strides"], padding=s["padding"], threads=1, **how)


# what a test defines: layer(x, weights, node) -> output
CODE

while question := read(sys.stdin.buffer):
    (ask, settings), arrays = question
    if ask == "layer":
        node, activation = nodes[settings["name"]], settings.get("activation")
        write(answers, {"input": nodes[node["inputs"][0]]["shape"]}, [])
    elif ask == "inputs":
        (x,) = arrays
        write(answers, {}, [])
    elif ask == "describe":
        write(answers, {"threads": 1}, [])
    else:
        y, position = layer(x, arrays, node), settings["position"]
        write(answers, {}, [y if position is None else y[tuple(position)]])
"""


def made_up(folder: Path, graph: Graph, code: str, **fields: Any) -> Session:
    """A session of a backend that computes a layer as the code's `layer(x, weights, node)` says; fields: of Variant."""
    child = folder / "child.py"
    child.write_text(CHILD.replace("CODE", code), encoding="utf-8")
    environment = {"REFNET_PATH": json.dumps(sys.path)}
    variant = replace(VARIANTS["numpy"], modules=("numpy",), environment=environment, **fields)
    return Session(variant, graph, child=child)
