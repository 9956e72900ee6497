"""Arithmetic on LLVM vectors: the names of arithmetic/numpy_ops.py, as instructions of a kernel."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from ..arithmetic.chains import two_sum
from ..arithmetic.formats import Format

I32 = ir.IntType(32)


class LLVMOps:
    """float32 or float64 vectors; each operation is one instruction with one rounding, never contracted."""

    def __init__(self, builder: Any, vector: Any) -> None:
        self.builder, self.vector, self.lanes = builder, vector, vector.count
        self.bits = 32 if vector.element == ir.FloatType() else 64
        self.precision = {32: 24, 64: 53}[self.bits]
        self.emin, self.emax = {32: (-126, 127), 64: (-1022, 1023)}[self.bits]
        self.integers = ir.VectorType(ir.IntType(self.bits), self.lanes)

    def constant(self, value: float) -> Any:
        return ir.Constant(self.vector, [ir.Constant(self.vector.element, value)] * self.lanes)

    def integer(self, value: int) -> Any:
        return ir.Constant(self.integers, [value] * self.lanes)

    def add(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b)

    def sub(self, a: Any, b: Any) -> Any:
        return self.builder.fsub(a, b)

    def mul(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self._intrinsic("fma", 3)(a, b, c)

    def neg(self, a: Any) -> Any:
        return self.builder.fneg(a)

    def size(self, a: Any) -> Any:
        """|a|."""
        return self._intrinsic("fabs", 1)(a)

    def relu(self, comparison: str, a: Any) -> Any:
        """a where it compares with zero like that or is NaN, else +0; the first of a pair decides for both."""
        zero, planes = self.constant(0.0), a if isinstance(a, tuple) else (a,)
        kept = self.builder.fcmp_unordered(comparison, planes[0], zero)
        rectified = tuple(self.builder.select(kept, plane, zero) for plane in planes)
        return rectified if isinstance(a, tuple) else rectified[0]

    def narrowed(self, pair: tuple[Any, Any], format_: Format) -> Any:
        """arithmetic/numpy_ops.py's `stored`: a double-double number rounded once to a format of one plane."""
        high, low = pair
        if format_.precision == self.precision:
            return high
        finite = self.builder.fcmp_ordered("<", self.size(high), self.constant(float("inf")))
        return self.round_to(self.builder.select(finite, self.sum_to_odd(high, low), high), format_)

    def splat(self, number: Any) -> Any:
        undefined = ir.Constant(self.vector, ir.Undefined)
        mask = ir.Constant(ir.VectorType(I32, self.lanes), [I32(0)] * self.lanes)
        return self.builder.shuffle_vector(self.builder.insert_element(undefined, number, I32(0)), undefined, mask)

    def round_to(self, x: Any, format_: Format, *, keep_nan: bool = True) -> Any:
        """RN to a format whose numbers this vector's type holds; the bits are x's where it is that type's own.

        keep_nan: needed where the last bits of a NaN may be set, which a carry could turn into something else.
        """
        dropped = self.precision - format_.precision
        if not dropped:
            return x
        builder = self.builder
        bits = builder.bitcast(x, self.integers)
        last = builder.and_(builder.lshr(bits, self.integer(dropped)), self.integer(1))
        carry = builder.add(last, self.integer((1 << (dropped - 1)) - 1))
        kept = builder.and_(builder.add(bits, carry), self.integer(-1 << dropped))
        rounded = builder.bitcast(kept, self.vector)
        size = self.size(x)
        if format_.emax < self.emax:
            overflow = builder.fcmp_ordered(">", self.size(rounded), self.constant(format_.largest))
            rounded = builder.select(overflow, self._with_sign_of(self.constant(float("inf")), x), rounded)
        if format_.emin > self.emin:
            tiny = builder.fcmp_ordered("<", size, self.constant(format_.smallest_normal))
            rounded = builder.select(tiny, self._to_spacing(x, size, format_), rounded)
        return builder.select(builder.fcmp_unordered("uno", x, x), x, rounded) if keep_nan else rounded

    def _to_spacing(self, x: Any, size: Any, format_: Format) -> Any:
        """Subnormals: adding a large number rounds to its ulp, which is the format's smallest spacing."""
        large = self.constant(1.5 * 2.0 ** (format_.emin - format_.precision + self.precision))
        return self._with_sign_of(self.sub(self.add(size, large), large), x)

    def _with_sign_of(self, size: Any, sign: Any) -> Any:
        return self._intrinsic("copysign", 2)(size, sign)

    def sum_to_odd(self, a: Any, b: Any) -> Any:
        """arithmetic/fused.py's: an inexact sum takes the neighbour whose last bit is one."""
        builder = self.builder
        s, e = two_sum(self, a, b)
        bits, error = builder.bitcast(s, self.integers), builder.bitcast(e, self.integers)
        even = builder.icmp_signed("==", builder.and_(bits, self.integer(1)), self.integer(0))
        inexact = builder.fcmp_ordered("!=", e, self.constant(0.0))
        inwards = builder.icmp_signed("<", builder.xor(bits, error), self.integer(0))
        neighbour = builder.add(bits, builder.select(inwards, self.integer(-1), self.integer(1)))
        return builder.bitcast(builder.select(builder.and_(even, inexact), neighbour, bits), self.vector)

    def _intrinsic(self, name: str, arguments: int) -> Any:
        """The vector form of an LLVM intrinsic; llvmlite's own builders take scalars only."""
        type_ = ir.FunctionType(self.vector, [self.vector] * arguments)
        declared = f"llvm.{name}.v{self.lanes}f{self.bits}"
        function = cgutils.get_or_insert_function(self.builder.module, type_, declared)
        return lambda *values: self.builder.call(function, values)


class RoundedOps:
    """float16 or bfloat16 numbers in float32 vectors: each operation rounds once, to `format`.

    Adding and multiplying in float32 and rounding again is right (arithmetic/numpy_ops.py says why). fma is not: where
    its float32 result is inexact and lies on a tie of the format, it is done once more in float64, rounded to odd.
    """

    def __init__(self, native: LLVMOps, format_: Format) -> None:
        self.native, self.builder, self.format = native, native.builder, format_

    def constant(self, value: float) -> Any:
        return self.native.constant(value)

    def add(self, a: Any, b: Any) -> Any:
        return self._rounded(self.native.add(a, b))

    def sub(self, a: Any, b: Any) -> Any:
        return self._rounded(self.native.sub(a, b))

    def mul(self, a: Any, b: Any) -> Any:
        return self._rounded(self.native.mul(a, b))

    def neg(self, a: Any) -> Any:
        return self.native.neg(a)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        once = self.native.fma(a, b, c)
        result = cgutils.alloca_once(self.builder, self.native.vector)
        self.builder.store(self._rounded(once), result)
        tie = self._perhaps_a_tie(once)
        with self.builder.if_then(self._any(tie), likely=False):
            twice = self.builder.and_(tie, self._perhaps_inexact(a, b, c))
            with self.builder.if_then(self._any(twice), likely=False):
                self.builder.store(self._fma_to_odd(a, b, c), result)
        return self.builder.load(result)

    def _rounded(self, x: Any) -> Any:
        """Numbers of this format have no bits that a NaN's carry could come from (formats.round_to sees to it)."""
        return self.native.round_to(x, self.format, keep_nan=False)

    def _any(self, lanes: Any) -> Any:
        bits = self.builder.bitcast(lanes, ir.IntType(self.native.lanes))
        return self.builder.icmp_unsigned("!=", bits, bits.type(0))

    def _perhaps_a_tie(self, x: Any) -> Any:
        """Lanes half way between two numbers of the format, or among its subnormals."""
        native, builder = self.native, self.builder
        dropped = native.precision - self.format.precision
        rest = builder.and_(builder.bitcast(x, native.integers), native.integer((1 << dropped) - 1))
        tie = builder.icmp_signed("==", rest, native.integer(1 << (dropped - 1)))
        if self.format.emin > native.emin:
            small = builder.fcmp_ordered("<", native.size(x), native.constant(self.format.smallest_normal))
            tie = builder.or_(tie, builder.and_(small, builder.fcmp_ordered("!=", x, native.constant(0.0))))
        return tie

    def _perhaps_inexact(self, a: Any, b: Any, c: Any) -> Any:
        """Lanes whose float32 fma was rounded, as far as float32 itself can tell: not near its limits."""
        product = self.native.mul(a, b)
        error = two_sum(self.native, product, c)[1]
        rounded = self.builder.fcmp_unordered("!=", error, self.native.constant(0.0))
        tiny = self.builder.fcmp_ordered("<", self.native.size(product), self.native.constant(2.0**-100))
        return self.builder.or_(rounded, tiny)

    def _fma_to_odd(self, a: Any, b: Any, c: Any) -> Any:
        wide = LLVMOps(self.builder, ir.VectorType(ir.DoubleType(), self.native.lanes))
        a, b, c = (self.builder.fpext(number, wide.vector) for number in (a, b, c))
        rounded = wide.round_to(wide.sum_to_odd(wide.mul(a, b), c), self.format)
        return self.builder.fptrunc(rounded, self.native.vector)
