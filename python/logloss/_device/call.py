# SPDX-License-Identifier: BSD-3-Clause
"""One call on a device: its stream, its checked arguments, its results."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np

from logloss import _validate
from logloss._device.arrays import (
    DeviceArray,
    DType,
    Operand,
    Report,
    borrow,
    named_stream,
    type_number,
)
from logloss._device.module import cuda
from logloss._device.streams import LEGACY, handle_of, seen_by_all
from logloss._validate import FLOAT32, FLOAT64, is_device_array


class Output(NamedTuple):
    """A result: what is returned, and the array that is written."""

    returned: Any
    operand: Operand


class Call:
    """
    The stream and the device of one call, on which it takes arguments and makes results.

    It waits for the streams that the arguments name. On leaving the context these wait for it, so
    that what they are given next may write the arguments, free them, or read `out`.
    """

    def __init__(self, stream: Any, *arrays: Any) -> None:
        """Take `stream`, or else the one that the first device array names, or the legacy one."""
        first = next(array for array in arrays if is_device_array(array))
        self._stream_owner = stream
        self.stream = handle_of(stream) if stream is not None else named_stream(first) or LEGACY
        self._device: int | None = None
        self._placed_by = ""
        # Borrowed and temporary arrays are let go when the call has been made, not before.
        self._held: list[Operand] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        streams = (operand.stream for operand in self._held if operand.size)
        for theirs in dict.fromkeys(streams):
            if theirs is not None and theirs != self.stream:
                cuda().order(self.stream, theirs, self.device)

    @property
    def device(self) -> int:
        if self._device is None:  # nothing but arrays without elements
            self._device = int(cuda().current_device())
        return self._device

    # ------------------------------------------------------------------------------- arguments

    def operand(self, name: str, value: Any) -> Operand:
        """`value` as an array on the device of the others."""
        if not is_device_array(value):
            raise _in_host_memory(name, value)
        operand = borrow(name, value, self.stream)
        self._held.append(operand)
        if operand.device is None:
            return operand
        if self._device is None:
            self._device, self._placed_by = operand.device, name
        elif operand.device != self._device:
            raise ValueError(
                f"{name}: got an array on CUDA device {operand.device}, expected one on device "
                f"{self._device}, as {self._placed_by}"
            )
        return operand

    def floats(self, name: str, value: Any) -> Operand:
        """`value` as an array of a floating-point dtype."""
        operand = self.operand(name, value)
        if not _validate.is_float(operand.dtype):
            raise TypeError(f"{name}: got dtype {operand.dtype}, expected {_validate.FLOATS}")
        return operand

    def numbers(self, name: str, value: Any) -> Operand:
        """`value` as an array of real numbers; a number of the host is brought to the device."""
        if isinstance(value, (int, float)):
            number = self.room((), FLOAT64)
            self.fill(number, float(value))
            return number
        operand = self.operand(name, value)
        if type_number(operand.dtype) is None:
            raise TypeError(f"{name}: got dtype {operand.dtype}, expected real numbers")
        return operand

    def number(self, name: str, value: Any) -> float:
        """`value` as a number of the host."""
        if is_device_array(value):
            raise _validate.on_a_device(name, value, "a number in host memory")
        if np.ndim(value):
            raise _in_host_memory(name, value)
        return _validate.number(name, value)

    def converted(
        self, operand: Operand, dtype: DType, shape: tuple[int, ...] | None = None
    ) -> Operand:
        """`operand` in another dtype and, if a shape is given, repeated to it."""
        shape = operand.shape if shape is None else shape
        if operand.dtype == dtype and operand.shape == shape:
            return operand
        axes = repetition(operand.shape, shape)
        pattern = as_kernels_repeat(axes)
        if pattern is not None or 0 in shape:
            result = self.room(shape, dtype)
            self.convert(operand, result, pattern)
            return result
        result = self.converted(operand, dtype)
        inner = 1
        for n, repeated in reversed(axes):
            if repeated:
                source, result = result, self.room((result.size * n,), dtype)
                number = type_number(dtype)
                self.run("repeat", number, result.size, source.address, n, inner, result.address)
            inner *= n
        result.shape = shape
        return result

    def convert(
        self, source: Operand, result: Operand, repeated: tuple[int, int] | None = None
    ) -> None:
        """Write `source` to `result`, rounded to its dtype."""
        if result.size:
            count, inner = repeated or (source.size, 1)
            numbers = type_number(source.dtype), type_number(result.dtype)
            array = (source.address, count, inner)
            self.run("convert", *numbers, result.size, array, result.address)

    def weights(self, name: str, value: Any, shape: tuple[int, ...]) -> Operand | None:
        """Weights that broadcast to `shape`, if there are any."""
        if value is None:
            return None
        operand = self.numbers(name, value)
        try:
            fits = np.broadcast_shapes(operand.shape, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"{name}: got shape {operand.shape}, expected one that broadcasts to {shape}"
            )
        return operand

    def repeated(
        self, weights: Operand | None, shape: tuple[int, ...], dtype: DType
    ) -> tuple[int, int, int] | None:
        """Weights as the element-wise kernels take them: (address, count, inner)."""
        if weights is None or 0 in shape:
            return None
        pattern = as_kernels_repeat(repetition(weights.shape, shape))
        if pattern is None:
            return self.converted(weights, dtype, shape).address, math.prod(shape), 1
        return self.converted(weights, dtype).address, *pattern

    def summed(self, operand: Operand, shape: tuple[int, ...]) -> Operand:
        """The sums, in float64, over the copies of each element of an array of `shape`."""
        result, axes = self.room(shape, FLOAT64), repetition(shape, operand.shape)
        if operand.size == 0:
            self.fill(result, 0.0)
        elif operand.size == result.size:
            self.convert(operand, result)
        else:
            number = type_number(operand.dtype)
            self.run("sum_copies", number, axes, operand.address, result.address)
        return result

    def upstream(
        self, grad_output: Any, reduction: str, shape: tuple[int, ...]
    ) -> tuple[float, Operand | None, Operand | None]:
        """Split `grad_output`: a number, a number on the device (float64), one for each loss."""
        if not is_device_array(grad_output):
            return self.number("grad_output", grad_output), None, None
        grad = self.numbers("grad_output", grad_output)
        if grad.shape == ():
            return 1.0, self.converted(grad, FLOAT64), None
        _validate.same_shape("grad_output", grad.shape, shape if reduction == "none" else ())
        return 1.0, None, grad

    # --------------------------------------------------------------------------------- results

    def room(self, shape: tuple[int, ...], dtype: DType) -> Operand:
        """An array for the time of the call, freed in the order of the stream."""
        nbytes = math.prod(shape) * dtype.itemsize
        stream = seen_by_all(self.stream)
        memory = cuda().Memory(nbytes, self.device, stream, self._stream_owner)
        operand = Operand(memory.address, shape, dtype, self.device, False, memory)
        self._held.append(operand)
        return operand

    def result(self, shape: tuple[int, ...], dtype: DType, report: Report | None = None) -> Output:
        """A new array to return."""
        room = self.room(shape, dtype)
        return Output(DeviceArray(room.owner, shape, dtype, report), room)

    def output(
        self,
        out: Any,
        like: Operand,
        report: Report | None = None,
        *,
        may_alias: tuple[Operand, ...] = (),
        others: tuple[Operand | None, ...] = (),
    ) -> Output:
        """`out`, or a new array like `like`; the rules of the host for what it may overlap."""
        if out is None:
            return self.result(like.shape, like.dtype, report)
        target = self.operand("out", out)
        if target.dtype != like.dtype:
            raise TypeError(f"out: got dtype {target.dtype}, expected {like.dtype}")
        _validate.same_shape("out", target.shape, like.shape)
        if target.read_only:
            raise ValueError("out: got a read-only array, expected a writable one")
        for other in (like, *may_alias):
            same = other.address == target.address and other.nbytes == target.nbytes
            if _overlap(target, other) and not (same and other.dtype == target.dtype):
                raise ValueError("out: got an array that overlaps an argument in part")
        if any(other is not None and _overlap(target, other) for other in others):
            raise ValueError("out: got an array that overlaps another argument")
        return Output(out, target)

    def fill(self, operand: Operand, value: float) -> None:
        self.run("fill", type_number(operand.dtype), operand.size, value, operand.address)

    def run(self, name: str, *args: Any, **options: Any) -> None:
        """Launch a function of the module on the stream."""
        function: Callable[..., None] = getattr(cuda(), name)
        function(*args, stream=self.stream, device=self.device, **options)


def _in_host_memory(name: str, value: Any) -> TypeError:
    got = "None" if value is None else f"{type(value).__name__} in host memory"
    return TypeError(f"{name}: got {got}, expected an array on the device of the others")


def _overlap(a: Operand, b: Operand) -> bool:
    return a.address < b.address + b.nbytes and b.address < a.address + a.nbytes


def address(operand: Operand | None) -> int:
    """The address of an array that may be missing: 0."""
    return 0 if operand is None else operand.address


def compute_dtype(dtype: DType) -> DType:
    """What `dtype` is computed in, and losses are: float64 for float64, else float32."""
    return FLOAT64 if dtype.itemsize == 8 else FLOAT32


def rows_along(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """(outer, classes, inner); a number is a row of one class."""
    if not shape:
        return 1, 1, 1
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def repetition(shape: tuple[int, ...], full: tuple[int, ...]) -> list[tuple[int, bool]]:
    """
    The axes of an array repeated to `full`: (length, whether it is repeated along it).

    Without those of one element, and neighbours that are alike as one.
    """
    padded = (1,) * (len(full) - len(shape)) + shape
    axes: list[tuple[int, bool]] = []
    for kept, n in zip(padded, full, strict=True):
        if n == 1:
            continue
        repeated = kept == 1
        before = axes.pop()[0] if axes and axes[-1][1] == repeated else 1
        axes.append((before * n, repeated))
    return axes


def as_kernels_repeat(axes: list[tuple[int, bool]]) -> tuple[int, int] | None:
    """
    (count, inner) such that element j of the repeated array is ``value[j // inner % count]``.

    None where axes are repeated between others.
    """
    kept = [i for i, (_, repeated) in enumerate(axes) if not repeated]
    if not kept:
        return 1, 1
    if len(kept) > 1:
        return None
    return axes[kept[0]][0], math.prod(n for n, _ in axes[kept[0] + 1 :])
