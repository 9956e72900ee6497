"""Tables and documents on disk: JSON without NaN literals, CSV and Parquet with their provenance inside."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..atomic import check_writable, replacing
from ..errors import InputError

INFINITIES = {"Infinity": math.inf, "-Infinity": -math.inf}
"""How a measure that is infinite stands in JSON, which has no such numbers; NaN (no meaning) is null."""


def plain(value: Any) -> Any:
    """`value` as JSON knows it: mappings, lists, strings, finite numbers; NaN is null, infinities are strings."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Path):
        return str(value)
    return value


def number(value: Any) -> float:
    """The number that `plain` wrote: null is NaN. Raises TypeError for anything else."""
    if value is None:
        return math.nan
    if isinstance(value, str) and value in INFINITIES:
        return INFINITIES[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return value


def write_json(document: Mapping[str, Any], path: Path) -> None:
    text = json.dumps(plain(document), indent=1, allow_nan=False, ensure_ascii=False)
    with replacing(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises InputError if there is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error})", expected="a file that refnet drift --json wrote") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} holds a {type(document).__name__}", expected="a file that refnet drift --json wrote")
    return document


def write_csv(table: pd.DataFrame, about: Mapping[str, Any], path: Path) -> None:
    """The first line is `# ` and `about` as JSON; pandas.read_csv(path, skiprows=1) reads the rest."""
    with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        file.write("# " + json.dumps(plain(about), allow_nan=False) + "\n")
        table.to_csv(file, index=False)


def write_parquet(table: pd.DataFrame, about: Mapping[str, Any], path: Path) -> None:
    """`about` comes back as `pandas.read_parquet(path).attrs`. Raises InputError where pyarrow is not installed."""
    check_parquet(path)
    annotated = table.copy()
    annotated.attrs = plain(about)
    with replacing(path) as draft:
        annotated.to_parquet(draft, engine="pyarrow", index=False)


def check_output(path: Path, suffixes: Iterable[str]) -> None:
    """Find out before the work, not after it, that `path` cannot be written. Raises InputError."""
    if path.suffix not in (suffixes := tuple(suffixes)):
        raise InputError(f"{path} has the suffix {path.suffix!r}", expected=" or ".join(suffixes))
    if path.suffix == ".parquet":
        check_parquet(path)
    check_writable(path)


def check_parquet(path: Path) -> None:
    if find_spec("pyarrow") is None:
        raise InputError(f"{path} needs pyarrow, which is not installed", do='pip install "refnet[parquet]"')


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")
