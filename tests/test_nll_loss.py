# SPDX-License-Identifier: BSD-3-Clause
"""nll_loss: values, reductions, options, gradients and `out`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import logloss
import reference as ref
from ulp import Array, assert_ulp

INF, NAN = np.inf, np.nan


def negative(generator: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    return -generator.exponential(3.0, shape).astype(dtype)


@pytest.mark.parametrize(
    "shape", ((7,), (1, 1), (500, 1), (300, 10), (9, 1000), (4, 5, 6), (2, 3, 4, 5))
)
@pytest.mark.parametrize("weighted", (False, True))
def test_losses_are_rounded_once(
    shape: tuple[int, ...], weighted: bool, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    """One product of two numbers: half an ulp."""
    axis = 0 if len(shape) == 1 else 1
    x = negative(rng, shape, dtype)
    y = rng.integers(0, shape[axis], np.delete(shape, axis))
    y.flat[len(y.flat) // 2 + 1 :: 5] = -100
    weight = rng.uniform(0, 2, shape[axis]) if weighted else None
    actual = np.asarray(logloss.nll_loss(x, y, weight=weight, reduction="none"))
    assert actual.dtype == ref.loss_dtype(x)
    assert_ulp(actual, ref.nll_loss(x, y, weight=weight, reduction="none"), 0.5001)


@pytest.mark.parametrize("rows", (1, 3, 1000, 4099))
def test_reductions_are_correctly_rounded(
    rows: int, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    x = negative(rng, (rows, 7), dtype)
    y = rng.integers(0, 7, rows)
    y[0] = 3
    for weight in (None, np.linspace(0.3, 1.7, 7)):
        options: dict[str, Any] = {"weight": weight, "ignore_index": 5}
        each = logloss.nll_loss(x, y, **options, reduction="none")
        divisor = ref.exact(ref.as_weight(weight, x, 7)[y[y != 5]])
        mean, total = (logloss.nll_loss(x, y, **options, reduction=r) for r in ("mean", "sum"))
        assert isinstance(mean, float) and isinstance(total, float)
        assert total == ref.quotient(each)
        assert mean == ref.quotient(each, divisor)


def test_float16_means_do_not_overflow() -> None:
    x = np.broadcast_to(np.float16([-4.5, -11.0]), (70001, 2))
    y = np.ones(70001, np.int64)
    assert logloss.nll_loss(x, y) == 11.0
    assert logloss.nll_loss(x, y, reduction="sum") == 11.0 * 70001


def test_the_input_is_taken_as_it_is(wide_dtype: np.dtype[Any]) -> None:
    """No softmax, no check of the sign, and only the target's element is read."""
    x = np.array([[3.5, NAN, INF], [-INF, -0.25, NAN]], wide_dtype)
    np.testing.assert_array_equal(
        logloss.nll_loss(x, np.array([0, 1]), reduction="none"), [-3.5, 0.25]
    )
    assert logloss.nll_loss(x, np.array([0, 0]), reduction="sum") == INF
    assert logloss.nll_loss(x, np.array([2, 1]), reduction="sum") == -INF
    assert math.isnan(logloss.nll_loss(x, np.array([1, 1]), reduction="sum"))
    assert math.isnan(logloss.nll_loss(x, np.array([2, 0]), reduction="sum"))


def test_a_zero_weight_hides_minus_infinity(dtype: np.dtype[Any]) -> None:
    x = np.array([[-INF, -1], [-1, -2]], dtype)
    y, weight = np.array([0, 1]), np.array([0, 0.5])
    np.testing.assert_array_equal(logloss.nll_loss(x, y, weight=weight, reduction="none"), [0, 1])
    assert logloss.nll_loss(x, y, weight=weight) == 2.0


@pytest.mark.parametrize("ignore_index", (-100, 1, 255, -1, 10**12))
def test_ignored_rows_count_for_nothing(
    ignore_index: int, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    x = negative(rng, (6, 4), dtype)
    y = np.array([0, ignore_index, 2, 3, ignore_index, 0])
    kept = y != ignore_index
    x[~kept] = NAN
    options: dict[str, Any] = {"ignore_index": ignore_index}
    options["weight"] = np.linspace(0.3, 1.7, 4)
    each = logloss.nll_loss(x, y, **options, reduction="none")
    np.testing.assert_array_equal(each[~kept], 0)
    for reduction in ("mean", "sum"):
        loss, grad = logloss.nll_loss_value_and_grad(x, y, **options, reduction=reduction)
        right = logloss.nll_loss_value_and_grad(x[kept], y[kept], **options, reduction=reduction)
        assert loss == right[0]
        np.testing.assert_array_equal(grad[kept], right[1])
        np.testing.assert_array_equal(grad[~kept], np.zeros((2, 4), dtype))


def test_all_ignored_and_empty(dtype: np.dtype[Any]) -> None:
    for rows in (0, 3):
        x, y = np.ones((rows, 2), dtype), np.full(rows, -100)
        assert math.isnan(logloss.nll_loss(x, y))
        total = logloss.nll_loss(x, y, reduction="sum")
        assert total == 0 and math.copysign(1, total) == 1
        each = logloss.nll_loss(x, y, reduction="none")
        np.testing.assert_array_equal(each, np.zeros(rows))
        loss, grad = logloss.nll_loss_value_and_grad(x, y)
        assert math.isnan(loss) and grad.dtype == dtype
        np.testing.assert_array_equal(grad, np.zeros_like(x))


def test_total_weight_zero(wide_dtype: np.dtype[Any]) -> None:
    """0/0 at the target's element, where the weight is a factor; 0 elsewhere."""
    x = np.array([[-1, -2], [-3, -4]], wide_dtype)
    y, weight = np.array([1, -100]), np.array([1, 0], wide_dtype)
    loss, grad = logloss.nll_loss_value_and_grad(x, y, weight=weight)
    assert math.isnan(loss)
    np.testing.assert_array_equal(grad, [[0, NAN], [0, 0]])


def test_unbatched(dtype: np.dtype[Any]) -> None:
    x = np.array([-0.5, -1.0, -2.0], dtype)
    for target in (2, np.int64(2), np.array(2), np.array([2])):
        each = logloss.nll_loss(x, target, reduction="none")
        assert np.shape(each) == () and each == 2.0
        weight = np.array([1, 1, 5], ref.loss_dtype(x))
        assert logloss.nll_loss(x, target, weight=weight) == 2.0
        assert logloss.nll_loss(x, target, weight=weight, reduction="sum") == 10.0
        loss, grad = logloss.nll_loss_value_and_grad(x, target)
        assert loss == 2.0
        np.testing.assert_array_equal(grad, np.array([0, 0, -1], dtype))


@pytest.mark.parametrize("axis", (0, 1, 2, -1))
@pytest.mark.parametrize("reduction", ("none", "mean", "sum"))
def test_gradient_is_the_derivative(
    axis: int, reduction: str, wide_dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    x = negative(rng, (3, 4, 2), np.float64)
    y = rng.integers(0, x.shape[axis], np.delete(x.shape, axis))
    y.flat[1] = -100
    weight = rng.uniform(0.2, 2, x.shape[axis]).astype(wide_dtype)
    options: dict[str, Any] = {"weight": weight, "reduction": reduction, "axis": axis}
    g: Any = 0.75
    if reduction == "none":
        g = rng.normal(size=np.delete(x.shape, axis))
    numeric = ref.numeric_gradient(
        lambda v: float(np.sum(g * logloss.nll_loss(v, y, **options))), x
    )
    actual = logloss.nll_loss_backward(g, x, y, **options)
    np.testing.assert_allclose(actual, numeric, rtol=1e-7, atol=1e-8)
    narrow = x.astype(wide_dtype)
    assert_ulp(
        logloss.nll_loss_backward(0.75, narrow, y, weight=weight, axis=axis),
        ref.nll_loss_backward(0.75, narrow, y, weight=weight, axis=axis),
        2,
    )


@pytest.mark.parametrize("reduction", ("none", "mean", "sum"))
def test_value_and_grad_is_both_in_one(
    reduction: str, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    x = negative(rng, (30, 50), dtype)
    y = rng.integers(0, 50, 30)
    y[::7] = -100
    for weight in (None, np.linspace(0.3, 1.7, 50)):
        options: dict[str, Any] = {"weight": weight, "reduction": reduction}
        loss, grad = logloss.nll_loss_value_and_grad(x, y, **options)
        np.testing.assert_array_equal(loss, logloss.nll_loss(x, y, **options))
        assert isinstance(loss, np.ndarray if reduction == "none" else float)
        if reduction == "none":
            options["reduction"] = "sum"
        np.testing.assert_array_equal(grad, logloss.nll_loss_backward(1.0, x, y, **options))
        assert grad.dtype == dtype


@pytest.mark.parametrize("axis", (0, 1, 2))
def test_out_and_in_place_gradients(
    axis: int, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    """Every element of `out` is written, the zeros too."""
    x = negative(rng, (3, 17, 20), dtype)
    y = rng.integers(0, x.shape[axis], np.delete(x.shape, axis))
    y.flat[3] = -100
    loss, right = logloss.nll_loss_value_and_grad(x, y, axis=axis)
    gaps = np.full((7, 35, 41), -7, dtype)
    for out in (np.full_like(x, NAN), np.full_like(x, NAN)[::-1, :, ::-1], gaps[1::2, 1::2, 1::2]):
        again, grad = logloss.nll_loss_value_and_grad(x, y, axis=axis, out=out)
        assert grad is out and again == loss and out.tobytes() == right.tobytes()
        out[...] = NAN
        assert logloss.nll_loss_backward(1.0, x, y, axis=axis, out=out) is out
        assert out.tobytes() == right.tobytes()
    assert (gaps[::2] == -7).all() and (gaps[:, ::2] == -7).all() and (gaps[..., ::2] == -7).all()
    in_place = x.copy()
    again, grad = logloss.nll_loss_value_and_grad(in_place, y, axis=axis, out=in_place)
    assert grad is in_place and again == loss and grad.tobytes() == right.tobytes()


@pytest.mark.parametrize("axis", (1, -1, 0))
def test_is_cross_entropy_without_the_softmax(
    axis: int, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    logits = rng.normal(0, 3, (6, 5, 7)).astype(dtype)
    y = rng.integers(0, logits.shape[axis], np.delete(logits.shape, axis))
    wide = logits.astype(ref.loss_dtype(logits))
    np.testing.assert_allclose(
        logloss.nll_loss(logloss.log_softmax(wide, axis), y, axis=axis, reduction="none"),
        logloss.cross_entropy(logits, y, axis=axis, reduction="none"),
        rtol=4 * np.finfo(wide.dtype).eps,
    )
