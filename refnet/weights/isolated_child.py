"""`python -m refnet.weights.isolated_child FILE TARGET VARIANT`: read FILE, write TARGET; isolated.py says why."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ..errors import InputError
from .containers import read_here
from .isolated import REFUSED
from .safetensors_file import write_safetensors


def main(path: str, target: str, variant: str) -> int:
    try:
        write_safetensors(read_here(Path(path), variant=variant or None), Path(target))
    except InputError as error:
        print(json.dumps({"found": error.found, "expected": error.expected, "do": error.do}))
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
