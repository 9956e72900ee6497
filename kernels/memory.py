"""Memory as the machine sees it: numbers behind addresses, and counters that several threads look at."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def _copy_bytes(typing: Any, target: Any, source: Any, count: Any) -> Any:
    """`count` bytes from one address to another; the two places do not overlap."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, source, count = arguments
        bytes_ = ir.IntType(8).as_pointer()
        cgutils.raw_memcpy(builder, builder.inttoptr(target, bytes_), builder.inttoptr(source, bytes_), count, 1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@intrinsic
def _clear_bytes(typing: Any, target: Any, count: Any) -> Any:
    """`count` bytes become zero."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, count = arguments
        cgutils.memset(builder, builder.inttoptr(target, ir.IntType(8).as_pointer()), count, 0)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic
def _load_now(typing: Any, address: Any) -> Any:
    """The integer at an address as it is now, whichever thread wrote it."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], cgutils.intp_t.as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return types.intp(types.intp), codegen


@intrinsic
def _take_next(typing: Any, address: Any) -> Any:
    """The integer at an address, which becomes one more: no two threads get the same."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], cgutils.intp_t.as_pointer())
        return builder.atomic_rmw("add", pointer, ir.Constant(cgutils.intp_t, 1), "acq_rel")

    return types.intp(types.intp), codegen


@intrinsic
def _integer_at(typing: Any, address: Any, place: Any) -> Any:
    """The integer that lies `place` integers behind an address."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], cgutils.intp_t.as_pointer())
        return builder.load(builder.gep(pointer, [arguments[1]]))

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def _gather(typing: Any, target: Any, source: Any, places: Any, count: Any, size: Any) -> Any:
    """`count` numbers of 4 or 8 bytes, taken from the places of a table of integers behind a source."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, source, places, count, size = arguments
        narrow = builder.icmp_signed("==", size, size.type(4))
        with builder.if_else(narrow) as (four, eight):
            for branch, bits in ((four, 32), (eight, 64)):
                with branch:
                    number = ir.IntType(bits).as_pointer()
                    to, lying = builder.inttoptr(target, number), builder.inttoptr(source, number)
                    table = builder.inttoptr(places, cgutils.intp_t.as_pointer())
                    with cgutils.for_range(builder, count, intp=cgutils.intp_t) as loop:
                        place = builder.load(builder.gep(table, [loop.index]))
                        builder.store(builder.load(builder.gep(lying, [place])), builder.gep(to, [loop.index]))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), codegen


@intrinsic
def _call_native(typing: Any, function: Any, code: Any, table: Any) -> Any:
    """The kernel at an address (jit.native) with these two integers, its literal and its table."""
    integers = (types.intp, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        type_ = context.call_conv.get_function_type(types.none, integers)
        callee = builder.inttoptr(arguments[0], type_.as_pointer())
        context.call_conv.call_function(builder, callee, types.none, integers, arguments[1:])
        return context.get_dummy_value()

    return types.void(types.intp, *integers), codegen


call_native: Any = _call_native
copy_bytes: Any = _copy_bytes
clear_bytes: Any = _clear_bytes
gather: Any = _gather
integer_at: Any = _integer_at
load_now: Any = _load_now
take_next: Any = _take_next
