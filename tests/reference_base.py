# SPDX-License-Identifier: BSD-3-Clause
"""What the references share: extended precision, the softmax of a row, reductions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

LONG = np.longdouble
EXTENDED = np.finfo(LONG).nmant >= 63


def wide(values: Any) -> Array:
    """`values` in extended precision, which holds every input type exactly."""
    return np.asarray(values).astype(LONG)


def classes_last(values: Any, axis: int) -> Array:
    """`values` in extended precision with the class axis last; a number is a row of one class."""
    array = np.atleast_1d(wide(values))
    return np.moveaxis(array, axis, -1)


def classes_back(rows: Array, like: Any, axis: int) -> Array:
    """Undo `classes_last`: the class axis returns to its place in the shape of `like`."""
    return np.moveaxis(rows, -1, axis).reshape(np.shape(like))


def row_statistics(x: Array) -> tuple[Array, Array, Array]:
    """Per row: the maximum m, e = exp(x - m), and the sum of e without one of its maxima.

    A row without a finite maximum (all -inf, or with NaN or +inf) has NaN for e and the sum.
    """
    m = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
    with np.errstate(invalid="ignore"):
        e = np.where(np.isfinite(m), np.exp(x - m), LONG("nan"))
    rest = np.sort(e, axis=-1)[..., :-1].sum(axis=-1, keepdims=True)
    return m, e, rest


def row_log_probs(x: Array) -> Array:
    """log softmax(x) = -((m - x) + log1p(rest)): two terms of one sign."""
    m, _, rest = row_statistics(x)
    with np.errstate(invalid="ignore"):
        return -((m - x) + np.log1p(rest))


def row_probs(x: Array) -> tuple[Array, Array]:
    """softmax(x), and 1 - softmax(x) without the subtraction from 1."""
    _, e, rest = row_statistics(x)
    total = 1 + rest
    return e / total, np.where(e == 1, rest, total - e) / total


# Reductions


def loss_dtype(input: Any) -> np.dtype[Any]:
    """The type of per-sample losses: float64 for float64 input, otherwise float32."""
    return np.dtype(np.float64 if np.asarray(input).dtype == np.float64 else np.float32)


def wider(*arrays: Any) -> Any:
    """The array among them that decides the type of the losses: one of float64, if there is any."""
    return max(arrays, key=lambda array: loss_dtype(array).itemsize)


def as_weight(weight: Any, input: Any, classes: int) -> Array:
    """Class weights as the losses use them: rounded to the type of the losses, 1 if not given."""
    if weight is None:
        return np.ones(classes, LONG)
    return wide(np.asarray(weight).astype(loss_dtype(input)))


def exact(values: Iterable[Any]) -> Fraction:
    return sum((Fraction(float(v)) for v in values), Fraction(0))


def round_once(numerator: Fraction, denominator: Fraction) -> float:
    """The float64 nearest to the quotient; x / 0 as IEEE 754 has it."""
    if denominator == 0:
        return math.copysign(math.inf, numerator) if numerator else math.nan
    try:
        return float(numerator / denominator)
    except OverflowError:
        return math.inf if (numerator > 0) == (denominator > 0) else -math.inf


def quotient(values: Any, denominator: Any = 1) -> float:
    """Correctly rounded sum(values) / denominator; the values are floats of at most 64 bits."""
    values, denominator = np.ravel(values).astype(np.float64), Fraction(denominator)
    if not np.isfinite(values).all():
        with np.errstate(invalid="ignore"):
            return float(values.sum()) * (-1.0 if denominator < 0 else 1.0)
    if denominator and not values.any():
        return float(values.sum(initial=-0.0))
    return round_once(exact(values), denominator)


def divisor(reduction: str, losses: int, batch: int = 1) -> Fraction:
    """What a sum of so many losses is divided by, where no weights enter."""
    return Fraction({"mean": losses, "batchmean": batch}.get(reduction, 1))


def reduce_losses(losses: Array, reduction: str, denominator: Fraction | None, input: Any) -> Any:
    """The losses themselves, or the rounded sum or mean of them in the type "none" returns.

    A `denominator` of None says that there is nothing to take the mean of.
    """
    if reduction == "none":
        return losses
    with np.errstate(over="ignore"):
        rounded = losses.astype(loss_dtype(input))
    if reduction == "sum":
        return quotient(rounded)
    return math.nan if denominator is None else quotient(rounded, denominator)


def long_ratio(grad_output: Any, denominator: Fraction | None) -> Array:
    """grad_output / denominator in extended precision, as a column beside the classes."""
    d = Fraction(0) if denominator is None else denominator
    high = float(d)
    with np.errstate(divide="ignore", invalid="ignore"):
        return wide(grad_output)[..., None] / (LONG(high) + LONG(float(d - Fraction(high))))


def summed_to(values: Array, shape: tuple[int, ...]) -> Array:
    """The sum of `values` over the axes along which an array of that shape was broadcast."""
    leading = values.ndim - len(shape)
    stretched = tuple(leading + i for i, length in enumerate(shape) if length == 1)
    return values.sum(axis=(*range(leading), *stretched)).reshape(shape)
