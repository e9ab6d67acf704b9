# SPDX-License-Identifier: BSD-3-Clause
"""The arrays that operations are measured on, and samples of them for the references."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bench import peers
from bench.operation import Array, Case

_SAMPLED_ROWS = 8
_SAMPLED_ELEMENTS = 4096


def rows_of(array: Array, axis: int | None) -> Array:
    """Return `array` with `axis` moved to the end, as a matrix; without an axis, as a column."""
    if axis is None:
        return array.reshape(-1, 1)
    return np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])


def sample_rows(array: Array, axis: int | None) -> Array:
    """Return a few of the rows, first and last included, or many of the elements."""
    rows = rows_of(array, axis)
    count = min(len(rows), _SAMPLED_ELEMENTS if axis is None else _SAMPLED_ROWS)
    sample: Array = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
    return sample


def float64_rows(formula: Callable[..., Array], axis: int | None, *arrays: Array) -> Array:
    """Return `formula` of the rows of `arrays` in float64, computed from some rows at a time."""
    rows = [rows_of(array, axis) for array in arrays]
    step = max(1, 2**18 // rows[0].shape[1])
    return np.concatenate(
        [
            formula(*(part[start : start + step].astype(np.float64) for part in rows))
            for start in range(0, len(rows[0]), step)
        ]
    )


def aligned_empty(shape: tuple[int, ...], dtype: str) -> Array:
    """Return an uninitialised array that starts on a page: the best any library can ask for."""
    item = numpy_dtype(dtype)
    size, page = math.prod(shape) * item.itemsize, 4096
    buffer = np.empty(size + page, np.uint8)
    start = -buffer.ctypes.data % page
    return buffer[start : start + size].view(item).reshape(shape)


def random_normal(case: Case, scale: float, seed: int = 0) -> Array:
    """Return normal deviates times `scale` in the shape and dtype of `case`."""
    return _aligned_copy(case, _normal(case, scale, seed))


def random_probs(case: Case, scale: float, seed: int = 0, *, log: bool = False) -> Array:
    """Return the softmax of normal deviates times `scale`, or its logarithm."""
    values = _normal(case, scale, seed)
    values -= np.log(np.exp(values).sum(axis=case.axis, keepdims=True))
    return _aligned_copy(case, values if log else np.exp(values, out=values))


def random_uniform(case: Case, low: float, high: float, seed: int = 0) -> Array:
    """Return numbers between `low` and `high` in the shape and dtype of `case`."""
    values = np.random.default_rng(seed).random(case.shape, dtype=_drawn_dtype(case))
    values *= high - low
    values += low
    return _aligned_copy(case, values)


def random_labels(case: Case, values: tuple[float, float], seed: int = 1) -> Array:
    """Return one of two values, with equal chances, in the shape and dtype of `case`."""
    chosen = np.random.default_rng(seed).integers(0, 2, case.shape, np.uint8)
    return _aligned_copy(case, np.array(values, np.float32)[chosen])


def random_classes(case: Case, seed: int = 1) -> Array:
    """Return one class index (int64) per sample of `case`."""
    shape = case.shape[: case.axis] + case.shape[case.axis + 1 :]
    return np.random.default_rng(seed).integers(0, case.shape[case.axis], shape)


def _normal(case: Case, scale: float, seed: int) -> Array:
    values = np.random.default_rng(seed).standard_normal(case.shape, dtype=_drawn_dtype(case))
    values *= scale
    return values


def _drawn_dtype(case: Case) -> Any:
    return np.float64 if case.dtype == "float64" else np.float32


def _aligned_copy(case: Case, values: Array) -> Array:
    array = aligned_empty(case.shape, case.dtype)
    array[...] = values
    return array


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the dtype of that name; bfloat16 comes from ml_dtypes."""
    return np.dtype(peers.load("ml_dtypes").bfloat16 if name == "bfloat16" else name)
