"""What follows the sum while a tile's outputs are in registers, as LLVM code; every layer rounds to storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ..arithmetic import RELUS
from .tile import NORMS, RECTIFIERS


class TileEpilogue:
    """Bias, batch normalisation, shortcut and ReLU, in that order, then the outputs are written.

    code: the TileCode that emits it.  across: how far apart the planes of a vector over columns lie.  stride, plane:
    how far apart the rows and the planes of the outputs and the shortcut lie.
    """

    def __init__(self, code: Any, *, across: Any, stride: Any, plane: Any) -> None:
        self.code, self.builder, self.tile = code, code.builder, code.tile
        self.across, self.stride, self.plane = across, stride, plane

    def add_bias(self, bias: Any, after: Any) -> None:
        """after: whether the sum is rounded to storage before; if it is zero, only the result is."""
        rounds = self.tile.storage.name != self.tile.sums.name
        with self.code.given(bias):
            if rounds:
                with self.code.given(after):
                    self._change(self._stored)
            self._change(self.code.ops.add, (bias,))
        if rounds:
            self._change(self._stored)

    def normalise(self, form: Any, vectors: tuple[Any, ...]) -> None:
        """Batch normalisation by its form: (mean, s, beta) where it is centred, else (s, t); or modulo (1 / p, p)."""
        ops, stored = self.code.elementwise, self._stored
        forms: dict[str, tuple[Callable[..., Any], int]] = {
            "centred": (lambda x, mean, s, beta: stored(ops.add(ops.mul(ops.sub(x, mean), s), beta)), 3),
            "shifted": (lambda x, s, t: stored(ops.add(ops.mul(x, s), t)), 2),
        }
        if self.tile.sums.planes == 1:
            forms["shifted-fma"] = (lambda x, s, t: stored(ops.fma(x, s, t)), 2)
        if self.tile.sums.name == self.tile.storage.name == "float64":
            forms["modulo"] = (self._modulo, 2)
        for name, (operation, count) in forms.items():
            with self._chosen(form, NORMS.index(name)):
                self._change(operation, vectors[:count])

    def _modulo(self, x: Any, inverse: Any, p: Any) -> Any:
        """x - q p exactly, where x is an integer up to 2^53, p a prime from 5 on, inverse = fl(1 / p).

        q is the integer next to x inverse, which is off x / p by 1 / p at most: the result is at most (p + 1) / 2.
        Adding 1.5 * 2^52 rounds to an integer.
        """
        ops, integers = self.code.native, self.code.native.constant(1.5 * 2.0**52)
        q = ops.sub(ops.fma(x, inverse, integers), integers)
        return ops.fma(ops.neg(q), p, x)

    def add_shortcut(self, shortcut: Any) -> None:
        with self.code.given(shortcut):
            for slots, offset in self._outputs():
                other = self.code.load(shortcut, offset, self.plane, self.tile.storage.planes)
                other = other if isinstance(other, tuple) else self.code.lifted(other)
                self.code.put(self._stored(self.code.elementwise.add(other, self.code.get(slots))), slots)

    def rectify(self, form: Any) -> None:
        for name, comparison in RELUS.items():
            with self._chosen(form, RECTIFIERS.index(name)):
                self._change(partial(self.code.native.relu, comparison))

    def write(self, c: Any) -> None:
        for slots, offset in self._outputs():
            self.code.store(self.code.get(slots), c, offset, self.plane, self.tile.storage.planes)

    def _chosen(self, form: Any, number: int) -> Any:
        return self.builder.if_then(self.builder.icmp_signed("==", form, self.code.number(number)))

    def _change(self, operation: Callable[..., Any], vectors: tuple[Any, ...] = ()) -> None:
        """value = operation(value, vectors of its columns) for every output."""
        code, planes = self.code, self.tile.sums.planes
        for column in range(self.tile.vectors):
            loaded = [code.load(vector, code.column(column), self.across, planes) for vector in vectors]
            for row in range(self.tile.rows):
                slots = code.state[row, column][0]
                code.put(operation(code.get(slots), *loaded), slots)

    def _stored(self, x: Any) -> Any:
        """x rounded once to storage, still a number of this tile's sums."""
        native, storage = self.code.native, self.tile.storage
        if self.tile.sums.planes == 1:
            return native.round_to(x, storage)
        return x if storage.planes == 2 else self.code.lifted(native.narrowed(x, storage))

    def _outputs(self) -> Iterator[tuple[list[Any], Any]]:
        """The slots of each output and its offset from the tile's first."""
        for row, column in self.code.places:
            line = self.builder.mul(self.stride, self.code.number(row))
            yield self.code.state[row, column][0], self.builder.add(line, self.code.column(column))
