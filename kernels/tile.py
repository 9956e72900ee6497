"""The register tile: rows x columns outputs of a matrix product grow in registers, each in its own declared order.

The vector lanes run over columns (output channels), the rows over pixels, so that no two terms of one output are ever
added across lanes, and tile and vector sizes cannot change a bit. tile_code.py generates it as LLVM code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arithmetic import CHAINS, NUMBERS, RELUS, Arithmetic
from ..arithmetic.formats import Format
from ..arithmetic.schedule import Schedule
from .jit import vector_bytes

CHUNK = 144  # terms of one row that lie together in a packed tile, so that the rows' distance is a constant
ACCUMULATORS = {64: 28, 32: 12, 16: 12}  # registers for accumulators, by the vector's bytes
VECTORS = 2  # a tile's columns, in vectors
STACKS = ("none", "memory", "registers")  # where the values of finished chains are; in registers the newest is
LONG_CHAIN = 32  # terms of a chain whose value can wait in memory
FRESH, ON_TOP = 1, 2  # how a piece starts: a chain from +0 or the bias, or from the newest value of the stack
FOUR = 3  # a piece of four chains of one term each, added in pairs
# batch normalisation in the epilogue, by number; shifts-last also says how a shortcut is added to it; modulo is the
# remainder of sums of residues
NORMS = ("none", "centred", "shifted", "shifted-fma", "shifts-last", "modulo")
RECTIFIERS = ("none", *RELUS)  # ReLU in the epilogue, by number


@dataclass(frozen=True)
class Tile:
    """What a tile is generated from: a name in CHAINS, the formats of sums and of layers' outputs, and its size.

    finished: of a sum before a bias is added to it, where it is rounded then (Arithmetic.finished).
    stack: a name in STACKS, "none" for schedules of one chain.  operand_planes: those of what is multiplied.
    """

    chain: str
    sums: Format
    storage: Format
    finished: Format
    rows: int
    lanes: int
    vectors: int = VECTORS
    stack: str = "none"
    operand_planes: int = 1

    @property
    def columns(self) -> int:
        return self.lanes * self.vectors

    @property
    def lines(self) -> int:
        """Packed lines of the left operand: one for each row and plane."""
        return self.rows * self.operand_planes

    @property
    def adds_fours(self) -> bool:
        """Whether it has a way of its own for four chains of one term each."""
        return self.stack == "registers" and self.chain in ("plain", "fused") and self.sums.is_working

    @property
    def code(self) -> int:
        """The tile as one integer, which chooses a specialisation as a literal type."""
        formats = list(NUMBERS.values())
        numbers = (formats.index(number) for number in (self.sums, self.storage, self.finished))
        sizes = (self.rows, self.lanes, self.vectors, STACKS.index(self.stack), self.operand_planes)
        code = 0
        for number in (list(CHAINS).index(self.chain), *numbers, *sizes):
            code = code << 6 | number
        return code

    @classmethod
    def from_code(cls, code: int) -> Tile:
        chain, *numbers, rows, lanes, vectors, stack, planes = ((code >> shift) & 63 for shift in range(48, -1, -6))
        sums, storage, finished = (list(NUMBERS.values())[number] for number in numbers)
        return cls(list(CHAINS)[chain], sums, storage, finished, rows, lanes, vectors, STACKS[stack], planes)


def stack_for(schedule: Schedule) -> str:
    """The name in STACKS: a value that is needed soon stays in registers, which long chains have better use for."""
    chains = len(schedule.lengths)
    return "none" if chains == 1 else "memory" if schedule.lengths.sum() >= LONG_CHAIN * chains else "registers"


def tile_for(arithmetic: Arithmetic, rows: int, *, stack: str = "none", unrounded: bool = False) -> Tile:
    """The tile for a product of `rows` rows on this machine: as high as its registers allow, or less high where that
    leaves fewer rows idle (49 rows are 3.5 tiles of 14, but nearly 5 of 10).

    unrounded: its outputs are the sums as they are, in the accumulate format; in double-double those of chains.Pair.
    """
    sums = arithmetic.sums
    lanes = vector_bytes() // np.dtype(sums.working).itemsize
    pair = unrounded and sums.planes == 2
    chain = "pair" if pair else arithmetic.chain
    # moving the newest value to and from its registers takes some; so do products that are rounded, beside a stack
    taken = stack == "registers" or (stack == "memory" and chain != "fused")
    numbers = CHAINS[chain].width + (stack == "registers")
    free = ACCUMULATORS[vector_bytes()] - 4 * taken
    high = max(1, free // (VECTORS * numbers * (sums.planes if pair else sums.planes**2)))
    low = max(1, high * 5 // 7)
    height = low if rows > 2 * high and -rows % low + rows // 16 < -rows % high else high
    stored, finished = (sums, sums) if unrounded else (arithmetic.storage, arithmetic.finished)
    return Tile(chain, sums, stored, finished, height, lanes, stack=stack, operand_planes=arithmetic.operand.planes)
