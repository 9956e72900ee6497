"""The variants: every way in which refnet runs a backend, as a table of data."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..errors import InputError

FRAMEWORKS = ("keras", "tf_keras")  # what the child imports to build the model: Keras 3, or Keras 2
PRECISIONS = (None, "f32", "bf16", "f16")


@dataclass(frozen=True)
class Variant:
    """One way to run a backend.

    name: what the user types.  framework: the Keras that builds the model, one of FRAMEWORKS.
    modules: what must be importable; a variant without them is reported as missing.
    extra: `pip install "refnet[extra]"` brings them.
    environment: variables that the child process gets; all others it inherits.
    dtype_policy: Keras's.  compile: arguments of `model.compile` ({}: not called, as most users' predict).
    inference_precision: hint for openvino; None leaves its own choice.
    batch_size: pictures given to the backend at once. It changes bits in most backends, so by default every picture
    goes alone and its row cannot depend on its neighbours.
    """

    name: str
    modules: tuple[str, ...]
    extra: str
    framework: str = "keras"
    environment: Mapping[str, str] = field(default_factory=dict)
    dtype_policy: str = "float32"
    compile: Mapping[str, Any] = field(default_factory=dict)
    inference_precision: str | None = None
    batch_size: int = 1

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", self.name):
            raise InputError(f"variant name {self.name!r}", expected="small letters, digits, dots and hyphens")
        if self.framework not in FRAMEWORKS:
            raise InputError(f"framework {self.framework!r} of {self.name}", expected=f"one of {', '.join(FRAMEWORKS)}")
        if self.inference_precision not in PRECISIONS:
            raise InputError(
                f"inference precision {self.inference_precision!r} of {self.name}", expected=f"one of {PRECISIONS}"
            )
        if self.batch_size < 1:
            raise InputError(f"batch size {self.batch_size} of {self.name}", expected="at least 1")
        wrong = [key for key, value in self.environment.items() if not isinstance(value, str)]
        if wrong:
            raise InputError(f"environment of {self.name}: {', '.join(wrong)}", expected="text as values")
        object.__setattr__(self, "environment", MappingProxyType(dict(self.environment)))
        object.__setattr__(self, "compile", MappingProxyType(dict(self.compile)))

    @property
    def backend(self) -> str | None:
        """What Keras must call its backend; None where the variant leaves that to the user's environment."""
        return "tensorflow" if self.framework == "tf_keras" else self.environment.get("KERAS_BACKEND")

    @property
    def missing_modules(self) -> tuple[str, ...]:
        """The modules that are not importable here; looks for them without importing any."""
        return tuple(module for module in self.modules if importlib.util.find_spec(module) is None)


def _keras(name: str, backend: str, *modules: str, **more: Any) -> Variant:
    """Keras 3 on one of its backends; `modules` are what the backend needs beside Keras."""
    return Variant(name, ("keras", *modules), extra=name, environment={"KERAS_BACKEND": backend, **_QUIET}, **more)


_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2"}  # TensorFlow's greeting would hide the reason of a failure

VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        variant.name: variant
        for variant in (
            _keras("tensorflow", "tensorflow", "tensorflow"),
            Variant("tf-keras", ("tf_keras", "tensorflow"), "tf-keras", framework="tf_keras", environment=_QUIET),
            _keras("jax", "jax", "jax"),
            _keras("torch", "torch", "torch"),
            _keras("openvino", "openvino", "openvino", "scipy"),
            _keras("openvino-f32", "openvino", "openvino", "scipy", inference_precision="f32"),
            _keras("numpy", "numpy", "jax", "scipy"),  # Keras's numpy backend hands its convolutions to jax.lax
        )
    }
)
"""Name -> variant, in the order in which reports show them."""


def select(variants: Sequence[str | Variant]) -> tuple[Variant, ...]:
    """The variants of these names (or values), in this order; `all` stands for the whole table.

    Raises InputError for an unknown name and for a name that comes twice.
    """
    chosen: list[Variant] = []
    for item in variants:
        if isinstance(item, Variant):
            chosen.append(item)
        elif item == "all":
            chosen.extend(VARIANTS.values())
        elif item in VARIANTS:
            chosen.append(VARIANTS[item])
        else:
            raise InputError(f"variant {item!r}", expected=f"some of {', '.join(VARIANTS)}, or all")
    names = [variant.name for variant in chosen]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"variants named twice: {', '.join(twice)}", expected="each once")
    return tuple(chosen)
