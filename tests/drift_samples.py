"""A made-up drift for tests of files, reports and the command line: no network runs, and every number is known."""

from __future__ import annotations

import numpy as np

from refnet.drift import OWN, Drift, VariantDrift, measure, measure_logits
from refnet.graph import resnet

LAYERS = resnet().names


def variant(name: str, size: float, *, layered: int = 0) -> VariantDrift:
    """A variant that ran, with errors that grow with depth."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(1, 40))
    noise = rng.normal(size=(1, 40))
    layers = {
        layer: measure((truth * (1 + size * (place + 1) * noise)).astype(np.float32), truth)
        for place, layer in enumerate(LAYERS)
    }
    layers["input_layer"] = measure(truth.astype(np.float32), truth.astype(np.float32))
    logits = measure_logits((truth * (1 + size * noise)).astype(np.float32), truth)
    looking = {"layered_values": layered, "layered_zero_signs": 0, "layered_max_abs": layered * 1e-6}
    return VariantDrift(name, "ok", "", 1.5, logits | looking, layers, {"backend": name})


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
