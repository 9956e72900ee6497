"""How one chain of terms grows: little state machines, each written once.

Their numbers are whatever `ops` computes with: NumPy arrays for the definition, LLVM vectors for the kernel.
A chain starts from a number (+0, or the bias), takes one product a b a step, and gives its value at the end.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

State = tuple[Any, ...]


class Adding(Protocol):
    """What an error-free sum asks for; Python's own `operator` has it for plain arrays."""

    def add(self, a: Any, b: Any, /) -> Any: ...
    def sub(self, a: Any, b: Any, /) -> Any: ...


class Ops(Adding, Protocol):
    """What a chain may ask for; every operation rounds once to the format of `ops`."""

    def mul(self, a: Any, b: Any, /) -> Any: ...
    def fma(self, a: Any, b: Any, c: Any, /) -> Any: ...
    def neg(self, a: Any, /) -> Any: ...


class Chain(Protocol):
    """`width` numbers of state; `start` gives the first from `initial` and the others are `zero`."""

    width: ClassVar[int]

    def step(self, ops: Ops, state: State, a: Any, b: Any) -> State: ...
    def value(self, ops: Ops, state: State) -> Any: ...


def two_sum(ops: Adding, a: Any, b: Any) -> tuple[Any, Any]:
    """a + b = s + e exactly, without branches (Knuth, TAOCP 2, 4.2.2)."""
    s = ops.add(a, b)
    z = ops.sub(s, a)
    return s, ops.add(ops.sub(a, ops.sub(s, z)), ops.sub(b, z))


def two_product(ops: Ops, a: Any, b: Any) -> tuple[Any, Any]:
    """a b = p + r exactly, by one fma."""
    p = ops.mul(a, b)
    return p, ops.fma(a, b, ops.neg(p))


class Plain:
    """s = fl(s + fl(a b)).

    From +0, |error| <= K u sum|a b| to first order: a product is rounded once and added at most K - 1 times with a
    rounding, since the first addition, to +0, is exact (Higham 2002, 3.1).
    """

    width: ClassVar[int] = 1

    def step(self, ops: Ops, state: State, a: Any, b: Any) -> State:
        return (ops.add(state[0], ops.mul(a, b)),)

    def value(self, ops: Ops, state: State) -> Any:
        return state[0]


class Fused:
    """s = fma(a, b, s): one rounding a term.

    From +0, |error| <= K u sum|a b| to first order, as for Plain: the first product meets K roundings in both, each
    other one here a rounding less (Higham 2002, 3.1).
    """

    width: ClassVar[int] = 1

    def step(self, ops: Ops, state: State, a: Any, b: Any) -> State:
        return (ops.fma(a, b, state[0]),)

    def value(self, ops: Ops, state: State) -> Any:
        return state[0]


class Kahan:
    """Each addition's error is fed back into the next term.

    |error| <= (2 u + O(K u^2)) sum|fl(a b)|, beside one rounding a product (Kahan, CACM 8(1), 1965; Higham 2002, 4.3).
    """

    width: ClassVar[int] = 2

    def step(self, ops: Ops, state: State, a: Any, b: Any) -> State:
        s, c = state
        y = ops.sub(ops.mul(a, b), c)
        t = ops.add(s, y)
        return t, ops.sub(ops.sub(t, s), y)

    def value(self, ops: Ops, state: State) -> Any:
        return state[0]


class Neumaier:
    """The additions' errors are summed apart and added at the end.

    |error| <= u |s| + O(K^2 u^2) sum|fl(a b)|, beside one rounding a product (Neumaier, ZAMM 54, 1974; Ogita, Rump
    and Oishi, SIAM J. Sci. Comput. 26(6), 2005, algorithm 4.4).
    """

    width: ClassVar[int] = 2

    def step(self, ops: Ops, state: State, a: Any, b: Any) -> State:
        s, e = two_sum(ops, state[0], ops.mul(a, b))
        return s, ops.add(state[1], e)

    def value(self, ops: Ops, state: State) -> Any:
        return ops.add(state[0], state[1])


class Dot2:
    """The errors of products and additions are summed apart: as if computed in twice the precision.

    |error| <= u |a.b| + gamma_K^2 sum|a b| (Ogita, Rump and Oishi 2005, algorithm 5.3, theorem 5.4).
    """

    width: ClassVar[int] = 2

    def step(self, ops: Ops, state: State, a: Any, b: Any) -> State:
        p, r = two_product(ops, a, b)
        s, e = two_sum(ops, state[0], p)
        return s, ops.add(state[1], ops.add(r, e))

    def value(self, ops: Ops, state: State) -> Any:
        return ops.add(state[0], state[1])


class Pair:
    """Dot2 whose sum s and errors c are not added: one double-double number, though s may be no RN(s + c).

    |error| <= gamma_K gamma_(K + 1) sum|a b| of s + c, where nothing overflows or underflows (Ogita, Rump and Oishi
    2005, from the proof of theorem 5.4). `ops` is that of double-double; a and b are float64.
    """

    width: ClassVar[int] = 1

    def step(self, ops: Any, state: State, a: Any, b: Any) -> State:
        return (Dot2().step(ops.base, state[0], a, b),)

    def value(self, ops: Ops, state: State) -> Any:
        return state[0]


CHAINS: dict[str, Chain] = {
    "plain": Plain(),
    "fused": Fused(),
    "kahan": Kahan(),
    "neumaier": Neumaier(),
    "dot2": Dot2(),
    "pair": Pair(),
}
