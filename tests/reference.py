# SPDX-License-Identifier: BSD-3-Clause
# ruff: noqa: F401 (the other references are imported so that `reference` has them all)
"""The plain definition of every operation, for the tests to compare with.

Each function takes the arguments of its namesake in `logloss` and returns extended precision
(`numpy.longdouble`), unrounded, so that errors can be counted in units of the last place. Only the
reduced losses are final: "mean" and "sum" first round each loss to the type that "none" returns,
then form the exact sum or quotient of those and round it once, to a Python float.

Here are the softmax family, cross_entropy and nll_loss; `reference_elementwise` and
`reference_rows` hold the others, `reference_base` what they share. A function `f_terms` gives the
size of what enters the gradient of f where that is a difference.

Nothing here cancels for confident rows: the largest term of a row, exp(0) = 1, is left out of the
sum, which goes through log1p, so a loss of exp(-80) keeps all its digits.

On x86 `longdouble` has 64 significant bits, 11 more than float64; on aarch64 Linux 113. Where
it is just float64 (`EXTENDED` is False: macOS on ARM, Windows) this is still a sound reference for
float32 and smaller inputs, but not for float64.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from reference_base import (
    EXTENDED,
    LONG,
    Array,
    as_weight,
    classes_back,
    classes_last,
    exact,
    long_ratio,
    loss_dtype,
    quotient,
    reduce_losses,
    row_log_probs,
    row_probs,
    row_statistics,
    wide,
)
from reference_elementwise import (
    binary_cross_entropy,
    binary_cross_entropy_backward,
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_backward,
    binary_cross_entropy_with_logits_terms,
    kl_div,
    kl_div_backward,
    log_sigmoid,
    log_sigmoid_backward,
    sigmoid,
    sigmoid_backward,
)
from reference_rows import (
    cosine_embedding_loss,
    cosine_embedding_loss_backward,
    cosine_embedding_loss_terms,
    entropy,
    entropy_backward,
    entropy_terms,
    entropy_with_logits,
    entropy_with_logits_backward,
    entropy_with_logits_terms,
    kl_div_with_logits,
    kl_div_with_logits_backward,
    kl_div_with_logits_terms,
)

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
    """g - s sum(g)"""
    g = classes_last(grad_output, axis)
    s, _ = row_probs(classes_last(input, axis))
    return classes_back(g - s * g.sum(axis=-1, keepdims=True), input, axis)


def softmax_backward(grad_output: Any, input: Any, axis: int = -1) -> Array:
    """s (g - sum(g s))"""
    g = classes_last(grad_output, axis)
    s, _ = row_probs(classes_last(input, axis))
    return classes_back(s * (g - (g * s).sum(axis=-1, keepdims=True)), input, axis)


def logsumexp_backward(
    grad_output: Any, input: Any, axis: int = -1, *, keepdims: bool = False
) -> Array:
    """g s; in the limit 1/k at each of k entries of +inf, and 0 for a row that is all -inf."""
    x = classes_last(input, axis)
    g = wide(grad_output).reshape(x.shape[:-1])[..., None]
    s, _ = row_probs(x)
    m = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
    at_top = x == m
    share = at_top / np.maximum(at_top.sum(axis=-1, keepdims=True), 1).astype(LONG)
    s = np.where(np.isposinf(m), share, np.where(np.isneginf(m), 0, s))
    return classes_back(g * s, input, axis)


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
    """g k (q_c sum(v) - v_c) = g k (q_c sum of the other v - v_c (1 - q_c)); ignored rows 0."""
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
