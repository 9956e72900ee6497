"""Run one ResNet in one Keras backend and write what it computed: `python child.py job.json`.

This file stands alone: it needs Python 3.11, NumPy and the backend, not refnet. Copied to another machine with a job,
its weights and its images, it writes there the folder that refnet compares. Two models are built afresh: the plain one
gives `logits.npy` (what a user's `predict` gives), one that returns every layer gives the folder `trace`. They are
apart because looking at inner layers changes what a backend fuses, and because openvino's predict keeps the weights of
its first call.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

STAGE = "refnet-stage: "  # the parent reads these lines of stdout; anything else there is the framework's own talk
PACKAGES = ("numpy", "keras", "tf_keras", "tensorflow", "tensorflow-cpu", "jax", "jaxlib", "torch", "openvino")

Job = Mapping[str, Any]


def main(job: Job) -> None:
    """Write the folder `job["output"]`, which appears when it is whole."""
    images = np.load(job["images"], allow_pickle=False)
    output = Path(job["output"])
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".partial-") as temporary:
        whole = Path(temporary) / "result"
        (whole / "trace").mkdir(parents=True)
        os.environ["KERAS_HOME"] = temporary  # the user's keras.json must not decide anything
        stage("import")
        keras = configure(job)
        stage("plain")
        model = build(keras, job)
        write_batches(model, images, job["batch_size"], [whole / "logits.npy"])
        report = describe(keras, job, model)
        del model
        stage("layers")
        write_trace(keras, job, images, whole / "trace", report)
        stage("write")
        os.rename(whole, output)


def stage(name: str) -> None:
    print(f"\n{STAGE}{name}", flush=True)


def configure(job: Job) -> Any:
    """Import the framework, with every setting made that must come before the first model."""
    keras = importlib.import_module(job["framework"])
    backend = backend_of(keras)
    if backend in CONFIGURE:
        CONFIGURE[backend](job)
    keras.backend.set_floatx("float32")
    keras.backend.set_image_data_format("channels_last")
    keras.mixed_precision.set_global_policy(job["dtype_policy"])
    keras.utils.set_random_seed(job["seed"])
    start_from_zeros(keras)
    return keras


def start_from_zeros(keras: Any) -> None:
    """Kernels that are overwritten at once need not be drawn: for that alone jax would compile for eight seconds."""
    zeros = keras.initializers.Zeros()
    keras.initializers.GlorotUniform.__call__ = lambda self, shape, dtype=None, **_: zeros(shape, dtype)


def configure_tensorflow(job: Job) -> None:
    if job["threads"] is not None:
        threading = importlib.import_module("tensorflow").config.threading
        threading.set_intra_op_parallelism_threads(job["threads"])
        threading.set_inter_op_parallelism_threads(job["threads"])


def configure_torch(job: Job) -> None:
    if job["threads"] is not None:
        importlib.import_module("torch").set_num_threads(job["threads"])


def configure_openvino(job: Job) -> None:
    """Keras gives no way to openvino's own options, so its compile_model gets them here, where any are asked for."""
    openvino: Any = importlib.import_module("openvino")
    asked = {"INFERENCE_PRECISION_HINT": job["inference_precision"], "INFERENCE_NUM_THREADS": job["threads"]}
    config = {key: value for key, value in asked.items() if value is not None}
    if config:
        openvino.compile_model = functools.partial(openvino.compile_model, config=config)


CONFIGURE: Mapping[str, Callable[[Job], None]] = {
    "tensorflow": configure_tensorflow,
    "torch": configure_torch,
    "openvino": configure_openvino,
}


def backend_of(keras: Any) -> str:
    return str(keras.backend.backend())


def build(keras: Any, job: Job, *, every_layer: bool = False) -> Any:
    """A fresh model with the weights loaded; it returns the last layer, or all layers but the input in job's order."""
    first, *others = job["nodes"]
    entry = keras.layers.Input(shape=tuple(first["shape"]), name=first["name"])
    model = from_nodes(keras, job, entry) if job["application"] is None else from_application(keras, job, entry)
    model.load_weights(job["weights"])
    if every_layer:
        model = keras.Model(model.input, [model.get_layer(node["name"]).output for node in others])
    if job["compile"]:
        model.compile(**job["compile"])
    return model


def from_application(keras: Any, job: Job, entry: Any) -> Any:
    last = job["nodes"][-1]
    include_top = last["operation"] == "dense"
    return getattr(keras.applications, job["application"])(
        weights=None,
        input_tensor=entry,
        input_shape=tuple(job["nodes"][0]["shape"]),
        include_top=include_top,
        classes=last["shape"][-1] if include_top else 1000,
        classifier_activation=None,
    )


def from_nodes(keras: Any, job: Job, entry: Any) -> Any:
    """The network layer by layer, for graphs that keras.applications does not have; paddings become layers."""
    tensors = {job["nodes"][0]["name"]: entry}
    for node in job["nodes"][1:]:
        inputs = [tensors[name] for name in node["inputs"]]
        tensors[node["name"]] = LAYERS[node["operation"]](keras.layers, node, inputs)
    return keras.Model(entry, tensors[job["nodes"][-1]["name"]])


def conv2d(layers: Any, node: Job, inputs: list[Any]) -> Any:
    height, width, _, filters = node["weights"]["kernel"]
    padding, (x,) = node["settings"]["padding"], inputs
    if any(map(any, padding)):
        x = layers.ZeroPadding2D(padding, name=f"{node['name']}_pad")(x)
    strides = node["settings"]["strides"]
    bias = "bias" in node["weights"]
    return layers.Conv2D(filters, (height, width), strides=strides, use_bias=bias, name=node["name"])(x)


def max_pool(layers: Any, node: Job, inputs: list[Any]) -> Any:
    settings = node["settings"]
    return layers.MaxPooling2D(settings["size"], strides=settings["strides"], name=node["name"])(*inputs)


LAYERS: Mapping[str, Callable[[Any, Job, list[Any]], Any]] = {
    "pad": lambda layers, node, inputs: layers.ZeroPadding2D(node["settings"]["padding"], name=node["name"])(*inputs),
    "conv2d": conv2d,
    "batch_norm": lambda layers, node, inputs: layers.BatchNormalization(
        epsilon=node["settings"]["epsilon"], name=node["name"]
    )(*inputs),
    "relu": lambda layers, node, inputs: layers.Activation("relu", name=node["name"])(*inputs),
    "max_pool": max_pool,
    "add": lambda layers, node, inputs: layers.Add(name=node["name"])(inputs),
    "mean_pool": lambda layers, node, inputs: layers.GlobalAveragePooling2D(name=node["name"])(*inputs),
    "dense": lambda layers, node, inputs: layers.Dense(node["shape"][-1], name=node["name"])(*inputs),
}


def write_batches(model: Any, images: np.ndarray, size: int, files: list[Path]) -> list[np.ndarray]:
    """Run the pictures `size` at a time; each output grows in its own memory-mapped file. Returns the mapped arrays."""
    arrays: list[np.ndarray] = []
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        outputs = model.predict(batch, batch_size=size, verbose=0)
        outputs = [np.asarray(output) for output in (outputs if isinstance(outputs, list | tuple) else [outputs])]
        if not arrays:
            arrays = [
                np.lib.format.open_memmap(file, "w+", output.dtype, (len(images), *output.shape[1:]))
                for file, output in zip(files, outputs, strict=True)
            ]
        for array, output in zip(arrays, outputs, strict=True):
            array[start : start + size] = output
    return arrays


def write_trace(keras: Any, job: Job, images: np.ndarray, folder: Path, report: dict[str, Any]) -> None:
    """Every layer as one `.npy`, and the index that says what they are; `report` describes the plain model."""
    model = build(keras, job, every_layer=True)
    names = [node["name"] for node in job["nodes"]]
    files = [folder / f"{place:03d}_{name}.npy" for place, name in enumerate(names)]
    outputs = write_batches(model, images, job["batch_size"], files[1:])
    entry = images.astype(outputs[0].dtype)  # the input layer is the picture, in the type that the backend computes in
    np.save(files[0], entry)
    layers = [
        {"name": name, "file": file.name, **described(array)}
        for name, file, array in zip(names, files, [entry, *outputs], strict=True)
    ]
    backend = {**report, "layered": describe_model(keras, model)}
    provenance = {**job["provenance"], "variant": job["variant"], "backend": backend}
    index = {"schema": 1, "layers": layers, "provenance": provenance}
    (folder / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")


def described(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "dtype": array.dtype.name, "sha256": sha256_of_array(array)}


def describe(keras: Any, job: Job, model: Any) -> dict[str, Any]:
    """What really ran: versions and settings of the process, and what describe_model says of the model."""
    return {
        "framework": job["framework"],
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: version for name in PACKAGES if (version := version_of(name))},
        "environment": {name: os.environ.get(name) for name in job["environment"]},
        "data_format": keras.backend.image_data_format(),
        "batch_size": job["batch_size"],
        "seed": job["seed"],
        **describe_model(keras, model),
    }


def describe_model(keras: Any, model: Any) -> dict[str, Any]:
    """As the model itself says: backend, policy, devices, threads where they are told, hashes of its weights."""
    backend = backend_of(keras)
    policies = {layer.dtype_policy.name for layer in model.layers if layer.weights}
    return {
        "backend": backend,
        "dtype_policy": ", ".join(sorted(policies)),
        **BACKENDS[backend](model),
        "weights": hashes(model),
    }


def version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe_tensorflow(model: Any) -> dict[str, Any]:
    tf = importlib.import_module("tensorflow")
    try:  # the only way to ask; not public
        onednn = bool(importlib.import_module("tensorflow.python.util._pywrap_util_port").IsMklEnabled())
    except (ImportError, AttributeError):
        onednn = None
    devices = [device.device_type for device in tf.config.list_physical_devices()]
    return {"devices": devices, "threads": tf.config.threading.get_intra_op_parallelism_threads(), "onednn": onednn}


def describe_jax(model: Any) -> dict[str, Any]:
    jax = importlib.import_module("jax")
    precision = jax.config.jax_default_matmul_precision
    return {"devices": [str(device) for device in jax.devices()], "inference_precision": precision}


def describe_torch(model: Any) -> dict[str, Any]:
    torch = importlib.import_module("torch")
    return {
        "devices": ["cuda" if torch.cuda.is_available() else "cpu"],
        "threads": torch.get_num_threads(),
        "onednn": torch.backends.mkldnn.is_available(),
        "inference_precision": torch.get_float32_matmul_precision(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
    }


def describe_openvino(model: Any) -> dict[str, Any]:
    compiled = model.ov_compiled_model
    hint = compiled.get_property("INFERENCE_PRECISION_HINT")
    precision = hint if isinstance(hint, str) else hint.get_type_name()
    threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
    return {"devices": compiled.get_property("EXECUTION_DEVICES"), "threads": threads, "inference_precision": precision}


BACKENDS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "tensorflow": describe_tensorflow,
    "jax": describe_jax,
    "torch": describe_torch,
    "openvino": describe_openvino,
    "numpy": describe_jax,  # its convolutions are jax's
}


def hashes(model: Any) -> dict[str, dict[str, str]]:
    """Keras weight name (`conv1_conv/kernel`) -> dtype and sha256 of the tensor that the model holds."""
    found = {}
    for layer in model.layers:
        for variable, value in zip(layer.weights, layer.get_weights(), strict=True):
            name = f"{layer.name}/{variable.name.split('/')[-1].split(':')[0]}"
            found[name] = {"dtype": value.dtype.name, "sha256": sha256_of_array(value)}
    return found


def sha256_of_array(array: np.ndarray) -> str:
    """As in refnet.provenance: sha256 of `dtype|shape|` and of the little-endian values in C order."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    header = f"{little.dtype.str}|{','.join(map(str, array.shape))}|"
    digest = hashlib.sha256(header.encode("ascii"))
    digest.update(little.data)
    return digest.hexdigest()


def start(path: str) -> None:
    """Libraries read their environment when they are loaded, so where it differs from the job's, begin again in it."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    if any(os.environ.get(name) != value for name, value in job["environment"].items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **job["environment"]})
    main(job)


if __name__ == "__main__":
    start(sys.argv[1])
