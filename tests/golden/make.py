"""The bits of refnet's logits, pinned. `python tests/golden/make.py` adds to hashes.json beside this file the cases
that it does not hold yet; with the arguments SIZE [CASE ...] it prints that part as JSON instead, which tests use to
ask another process.

A hash that is there stays. Delete it first only where a change of bits is meant, and say so in CHANGELOG.md.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import refnet

FILE = Path(__file__).parent / "hashes.json"
SIZES = (32, 64, 224)
CASES: dict[str, dict[str, Any]] = {
    "float32": {},
    "float32 without fma": {"fma": False},
    "float32 bias first, shifted": {"bias": "first", "batch_norm": "shifted"},
    "float32 shifted-fma": {"batch_norm": "shifted-fma"},
    "float32 pairwise": {"order": "pairwise:8"},
    "float32 permuted lanes": {"order": {"conv2_*": "permuted:1", "*": "lanes:8"}},
    "float32 kahan": {"order": "kahan"},
    "float32 dot2": {"order": "dot2"},
    "float32 exact": {"order": "exact"},
    "float64": {"precision": "float64"},
    "float64 exact": {"precision": "float64", "order": "exact"},
    "bfloat16 operands": {"precision": "bfloat16-operands"},
    "tf32": {"precision": "tf32"},
    "float16": {"precision": "float16"},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16, bias on stored sums": {"precision": "bfloat16", "bias": "stored"},
    "bfloat16 operands, bias on narrowed sums": {"precision": "bfloat16-operands", "bias": "narrowed"},
    "bfloat16 in bfloat16": {"precision": "bfloat16", "accumulate": "bfloat16"},
    "float32 folded": {"batch_norm": "folded"},
    "float32 shifted-fma, fused shift": {"batch_norm": "shifted-fma", "shift": "fused"},
    "float32 bare sums, mean by a product": {
        "batch_norm": "sum-shifted-fma",
        "mean": "multiply",
        "relu": "signed-zero",
    },
    "float32 tree": {"order": {"conv1_conv": "tree:((98..146)+(0..48),97..49)", "*": "sequential"}},
    "float32 in double-double": {"accumulate": "double-double"},
    "double-double": {"precision": "double-double"},
    "mixed": {"precision": {"conv5_*": "float64", "conv[34]_*": "float16", "*": "float32"}, "order": "blocks:64"},
}


def sha256(y: np.ndarray | refnet.DoubleDouble) -> str:
    """Of shape, type and bits, whatever the byte order of the machine; of a DoubleDouble, of its two planes in turn."""
    planes = [np.asarray(plane) for plane in (y if isinstance(y, tuple) else (y,))]
    head = f"{planes[0].dtype.name} {y.shape} ".encode()
    bits = b"".join(plane.astype(plane.dtype.newbyteorder("<")).tobytes() for plane in planes)
    return hashlib.sha256(head + bits).hexdigest()


def hashes(size: int, cases: tuple[str, ...] = tuple(CASES)) -> dict[str, str]:
    """Case -> hash of the logits of the bundled picture, `size` pixels wide and high, by the synthetic weights."""
    weights, x = refnet.load_weights("synthetic"), refnet.load_image(refnet.bundled_image(), size=size)
    return {case: sha256(refnet.predict(x, weights, classifier_activation=None, **CASES[case])) for case in cases}


def pin() -> None:
    """Write hashes.json with the cases that it lacks; those that it has are not computed."""
    pinned = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for size in map(str, SIZES):
        held = pinned.get(size, {})
        held |= hashes(int(size), tuple(case for case in CASES if case not in held))
        pinned[size] = {case: held[case] for case in CASES}
    FILE.write_text(json.dumps(pinned, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> None:
    if arguments:
        print(json.dumps(hashes(int(arguments[0]), tuple(arguments[1:]) or tuple(CASES))))
    else:
        pin()


if __name__ == "__main__":
    main(sys.argv[1:])
