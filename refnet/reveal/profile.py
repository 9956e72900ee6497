"""A profile: what was revealed of one variant, layer by layer, with the environment for which it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..arithmetic import PRECISIONS, Part, parse_order
from ..arithmetic.formats import Array
from ..arithmetic.parts import parts_of as checked_parts
from ..atomic import replacing
from ..errors import InputError
from .sum_formats import SumFormats
from .tree_finder import Found

SCHEMA = 3
KIND = "refnet profile"
# of Arithmetic, that a layer may have
FIELDS = ("precision", "accumulate", "order", "fma", "bias", "mean", "batch_norm", "shift", "addition", "parts")


def settings_of(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Keywords of predict and activations: for each field of Arithmetic, the layers that have it."""
    return {
        name: values
        for name in FIELDS
        if (values := {layer: entry[name] for layer, entry in entries.items() if name in entry})
    }


def parts_of(entry: Mapping[str, Any]) -> tuple[Part, ...]:
    """The outputs of a layer that add in another way, by its entry."""
    return checked_parts(entry.get("parts", ()))


def formats_of(entry: Mapping[str, Any]) -> SumFormats:
    """Those in which a layer multiplies, adds and answers, by its entry."""
    own = PRECISIONS[entry.get("precision", "float32")]
    operands, sums, storage = own.operand.name, entry.get("accumulate", own.accumulate.name), own.storage.name
    if entry.get("bias") == "narrowed":
        return SumFormats(operands, sums, operands, with_bias=storage)
    return SumFormats(operands, sums, storage)


def found_of(entry: Mapping[str, Any]) -> Found:
    """How most outputs of a layer add, by its entry."""
    order = parse_order(entry["order"])
    return Found(order, entry["fma"], entry["bias"], entry.get("mean", "divide"), formats_of(entry))


def _told(entry: Mapping[str, Any]) -> str:
    """How many outputs differ, and where if that is known."""
    where = f": {entry['where']}" if "where" in entry else ""
    return f"{entry['differing']} of {entry['outputs']} outputs differ{where}"


@dataclass(frozen=True)
class Profile:
    """Orders and forms by layer; they belong to the environment. Constants belong to weights; nothing of a picture.

    variant: its name.  network: name and variant of the graph.  size: (height, width) of the pictures.  environment: as
    the backend's own process told it, threads among it.
    layers: layer -> fields of Arithmetic (FIELDS; precision and accumulate only where not all is float32), `scale`
    ("given" where constants are needed), `differing` and `outputs` of the probe; `plain`, the fields that differ in a
    model that returns its last layer alone; `where` they differ; a `reason` where a layer could not be explained;
    `subnormals`, `same` and a mean's `through` as LayerOrder has them; the last layer's `softmax`, as SoftmaxForm has
    it.
    constants: hash of weights -> the constants of predict that are given, such as conv1_bn/scale, (channels,) float32.
    plain: of the model that returns its last layer alone, `differing` of `outputs` for drawn pictures and weights;
    empty where some layer is not explained.
    """

    variant: str
    network: tuple[str, str]
    size: tuple[int, int]
    environment: Mapping[str, Any]
    layers: Mapping[str, Mapping[str, Any]]
    constants: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    plain: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for layer, entry in self.layers.items():
            if "order" in entry:
                try:
                    parse_order(entry["order"])
                    parts_of(entry)
                except InputError as error:
                    raise InputError(f"profile of {self.variant}, layer {layer}: {error}") from error

    @property
    def threads(self) -> int | None:
        """How many the backend was told to use; None, where it was left its own choice."""
        number = self.provenance.get("threads")
        return None if number is None else int(number)

    @property
    def unexplained(self) -> dict[str, str]:
        """Layer, or `the plain model` -> why refnet does not have its bits, or how many outputs of the probe differ."""
        parts = {**self.layers, "the plain model": self.plain}
        return {
            part: entry.get("reason") or _told(entry)
            for part, entry in parts.items()
            if entry.get("reason") or entry.get("differing")
        }

    @property
    def given(self) -> tuple[str, ...]:
        """The batch normalisations that need constants."""
        return tuple(layer for layer, entry in self.layers.items() if entry.get("scale") == "given")

    def settings(self, *, plain: bool = False) -> dict[str, dict[str, Any]]:
        """Keywords of predict and activations: a mapping of layers for each field.

        plain: as the backend computes where only the last layer is returned, and others are computed together.
        """
        entries = {
            layer: {**entry, **(entry.get("plain", {}) if plain else {})} for layer, entry in self.layers.items()
        }
        return settings_of(entries)

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        constants = {
            weights: {name: [float(number) for number in numbers] for name, numbers in by_name.items()}
            for weights, by_name in self.constants.items()
        }
        return {
            "schema": SCHEMA, "kind": KIND, "variant": self.variant, "network": list(self.network),
            "size": list(self.size), "environment": dict(self.environment), "provenance": dict(self.provenance),
            "layers": {layer: dict(entry) for layer, entry in self.layers.items()},
            "plain": dict(self.plain), "constants": constants,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """What to_json gave. Raises InputError for anything else."""
        if not isinstance(data, dict) or (data.get("schema"), data.get("kind")) != (SCHEMA, KIND):
            raise InputError("JSON that holds no profile", expected=f'"schema": {SCHEMA} and "kind": "{KIND}"')
        try:
            constants = {
                weights: {name: np.array(numbers, np.float32) for name, numbers in by_name.items()}
                for weights, by_name in data["constants"].items()
            }
            (name, variant), (height, width) = data["network"], data["size"]
            return cls(
                str(data["variant"]), (str(name), str(variant)), (int(height), int(width)), dict(data["environment"]),
                {layer: dict(entry) for layer, entry in data["layers"].items()},
                constants, dict(data["provenance"]), dict(data["plain"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"a profile that is not whole: {error}", do="reveal the variant again") from error

    def save(self, path: Path | str) -> None:
        """Writes the profile as a JSON file."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.to_json(), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Reads what `save` wrote. Raises InputError for a file that is missing or holds something else."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is no profile: {error}", expected="a file of refnet reveal --all") from error
        return cls.from_json(data)
