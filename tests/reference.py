# SPDX-License-Identifier: BSD-3-Clause
"""The plain definition of every operation, for the tests to compare with.

Each function takes the arguments of its namesake in `logloss` and returns extended precision
(`numpy.longdouble`), unrounded, so that errors can be counted in units of the last place. Only the
reduced losses are final: "mean" and "sum" first round each loss to the type that "none" returns,
then form the exact sum or quotient of those and round it once, to a Python float.

Nothing here cancels for confident rows: the largest term of a row, exp(0) = 1, is left out of the
sum, which goes through log1p, so a loss of exp(-80) keeps all its digits.

On x86 `longdouble` has 64 significant bits, 11 more than float64; on aarch64 Linux 113. Where
it is just float64 (`EXTENDED` is False: macOS on ARM, Windows) this is still a sound reference for
float32 and smaller inputs, but not for float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
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
    """Log softmax(x) = -((m - x) + log1p(rest)): two terms of one sign."""
    m, _, rest = row_statistics(x)
    with np.errstate(invalid="ignore"):
        return -((m - x) + np.log1p(rest))


def row_probs(x: Array) -> tuple[Array, Array]:
    """softmax(x), and 1 - softmax(x) without the subtraction from 1."""
    _, e, rest = row_statistics(x)
    total = 1 + rest
    return e / total, np.where(e == 1, rest, total - e) / total


# The softmax family


def log_softmax(input: Any, axis: int = -1) -> Array:
    return classes_back(row_log_probs(classes_last(input, axis)), input, axis)


def softmax(input: Any, axis: int = -1) -> Array:
    return classes_back(row_probs(classes_last(input, axis))[0], input, axis)


def logsumexp(input: Any, axis: int = -1, *, keepdims: bool = False) -> Array:
    m, _, rest = row_statistics(classes_last(input, axis))
    lse = np.where(np.isfinite(m), m + np.log1p(rest), m)
    shape = np.ones(np.shape(input), bool).any(axis=axis, keepdims=keepdims).shape
    return lse.reshape(shape)


def log_softmax_backward(grad_output: Any, input: Any, axis: int = -1) -> Array:
    """G - s sum(g)"""
    g = classes_last(grad_output, axis)
    s, _ = row_probs(classes_last(input, axis))
    return classes_back(g - s * g.sum(axis=-1, keepdims=True), input, axis)


def softmax_backward(grad_output: Any, input: Any, axis: int = -1) -> Array:
    """S (g - sum(g s))"""
    g = classes_last(grad_output, axis)
    s, _ = row_probs(classes_last(input, axis))
    return classes_back(s * (g - (g * s).sum(axis=-1, keepdims=True)), input, axis)


def logsumexp_backward(
    grad_output: Any, input: Any, axis: int = -1, *, keepdims: bool = False
) -> Array:
    """G s; in the limit 1/k at each of k entries of +inf, and 0 for a row that is all -inf."""
    x = classes_last(input, axis)
    g = wide(grad_output).reshape(x.shape[:-1])[..., None]
    s, _ = row_probs(x)
    m = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
    at_top = x == m
    share = at_top / np.maximum(at_top.sum(axis=-1, keepdims=True), 1).astype(LONG)
    s = np.where(np.isposinf(m), share, np.where(np.isneginf(m), 0, s))
    return classes_back(g * s, input, axis)


# Reductions


def loss_dtype(input: Any) -> np.dtype[Any]:
    """The type of per-sample losses: float64 for float64 input, otherwise float32."""
    return np.dtype(np.float64 if np.asarray(input).dtype == np.float64 else np.float32)


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


def reduce_losses(losses: Array, reduction: str, denominator: Fraction | None, input: Any) -> Any:
    """The losses themselves, or the rounded sum or mean of them in the type "none" returns.

    A `denominator` of None says that there is nothing to take the mean of.
    """
    if reduction == "none":
        return losses
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


# cross_entropy and nll_loss


class ClassTarget:
    """Class indices beside rows of logits: which are scored, and the weight of each."""

    def __init__(self, input: Any, target: Any, weight: Any, ignore_index: int, axis: int | None):
        self.axis = axis if axis is not None else (0 if np.ndim(input) == 1 else 1)
        self.x = classes_last(input, self.axis)
        self.w = as_weight(weight, input, self.x.shape[-1])
        y = np.asarray(target).reshape(self.x.shape[:-1])
        self.ignored = y == ignore_index
        self.one_hot = (y[..., None] == np.arange(self.x.shape[-1])) & ~self.ignored[..., None]
        self.row_weight = np.where(self.one_hot, self.w, 0).sum(axis=-1)
        scored = self.row_weight[~self.ignored]
        self.denominator = exact(scored) if scored.size else None


def is_probabilities(input: Any, target: Any) -> bool:
    return np.shape(target) == np.shape(input) and np.asarray(target).dtype.kind not in "iu"


def class_mass(
    input: Any,
    target: Any,
    weight: Any,
    ignore_index: int,
    label_smoothing: float,
    axis: int | None,
) -> tuple[Array, Array, Array, Fraction | None, int]:
    """Everything a cross-entropy is made of: logits x, the mass v that multiplies -log softmax(x),
    which rows are ignored, the denominator of the mean, and the class axis.
    """
    smoothing = LONG(label_smoothing)
    if not is_probabilities(input, target):
        t = ClassTarget(input, target, weight, ignore_index, axis)
        v = (1 - smoothing) * t.w * t.one_hot + smoothing / max(t.w.size, 1) * t.w
        return t.x, np.where(t.ignored[..., None], 0, v), t.ignored, t.denominator, t.axis
    axis = axis if axis is not None else (0 if np.ndim(input) == 1 else 1)
    x, p = classes_last(input, axis), classes_last(target, axis)
    classes = x.shape[-1]
    v = as_weight(weight, input, classes) * ((1 - smoothing) * p + smoothing / max(classes, 1))
    rows = v[..., 0].size if classes else 0
    return x, v, np.zeros(x.shape[:-1], bool), Fraction(rows) if rows else None, axis


def cross_entropy(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
) -> Any:
    """-sum_c v_c log softmax(x)_c, where 0 * -inf counts as its limit 0."""
    x, v, ignored, denominator, _ = class_mass(
        input, target, weight, ignore_index, label_smoothing, axis
    )
    log_probs = row_log_probs(x)
    with np.errstate(invalid="ignore"):
        terms = np.where((v == 0) & np.isneginf(log_probs), 0, v * log_probs)
    losses = np.where(ignored, 0, -terms.sum(axis=-1))
    loss = reduce_losses(losses, reduction, denominator, input)
    return loss if is_probabilities(input, target) else loss + 0.0  # only the former keep a -0.0


def cross_entropy_backward(
    grad_output: Any,
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
) -> Array:
    """G k (q_c sum(v) - v_c) = g k (q_c sum of the other v - v_c (1 - q_c)); ignored rows 0."""
    x, v, ignored, denominator, axis = class_mass(
        input, target, weight, ignore_index, label_smoothing, axis
    )
    scale = long_ratio(grad_output, denominator if reduction == "mean" else Fraction(1))
    q, complement = row_probs(x)
    with np.errstate(invalid="ignore"):
        grad = scale * (q * (v.sum(axis=-1, keepdims=True) - v) - v * complement)
    return classes_back(np.where(ignored[..., None], 0, grad), input, axis)


def nll_loss(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    axis: int | None = None,
) -> Any:
    """-w_y x_y, where 0 * -inf counts as its limit 0."""
    t = ClassTarget(input, target, weight, ignore_index, axis)
    picked = np.where(t.one_hot, t.x, 0).sum(axis=-1)
    with np.errstate(invalid="ignore"):
        losses = np.where((t.row_weight == 0) & np.isneginf(picked), 0, -t.row_weight * picked)
    return reduce_losses(np.where(t.ignored, 0, losses), reduction, t.denominator, input) + 0.0


def nll_loss_backward(
    grad_output: Any,
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    axis: int | None = None,
) -> Array:
    """-g k w_y at the target, 0 elsewhere."""
    t = ClassTarget(input, target, weight, ignore_index, axis)
    scale = long_ratio(grad_output, t.denominator if reduction == "mean" else Fraction(1))
    with np.errstate(invalid="ignore"):
        grad = np.where(t.one_hot, -scale * t.row_weight[..., None], 0)
    return classes_back(grad, input, t.axis)


# Calculus


def numeric_gradient(f: Callable[[Array], float], x: Array, step: float = 1e-6) -> Array:
    """Central differences of the number f(x) with respect to every element of a float64 array."""
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[index] += step
        below[index] -= step
        gradient[index] = (f(above) - f(below)) / (above[index] - below[index])
    return gradient
