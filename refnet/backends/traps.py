"""Traps: what this machine or a backend does that its user did not ask for, each with what to do about it.

Two tables: of the machine's surroundings (environment variables, keras.json), and of what a checkup measured.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..provenance import relevant_environment

KERAS_JSON = {"floatx": "float32", "image_data_format": "channels_last", "dtype_policy": "float32"}
"""Keys of keras.json that change results, and the values that ResNet50 is usually run with."""


@dataclass(frozen=True)
class Variable:
    """pattern: of environment variables, as file names are matched.  effect: what one that is set does."""

    pattern: str
    effect: str


VARIABLES = (
    Variable("KERAS_BACKEND", "Keras 3 uses this backend wherever a program does not choose one itself"),
    Variable("TF_USE_LEGACY_KERAS", "tf.keras is Keras 2 (tf-keras) where it is 1, and Keras 3 where it is not"),
    Variable("TF_ENABLE_ONEDNN_OPTS", "1 or 0 makes tensorflow use other kernels than it would, with other orders"),
    Variable("TF_XLA_FLAGS", "tensorflow may compile whole models, which fuses layers and changes bits"),
    Variable("NVIDIA_TF32_OVERRIDE", "0 keeps every NVIDIA library from TF32, whatever a framework asks for"),
    Variable("TORCH_ALLOW_TF32_*", "torch multiplies float32 in TF32, of 10 fraction bits, on GPUs that have it"),
    Variable("JAX_DEFAULT_MATMUL_PRECISION", "jax multiplies in this precision"),
    Variable("JAX_ENABLE_X64", "jax computes in float64 where it would in float32"),
    Variable("ONEDNN_MAX_CPU_ISA", "tensorflow and torch keep to this instruction set, and add in its orders"),
    Variable("ATEN_CPU_CAPABILITY", "torch's own kernels keep to this instruction set"),
    Variable("OPENBLAS_CORETYPE", "NumPy multiplies with the kernels of this processor, and adds in their orders"),
    Variable("*_NUM_THREADS", "a thread count; some kernels add in another order with another count"),
    Variable("*NPROC", "jax uses so many threads"),
)
"""What is known of the variables that provenance records; the first pattern that fits speaks."""


def traps_of_machine(environment: Mapping[str, str], keras_json: Path) -> tuple[str, ...]:
    """One line for each variable that can change bits, and one for each odd setting of keras.json."""
    variables = [f"{name}={value} is set: {_effect(name)}" for name, value in relevant_environment(environment).items()]
    return (*variables, *_traps_of_file(keras_json))


def _effect(name: str) -> str:
    known = (row.effect for row in VARIABLES if fnmatch.fnmatchcase(name, row.pattern))
    return next(known, "it can change bits")


def _traps_of_file(path: Path) -> list[str]:
    """refnet's own child processes never see keras.json; a user's programs do."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        return [f"keras.json cannot be read ({error}): Keras starts with its defaults, or not at all"]
    if not isinstance(settings, dict):
        return ["keras.json holds no settings: Keras starts with its defaults, or not at all"]
    return [
        f"keras.json has {key} {settings[key]!r}, where {usual!r} is usual; your own programs get it, refnet does not"
        for key, usual in KERAS_JSON.items()
        if settings.get(key, usual) != usual
    ]


Facts = Mapping[str, Any]
"""What the probe of one variant answered; `computes` are the formats of its operands, by layer."""


@dataclass(frozen=True)
class Trap:
    """applies: to what was measured.  text: one line, with {fields} of the facts."""

    name: str
    applies: Callable[[Facts], bool]
    text: str


def _reduced(facts: Facts, *formats: str) -> bool:
    return facts["dtype_policy"] == "float32" and not set(formats).isdisjoint(facts["computes"].values())


TRAPS = (
    Trap(
        "reduced:bfloat16",
        lambda facts: facts["backend"] == "openvino" and _reduced(facts, "bfloat16"),
        "computes in bfloat16 under a float32 policy: its inference precision hint is {inference_precision}; "
        "ask for float32 as openvino-f32 does: INFERENCE_PRECISION_HINT f32",
    ),
    Trap(
        "reduced:bfloat16",
        lambda facts: facts["backend"] != "openvino" and _reduced(facts, "bfloat16"),
        "computes in bfloat16 under a float32 policy (matmul precision: {inference_precision})",
    ),
    Trap(
        "reduced:tf32",
        lambda facts: _reduced(facts, "tf32"),
        "TF32 is on: products keep 10 of 23 fraction bits under a float32 policy; NVIDIA_TF32_OVERRIDE=0 turns it off",
    ),
    Trap(
        "reduced:float16",
        lambda facts: _reduced(facts, "float16"),
        "computes in float16 under a float32 policy (precision: {inference_precision})",
    ),
    Trap(
        "weights:first-call",
        lambda facts: facts["keeps_first_weights"],
        "predict keeps the weights of its first call: make a fresh model after set_weights or load_weights",
    ),
)
"""What a checkup can show; all of it is measured, none of it assumed of a backend."""


def traps_of(facts: Facts) -> tuple[str, ...]:
    """The lines of TRAPS that apply."""
    told = {"inference_precision": "not told", **facts}
    return tuple(trap.text.format_map(told) for trap in TRAPS if trap.applies(facts))
