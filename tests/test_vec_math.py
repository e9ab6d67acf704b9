# SPDX-License-Identifier: BSD-3-Clause
"""exp, log and log1p of every ISA level: the bounds that the head of csrc/cpu/vec_math.h states.

A plain run takes every 251st float32 and all those near an edge. `pytest -m exhaustive` takes every
float32 there is, in about three minutes on two cores. Float64 is sampled: evenly over all bit
patterns, densely where arguments are typical, and at arguments that are hard to reduce.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, reduce
from pathlib import Path
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest

import reference as ref
from logloss import _core
from logloss._runtime import usable_cpus
from ulp import Array, ulp_distance

FUNCTIONS = ("exp", "log", "log1p")
LEVELS = tuple(_core.available_isas())
HEADER = Path(__file__).parents[1] / "csrc" / "cpu" / "vec_math.h"

Elementwise = Callable[[Array], Array]


@cache
def stated_bounds() -> dict[tuple[str, str], tuple[float, float]]:
    """(function, dtype) -> (max ulp, max ulp of portable), from the table in the header."""
    number = r"(\d+\.\d+)"
    row = rf"^//\s+(\w+)\s+{number} \({number}\)\s+{number} \({number}\)\s"
    bounds = {}
    for name, *ulps in re.findall(row, HEADER.read_text(), re.MULTILINE):
        single, single_portable, double, double_portable = map(float, ulps)
        bounds[name, "float32"] = (single, single_portable)
        bounds[name, "float64"] = (double, double_portable)
    return bounds


def bound(function: str, level: str, dtype: str) -> float:
    return stated_bounds()[function, dtype][level == "portable"]


def at_level(function: str, level: str) -> Elementwise:
    kernel = getattr(_core.testing, function)
    return lambda x: kernel(level, x)


class Worst(NamedTuple):
    """The largest error so far, and where it was."""

    ulps: float
    argument: float


def report(function: str, dtype: str, worst: dict[str, Worst]) -> None:
    """Print the maxima (seen with -s) and compare them with the header."""
    for level, (ulps, argument) in worst.items():
        where = np.dtype(dtype).type(argument)
        print(f"{function:6} {dtype} {level:9} {ulps:.4f} ulp at {float(where).hex()}")
    for level, (ulps, argument) in worst.items():
        limit = bound(function, level, dtype)
        assert ulps <= limit, f"{function}({argument!r}): {ulps:.4g} ulp > {limit} at level {level}"


# Float32, against float64: its error is less than 2**-28 ulp of float32.

Maxima = dict[str, Worst]


def larger(a: Maxima, b: Maxima) -> Maxima:
    return {level: max(a[level], b[level]) for level in LEVELS}


def float32_worst(x: Array, y: Array, exact: Array) -> Worst:
    """The largest |y - exact| in ulps of float32; inf where a special result is wrong."""
    size = np.abs(exact)
    if size.min() > 0 and size.max() < 2.0**127:
        # Without its fraction a double is the power of two below it.
        unit = (size.view(np.int64) & 0x7FF0000000000000).view(np.float64)
        np.maximum(unit, 2.0**-126, out=unit)
        unit *= 2.0**-23
        errors = y.astype(np.float64)
        errors -= exact
        np.abs(errors, out=errors)
        errors /= unit
    else:  # zeros, infinities or NaN
        rounded = exact.astype(np.float32)
        if ((y == rounded) | (np.isnan(y) & np.isnan(rounded))).all():
            return Worst(0.5, float(x[0]))
        errors = ulp_distance(y, exact, np.float32)
    place = int(np.argmax(errors))
    return Worst(float(errors[place]), float(x[place]))


def float32_maxima(function: str, bits: Array) -> Maxima:
    """The maxima over an array of bit patterns, piece by piece: a piece stays in the cache."""
    maxima = {level: Worst(-1.0, 0.0) for level in LEVELS}
    for first in range(0, bits.size, 2**14):
        x = bits[first : first + 2**14].view(np.float32)
        with np.errstate(all="ignore"):
            exact = getattr(np, function)(x.astype(np.float64))
            found = {lv: float32_worst(x, at_level(function, lv)(x), exact) for lv in LEVELS}
        maxima = larger(maxima, found)
    return maxima


def strided_maxima(function: str, stride: int) -> Maxima:
    """The maxima over every `stride`-th bit pattern of 32 bits, on all CPUs."""

    def maxima_from(first: int) -> Maxima:
        last = min(first + span, 2**32)
        return float32_maxima(function, np.arange(first, last, stride, dtype=np.uint32))

    span = 2**20 * stride
    with ThreadPoolExecutor(usable_cpus()) as pool:
        return reduce(larger, pool.map(maxima_from, range(0, 2**32, span)))


# Powers of two where a method changes, the ends of the ranges of exp, roots of 2 and 1/2.
EDGES = (
    *(0.0, 1.0, 2.0, 0.5, 2.0**-126, 2.0**-149, 2.0**-23, 2.0**-24, 2.0**25, 2.0**23, 2.0**24),
    *(np.sqrt(0.5), np.sqrt(2.0), np.sqrt(0.5) - 1, np.sqrt(2.0) - 1, float(np.finfo("f4").max)),
    *(88.7228, 89.0, 87.3365, 103.2789, 103.9721, 104.0, 105.0, float("inf")),
    *(np.log(2) / 2 * odd for odd in range(1, 300, 2)),
)


def edge_bits(around: int) -> Array:
    """The bit patterns at most `around` away from an edge of either sign."""
    bits = np.float32(EDGES).view(np.uint32).astype(np.int64)[:, None] + np.arange(-around, around)
    bits = np.unique(np.concatenate([bits, bits ^ 0x80000000]) % 2**32)
    return bits.astype(np.uint32)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_float32_sampled(function: str) -> None:
    maxima = larger(strided_maxima(function, 251), float32_maxima(function, edge_bits(2000)))
    report(function, "float32", maxima)


@pytest.mark.exhaustive
@pytest.mark.parametrize("function", FUNCTIONS)
def test_float32_every_value(function: str) -> None:
    report(function, "float32", strided_maxima(function, 1))


# Float64


def bits_near(x: Array, around: int) -> Array:
    """The doubles at most `around` steps away from each of x."""
    bits = np.float64(x).view(np.int64)[:, None] + np.arange(-around, around + 1)
    return bits.reshape(-1).view(np.float64)


def float64_samples(function: str, count: int) -> Array:
    """`count` arguments of each kind: any bit pattern, a typical range, near the edges."""
    golden = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    everywhere = golden.view(np.float64)
    unit = (golden >> np.uint64(11)).astype(np.float64) * 2.0**-53
    powers = bits_near(np.ldexp(1.0, np.arange(-1073, 1024)), 2)
    if function == "exp":
        halves = np.arange(-2151, 2049) * (np.log(2) / 2)
        ends = bits_near([709.782712893384, 710, 708.396418532264, 744.44, 745.1332, 746], 40)
        kinds = (unit * 1455 - 746, unit - 0.5, bits_near(halves, 3), ends, -ends)
    else:
        roots = np.sqrt([0.5, 2.0])
        thousandths = 1 + (unit - 0.5) / 1000
        middle = bits_near(roots, 100), bits_near([1.0], 1000), thousandths, unit * 2
        kinds = (*middle, np.ldexp(0.5 + unit, np.arange(count) % 2040 - 1020))
        if function == "log1p":
            kinds = tuple(kind for k in kinds for kind in (k - 1, k, -k / 2))
    edges = bits_near([0.0, 2.0**-1074, 2.0**-1022, 1.7976931348623157e308], 2)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -1.0, 1.0])
    return np.concatenate([everywhere, *kinds, powers, -powers, edges, -edges, special])


@pytest.mark.skipif(not ref.EXTENDED, reason="longdouble is float64 here")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_float64_dense(function: str) -> None:
    """Against extended precision, whose own error is about 2**-11 ulp of float64."""
    worst = {level: Worst(-1.0, 0.0) for level in LEVELS}
    x = float64_samples(function, 300_000)
    for part in np.array_split(x, 64):
        with np.errstate(all="ignore"):
            exact = getattr(np, function)(part.astype(np.longdouble))
            for level in LEVELS:
                errors = ulp_distance(at_level(function, level)(part), exact, np.float64)
                place = int(np.argmax(errors))
                found = Worst(float(errors[place]), float(part[place]))
                worst[level] = max(worst[level], found)
    report(function, "float64", worst)


def mpmath_ulps(y: float, exact: Any) -> float:
    """|y - exact| in ulps of float64 for a finite `exact` that is not zero."""
    exponent = min(max(int(mpmath.floor(mpmath.log(abs(exact), 2))), -1022), 1023)
    return float(abs(mpmath.mpf(y) - exact) / mpmath.mpf(2) ** (exponent - 52))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_float64_against_mpmath(function: str) -> None:
    """Hard arguments in 160 bits, which no platform's long double has a share in."""
    rng = np.random.default_rng(5)
    x = rng.choice(float64_samples(function, 3000), 6000, replace=False)
    domain = {"exp": (-745, 709.78), "log": (0, np.inf), "log1p": (-1, np.inf)}[function]
    x = x[(x > domain[0]) & (x < domain[1])]
    with mpmath.workprec(160):
        exact = [getattr(mpmath, function)(mpmath.mpf(float(a))) for a in x]
        worst = {}
        for level in LEVELS:
            y = at_level(function, level)(x)
            pairs = zip(y, exact, x, strict=True)
            errors = [(mpmath_ulps(float(b), e), float(a)) for b, e, a in pairs if e != 0]
            worst[level] = Worst(*max(errors))
    assert len(x) > 2000
    report(function, "float64", worst)


# What the last column of the table says


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_results_at_the_edges(level: str, dtype: Any) -> None:
    inf, nan = np.inf, np.nan
    limits = np.finfo(dtype)
    cases = {
        "exp": [(inf, inf), (limits.max, inf), (-inf, 0), (-limits.max, 0), (0, 1), (-0.0, 1)],
        "log": [(0, -inf), (-0.0, -inf), (-1, nan), (-inf, nan), (inf, inf), (1, 0)],
        "log1p": [(-1, -inf), (-1.5, nan), (-inf, nan), (inf, inf), (-0.0, 0), (0, 0)],
    }
    for function, pairs in cases.items():
        x, right = np.array([*pairs, (nan, nan)], dtype).T
        y = at_level(function, level)(np.ascontiguousarray(x))
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, right, err_msg=f"{function} of {x}")
        np.testing.assert_array_equal(np.signbit(y[right == 0]), np.signbit(right[right == 0]))


def test_the_table_is_complete() -> None:
    assert set(stated_bounds()) == {(f, d) for f in FUNCTIONS for d in ("float32", "float64")}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_levels_with_fma_agree(function: str) -> None:
    """The same bits on every machine that has a fused multiply-add."""
    fused = [level for level in LEVELS if level != "portable"]
    if len(fused) < 2:
        pytest.skip("one level with a fused multiply-add at most")
    strided = np.arange(0, 2**32, 2503, dtype=np.uint32)
    single = np.concatenate([edge_bits(500), strided]).view(np.float32)
    for x in (single, float64_samples(function, 100_000)):
        first, *others = (np.nan_to_num(at_level(function, level)(x), nan=7.5) for level in fused)
        for other in others:
            assert first.tobytes() == other.tobytes()
