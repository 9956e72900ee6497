"""A variant: one way to run a backend, as a value that checks itself."""

from __future__ import annotations

import importlib.util
import inspect
import re
import reprlib
import shutil
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import InputError
from .child import CONFIGURE

FRAMEWORKS = ("keras", "tf_keras")  # what the child imports to build the model: Keras 3, or Keras 2
POLICIES = ("float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")
DATA_FORMATS = ("channels_last", "channels_first")
LARGEST = 1024  # threads, and copies of a picture in a batch
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[0-9][a-z0-9_-]*)*")
"""Of variants. A dot has a digit behind it: no folder of results is called as a file beside it, such as torch.log."""

OWN = "refnet"  # what rows of refnet's own passes are called begins with it

COMPILE = ("jit_compile", "run_eagerly")  # the arguments of `model.compile` that a model tells back


def no_compiler() -> str:
    compiler = any(map(shutil.which, ("c++", "g++", "clang++")))
    headers = (Path(sysconfig.get_path("include")) / "Python.h").is_file()
    return "" if compiler and headers else "no C++ compiler with Python's headers here"


def asked_of_the_framework() -> str:
    """A GPU: whether a framework can use one, only the framework knows, so the child asks it and tells."""
    return ""


NEEDS: Mapping[str, Callable[[], str]] = {"gpu": asked_of_the_framework, "compiler": no_compiler}
"""What a variant may need of a machine -> why it is not there, "" where it is."""


@dataclass(frozen=True)
class Variant:
    """One way to run a backend.

    name: what the user types.  modules: what must be importable; a variant without them is reported as missing.
    extra: `pip install "refnet[extra]"` brings them.  description: one sentence, which switch this is.
    default: whether it belongs to the set that runs where nothing else is said.
    framework: the Keras that builds the model, one of FRAMEWORKS.
    needs: what the machine must have, of NEEDS; a variant without it is reported as missing.
    environment: variables that the child process gets; all others it inherits.
    settings: what is set in the framework itself, by name, see SETTINGS.
    compile: arguments of `model.compile`, of COMPILE ({}: not called, as most users' predict).
    dtype_policy: Keras's, of POLICIES.  data_format: Keras's, of DATA_FORMATS.
    threads: its own number, whatever the run's is; None takes the run's.
    batch_size: each picture goes to the backend in a batch of so many copies of itself.
    expect: what the child must say of its model beside all that, such as {"onednn": False}: proof of an environment.
    """

    name: str
    modules: tuple[str, ...]
    extra: str
    description: str = ""
    default: bool = False
    framework: str = "keras"
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str | bool] = field(default_factory=dict)
    compile: Mapping[str, bool] = field(default_factory=dict)
    dtype_policy: str = "float32"
    data_format: str = "channels_last"
    threads: int | None = None
    batch_size: int = 1
    expect: Mapping[str, str | bool | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name)
        for item in fields(self):
            value = getattr(self, item.name)
            self._check_kind(item.name, value, item.name if item.name in KINDS else str(item.type))
            if isinstance(value, Mapping):
                object.__setattr__(self, item.name, MappingProxyType(dict(value)))
        self._check("framework", [self.framework], FRAMEWORKS)
        self._check("dtype_policy", [self.dtype_policy], POLICIES)
        self._check("data_format", [self.data_format], DATA_FORMATS)
        self._check("needs", self.needs, tuple(NEEDS))
        self._check("compile", self.compile, COMPILE)
        if self.backend is not None:
            self._check("KERAS_BACKEND", [self.backend], tuple(CONFIGURE))
        known = SETTINGS.get(self.backend or "", {})
        self._check("settings", self.settings, tuple(known))
        for name, value in self.settings.items():
            self._check_kind(name, value, known[name])

    def _check_kind(self, name: str, value: Any, kind: str) -> None:
        wanted, fits = KINDS[kind]
        if not fits(value):
            raise InputError(f"{name} of {self.name} is {shown(value)}", expected=wanted)

    def _check(self, name: str, found: Any, known: tuple[str, ...]) -> None:
        if unknown := [item for item in found if item not in known]:
            raise InputError(
                f"{name} of {self.name} has {shown(unknown[0])}", expected=f"of {', '.join(known) or 'none'}"
            )

    @property
    def backend(self) -> str | None:
        """What Keras must call its backend; None where the variant leaves that to the user's environment."""
        return "tensorflow" if self.framework == "tf_keras" else self.environment.get("KERAS_BACKEND")

    @property
    def missing_modules(self) -> tuple[str, ...]:
        """The modules that are not importable here; looks for them without importing any."""
        return tuple(module for module in self.modules if not _is_importable(module))

    @property
    def missing(self) -> str:
        """Why it cannot run here, as far as that is known without starting it; "" if nothing is in the way."""
        if self.missing_modules:
            return f'{", ".join(self.missing_modules)} is not installed; pip install "refnet[{self.extra}]"'
        return ", ".join(filter(None, (NEEDS[need]() for need in self.needs)))


def shown(value: object) -> str:
    """A value in one short line, however large it is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python refuses to print whole numbers of thousands of digits
        return f"a very large {type(value).__name__}"


def check_name(name: object) -> None:
    """Raises InputError for what cannot be a variant's name."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        wanted = "small letters, digits, underscores and hyphens, and dots before digits"
        raise InputError(f"variant name {shown(name)}", expected=wanted)
    if name.startswith(OWN):
        raise InputError(f"the name {name} is taken", expected=f"one that does not begin with {OWN}")


SETTINGS: Mapping[str, Mapping[str, str]] = {
    backend: {
        name: str(parameter.annotation).removesuffix(" | None")
        for name, parameter in inspect.signature(configure).parameters.items()
        if name != "threads"
    }
    for backend, configure in CONFIGURE.items()
}
"""Backend -> the settings that the child can make in it -> what each is, a key of KINDS."""


def _is_importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # it is loaded, and nothing says from where: __main__
        return True


def _mapping_to(kinds: type | tuple[type, ...]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, Mapping)
        and all(isinstance(key, str) and isinstance(item, kinds) for key, item in value.items())
    )


def _is_environment(value: Any) -> bool:
    """What the system can hand to a process."""
    return _mapping_to(str)(value) and all(
        key and "=" not in key and "\0" not in key + item for key, item in value.items()
    )


def _is_modules(value: Any) -> bool:
    """No dots: to look for a module in a package would import the package."""
    return isinstance(value, tuple) and all(isinstance(item, str) and item.isidentifier() for item in value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LARGEST


KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "str": ("text", lambda value: isinstance(value, str)),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "modules": ("a list of modules, names without dots", _is_modules),
    "environment": ("a table of texts that a process can be given", _is_environment),
    "batch_size": (f"a whole number from 1 to {LARGEST}", _is_count),
    "threads": (f"a whole number from 1 to {LARGEST}", lambda value: value is None or _is_count(value)),
    "tuple[str, ...]": (
        "a list of texts",
        lambda value: isinstance(value, tuple) and all(isinstance(item, str) for item in value),
    ),
    "Mapping[str, bool]": ("a table of true or false", _mapping_to(bool)),
    "Mapping[str, str | bool]": ("a table of texts, true or false", _mapping_to((str, bool))),
    "Mapping[str, str | bool | int]": ("a table of texts, numbers, true or false", _mapping_to((str, bool, int))),
}
"""A field's name, or else its annotation -> what to call a value, and whether one fits."""
