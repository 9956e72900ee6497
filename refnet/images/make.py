"""Makes the bundled picture: `python -m refnet.images.make [FILE]`.

A small scene with the statistics of natural pictures: occluding shapes whose sizes follow a power law (the dead
leaves model of Lee, Mumford and Huang 2001), fractal textures, shading, and few but varied colours; their power
spectrum falls as about one over the square of the frequency (Field 1987).

Random bits come from PCG64's raw stream and all arithmetic is + - * / and the square root in float64, element by
element, so that every machine makes the same pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .bundled import bundled_image

Field = NDArray[np.float64]  # one value for each pixel, or for each pixel and colour; 0 black to 1 white
Colour = tuple[float, float, float]

SEED = 1959
HEIGHT, WIDTH = 240, 320
OVERSAMPLING = 2  # pixels painted for one pixel of the picture, along each side: soft edges
LIGHT = (-0.48, -0.64, 0.6)  # unit vector towards the sun: left, up, and out of the picture

STONES: tuple[Colour, ...] = ((0.62, 0.60, 0.57), (0.47, 0.41, 0.36), (0.72, 0.63, 0.49), (0.38, 0.40, 0.45))
FLOWERS: tuple[Colour, ...] = ((0.85, 0.16, 0.13), (0.96, 0.78, 0.16), (0.55, 0.27, 0.70), (0.97, 0.94, 0.92))
FOLIAGE: tuple[Colour, ...] = ((0.20, 0.36, 0.12), (0.28, 0.45, 0.15), (0.42, 0.50, 0.16), (0.50, 0.38, 0.12))


class Painter:
    """A canvas and the random bits that paint it; lengths are fractions of the canvas's height, y grows downwards."""

    def __init__(self, seed: int, height: int, width: int) -> None:
        self.bits = np.random.PCG64(seed)
        self.height, self.width = height, width
        self.canvas = np.zeros((height, width, 3))
        self.y = (np.arange(height)[:, None] + 0.5) / height + np.zeros((1, width))
        self.x = (np.arange(width)[None, :] + 0.5) / height + np.zeros((height, 1))

    def uniform(self, *shape: int) -> Field:
        """Uniform in [0, 1): the upper 53 of 64 random bits."""
        raw = self.bits.random_raw(int(np.prod(shape)))
        return (raw >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-53

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(self.uniform(1)[0])

    def choose(self, colours: Sequence[Colour]) -> Colour:
        return colours[int(self.uniform(1)[0] * len(colours))]

    def noise(self, wavelength: float, *, stretch: float = 1.0, persistence: float = 0.6) -> Field:
        """Fractal noise in 0..1: octaves of smooth lattice noise from `wavelength` down to two pixels."""
        total, weight, amplitude = np.zeros((self.height, self.width)), 0.0, 1.0
        while wavelength * self.height >= 2:
            total = total + amplitude * self._lattice(wavelength, wavelength * stretch)
            weight += amplitude
            wavelength, amplitude = wavelength / 2, amplitude * persistence
        return total / weight

    def _lattice(self, down: float, across: float) -> Field:
        """Random values on a grid of that spacing, joined smoothly."""
        rows, columns = self.y[:, 0] / down, self.x[0] / across
        top, left = rows.astype(np.intp), columns.astype(np.intp)
        values = self.uniform(int(top[-1]) + 2, int(left[-1]) + 2)
        v, u = smooth(rows - top)[:, None], smooth(columns - left)[None, :]
        upper = values[top][:, left] * (1 - u) + values[top][:, left + 1] * u
        lower = values[top + 1][:, left] * (1 - u) + values[top + 1][:, left + 1] * u
        return upper * (1 - v) + lower * v

    def cover(self, opacity: Field, colour: Field) -> None:
        """Lays `colour` over the whole canvas; opacity runs from 0, nothing, to 1."""
        self.canvas = self.canvas + opacity[..., None] * (colour - self.canvas)

    def ball(self, x: float, y: float, radius: float, colour: Colour, *, flat: float = 1.0, texture: Field) -> None:
        """A lit ellipsoid, `flat` times as high as wide."""
        part, right, down = self._around(x, y, radius, radius * flat)
        out = np.sqrt(np.maximum(1 - right * right - down * down, 0))
        light = np.maximum(right * LIGHT[0] + down * LIGHT[1] + out * LIGHT[2], 0)
        shade = (0.30 + 0.80 * light) * (0.4 + 1.2 * texture[part])
        inside = (out > 0)[..., None]
        self.canvas[part] = np.where(inside, shade[..., None] * np.array(colour), self.canvas[part])

    def shadow(self, x: float, y: float, across: float, down: float) -> None:
        """Darkens an ellipse, most in its middle."""
        part, right, below = self._around(x, y, across, down)
        depth = np.maximum(1 - right * right - below * below, 0)
        self.canvas[part] = self.canvas[part] * (1 - 0.6 * depth)[..., None]

    def _around(self, x: float, y: float, across: float, down: float) -> tuple[tuple[slice, slice], Field, Field]:
        """The part of the canvas near an ellipse, and the distances from its middle in units of its half axes."""
        part = (
            slice(max(int((y - down) * self.height), 0), max(int((y + down) * self.height) + 1, 0)),
            slice(max(int((x - across) * self.height), 0), max(int((x + across) * self.height) + 1, 0)),
        )
        return part, (self.x[part] - x) / across, (self.y[part] - y) / down


def smooth(t: Field) -> Field:
    """The cubic from 0 to 1 that is flat at both ends, clamped outside."""
    t = np.minimum(np.maximum(t, 0), 1)
    return t * t * (3 - 2 * t)


def blend(t: Field, start: Colour, end: Colour) -> Field:
    return np.array(start) + t[..., None] * (np.array(end) - np.array(start))


def paint_sky(painter: Painter) -> None:
    painter.canvas = blend(smooth(painter.y / 0.5), (0.24, 0.45, 0.78), (0.86, 0.87, 0.86))
    clouds = painter.noise(0.28, stretch=2.2, persistence=0.55)
    lit = blend(painter.noise(0.12, stretch=1.5), (0.70, 0.72, 0.77), (1.0, 0.99, 0.97))
    painter.cover(0.9 * smooth((clouds - 0.48) / 0.2), lit)


def paint_hills(painter: Painter) -> None:
    """Four ridges, the far ones in the blue of the air between."""
    ridges: tuple[tuple[float, float, Colour, Colour], ...] = (
        (0.30, 0.22, (0.47, 0.56, 0.67), (0.57, 0.64, 0.72)),
        (0.39, 0.16, (0.29, 0.40, 0.43), (0.44, 0.53, 0.50)),
        (0.48, 0.10, (0.17, 0.29, 0.15), (0.42, 0.50, 0.24)),
        (0.58, 0.06, (0.24, 0.30, 0.10), (0.62, 0.62, 0.30)),
    )
    for top, roughness, dark, bright in ridges:
        outline = painter.noise(0.6, persistence=0.5)[:1]  # one row of noise is the height along the ridge
        below = painter.y - (top + roughness * (outline - 0.5) * 2)
        texture = painter.noise(0.10 + 0.5 * roughness, stretch=1.6, persistence=0.95)
        painter.cover((below > 0).astype(np.float64), blend(smooth((texture - 0.25) / 0.5), dark, bright))


def paint_tree(painter: Painter, x: float, ground: float, size: float, leaves: int) -> None:
    bark = painter.noise(0.05, stretch=0.3)
    painter.shadow(x + 0.3 * size, ground, 0.6 * size, 0.08 * size)
    trunk = np.abs(painter.x - x) < size * (0.05 + 0.03 * painter.y)
    inside = trunk & (painter.y < ground) & (painter.y > ground - size)
    painter.cover(inside.astype(np.float64), blend(bark, (0.12, 0.08, 0.05), (0.42, 0.31, 0.22)))
    texture = painter.noise(0.10, persistence=0.8)
    clumps = [(painter.between(-0.34, 0.34), painter.between(-0.30, 0.30)) for _ in range(9)]
    for index in range(leaves):
        height, side = clumps[index * len(clumps) // leaves]
        down, right = painter.between(-0.22, 0.22), painter.between(-0.24, 0.24)
        radius = size * painter.between(0.010, 0.045)
        colour = painter.choose(FOLIAGE)
        if down * down + right * right < 0.05:
            light = 1.0 - 1.6 * (down + 0.7 * right)  # a clump is bright where it faces the sun
            lit = (colour[0] * light, colour[1] * light, colour[2] * light)
            middle = x + size * (side + right), ground - size * (1.15 - height - down)
            painter.ball(*middle, radius, lit, texture=texture)


def paint_ground(painter: Painter, count: int) -> None:
    """Stones and flowers, few large and many small (number falling as radius^-2), the far ones first."""
    texture = painter.noise(0.06, persistence=0.95)
    for y in sorted(float(value) for value in 0.64 + 0.40 * painter.uniform(count)):
        nearness = (y - 0.5) / 0.5
        x = painter.between(0, painter.width / painter.height)
        colours, largest, flat = (STONES, 0.10, 0.7) if painter.between(0, 1) < 0.6 else (FLOWERS, 0.03, 0.9)
        radius = min(0.010 / (0.08 + painter.between(0, 1)), largest) * nearness
        painter.shadow(x + radius * 0.4, y + radius * flat * 0.55, radius * 1.15, radius * flat * 0.7)
        painter.ball(x, y, radius, painter.choose(colours), flat=flat, texture=texture)


def make_picture(seed: int = SEED, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """The scene as (height, width, 3) uint8, RGB; the same on every machine for the same arguments."""
    painter = Painter(seed, height * OVERSAMPLING, width * OVERSAMPLING)
    paint_sky(painter)
    paint_hills(painter)
    paint_tree(painter, x=0.34, ground=0.70, size=0.42, leaves=2400)
    paint_tree(painter, x=1.13, ground=0.62, size=0.20, leaves=900)
    paint_ground(painter, count=520)
    fine = np.minimum(np.maximum(painter.canvas, 0), 1)
    mean = (fine[0::2, 0::2] + fine[0::2, 1::2] + (fine[1::2, 0::2] + fine[1::2, 1::2])) / 4
    return (mean * 255 + 0.5).astype(np.uint8)


def main(arguments: Sequence[str]) -> None:
    path = Path(arguments[0]) if arguments else bundled_image()
    Image.fromarray(make_picture()).save(path, format="PNG", optimize=True)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
