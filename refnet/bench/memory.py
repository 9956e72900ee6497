"""The most memory that a process holds which loads weights and predicts once: `python -m refnet.bench.memory`."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

STATUS = Path("/proc/self/status")


def peak_memory(weights: Path, base: np.ndarray, threads: int, folder: Path, precision: str = "float32") -> int:
    """Bytes of such a child process; weights: a file.  base: (1, height, width, 3).  Raises CalledProcessError."""
    picture = folder / "picture.npy"
    np.save(picture, base)
    command = [sys.executable, "-P", "-m", f"{__package__}.memory", *map(str, (weights, picture, threads, precision))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def own_peak() -> int:
    """Bytes that this process has held at most.

    From Linux's VmHWM where there is one: getrusage's ru_maxrss also counts what the parent held when it started us.
    """
    if STATUS.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))):
        return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(weights: str, picture: str, threads: str, precision: str) -> None:
    from ..forward import predict
    from ..weights import load_weights

    predict(np.load(picture, allow_pickle=False), load_weights(weights), precision=precision, threads=int(threads))
    print(own_peak())


if __name__ == "__main__":
    main(*sys.argv[1:])
