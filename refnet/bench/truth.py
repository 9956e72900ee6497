"""What the truth costs: exact sums, many digits and certificates, beside FLINT's matrix products and mpmath's dot."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mpmath import fdot, mp, mpf
from mpmath.libmp import dps_to_prec

from ..certificate import certify
from ..errors import InputError
from ..forward import predict
from ..weights import Weights, save_weights
from .memory import peak_memory
from .pictures import fresh_pictures
from .rows import Row
from .shapes import Convolution, layers_alike

Progress = Callable[[str], None]
FLINT = "flint products"
FDOT = "mpmath.fdot"
PER_TERM = "per term"
LONG = "mp1000"
CERTIFY = "certify 53"
PREDICTED: dict[str, dict[str, str]] = {
    "float32 exact": {"precision": "float32", "order": "exact"},
    "float64 exact": {"precision": "float64", "order": "exact"},
    "mp50": {"precision": "mp50"},
    "mp100": {"precision": "mp100"},
    LONG: {"precision": LONG},
}
"""Subject of a row -> what predict is told."""
BESIDE_FLINT = "mp50"
REMEMBERED = ("mp50", LONG)  # whose memory has a limit
SPREADS = 16, 21  # bits by which a layer's activations, and its weights, are longer than one significand (medians)
FDOT_TERMS = 4608


@dataclass(frozen=True)
class TruthPlan:
    """threads: of refnet and FLINT.  repeats: of what takes seconds; what takes minutes is run once.  long: mp1000 too.

    memory: whether the peaks are measured.
    """

    threads: int
    repeats: int = 3
    long: bool = True
    memory: bool = True

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.threads < 1:
            raise InputError(f"{self.repeats} repeats on {self.threads} threads", expected="at least 1 of each")

    @property
    def subjects(self) -> tuple[str, ...]:
        return tuple(name for name in PREDICTED if self.long or name != LONG)


class TruthSession:
    """A plan, weights, and a scene (1, height, width, 3) on which to carry it out."""

    def __init__(self, plan: TruthPlan, weights: Weights, base: np.ndarray) -> None:
        self.plan, self.weights, self.base = plan, weights, base
        self.graph = weights.graph(base.shape[1:3])

    def __len__(self) -> int:
        """How many rows there will be."""
        remembered = sum(name in self.plan.subjects for name in REMEMBERED)
        return len(self.plan.subjects) + 3 + remembered * self.plan.memory

    def rows(self, progress: Progress = lambda name: None) -> Iterator[Row]:
        """Each row as soon as it is measured; `progress` is told what comes next."""
        for name in self.plan.subjects:
            progress(name)
            yield Row("truth", name, self._seconds(name))
        progress(CERTIFY)
        yield Row("truth", CERTIFY, self._timed(self._certify, self.plan.repeats))
        progress(f"{BESIDE_FLINT} beside {FLINT}")
        yield self._beside_flint()
        progress(f"{BESIDE_FLINT} beside {FDOT}, {PER_TERM}")
        yield self._beside_fdot()
        for name in REMEMBERED:
            if self.plan.memory and name in self.plan.subjects:
                progress(f"{name}, peak memory")
                yield self._memory(name)

    def _seconds(self, name: str) -> tuple[float, ...]:
        return self._timed(lambda x: self._predict(x, name), 1 if name == LONG else self.plan.repeats)

    def _timed(self, call: Callable[[np.ndarray], object], repeats: int) -> tuple[float, ...]:
        """Seconds of each call with a picture that it has not seen, after one on a small picture, which compiles."""
        call(np.ascontiguousarray(self.base[:, :32, :32]))
        taken = []
        for seed in range(1, repeats + 1):
            picture = fresh_pictures(self.base, 1, seed)
            begin = time.perf_counter()
            call(picture)
            taken.append(time.perf_counter() - begin)
        return tuple(taken)

    def _predict(self, x: np.ndarray, name: str) -> Any:
        how: dict[str, Any] = PREDICTED[name]
        return predict(x, self.weights, **how, threads=self.plan.threads, classifier_activation=None)

    def _certify(self, x: np.ndarray) -> object:
        return certify(x, self.weights, threads=self.plan.threads)

    def _beside_flint(self) -> Row:
        """The whole network beside FLINT's products of matrices of the same shapes and bits, and nothing else."""
        name = BESIDE_FLINT
        try:
            flint = import_module("flint")
        except ImportError:
            return Row("truth", name, other=FLINT, reason="python-flint is not installed")
        flint.ctx.threads = self.plan.threads
        bits = dps_to_prec(int(name.removeprefix("mp"))) + SPREADS[0], 24 + SPREADS[1]
        alike = layers_alike(self.graph)
        theirs = sum(count * flint_seconds(flint, shape, bits) for shape, count in alike.items())
        return Row("truth", name, self._seconds(name)[:1], FLINT, (theirs,))

    def _beside_fdot(self) -> Row:
        """Seconds a term: of the whole network, and of one long dot product by mpmath on its own numbers."""
        terms = sum(np.prod(shape.product) * count for shape, count in layers_alike(self.graph).items())
        own = tuple(seconds / float(terms) for seconds in self._seconds(BESIDE_FLINT))
        return Row("truth", f"{BESIDE_FLINT} {PER_TERM}", own, FDOT, tuple(fdot_seconds() for _ in own))

    def _memory(self, name: str) -> Row:
        with TemporaryDirectory(prefix="refnet-") as temporary:
            folder = Path(temporary)
            file = folder / "weights.safetensors"
            save_weights(self.weights, file)
            try:
                peak = peak_memory(file, self.base, self.plan.threads, folder, name)
            except CalledProcessError as error:
                reason = (error.stderr.strip().splitlines() or ["failed"])[-1]
                return Row("memory", name, unit="bytes", reason=reason)
        return Row("memory", name, (float(peak),), unit="bytes")


def flint_seconds(flint: Any, shape: Convolution, bits: tuple[int, int]) -> float:
    """One product of FLINT's integer matrices with the multiplications of a convolution; making them does not count."""
    rows, terms, columns = shape.product
    rng = np.random.default_rng(0)
    left, right = (
        flint.fmpz_mat(*size, random_integers(rng, size[0] * size[1], width))
        for size, width in zip(((rows, terms), (terms, columns)), bits, strict=True)
    )
    begin = time.perf_counter()
    left * right
    return time.perf_counter() - begin


def random_integers(rng: np.random.Generator, count: int, bits: int) -> list[int]:
    """Signed integers of so many bits."""
    length = -(-bits // 8)
    data, shift = rng.bytes(count * length), 8 * length - bits
    signs = rng.integers(0, 2, count).tolist()
    numbers = (int.from_bytes(data[i * length : (i + 1) * length], "little") >> shift for i in range(count))
    return [-number if sign else number for number, sign in zip(numbers, signs, strict=True)]


def fdot_seconds() -> float:
    """Seconds a term of mpmath.fdot at mp50."""
    rng = np.random.default_rng(0)
    with mp.workdps(int(BESIDE_FLINT.removeprefix("mp"))):
        a = [mpf(x) / 3 for x in rng.standard_normal(FDOT_TERMS).tolist()]
        b = [mpf(x) for x in rng.standard_normal(FDOT_TERMS).astype(np.float32).tolist()]
        pairs = list(zip(a, b, strict=True))
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            fdot(pairs)
            times.append(time.perf_counter() - begin)
    return min(times) / FDOT_TERMS
