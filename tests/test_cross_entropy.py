# SPDX-License-Identifier: BSD-3-Clause
"""cross_entropy: accuracy of values and gradients, reductions, options, limits and `out`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import logloss
import reference as ref
from grid import (
    CLASSES,
    DEVIATIONS,
    assert_cancelling,
    cell,
    cross_entropy_terms,
    promised,
)
from ulp import Array, assert_ulp

INF, NAN = np.inf, np.nan


def losses(input: Array, target: Array, **options: Any) -> Array:
    """Per-sample losses of logits with the classes on the last axis."""
    options = {"axis": -1, "reduction": "none"} | options
    return np.asarray(logloss.cross_entropy(input, target, **options))


def check_losses(input: Array, target: Array, **options: Any) -> None:
    actual = losses(input, target, **options)
    assert actual.dtype == ref.loss_dtype(input)
    options = {"axis": -1, "reduction": "none"} | options
    right = ref.cross_entropy(input, target, **options)
    assert_ulp(actual, right, promised(2, actual.dtype))


def check_index_gradient(input: Array, target: Array, **options: Any) -> None:
    """2 ulps at the target's element, 3 at the others, in the type of the input."""
    options = {"axis": -1} | options
    actual = logloss.cross_entropy_backward(1.0, input, target, **options)
    assert actual.dtype == input.dtype
    right = ref.cross_entropy_backward(1.0, input, target, **options)
    assert_ulp(actual, right, promised(3, input.dtype))
    at = np.arange(len(target)), target
    assert_ulp(actual[at], right[at], promised(2, input.dtype))


def check_mass_gradient(input: Array, target: Array, **options: Any) -> None:
    """Q sum(v) - v, in the units of the larger of its two terms."""
    options = {"axis": -1, "reduction": "sum"} | options
    actual = logloss.cross_entropy_backward(1.0, input, target, **options)
    right = ref.cross_entropy_backward(1.0, input, target, **options)
    terms = cross_entropy_terms(1.0, input, target, **options)
    assert_cancelling(actual, right, terms)


@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("classes", CLASSES)
def test_float32_keeps_its_promise(classes: int, deviation: float) -> None:
    logits, target = cell(classes, deviation, np.float32)
    check_losses(logits, target)
    check_index_gradient(logits, target, reduction="sum")


@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("classes", CLASSES)
def test_float64_keeps_its_promise(classes: int, deviation: float) -> None:
    logits, target = cell(classes, deviation, np.float64, share=0.3)
    check_losses(logits, target)
    check_index_gradient(logits, target, reduction="sum")


@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("classes", CLASSES)
def test_16_bits_have_float32_losses(
    classes: int, deviation: float, half_dtype: np.dtype[Any]
) -> None:
    logits, target = cell(classes, deviation, half_dtype, share=0.3)
    check_losses(logits, target)
    check_index_gradient(logits, target, reduction="sum")


SMALL_GRID = [(c, d) for c in (1, 2, 10, 127, 1000, 32000) for d in (1.0, 10.0)]


@pytest.mark.parametrize("smoothing", (1e-3, 0.1, 1.0))
@pytest.mark.parametrize(("classes", "deviation"), SMALL_GRID)
def test_label_smoothing_keeps_its_promise(
    classes: int, deviation: float, smoothing: float, dtype: np.dtype[Any]
) -> None:
    logits, target = cell(classes, deviation, dtype, share=0.1)
    weight = np.random.default_rng(1).uniform(0, 2, classes).astype(ref.loss_dtype(logits))
    for w in (None, weight):
        check_losses(logits, target, label_smoothing=smoothing, weight=w)
        check_mass_gradient(logits, target, label_smoothing=smoothing, weight=w)


@pytest.mark.parametrize(("classes", "deviation"), SMALL_GRID)
def test_class_weights_keep_the_promise(
    classes: int, deviation: float, dtype: np.dtype[Any]
) -> None:
    logits, target = cell(classes, deviation, dtype, share=0.1)
    weight = np.random.default_rng(2).uniform(0.01, 30, classes).astype(ref.loss_dtype(logits))
    check_losses(logits, target, weight=weight)
    for reduction in ("mean", "sum"):
        check_index_gradient(logits, target, weight=weight, reduction=reduction)


@pytest.mark.parametrize("smoothing", (0.0, 0.1))
@pytest.mark.parametrize(("classes", "deviation"), SMALL_GRID)
def test_probabilities_keep_the_promise(
    classes: int, deviation: float, smoothing: float, dtype: np.dtype[Any]
) -> None:
    """Dense, sparse and one-hot rows of probabilities, confident logits among them."""
    logits, target = cell(classes, deviation, dtype, share=0.1)
    rng = np.random.default_rng(3)
    p = rng.exponential(size=logits.shape) * (rng.random(logits.shape) < 0.7)
    p[::4] = np.arange(classes) == target[::4, None]
    p = (p / np.maximum(p.sum(axis=1, keepdims=True), 1e-3)).astype(dtype)
    weight = rng.uniform(0, 2, classes).astype(ref.loss_dtype(logits))
    for w in (None, weight):
        check_losses(logits, p, label_smoothing=smoothing, weight=w)
        check_mass_gradient(logits, p, label_smoothing=smoothing, weight=w)


def test_the_last_few_classes_of_a_long_row_have_their_own_coefficients(
    dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    """Rows are swept in chunks of 65536: here all of the mass lies in what is left after one."""
    classes, last = 65541, np.arange(65536, 65541)
    logits = rng.normal(0, 2, (3, classes)).astype(dtype)
    weight = np.full(classes, 2.0**-10, ref.loss_dtype(logits))
    weight[last] = (1, 2, 4, 8, 16)
    probs = np.zeros((3, classes), dtype)
    probs[:, last] = (0.5, 0.25, 0.125, 0.0625, 0.0625)
    for target in (last[:3], probs):
        check_losses(logits, target, weight=weight, label_smoothing=0.25)
        check_mass_gradient(logits, target, weight=weight, label_smoothing=0.25)


@pytest.mark.parametrize("classes", (3, 40, 1000))
@pytest.mark.parametrize("inner", (1, 7, 16, 33))
def test_inner_class_axis_keeps_its_promise(
    classes: int, inner: int, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    x = rng.normal(0, 5, (2, classes, inner))
    y = rng.integers(0, classes, (2, inner))
    x[0, y[0], np.arange(inner)] += 30
    x = x.astype(dtype)
    check_losses(x, y, axis=1)
    for smoothing in (0.0, 0.1):
        check_mass_gradient(x, y, axis=1, label_smoothing=smoothing)
    p = rng.dirichlet(np.ones(classes), (2, inner)).swapaxes(1, 2).astype(dtype)
    check_losses(x, p, axis=1)
    check_mass_gradient(x, p, axis=1)


@pytest.mark.parametrize("margin", (15.0, 25.0, 60.0, 86.0, 87.5, 95.0, 103.0, 110.0, 745.0, 800.0))
def test_confident_rows(margin: float, wide_dtype: np.dtype[Any]) -> None:
    """Losses down to the smallest numbers, and 0 only below them."""
    for classes in (2, 10, 1000):
        x = np.zeros((1, classes), wide_dtype)
        x[0, 1] = margin
        check_losses(x, np.array([1]))
        check_index_gradient(x, np.array([1]))
        check_losses(x, np.array([0]))


# Reductions


def class_weight(classes: int) -> Array:
    """Weights that are rounded to float32 beside logits of at most 32 bits."""
    return np.linspace(0.3, 1.7, classes)


@pytest.mark.parametrize("rows", (1, 3, 1000, 4099))
@pytest.mark.parametrize("smoothing", (0.0, 0.2))
def test_reductions_are_correctly_rounded(
    rows: int, smoothing: float, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    """The exact sum of the losses that "none" returns, divided exactly and rounded once."""
    x = rng.normal(0, 10, (rows, 7)).astype(dtype)
    y = rng.integers(0, 7, rows)
    for weight in (None, class_weight(7)):
        options: dict[str, Any] = {"weight": weight, "label_smoothing": smoothing}
        each = losses(x, y, **options, ignore_index=5)
        scored = y[y != 5]
        divisor = ref.exact(ref.as_weight(weight, x, 7)[scored])
        mean = logloss.cross_entropy(x, y, **options, ignore_index=5)
        total = logloss.cross_entropy(x, y, **options, ignore_index=5, reduction="sum")
        assert isinstance(mean, float) and isinstance(total, float)
        assert total == ref.quotient(each)
        if scored.size:
            assert mean == ref.quotient(each, divisor)
        p = rng.dirichlet(np.ones(7), rows).astype(dtype)
        each = losses(x, p, **options)
        assert logloss.cross_entropy(x, p, **options, reduction="sum") == ref.quotient(each)
        assert logloss.cross_entropy(x, p, **options) == ref.quotient(each, rows)


def test_large_sums_stay_exact(wide_dtype: np.dtype[Any]) -> None:
    """Losses of 1e30 and 1e-8 in one sum: the small ones decide how the large ones round."""
    x = np.zeros((1001, 3), wide_dtype)
    x[0, 0], x[1:, 1] = 1e30, 20.0
    y = np.ones(1001, np.int64)
    each = losses(x, y)
    assert logloss.cross_entropy(x, y, reduction="sum") == ref.quotient(each)
    assert logloss.cross_entropy(x, y) == ref.quotient(each, 1001)


def test_weighted_mean_of_one_row_has_no_weight(dtype: np.dtype[Any]) -> None:
    x = np.array([[0.5, -1.0, 2.0]], dtype)
    weight = np.array([0.25, 4.0, 8.0], ref.loss_dtype(x))  # powers of two: no rounding
    for y in range(3):
        assert logloss.cross_entropy(x, np.array([y]), weight=weight) == logloss.cross_entropy(
            x, np.array([y])
        )


def test_probabilities_are_averaged_over_positions_not_weights(dtype: np.dtype[Any]) -> None:
    x = np.array([[0.5, -1.0, 2.0], [1.0, 0.0, -2.0]], dtype)
    y = np.array([0, 1])
    one_hot = np.eye(3)[y].astype(dtype)
    weight = class_weight(3)
    each = losses(x, y, weight=weight)
    check_losses(x, one_hot, weight=weight)
    np.testing.assert_allclose(losses(x, one_hot, weight=weight), each, rtol=1e-6)
    mean = logloss.cross_entropy(x, one_hot, weight=weight)
    assert mean == ref.quotient(losses(x, one_hot, weight=weight), 2)
    by_weight = logloss.cross_entropy(x, y, weight=weight)
    assert by_weight == pytest.approx(2 * mean / (weight[0] + weight[1]), rel=1e-6)
    assert abs(by_weight - mean) > 0.01 * mean


@pytest.mark.parametrize("smoothing", (0.0, 0.1))
def test_probabilities_of_another_type(smoothing: float, rng: np.random.Generator) -> None:
    """The wider type holds for both; the gradient has the type of the logits."""
    x = rng.normal(0, 3, (5, 9)).astype(np.float16)
    p = rng.dirichlet(np.ones(9), 5)
    for logits_type, p_type, common in (
        (np.float32, np.float64, np.float64),
        (np.float64, np.float32, np.float64),
        (np.float16, np.float32, np.float32),
        (np.float16, np.float64, np.float64),
    ):
        logits, probs = x.astype(logits_type), p.astype(p_type)
        each = losses(logits, probs, label_smoothing=smoothing)
        right = losses(logits.astype(common), probs.astype(common), label_smoothing=smoothing)
        assert each.dtype == right.dtype == common
        np.testing.assert_array_equal(each, right)
        grad = logloss.cross_entropy_backward(1.0, logits, probs, label_smoothing=smoothing)
        right = logloss.cross_entropy_backward(
            1.0, logits.astype(common), probs.astype(common), label_smoothing=smoothing
        )
        assert grad.dtype == logits_type
        np.testing.assert_array_equal(grad, right.astype(logits_type))


# Ignored rows, zero weights, infinities


@pytest.mark.parametrize("ignore_index", (-100, 1, 255, -1, 10**12))
def test_ignored_rows_count_for_nothing(ignore_index: int, dtype: np.dtype[Any]) -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(0, 3, (6, 4)).astype(dtype)
    y = np.array([0, ignore_index, 2, 3, ignore_index, 0])
    weight = class_weight(4)
    kept = y != ignore_index
    for options in ({}, {"weight": weight}, {"weight": weight, "label_smoothing": 0.3}):
        options = options | {"ignore_index": ignore_index}
        each = losses(x, y, **options)
        np.testing.assert_array_equal(each[kept], losses(x[kept], y[kept], **options))
        np.testing.assert_array_equal(each[~kept], 0)
        for reduction in ("mean", "sum"):
            options["reduction"] = reduction
            assert logloss.cross_entropy(x, y, **options) == logloss.cross_entropy(
                x[kept], y[kept], **options
            )
            grad = logloss.cross_entropy_backward(1.0, x, y, **options)
            np.testing.assert_array_equal(grad[~kept], np.zeros_like(x[~kept]))
            np.testing.assert_array_equal(
                grad[kept], logloss.cross_entropy_backward(1.0, x[kept], y[kept], **options)
            )


def test_garbage_in_an_ignored_row_reaches_nothing(dtype: np.dtype[Any]) -> None:
    x = np.array([[NAN, 1, 2], [INF, 1, 2], [-INF] * 3, [0, 0, 0]], dtype)
    y = np.array([-100, -100, -100, 1])
    for smoothing in (0.0, 0.1):
        loss, grad = logloss.cross_entropy_value_and_grad(x, y, label_smoothing=smoothing)
        assert loss == logloss.cross_entropy(x[3:], y[3:], label_smoothing=smoothing)
        np.testing.assert_array_equal(grad[:3], np.zeros((3, 3), dtype))
        assert np.isfinite(grad[3].astype(float)).all() and grad[3].any()
        np.testing.assert_array_equal(losses(x, y, label_smoothing=smoothing)[:3], 0)


@pytest.mark.parametrize("target", ([-100, -100], [7, 7]))
def test_all_ignored(target: list[int], dtype: np.dtype[Any]) -> None:
    """The mean of nothing is NaN, but its gradient is 0."""
    x = np.array([[1, 2, 3], [NAN, 0, 0]], dtype)
    y, ignore = np.array(target), {"ignore_index": target[0]}
    for weight in (None, np.ones(3, ref.loss_dtype(x))):
        options: dict[str, Any] = {"weight": weight} | ignore
        assert math.isnan(logloss.cross_entropy(x, y, **options))
        assert logloss.cross_entropy(x, y, **options, reduction="sum") == 0.0
        np.testing.assert_array_equal(losses(x, y, **options), np.zeros(2))
        loss, grad = logloss.cross_entropy_value_and_grad(x, y, **options)
        assert math.isnan(loss)
        np.testing.assert_array_equal(grad, np.zeros_like(x))
        np.testing.assert_array_equal(
            logloss.cross_entropy_backward(1.0, x, y, **options), np.zeros_like(x)
        )


def test_total_weight_zero(wide_dtype: np.dtype[Any]) -> None:
    """0/0: a NaN mean and gradient; rows that are ignored still have gradient 0."""
    x = np.array([[1, 2, 3], [3, 1, 0], [0, 1, 2]], wide_dtype)
    y, weight = np.array([1, 1, -100]), np.array([1, 0, 1], wide_dtype)
    loss, grad = logloss.cross_entropy_value_and_grad(x, y, weight=weight)
    assert math.isnan(loss)
    assert np.isnan(grad[:2]).all()
    np.testing.assert_array_equal(grad[2], 0)
    np.testing.assert_array_equal(losses(x, y, weight=weight), np.zeros(3))
    assert logloss.cross_entropy(x, y, weight=weight, reduction="sum") == 0.0


def test_a_zero_probability_or_weight_hides_minus_infinity(dtype: np.dtype[Any]) -> None:
    x = np.array([[0, 0, -INF]], dtype)
    log2 = [np.float64(math.log(2)).astype(ref.loss_dtype(x))]
    p = np.array([[0.5, 0.5, 0]], dtype)
    np.testing.assert_array_equal(losses(x, p), log2)
    hidden = np.array([1, 1, 0], ref.loss_dtype(x))
    full = np.array([[0.5, 0.5, 0.7]], dtype)
    np.testing.assert_array_equal(losses(x, full, weight=hidden), log2)
    np.testing.assert_array_equal(losses(x, np.array([2]), weight=hidden), [0])
    np.testing.assert_array_equal(losses(x, full), [INF])
    np.testing.assert_array_equal(losses(x, np.array([2])), [INF])
    np.testing.assert_array_equal(losses(x, np.array([0]), label_smoothing=0.1), [INF])
    smooth = losses(x, np.array([0]), label_smoothing=0.25, weight=hidden)
    assert_ulp(smooth, np.longdouble([11 / 12]) * np.log(np.longdouble(2)), 2)
    grad = logloss.cross_entropy_backward(1.0, x, np.array([2]))
    np.testing.assert_array_equal(grad, np.array([[0.5, 0.5, -1]], dtype))
    np.testing.assert_array_equal(logloss.cross_entropy_backward(1.0, x, p), np.zeros_like(x))


@pytest.mark.parametrize("rows", (1, 20))
@pytest.mark.parametrize("classes", (3, 16, 17, 32, 40, 128, 200))
def test_classes_without_weight_hide_minus_infinity_anywhere(
    classes: int, rows: int, wide_dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    """They count as if they were not there."""
    x = rng.normal(0, 2, (rows, classes)).astype(wide_dtype)
    p = rng.uniform(0.5, 1, (rows, classes)).astype(wide_dtype)
    hidden = rng.permutation(classes)[: classes // 2]
    x[:, hidden], p[:, hidden] = -INF, 0
    assert_ulp(losses(x, p), losses(np.delete(x, hidden, 1), np.delete(p, hidden, 1)), 4)
    full = np.ones_like(p)
    weight = (p[0] != 0).astype(wide_dtype)
    assert_ulp(losses(x, full, weight=weight), losses(x, weight * full), 4)
    target = np.full(rows, np.flatnonzero(weight)[0])
    smooth = losses(x, target, weight=weight, label_smoothing=0.1)
    assert np.isfinite(smooth).all()
    options = {"weight": weight, "label_smoothing": 0.1, "reduction": "none"}
    assert_ulp(smooth, ref.cross_entropy(x, target, **options), 4)


SPECIAL_ROWS: dict[str, list[float]] = {
    "-inf among finite": [0.0, 1.0, -INF],
    "all -inf": [-INF] * 3,
    "inf": [0.0, INF, 1.0],
    "inf twice": [INF, 0.0, INF],
    "nan": [0.0, 1.0, NAN],
    "widest": [3.4028235e38, -3.4028235e38, 0.0],
    "ties": [5.0, 5.0, 5.0],
    "offset": [1e8, 1e8 + 8, 1e8 - 16],
    "subnormal": [1e-45, -1e-45, 5e-39],
    "zeros": [0.0, -0.0, 0.0],
}


@pytest.mark.parametrize("padding", (0, 40))
@pytest.mark.parametrize("row", SPECIAL_ROWS.values(), ids=SPECIAL_ROWS.keys())
def test_special_rows(row: list[float], padding: int, wide_dtype: np.dtype[Any]) -> None:
    """Every class as the target of every special row, between two ordinary rows."""
    special = np.array([-9.0] * padding + row, np.float32).astype(wide_dtype)
    ordinary = np.sin(np.arange(special.size)).astype(wide_dtype)
    x = np.stack([ordinary, special, ordinary])
    for y in range(padding, padding + 3):
        target = np.array([0, y, 1])
        check_losses(x, target)
        check_index_gradient(x, target, reduction="sum")
        p = np.zeros_like(x)
        p[:, y] = 1
        check_losses(x, p)
    check_losses(x, np.array([0, 1, 2]), label_smoothing=0.1)


# Shapes


def sign(value: Any) -> float:
    return math.copysign(1.0, value)


def test_empty_inputs(dtype: np.dtype[Any]) -> None:
    """The values of torch, the sign of zero included."""
    floats, indices = np.zeros((0, 3), dtype), np.zeros(0, np.int64)
    for target in (floats, indices):
        assert math.isnan(logloss.cross_entropy(floats, target))
        each = logloss.cross_entropy(floats, target, reduction="none")
        assert each.shape == (0,) and each.dtype == ref.loss_dtype(floats)
        loss, grad = logloss.cross_entropy_value_and_grad(floats, target)
        assert math.isnan(loss) and grad.shape == (0, 3) and grad.dtype == dtype
        total = logloss.cross_entropy(floats, target, reduction="sum")
        assert total == 0 and sign(total) == (-1 if target is floats else 1)
    planes = np.zeros((2, 3, 0), dtype)
    assert losses(planes, np.zeros((2, 0), np.int64), axis=1).shape == (2, 0)


def test_no_classes(dtype: np.dtype[Any]) -> None:
    for shape in ((0,), (2, 0)):
        x = np.zeros(shape, dtype)
        assert math.isnan(logloss.cross_entropy(x, x))
        total = logloss.cross_entropy(x, x, reduction="sum")
        assert total == 0 and sign(total) == -1
        each = np.asarray(logloss.cross_entropy(x, x, reduction="none"))
        assert each.shape == shape[:-1]
        np.testing.assert_array_equal(each, 0)
        assert np.signbit(each).all()
    ignored = logloss.cross_entropy(np.zeros((2, 0), dtype), np.array([-100, -100]))
    assert math.isnan(ignored)


def test_unbatched(dtype: np.dtype[Any]) -> None:
    x = np.array([0.5, -1.0, 2.0], dtype)
    right = losses(x[None], np.array([2]))[0]
    for target in (2, np.int64(2), np.array(2), np.array([2])):
        each = logloss.cross_entropy(x, target, reduction="none")
        assert np.shape(each) == () and each == right
        assert logloss.cross_entropy(x, target) == float(right)
        loss, grad = logloss.cross_entropy_value_and_grad(x, target)
        assert loss == float(right) and grad.shape == (3,)
    p = np.array([0.25, 0.25, 0.5], dtype)
    assert np.shape(logloss.cross_entropy(x, p, reduction="none")) == ()
    assert logloss.cross_entropy(x, p) == float(losses(x[None], p[None])[0])


@pytest.mark.parametrize("axis", (0, 1, 2, 3, -1, -3))
def test_any_class_axis_gives_the_same_bits(axis: int, dtype: np.dtype[Any]) -> None:
    rng = np.random.default_rng(9)
    rows = rng.normal(0, 3, (2, 5, 4, 6)).astype(dtype)
    y = rng.integers(0, 6, (2, 5, 4))
    p = rng.dirichlet(np.ones(6), (2, 5, 4)).astype(dtype)
    x = np.ascontiguousarray(np.moveaxis(rows, -1, axis))
    p_moved = np.ascontiguousarray(np.moveaxis(p, -1, axis))
    for smoothing in (0.0, 0.1):
        for target, moved in ((y, y), (p, p_moved)):
            right = losses(rows, target, label_smoothing=smoothing)
            actual = losses(x, moved, axis=axis, label_smoothing=smoothing)
            np.testing.assert_array_equal(actual, right)
            right = logloss.cross_entropy_backward(
                1.0, rows, target, axis=-1, label_smoothing=smoothing
            )
            actual = logloss.cross_entropy_backward(
                1.0, x, moved, axis=axis, label_smoothing=smoothing
            )
            np.testing.assert_array_equal(np.moveaxis(actual, axis, -1), right)


# Gradients


def numeric(x: Array, target: Any, g: Any, **options: Any) -> Array:
    return ref.numeric_gradient(
        lambda v: float(np.sum(g * logloss.cross_entropy(v, target, **options))), x
    )


@pytest.mark.parametrize("reduction", ("none", "mean", "sum"))
@pytest.mark.parametrize("smoothing", (0.0, 0.3))
@pytest.mark.parametrize("kind", ("indices", "probabilities"))
@pytest.mark.parametrize("axis", (0, 1, 2))
def test_gradient_is_the_derivative(
    axis: int, kind: str, smoothing: float, reduction: str, rng: np.random.Generator
) -> None:
    x = rng.normal(0, 2, (3, 4, 2))
    y: Array = rng.normal(size=x.shape)
    if kind == "indices":
        y = rng.integers(0, x.shape[axis], np.delete(x.shape, axis))
        y.flat[1] = -100
    options: dict[str, Any] = {"weight": rng.uniform(0.2, 2, x.shape[axis])}
    options |= {"label_smoothing": smoothing, "reduction": reduction, "axis": axis}
    g: Any = 0.75
    if reduction == "none":
        g = rng.normal(size=np.delete(x.shape, axis))
    actual = logloss.cross_entropy_backward(g, x, y, **options)
    np.testing.assert_allclose(actual, numeric(x, y, g, **options), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("reduction", ("none", "mean", "sum"))
@pytest.mark.parametrize("smoothing", (0.0, 0.3))
def test_value_and_grad_is_both_in_one(
    smoothing: float, reduction: str, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    """The same bits as the two calls; for "none" the gradient of the sum."""
    x = rng.normal(0, 4, (30, 50)).astype(dtype)
    y = rng.integers(0, 50, 30)
    y[::7] = -100
    p = rng.dirichlet(np.ones(50), 30).astype(dtype)
    weight = class_weight(50)
    for target in (y, p):
        for w in (None, weight):
            options: dict[str, Any] = {"weight": w, "label_smoothing": smoothing}
            options["reduction"] = reduction
            loss, grad = logloss.cross_entropy_value_and_grad(x, target, **options)
            np.testing.assert_array_equal(loss, logloss.cross_entropy(x, target, **options))
            assert isinstance(loss, np.ndarray if reduction == "none" else float)
            if reduction == "none":
                options["reduction"] = "sum"
            np.testing.assert_array_equal(
                grad, logloss.cross_entropy_backward(1.0, x, target, **options)
            )
            assert grad.dtype == dtype


def test_grad_output_scales_the_gradient(dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    x = rng.normal(0, 0.5, (5, 8)).astype(dtype)  # no gradient is subnormal in float16
    y = rng.integers(0, 8, 5)
    once = logloss.cross_entropy_backward(1.0, x, y)
    for g in (0.5, np.float32(0.5), np.array(0.5), np.array(0.5, np.float32)):
        half = logloss.cross_entropy_backward(g, x, y)
        np.testing.assert_array_equal(half.astype(float), once.astype(float) / 2)
    rows = np.array([1, 0, -2, 0.5, 4], ref.loss_dtype(x))
    each = logloss.cross_entropy_backward(rows, x, y, reduction="none")
    total = logloss.cross_entropy_backward(1.0, x, y, reduction="sum")
    np.testing.assert_array_equal(each.astype(float), total.astype(float) * rows[:, None])


def test_rows_of_the_gradient_sum_to_zero(rng: np.random.Generator) -> None:
    x = rng.normal(0, 5, (40, 300))
    y = rng.integers(0, 300, 40)
    for smoothing in (0.0, 0.2):
        grad = logloss.cross_entropy_backward(1.0, x, y, reduction="sum", label_smoothing=smoothing)
        np.testing.assert_allclose(grad.sum(axis=1), 0, atol=1e-14)


def test_label_smoothing_of_nothing_and_everything(dtype: np.dtype[Any]) -> None:
    rng = np.random.default_rng(10)
    x = rng.normal(0, 3, (9, 12)).astype(dtype)
    y = rng.integers(0, 12, 9)
    np.testing.assert_array_equal(losses(x, y, label_smoothing=0.0), losses(x, y))
    uniform = losses(x, y, label_smoothing=1.0)
    np.testing.assert_array_equal(uniform, losses(x, (y + 1) % 12, label_smoothing=1.0))


# `out`


@pytest.mark.parametrize("kind", ("indices", "probabilities"))
@pytest.mark.parametrize("axis", (0, 1, 2))
def test_out_and_in_place_gradients(
    axis: int, kind: str, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    x = rng.normal(0, 3, (3, 17, 20)).astype(dtype)
    y: Array = rng.dirichlet(np.ones(20), (3, 17)).astype(dtype)
    if kind == "indices":
        y = rng.integers(0, x.shape[axis], np.delete(x.shape, axis))
        y.flat[3] = -100
    before = x.copy()
    loss, right = logloss.cross_entropy_value_and_grad(x, y, axis=axis)
    np.testing.assert_array_equal(x, before)
    gaps = np.full((7, 35, 41), -7, dtype)
    reversed_out = np.empty_like(x)[::-1, :, ::-1]
    for out in (
        np.empty_like(x),
        np.empty(x.shape, dtype, "F"),
        gaps[1::2, 1::2, 1::2],
        reversed_out,
    ):
        again, grad = logloss.cross_entropy_value_and_grad(x, y, axis=axis, out=out)
        assert grad is out and again == loss
        assert out.tobytes() == right.tobytes()
        out[...] = 0
        assert logloss.cross_entropy_backward(1.0, x, y, axis=axis, out=out) is out
        assert out.tobytes() == right.tobytes()
    assert (gaps[::2] == -7).all() and (gaps[:, ::2] == -7).all() and (gaps[..., ::2] == -7).all()
    in_place = before.copy()
    again, grad = logloss.cross_entropy_value_and_grad(in_place, y, axis=axis, out=in_place)
    assert grad is in_place and again == loss and grad.tobytes() == right.tobytes()
    in_place = before.copy()
    logloss.cross_entropy_backward(1.0, in_place, y, axis=axis, out=in_place)
    assert in_place.tobytes() == right.tobytes()
