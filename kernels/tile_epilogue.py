"""What follows the sum while a tile's outputs are in registers, as LLVM code; every layer rounds to storage."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..arithmetic import RELUS
from ..arithmetic.formats import Format
from .tile import NORMS, RECTIFIERS

SHIFTS_LAST = "shifts-last"


class TileEpilogue:
    """Bias, batch normalisation, shortcut and ReLU, in that order, then the outputs are written.

    code: the TileCode that emits it.  across: how far apart the planes of a vector over columns lie.  stride, plane:
    how far apart the rows and the planes of the outputs and the shortcut lie.
    """

    def __init__(self, code: Any, *, across: Any, stride: Any, plane: Any) -> None:
        self.code, self.builder, self.tile = code, code.builder, code.tile
        self.across, self.stride, self.plane = across, stride, plane

    def add_bias(self, bias: Any, after: Any) -> None:
        """after: whether the sum is rounded to the tile's `finished` before; if zero, only the result is rounded."""
        with self.code.given(after):
            self._round_to(self.tile.finished)
        with self.code.given(bias):
            self._change(self.code.ops.add, (bias,))
        self._round_to(self.tile.storage)

    def normalise(self, form: Any, vectors: tuple[Any, ...]) -> None:
        """Batch normalisation by its form: (mean, s, beta) where it is centred, else (s, t); or modulo (1 / p, p).

        Where shifts come last its product x s alone, not rounded to storage.
        """
        ops, stored = self.code.elementwise, self._stored
        forms: dict[str, tuple[Callable[..., Any], int]] = {
            "centred": (lambda x, mean, s, beta: stored(ops.add(ops.mul(ops.sub(x, mean), s), beta)), 3),
            "shifted": (lambda x, s, t: stored(ops.add(ops.mul(x, s), t)), 2),
            SHIFTS_LAST: (ops.mul, 1),
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

    def add_shortcut(self, shortcut: Any, form: Any, vectors: tuple[Any, ...]) -> None:
        """The addition; where shifts come last the shift behind it, and the shortcut times its factor if it has one."""
        ops, stored, (_, shift, factor) = self.code.elementwise, self._stored, vectors
        with self.code.given(shortcut), self._whether(form, NORMS.index(SHIFTS_LAST)) as (last, outputs):
            with outputs:
                self._change(lambda x, y: stored(ops.add(y, x)), (), shortcut)
            with last, self._whether(factor, 0) as (alone, scaled):
                with alone:
                    self._change(lambda x, y, t: stored(ops.add(ops.add(y, x), t)), (shift,), shortcut)
                with scaled:
                    operation = lambda x, y, t, s: stored(ops.add(ops.add(ops.mul(y, s), x), t))  # noqa: E731
                    self._change(operation, (shift, factor), shortcut)

    def rectify(self, form: Any) -> None:
        for name, comparison in RELUS.items():
            with self._chosen(form, RECTIFIERS.index(name)):
                self._change(partial(self.code.native.relu, comparison))

    def write(self, c: Any) -> None:
        for row, column in self.code.places:
            value = self.code.get(self.code.state[row, column][0])
            self.code.store(value, c, self._offset(row, column), self.plane, self.tile.storage.planes)

    def _chosen(self, form: Any, number: int) -> Any:
        return self.builder.if_then(self.builder.icmp_signed("==", form, self.code.number(number)))

    def _whether(self, form: Any, number: int) -> Any:
        return self.builder.if_else(self.builder.icmp_signed("==", form, self.code.number(number)))

    def _change(self, operation: Callable[..., Any], vectors: tuple[Any, ...] = (), shortcut: Any = None) -> None:
        """value = operation(value, what the shortcut has there if it is given, vectors of its columns)."""
        code, planes = self.code, self.tile.sums.planes
        for column in range(self.tile.vectors):
            loaded = [code.load(vector, code.column(column), self.across, planes) for vector in vectors]
            for row in range(self.tile.rows):
                slots = code.state[row, column][0]
                beside = [] if shortcut is None else [self._stored_at(shortcut, self._offset(row, column))]
                code.put(operation(code.get(slots), *beside, *loaded), slots)

    def _stored_at(self, address: Any, offset: Any) -> Any:
        """A number of a layer's outputs, as one of this tile's sums."""
        number = self.code.load(address, offset, self.plane, self.tile.storage.planes)
        return number if isinstance(number, tuple) else self.code.lifted(number)

    def _offset(self, row: int, column: int) -> Any:
        """How far from the tile's first output that of a row and a column of vectors lies."""
        return self.builder.add(self.builder.mul(self.stride, self.code.number(row)), self.code.column(column))

    def _round_to(self, format_: Format) -> None:
        if format_ != self.tile.sums:
            self._change(partial(self._rounded, format_=format_))

    def _stored(self, x: Any) -> Any:
        return self._rounded(x, self.tile.storage)

    def _rounded(self, x: Any, format_: Format) -> Any:
        """x rounded once, still a number of this tile's sums."""
        native = self.code.native
        if self.tile.sums.planes == 1:
            return native.round_to(x, format_)
        return x if format_.planes == 2 else self.code.lifted(native.narrowed(x, format_))
