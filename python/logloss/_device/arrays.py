# SPDX-License-Identifier: BSD-3-Clause
"""Arrays in the memory of a device: those a call is given, and those it returns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from logloss._device.module import cuda
from logloss._device.streams import LEGACY, NO_ORDER, known_handle
from logloss._validate import (
    DLPACK_CUDA,
    HOST_TYPES,
    RAW_BFLOAT16,
    Array,
    is_bfloat16,
    is_device_array,
    widened,
)

DType = np.dtype[Any]

# Types that the CUDA module knows by number, and what DLPack calls them; BFLOAT16 is number 1.
BFLOAT16_NUMBER, BFLOAT16_CODE = 1, 4
TYPE_NUMBERS: dict[DType, int] = {
    np.dtype(name): number
    for name, number in (
        ("float16", 0),
        ("float32", 2),
        ("float64", 3),
        ("int8", 4),
        ("int16", 5),
        ("int32", 6),
        ("int64", 7),
        ("uint8", 8),
        ("bool", 8),
        ("uint16", 9),
        ("uint32", 10),
        ("uint64", 11),
    )
}
FIRST_INDEX_TYPE = 4
_DLPACK_KINDS = {0: "i", 1: "u", 2: "f", 5: "c"}


def bfloat16() -> DType:
    """The dtype of ml_dtypes if it is installed, else two bytes of that name."""
    try:
        import ml_dtypes
    except ImportError:
        return RAW_BFLOAT16
    dtype: DType = np.dtype(ml_dtypes.bfloat16)
    return dtype


def type_number(dtype: DType) -> int | None:
    """The number of a dtype in the CUDA module; None for one that it does not know."""
    return BFLOAT16_NUMBER if is_bfloat16(dtype) else TYPE_NUMBERS.get(dtype)


def on_device(stream: Any, *arrays: Any) -> bool:
    """Tell whether any of the arrays is on a device; ValueError for a stream without one."""
    for array in arrays:
        if type(array) not in HOST_TYPES and is_device_array(array):
            return True
    if stream is not None:
        raise ValueError(f"stream: got {stream!r}, expected None for arrays in host memory")
    return False


class Report(Protocol):
    """What a call has found wrong with values, on the device so far."""

    def check(self) -> None:
        """Wait for the call and raise if there was anything."""


# ------------------------------------------------------------------------------------------- given


class Sized:
    """What follows from a shape and a dtype."""

    __slots__ = ()
    shape: tuple[int, ...]
    dtype: DType

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


@dataclass(slots=True)
class Operand(Sized):
    """
    A contiguous array on a device, with what it was taken from.

    `stream` is the one that it names as its own.
    """

    address: int
    shape: tuple[int, ...]
    dtype: DType
    device: int | None  # None for an array without elements
    read_only: bool
    owner: Any
    stream: int | None = None


def borrow(name: str, value: Any, stream: int) -> Operand:
    """Look at a device array, whose contents are ready for `stream` from here on."""
    if isinstance(value, DeviceArray):
        return value.lend(stream)
    if hasattr(type(value), "__dlpack_device__"):
        return _from_dlpack(name, value, stream)
    return _from_interface(name, value, stream)


def _from_dlpack(name: str, value: Any, stream: int) -> Operand:
    try:
        capsule = value.__dlpack__(stream=stream, max_version=(1, 0))
    except TypeError:  # from before version 1
        capsule = value.__dlpack__(stream=stream)
    tensor = cuda().Borrowed(capsule)
    shape = tensor.shape
    _check_contiguous(name, shape, tensor.strides, 1)
    device = tensor.device[1] if math.prod(shape) else None
    dtype = _dlpack_dtype(name, *tensor.dtype)
    named = named_stream(value)
    return Operand(tensor.address, shape, dtype, device, tensor.read_only, tensor, named)


def _dlpack_dtype(name: str, code: int, bits: int, lanes: int) -> DType:
    if lanes == 1 and code == BFLOAT16_CODE:
        return bfloat16()
    if lanes == 1 and code == 6:
        return np.dtype(np.bool_)
    try:
        if lanes == 1 and bits % 8 == 0:
            return np.dtype(f"{_DLPACK_KINDS[code]}{bits // 8}")
    except (KeyError, TypeError):
        pass
    raise TypeError(
        f"{name}: got DLPack type {code} of {bits} bits in {lanes} lanes, expected real numbers"
    )


def _from_interface(name: str, value: Any, stream: int) -> Operand:
    interface = value.__cuda_array_interface__
    if interface["version"] < 2:
        raise ValueError(
            f"{name}: got __cuda_array_interface__ version {interface['version']}, expected 3"
        )
    if interface.get("mask") is not None:
        raise ValueError(f"{name}: got a masked array, expected one without a mask")
    shape = tuple(interface["shape"])
    # The interface has no name for bfloat16: libraries write it as two bytes.
    typestr = interface["typestr"]
    dtype = bfloat16() if typestr == "<V2" else np.dtype(typestr)
    if not dtype.isnative:
        raise TypeError(f"{name}: got dtype {dtype}, expected native byte order")
    _check_contiguous(name, shape, interface.get("strides"), dtype.itemsize)
    address, read_only = interface["data"]
    device = None
    if math.prod(shape):
        device = cuda().device_of(address)
        if device < 0:
            raise ValueError(f"{name}: got host memory, expected the memory of a CUDA device")
    theirs = interface.get("stream")
    if theirs is not None:
        known_handle(f"{name}.__cuda_array_interface__['stream']", theirs)
        if theirs != stream and device is not None:
            cuda().order(theirs, stream, device)
    return Operand(address, shape, dtype, device, bool(read_only), value, theirs)


def named_stream(value: Any) -> int | None:
    """The stream that an array names as its own, in its interface; None if it names none."""
    if isinstance(value, DeviceArray):
        return value.stream
    try:
        stream = value.__cuda_array_interface__.get("stream")
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
        # torch has it for some tensors only.
        return None
    return None if stream is None else known_handle("__cuda_array_interface__['stream']", stream)


def _check_contiguous(
    name: str, shape: tuple[int, ...], strides: tuple[int, ...] | None, unit: int
) -> None:
    """ValueError unless the elements follow each other in C order."""
    if strides is None or 0 in shape:
        return
    expected = unit
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and stride != expected:
            raise ValueError(
                f"{name}: got shape {shape} with strides {tuple(strides)}, expected a C-contiguous "
                "array on a device"
            )
        expected *= n


# ---------------------------------------------------------------------------------------- returned


class DeviceArray(Sized):
    """
    An array that a call on a device returns: owned memory, in the order of the call's stream.

    Other libraries take it through DLPack or ``__cuda_array_interface__`` (``torch.from_dlpack``,
    ``cupy.from_dlpack``), as every function of logloss does. Their stream waits for the call by an
    event; nothing waits on the host but `numpy`, `item` and ``float()``. These copy to the host,
    and raise the IndexError for a bad target or the ValueError for a value that is no probability
    which a call on the host would have raised.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    device : int
        Number of the device.
    stream : int
        The stream in whose order the memory is written and freed.
    """

    __slots__ = ("_memory", "_report", "dtype", "shape")

    def __init__(
        self, memory: Any, shape: tuple[int, ...], dtype: DType, report: Report | None = None
    ) -> None:
        self._memory, self._report = memory, report
        self.shape, self.dtype = shape, dtype

    @property
    def device(self) -> int:
        return int(self._memory.device)

    @property
    def stream(self) -> int:
        return int(self._memory.stream)

    def lend(self, stream: int) -> Operand:
        """The array for a call on `stream`, which waits for what has been done to it."""
        device = self.device if self.size else None
        if device is not None and stream != self.stream:
            cuda().order(self.stream, stream, device)
        address = self._memory.address
        return Operand(address, self.shape, self.dtype, device, False, self, self.stream)

    def report_to(self, report: Report) -> None:
        """Have `report` looked at before the array is brought to the host."""
        self._report = report

    # To the host.

    def numpy(self) -> Array:
        """Wait for the stream and copy to the host; raises what the call has found wrong."""
        if self._report is not None:
            self._report.check()
        array = np.empty(self.shape, self.dtype)
        if self.size:
            place = self.stream, self.device
            cuda().fetch(array.ctypes.data, self._memory.address, self.nbytes, *place)
        return array

    def item(self) -> float:
        """The only element as a Python number, as `numpy` brings it to the host."""
        if self.size != 1:
            raise ValueError(f"item: got shape {self.shape}, expected one element")
        return float(widened(self.numpy()).astype(np.float64).reshape(()))

    def __float__(self) -> float:
        return self.item()

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        raise TypeError("a DeviceArray does not become a NumPy array by itself: use .numpy()")

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype}, device={self.device})"

    # To other libraries.

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": "<V2" if is_bfloat16(self.dtype) else self.dtype.str,
            "data": (self._memory.address, False),
            "strides": None,
            "version": 3,
            "stream": self.stream,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return DLPACK_CUDA, self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if dl_device is not None and tuple(map(int, dl_device)) != self.__dlpack_device__():
            raise BufferError(f"got device {dl_device}, expected {self.__dlpack_device__()}")
        memory = self._copied() if copy else self._memory
        if stream != NO_ORDER and self.size:
            memory.lend(LEGACY if stream is None else known_handle("stream", stream))
        half = is_bfloat16(self.dtype)
        return memory.to_dlpack(
            list(self.shape),
            BFLOAT16_CODE if half else 2,
            self.dtype.itemsize * 8,
            versioned=max_version is not None and max_version[0] >= 1,
            copied=bool(copy),
        )

    def _copied(self) -> Any:
        copied = cuda().Memory(self.nbytes, self.device, self.stream, self._memory)
        if self.size:
            place = self.stream, self.device
            cuda().copy(copied.address, self._memory.address, self.nbytes, *place)
        return copied
