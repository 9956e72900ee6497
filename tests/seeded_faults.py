"""A real Keras ResNet50 with faults on purpose: `python seeded_faults.py job.json`, in a process of its own.

It shares no code with refnet: layers, pictures and weights go through Keras, its preprocessing and NumPy. The job has
the paths of weights and pictures and a list of cases; each case is a list of faults by refnet's names, and gives
`ID.npy`, its outputs, and `ID.npz`, the activations of its layers.
"""

from __future__ import annotations

import json
import sys
from functools import cache, partial
from pathlib import Path

import keras
import ml_dtypes
import numpy as np
from keras import layers as kl
from keras.applications.imagenet_utils import preprocess_input

BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}
EPSILON = 1.001e-5


# --- pictures ---------------------------------------------------------------------------------------------------------


def pixels(path, size, faults):
    """RGB values 0..255, (1, size, size, 3) float32."""
    for fault in faults:
        family, _, what = fault.partition(":")
        if family == "resize":
            return resized(path, size, what)
        if family == "crop":
            return cropped(path, size, what)
        if family == "decode":
            return DECODE[what](path, size)
    return load(path, size)


def load(path, size, **how):
    image = keras.utils.load_img(path, target_size=(size, size) if size else None, **how)
    return keras.utils.img_to_array(image)[None].astype(np.float32)


def resized(path, size, what):
    full = load(path, None)
    if what in ("bilinear", "bicubic", "hamming", "box", "lanczos"):
        return load(path, size, interpolation=what)
    if what == "area":
        return area(area(full, 1, size), 2, size)
    if what == "nearest:corner":
        rows, columns = (np.arange(size) * full.shape[axis] // size for axis in (1, 2))
        return full[:, rows][:, :, columns]
    method, _, how = what.partition(":")
    y = keras.ops.image.resize(full, (size, size), interpolation=method, antialias=how == "antialias")
    return np.array(keras.ops.convert_to_numpy(y), np.float32)


def area(x, axis, size):
    x = np.moveaxis(x.astype(np.float64), axis, 0)
    step, lines = len(x) / size, []
    for i in range(size):
        begin, end, total = i * step, (i + 1) * step, 0
        for k in range(int(begin), min(int(np.ceil(end)), len(x))):
            total = total + (min(end, k + 1) - max(begin, k)) * x[k]
        lines.append(total / step)
    return np.moveaxis(np.stack(lines), 0, axis).astype(np.float32)


def cropped(path, size, what):
    if not what:
        return load(path, size, keep_aspect_ratio=True)
    from PIL import Image  # as torchvision does: the shorter side, then the middle

    image = Image.open(path).convert("RGB")
    scale = size / float(what.replace("resized", "1")) / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.Resampling.NEAREST)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)), np.float32)[None]


def turned(path, size):
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(Image.open(path))
    return np.asarray(image.resize((size, size), Image.Resampling.NEAREST), np.float32)[None]


def by_tensorflow(path, size, **how):
    """Its own build of libjpeg, with options that PIL has not; Keras's resizing."""
    import tensorflow as tf
    from PIL import Image

    decoded = tf.io.decode_jpeg(Path(path).read_bytes(), dct_method="INTEGER_ACCURATE", **how).numpy()
    return np.asarray(Image.fromarray(decoded).resize((size, size), Image.Resampling.NEAREST), np.float32)[None]


DECODE = {
    "exif": turned,
    "chroma-repeated": partial(by_tensorflow, fancy_upscaling=False),
    "half-scale": partial(by_tensorflow, ratio=2),
}


def network_input(path, size, faults):
    own = dict(fault.split(":", 1) for fault in faults if fault.split(":")[0] in ("preprocess", "channels", "input"))
    x = pixels(path, size, faults)
    if own.get("channels") == "rgb":
        x = x[..., ::-1].copy()
    match own.get("preprocess", "caffe"):
        case "none":
            pass
        case "/255":
            x = x / np.float32(255)
        case "/255+caffe":
            x = preprocess_input(x / np.float32(255), mode="caffe")
        case "twice":
            x = preprocess_input(preprocess_input(x.copy(), mode="caffe"), mode="caffe")
        case mode:
            x = preprocess_input(x.copy(), mode=mode)
    if own.get("channels") == "rgb:own-mean":
        x = x[..., ::-1].copy()
    if "input" in own:
        x = x.astype({"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}[own["input"]]).astype(np.float32)
    return np.ascontiguousarray(x)


# --- layers -----------------------------------------------------------------------------------------------------------


class OutsideRoot(kl.BatchNormalization):
    def call(self, x, training=None, mask=None):
        ops = keras.ops
        scale = self.gamma / (ops.sqrt(self.moving_variance) + self.epsilon)
        return (x - self.moving_mean) * scale + self.beta


class Tf32Conv(kl.Conv2D):
    def call(self, x):
        y = keras.ops.conv(tf32(x), tf32(self.kernel), self.strides, self.padding, data_format="channels_last")
        return y + self.bias


class Tf32Dense(kl.Dense):
    def call(self, x, training=None):
        return keras.ops.matmul(tf32(x), tf32(self.kernel)) + self.bias


def tf32(x):
    bits = np.asarray(keras.ops.convert_to_numpy(x), np.float32).view(np.uint32)
    return keras.ops.convert_to_tensor(
        ((bits + 0xFFF + ((bits >> 13) & 1)) & 0xFFFFE000).astype(np.uint32).view(np.float32)
    )


class InfinitePad(kl.Layer):
    def call(self, x):
        return keras.ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)


class Network:
    """Layers called one after another; `seen` has what each gave."""

    def __init__(self, weights, faults):
        self.weights, self.faults, self.seen = weights, set(faults), {}
        named = [float(fault[8:]) for fault in faults if fault.startswith("epsilon:") and fault[8:] != "outside-root"]
        self.epsilon = named[0] if named else EPSILON
        precision = next((f[10:] for f in faults if f.startswith("precision:")), "float32")
        self.tf32 = precision == "tf32"
        self.policy = {"float32": "float32", "tf32": "float32"}.get(precision, f"mixed_{precision}")

    def layer(self, kind, name, x, *, training=False, **settings):
        layer = kind(name=name, dtype=self.policy, **settings)
        layer.build(x.shape) if not isinstance(x, list) else layer.build([one.shape for one in x])
        if layer.weights:
            layer.set_weights(self.own(layer, name))
        y = layer(x, training=True) if training else layer(x)
        self.seen[name] = np.array(keras.ops.convert_to_numpy(keras.ops.cast(y, "float32")))
        return y

    def own(self, layer, name):
        own = [self.weights[f"{name}/{variable.path.split('/')[-1]}"] for variable in layer.weights]
        conv = name.endswith("_conv")
        if conv and self.has("kernel:flipped", name):
            own[0] = own[0][::-1, ::-1]
        if conv and self.has("kernel:transposed", name):
            own[0] = np.swapaxes(own[0], 0, 1)
        if conv and self.has("kernel:in-out", name) and own[0].shape[2] == own[0].shape[3]:
            own[0] = np.swapaxes(own[0], 2, 3)
        if (conv and "bias:dropped" in self.faults) or f"bias:dropped:{name}" in self.faults:
            own[1] = np.zeros_like(own[1])
        if not conv and len(own) == 4:
            gamma, beta, mean, variance = own
            if "batch_norm:swapped" in self.faults:
                own = [gamma, beta, variance, mean]
            if "batch_norm:gamma-beta" in self.faults:
                own = [beta, gamma, mean, variance]
        return own

    def has(self, fault, name):
        return fault in self.faults or f"{fault}:{name}" in self.faults

    def pad(self, name, x, width):
        return self.layer(kl.ZeroPadding2D, name, x, padding=width)

    def conv(self, name, x, filters, size, stride=1, padding="valid"):
        kind = Tf32Conv if self.tf32 else kl.Conv2D
        return self.layer(kind, name, x, filters=filters, kernel_size=size, strides=stride, padding=padding)

    def norm(self, name, x):
        kind = OutsideRoot if "epsilon:outside-root" in self.faults else kl.BatchNormalization
        return self.layer(kind, name, x, epsilon=self.epsilon, training="batch_norm:training" in self.faults)

    def relu(self, name, x):
        if f"relu:missing:{name}" in self.faults:
            return x
        return self.layer(kl.Activation, name, x, activation="relu")

    def stem(self, x):
        if "padding:same" in self.faults or "padding:same:conv1_conv" in self.faults:
            x = self.conv("conv1_conv", x, 64, 7, 2, "same")
        else:
            x = self.conv("conv1_conv", self.pad("conv1_pad", x, 3), 64, 7, 2)
        return self.relu("conv1_relu", self.norm("conv1_bn", x))

    def pool(self, x):
        same = {"padding:same", "padding:same:pool1_pool"} & self.faults
        if "pool_padding:-inf" in self.faults:
            x = self.layer(InfinitePad, "pool1_pad", x)
        elif not same and "pool_padding:none" not in self.faults:
            x = self.pad("pool1_pad", x, 1)
        kind = kl.AveragePooling2D if "pool:average" in self.faults else kl.MaxPooling2D
        return self.layer(kind, "pool1_pool", x, pool_size=3, strides=2, padding="same" if same else "valid")

    def block(self, name, x, filters, stride, project):
        first, second = (1, stride) if "stride:v1.5" in self.faults else (stride, 1)
        y = self.relu(f"{name}_1_relu", self.norm(f"{name}_1_bn", self.conv(f"{name}_1_conv", x, filters, 1, first)))
        y = self.conv(f"{name}_2_conv", self.pad(f"{name}_2_pad", y, 1), filters, 3, second)
        y = self.relu(f"{name}_2_relu", self.norm(f"{name}_2_bn", y))
        y = self.conv(f"{name}_3_conv", y, 4 * filters, 1)
        if project:
            x = self.norm(f"{name}_0_bn", self.conv(f"{name}_0_conv", x, 4 * filters, 1, stride))
        y = self.norm(f"{name}_3_bn", y)
        return self.relu(f"{name}_out", self.layer(kl.Add, f"{name}_add", [x, y]))

    def __call__(self, x):
        self.seen["input_layer"] = x
        y = self.pool(self.stem(keras.ops.convert_to_tensor(x)))
        for stage, count in BLOCKS.items():
            for block in range(count):
                stride = 2 if stage > 2 and not block else 1
                y = self.block(f"conv{stage}_block{block + 1}", y, 32 << (stage - 1), stride, not block)
        y = self.layer(kl.GlobalAveragePooling2D, "avg_pool", y)
        y = self.layer(
            Tf32Dense if self.tf32 else kl.Dense, "predictions", y, units=self.weights["predictions/bias"].size
        )
        y = np.asarray(self.seen["predictions"])
        for _ in range(0 if "softmax:missing" in self.faults else 2 if "softmax:twice" in self.faults else 1):
            y = np.asarray(keras.ops.convert_to_numpy(keras.ops.softmax(keras.ops.convert_to_tensor(y))))
        return y


# --- weights ----------------------------------------------------------------------------------------------------------


@cache
def tensors(path):
    return dict(np.load(path))


def weights_of(job, faults):
    own = dict(tensors(job["weights"]))
    for fault in faults:
        parts = fault.split(":")
        if parts[:2] == ["weights", "other"]:
            own |= {k: v for k, v in tensors(job["other"]).items() if k.split("/")[0] == parts[2]}
        elif parts[0] == "weights":
            own = {name: STORE["".join(parts[1:])](name, tensor) for name, tensor in own.items()}
    return own


def cast(kind):
    return lambda name, tensor: tensor.astype(kind).astype(np.float32)


def int8(name, tensor, by_channel=True):
    if not name.endswith("kernel"):
        return tensor
    rows = tensor.reshape(-1, tensor.shape[-1])
    scale = (np.abs(rows).max(0) if by_channel else np.abs(rows).max()) / np.float32(127)
    whole = np.clip(np.round(rows / scale), -127, 127).astype(np.int8)
    return (whole.astype(np.float32) * scale).astype(np.float32).reshape(tensor.shape)


STORE = {
    "float16": cast(np.float16),
    "bfloat16": cast(ml_dtypes.bfloat16),
    "int8": int8,
    "int8tensor": lambda name, tensor: int8(name, tensor, by_channel=False),
}


def main(job):
    out = Path(job["out"])
    for number, faults in enumerate(job["cases"]):
        network = Network(weights_of(job, faults), faults)
        y = network(network_input(job["picture"], job["size"], faults))
        np.save(out / f"{number}.npy", y)
        np.savez(out / f"{number}.npz", **network.seen)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
