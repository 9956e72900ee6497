"""Run one ResNet in one Keras backend and write what it computed: `python child.py job.json`.

This file stands alone: it needs Python 3.11, NumPy and the backend, not refnet. `refnet drift --write-job FOLDER` puts
it beside a job, its weights and its images; on any machine it then writes the folder that `refnet drift --trace` takes.
Two models are built afresh: the plain one gives `logits.npy` (what a user's `predict` gives), one that returns every
layer gives the folder `trace`. They are apart because looking at inner layers changes what a backend fuses, and because
openvino's predict keeps the weights of its first call.
"""

from __future__ import annotations

import contextlib
import ctypes
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

# The parent reads these lines of stdout; anything else there is the framework's own talk.
STAGE = "refnet-stage: "
MISSING = "refnet-missing: "  # why this variant cannot run here; nothing is written
PACKAGES = ("numpy", "keras", "tf_keras", "tensorflow", "tensorflow-cpu", "jax", "jaxlib", "torch", "openvino")
UNUSED = ("jax", "matplotlib", "orbax", "pandas", "sklearn", "tensorflow")  # but for a backend's own
ALSO_USES = {"numpy": ("jax",)}  # for its convolutions

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
        if "gpu" in job["needs"] and not has_gpu(backend_of(keras)):
            print(f"\n{MISSING}no GPU that {backend_of(keras)} can use here", flush=True)
            return
        stage("plain")
        model = build(keras, job)
        (logits,) = write_outputs(model, images, job, [whole / "logits.npy"])
        report = {**describe(keras, job, model), "logits": logits}
        del model
        stage("layers")
        write_trace(keras, job, images, whole / "trace", report)
        stage("write")
        os.rename(whole, output)


def stage(name: str) -> None:
    print(f"\n{STAGE}{name}", flush=True)


def configure(job: Job) -> Any:
    """Import the framework, with every setting made that must come before the first model."""
    hide_unused(job)
    keras = importlib.import_module(job["framework"])
    CONFIGURE[backend_of(keras)](threads=job["threads"], **job["settings"])
    keras.backend.set_floatx("float32")
    keras.backend.set_image_data_format(job["data_format"])
    keras.mixed_precision.set_global_policy(job["dtype_policy"])
    keras.utils.set_random_seed(job["seed"])
    start_from_constants(keras)
    return keras


def hide_unused(job: Job) -> None:
    """Let packages that no forward pass uses look as if they were not installed.

    Keras and tensorflow would import them, which takes seconds: tensorflow, to seed it, under every backend.
    """
    keras_2 = job["framework"] == "tf_keras"
    backend = "tensorflow" if keras_2 else os.environ.get("KERAS_BACKEND", "tensorflow")
    for package in UNUSED:
        if package not in ALSO_USES.get(backend, (backend,)):
            sys.modules.setdefault(package, None)  # type: ignore[arg-type]  # what the import system documents


def start_from_constants(keras: Any) -> None:
    """What is overwritten at once need not be drawn, or made by the backend: jax would compile for seconds."""

    def filled(value: float) -> Callable[..., np.ndarray]:
        def call(initializer: Any, shape: tuple[int, ...], dtype: Any = None, **_: Any) -> np.ndarray:
            return np.full(shape, value, getattr(dtype, "as_numpy_dtype", dtype) or np.float32)

        return call

    for name, value in {"GlorotUniform": 0.0, "Zeros": 0.0, "Ones": 1.0}.items():
        getattr(keras.initializers, name).__call__ = filled(value)


# Each takes the threads (None: its own choice) and the settings that a variant may make; the parent reads their names.


def configure_tensorflow(threads: int | None, inference_precision: str | None = None) -> None:
    config = importlib.import_module("tensorflow").config
    if threads is not None:
        config.threading.set_intra_op_parallelism_threads(threads)
        config.threading.set_inter_op_parallelism_threads(threads)
    if inference_precision is not None:
        config.experimental.enable_tensor_float_32_execution(inference_precision == "tf32")


def configure_jax(threads: int | None, inference_precision: str | None = None) -> None:
    """Threads come by PJRT_NPROC alone."""
    if inference_precision is not None:
        importlib.import_module("jax").config.update("jax_default_matmul_precision", inference_precision)


def configure_torch(threads: int | None, onednn: bool | None = None, inference_precision: str | None = None) -> None:
    torch = importlib.import_module("torch")
    if threads is not None:
        torch.set_num_threads(threads)
    if onednn is not None:
        torch.backends.mkldnn.enabled = onednn
    if inference_precision is not None:
        tf32 = inference_precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32


def configure_openvino(threads: int | None, inference_precision: str | None = None) -> None:
    """Keras gives no way to openvino's own options, so its compile_model gets them here, where any are asked for."""
    openvino: Any = importlib.import_module("openvino")
    asked = {"INFERENCE_PRECISION_HINT": inference_precision, "INFERENCE_NUM_THREADS": threads}
    config = {key: value for key, value in asked.items() if value is not None}
    if config:
        openvino.compile_model = functools.partial(openvino.compile_model, config=config)


def configure_numpy(threads: int | None) -> None:
    """Its convolutions are jax's, and its matrix products OpenBLAS's: both read the environment."""


CONFIGURE: Mapping[str, Callable[..., None]] = {
    "tensorflow": configure_tensorflow,
    "jax": configure_jax,
    "torch": configure_torch,
    "openvino": configure_openvino,
    "numpy": configure_numpy,
}

GPUS: Mapping[str, Callable[[Any], object]] = {
    "tensorflow": lambda tensorflow: tensorflow.config.list_physical_devices("GPU"),
    "jax": lambda jax: jax.devices()[0].platform == "gpu",
    "torch": lambda torch: torch.cuda.is_available(),
}


def has_gpu(backend: str) -> bool:
    return backend in GPUS and bool(GPUS[backend](importlib.import_module(backend)))


def backend_of(keras: Any) -> str:
    return str(keras.backend.backend())


def build(keras: Any, job: Job, *, every_layer: bool = False) -> Any:
    """A fresh model with the weights loaded; it returns the last layer, or all layers but the input in job's order."""
    first, *others = job["nodes"]
    height, width, channels = first["shape"]
    shape = (channels, height, width) if channels_first(job) else (height, width, channels)
    entry = keras.layers.Input(shape=shape, name=first["name"])
    model = from_nodes(keras, job, entry) if job["application"] is None else from_application(keras, job, entry)
    model.load_weights(job["weights"])
    if every_layer:
        model = keras.Model(model.input, [model.get_layer(node["name"]).output for node in others])
    if job["compile"]:
        model.compile(**job["compile"])
    return model


def channels_first(job: Job) -> bool:
    return bool(job["data_format"] == "channels_first")


def from_application(keras: Any, job: Job, entry: Any) -> Any:
    last = job["nodes"][-1]
    include_top = last["operation"] == "dense"
    return getattr(keras.applications, job["application"])(
        weights=None,
        input_tensor=entry,
        input_shape=tuple(entry.shape[1:]),
        include_top=include_top,
        classes=last["shape"][-1] if include_top else 1000,
        classifier_activation=None,
    )


def from_nodes(keras: Any, job: Job, entry: Any) -> Any:
    """The network layer by layer, for graphs that keras.applications does not have; paddings become layers."""
    tensors = {job["nodes"][0]["name"]: entry}
    for node in job["nodes"][1:]:
        inputs = [tensors[name] for name in node["inputs"]]
        tensors[node["name"]] = LAYERS[node["operation"]](keras, node, inputs)
    return keras.Model(entry, tensors[job["nodes"][-1]["name"]])


def conv2d(keras: Any, node: Job, inputs: list[Any]) -> Any:
    height, width, _, filters = node["weights"]["kernel"]
    padding, (x,) = node["settings"]["padding"], inputs
    if any(map(any, padding)):
        x = keras.layers.ZeroPadding2D(padding, name=f"{node['name']}_pad")(x)
    strides = node["settings"]["strides"]
    bias = "bias" in node["weights"]
    return keras.layers.Conv2D(filters, (height, width), strides=strides, use_bias=bias, name=node["name"])(x)


def pad(keras: Any, node: Job, inputs: list[Any]) -> Any:
    return keras.layers.ZeroPadding2D(node["settings"]["padding"], name=node["name"])(*inputs)


def batch_norm(keras: Any, node: Job, inputs: list[Any]) -> Any:
    axis = 1 if keras.backend.image_data_format() == "channels_first" else -1
    epsilon = node["settings"]["epsilon"]
    return keras.layers.BatchNormalization(axis=axis, epsilon=epsilon, name=node["name"])(*inputs)


def max_pool(keras: Any, node: Job, inputs: list[Any]) -> Any:
    settings = node["settings"]
    return keras.layers.MaxPooling2D(settings["size"], strides=settings["strides"], name=node["name"])(*inputs)


LAYERS: Mapping[str, Callable[[Any, Job, list[Any]], Any]] = {
    "pad": pad,
    "conv2d": conv2d,
    "batch_norm": batch_norm,
    "relu": lambda keras, node, inputs: keras.layers.Activation("relu", name=node["name"])(*inputs),
    "max_pool": max_pool,
    "add": lambda keras, node, inputs: keras.layers.Add(name=node["name"])(inputs),
    "mean_pool": lambda keras, node, inputs: keras.layers.GlobalAveragePooling2D(name=node["name"])(*inputs),
    "dense": lambda keras, node, inputs: keras.layers.Dense(node["shape"][-1], name=node["name"])(*inputs),
}


def write_outputs(model: Any, images: np.ndarray, job: Job, files: list[Path]) -> list[dict[str, Any]]:
    """Each picture in a batch of copies of itself; the first answer of each output grows in a memory-mapped file.

    Channels come last, and bfloat16, which no .npy file can name, is widened to float32. Returns what the index says of
    each file: `computed` is the backend's own type, `places_differ` whether the answers to the copies do.
    """
    arrays: list[np.ndarray] = []
    computed: list[str] = []
    differing: set[int] = set()
    for place, image in enumerate(images):
        batch = np.repeat(image[None], job["batch_size"], axis=0)
        if channels_first(job):  # a mere view would keep its strides, by which torch chooses its kernels
            batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
        answer = model.predict(batch, batch_size=len(batch), verbose=0)
        outputs = [np.asarray(output) for output in (answer if isinstance(answer, list | tuple) else [answer])]
        firsts = [channels_last(output[0], job) for output in outputs]
        if not arrays:
            computed = [first.dtype.name for first in firsts]
            types = [np.float32 if name == "bfloat16" else np.dtype(name) for name in computed]
            shapes = [(len(images), *first.shape) for first in firsts]
            arrays = [
                np.lib.format.open_memmap(file, "w+", dtype, shape)
                for file, dtype, shape in zip(files, types, shapes, strict=True)
            ]
        for array, first in zip(arrays, firsts, strict=True):
            array[place] = first
        differing |= {k for k, output in enumerate(outputs) if any(x.tobytes() != output[0].tobytes() for x in output)}
    return [
        {**described(array), "computed": name, "places_differ": k in differing}
        for k, (array, name) in enumerate(zip(arrays, computed, strict=True))
    ]


def channels_last(output: np.ndarray, job: Job) -> np.ndarray:
    """The output of one picture."""
    return output.transpose(1, 2, 0) if channels_first(job) and output.ndim == 3 else output


def write_trace(keras: Any, job: Job, images: np.ndarray, folder: Path, report: dict[str, Any]) -> None:
    """Every layer as one `.npy`, and the index that says what they are; `report` describes the plain model."""
    model = build(keras, job, every_layer=True)
    names = [node["name"] for node in job["nodes"]]
    files = [folder / f"{place:03d}_{name}.npy" for place, name in enumerate(names)]
    np.save(files[0], images)  # the input layer, which Keras leaves as it is
    about = [described(images), *write_outputs(model, images, job, files[1:])]
    layers = [{"name": name, "file": file.name, **entry} for name, file, entry in zip(names, files, about, strict=True)]
    differing = [layer["name"] for layer in layers if layer.pop("places_differ", False)]
    backend = {**report, "layered": {**describe_model(keras, model), "differing_places": differing}}
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
        "batch_size": job["batch_size"],
        "seed": job["seed"],
        **describe_model(keras, model),
    }


def describe_model(keras: Any, model: Any) -> dict[str, Any]:
    """As the model itself says: backend, policy, devices, threads where they are told, hashes of its weights."""
    backend = backend_of(keras)
    policies = {layer.dtype_policy.name for layer in model.layers if layer.weights}
    data_formats = {layer.data_format for layer in model.layers if hasattr(layer, "data_format")}
    return {
        "backend": backend,
        "dtype_policy": ", ".join(sorted(policies)),
        "data_format": ", ".join(sorted(data_formats)),
        "jit_compile": model.jit_compile,
        "run_eagerly": model.run_eagerly,
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
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    tf32 = "GPU" in devices and tf.config.experimental.tensor_float_32_execution_enabled()
    precision = {"inference_precision": "tf32" if tf32 else "f32"} if "GPU" in devices else {}
    return {"devices": devices, "threads": threads, "onednn": onednn, **precision}


def describe_jax(model: Any) -> dict[str, Any]:
    jax = importlib.import_module("jax")
    precision = jax.config.jax_default_matmul_precision
    return {"devices": [str(device) for device in jax.devices()], "inference_precision": precision}


def describe_torch(model: Any) -> dict[str, Any]:
    torch = importlib.import_module("torch")
    cuda = torch.cuda.is_available()
    tf32 = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    return {
        "devices": ["cuda" if cuda else "cpu"],
        "threads": torch.get_num_threads(),
        "onednn": torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled,
        "inference_precision": ("tf32" if tf32 else "f32") if cuda else torch.get_float32_matmul_precision(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
    }


def describe_openvino(model: Any) -> dict[str, Any]:
    compiled = model.ov_compiled_model
    hint = compiled.get_property("INFERENCE_PRECISION_HINT")
    precision = hint if isinstance(hint, str) else hint.get_type_name()
    threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
    return {"devices": compiled.get_property("EXECUTION_DEVICES"), "threads": threads, "inference_precision": precision}


def describe_numpy(model: Any) -> dict[str, Any]:
    return {**describe_jax(model), "blas_kernels": blas_kernels()}  # its convolutions are jax's


def blas_kernels() -> str | None:
    """The processor whose kernels NumPy's OpenBLAS has chosen, such as Haswell; None for another BLAS."""
    with contextlib.suppress(OSError, AttributeError):
        for folder in ("../numpy.libs", ".dylibs"):
            for file in (Path(np.__file__).parent / folder).glob("*openblas*"):
                name = ctypes.CDLL(str(file)).scipy_openblas_get_corename64_
                name.restype = ctypes.c_char_p
                return str(name().decode("ascii"))
    return None


BACKENDS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "tensorflow": describe_tensorflow,
    "jax": describe_jax,
    "torch": describe_torch,
    "openvino": describe_openvino,
    "numpy": describe_numpy,
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


def start(path: str, work: Callable[[Job], None] | None = None) -> None:
    """Do `work` (default: main) on the job, in its environment.

    Libraries read their environment when they are loaded, so where it differs from the job's, begin again in it.
    Files that the job names lie beside it, unless their paths are absolute.
    """
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    if any(os.environ.get(name) != value for name, value in job["environment"].items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **job["environment"]})
    places = {key: str(Path(path).parent / job[key]) for key in ("weights", "images", "output")}
    (work or main)({**job, **places})


if __name__ == "__main__":
    start(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # all is written; frameworks take a second or two to take themselves apart
