# SPDX-License-Identifier: BSD-3-Clause
"""Where results live: large ones in blocks that are kept, when an array dies, for the next one."""

from __future__ import annotations

import math
import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logloss import _core


def default_kept_limit() -> int:
    """LOGLOSS_KEEP_MIB in bytes, else an eighth of the machine's memory."""
    value = os.environ.get("LOGLOSS_KEEP_MIB", "").strip()
    if value.isdecimal():
        return min(int(value) << 20, sys.maxsize)
    if value:
        raise ValueError(f"LOGLOSS_KEEP_MIB: got {value!r}, expected an integer of at least 0")
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8
    except (AttributeError, ValueError, OSError):
        return 0


_core.set_kept_limit(default_kept_limit())

# The size in bytes from which on arrays live there.
LARGE: int = _core.LARGE_RESULT if _core.kept_limit() else sys.maxsize


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """`np.empty`, in memory that is kept if it is large."""
    if math.prod(shape) * dtype.itemsize < LARGE:
        return np.empty(shape, dtype)
    array: NDArray[Any] = _core.in_result_memory(np.empty, shape, dtype)
    return array


def empty_like(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """`np.empty_like` of that dtype, in memory that is kept if it is large."""
    if array.size * dtype.itemsize < LARGE:
        return np.empty_like(array, dtype)
    result: NDArray[Any] = _core.in_result_memory(np.empty_like, array, dtype)
    return result
