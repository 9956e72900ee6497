"""The doctor: what is installed, what each backend will run as on this machine, what is missing and how to get it."""

from __future__ import annotations

import importlib.util
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import InputError, VariantError
from ..graph import resnet
from ..provenance import provenance
from .ask import ask, check_runnable
from .job import make_job
from .run import STATUSES, Progress
from .traps import traps_of, traps_of_machine
from .variant import Variant
from .variants import select

AS_THEY_COME = ("tensorflow", "tf-keras", "jax", "torch", "openvino", "openvino-f32", "numpy")
"""The variants that the doctor asks unless told otherwise: each backend without switches, and openvino in float32."""

OPTIONAL = {"pyarrow": ("parquet", "tables as Parquet"), "gmpy2": ("fast", "multiprecision at full speed")}
"""Module -> the extra that brings it, and what it is for. Backends say theirs themselves."""

TIMEOUT = 120.0  # seconds for one variant; most of them is the framework's own start
ISA = re.compile(r"dnn_verbose,.*info,cpu,isa:(.*)")
TALKATIVE = {"ONEDNN_VERBOSE": "1"}  # oneDNN says then on standard output which instruction set it chose

FORMATS = {
    (52, True): "float64",
    (23, True): "float32",
    (10, True): "tf32",
    (10, False): "float16",
    (7, True): "bfloat16",
}
"""(fraction bits of the operands, numbers beyond float16 stay finite) -> the format that has them."""


@dataclass(frozen=True)
class Checkup:
    """One variant. status: one of STATUSES; all but "ok" say why in `reason` and have no facts.

    facts: what the probe answered: versions, devices, threads, instruction set, inference precision, policy, and
    `computes`: layer -> the format of its operands, as measured.  traps: lines to read.  seconds: of the child.
    """

    variant: str
    status: str
    reason: str = ""
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    traps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise InputError(f"status {self.status!r} of {self.variant}", expected=f"one of {', '.join(STATUSES)}")
        if (self.status == "ok") == bool(self.reason) or (self.status == "ok") != bool(self.facts):
            raise InputError(f"checkup of {self.variant} is {self.status}", expected="facts, or else a reason")
        object.__setattr__(self, "facts", MappingProxyType(dict(self.facts)))

    @property
    def ran(self) -> bool:
        return self.status == "ok"


@dataclass(frozen=True)
class Examination:
    """All checkups, the traps of the machine, and `missing`: module -> the command that installs it."""

    provenance: Mapping[str, Any]
    checkups: tuple[Checkup, ...]
    traps: tuple[str, ...]
    missing: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        """What `refnet doctor --json` writes (docs/doctor.md), schema 1."""
        checkups = [
            {
                "variant": row.variant,
                "status": row.status,
                "reason": row.reason,
                "seconds": row.seconds,
                "facts": dict(row.facts),
                "traps": list(row.traps),
            }
            for row in self.checkups
        ]
        about = {"schema": 1, "provenance": dict(self.provenance), "traps": list(self.traps)}
        return {**about, "missing": dict(self.missing), "variants": checkups}


def examine(
    variants: Sequence[str | Variant] = AS_THEY_COME,
    *,
    environment: Mapping[str, str],
    keras_json: Path,
    timeout: float = TIMEOUT,
    progress: Progress | None = None,
) -> Examination:
    """Ask each variant in a fresh child process with a model of two layers; a few seconds each.

    environment, keras_json: of the user; they are looked at and never changed.  timeout: seconds for one variant.
    progress: called as progress(variant, stage or final status, seconds).  A variant that fails is a row with its
    reason. Raises InputError for unknown variants.
    """
    tell = progress or (lambda variant, stage, seconds: None)
    checkups = tuple(check_up(variant, timeout=timeout, progress=tell) for variant in select(variants))
    missing = {
        module: f'pip install "refnet[{variant.extra}]"'
        for variant in select(variants)
        for module in variant.missing_modules
    }
    for module, (extra, purpose) in OPTIONAL.items():
        if importlib.util.find_spec(module) is None:
            missing[module] = f'pip install "refnet[{extra}]" for {purpose}'
    return Examination(provenance(), checkups, traps_of_machine(environment, keras_json), missing)


def check_up(variant: Variant, *, timeout: float, progress: Progress) -> Checkup:
    """One variant, whatever happens to it."""
    begin = time.monotonic()
    progress(variant.name, "start", 0.0)
    try:
        facts = _ask(variant, timeout, progress)
        found = Checkup(variant.name, "ok", "", time.monotonic() - begin, facts, traps_of(facts))
    except VariantError as error:
        found = Checkup(variant.name, error.status, str(error), time.monotonic() - begin)
    progress(variant.name, found.status, found.seconds)
    return found


def _ask(variant: Variant, timeout: float, progress: Progress) -> dict[str, Any]:
    check_runnable(variant)
    nowhere = Path()
    job = make_job(variant, resnet(50), weights=nowhere, images=nowhere, output=nowhere)
    heard: list[str] = []
    answer = ask(
        f"{__package__}.probe",
        {**job, "environment": {**TALKATIVE, **job["environment"]}},
        timeout=timeout,
        tell=lambda stage, seconds: progress(variant.name, stage, seconds),
        overheard=lambda line: heard.extend(ISA.findall(line)),
    )
    computes = {layer: format_of(found) for layer, found in answer.pop("operands").items()}
    kernels = answer.get("blas_kernels")
    own = answer.get("instruction_set") or (f"OpenBLAS for {kernels}" if kernels else None)
    instruction_set = heard[0].strip() if heard else own
    return {**answer, "instruction_set": instruction_set, "computes": computes}


def format_of(operands: Mapping[str, Any]) -> str:
    """The name of the format whose operands these are, else how many fraction bits they have."""
    bits = operands["fraction_bits"]
    return FORMATS.get((bits, operands["wide"]), f"{bits} fraction bits")
