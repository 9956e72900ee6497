"""The register tile: rows x columns outputs of a matrix product grow in registers, each in its own declared order.

The vector lanes run over columns (output channels), the rows over pixels, so that no two terms of one output are ever
added across lanes, and tile and vector sizes cannot change a bit. The tile is generated as LLVM code from a chain of
arithmetic/chains.py, run here with vectors for numbers; a schedule drives it at run time as a table of pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..arithmetic import CHAINS, FORMATS, Arithmetic
from ..arithmetic.formats import Format
from .jit import vector_bytes
from .llvm_ops import LLVMOps, RoundedOps

CHUNK = 272  # terms of one row that lie together in a packed tile, so that the rows' distance is a constant
ACCUMULATORS = {64: 28, 32: 12, 16: 12}  # registers for accumulators, by the vector's bytes
VECTORS = 2  # a tile's columns, in vectors
NORMS = ("none", "centred", "shifted", "shifted-fma")  # batch normalisation in the epilogue, by number


@dataclass(frozen=True)
class Tile:
    """What a tile is generated from: a name in CHAINS, the formats of sums and of layers' outputs, and its size."""

    chain: str
    sums: Format
    storage: Format
    rows: int
    lanes: int
    vectors: int = VECTORS

    @property
    def columns(self) -> int:
        return self.lanes * self.vectors

    @property
    def code(self) -> int:
        """The tile as one integer, which chooses a specialisation as a literal type."""
        formats = list(FORMATS.values())
        numbers = (list(CHAINS).index(self.chain), formats.index(self.sums), formats.index(self.storage))
        code = 0
        for number in (*numbers, self.rows, self.lanes, self.vectors):
            code = code << 6 | number
        return code

    @classmethod
    def from_code(cls, code: int) -> Tile:
        chain, sums, storage, rows, lanes, vectors = ((code >> shift) & 63 for shift in (30, 24, 18, 12, 6, 0))
        formats = list(FORMATS.values())
        return cls(list(CHAINS)[chain], formats[sums], formats[storage], rows, lanes, vectors)


def tile_for(arithmetic: Arithmetic, rows: int) -> Tile:
    """The tile for a product of `rows` rows on this machine: as high as its registers allow, or less high where that
    leaves fewer rows idle (49 rows are 3.5 tiles of 14, but nearly 5 of 10)."""
    sums = arithmetic.sums
    lanes = vector_bytes() // np.dtype(sums.working).itemsize
    high = max(1, ACCUMULATORS[vector_bytes()] // (VECTORS * CHAINS[arithmetic.chain].width))
    low = max(1, high * 5 // 7)
    height = low if rows > 2 * high and -rows % low + rows // 16 < -rows % high else high
    return Tile(arithmetic.chain, sums, arithmetic.storage, height, lanes)


class _Code:
    """Emits one tile: its state lives in stack slots that LLVM turns into registers."""

    def __init__(self, context: Any, builder: Any, tile: Tile) -> None:
        element = ir.FloatType() if tile.sums.working is np.float32 else ir.DoubleType()
        self.builder, self.tile, self.chain = builder, tile, CHAINS[tile.chain]
        self.element, self.vector = element, ir.VectorType(element, tile.lanes)
        self.bytes = np.dtype(tile.sums.working).itemsize
        self.native = LLVMOps(builder, self.vector)
        self.ops = self.native if tile.sums.is_working else RoundedOps(self.native, tile.sums)
        self.index = context.get_value_type(types.intp)
        self.places = [(row, column) for row in range(tile.rows) for column in range(tile.vectors)]
        self.state = {place: [self.slot() for _ in range(self.chain.width)] for place in self.places}

    def slot(self) -> Any:
        return cgutils.alloca_once(self.builder, self.vector)

    def number(self, value: int) -> Any:
        return ir.Constant(self.index, value)

    def pointer(self, address: Any, type_: Any) -> Any:
        return self.builder.inttoptr(address, type_.as_pointer())

    def vector_at(self, address: Any, offset: Any) -> Any:
        """The vector `offset` elements behind an address; unaligned."""
        place = self.builder.gep(self.pointer(address, self.element), [offset])
        return self.builder.bitcast(place, self.vector.as_pointer())

    def load(self, address: Any, offset: Any) -> Any:
        return self.builder.load(self.vector_at(address, offset), align=self.bytes)

    def store(self, value: Any, address: Any, offset: Any) -> None:
        self.builder.store(value, self.vector_at(address, offset), align=self.bytes)

    def integer_at(self, address: Any, offset: Any) -> Any:
        return self.builder.load(self.builder.gep(self.pointer(address, self.index), [offset]))

    def variable(self, value: Any) -> Any:
        slot = cgutils.alloca_once(self.builder, value.type)
        self.builder.store(value, slot)
        return slot

    def increase(self, slot: Any, by: Any) -> None:
        self.builder.store(self.builder.add(self.builder.load(slot), by), slot)

    @contextmanager
    def loop(self, count: Any) -> Iterator[Any]:
        with cgutils.for_range(self.builder, count, intp=self.index) as around:
            yield around.index

    @contextmanager
    def given(self, integer: Any) -> Iterator[None]:
        """Only if the integer is not zero."""
        with self.builder.if_then(self.builder.icmp_signed("!=", integer, self.number(0))):
            yield

    def column(self, column: int) -> Any:
        return self.number(column * self.tile.lanes)

    # ---- the sum --------------------------------------------------------------------------------------------------

    def run(self, a: Any, b: Any, pieces: Any, count: Any, stack: Any, start: Any) -> None:
        """All pieces of the schedule; the sums are left in the first number of each state."""
        a, b, height, first = (self.variable(value) for value in (a, b, self.number(0), start))
        with self.loop(count) as piece:
            at = self.builder.mul(piece, self.number(4))
            starts, length, merges, skip = (
                self.integer_at(pieces, self.builder.add(at, self.number(field))) for field in range(4)
            )
            with self.given(starts):
                self.start_chains(self.builder.load(first))
                self.builder.store(self.number(0), first)
            with self.loop(length) as k:
                self.step(self.builder.load(a), self.builder.load(b), k)
            self.increase(a, self.builder.mul(skip, self.number(self.bytes)))
            self.increase(b, self.builder.mul(length, self.number(self.tile.columns * self.bytes)))
            with self.builder.if_then(self.builder.icmp_signed(">=", merges, self.number(0))):
                self.end_chains(stack, height, merges)
        self.pop(stack, height)

    def start_chains(self, start: Any) -> None:
        """Zero, or for the very first chain the bias where it comes first."""
        for slots in self.state.values():
            for slot in slots:
                self.builder.store(self.ops.constant(0.0), slot)
        with self.given(start):
            for row, column in self.places:
                self.builder.store(self.load(start, self.column(column)), self.state[row, column][0])

    def step(self, a: Any, b: Any, k: Any) -> None:
        """One more term for every output; one left operand is splat at a time, or the accumulators would spill."""
        line = self.builder.mul(k, self.number(self.tile.columns))
        right = [self.load(b, self.builder.add(line, self.column(column))) for column in range(self.tile.vectors)]
        rows = self.pointer(a, self.element)
        for row in range(self.tile.rows):
            place = self.builder.gep(rows, [self.builder.add(k, self.number(row * CHUNK))])
            left = self.native.splat(self.builder.load(place, align=self.bytes))
            for column in range(self.tile.vectors):
                slots = self.state[row, column]
                state = self.chain.step(self.ops, tuple(map(self.builder.load, slots)), left, right[column])
                for slot, number in zip(slots, state, strict=True):
                    self.builder.store(number, slot)

    def end_chains(self, stack: Any, height: Any, merges: Any) -> None:
        """The chains' values, added to as many of the newest values as the schedule says, go onto the stack."""
        for slots in self.state.values():
            value = self.chain.value(self.ops, tuple(map(self.builder.load, slots)))
            self.builder.store(value, slots[0])
        with self.loop(merges):
            self.increase(height, self.number(-1))
            for place, offset in self.stacked(height):
                older = self.load(stack, offset)
                slot = self.state[place][0]
                self.builder.store(self.ops.add(older, self.builder.load(slot)), slot)
        for place, offset in self.stacked(height):
            self.store(self.builder.load(self.state[place][0]), stack, offset)
        self.increase(height, self.number(1))

    def pop(self, stack: Any, height: Any) -> None:
        self.increase(height, self.number(-1))
        for place, offset in self.stacked(height):
            self.builder.store(self.load(stack, offset), self.state[place][0])

    def stacked(self, height: Any) -> Iterator[tuple[tuple[int, int], Any]]:
        level = self.builder.mul(self.builder.load(height), self.number(len(self.places) * self.tile.lanes))
        for position, place in enumerate(self.places):
            yield place, self.builder.add(level, self.number(position * self.tile.lanes))

    # ---- what follows the sum: each layer's output is rounded to storage -------------------------------------------

    def change(self, operation: Callable[..., Any], *vectors: Any) -> None:
        """value = operation(value, vectors of its columns) for every output."""
        for column in range(self.tile.vectors):
            loaded = [self.load(vector, self.column(column)) for vector in vectors]
            for row in range(self.tile.rows):
                slot = self.state[row, column][0]
                self.builder.store(operation(self.builder.load(slot), *loaded), slot)

    def stored(self, x: Any) -> Any:
        return self.native.round_to(x, self.tile.storage)

    def add_bias(self, bias: Any) -> None:
        with self.given(bias):
            self.change(self.ops.add, bias)
        if self.tile.storage.name != self.tile.sums.name:
            self.change(self.stored)

    def normalise(self, form: Any, first: Any, second: Any, third: Any) -> None:
        """Batch normalisation by its form: (mean, s, beta) where it is centred, else (s, t)."""
        ops, stored = self.native, self.stored
        forms: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
            "centred": (
                lambda x, mean, s, beta: stored(ops.add(ops.mul(ops.sub(x, mean), s), beta)),
                (first, second, third),
            ),
            "shifted": (lambda x, s, t: stored(ops.add(ops.mul(x, s), t)), (first, second)),
            "shifted-fma": (lambda x, s, t: stored(ops.fma(x, s, t)), (first, second)),
        }
        for name, (operation, vectors) in forms.items():
            with self.builder.if_then(self.builder.icmp_signed("==", form, self.number(NORMS.index(name)))):
                self.change(operation, *vectors)

    def add_shortcut(self, shortcut: Any, stride: Any) -> None:
        with self.given(shortcut):
            for place, offset in self.outputs(stride):
                slot = self.state[place][0]
                total = self.native.add(self.load(shortcut, offset), self.builder.load(slot))
                self.builder.store(self.stored(total), slot)

    def rectify(self, relu: Any) -> None:
        with self.given(relu):
            self.change(self.native.relu)

    def write(self, c: Any, stride: Any) -> None:
        for place, offset in self.outputs(stride):
            self.store(self.builder.load(self.state[place][0]), c, offset)

    def outputs(self, stride: Any) -> Iterator[tuple[tuple[int, int], Any]]:
        for row, column in self.places:
            yield (row, column), self.builder.add(self.builder.mul(stride, self.number(row)), self.column(column))


@intrinsic(prefer_literal=True)
def _run_tile(
    typing: Any, code: Any, a: Any, b: Any, pieces: Any, count: Any, stack: Any, c: Any, stride: Any, start: Any,
    bias: Any, form: Any, first: Any, second: Any, third: Any, shortcut: Any, relu: Any,
) -> Any:  # fmt: skip
    """One tile of c = epilogue(sum). Addresses and integers; `code` is a literal, Tile.code.

    a: packed rows.  b: packed columns.  pieces: `count` rows of four integers (schedule_pieces).  stack: room for the
    schedule's depth.  c, shortcut: rows `stride` elements apart.  start, bias, shortcut: 0 where there is none.
    """
    if not isinstance(code, types.IntegerLiteral):
        return None
    tile = Tile.from_code(code.literal_value)
    signature = types.void(code, *[types.intp] * 15)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, a, b, pieces, count, stack, c, stride, start, bias, form, first, second, third, shortcut, relu = arguments
        emit = _Code(context, builder, tile)
        emit.run(a, b, pieces, count, stack, start)
        emit.add_bias(bias)
        emit.normalise(form, first, second, third)
        emit.add_shortcut(shortcut, stride)
        emit.rectify(relu)
        emit.write(c, stride)
        return context.get_dummy_value()

    return signature, codegen


run_tile: Any = _run_tile
