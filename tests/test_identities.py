# SPDX-License-Identifier: BSD-3-Clause
"""What the operations have to do with each other: entropy and divergence add up to cross-entropy,
two classes are the binary case, the gradient of logits sums to 0, softmax to 1.

Both sides of an identity keep promises in ulps of their own, and those are what they may differ by;
where one side is made of rounded numbers, so is what these may be off by, carried through.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import grid
import logloss
import reference as ref
from conftest import DTYPE_NAMES, named_dtype
from elementwise import PROFILE
from grid import CANCELLING_ULPS, DEVIATIONS, promised
from test_kl_div_with_logits import FLOAT32_FLOOR, FLOAT64_LOGS
from ulp import FORMATS, Array, ulp

FEW = settings(PROFILE, max_examples=40)
OF_EACH_DTYPE = pytest.mark.parametrize("name", DTYPE_NAMES)
SEEDS = st.integers(0, 2**32 - 1)
DEVIATION = st.sampled_from(DEVIATIONS)
CLASSES = st.one_of(st.integers(1, 6), st.sampled_from((15, 16, 17, 33, 127, 1000)))
SHAPES = st.tuples(st.integers(1, 5), CLASSES)


class Rows(NamedTuple):
    """Two arrays of logits of one shape, and a class, a weight of a class and a g for each row."""

    x: Array
    t: Array
    y: Array
    weight: Array
    g: Array


def draw_rows(name: str, seed: int, shape: tuple[int, int], deviation: float) -> Rows:
    generator = np.random.default_rng(seed)
    x, t = generator.normal(0, deviation, (2, *shape)).astype(named_dtype(name))
    y = generator.integers(0, shape[1], shape[0])
    weight = generator.integers(1, 8, shape[1]) / 4
    return Rows(x, t, y, weight, generator.normal(size=shape[0]))


def compute(dtype: Any) -> str:
    """The type that is calculated in."""
    return "float64" if dtype == np.float64 else "float32"


def allowed(ulps: float, value: Any, dtype: Any) -> Array:
    """What a result may be off by that is promised to so many ulps; `value` is that result."""
    return np.asarray(promised(ulps, dtype) * ulp(1.01 * ref.wide(value), dtype))


def check(actual: Any, right: Any, limit: Any) -> None:
    error = np.abs(ref.wide(actual) - ref.wide(right))
    assert np.shape(actual) == np.shape(right)
    assert (error <= limit).all(), f"{float(np.max(error / limit))} times what is allowed"


def reduced(values: Array, reduction: str, divisor: float) -> Array:
    """The sum or mean of what is given for each sample."""
    if reduction == "none":
        return values
    return np.asarray(values.sum() / (1 if reduction == "sum" else divisor))


# ------------------------------------------------------------------------ entropy and divergence


@OF_EACH_DTYPE
@given(seed=SEEDS, shape=SHAPES, deviation=DEVIATION, share=st.sampled_from((0.0, 0.3)))
@FEW
def test_cross_entropy_is_entropy_and_divergence(
    name: str, seed: int, shape: tuple[int, int], deviation: float, share: float
) -> None:
    """CE(p, q) = H(p) + KL(p || q), whatever the sum of p, of which a share is 0."""
    x, t, *_ = draw_rows(name, seed, shape, deviation)
    p = logloss.softmax(t)
    p[np.random.default_rng(seed).random(shape) < share] = 0
    log_q = logloss.log_softmax(x)

    total = logloss.cross_entropy(x, p, reduction="none")
    entropy, terms = logloss.entropy(p), logloss.kl_div(log_q, p, reduction="none")
    # A term of the divergence is also allowed half an ulp of p.
    of_p = np.ldexp(1.0, -FORMATS[total.dtype.name][0])
    limit = (
        allowed(2, terms, total.dtype) + ref.wide(p) * (allowed(2, log_q, x.dtype) + of_p)
    ).sum(axis=-1)
    limit += allowed(2, total, total.dtype) + allowed(2, entropy, x.dtype)
    check(total, ref.wide(entropy) + ref.wide(terms).sum(axis=-1), limit)
    for reduction, of_terms in (("sum", "sum"), ("mean", "batchmean")):
        check(
            logloss.cross_entropy(x, p, reduction=reduction),
            reduced(ref.wide(entropy), reduction, shape[0])
            + logloss.kl_div(log_q, p, reduction=of_terms),
            reduced(limit, reduction, shape[0]),
        )


def of_divergence(kl: Array, dtype: Any) -> Array:
    """What kl_div_with_logits may be off by: float64 by its logarithms too."""
    limit = allowed(2, kl, kl.dtype) + FLOAT32_FLOOR
    known = FLOAT64_LOGS * (np.sqrt(kl) + FLOAT64_LOGS)
    return np.maximum(limit, known) if dtype == np.float64 else limit


@OF_EACH_DTYPE
@given(seed=SEEDS, shape=SHAPES, deviation=DEVIATION)
@FEW
def test_cross_entropy_is_entropy_and_divergence_of_logits(
    name: str, seed: int, shape: tuple[int, int], deviation: float
) -> None:
    """Here p is a softmax, rounded for the cross-entropy alone."""
    x, t, *_ = draw_rows(name, seed, shape, deviation)
    p = logloss.softmax(t)
    of_p = (allowed(3, p, x.dtype) * np.abs(ref.log_softmax(x))).sum(axis=-1)
    entropy, total = logloss.entropy_with_logits(t), logloss.cross_entropy(x, p, reduction="none")
    limit = allowed(2, total, total.dtype) + allowed(2, entropy, x.dtype) + of_p
    for reduction, of_rows in (("none", "none"), ("sum", "sum"), ("mean", "batchmean")):
        each = logloss.kl_div_with_logits(x, t, reduction="none")
        check(
            logloss.cross_entropy(x, p, reduction=reduction),
            reduced(ref.wide(entropy), reduction, shape[0])
            + logloss.kl_div_with_logits(x, t, reduction=of_rows),
            reduced(limit + of_divergence(each, x.dtype), reduction, shape[0]),
        )


@OF_EACH_DTYPE
@given(seed=SEEDS, shape=SHAPES, deviation=DEVIATION)
@FEW
def test_divergence_of_logits_is_that_of_log_probabilities(
    name: str, seed: int, shape: tuple[int, int], deviation: float
) -> None:
    """With and without `log_target`; its gradient is that of cross-entropy, as H has none."""
    x, t, *_ = draw_rows(name, seed, shape, deviation)
    dtype, p = x.dtype, logloss.softmax(t)
    log_q, log_p = logloss.log_softmax(x), logloss.log_softmax(t)
    each = logloss.kl_div_with_logits(x, t, reduction="none")
    differences = np.abs(ref.log_softmax(t) - ref.log_softmax(x)) + 1
    for target, log_target, of_target in (
        (p, False, allowed(3, p, dtype)),
        (log_p, True, ref.wide(p) * allowed(2, log_p, dtype)),
    ):
        terms = logloss.kl_div(log_q, target, reduction="none", log_target=log_target)
        of_terms = allowed(2, terms, each.dtype) + 2 * of_target * differences
        of_terms += ref.wide(p) * allowed(2, log_q, dtype)
        limit = of_terms.sum(axis=-1) + of_divergence(each, dtype)
        check(each, ref.wide(terms).sum(axis=-1), limit)

    gradient = logloss.kl_div_with_logits_backward(1.0, x, t, reduction="sum")
    other = logloss.cross_entropy_backward(1.0, x, p, reduction="sum")
    terms = np.maximum(p.astype(np.longdouble), ref.softmax(x))
    limit = 2 * allowed(CANCELLING_ULPS, terms, compute(dtype)) + ulp(gradient, dtype)
    limit += allowed(3, p, dtype) + ref.softmax(x) * allowed(3, p, dtype).sum(-1, keepdims=True)
    limit += FLOAT64_LOGS * terms if dtype == np.float64 else 0
    check(gradient, other, limit)


# ----------------------------------------------------------------------------- log_softmax and NLL


@OF_EACH_DTYPE
@given(seed=SEEDS, shape=SHAPES, deviation=DEVIATION, ignored=st.booleans(), weighted=st.booleans())
@FEW
def test_cross_entropy_is_nll_loss_of_log_softmax(
    name: str,
    seed: int,
    shape: tuple[int, int],
    deviation: float,
    ignored: bool,
    weighted: bool,
) -> None:
    x, _, y, weight, g = draw_rows(name, seed, shape, deviation)
    dtype, row = x.dtype, np.arange(len(x))
    options: dict[str, Any] = {"weight": weight if weighted else None}
    if ignored and (y != y[0]).any():
        options["ignore_index"] = int(y[0])
    w = np.where(y == options.get("ignore_index"), 0, weight[y] if weighted else 1)
    log_q = logloss.log_softmax(x)
    each = logloss.cross_entropy(x, y, reduction="none", **options)
    limit = allowed(2, each, each.dtype) + w * allowed(2, log_q[row, y], dtype)
    limit += allowed(2, each, each.dtype)
    for reduction in ("none", "sum", "mean"):
        options["reduction"] = reduction
        loss = logloss.cross_entropy(x, y, **options)
        nll = logloss.nll_loss(log_q, y, **options)
        check(loss, nll, reduced(limit, reduction, w.sum()))

        upstream = g if reduction == "none" else 0.75
        gradient = logloss.cross_entropy_backward(upstream, x, y, **options)
        inner = logloss.nll_loss_backward(upstream, log_q, y, **options)
        terms = grid.cross_entropy_terms(upstream, x, y, **options)
        off = 2 * allowed(CANCELLING_ULPS, terms, compute(dtype)) + allowed(2, gradient, dtype)
        off += allowed(2, inner, dtype) + ulp(1.01 * ref.wide(gradient), dtype)
        check(gradient, logloss.log_softmax_backward(inner, x), off)


# ---------------------------------------------------------------------------------- two classes


@OF_EACH_DTYPE
@given(seed=SEEDS, n=st.sampled_from((1, 5, 17, 130)))
@FEW
def test_binary_cross_entropy_is_nll_loss_of_two_classes(name: str, seed: int, n: int) -> None:
    """Of probabilities whose distance from 1 every type has."""
    dtype, generator = named_dtype(name), np.random.default_rng(seed)
    q, y = generator.integers(1, 256, n) / 256, generator.integers(0, 2, n)
    log_q = np.log(np.stack([1 - q, q], axis=-1)).astype(dtype)
    each = logloss.binary_cross_entropy(q.astype(dtype), y, reduction="none")
    limit = 2 * allowed(2, each, each.dtype) + ulp(1.01 * ref.wide(each), dtype)
    for reduction in ("none", "sum", "mean"):
        check(
            logloss.binary_cross_entropy(q.astype(dtype), y, reduction=reduction),
            logloss.nll_loss(log_q, y, reduction=reduction),
            reduced(limit, reduction, n),
        )


@OF_EACH_DTYPE
@given(seed=SEEDS, n=st.sampled_from((1, 5, 17, 130)), deviation=DEVIATION, hard=st.booleans())
@FEW
def test_binary_cross_entropy_with_logits_is_cross_entropy_of_two_classes(
    name: str, seed: int, n: int, deviation: float, hard: bool
) -> None:
    """The logits 0 and x; pos_weight is the weight of the second class."""
    dtype, generator = named_dtype(name), np.random.default_rng(seed)
    x = generator.normal(0, deviation, n).astype(dtype)
    pair = np.stack([np.zeros_like(x), x], axis=-1)
    y = generator.integers(0, 2, n) if hard else generator.integers(0, 257, n) / 256
    target = y if hard else np.stack([1 - y, y], axis=-1).astype(dtype)
    y = y.astype(dtype)
    for weight in (None, 2.5):
        options = {"weight": None if weight is None else np.array([1, weight])}
        each = logloss.binary_cross_entropy_with_logits(x, y, reduction="none", pos_weight=weight)
        limit = 2 * allowed(2, each, each.dtype)
        check(each, logloss.cross_entropy(pair, target, reduction="none", **options), limit)
        total = logloss.binary_cross_entropy_with_logits(x, y, reduction="sum", pos_weight=weight)
        right = logloss.cross_entropy(pair, target, reduction="sum", **options)
        check(total, right, limit.sum())

        gradient = logloss.binary_cross_entropy_with_logits_backward(
            1.0, x, y, reduction="sum", pos_weight=weight
        )
        options |= {"reduction": "sum"}
        other = logloss.cross_entropy_backward(1.0, pair, target, **options)
        terms = grid.cross_entropy_terms(1.0, pair, target, **options)
        off = 2 * allowed(CANCELLING_ULPS, terms, compute(dtype)) + ulp(
            1.01 * ref.wide(other), dtype
        )
        check(np.stack([-gradient, gradient], axis=-1), other, off)

    sigmoid, log_sigmoid = logloss.sigmoid(x), logloss.log_sigmoid(x)
    off = allowed(2, sigmoid, dtype) + allowed(3, sigmoid, dtype)
    check(sigmoid, logloss.softmax(pair)[:, 1], off)
    check(log_sigmoid, logloss.log_softmax(pair)[:, 1], 2 * allowed(2, log_sigmoid, dtype))


@pytest.mark.parametrize("name", ("float32", "float64"))
@given(seed=SEEDS, n=st.sampled_from((1, 5, 17, 130)), hard=st.booleans(), weighted=st.booleans())
@FEW
def test_binary_cross_entropy_with_logits_is_that_of_the_sigmoid(
    name: str, seed: int, n: int, hard: bool, weighted: bool
) -> None:
    """As far as 1 - sigmoid keeps any digits."""
    dtype, generator = named_dtype(name), np.random.default_rng(seed)
    reach = 12 if dtype == np.float32 else 30
    x = generator.uniform(-80, reach, n).astype(dtype)
    y = (generator.integers(0, 2, n) if hard else generator.random(n)).astype(dtype)
    weight = generator.integers(1, 8, n) / 4 if weighted else np.ones(n)
    q = logloss.sigmoid(x)
    off = allowed(2, q, dtype)
    # log moves by less than off / (what is left of its argument).
    slopes = y / (ref.wide(q) - off) + (1 - ref.wide(y)) / (1 - ref.wide(q) - off)
    options: dict[str, Any] = {"weight": weight}
    each = logloss.binary_cross_entropy_with_logits(x, y, reduction="none", **options)
    limit = 2 * allowed(2, each, dtype) + weight * off * slopes
    for reduction in ("none", "sum", "mean"):
        check(
            logloss.binary_cross_entropy_with_logits(x, y, reduction=reduction, **options),
            logloss.binary_cross_entropy(q, y, reduction=reduction, **options),
            reduced(limit, reduction, n),
        )


# ------------------------------------------------------------------------------------------- sums


def row_sums(values: Array) -> Array:
    """Correctly rounded."""
    return np.array([math.fsum(row) for row in values.astype(np.float64).tolist()])


@OF_EACH_DTYPE
@given(seed=SEEDS, shape=SHAPES, deviation=DEVIATION)
@FEW
def test_softmax_sums_to_1_and_is_the_exponential(
    name: str, seed: int, shape: tuple[int, int], deviation: float
) -> None:
    x, *_ = draw_rows(name, seed, shape, deviation)
    s, log_s = logloss.softmax(x), logloss.log_softmax(x)
    off = allowed(3, s, x.dtype)
    check(row_sums(s), np.ones(shape[0]), off.sum(axis=-1))
    of_exp = (ref.wide(s) + off) * np.expm1(allowed(2, log_s, x.dtype))
    check(np.exp(ref.wide(log_s)), s, off + of_exp)


@OF_EACH_DTYPE
@given(seed=SEEDS, shape=SHAPES, deviation=DEVIATION)
@FEW
def test_gradients_of_logits_sum_to_0(
    name: str, seed: int, shape: tuple[int, int], deviation: float
) -> None:
    """To shift all logits of a row changes nothing that follows from their softmax."""
    x, t, y, weight, g = draw_rows(name, seed, shape, deviation)
    dtype, s = x.dtype, ref.softmax(x)
    gradients: list[tuple[Array, Any]] = []
    for target in (y, logloss.softmax(t)):
        for options in (
            {},
            {"weight": weight},
            {"label_smoothing": 0.25},
            {"weight": weight, "label_smoothing": 0.25},
        ):
            for reduction, upstream in (("none", g), ("mean", 0.75), ("sum", 0.75)):
                call: Any = {**options, "reduction": reduction}
                gradient = logloss.cross_entropy_backward(upstream, x, target, **call)
                terms = grid.cross_entropy_terms(upstream, x, target, **call)
                gradients.append((gradient, terms))
    upstream = t
    size = np.abs(ref.wide(t))
    gradients += [
        (
            logloss.log_softmax_backward(upstream, x),
            np.maximum(size, s * size.sum(axis=-1, keepdims=True)),
        ),
        (
            logloss.softmax_backward(upstream, x),
            s * np.maximum(size, (s * size).sum(axis=-1, keepdims=True)),
        ),
        (
            logloss.entropy_with_logits_backward(g, x),
            ref.entropy_with_logits_terms(g, x),
        ),
        *zip(
            logloss.kl_div_with_logits_backward(0.75, x, t, target_grad=True),
            ref.kl_div_with_logits_terms(0.75, x, t, target_grad=True),
            strict=True,
        ),
    ]
    for gradient, terms in gradients:
        off = promised(CANCELLING_ULPS, compute(dtype)) * ulp(terms, compute(dtype))
        off += FLOAT64_LOGS * terms if dtype == np.float64 else 0
        off += 0.5 * ulp(1.01 * ref.wide(gradient), dtype) if dtype.itemsize == 2 else 0
        check(row_sums(gradient), np.zeros(shape[0]), off.sum(axis=-1))
