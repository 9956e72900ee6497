"""A made-up drift for tests of files, reports and the command line: no network runs, and every number is known."""

from __future__ import annotations

import numpy as np

from refnet.drift import EVIDENCE, OWN, TOLERANCES, Drift, VariantDrift, Verdict, measure, measure_logits
from refnet.drift.comparison import Comparison
from refnet.drift.histogram import ulp_histogram
from refnet.drift.logits import best_logits
from refnet.graph import resnet

LAYERS = resnet().names


def variant(name: str, size: float, *, layered: int = 0) -> VariantDrift:
    """A variant that ran, with errors that grow with depth."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(1, 40))
    noise = rng.normal(size=(1, 40))
    outputs = {
        layer: (truth * (1 + size * (place + 1) * noise)).astype(np.float32) for place, layer in enumerate(LAYERS)
    }
    layers = {layer: measure(values, truth) for layer, values in outputs.items()}
    layers["input_layer"] = measure(truth.astype(np.float32), truth.astype(np.float32))
    plain = (truth * (1 + size * noise)).astype(np.float32)
    logits = measure_logits(plain, truth)
    looking = {"layered_values": layered, "layered_zero_signs": 0, "layered_max_abs": layered * 1e-6}
    histograms = {layer: ulp_histogram(Comparison(values, truth)) for layer, values in outputs.items()}
    about = {"backend": name}
    best = best_logits(plain)
    return VariantDrift(
        name, "ok", "", 1.5, logits | looking, layers, about, ulp_histograms=histograms, best_logits=best
    )


def judged_variant(name: str) -> VariantDrift:
    """Reduced from conv1_conv on; the layers before it are identical and rounding."""
    whole = Verdict("reduced", "bfloat16", "outputs are bfloat16 numbers", margin=0.5, power=1e-3)
    start = [Verdict("identical", "float32", replayed="sequential"), Verdict("rounding", "float32", margin=0.9)]
    verdicts = dict(zip(LAYERS, start + [whole] * (len(LAYERS) - len(start)), strict=True))
    evidence = dict.fromkeys(EVIDENCE, 1e-3)
    layers = dict.fromkeys(LAYERS, evidence)
    return variant(name, 1e-3).judged(whole, whole, verdicts, layers, dict.fromkeys(TOLERANCES, 1e-5))


def sample_drift(*extra: VariantDrift) -> Drift:
    missing = VariantDrift("torch", "missing", 'torch is not installed; pip install "refnet[torch]"')
    killed = VariantDrift("openvino", "killed", "died | of signal 9\n(out of memory, perhaps)")
    about = {
        "weights": {"source": "synthetic", "sha256": "ab" * 32},
        "pictures": {"shape": [1, 224, 224, 3], "sha256": ["cd" * 32]},
        "threads": 2,
    }
    truth = {"kind": "float64", "description": "refnet in float64"}
    rows = (variant(OWN, 1e-7), variant("tensorflow", 2e-7, layered=3), missing, killed, *extra)
    return Drift(about, truth, rows)
