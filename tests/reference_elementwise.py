# SPDX-License-Identifier: BSD-3-Clause
"""The plain definition of the operations that work element by element; see `reference`."""

from __future__ import annotations

from decimal import Context
from typing import Any

import numpy as np

from reference_base import (
    LONG,
    Array,
    divisor,
    long_ratio,
    loss_dtype,
    reduce_losses,
    summed_to,
    wide,
    wider,
)

EPSILON = np.float32(1e-12)
FIFTY_DIGITS = Context(prec=50)


def log_difference(t: Any, x: Any) -> Array:
    """log t - x, from a logarithm of fifty digits where the two are close."""
    t, x = np.broadcast_arrays(wide(t), wide(x))
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = np.asarray(np.log(t) - x)
        close = np.abs(difference) < np.abs(x) / 1024
    for index in map(tuple, np.argwhere(close)):
        numbers = (FIFTY_DIGITS.divide(*v[index].as_integer_ratio()) for v in (t, x))
        log_t, x_here = FIFTY_DIGITS.ln(next(numbers)), next(numbers)
        difference[index] = LONG(str(FIFTY_DIGITS.subtract(log_t, x_here)))
    return difference


def element_scale(grad_output: Any, reduction: str, losses: int, batch: int = 1) -> Array:
    """What multiplies the derivative of each loss."""
    return long_ratio(grad_output, divisor(reduction, losses, batch))[..., 0]


# The sigmoid family


def logistic(x: Array) -> tuple[Array, Array]:
    """With e = exp(-|x|): sigmoid(-|x|) = e / (1 + e), and log(1 + e)."""
    e = np.exp(-np.abs(x))
    return e / (1 + e), np.log1p(e)


def sigmoid(input: Any) -> Array:
    x = wide(input)
    q, _ = logistic(x)
    return np.where(x > 0, 1 - q, q)


def sigmoid_backward(grad_output: Any, input: Any) -> Array:
    """g q (1 - q)"""
    q, _ = logistic(wide(input))
    return wide(grad_output) * q * (1 - q)


def log_sigmoid(input: Any) -> Array:
    """min(x, 0) - log1p(exp(-|x|)): two terms of one sign."""
    x = wide(input)
    return np.minimum(x, 0) - logistic(x)[1]


def log_sigmoid_backward(grad_output: Any, input: Any) -> Array:
    """g sigmoid(-x)"""
    return wide(grad_output) * sigmoid(-wide(input))


# Binary cross-entropies


def element_weight(weight: Any, like: Any) -> Array:
    """Weights as the losses use them: rounded to the type of the losses, 1 if not given."""
    return LONG(1) if weight is None else wide(np.asarray(weight).astype(loss_dtype(like)))


def binary_cross_entropy(
    input: Any, target: Any, *, weight: Any = None, reduction: str = "mean"
) -> Any:
    """-w (y max(log x, -100) + (1 - y) max(log1p(-x), -100))"""
    like = wider(input, target)
    x, y, w = wide(input), wide(target), element_weight(weight, like)
    with np.errstate(divide="ignore"):
        log_x, log1m_x = np.maximum(np.log(x), -100), np.maximum(np.log1p(-x), -100)
    losses = -w * (y * log_x + (1 - y) * log1m_x)
    return reduce_losses(losses, reduction, divisor(reduction, x.size), like) + 0.0


def binary_cross_entropy_backward(
    grad_output: Any, input: Any, target: Any, *, weight: Any = None, reduction: str = "mean"
) -> Array:
    """g k w (x - y) / max(x (1 - x), EPSILON)"""
    x, y, w = wide(input), wide(target), element_weight(weight, wider(input, target))
    scale = element_scale(grad_output, reduction, x.size)
    return scale * w * (x - y) / np.maximum(x * (1 - x), wide(EPSILON))


def binary_masses(
    input: Any, target: Any, weight: Any, pos_weight: Any
) -> tuple[Array, Array, Array, Array]:
    """Logits x, the masses n = w (1 - y) and p = w pos_weight y, and their sum, which is w if
    there is no pos_weight. The loss is n softplus(x) + p softplus(-x).
    """
    like = wider(input, target)
    x, y = wide(input), wide(np.asarray(target).astype(loss_dtype(like)))
    w = element_weight(weight, like)
    n, p = w * (1 - y), w * element_weight(pos_weight, like) * y
    return x, n, p, w if pos_weight is None else n + p


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:
    """z |x| + (n + p) log1p(exp(-|x|)) with z = n for x > 0, else p; 0 * inf counts as 0."""
    x, n, p, both = binary_masses(input, target, weight, pos_weight)
    z = np.where(x > 0, n, p)
    with np.errstate(invalid="ignore"):
        losses = np.where(z == 0, 0, z * np.abs(x)) + both * logistic(x)[1]
    like = wider(input, target)
    return reduce_losses(losses, reduction, divisor(reduction, x.size), like) + 0.0


def binary_cross_entropy_with_logits_backward(
    grad_output: Any,
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Array:
    """g k ((n + p) sigmoid(x) - p) with sigmoid(x) = (1 + tanh(x / 2)) / 2 about 0."""
    x, n, p, both = binary_masses(input, target, weight, pos_weight)
    q, _ = logistic(x)
    far = np.where(x > 0, n - both * q, both * q - p)
    near = (n - p + both * np.tanh(x / 2)) / 2
    scale = element_scale(grad_output, reduction, x.size)
    return scale * np.where(np.abs(x) < 1, near, far)


def binary_cross_entropy_with_logits_terms(
    grad_output: Any,
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Array:
    """The larger of the two terms of the gradient: g k n for x > 0, g k p for x <= 0, and
    g k (n + p) sigmoid(-|x|).
    """
    x, n, p, both = binary_masses(input, target, weight, pos_weight)
    size = np.maximum(np.abs(np.where(x > 0, n, p)), np.abs(both * logistic(x)[0]))
    return np.abs(element_scale(grad_output, reduction, x.size)) * size


# kl_div


def kl_div(input: Any, target: Any, *, reduction: str = "mean", log_target: bool = False) -> Any:
    """t (log t - x), or exp(t) (t - x) of a log_target; 0 (log 0 - x) counts as 0 * -x, and that
    as 0 for x = -inf.
    """
    x, t = np.broadcast_arrays(wide(input), wide(target))
    with np.errstate(over="ignore", invalid="ignore"):
        if log_target:
            # exp(t) may be infinite beside a difference of 0.
            terms = np.where((t == x) & np.isfinite(t), 0, np.exp(t) * (t - x))
            absent = np.isneginf(t)
        else:
            terms, absent = t * log_difference(t, x), t == 0
        losses = np.where(absent, np.where(np.isneginf(x), 0, 0 * x), terms)
    batch = np.shape(input)[0] if np.ndim(input) else 1
    denominator = divisor(reduction, losses.size, batch)
    return reduce_losses(losses, reduction, denominator, wider(input, target)) + 0.0


def kl_div_backward(
    grad_output: Any,
    input: Any,
    target: Any,
    *,
    reduction: str = "mean",
    log_target: bool = False,
) -> Array:
    """-g k t, or -g k exp(t), summed over the axes along which the input was broadcast."""
    shape = np.broadcast_shapes(np.shape(input), np.shape(target))
    batch = np.shape(input)[0] if np.ndim(input) else 1
    scale = element_scale(grad_output, reduction, int(np.prod(shape)), batch)
    with np.errstate(over="ignore"):
        t = np.exp(wide(target)) if log_target else wide(target)
    return summed_to(np.broadcast_to(-scale * t, shape), np.shape(input))
