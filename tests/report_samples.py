"""A made-up drift with every kind of verdict, as large as real ones, for tests of what people see."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from drift_samples import LAYERS, variant

from refnet.drift import OWN, TOLERANCES, Drift, Explanation, Otherwise, Part, VariantDrift, Verdict
from refnet.graph import resnet

SIZES = {"identical": 6e-8, "rounding": 8e-8, "reduced": 2e-3, "undecided": 1e-7, "mismatch": 0.05}
"""Kind of verdict -> local error, as a part of the layer's RMS."""

FIRST = "conv2_block1_1_conv"
"""The first layer of the variants that are neither identical nor rounding."""


def judged(name: str, kind: str, *, reason: str = "made up", cause: str | None = None) -> VariantDrift:
    """A variant of that verdict from FIRST on; before it rounding, or all of it identical."""
    fine = kind in ("identical", "rounding")
    size = SIZES[kind]
    whole = _verdict(kind, reason, cause)
    before = whole if kind == "identical" else _verdict("rounding", "made up")
    departs = LAYERS.index(FIRST)
    verdicts = {layer: whole if place >= departs else before for place, layer in enumerate(LAYERS)}
    layers = {
        layer: {
            "local_rms": 0.0 if layer.endswith(("_pad", "_relu", "_pool")) else (size if place >= departs else 6e-8),
            "local_max": 5 * size,
            "amplification": 1.1,
            "simulated_low": 3e-8,
            "simulated_high": 1.2e-7,
            **_tolerances(6e-8 * (1 + place / 8)),
        }
        for place, layer in enumerate(LAYERS)
    }
    return variant(name, size if not fine else 6e-8).judged(whole, whole, verdicts, layers, _tolerances(2e-6))


def _verdict(kind: str, reason: str, cause: str | None = None) -> Verdict:
    format_ = {"reduced": "bfloat16", "identical": "float32", "rounding": "float32"}.get(kind)
    replayed = "sequential" if kind == "identical" else None
    proved = kind == "mismatch"
    return Verdict(kind, format_, reason, replayed, proved, cause, margin=0.4, power=8e-7)


def _tolerances(error: float) -> dict[str, float]:
    assert set(TOLERANCES) == {"rtol", "atol", "band_low", "band_high"}
    return {"rtol": 12.34 * error, "atol": 3.21 * error, "band_low": error / 2, "band_high": 2 * error}


@cache
def large_drift() -> Drift:
    """Ten variants that ran, of all verdicts, and two that did not, with the longest names that there are."""
    names = ("tensorflow", "tensorflow-xla", "tf-keras", "jax", "torch-channels-first", "openvino-f32")
    rows = (
        judged(OWN, "identical"),
        *(judged(name, "rounding") for name in names),
        judged("openvino", "reduced", reason="the local error fits operands rounded to bfloat16"),
        judged("numpy", "mismatch", reason="no | order <gives> these numbers", cause="epsilon:1e-3"),
        judged("torch", "undecided"),
        VariantDrift("tensorflow-gpu", "missing", "no GPU is here"),
        VariantDrift("torch-compile", "killed", "died of signal 9"),
    )
    best = tuple((number, float(20 - number)) for number in range(5))
    truth = {
        "kind": "certified",
        "description": "proven",
        "digits": 46.3,
        "layer_digits": dict.fromkeys(LAYERS, 46.3),
        "decided": True,
        "top5": [list(map(list, best))],
    }
    about = {"weights": {"source": "synthetic", "sha256": "ab" * 32}, "pictures": {"shape": [1, 224, 224, 3]}}
    return Drift(about, truth, rows)


LONG = "tree 3f9a2c:(0..127)+(128..255)+(256.. ... +(4480..4607), fma, bias last"
"""As long as the text of an order becomes."""

FORMS = {
    "conv2d": "sequential, fma, bias last",
    "batch_norm": "shifted-fma, shift fused, its own factor",
    "add": "x + y",
}
FORMS |= {"mean_pool": "blocks:16,16,16,1, then divide", "dense": "sequential, no fma, bias last"}
SHARES = {"conv2d": 0.4, "batch_norm": 0.02, "add": -0.0025, "mean_pool": 0.0025, "dense": 0.58}
"""Operation -> the share of all its layers together."""


def explanation() -> Explanation:
    """Made up: every third convolution in an order with a long name, and a layer with a negative share."""
    nodes = [node for node in resnet().nodes if node.operation in FORMS]
    count = {operation: sum(node.operation == operation for node in nodes) for operation in FORMS}
    parts = [
        Part(
            node.name,
            node.operation,
            LONG if node.operation == "conv2d" and not place % 3 else FORMS[node.operation],
            1e-7,
            SHARES[node.operation] / count[node.operation],
        )
        for place, node in enumerate(nodes)
    ]
    others = [Otherwise("conv2d", "rounded once", 3e-6), Otherwise("dense", "pairwise:8", 1.5e-6)]
    return Explanation(tuple(parts), (*others, Otherwise("", "rounded once", 2e-7)))


@cache
def explained_drift() -> Drift:
    """large_drift and two variants whose drift is explained."""
    rows = (replace(judged(name, "identical"), explanation=explanation()) for name in ("torch-avx2", "jax-threads-1"))
    return replace(large_drift(), variants=(*large_drift().variants, *rows))
