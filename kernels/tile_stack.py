"""A schedule's stack as LLVM code: the values of finished chains, all of them in memory or the newest in registers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Slots = dict[tuple[int, int], list[Any]]  # by row and column of vectors: a slot for each plane


class TileStack:
    """The values of finished chains in memory, which leaves the registers to the chain that grows: for long chains.

    code: the TileCode that emits it, for its slots, loads and loops.  memory: the address of enough room.
    """

    def __init__(self, code: Any, memory: Any) -> None:
        self.code, self.builder, self.memory = code, code.builder, memory
        self.state: Slots = {place: state[0] for place, state in code.state.items()}
        self.height = code.variable(code.number(0))  # values in memory

    def take_newest(self) -> None:
        """The newest value becomes the state, off the stack."""
        self._lower()
        self._load(self.state)

    def add_newest(self, merges: Any) -> None:
        """The state, added to as many of the newest values as `merges` says, goes onto the stack."""
        self._add(merges)
        self._save(self.state)

    def _add(self, merges: Any) -> None:
        """Each of so many values in memory + the state."""
        code = self.code
        with code.loop(merges):
            self._lower()
            for slots, offset in self._places(self.state):
                code.put(code.ops.add(self._at(offset), code.get(slots)), slots)

    def _save(self, values: Slots) -> None:
        for slots, offset in self._places(values):
            self.code.store(
                self.code.get(slots), self.memory, offset, self.code.number(self.code.tile.lanes), self._planes
            )
        self.code.increase(self.height, self.code.number(1))

    def _load(self, values: Slots) -> None:
        for slots, offset in self._places(values):
            self.code.put(self._at(offset), slots)

    def _lower(self) -> None:
        self.code.increase(self.height, self.code.number(-1))

    @property
    def _planes(self) -> int:
        planes: int = self.code.tile.sums.planes
        return planes

    def _at(self, offset: Any) -> Any:
        return self.code.load(self.memory, offset, self.code.number(self.code.tile.lanes), self._planes)

    def _places(self, values: Slots) -> Iterator[tuple[list[Any], Any]]:
        """The slots of each value, and its offset in memory at the present height."""
        size = self.code.tile.lanes * self._planes
        level = self.builder.mul(self.builder.load(self.height), self.code.number(len(values) * size))
        for position, slots in enumerate(values.values()):
            yield slots, self.builder.add(level, self.code.number(position * size))


class NewestInRegisters(TileStack):
    """The newest value in registers, those below it in memory: for short chains, whose values are soon added."""

    def __init__(self, code: Any, memory: Any) -> None:
        super().__init__(code, memory)
        self.holds = code.variable(code.number(0))  # whether there is a newest one
        self.newest: Slots = {place: code.slots() for place in code.places}

    def take_newest(self) -> None:
        """The newest value becomes the state, off the stack; the one below it becomes the newest, if there is one."""
        self._move(self.newest, self.state)
        self.builder.store(self.code.number(0), self.holds)
        with self.code.given(self.builder.load(self.height)):
            self._lower()
            self._load(self.newest)
            self.builder.store(self.code.number(1), self.holds)

    def add_newest(self, merges: Any) -> None:
        """The state, added to as many of the newest values as `merges` says, goes onto the stack."""
        code, builder = self.code, self.builder
        with builder.if_else(builder.icmp_signed("==", merges, code.number(0))) as (alone, merged):
            with alone, code.given(builder.load(self.holds)):
                self._save(self.newest)
            with merged:
                for place, slots in self.state.items():
                    code.put(code.ops.add(code.get(self.newest[place]), code.get(slots)), slots)
                self._add(builder.sub(merges, code.number(1)))
        self._move(self.state, self.newest)
        builder.store(code.number(1), self.holds)

    def _move(self, source: Slots, target: Slots) -> None:
        for place, slots in source.items():
            self.code.put(self.code.get(slots), target[place])


STACKS: dict[str, type[TileStack]] = {"memory": TileStack, "registers": NewestInRegisters}
