"""Pictures with natural statistics, made from random numbers: overlapping leaves, shading and 1/f texture.

Overlapping objects of scale-free sizes (the dead leaves model: Lee, Mumford, Huang, "Occlusion models for natural
images", IJCV 2001) give the edges and the 1/f^2 power spectrum of photographs.
"""

from __future__ import annotations

import numpy as np

from .counter import uniform

CAFFE_MEANS = (103.939, 116.779, 123.68)  # of blue, green, red; what Keras's ResNet preprocessing takes away
LEAVES = 40


def scenes(seed: int, count: int, size: int) -> np.ndarray:
    """(count, size, size, 3) float64, blue green red, whole numbers in 0..255 minus CAFFE_MEANS: ready for conv1.

    Exactly rounded elementwise operations only: the same bits on every machine.
    """
    colours = np.stack([_scene(seed, f"scene{number}", size) for number in range(count)])
    pictures: np.ndarray = np.clip(np.rint(colours), 0, 255) - np.array(CAFFE_MEANS)
    return pictures


def _scene(seed: int, name: str, size: int) -> np.ndarray:
    down, across = np.meshgrid(np.arange(size) / size, np.arange(size) / size, indexing="ij")
    leaves = uniform(seed, f"{name}/leaves", (LEAVES, 12))
    contrast, grain = 0.4 + 0.8 * uniform(seed, f"{name}/look", (2,))
    picture = np.empty((size, size, 3))
    picture[:] = leaves[0, :3]
    for x, y, width, height, tilt, corner, *paint in leaves:
        u = (across - x) + (tilt - 0.5) * (down - y)
        v = (down - y) - (tilt - 0.5) * (across - x)
        u /= 0.03 + 0.5 * width * width * width
        v /= 0.03 + 0.5 * height * height * height
        inside = np.maximum(abs(u), abs(v)) < 1 if corner < 0.4 else u * u + v * v < 1
        shading = (paint[3] - 0.5) * u + (paint[4] - 0.5) * v
        saturation = paint[5]
        for channel in range(3):
            colour = saturation * paint[channel] + (1 - saturation) * paint[0]
            picture[..., channel][inside] = (colour + 0.4 * shading)[inside]
    picture += grain * _texture(seed, f"{name}/texture", size)[..., None]
    picture -= 0.5
    picture *= 255 * contrast
    picture += 127.5
    return picture


def _texture(seed: int, name: str, size: int) -> np.ndarray:
    """Noise on grids of 1, 2, 4, ... pixels, each half as fine one half as strong: roughly a 1/f spectrum."""
    texture = np.zeros((size, size))
    cell, weight = 1, 0.06
    while cell < size:
        cells = -(-size // cell)
        grid = uniform(seed, f"{name}/{cell}", (cells, cells)) - 0.5
        texture += weight * grid.repeat(cell, axis=0).repeat(cell, axis=1)[:size, :size]
        cell, weight = 2 * cell, 1.4 * weight
    return texture
