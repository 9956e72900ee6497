"""What a layer added by itself: its output against its exact operation on the backend's own inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.formats import FORMATS
from ..forward.fusion import Step
from ..lazy import cached_property
from .blocks import Blocks, effective_outputs, mean_squares, scales
from .chains import PRODUCTS, magnitude, run_chain
from .expected import chain_squares
from .hypothesis import OPERANDS, REFERENCES, nominal
from .simulations import ONE_ROUNDING, SIMULATIONS, Simulation, simulations_of, terms_of

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Simulated:
    """One simulated arithmetic: mean squares of its errors, and the channels where the backend has other bits."""

    simulation: Simulation
    errors: Blocks
    differing: NDArray[np.bool_]

    @property
    def identical(self) -> bool:
        return not self.differing.any()


@dataclass(frozen=True)
class Local:
    """A layer of a backend's trace, or several that may have been computed together, and what can be said of them.

    chain: the layers.  weights: the network's.  trace: the backend's activations, of the chain's inputs and its output.
    revealed: what probes found this backend to compute here, tried where no other simulation has its bits.
    """

    chain: Step
    weights: Mapping[str, Array]
    trace: Mapping[str, Array]
    revealed: Simulation | None = None

    @property
    def y(self) -> Array:
        return self.trace[self.chain.nodes[-1].name]

    @cached_property
    def inputs(self) -> dict[str, Array]:
        return {name: self.trace[name] for name in self.chain.inputs}

    @property
    def format(self) -> str:
        """The format whose rounding is expected."""
        return nominal(self.y)

    @property
    def exact_operation(self) -> bool:
        """Whether nothing here rounds more than once, so that every float32 backend must give the same bits."""
        return all(SIMULATIONS[node.operation] is ONE_ROUNDING for node in self.chain.nodes)

    @cached_property
    def reference(self) -> tuple[Array, Array | float]:
        """e, exact in comparison, as float64 and what float64 cannot hold of it."""
        return self.reference_of(None)

    def reference_of(self, rounded: str | None, operands: tuple[str, ...] = OPERANDS) -> tuple[Array, Array | float]:
        """e with those operands of convolution and dense rounded to that format first."""
        e = run_chain(self.chain, REFERENCES[self.format], self.weights, self.inputs, rounded, operands)
        return e if isinstance(e, tuple) else (e, 0.0)

    @cached_property
    def bias(self) -> Array:
        """The bias of the last layer, in float64; zeros where it has none."""
        node = self.chain.nodes[-1]
        if "bias" not in node.weights:
            return np.zeros(self.y.shape[-1])
        return np.asarray(self.weights[f"{node.name}/bias"], np.float64)

    @cached_property
    def compared(self) -> NDArray[np.bool_]:
        """Where both are finite, or the exact result lies beyond the format: errors are measured there."""
        return np.isfinite(self.y) & np.isfinite(self.reference[0])

    @cached_property
    def all_compared(self) -> bool:
        return bool(self.compared.all())

    @cached_property
    def strange(self) -> int:
        """How many numbers are NaN or infinite where they should not be, or finite where the inputs are NaN."""
        return int(np.count_nonzero(self._strange))

    @cached_property
    def _strange(self) -> NDArray[np.bool_]:
        if self.all_compared:
            return np.zeros(self.y.shape, np.bool_)
        e, y = self.reference[0], self.y
        overflows = np.isinf(y) & (np.abs(e) > FORMATS[y.dtype.name].largest)
        found: NDArray[np.bool_] = ~(self.compared | overflows | (np.isnan(y) & np.isnan(e)) | (y == e))
        return found

    @property
    def may_overflow(self) -> bool:
        """Whether all that is strange are sums whose parts may leave the format before they cancel."""
        return bool((self._strange <= (np.isfinite(self.reference[0]) & ~np.isfinite(self._magnitudes))).all())

    def error(self, y: Array, reference: tuple[Array, Array | float] | None = None) -> Array:
        """y - e; 0 where they cannot be compared."""
        leading, rest = reference or self.reference
        with np.errstate(all="ignore"):
            difference: Array = np.subtract(y, leading, dtype=np.float64)
            if isinstance(rest, np.ndarray):
                difference -= rest
        if not self.all_compared:
            difference[~self.compared] = 0.0
        return difference

    @cached_property
    def errors(self) -> Array:
        return self.error(self.y)

    @cached_property
    def magnitudes(self) -> Array:
        """What rounding errors are relative to (chains.magnitude); 0 where nothing is compared."""
        return np.where(self.compared & np.isfinite(self._magnitudes), self._magnitudes, 0.0)

    @cached_property
    def _magnitudes(self) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            return magnitude(self.chain, self.weights, self.inputs)

    @cached_property
    def rms(self) -> float:
        """RMS of the exact outputs."""
        return float(self._exact.layer**0.5)

    @cached_property
    def _exact(self) -> Blocks:
        e = self.reference[0]
        return mean_squares(e if self.all_compared else np.where(self.compared, e, 0.0))

    @cached_property
    def simulated(self) -> list[Simulated]:
        """All simulations; but those up to the first that has every bit, where there is one: it says all."""
        rows = []
        found = [self.revealed] if self.revealed and self.format == "float32" else []
        for simulation in (*simulations_of(self.chain.nodes, self.inputs), *found):
            rows.append(self._simulate(simulation))
            if rows[-1].identical:
                break
        return rows

    @property
    def replayed(self) -> str | None:
        """The name of the simulation that has every bit."""
        return self.simulated[-1].simulation.name if self.simulated[-1].identical else None

    def _simulate(self, simulation: Simulation) -> Simulated:
        weights = simulation.weights(self.weights, self.chain.nodes)
        y = run_chain(
            self.chain, simulation.arithmetic(self.format), weights, self.inputs, None, constants=simulation.constants
        )
        errors = self.error(y)
        errors[~np.isfinite(errors)] = 0.0  # sums that overflow in this order
        return Simulated(simulation, mean_squares(errors), _differing(y, self.y))

    @cached_property
    def scale(self) -> Blocks:
        """The mean squares that rounding is allowed in each block."""
        once = FORMATS[self.format].unit_roundoff ** 2 / 3  # of one rounding, in parts of the square of what is rounded
        exact = self._exact
        floor = Blocks(once * exact.layer, once * exact.channel, once * exact.place)
        return scales([row.errors for row in self._worst_kind], floor, mean_squares(np.sqrt(self.expected)))

    @property
    def _worst_kind(self) -> list[Simulated]:
        return [row for row in self.simulated if row.simulation.spread]

    @cached_property
    def expected(self) -> Array:
        """The expected square of each output's error: a model of it, in the unit that the simulations have on average.

        The model is chain_squares of one direct sum, for the worse place of the bias, and else magnitudes^2.
        """
        node = self.chain.nodes[0]
        if len(self.chain.nodes) == 1 and node.operation in PRODUCTS:
            x = self.inputs[node.inputs[0]]
            models = chain_squares(node, self.weights, x, self.reference[0])
            last, first = (np.where(self.compared & np.isfinite(model), model, 0.0) for model in models)
            rows = [row for row in self._worst_kind if row.simulation.settings.get("bias") != "first"]
        else:
            last = first = self.magnitudes.astype(np.float64) ** 2
            rows = self._worst_kind
        whole = float(last.mean())
        unit = float(np.mean([row.errors.layer for row in rows])) / whole if whole else 0.0
        return unit * np.maximum(last, first)

    @cached_property
    def effective(self) -> Blocks:
        """The number of independent errors that each block is worth."""
        return effective_outputs(self.expected, np.where(self.compared, self.reference[0], 0.0))

    @cached_property
    def over_bound(self) -> float:
        """The largest |error| over the any-order bound of a direct sum; 0 where there is no such bound.

        (K + 1) u (sum |a b| + |bias|), and for underflow the smallest normal number times 2K + 1 + sum |a| + sum |b|
        (Higham 2002, 3.1; Jeannerod and Rump 2013: no restriction on K). Above 1 no order of additions explains it.
        """
        node = self.chain.nodes[0]
        if len(self.chain.nodes) > 1 or node.operation not in (*PRODUCTS, "mean_pool"):
            return 0.0
        terms, format_ = terms_of(node, self.inputs), FORMATS[self.format]
        x = self.inputs[node.inputs[0]]
        largest = float(np.max(np.abs(x), where=np.isfinite(x), initial=0.0))
        kernel = float(np.abs(self.weights[f"{node.name}/kernel"]).max()) if "kernel" in node.weights else 1.0
        underflow = format_.smallest_normal * (2 * terms + 1 + terms * (largest + kernel))
        slack = 1 + 2 * terms * FORMATS["float32"].unit_roundoff  # of the magnitudes, which are float32 sums themselves
        bound = (terms + 1) * format_.unit_roundoff * slack * self.magnitudes.astype(np.float64) + underflow
        return float(np.max(np.abs(self.errors) / bound, initial=0.0))


def _differing(y: Array, other: Array) -> NDArray[np.bool_]:
    """By channel: whether any bit differs, the sign of a zero apart."""
    if y.dtype != other.dtype:
        y, other = y.astype(np.float64), other.astype(np.float64)
    different = (y != other) & ~(np.isnan(y) & np.isnan(other))
    found: NDArray[np.bool_] = different.reshape(-1, y.shape[-1]).any(axis=0)
    return found
