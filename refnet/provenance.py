"""Where a number comes from: versions, processor, environment, time; what a second person needs to get it again."""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

PACKAGES = (
    *("refnet", "numpy", "numba", "llvmlite", "mpmath", "h5py", "pillow", "pandas", "scipy", "safetensors"),
    *("keras", "tf_keras", "tensorflow", "tensorflow-cpu", "jax", "jaxlib", "torch", "openvino"),
)
"""Distributions that can change a result or its file."""

ENVIRONMENT = (
    *("KERAS_BACKEND", "TF_ENABLE_*", "TF_DISABLE_*", "TF_NUM_*", "TF_XLA_FLAGS", "TF_CUDNN_*", "TF_DETERMINISTIC_OPS"),
    *("TF_USE_LEGACY_KERAS", "XLA_FLAGS", "JAX_ENABLE_*", "JAX_DEFAULT_*", "JAX_PLATFORMS", "JAX_NUM_*"),
    *("TORCH_ALLOW_*", "TORCHINDUCTOR_FREEZING", "ATEN_CPU_CAPABILITY", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE"),
    *("OMP_*", "KMP_*", "GOMP_*", "MKL_*", "ONEDNN_*", "DNNL_*", "OPENBLAS_*", "PJRT_NPROC", "NPROC", "PYTHONHASHSEED"),
    *("NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER", "NUMBA_CPU_*", "NUMBA_ENABLE_AVX", "NUMBA_DISABLE_JIT"),
)
"""Environment variables that can change bits, as file-name patterns. Nothing else of the environment is recorded:
a shorter pattern such as TF_* would also take Terraform's secrets."""


def provenance(**more: object) -> dict[str, object]:
    """What this process runs on, ready for JSON; keywords are added as they are (`weights="sha256..."`, `seed=0`).

    Packages are looked up without importing them; one that is not installed is left out. `revision` is the git
    revision of refnet's own source tree, None for an installed package.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": _revision(Path(__file__).parents[1]),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu(),
        "packages": installed_packages(),
        "environment": relevant_environment(os.environ),
        **more,
    }


def cpu() -> dict[str, object]:
    """Model name, sorted instruction-set flags ([] where the system does not tell), cores that this process may use."""
    try:
        described = _first_processor(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        described = {}
    model = described.get("model name") or platform.processor() or platform.machine()
    flags = described.get("flags") or described.get("Features") or ""
    return {"model": model, "flags": sorted(flags.split()), "cores": usable_cores()}


def usable_cores() -> int:
    """How many cores this process may use, which is fewer than the machine has under taskset or in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def installed_packages() -> dict[str, str]:
    """Distribution -> version, of those in PACKAGES that are installed."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def relevant_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables whose names fit a pattern of ENVIRONMENT, sorted by name."""
    return {
        name: environment[name]
        for name in sorted(environment)
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in ENVIRONMENT)
    }


def sha256_of_array(array: np.ndarray) -> str:
    """SHA-256 (hex) of `dtype|shape|` (`<f4|1,224,224,3|`) followed by the values in C order, little-endian.

    Equal for equal arrays on every machine, whatever their byte order or layout in memory; NaN payloads and the
    sign of zero count.
    """
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    header = f"{little.dtype.str}|{','.join(map(str, array.shape))}|"
    digest = hashlib.sha256(header.encode("ascii"))
    digest.update(little.data)
    return digest.hexdigest()


def sha256_of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 (hex) over names, dtypes, shapes and little-endian bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
    return digest.hexdigest()


def about_pictures(x: np.ndarray) -> dict[str, object]:
    """Pictures (n, height, width, 3) as a provenance names them: the hash of each is that of a batch of it alone."""
    return {"shape": list(x.shape), "sha256": [sha256_of_array(picture[None]) for picture in x]}


def _first_processor(cpuinfo: str) -> dict[str, str]:
    """`key: value` lines of the first processor that Linux lists."""
    lines = cpuinfo.split("\n\n", 1)[0].splitlines()
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _revision(root: Path) -> str | None:
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
