# SPDX-License-Identifier: BSD-3-Clause
"""Every operation on arrays that begin or end beside memory that no one may touch.

    python tests/fenced_memory.py end float32 avx2

A kernel that reads or writes one byte too far ends the process. Results have to be those of
ordinary memory: so a kernel that writes less than all is found, too.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import hash_cases as cases
import logloss
from conftest import named_dtype
from logloss import _core
from ulp import Array

SIDES = ("begin", "end")
# Around the widths of registers, columns of few classes, tiles, blocks and batches.
CLASSES = (1, 2, 3, 10, 15, 16, 17, 28, 29, 33, 127, 128, 129, 1000, 1025, 4097)
ROWS = (1, 2, 15, 33, 80)
SIZES = (1, 2, 7, 15, 16, 17, 33, 127, 4095, 4097, 10007)

PAGE = mmap.PAGESIZE
NO_ACCESS = 0

libc = ctypes.CDLL(None, use_errno=True)


def fenced_bytes(size: int, side: str) -> Array:
    """Memory between two pages without access, that touches the one at its begin or end.

    It holds no zeros, which a kernel that writes less than all could leave where zeros belong.
    """
    pages = mmap.mmap(-1, 2 * PAGE + -(-size // PAGE) * PAGE)
    memory = np.frombuffer(pages, np.uint8)
    for fence in (memory[:PAGE], memory[-PAGE:]):
        if libc.mprotect(ctypes.c_void_p(fence.ctypes.data), ctypes.c_size_t(PAGE), NO_ACCESS):
            raise OSError(ctypes.get_errno(), "mprotect")
    first = PAGE if side == "begin" else memory.size - PAGE - size
    inside = memory[first : first + size]
    inside[...] = 0x7F
    return inside


def extent(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> int:
    """Bytes from the first to behind the last element."""
    if 0 in shape:
        return 0
    return itemsize + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))


def fenced(shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any, side: str) -> Array:
    """An empty array whose first or last element touches a fence."""
    memory = fenced_bytes(extent(shape, strides, dtype.itemsize), side)
    return np.ndarray(shape, dtype, memory, strides=strides)


def contiguous(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(itemsize * int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))


def first_axis_contiguous(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return contiguous(shape[::-1], itemsize)[::-1]


def spaced_rows(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    *outer, last = contiguous(shape, itemsize)
    return (*(stride + itemsize for stride in outer), last)


def spaced_elements(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(3 * stride for stride in contiguous(shape, itemsize))


# Each gives the strides of an array of some shape and size of its elements.
LAYOUTS = (contiguous, first_axis_contiguous, spaced_rows, spaced_elements)


def fenced_copy(x: Array, layout: Callable[..., tuple[int, ...]], side: str) -> Array:
    copy = fenced(x.shape, layout(x.shape, x.itemsize), x.dtype, side)
    copy[...] = x
    return copy


@contextmanager
def fenced_results(side: str) -> Iterator[None]:
    """All that the package allocates by NumPy touches a fence."""
    empty, empty_like = np.empty, np.empty_like

    def fenced_empty(shape: Any, dtype: Any = np.float64) -> Array:
        shape, dtype = tuple(np.atleast_1d(shape).tolist()), np.dtype(dtype)
        return fenced(shape, contiguous(shape, dtype.itemsize), dtype, side)

    def fenced_empty_like(array: Array, dtype: Any = None) -> Array:
        like = empty_like(array, dtype)
        return fenced(like.shape, like.strides, like.dtype, side)

    np.empty, np.empty_like = fenced_empty, fenced_empty_like  # type: ignore[assignment]
    try:
        yield
    finally:
        np.empty, np.empty_like = empty, empty_like


def check(given: Any, operations: dict[str, cases.Operation], side: str) -> None:
    """Every operation on copies of all inputs in each layout, against the inputs themselves."""
    right = {name: operation(given) for name, operation in operations.items()}
    for layout in LAYOUTS:
        copies = type(given)(*(fenced_copy(x, layout, side) for x in given))
        with fenced_results(side):
            for name, operation in operations.items():
                for found, expected in zip(operation(copies), right[name], strict=True):
                    assert np.array_equal(cases.words(found), cases.words(expected)), name


def main(side: str, dtype_name: str, level: str) -> None:
    named_dtype(dtype_name)
    _core.testing.select_isa(level)
    for threads in (1, 2):
        logloss.set_num_threads(threads)
        for classes in CLASSES:
            for rows in ROWS:
                given = cases.inputs(classes, dtype_name).at(slice(rows))
                check(given, cases.ROW_OPERATIONS, side)
        for size in SIZES:
            check(cases.elements(size, dtype_name), cases.ELEMENT_OPERATIONS, side)


if __name__ == "__main__":
    main(*sys.argv[1:])
