# SPDX-License-Identifier: BSD-3-Clause
"""Arrays that claim to be on a GPU: host memory behind both protocols, for the emulated build."""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# Logits and the classes of their rows.
X = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
TARGET = np.array([0, 3, 1])

CUDA, MANAGED = 2, 13
BFLOAT = 4
_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    return dtype.name == "bfloat16"


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", _Deleter),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_api = ctypes.pythonapi
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_api.PyCapsule_GetName.restype = ctypes.c_char_p
_api.PyCapsule_GetName.argtypes = (ctypes.py_object,)
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
_api.PyCapsule_SetName.argtypes = (ctypes.py_object, ctypes.c_char_p)


def capsule_name(capsule: Any) -> str:
    name: bytes = _api.PyCapsule_GetName(capsule)
    return name.decode()


class Interface:
    """An array with ``__cuda_array_interface__`` alone; `changes` replace entries of it."""

    def __init__(self, array: Array, *, read_only: bool = False, **changes: Any) -> None:
        self.array = array
        self._entries = {
            "shape": array.shape,
            "typestr": "<V2" if is_bfloat16(array.dtype) else array.dtype.str,
            "data": (array.ctypes.data if array.size else 0, read_only),
            "strides": None if array.flags.c_contiguous else array.strides,
            "version": 3,
            "stream": None,
        } | changes

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return dict(self._entries)


class Copying(Interface):
    """As JAX and Numba: NumPy may have a copy without asking for one."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return self.array.astype(dtype or self.array.dtype)


class Refusing(Interface):
    """As torch and CuPy: NumPy may have none."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        raise TypeError("copy it to the host first")


class Lender:
    """An array with DLPack alone; counts its capsules and their ends and notes streams."""

    def __init__(
        self,
        array: Array,
        *,
        device: int = 0,
        device_type: int = CUDA,
        read_only: bool = False,
        versioned: bool = True,
        major: int = 1,
        dtype: tuple[int, int, int] | None = None,
        offset: int = 0,
    ) -> None:
        self.array, self.device, self.device_type = array, device, device_type
        self.read_only, self.versioned, self.major = read_only, versioned, major
        self.offset = offset
        self.streams: list[Any] = []
        self.ended: list[int] = []
        self.capsules: list[Any] = []
        self._numbers = itertools.count()
        self._kept: list[Any] = []
        code = BFLOAT if is_bfloat16(array.dtype) else _CODES[array.dtype.kind]
        self.dtype = dtype or (code, array.dtype.itemsize * 8, 1)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device_type, self.device

    def _tensor(self) -> _Tensor:
        array = self.array
        size = array.dtype.itemsize
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        strides = (ctypes.c_int64 * array.ndim)(*(s // size for s in array.strides))
        self._kept += [shape, strides]
        address = array.ctypes.data - self.offset
        return _Tensor(
            address if array.size else None,
            self.device_type,
            self.device,
            array.ndim,
            *self.dtype,
            ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64)),
            None
            if array.flags.c_contiguous
            else ctypes.cast(strides, ctypes.POINTER(ctypes.c_int64)),
            self.offset,
        )

    def _capsule(self, *, versioned: bool) -> Any:
        number = next(self._numbers)
        deleter = _Deleter(lambda _: self.ended.append(number))
        if versioned:
            flags = 1 if self.read_only else 0
            managed: Any = _Versioned(self.major, 0, None, deleter, flags, self._tensor())
            name = b"dltensor_versioned"
        else:
            managed = _Managed(self._tensor(), None, deleter)
            name = b"dltensor"
        self._kept += [managed, deleter, name]
        capsule = _api.PyCapsule_New(ctypes.addressof(managed), name, None)
        self.capsules.append(capsule)
        return capsule

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None) -> Any:
        self.streams.append(stream)
        return self._capsule(versioned=self.versioned and max_version is not None)


class OldLender(Lender):
    """From before version 1: it does not know `max_version`."""

    def __dlpack__(self, *, stream: Any = None) -> Any:  # type: ignore[override]
        self.streams.append(stream)
        return self._capsule(versioned=False)


KINDS: dict[str, Callable[..., Any]] = {
    "interface": Interface,
    "dlpack": Lender,
    "old dlpack": OldLender,
}


def tensor_of(capsule: Any) -> Array:
    """The elements that a capsule lends, as a copy; the capsule is used up and ended."""
    name = capsule_name(capsule)
    kind = _Versioned if name == "dltensor_versioned" else _Managed
    pointer = _api.PyCapsule_GetPointer(capsule, name.encode())
    managed = kind.from_address(pointer)
    tensor = managed.tensor
    used = ("used_" + name).encode()
    _kept_names.append(used)
    _api.PyCapsule_SetName(capsule, used)
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    strides = tuple(tensor.strides[i] for i in range(tensor.ndim))
    expected = tuple(math.prod(shape[i + 1 :]) for i in range(tensor.ndim))
    assert strides == expected
    kinds = {2: "f", 0: "i", 1: "u"}
    unit = tensor.bits // 8
    dtype = np.dtype("u2") if tensor.code == BFLOAT else np.dtype(f"{kinds[tensor.code]}{unit}")
    data = ctypes.string_at(tensor.data, math.prod(shape) * unit) if math.prod(shape) else b""
    array = np.frombuffer(data, dtype).reshape(shape).copy()
    managed.deleter(pointer)
    return array


_kept_names: list[bytes] = []


class Stream:
    """What torch, CuPy and CUDA's own bindings call a stream."""

    def __init__(self, kind: str, handle: int) -> None:
        if kind == "cuda":
            self.__cuda_stream__ = lambda: (0, handle)
        elif kind == "torch":
            self.cuda_stream = handle
        else:
            self.ptr = handle


def notes(emulated: Any, *kinds: str) -> list[tuple[Any, ...]]:
    """(what, current device, stream, stream waited for) of those kinds, in order."""
    return [note for note in emulated.take_notes() if note[0] in kinds]
