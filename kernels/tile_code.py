"""A register tile as LLVM code, generated from a chain of arithmetic/chains.py run with vectors for numbers.

A schedule drives it at run time, as a table of pieces (pack.pieces_of); what follows the sum is chosen at run time too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..arithmetic import CHAINS
from ..arithmetic.double_double import DoubleDoubleOps
from .llvm_ops import LLVMOps, RoundedOps
from .tile import CHUNK, FOUR, FRESH, ON_TOP, Tile
from .tile_epilogue import TileEpilogue
from .tile_stack import STACKS, TileStack


class TileCode:
    """Emits one tile: its state lives in stack slots that LLVM turns into registers."""

    def __init__(self, context: Any, builder: Any, tile: Tile) -> None:
        element = ir.FloatType() if tile.sums.working is np.float32 else ir.DoubleType()
        self.builder, self.tile, self.chain = builder, tile, CHAINS[tile.chain]
        self.element, self.vector = element, ir.VectorType(element, tile.lanes)
        self.bytes = np.dtype(tile.sums.working).itemsize
        self.native = LLVMOps(builder, self.vector)
        pairs = DoubleDoubleOps(self.native)
        self.elementwise: Any = pairs if tile.sums.planes == 2 else self.native
        rounded = tile.sums.planes == 1 and not tile.sums.is_working
        self.ops: Any = RoundedOps(self.native, tile.sums) if rounded else self.elementwise
        self.index = context.get_value_type(types.intp)
        self.places = [(row, column) for row in range(tile.rows) for column in range(tile.vectors)]
        self.state = {place: [self.slots() for _ in range(self.chain.width)] for place in self.places}

    def slots(self) -> list[Any]:
        """Room for one number a lane: a slot for each plane."""
        return [cgutils.alloca_once(self.builder, self.vector) for _ in range(self.tile.sums.planes)]

    def get(self, slots: list[Any]) -> Any:
        planes = tuple(map(self.builder.load, slots))
        return planes if len(planes) == 2 else planes[0]

    def put(self, number: Any, slots: list[Any]) -> None:
        for plane, slot in zip(number if isinstance(number, tuple) else (number,), slots, strict=True):
            self.builder.store(plane, slot)

    def zero(self) -> Any:
        return self.lifted(self.native.constant(0.0))

    def lifted(self, plane: Any) -> Any:
        """A number of one plane as one of this tile's sums."""
        return (plane, self.native.constant(0.0)) if self.tile.sums.planes == 2 else plane

    def number(self, value: int) -> Any:
        return ir.Constant(self.index, value)

    def pointer(self, address: Any, type_: Any) -> Any:
        return self.builder.inttoptr(address, type_.as_pointer())

    def vector_at(self, address: Any, offset: Any) -> Any:
        """The vector `offset` elements behind an address; unaligned."""
        place = self.builder.gep(self.pointer(address, self.element), [offset])
        return self.builder.bitcast(place, self.vector.as_pointer())

    def load(self, address: Any, offset: Any, plane: Any = None, planes: int = 1) -> Any:
        """A number `offset` elements behind an address, its planes `plane` elements apart."""
        loaded = []
        for _ in range(planes):
            loaded.append(self.builder.load(self.vector_at(address, offset), align=self.bytes))
            offset = offset if plane is None else self.builder.add(offset, plane)
        return tuple(loaded) if planes == 2 else loaded[0]

    def store(self, number: Any, address: Any, offset: Any, plane: Any, planes: int) -> None:
        for value in (number if isinstance(number, tuple) else (number,))[:planes]:
            self.builder.store(value, self.vector_at(address, offset), align=self.bytes)
            offset = self.builder.add(offset, plane)

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

    def run(self, a: Any, b: Any, pieces: Any, count: Any, stack: Any, start: Any, across: Any) -> None:
        """All pieces of the schedule; the sums are left in the first number of each state."""
        a, b, first = (self.variable(value) for value in (a, b, start))
        values = STACKS[self.tile.stack](self, stack) if self.tile.stack in STACKS else None
        line = self.tile.columns * self.tile.operand_planes * self.bytes
        with self.loop(count) as piece:
            at = self.builder.mul(piece, self.number(4))
            starts, length, merges, skip = (
                self.integer_at(pieces, self.builder.add(at, self.number(field))) for field in range(4)
            )
            if self.tile.adds_fours:
                four = self.builder.icmp_signed("==", starts, self.number(FOUR))
                with self.builder.if_else(four) as (at_once, one_by_one):
                    with at_once:
                        self.add_four(self.builder.load(a), self.builder.load(b))
                    with one_by_one:
                        self.grow(starts, length, a, b, first, across, values)
            else:
                self.grow(starts, length, a, b, first, across, values)
            self.increase(a, self.builder.mul(skip, self.number(self.bytes)))
            self.increase(b, self.builder.mul(length, self.number(line)))
            with self.builder.if_then(self.builder.icmp_signed(">=", merges, self.number(0))):
                for state in self.state.values():
                    self.put(self.chain.value(self.ops, tuple(map(self.get, state))), state[0])
                if values:
                    values.add_newest(merges)
        if values:
            values.take_newest()

    def grow(self, starts: Any, length: Any, a: Any, b: Any, first: Any, across: Any, values: TileStack | None) -> None:
        """The next `length` terms of a chain, which begins here where `starts` says so."""
        with self.builder.if_then(self.builder.icmp_signed("==", starts, self.number(FRESH))):
            self.start_chains(self.builder.load(first), across)
            self.builder.store(self.number(0), first)
        if values:
            with self.builder.if_then(self.builder.icmp_signed("==", starts, self.number(ON_TOP))):
                values.take_newest()
        with self.loop(length) as k:
            self.step(self.builder.load(a), self.builder.load(b), k)

    def add_four(self, a: Any, b: Any) -> None:
        """Four chains of one term each, added in pairs.

        Each begins with +0. Where that is an addition of its own, all it does is turn -0 into +0, and adding it once
        to the sum of the four does the same; they begin with -0 then, which changes nothing.
        """
        right = [
            [self.load(b, self.number(k * self.tile.columns + column * self.tile.lanes)) for k in range(4)]
            for column in range(self.tile.vectors)
        ]
        at_the_end = self.tile.chain == "plain"
        start = self.native.constant(-0.0 if at_the_end else 0.0)
        for row in range(self.tile.rows):
            left = [self.splat_at(a, self.number(CHUNK * row + k)) for k in range(4)]
            for column in range(self.tile.vectors):
                p, q, r, s = (
                    self.chain.value(self.ops, self.chain.step(self.ops, (start,), *factors))
                    for factors in zip(left, right[column], strict=True)
                )
                total = self.ops.add(self.ops.add(p, q), self.ops.add(r, s))
                self.put(self.ops.add(total, self.zero()) if at_the_end else total, self.state[row, column][0])

    def start_chains(self, start: Any, across: Any) -> None:
        """Zero, or for the very first chain the bias where it comes first."""
        for state in self.state.values():
            for slots in state:
                self.put(self.zero(), slots)
        with self.given(start):
            for row, column in self.places:
                bias = self.load(start, self.column(column), across, self.tile.sums.planes)
                self.put(bias, self.state[row, column][0])

    def step(self, a: Any, b: Any, k: Any) -> None:
        """One more term for every output; one left operand is splat at a time, or the accumulators would spill."""
        planes, columns = self.tile.operand_planes, self.tile.columns
        line = self.builder.mul(k, self.number(columns * planes))
        right = [
            self.load(b, self.builder.add(line, self.column(column)), self.number(columns), planes)
            for column in range(self.tile.vectors)
        ]
        for row in range(self.tile.rows):
            left = tuple(
                self.splat_at(a, self.builder.add(k, self.number(CHUNK * (row * planes + p)))) for p in range(planes)
            )
            for column in range(self.tile.vectors):
                state = self.state[row, column]
                numbers = tuple(map(self.get, state))
                grown = self.chain.step(self.ops, numbers, left if planes == 2 else left[0], right[column])
                for slots, number in zip(state, grown, strict=True):
                    self.put(number, slots)

    def splat_at(self, address: Any, offset: Any) -> Any:
        place = self.builder.gep(self.pointer(address, self.element), [offset])
        return self.native.splat(self.builder.load(place, align=self.bytes))


@intrinsic(prefer_literal=True)
def _run_tile(
    typing: Any, code: Any, a: Any, b: Any, pieces: Any, count: Any, stack: Any, c: Any, stride: Any, plane: Any,
    across: Any, start: Any, bias: Any, after: Any, form: Any, first: Any, second: Any, third: Any, shortcut: Any,
    relu: Any,
) -> Any:  # fmt: skip
    """One tile of c = epilogue(sum). Addresses and integers; `code` is a literal, Tile.code.

    a: packed rows.  b: packed columns.  pieces: `count` rows of four integers (pieces_of).  stack: room for the
    schedule's depth.  c, shortcut: rows `stride` elements apart, planes `plane`.  start, bias, first, second, third:
    vectors over columns whose planes are `across` apart.  start, bias, third, shortcut: 0 where there is none.  after:
    not 0 where the sum is rounded before the bias is added.
    """
    if not isinstance(code, types.IntegerLiteral):
        return None
    tile = Tile.from_code(code.literal_value)
    signature = types.void(code, *[types.intp] * 18)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, a, b, pieces, count, stack, c, stride, plane, across, start, bias, *others = arguments
        after, form, *vectors, shortcut, relu = others
        emit = TileCode(context, builder, tile)
        emit.run(a, b, pieces, count, stack, start, across)
        then = TileEpilogue(emit, across=across, stride=stride, plane=plane)
        then.add_bias(bias, after)
        then.normalise(form, tuple(vectors))
        then.add_shortcut(shortcut, form, tuple(vectors))
        then.rectify(relu)
        then.write(c)
        return context.get_dummy_value()

    return signature, codegen


run_tile: Any = _run_tile
