"""The two ways in which Keras lays out weights in HDF5.

Legacy `.h5` (keras.applications, Keras 1 and 2, `model.save("x.h5")`): a group for each layer, in the order of the
attribute `layer_names`; its tensors in the order of its attribute `weight_names`, whose last part is the variable's
name. `model.save` puts all of it under `model_weights`.

`.weights.h5` (Keras 3, tf-keras; inside `.keras`): `layers/conv2d_12/vars/0`, numbered by class within the file. Keras
3 adds the layer's name as an attribute of `vars`; tf-keras and the first Keras 3 do not. Keras 2.12 called the group
`_layer_checkpoint_dependencies`.
"""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np

from ..graph import Node
from .hdf5 import child, has, names_in, stored_tensor, subgroup, text_attribute, text_attributes
from .layers import StoredLayer, named_tensors
from .stored import VARIANT_KEY, StoredNetwork, StoredTensor
from .weights import Weights

LAYER_GROUPS = ("layers", "_layer_checkpoint_dependencies")
CLASS_NAMES = {"conv2d": "conv2d", "batch_norm": "batch_normalization", "dense": "dense"}  # operation -> Keras's class


def keras_network(root: h5py.Group, label: str) -> StoredNetwork:
    """The tensors, whichever layout it is, and what refnet wrote of them. Raises InputError for another HDF5 file."""
    return StoredNetwork(_tensors(root, label), text_attribute(root, VARIANT_KEY, label))


def _tensors(root: h5py.Group, label: str) -> dict[str, StoredTensor]:
    if has(root, "model_weights", label):
        root = subgroup(root, "model_weights", label)
    group = next((name for name in LAYER_GROUPS if has(root, name, label)), None)
    layers = _by_class(subgroup(root, group, label), label) if group else _by_name(root, label)
    return named_tensors(layers, label)


def _by_name(root: h5py.Group, label: str) -> list[StoredLayer]:
    """The legacy layout; layers without weights are left out."""
    layers = []
    for name in text_attributes(root, "layer_names", label):
        group = subgroup(root, name, label)
        paths = text_attributes(group, "weight_names", label)
        tensors = tuple(stored_tensor(child(group, path, label), label) for path in paths)
        variables = tuple(path.split("/")[-1].split(":")[0] for path in paths)
        layers.append(StoredLayer(name, variables, tensors))
    return [layer for layer in layers if layer.tensors]


def _by_class(root: h5py.Group, label: str) -> list[StoredLayer]:
    """The layout of Keras 3; the numbers of a class give the order of its layers, wherever they start."""
    layers = []
    for name in sorted(names_in(root, label), key=_number):
        group = subgroup(root, name, label)
        if not has(group, "vars", label):
            continue
        variables = subgroup(group, "vars", label)
        keys = sorted(names_in(variables, label), key=lambda key: (len(key), key))  # 0, 1, ..., 10
        tensors = tuple(stored_tensor(child(variables, key, label), label) for key in keys)
        layers.append(StoredLayer(text_attribute(variables, "name", label) or name, (), tensors))
    return [layer for layer in layers if layer.tensors]


def _number(name: str) -> int:
    """conv2d -> 0, conv2d_12 -> 12."""
    found = re.search(r"_(\d+)$", name)
    return int(found[1]) if found else 0


def write_legacy(weights: Weights, path: Path) -> None:
    """The legacy layout as Keras 2 writes it; `load_weights` of Keras 3 and of tf-keras read it."""
    layers = _weighted(weights)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([node.name.encode() for node in layers])
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.15.0"  # without it Keras takes the file for one of Keras 1
        file.attrs[VARIANT_KEY] = weights.variant.encode()
        for node in layers:
            group = file.create_group(node.name)
            group.attrs["weight_names"] = np.array([f"{node.name}/{variable}:0".encode() for variable in node.weights])
            for variable in node.weights:
                group.create_dataset(f"{node.name}/{variable}:0", data=weights[f"{node.name}/{variable}"])


def write_keras3(weights: Weights, path: Path) -> None:
    """The layout of `.weights.h5`; `load_weights` of Keras 3 and of tf-keras read it."""
    count = dict.fromkeys(CLASS_NAMES, 0)
    with h5py.File(path, "w") as file:
        file.create_group("vars")  # of the model itself, which tf-keras looks for
        file.attrs[VARIANT_KEY] = weights.variant.encode()
        for node in _weighted(weights):
            number = f"_{count[node.operation]}" if count[node.operation] else ""
            count[node.operation] += 1
            group = file.create_group(f"layers/{CLASS_NAMES[node.operation]}{number}/vars")
            group.attrs["name"] = node.name
            for place, variable in enumerate(node.weights):
                group[str(place)] = weights[f"{node.name}/{variable}"]


def _weighted(weights: Weights) -> list[Node]:
    return [node for node in weights.graph().nodes if node.weights]
