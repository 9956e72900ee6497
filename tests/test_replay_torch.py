"""torch revealed and replayed: every layer and every logit equal to the bit, with the frameworks out of reach."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refnet import load_image, load_weights
from refnet.backends import VARIANTS, run
from refnet.images import bundled_image
from refnet.reveal import reveal

pytestmark = pytest.mark.slow  # torch is started twice, and the whole network probed: about a minute

REPLAY = """
import sys
for name in ("keras", "torch", "tensorflow", "jax", "openvino"):
    sys.modules[name] = None
import numpy as np, refnet
from refnet.reveal import differences
w = refnet.load_weights("synthetic")
trace = refnet.replay("torch", np.load(sys.argv[1]), w, profile=sys.argv[2])
found = differences(trace, refnet.Trace.load(sys.argv[3]))
assert len(found) == 177
print([d for d in found if d.bits or d.zeros], int((trace["predictions"] != np.load(sys.argv[4])).sum()))
"""


@pytest.mark.skipif(bool(VARIANTS["torch"].missing_modules), reason="torch is not installed")
def test_every_layer_and_logit_of_torch(tmp_path: Path) -> None:
    weights = load_weights("synthetic")
    profile = reveal("torch", threads=2)
    assert profile.unexplained == {}
    profile.save(tmp_path / "torch.json")
    x = load_image(bundled_image())
    pictures = np.concatenate([x, x[:, ::-1], np.roll(x, 40, axis=2)[:, :, ::-1]])
    np.save(tmp_path / "x.npy", pictures)
    (result,) = run(["torch"], weights, pictures, tmp_path, threads=2)
    assert result.status == "ok", result.reason
    files = [
        tmp_path / "x.npy",
        tmp_path / "torch.json",
        tmp_path / "torch" / "trace",
        tmp_path / "torch" / "logits.npy",
    ]
    command = [sys.executable, "-c", REPLAY, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[] 0", done.stderr
