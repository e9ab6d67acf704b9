# SPDX-License-Identifier: BSD-3-Clause
"""The grid of logits on which the accuracy promises are tested, and the promises themselves."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

import logloss
import reference as ref
from ulp import Array, ulp

CLASSES = (1, 2, 10, 127, 1000, 32000, 128256)
DEVIATIONS = (1.0, 3.0, 10.0, 30.0)

# Rows per cell. The margins are dealt out over the rows, so a cell of many classes sees fewer of
# them, but each of its rows holds many elements.
ROWS = {1: 8, 2: 900, 10: 900, 127: 400, 1000: 200, 32000: 14, 128256: 7}

# The portable level has no fused multiply-add on x86, which costs it some accuracy.
NO_FMA = logloss.config()["isa"] == "portable"
NO_FMA_ULPS = 4.0
# A result of 16 bits is computed in float32 and rounded once: half an ulp, and the float32 error.
ROUNDED_ONCE = 0.501
# Where the reference is itself float64, its own errors count too.
FLOAT64_ULPS = 4.0 if ref.EXTENDED else 64.0
# A gradient that is a difference is measured by what enters it, see assert_cancelling.
CANCELLING_ULPS = 6.0 if NO_FMA else 4.0


def promised(ulps: float, dtype: Any) -> float:
    """The limit for a result of type `dtype` whose promise for float32 is `ulps`."""
    name = np.dtype(dtype).name
    if name == "float64":
        return max(ulps, FLOAT64_ULPS)
    if name != "float32":
        return ROUNDED_ONCE
    return max(ulps, NO_FMA_ULPS) if NO_FMA else ulps


def assert_cancelling(actual: Array, exact: Array, terms: Array, inherited: Any = 0.0) -> None:
    """Check a sum of numbers that are at most `terms` in magnitude, rounded once more for 16 bits.

    Where they cancel, its error is counted in ulps of `terms`, not of the small result; `inherited`
    is what the numbers themselves may be off by.
    """
    assert actual.shape == exact.shape, f"shape {actual.shape}, expected {exact.shape}"
    compute = "float64" if actual.dtype == np.float64 else "float32"
    size = np.maximum(terms, np.abs(exact))
    allowed = promised(CANCELLING_ULPS, compute) * ulp(size, compute) + inherited
    if actual.dtype.itemsize == 2:
        allowed = allowed + 0.5 * ulp(exact, actual.dtype)
    error = np.abs(actual.astype(np.longdouble) - exact)
    assert (error <= allowed).all(), f"{float((error / allowed).max()):.4g} times what is allowed"


def cross_entropy_terms(
    grad_output: Any,
    input: Array,
    target: Array,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
) -> Array:
    """The larger of the two terms g k q sum(v) and g k v, whose difference is the gradient."""
    x, v, _, denominator, axis = ref.class_mass(
        input, target, weight, ignore_index, label_smoothing, axis
    )
    scale = ref.long_ratio(grad_output, denominator if reduction == "mean" else Fraction(1))
    v, (q, _) = np.abs(v), ref.row_probs(x)
    with np.errstate(invalid="ignore"):
        size = np.abs(scale) * np.maximum(q * v.sum(axis=-1, keepdims=True), v)
    return ref.classes_back(size, input, axis)


class Cell(NamedTuple):
    """Logits (rows, classes) and a target for each row."""

    logits: Array
    target: Array


def raise_target(logits: Array, target: Array, margin: Array) -> None:
    """Lift each row's target above the maximum of its other logits by `margin`; NaN leaves it."""
    row = np.arange(target.size)
    others = logits.copy()
    others[row, target] = -np.inf
    lifted = others.max(axis=1, initial=-np.inf) + margin
    logits[row, target] = np.where(np.isfinite(lifted), lifted, logits[row, target])


def cell(classes: int, deviation: float, dtype: Any, share: float = 1.0) -> Cell:
    """One cell: a third of its rows as drawn, the targets of the others raised by 0 to 80.

    A `share` below 1 thins the rows.
    """
    rows = max(3, round(ROWS[classes] * share))
    generator = np.random.default_rng([classes, int(deviation)])
    logits = generator.normal(0.0, deviation, (rows, classes))
    target = generator.integers(0, classes, rows)
    margin = np.linspace(0.0, 80.0, rows)
    margin[1::3] = np.nan
    raise_target(logits, target, margin)
    return Cell(logits.astype(dtype), target)
