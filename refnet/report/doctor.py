"""What `refnet doctor` prints: one row for each backend as it will run here, then the traps and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..backends.doctor import Checkup, Examination
from .summary import STATUS_STYLES
from .table import add_row, table_of

PACKAGES = {
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "jax": ("jax",),
    "torch": ("torch",),
    "openvino": ("openvino",),
}
"""Keras's name of a backend -> the distributions that it may come from; NumPy's version is that of numpy."""


def doctor_tables(found: Examination) -> Group:
    """Give it to a rich Console."""
    parts: list[RenderableType] = [Text(_machine(found.provenance), style="bold"), _table(found.checkups)]
    traps = [*_traps(found.checkups), *(("this machine", line) for line in found.traps)]
    for title, lines in (
        ("Traps", traps or [("none", "nothing here changes results behind your back")]),
        ("Did not run", [(row.variant, f"{row.status}, {row.reason}") for row in found.checkups if not row.ran]),
        ("Missing", list(found.missing.items())),
    ):
        if lines:
            parts += [Text(), Text(title, style="bold")]
            parts += [Text.assemble((f"{name}: ", "bold"), " ".join(line.split())) for name, line in lines]
    return Group(*parts)


def _traps(checkups: tuple[Checkup, ...]) -> list[tuple[str, str]]:
    """A trap that several variants have is told once."""
    lines = dict.fromkeys(line for row in checkups for line in row.traps)
    return [(", ".join(row.variant for row in checkups if line in row.traps), line) for line in lines]


def _machine(about: Mapping[str, Any]) -> str:
    cpu, packages = about["cpu"], about["packages"]
    keras = ", ".join(f"{name} {packages[name]}" for name in ("keras", "tf_keras") if name in packages)
    return (
        f"{cpu['model']}, {cpu['cores']} cores · Python {about['python']} · refnet {packages.get('refnet', 'unknown')}"
        f" · {keras or 'no Keras'}"
    )


def _table(checkups: tuple[Checkup, ...]) -> Table:
    table = table_of("variant", "status", "version", "computes in", "threads", "device", "instruction set")
    for row in checkups:
        add_row(table, row.variant, Text(row.status, style=STATUS_STYLES[row.status]), *_cells(row.facts))
    table.columns[-1].justify = "left"
    for column in table.columns:
        column.vertical = "top"
    return table


def _cells(facts: Mapping[str, Any]) -> list[str]:
    if not facts:
        return []
    formats = list(dict.fromkeys(facts["computes"].values()))
    computes = formats[0] if len(formats) == 1 else "\n".join(f"{v} ({k})" for k, v in facts["computes"].items())
    return [
        _version(facts),
        computes,
        str(facts.get("threads") or "auto"),
        ", ".join(map(str, facts.get("devices", []))) or "-",
        _short(facts.get("instruction_set") or "not told"),
    ]


def _version(facts: Mapping[str, Any]) -> str:
    names = PACKAGES.get(facts["backend"], ("numpy",))
    return next((facts["packages"][name] for name in names if name in facts["packages"]), "-")


def _short(instruction_set: str) -> str:
    """oneDNN's names are sentences."""
    return instruction_set.replace("Intel ", "").replace("Deep Learning Boost", "DL Boost").removesuffix(" support")
