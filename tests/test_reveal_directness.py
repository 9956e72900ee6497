"""Fast convolutions are named before a tree is looked for, and direct sums of every kind are not taken for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reveal_support import made_up

from refnet.graph import resnet
from refnet.kernels import conv2d
from refnet.reveal.directness import traces
from refnet.reveal.layer_order import probe_layer

GRAPH = resnet(50, input_shape=(96, 96))
STRIDED, SPATIAL, FIRST = "conv3_block1_1_conv", "conv2_block1_2_conv", "conv1_conv"

# Winograd's F(m x m, 3 x 3): tiles of m + 2 pixels, which share two with their neighbours (Lavin and Gray 2016).
WINOGRAD = """
SMALL = (
    [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    [[1, 0, 0], [.5, .5, .5], [.5, -.5, .5], [0, 0, 1]],
    [[1, 1, 1, 0], [0, 1, -1, -1]],
)
LARGE = (
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
     [0, 4, 0, -5, 0, 1]],
    [[1/4, 0, 0], [-1/6, -1/6, -1/6], [-1/6, 1/6, -1/6], [1/24, 1/12, 1/6], [1/24, -1/12, 1/6], [0, 0, 1]],
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
)

def layer(x, weights, node):
    kernel, bias = weights
    B, G, A = (np.array(each, np.float32) for each in TILE)
    m, t = A.shape
    n, h, w, c = x.shape
    down, right = -h % m, -w % m
    x = np.pad(x, ((0, 0), (1, 1 + down), (1, 1 + right), (0, 0)))
    u = np.einsum("ia,abcf,jb->ijcf", G, kernel, G, dtype=np.float32)
    y = np.zeros((n, h + down, w + right, kernel.shape[-1]), np.float32)
    for i in range(0, h, m):
        for j in range(0, w, m):
            v = np.einsum("ia,nabc,jb->nijc", B, x[:, i:i + t, j:j + t], B, dtype=np.float32)
            s = np.einsum("nijc,ijcf->nijf", v, u, dtype=np.float32)
            y[:, i:i + m, j:j + m] = np.einsum("ai,nijf,bj->nabf", A, s, A, dtype=np.float32)
    return y[:, :h, :w] + bias
"""
F2, F4 = WINOGRAD.replace("TILE", "SMALL"), WINOGRAD.replace("TILE", "LARGE")

FOURIER = """
def layer(x, weights, node):
    kernel, bias = weights
    (top, bottom), (left, right) = node["settings"]["padding"]
    rows, columns = node["settings"]["strides"]
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    shape = x.shape[1:3]
    X = np.fft.fft2(x, axes=(1, 2))
    K = np.fft.fft2(kernel, shape, axes=(0, 1)).conj()
    y = np.fft.ifft2(np.einsum("nhwc,hwcf->nhwf", X, K, optimize=True), axes=(1, 2)).real
    height, width = (size - k + 1 for size, k in zip(shape, kernel.shape))
    return (y[:, :height:rows, :width:columns] + bias).astype(np.float32)
"""

DIRECT = "def layer(x, weights, node): return direct(x, weights, node, order={order!r}, fma={fma}, bias_at={bias!r})"

# Strassen's product of 2 x 2 blocks: of pixels, of channels in, of channels out.
STRASSEN = """
def layer(x, weights, node):
    kernel, bias = weights
    k, s = kernel[0, 0], node["settings"]["strides"]
    picked = x[:, ::s[0], ::s[1]]
    a = picked.reshape(-1, k.shape[0])
    (a, b), (c, d) = (np.split(half, 2, 1) for half in np.split(a, 2))
    (e, f), (g, h) = (np.split(half, 2, 1) for half in np.split(k, 2))
    m1, m2, m3, m4 = (a + d) @ (e + h), (c + d) @ e, a @ (f - h), d @ (g - e)
    m5, m6, m7 = (a + b) @ h, (c - a) @ (e + f), (b - d) @ (g + h)
    y = np.block([[m1 + m4 - m5 + m7, m3 + m5], [m2 + m4, m1 - m2 + m3 + m6]])
    return y.reshape(*picked.shape[:3], -1) + bias
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "code", "words"),
    [
        (SPATIAL, F2, "inside its windows (as Winograd's do)"),
        ("conv3_block1_2_conv", F4, "up to 2 pixels outside its windows (as Winograd's do)"),
        (SPATIAL, FOURIER, "everywhere"),
        (FIRST, FOURIER, "everywhere"),
        (STRIDED, STRASSEN, "traces"),
    ],
    ids=["F(2x2, 3x3)", "F(4x4, 3x3)", "Fourier", "Fourier, 7 x 7 with strides", "Strassen"],
)
def test_fast_convolutions_say_that_they_are_none(tmp_path: Path, layer: str, code: str, words: str) -> None:
    with made_up(tmp_path, GRAPH, code) as session:
        found = probe_layer(session, GRAPH[layer])
    assert found.order is None and found.terms == np.prod(GRAPH[layer].weights["kernel"][:-1])
    assert words in found.reason and found.reason.startswith("no direct sum")


@pytest.mark.parametrize("code", [F2, F4, FOURIER], ids=["F(2x2, 3x3)", "F(4x4, 3x3)", "Fourier"])
def test_the_fast_convolutions_of_these_tests_are_convolutions(code: str) -> None:
    """Else they would be found out for another reason. Strassen's product is held against itself: see the next one."""
    rng = np.random.default_rng(0)
    x, kernel, bias = (rng.standard_normal(s).astype(np.float32) for s in ((1, 9, 8, 5), (3, 3, 5, 4), (4,)))
    own: dict[str, object] = {"np": np}
    exec(code, own)
    node = {"settings": {"padding": ((1, 1), (1, 1)), "strides": (1, 1)}}
    y = own["layer"](x, [kernel, bias], node)  # type: ignore[operator]
    assert abs(y - conv2d(x, kernel, bias, padding=((1, 1), (1, 1)))).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "fma", "bias"),
    [("sequential", True, "last"), ("pairwise:4", False, "first"), ("kahan", False, "last"), ("dot2", False, "last")],
)
def test_direct_sums_leave_no_traces(tmp_path: Path, order: str, fma: bool, bias: str) -> None:
    """With padding, strides, a window of one pixel, and several pictures; compensated too."""
    with made_up(tmp_path, GRAPH, DIRECT.format(order=order, fma=fma, bias=bias), batch_size=2) as session:
        for layer in (FIRST, SPATIAL, STRIDED, "conv5_block1_2_conv"):
            assert traces(session, GRAPH[layer], (2, *session.take(layer))) is None


def test_another_order_is_no_trace(tmp_path: Path) -> None:
    """Of the other terms, where a huge number changes it."""
    code = """
def layer(x, weights, node):
    return direct(x, weights, node, order="lanes:8" if abs(x).max() > 16 else "sequential")
"""
    with made_up(tmp_path, GRAPH, code) as session:
        assert traces(session, GRAPH[SPATIAL], (1, *session.take(SPATIAL))) is None


@pytest.mark.parametrize("order", ["kahan", "neumaier"])
def test_compensated_sums_are_direct_but_have_no_tree(tmp_path: Path, order: str) -> None:
    with made_up(tmp_path, GRAPH, DIRECT.format(order=order, fma=False, bias="last")) as session:
        found = probe_layer(session, GRAPH["conv3_block1_1_conv"])
    assert found.order is None and "no direct sum" not in found.reason
