# SPDX-License-Identifier: BSD-3-Clause
"""Numbers of fifty digits and more, for the tests of the reference itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import reference as ref
from ulp import Array

mpmath = pytest.importorskip("mpmath", reason="mpmath is the oracle of the reference")
mp = mpmath.mp.clone()
mp.dps = 50

# The reference may lose a few bits of its own 64. Where longdouble is float64, it may lose those
# of the integer part of an exponent as well.
RELATIVE = 2.0**-58 if ref.EXTENDED else 2.0**-42
UNDERFLOW = mp.mpf(10) ** (-4000 if ref.EXTENDED else -300)


def exactly(x: Array) -> list[Any]:
    return [to_mpf(v) for v in np.ravel(x)]


def to_mpf(x: Any) -> Any:
    """An extended number, split into two doubles, without loss."""
    fraction, exponent = np.frexp(np.longdouble(x))
    high = float(fraction)
    return mp.ldexp(mp.mpf(high) + mp.mpf(float(fraction - np.longdouble(high))), int(exponent))


def assert_close(actual: Any, expected: list[Any], terms: Any = None) -> None:
    """The error is relative to the expected numbers, or to the `terms` they are differences of."""
    sizes = expected if terms is None else exactly(terms)
    for got, want, size in zip(np.ravel(actual), expected, sizes, strict=True):
        # exp(-6e38) is below every extended number: the absolute part stands for underflow.
        limit = RELATIVE * max(abs(want), abs(size)) + UNDERFLOW
        assert abs(to_mpf(got) - want) <= limit, (got, mp.nstr(want, 30))
