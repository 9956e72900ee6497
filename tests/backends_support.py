"""For backend tests: weights that are random but tame, so that the network neither dies nor explodes, and a fake child.

The fake is refnet's own child with the framework taken out: its model is a few lines of NumPy that obey the name of the
variant.
"""

from __future__ import annotations

import numpy as np

from refnet.backends import Variant
from refnet.backends.run import CHILD
from refnet.graph import resnet
from refnet.weights import Weights

CLASSES = 10
SIZE = 32


def random_weights(variant: str = "v1", *, seed: int = 0) -> Weights:
    """ResNet50 with CLASSES classes; normal kernels at He's scale, statistics near those of a trained network."""
    draw = np.random.default_rng(seed)
    tensors = {}
    for name, shape in resnet(50, input_shape=(SIZE, SIZE), classes=CLASSES, variant=variant).weights.items():
        match name.rpartition("/")[-1]:
            case "kernel":
                tensor = draw.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
            case "gamma":
                tensor = draw.uniform(0.3, 0.7, shape)
            case "moving_variance":
                tensor = draw.uniform(0.5, 1.5, shape)
            case _:
                tensor = draw.standard_normal(shape) * 0.1
        tensors[name] = tensor.astype(np.float32)
    return Weights(tensors, variant=variant, source="random")


def random_images(count: int) -> np.ndarray:
    """(count, SIZE, SIZE, 3) float32 in the range of preprocessed pictures."""
    return np.random.default_rng(1).uniform(-120, 150, (count, SIZE, SIZE, 3)).astype(np.float32)


FAKE = f"""
import importlib.util, json, os, signal, subprocess, sys, time
path = sys.argv[1]
name = json.load(open(path))["variant"]
print("\\xff garbage\\n" * 3 + "refnet-stage: fake", flush=True)
if name.startswith("hang"):
    helper = subprocess.Popen(["sleep", "60"])
    print(f"refnet-stage: {{os.getpid()}} {{helper.pid}}", flush=True)
    time.sleep(60)
if name == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if name == "segfault":
    os.kill(os.getpid(), signal.SIGSEGV)
if name == "silent":
    sys.exit(0)
if name == "status":
    sys.exit(7)
if name == "raises":
    raise ValueError("no such layer\\nin this backend")
if name == "memory":
    import resource
    import numpy as np
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
    np.zeros(2**31)
if name == "abort":
    print("terminate called after throwing 'std::bad_alloc'", file=sys.stderr, flush=True)
    os.abort()
if name == "no-gpu":
    print("\\nrefnet-missing: no GPU that torch can use here", flush=True)
    sys.exit(0)
if name == "endless":
    while True:
        print("garbage " * 1000)
import h5py
import numpy as np
spec = importlib.util.spec_from_file_location("child", {str(CHILD)!r})
child = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)

def tensors(file):
    found = {{}}
    file.visititems(lambda _, item: found.update({{tidy(item.name): item[()]}}) if hasattr(item, "dtype") else None)
    return found

def tidy(name):
    return "/".join(name.split(":")[0].split("/")[-2:])

class Model:
    def __init__(self, job, every_layer):
        self.shapes = [node["shape"] for node in job["nodes"]][1:] if every_layer else [job["nodes"][-1]["shape"]]
        self.every_layer = every_layer
    def predict(self, batch, **_):
        corner = batch[:, 0, 0, 0]
        outputs = [np.tile(corner.reshape(-1, *[1] * len(shape)), (1, *shape)) for shape in self.shapes]
        if name == "nan" and self.every_layer:
            outputs[5][:, 0, 0, 0] = np.nan
        if name.startswith("logits-") and not self.every_layer:
            outputs[0] = outputs[0].astype(name.removeprefix("logits-"))
        if name == "infinite-logits" and not self.every_layer:
            outputs[0][:] = np.inf
        if name == "places" and self.every_layer:
            outputs[5][1, 0, 0, 0] += 1
        if name == "places-of-logits" and not self.every_layer:
            outputs[0][1] *= -1
        return outputs

def describe_model(keras, model):
    job = child.job
    with h5py.File(job["weights"]) as file:
        held = tensors(file)
    if name == "other-weights" or (name == "other-layered-weights" and model.every_layer):
        held["conv1_conv/kernel"] = held["conv1_conv/kernel"] + np.float32(1)
    if name == "fewer-weights":
        del held["conv1_conv/bias"]
    hashes = {{key: {{"dtype": "float32", "sha256": child.sha256_of_array(value)}} for key, value in held.items()}}
    told = {{"backend": "torch", "dtype_policy": "float32", "inference_precision": "f32", "threads": 1}}
    told["data_format"] = "channels_last"
    if name.startswith("tells-"):
        told[name.removeprefix("tells-").replace("-", "_")] = 7
    if name == "tells-no-threads":
        del told["threads"]
    return {{"weights": hashes, **told}} if name != "mute" else {{}}

class Keras:
    class backend:
        image_data_format = staticmethod(lambda: "channels_last")

def main(job):
    child.job = job
    if name == "incomplete":
        del job["nodes"][40:42]
    if name == "other-shape":
        job["nodes"][7]["shape"][0] += 1
    original(job)
    if name == "truncated":
        next(child.Path(job["output"]).glob("trace/100_*.npy")).write_bytes(b"")
    if name == "garbage-index":
        (child.Path(job["output"]) / "trace" / "index.json").write_bytes(b"\\x00garbage")
    if name == "garbage-logits":
        (child.Path(job["output"]) / "logits.npy").write_bytes(b"\\x00garbage")

original, child.main = child.main, main
child.configure = lambda job: Keras
child.build = lambda keras, job, every_layer=False: Model(job, every_layer)
child.describe_model = describe_model
child.start(path)
"""


def fake(name: str) -> Variant:
    modules = ("no_such_module",) if name == "missing" else ("json",)
    environment = {"FAKE_SETTING": name, "KERAS_BACKEND": "torch"}
    settings = {"inference_precision": "f32"}
    return Variant(name, modules, extra="torch", environment=environment, settings=settings, batch_size=2)
