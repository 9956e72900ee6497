"""Random numbers that are a pure function of (seed, name, index) and the same on every machine.

The generator is SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) read as
a counter-based one: number i is mix(start + (i + 1) * step), integer operations modulo 2^64 and nothing else. `start`
is a hash of seed and name, so one tensor's numbers do not depend on which others were drawn, nor in what order.
"""

from __future__ import annotations

from hashlib import sha256
from math import prod, sqrt

import numpy as np

STEP = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, made odd
NORMAL_DEVIATION = sqrt(((1 << 32) - 1) / 3)  # of the sum of four uniform 16-bit integers: 37836.98...


def splitmix64(start: int, count: int) -> np.ndarray:
    """The first `count` outputs, uint64 of shape (count,), of SplitMix64 with the seed `start`."""
    word = np.arange(1, count + 1, dtype=np.uint64)
    word *= np.uint64(STEP)
    word += np.uint64(start)
    word ^= word >> np.uint64(30)
    word *= np.uint64(0xBF58476D1CE4E5B9)
    word ^= word >> np.uint64(27)
    word *= np.uint64(0x94D049BB133111EB)
    word ^= word >> np.uint64(31)
    return word


def start_of(seed: int, name: str) -> int:
    """The 64-bit start of the stream `name`: the first eight bytes, little-endian, of SHA-256 of "seed/name"."""
    return int.from_bytes(sha256(f"{seed}/{name}".encode()).digest()[:8], "little")


def uniform(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float64 multiples of 2^-53 in [0, 1), exact."""
    words = splitmix64(start_of(seed, name), prod(shape)) >> np.uint64(11)
    return (words.astype(np.float64) * 2.0**-53).reshape(shape)


def normal_integers(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Integers, as float64, of mean 0 and deviation NORMAL_DEVIATION, nearly normal, |n| < 2^17.

    Each is the sum of the four 16-bit quarters of one output (Irwin-Hall): no logarithm or cosine, whose last bit
    differs between mathematical libraries.
    """
    words = splitmix64(start_of(seed, name), prod(shape))
    pairs = (words & np.uint64(0x0000FFFF0000FFFF)) + ((words >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF))
    sums = (pairs & np.uint64(0xFFFFFFFF)) + (pairs >> np.uint64(32))
    return (sums.astype(np.float64) - 2.0 * 65535).reshape(shape)


def normal(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float64 of mean 0 and deviation 1, nearly normal, within 3.47: normal_integers, divided once."""
    return normal_integers(seed, name, shape) / NORMAL_DEVIATION
