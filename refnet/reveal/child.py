"""Layers of one backend variant, asked again and again: `python child.py job.json`, a server on its own pipes.

A question on standard input is a line of JSON, `{"ask": ..., "arrays": [[dtype, shape], ...]}`, and the arrays' bytes;
an answer on standard output is the same. What the framework prints goes to standard error. A layer is that of the
variant's network, alone in a model of its own with the shapes, the batch and the options that it has there; or several
are in one model, which returns the last one's output only.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np


def main(job: Mapping[str, Any]) -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    backend = module_at(job["backend_child"])
    served = Layers(backend, job)
    while question := read(sys.stdin.buffer):
        (ask, settings), arrays = question
        write(answers, *getattr(served, f"ask_{ask}")(arrays, **settings))


class Layers:
    """The network of the job, and one of its layers in a model of its own."""

    def __init__(self, backend: Any, job: Mapping[str, Any]) -> None:
        self.backend, self.job = backend, job
        self.keras = backend.configure(job)
        if "gpu" in job["needs"] and not backend.has_gpu(backend.backend_of(self.keras)):
            print(f"\n{backend.MISSING}no GPU that {backend.backend_of(self.keras)} can use here", file=sys.stderr)
            sys.exit(1)
        self.network = self.whole()
        self.fresh = backend.backend_of(self.keras) == "openvino"  # its predict keeps the weights of its first call
        self.model: Any = None
        self.build: Any = None
        self.taken: list[str] = []
        self.behind = False
        self.inputs: list[np.ndarray] = []

    def ask_layer(
        self, arrays: list[np.ndarray], name: str, behind: bool = False, activation: str | None = None
    ) -> tuple[Any, list[np.ndarray]]:
        """Take up a layer: alone, or behind a convolution and an addition that change no number.

        activation: its own instead of the network's.
        """
        shape = tuple(self.network.get_layer(name).input.shape[1:])

        def build() -> Any:
            layer = self.copy_of(name, **({} if activation is None else {"activation": activation}))
            kind = self.network.get_layer(name).input.dtype
            entries = [self.keras.layers.Input(shape=shape, dtype=kind) for _ in range(1 + behind)]
            tensor = self.keras.layers.Add()([self.convolved(entries[0]), entries[1]]) if behind else entries[0]
            return self.keras.Model(entries, layer(tensor))

        self.take(build, [name], behind)
        return {"input": self.told(shape)}, []

    def ask_together(
        self, arrays: list[np.ndarray], names: list[str], entries: list[str]
    ) -> tuple[Any, list[np.ndarray]]:
        """Take up layers that read each other; entries: those outside that they read too, whose outputs are given."""
        reads = {node["name"]: node["inputs"] for node in self.job["nodes"]}
        outputs = [self.network.get_layer(name).output for name in entries]
        shapes = [tuple(output.shape[1:]) for output in outputs]

        def build() -> Any:
            inputs = [
                self.keras.layers.Input(shape=shape, dtype=output.dtype)
                for shape, output in zip(shapes, outputs, strict=True)
            ]
            tensors = dict(zip(entries, inputs, strict=True))
            for name in names:
                read = [tensors[other] for other in reads[name]]
                tensors[name] = self.copy_of(name)(read if len(read) > 1 else read[0])
            return self.keras.Model(inputs, tensors[names[-1]])

        self.take(build, names)
        return {"inputs": [self.told(shape) for shape in shapes]}, []

    def ask_whole(self, arrays: list[np.ndarray], names: list[str]) -> tuple[Any, list[np.ndarray]]:
        """Take up the network, as predict runs it."""
        self.take(self.whole, names)
        return {}, []

    def whole(self) -> Any:
        """The job's network, new."""
        first = self.job["nodes"][0]
        entry = self.keras.layers.Input(shape=self.laid_out(first["shape"]), name=first["name"])
        make = self.backend.from_nodes if self.job["application"] is None else self.backend.from_application
        return make(self.keras, self.job, entry)

    def take(self, build: Callable[[], Any], names: list[str], behind: bool = False) -> None:
        """The model of the next questions, whose weights are those of the named layers."""

        def compiled() -> Any:
            model = build()
            if self.job["compile"]:
                model.compile(**self.job["compile"])
            return model

        self.build, self.model, self.taken, self.behind = compiled, compiled(), names, behind

    def copy_of(self, name: str, **changed: Any) -> Any:
        """The same layer of the network, without its weights; changed: what its configuration has otherwise."""
        original = self.network.get_layer(name)
        return type(original).from_config({**original.get_config(), **changed})

    def told(self, shape: tuple[int, ...]) -> list[int]:
        """A shape, channels last."""
        height, *more = shape
        return [*more, height] if self.first and more else list(shape)

    @property
    def first(self) -> bool:
        """Whether channels come first here; questions and answers have them last."""
        return bool(self.backend.channels_first(self.job))

    def laid_out(self, shape: list[int]) -> tuple[int, ...]:
        height, width, channels = shape
        return (channels, height, width) if self.first else (height, width, channels)

    def as_laid_out(self, x: np.ndarray) -> np.ndarray:
        """A mere view would keep its strides, by which torch chooses its kernels."""
        return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if self.first and x.ndim == 4 else x

    def convolved(self, entry: Any) -> Any:
        """The same numbers, as they come out of a convolution whose kernel is the identity."""
        channels = entry.shape[1 if self.first else -1]
        layer = self.keras.layers.Conv2D(channels, 1, use_bias=False)
        result = layer(entry)
        layer.set_weights([np.eye(channels, dtype=np.float32)[None, None]])
        return result

    def ask_inputs(self, arrays: list[np.ndarray]) -> tuple[Any, list[np.ndarray]]:
        """What the model gets from now on, in the types that it reads."""
        given = [
            self.as_laid_out(x).astype(numpy_type(entry.dtype))
            for x, entry in zip(arrays, self.model.inputs, strict=False)
        ]
        self.inputs = [*given, np.zeros_like(given[0])] if self.behind else given
        return {}, []

    def ask_run(
        self, arrays: list[np.ndarray], position: list[int] | None = None, batch: int | None = None
    ) -> tuple[Any, list[np.ndarray]]:
        """The output with these weights, layer by layer: all of it, or one place, an index into its leading axes.

        It comes back in float32, which holds all numbers of the narrower types. batch: how many of the inputs go into
        the model at once, instead of all.
        """
        if self.fresh:
            self.model = self.build()
        rest = iter(arrays)
        for layer in map(self.model.get_layer, self.taken if arrays else ()):
            layer.set_weights([next(rest) for _ in layer.weights])
        x = self.inputs if len(self.inputs) > 1 else self.inputs[0]
        size = batch or len(self.inputs[0])
        y = np.asarray(self.model.predict(x, batch_size=size, verbose=0)).astype(np.float32)
        y = np.moveaxis(y, 1, -1) if self.first and y.ndim == 4 else y
        return {}, [y if position is None else y[tuple(position)]]

    def ask_describe(self, arrays: list[np.ndarray]) -> tuple[Any, list[np.ndarray]]:
        """What runs here, as the layer's model says; its weights are the questions' own."""
        told = self.backend.describe(self.keras, self.job, self.model)
        return {name: value for name, value in told.items() if name not in ("weights", "seed")}, []


def numpy_type(kind: Any) -> Any:
    """The type of a tensor, or its name, in NumPy, which has bfloat16 from a package that Keras needs."""
    name = getattr(kind, "name", kind)
    return importlib.import_module("ml_dtypes").bfloat16 if name == "bfloat16" else np.dtype(name)


def module_at(path: str) -> Any:
    """The script that runs whole networks, by its place: this one makes layers as it does."""
    spec = importlib.util.spec_from_file_location("backend_child", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(stream: BinaryIO) -> tuple[tuple[Any, Any], list[np.ndarray]] | None:
    """One question, ((ask, settings), arrays); None at the end of the stream."""
    line = stream.readline()
    if not line:
        return None
    header = json.loads(line)
    arrays = [
        np.frombuffer(stream.read(np.dtype(kind).itemsize * math.prod(shape)), kind).reshape(shape)
        for kind, shape in header["arrays"]
    ]
    return (header["ask"], header.get("settings", {})), arrays


def write(stream: BinaryIO, answer: Any, arrays: list[np.ndarray]) -> None:
    """One answer."""
    contiguous = [np.ascontiguousarray(array) for array in arrays]
    header = {"answer": answer, "arrays": [[array.dtype.str, list(array.shape)] for array in contiguous]}
    stream.write(json.dumps(header).encode() + b"\n")
    for array in contiguous:
        stream.write(array.data.cast("B") if array.size else b"")
    stream.flush()


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        main(json.load(file))
