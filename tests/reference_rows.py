# SPDX-License-Identifier: BSD-3-Clause
"""The plain definition of the operations on pairs of rows and of entropies; see `reference`."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from reference_base import (
    LONG,
    Array,
    classes_back,
    classes_last,
    divisor,
    long_ratio,
    reduce_losses,
    row_log_probs,
    row_probs,
    row_statistics,
    summed_to,
    wide,
    wider,
)
from reference_elementwise import EPSILON, log_difference

# kl_div_with_logits


def exact_difference(a: Array, b: Array) -> tuple[Array, Array]:
    """a - b of finite numbers as the rounded difference and the rest; equal infinities give 0."""
    with np.errstate(invalid="ignore"):
        high = np.where(a == b, 0, a - b)
        part = high - a
        low = (a - (high - part)) - (b + part)
    return high, np.where(np.isfinite(low), low, 0)


def log_ratio(x: Array, t: Array) -> Array:
    """d = log p - log q with p = softmax(t), q = softmax(x).

    With e_c = (t_c - x_c) - (t_m - x_m), where m is the largest class of p, e_c - d_c is
    log(sum q exp(e)) = log1p(sum q expm1(e)), which keeps its digits where the rows are equal but
    for a constant and little else. No term is above 1: q exp(e) = q_m p / p_m.
    """
    if x.size == 0:
        return np.zeros_like(x)
    (p, _), (q, _), top = row_probs(t), row_probs(x), t.argmax(axis=-1, keepdims=True)
    p_top, q_top = (np.take_along_axis(a, top, -1) for a in (p, q))
    with np.errstate(invalid="ignore"):
        high, low = (d - np.take_along_axis(d, top, -1) for d in exact_difference(t, x))
        e = high + low
        terms = np.where(e < 1, q * np.expm1(np.minimum(e, 1)), q_top * (p / p_top) - q)
        excess = terms.sum(axis=-1, keepdims=True)
        near = np.abs(excess) < 0.5
        apart = row_log_probs(t) - row_log_probs(x)
    return np.where(near, e - np.log1p(np.where(near, excess, 0)), apart)


class Divergence:
    """Rows of logits as probabilities p of the target and q of the input, and what separates them.

    With d = log p - log q, per class: q - p = p (e^-d - 1), and q - p + p d = p (e^-d - 1 + d),
    whose sum is the divergence as the sum of p d is, but with no negative term. Both are formed
    from their power series where |d| < 1/2.
    """

    def __init__(self, input: Any, target: Any, axis: int):
        x, t = classes_last(input, axis), classes_last(target, axis)
        self.p, self.q, self.d = row_probs(t)[0], row_probs(x)[0], log_ratio(x, t)
        near = np.abs(self.d) < 0.5
        d = np.where(near, self.d, 0)
        series = np.ones_like(d)
        for n in range(30, 2, -1):
            series = 1 - d / n * series
        with np.errstate(invalid="ignore"):
            linear = np.where(self.p == 0, 0, self.p * self.d)
        self.gradient = np.where(near, self.p * np.expm1(-d), self.q - self.p)
        terms = np.where(near, self.p * d * d / 2 * series, self.q - self.p + linear)
        self.rows = terms.sum(axis=-1)


def divergence_divisor(input: Any, reduction: str) -> Fraction:
    shape = np.shape(input)
    return divisor(reduction, math.prod(shape), shape[0] if shape else 1)


def kl_div_with_logits(
    input: Any, target: Any, *, reduction: str = "batchmean", axis: int = -1
) -> Any:
    """sum_c p_c (log p_c - log q_c) of each row."""
    losses = Divergence(input, target, axis).rows
    denominator = divergence_divisor(input, reduction)
    return reduce_losses(losses, reduction, denominator, wider(input, target)) + 0.0


def kl_div_with_logits_backward(
    grad_output: Any,
    input: Any,
    target: Any,
    *,
    reduction: str = "batchmean",
    axis: int = -1,
    target_grad: bool = False,
) -> Any:
    """g k (q - p); with `target_grad` also g k p (d - KL)."""
    kl = Divergence(input, target, axis)
    scale = long_ratio(grad_output, divergence_divisor(input, reduction))
    input_grad = classes_back(scale * kl.gradient, input, axis)
    if not target_grad:
        return input_grad
    divergence = kl.rows[..., None]
    with np.errstate(invalid="ignore"):
        grad = kl.p * (kl.d - divergence)
    grad = np.where((kl.p == 0) & ~np.isnan(divergence), 0, grad)
    return input_grad, classes_back(scale * grad, target, axis)


def kl_div_with_logits_terms(
    grad_output: Any,
    input: Any,
    target: Any,
    *,
    reduction: str = "batchmean",
    axis: int = -1,
    target_grad: bool = False,
) -> Any:
    """The largest of what each gradient is the difference of: g k q and g k p; with `target_grad`
    also g k p log p, g k p log q and g k p KL.
    """
    kl = Divergence(input, target, axis)
    scale = np.abs(long_ratio(grad_output, divergence_divisor(input, reduction)))
    input_terms = classes_back(scale * np.maximum(kl.p, kl.q), input, axis)
    if not target_grad:
        return input_terms
    logs = (-row_log_probs(classes_last(rows, axis)) for rows in (input, target))
    with np.errstate(invalid="ignore"):
        size = kl.p * np.maximum(np.maximum(*logs), kl.rows[..., None])
    return input_terms, classes_back(scale * np.where(kl.p == 0, 0, size), target, axis)


# Entropies


def surprise(p: Array, minus_log: Array) -> Array:
    """p (-log p), 0 for p = 0."""
    with np.errstate(invalid="ignore"):
        return np.where(p == 0, 0, p * minus_log)


def entropy(probs: Any, axis: int = -1) -> Array:
    p = classes_last(probs, axis)
    with np.errstate(divide="ignore", invalid="ignore"):
        return surprise(p, -np.log(p)).sum(axis=-1)


def entropy_backward(grad_output: Any, probs: Any, axis: int = -1) -> Array:
    """-g (log p + 1)"""
    p = classes_last(probs, axis)
    with np.errstate(invalid="ignore"):
        return classes_back(-wide(grad_output)[..., None] * log_difference(p, -1), probs, axis)


def entropy_terms(grad_output: Any, probs: Any, axis: int = -1) -> Array:
    """The larger of the two terms of the gradient, g log p and g."""
    p = classes_last(probs, axis)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.maximum(np.abs(np.log(p)), 1)
        return classes_back(np.abs(wide(grad_output))[..., None] * size, probs, axis)


def entropy_with_logits(input: Any, axis: int = -1) -> Array:
    """sum_c s_c (-log s_c), of terms that are not negative."""
    x = classes_last(input, axis)
    return surprise(row_probs(x)[0], -row_log_probs(x)).sum(axis=-1)


def entropy_with_logits_backward(grad_output: Any, input: Any, axis: int = -1) -> Array:
    """g s (-log s - H) = g s (mean of x - x), with x relative to its maximum."""
    x = classes_last(input, axis)
    (s, _), (m, _, _) = row_probs(x), row_statistics(x)
    with np.errstate(invalid="ignore"):
        below = np.where(s == 0, 0, m - x)
    grad = s * (below - (s * below).sum(axis=-1, keepdims=True))
    return classes_back(wide(grad_output)[..., None] * grad, input, axis)


def entropy_with_logits_terms(grad_output: Any, input: Any, axis: int = -1) -> Array:
    """The larger of the two terms of the gradient, g s log s and g s H."""
    x = classes_last(input, axis)
    s, minus_log = row_probs(x)[0], -row_log_probs(x)
    mean = surprise(s, minus_log).sum(axis=-1, keepdims=True)
    size = np.maximum(surprise(s, minus_log), s * mean)
    return classes_back(np.abs(wide(grad_output))[..., None] * size, input, axis)


# cosine_embedding_loss


def in_units(x: Any, units: int) -> int:
    numerator, denominator = x.as_integer_ratio()
    return int(numerator * units // denominator)


def ratio(numerator: int, denominator: int) -> Any:
    """The quotient in extended precision, as the float64 nearest to it and the rest."""
    high = numerator / denominator
    n, d = high.as_integer_ratio()
    return LONG(high) + LONG((numerator * d - n * denominator) / (denominator * d))


def ratios(numerators: Any, denominators: Any) -> Array:
    return np.asarray(np.frompyfunc(ratio, 2, 1)(numerators, denominators)).astype(LONG)


class Cosines:
    """Of each pair of rows, exactly: a and b as integers, in units so small that they are; in
    units squared a.b, A = a.a + EPSILON, B = b.b + EPSILON and the root of A B. Nothing cancels.
    """

    def __init__(self, input1: Any, input2: Any, target: Any, margin: float):
        inputs = [np.atleast_2d(wide(v)) for v in (input1, input2)]
        finite = [np.isfinite(v) for v in inputs]
        numbers = [np.where(known, v, 0) for known, v in zip(finite, inputs, strict=True)]
        denominators = (x.as_integer_ratio()[1] for v in numbers for x in v.flat)
        self.units = units = max(2**128, max(denominators, default=1))
        a, b = (np.frompyfunc(lambda x: in_units(x, units), 1, 1)(v) for v in numbers)
        self.sides = a, b
        self.ab = (a * b).sum(axis=1)
        epsilon = in_units(EPSILON, units) * units
        self.squares = [(v * v).sum(axis=1) + epsilon for v in (a, b)]
        self.root = np.frompyfunc(math.isqrt, 1, 1)(self.squares[0] * self.squares[1])
        # cosine - margin
        n, self.margin_unit = float(margin).as_integer_ratio()
        self.excess = self.ab * self.margin_unit - n * self.root
        y = np.atleast_1d(target)
        passes = np.asarray(self.excess >= 0, bool)
        # The derivative of the loss with respect to the cosine.
        self.slope = np.where(y == 1, -1, np.where((y == -1) & passes, 1, 0)).astype(LONG)
        self.known = (finite[0].all(axis=1) & finite[1].all(axis=1)) | (np.abs(wide(y)) != 1)
        self.y = y
        shapes = (np.shape(v)[:-1] for v in (input1, input2))
        self.shape = np.broadcast_shapes(*shapes, np.shape(target))

    def losses(self) -> Array:
        similar = ratios(self.root - self.ab, self.root)
        apart = ratios(np.maximum(self.excess, 0), self.root * self.margin_unit)
        losses = np.where(self.y == 1, similar, np.where(self.y == -1, apart, 0))
        return np.where(self.known, losses, LONG("nan")).reshape(self.shape)

    def gradient(self, side: int, scale: Array) -> tuple[Array, Array]:
        """Of the cosine with respect to a: b / root - a (a.b) / (A root), or to b alike; and the
        larger of the two terms. Both times `scale` and the slope of the loss.
        """
        v, other, square = self.sides[side], self.sides[1 - side], self.squares[side][:, None]
        first, second = other * square, self.ab[:, None] * v
        size = np.maximum(np.abs(first), np.abs(second))
        slope = np.where(self.known, self.slope, LONG("nan"))[:, None] * scale
        divisor = self.root[:, None] * square
        gradient, terms = (ratios(n * self.units, divisor) for n in (first - second, size))
        return slope * gradient, np.abs(slope) * terms


def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, *, margin: float = 0.0, reduction: str = "mean"
) -> Any:
    """1 - cosine for y = 1, max(0, cosine - margin) for y = -1, else 0."""
    losses = Cosines(input1, input2, target, margin).losses()
    like = wider(input1, input2)
    return reduce_losses(losses, reduction, divisor(reduction, losses.size), like) + 0.0


def cosine_gradients(
    grad_output: Any, input1: Any, input2: Any, target: Any, margin: float, reduction: str
) -> list[tuple[Array, Array]]:
    """For each input the gradient and its larger term, summed where one row meets many."""
    cosines = Cosines(input1, input2, target, margin)
    scale = long_ratio(grad_output, divisor(reduction, math.prod(cosines.shape)))
    both = (cosines.gradient(side, scale) for side in (0, 1))
    shapes = np.shape(input1), np.shape(input2)
    return [
        tuple(summed_to(v, shape) for v in pair) for pair, shape in zip(both, shapes, strict=True)
    ]


def cosine_embedding_loss_backward(
    grad_output: Any,
    input1: Any,
    input2: Any,
    target: Any,
    *,
    margin: float = 0.0,
    reduction: str = "mean",
) -> tuple[Array, Array]:
    """g k slope (b / root - a (a.b) / (A root)), and the same with a and b exchanged."""
    (grad1, _), (grad2, _) = cosine_gradients(
        grad_output, input1, input2, target, margin, reduction
    )
    return grad1, grad2


def cosine_embedding_loss_terms(
    grad_output: Any,
    input1: Any,
    input2: Any,
    target: Any,
    *,
    margin: float = 0.0,
    reduction: str = "mean",
) -> tuple[Array, Array]:
    """The larger of the two terms of each gradient."""
    (_, terms1), (_, terms2) = cosine_gradients(
        grad_output, input1, input2, target, margin, reduction
    )
    return terms1, terms2
