"""A schedule's stack as LLVM code: the values of finished chains, the newest in registers, the rest in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Slots = dict[tuple[int, int], list[Any]]  # by row and column of vectors: a slot for each plane


class TileStack:
    """The values of finished chains: the newest in registers, those below it in memory.

    code: the TileCode that emits it, for its slots, loads and loops.  memory: the address of enough room.
    """

    def __init__(self, code: Any, memory: Any) -> None:
        self.code, self.builder, self.memory = code, code.builder, memory
        self.height = code.variable(code.number(0))  # values in memory
        self.holds = code.variable(code.number(0))  # whether there is a newest one
        self.newest = {place: code.slots() for place in code.places} if code.tile.stacks else {}

    def take_newest(self) -> None:
        """The newest value becomes the state, off the stack; the one below it becomes the newest, if there is one."""
        self._move(self.newest, self._state())
        self.builder.store(self.code.number(0), self.holds)
        with self.code.given(self.builder.load(self.height)):
            self._lower()
            for slots, offset in self._places(self.newest):
                self.code.put(self._load(offset), slots)
            self.builder.store(self.code.number(1), self.holds)

    def add_newest(self, merges: Any) -> None:
        """The state, added to as many of the newest values as `merges` says, goes onto the stack."""
        code, builder = self.code, self.builder
        with builder.if_else(builder.icmp_signed("==", merges, code.number(0))) as (alone, merged):
            with alone, code.given(builder.load(self.holds)):
                for slots, offset in self._places(self.newest):
                    code.store(code.get(slots), self.memory, offset, code.number(code.tile.lanes), self._planes)
                code.increase(self.height, code.number(1))
            with merged:
                for place, slots in self._state().items():
                    code.put(code.ops.add(code.get(self.newest[place]), code.get(slots)), slots)
                with code.loop(builder.sub(merges, code.number(1))):
                    self._lower()
                    for slots, offset in self._places(self._state()):
                        code.put(code.ops.add(self._load(offset), code.get(slots)), slots)
        self._move(self._state(), self.newest)
        builder.store(code.number(1), self.holds)

    @property
    def _planes(self) -> int:
        return self.code.tile.sums.planes

    def _state(self) -> Slots:
        return {place: state[0] for place, state in self.code.state.items()}

    def _move(self, source: Slots, target: Slots) -> None:
        for place, slots in source.items():
            self.code.put(self.code.get(slots), target[place])

    def _lower(self) -> None:
        self.code.increase(self.height, self.code.number(-1))

    def _load(self, offset: Any) -> Any:
        return self.code.load(self.memory, offset, self.code.number(self.code.tile.lanes), self._planes)

    def _places(self, values: Slots) -> Iterator[tuple[list[Any], Any]]:
        """The slots of each value, and its offset in memory at the present height."""
        size = self.code.tile.lanes * self._planes
        level = self.builder.mul(self.builder.load(self.height), self.code.number(len(values) * size))
        for position, slots in enumerate(values.values()):
            yield slots, self.builder.add(level, self.code.number(position * size))
