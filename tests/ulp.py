# SPDX-License-Identifier: BSD-3-Clause
"""Errors in units of the last place (ulp), the measure of every accuracy promise."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# Significant bits, the exponent of the smallest normal number, the exponent of the largest one.
FORMATS = {
    "float16": (11, -14, 15),
    "bfloat16": (8, -126, 127),
    "float32": (24, -126, 127),
    "float64": (53, -1022, 1023),
}


def ulp(exact: Any, dtype: Any) -> Array:
    """The distance between neighbours in `dtype` at the size of `exact`, subnormals included."""
    bits, lowest, highest = FORMATS[np.dtype(dtype).name]
    _, exponent = np.frexp(np.asarray(exact, np.longdouble))
    exponent = np.where(np.isfinite(exact) & (np.asarray(exact) != 0), exponent - 1, lowest)
    return np.asarray(np.ldexp(np.longdouble(1), np.clip(exponent, lowest, highest) - (bits - 1)))


def ulp_distance(actual: Any, exact: Any, dtype: Any) -> Array:
    """|actual - exact| in ulps of `dtype` at `exact`.

    NaN and infinities must agree, otherwise the distance is infinite; but where `exact` is finite
    and beyond the largest number of `dtype`, infinity stands for the power of two that follows it.
    """
    _, _, highest = FORMATS[np.dtype(dtype).name]
    actual, exact = (np.asarray(a).astype(np.longdouble) for a in (actual, exact))
    actual, exact = np.broadcast_arrays(actual, exact)
    overflow = np.ldexp(np.longdouble(1), highest + 1)
    rounds_to_inf = np.isinf(actual) & np.isfinite(exact) & (np.abs(exact) >= overflow / 2)
    actual = np.where(rounds_to_inf, np.copysign(overflow, actual), actual)
    nearest = np.where(np.isfinite(exact), np.clip(exact, -overflow, overflow), exact)
    with np.errstate(invalid="ignore"):
        distance = np.abs(actual - nearest) / ulp(nearest, dtype)
    same = (actual == nearest) | (np.isnan(actual) & np.isnan(exact))
    return np.where(same, 0, np.where(np.isnan(distance), np.inf, distance))


def max_ulp(actual: Any, exact: Any, dtype: Any) -> float:
    """The largest distance; 0 for empty arrays."""
    return float(np.max(ulp_distance(actual, exact, dtype), initial=0))


def assert_ulp(actual: Any, exact: Any, limit: float, dtype: Any = None) -> None:
    """Fail, naming the worst element, if any is further than `limit` ulps from `exact`.

    Without a `dtype` the units are those of the type of `actual`.
    """
    actual, exact = np.asarray(actual), np.asarray(exact)
    assert actual.shape == exact.shape, f"shape {actual.shape}, expected {exact.shape}"
    dtype = actual.dtype if dtype is None else dtype
    distance = ulp_distance(actual, exact, dtype)
    if np.max(distance, initial=0) > limit:
        worst = np.unravel_index(np.argmax(distance), distance.shape)
        where = tuple(int(i) for i in worst)
        raise AssertionError(
            f"{float(distance[worst]):.4g} ulp > {limit} at {where}: "
            f"got {float(actual[worst])!r}, expected {exact[worst]!r} "
            f"({int((distance > limit).sum())} of {distance.size} elements are off)"
        )
