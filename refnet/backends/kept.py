"""Results of an earlier run that can be taken again: each knows the fingerprint of all that its numbers come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import VariantError

MARK = "run.json"
PLACES = ("weights", "images", "output", "provenance")  # of a job: where things lie; what they are is in its facts
INCIDENTAL = ("time", "revision", "description")  # facts that change no number


def fingerprint(job: Mapping[str, Any], facts: Mapping[str, Any], child: Path) -> str:
    """SHA-256 (hex) of variant, graph, weights, pictures, threads, seed, versions, processor, environment and script.

    job: as make_job has it.  facts: its provenance, which holds the hashes of weights and pictures.
    """
    told = {
        "job": {key: value for key, value in job.items() if key not in PLACES},
        "facts": {key: value for key, value in facts.items() if key not in INCIDENTAL},
        "child": hashlib.sha256(child.read_bytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode("utf-8")).hexdigest()


def mark(result: Path, fingerprint: str, seconds: float) -> None:
    """Write into a result's folder, before it gets its name, what it comes from and how long it took."""
    document = {"fingerprint": fingerprint, "seconds": seconds}
    (result / MARK).write_text(json.dumps(document, indent=1), encoding="utf-8")


def seconds_of(result: Path, fingerprint: str) -> float:
    """How long a kept result took. Raises VariantError where there is none of this fingerprint."""
    try:
        document = json.loads((result / MARK).read_text(encoding="utf-8"))
        known, seconds = document["fingerprint"], float(document["seconds"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise VariantError(f"{result} holds no result") from error
    if known != fingerprint:
        raise VariantError(f"{result} was made from something else")
    return seconds
