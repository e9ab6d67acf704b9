# SPDX-License-Identifier: BSD-3-Clause
"""log_softmax, softmax, logsumexp and their gradients: accuracy, limits, shapes and `out`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import logloss
import reference as ref
from grid import CLASSES, DEVIATIONS, NO_FMA, NO_FMA_ULPS, assert_cancelling, cell, promised
from logloss import _core
from ulp import Array, assert_ulp, ulp

INF, NAN = np.inf, np.nan
MAPS = ("log_softmax", "softmax")
GRADIENTS = ("log_softmax_backward", "softmax_backward")


def call(name: str, *args: Any, **options: Any) -> Any:
    return getattr(logloss, name)(*args, **options)


def expected(name: str, *args: Any, **options: Any) -> Any:
    return getattr(ref, name)(*args, **options)


def check_values(x: Array, axis: int = -1) -> None:
    """All three functions within their promise, in the type of the input."""
    for name, ulps in (("log_softmax", 2), ("softmax", 3)):
        actual = call(name, x, axis)
        assert actual.dtype == x.dtype
        assert_ulp(actual, expected(name, x, axis), promised(ulps, x.dtype))
    check_logsumexp(x, axis)


def check_logsumexp(x: Array, axis: int = -1) -> None:
    """Where the maximum and what is added to it cancel, the error of the reference counts too.

    Without fused multiply-add there, the error of float64 does.
    """
    actual, right = logloss.logsumexp(x, axis), ref.logsumexp(x, axis)
    assert actual.dtype == x.dtype
    with np.errstate(invalid="ignore"):
        error = np.abs(ref.wide(actual) - right)
        eps = np.finfo(np.float64 if NO_FMA else ref.LONG).eps
        own_error = 4 * eps * np.abs(ref.wide(x).max(axis=axis))
        close = error <= promised(2, x.dtype) * ulp(right, x.dtype) + own_error
    assert_ulp(np.where(close, right, actual), right, promised(2, x.dtype), x.dtype)


def check_gradients(g: Array, x: Array, axis: int = -1) -> None:
    """Both gradients, in the units of what enters their last subtraction."""
    s, size = ref.softmax(x, axis), np.abs(ref.wide(g))
    normal = np.maximum(s, np.finfo(np.float32).tiny)  # a subnormal s is rounded before it is used
    terms = {
        "log_softmax_backward": np.maximum(size, s * size.sum(axis=axis, keepdims=True)),
        "softmax_backward": normal * (size + (size * s).sum(axis=axis, keepdims=True)),
    }
    for name in GRADIENTS:
        actual = call(name, g, x, axis)
        assert actual.dtype == x.dtype
        assert_cancelling(actual, expected(name, g, x, axis), terms[name])


@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("classes", CLASSES)
def test_float32_keeps_its_promise(classes: int, deviation: float) -> None:
    check_values(cell(classes, deviation, np.float32).logits)


@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("classes", CLASSES)
def test_float64_keeps_its_promise(classes: int, deviation: float) -> None:
    check_values(cell(classes, deviation, np.float64, share=0.3).logits)


@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("classes", CLASSES)
def test_16_bits_are_rounded_once(
    classes: int, deviation: float, half_dtype: np.dtype[Any]
) -> None:
    check_values(cell(classes, deviation, half_dtype, share=0.3).logits)


@pytest.mark.parametrize("deviation", (1.0, 10.0))
@pytest.mark.parametrize("classes", (1, 2, 10, 127, 1000, 32000))
def test_gradients_keep_their_promise(
    classes: int, deviation: float, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    x = cell(classes, deviation, dtype, share=0.2).logits
    check_gradients(rng.normal(size=x.shape).astype(dtype), x)
    g = rng.normal(size=x.shape[0]).astype(dtype)
    actual = logloss.logsumexp_backward(g, x)
    assert actual.dtype == dtype
    assert_ulp(actual, ref.logsumexp_backward(g, x), promised(3, dtype))


@pytest.mark.parametrize("classes", (5, 41, 130))
def test_rows_at_any_distance_from_zero(
    classes: int, wide_dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    """The power of two that exponentials are relative to, through all patterns of its exponent.

    e^0, which means nothing there, may overflow beside them.
    """
    exponents = 2 ** (8 if wide_dtype == np.float32 else 11)
    distance = np.arange(-exponents, exponents) * (math.log(2) / 2)
    x = (distance[:, None] + rng.standard_normal((distance.size, classes))).astype(wide_dtype)
    check_values(x)
    check_gradients(rng.standard_normal(x.shape).astype(wide_dtype), x)


@pytest.mark.parametrize("classes", (3, 40, 1000))
@pytest.mark.parametrize("inner", (1, 7, 16, 33))
def test_inner_axis_keeps_its_promise(
    classes: int, inner: int, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    x = rng.normal(0, 5, (2, classes, inner)).astype(dtype)
    check_values(x, axis=1)
    check_gradients(rng.normal(size=x.shape).astype(dtype), x, axis=1)


# Single rows that have gone wrong somewhere. The reference says what is right.

ROWS: dict[str, list[float]] = {
    "one class": [3.5],
    "one class, huge": [3e38],
    "one class, -inf": [-INF],
    "one class, inf": [INF],
    "one class, nan": [NAN],
    "all equal": [2.5] * 37,
    "two maxima": [1.0, 7.0, -2.0, 7.0, 6.5],
    "zeros of both signs": [0.0, -0.0, -0.0, 0.0],
    "subnormals": [1e-45, -1e-45, 5.9e-39, 0.0],
    "smallest normals": [1.1754944e-38, -1.1754944e-38],
    "offset 1e4": [1e4 + v for v in (0.0, 0.5, -3.0, 8.0)],
    "offset 1e8": [1e8 + v for v in (0.0, 8.0, -16.0)],
    "offset -1e8": [-1e8 + v for v in (0.0, 8.0, -16.0)],
    "offset 3e38": [3e38, 3e38, -3e38],
    "offset -3e38": [-3e38, -3e38, -3e38],
    "widest": [3.4028235e38, -3.4028235e38, 0.0],
    "-inf among finite": [-INF, 1.0, 2.0, -INF],
    "-inf but for one": [-INF, 4.0, -INF],
    "all -inf": [-INF] * 5,
    "inf among finite": [0.0, INF, 1.0],
    "inf twice": [INF, INF, 1.0],
    "inf and -inf": [INF, -INF],
    "nan among finite": [0.0, NAN, 1.0],
    "nan first": [NAN, 0.0, 1.0],
    "nan last": [0.0, 1.0, NAN],
    "nan and inf": [INF, NAN, -INF],
    "nan and -inf": [-INF, NAN, -INF],
    "underflow to subnormal": [0.0, -87.0, -88.0, -95.0, -103.0, -104.5],
    "underflow to zero": [0.0, -110.0, -1000.0, -1e30],
    "margin 120": [120.0, 0.0, 0.0],
}


@pytest.mark.parametrize("repeat", (1, 20), ids=("short", "long"))
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_edge_rows(row: list[float], repeat: int, wide_dtype: np.dtype[Any]) -> None:
    """Each row alone, at the end of a longer row, and among other rows."""
    x = np.array([0.25] * (repeat - 1) + row, np.float32).astype(wide_dtype)
    check_values(x)
    check_values(np.stack([x, np.ones_like(x), x]))
    check_values(np.stack([x, np.ones_like(x), x], axis=1), axis=0)


def test_documented_limits() -> None:
    """The answers of the documentation, written out."""
    f32 = np.float32
    rows = np.array([[-INF, 0, 0], [-INF] * 3, [INF, 0, 0], [NAN, 0, 0]], f32)
    nan = [NAN] * 3
    np.testing.assert_array_equal(logloss.softmax(rows), [[0, 0.5, 0.5], nan, nan, nan])
    half = -f32(math.log(2))
    np.testing.assert_array_equal(logloss.log_softmax(rows), [[-INF, half, half], nan, nan, nan])
    np.testing.assert_array_equal(logloss.logsumexp(rows), [-half, -INF, INF, NAN])
    wide_row = np.array([3e38, -3e38, 0], f32)
    np.testing.assert_array_equal(logloss.log_softmax(wide_row), f32([0, -INF, -3e38]))
    np.testing.assert_array_equal(logloss.softmax(wide_row), [1, 0, 0])


@pytest.mark.parametrize("level", _core.available_isas())
def test_products_halfway_between_integers(level: str) -> None:
    """A product x log2(e) that is rounded to float32 may lie halfway: the sweep that finds the sum
    and the one that writes must take the same integer, whatever the largest element is.
    """
    near = ((np.arange(-40, 40) + 0.5) * np.log(2)).astype(np.float32)
    candidates = near + np.spacing(near) * np.arange(-2, 3, dtype=np.float32)[:, None]
    halves = candidates[np.abs(candidates * np.float32(np.log2(np.e))) % 1 == 0.5]
    assert halves.size >= 64
    x = np.tile(halves, (40, 3))
    x[:, 0] = 31 + np.arange(40) * np.float32(0.4)
    before = _core.isa()
    _core.testing.select_isa(level)
    try:
        actual = logloss.softmax(x)
    finally:
        _core.testing.select_isa(before)
    assert_ulp(actual, ref.softmax(x), NO_FMA_ULPS if level == "portable" else 3)


def test_logsumexp_gradient_at_infinities_is_the_limit(dtype: np.dtype[Any]) -> None:
    rows = np.array([[-INF] * 4, [INF, 1, INF, -INF], [INF, 0, 0, 0], [0, -INF, 0, -INF]])
    right = np.array([[0] * 4, [0.5, 0, 0.5, 0], [1, 0, 0, 0], [0.5, 0, 0.5, 0]])
    g = np.array([1, 2, -1, 4], dtype)
    x = rows.astype(dtype)
    np.testing.assert_array_equal(
        logloss.logsumexp_backward(g, x).astype(float), right * g.astype(float)[:, None]
    )
    np.testing.assert_array_equal(
        logloss.logsumexp_backward(g, np.ascontiguousarray(x.T), 0).astype(float),
        right.T * g.astype(float),
    )
    with_nan = np.array([0, NAN, -INF], dtype)
    assert np.isnan(logloss.logsumexp_backward(dtype.type(1), with_nan).astype(float)).all()


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_of_special_rows(name: str, wide_dtype: np.dtype[Any]) -> None:
    """-inf among finite logits has probability 0; a NaN row has a NaN gradient."""
    x = np.array([[-INF, 1, 2], [NAN, 0, 0], [INF, 0, 0], [-INF] * 3], wide_dtype)
    g = np.array([[1, -2, 3]] * 4, wide_dtype)
    actual = call(name, g, x)
    right = expected(name, g, x)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(right.astype(float)))
    assert np.isnan(actual[1:]).all()
    np.testing.assert_allclose(actual[0], right[0].astype(float), rtol=1e-6)


@pytest.mark.parametrize("count", (70000, 2**17 + 1))
def test_float16_sums_do_not_overflow(count: int) -> None:
    x = np.full(count, 0.5, np.float16)
    np.testing.assert_array_equal(logloss.log_softmax(x), np.float16(-math.log(count)))
    np.testing.assert_array_equal(logloss.softmax(x), np.float16(1 / count))
    assert logloss.logsumexp(x) == np.float16(0.5 + math.log(count))


def test_float16_differences_overflow_to_infinity() -> None:
    x = np.array([65504.0, -65504.0, 0.0], np.float16)
    np.testing.assert_array_equal(logloss.log_softmax(x), np.float16([0, -INF, -65504.0]))
    np.testing.assert_array_equal(logloss.softmax(x), np.float16([1, 0, 0]))
    assert logloss.logsumexp(x) == np.float16(65504.0)


@pytest.mark.parametrize("classes", (2, 10, 1000))
def test_logsumexp_of_log_probabilities(
    classes: int, wide_dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    """The maximum and the logarithm of the rest cancel, all but the rounding of the input."""
    log_probs = ref.log_softmax(rng.normal(0, 3, (50, classes))).astype(wide_dtype)
    check_logsumexp(log_probs)
    assert np.abs(logloss.logsumexp(log_probs)).max() < 16 * np.finfo(wide_dtype).eps
    check_logsumexp(log_probs + rng.normal(0, 1e-3, (50, 1)).astype(wide_dtype))


@pytest.mark.parametrize("rows", (1, 3))
@pytest.mark.parametrize("largest", (0.0, 1e-300, -1e-20))
def test_logsumexp_of_tiny_results(largest: float, rows: int) -> None:
    """What is far below the maximum is all there is where the maximum is zero, or nearly so."""
    x = np.tile([largest, -690.0, -INF], (rows, 1))
    assert_ulp(logloss.logsumexp(x), ref.logsumexp(x), promised(2, x.dtype))


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("shape", ((0,), (3, 0), (0, 3), (2, 0, 4), (0, 0)))
def test_empty_arrays(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    x = np.zeros(shape, dtype)
    for axis in range(len(shape)):
        for actual in (call(name, x, axis), call(f"{name}_backward", x, x, axis)):
            assert actual.shape == shape and actual.dtype == dtype


def test_logsumexp_of_nothing_is_minus_infinity(dtype: np.dtype[Any]) -> None:
    x = np.zeros((2, 0, 3), dtype)
    np.testing.assert_array_equal(logloss.logsumexp(x, 1).astype(float), np.full((2, 3), -INF))
    assert logloss.logsumexp(x, 1, keepdims=True).shape == (2, 1, 3)
    assert logloss.logsumexp(x, 0).shape == (0, 3)
    assert logloss.logsumexp_backward(np.ones((2, 3), dtype), x, 1).shape == x.shape
    assert logloss.logsumexp(np.zeros(0, dtype)).astype(float) == -INF


@pytest.mark.parametrize("axis", (0, -1))
def test_a_number_is_a_row_of_one_class(axis: int, dtype: np.dtype[Any]) -> None:
    x = np.asarray(2.5, dtype)
    row = x.reshape(1)
    assert logloss.log_softmax(x, axis) == 0
    assert logloss.logsumexp(x, axis) == 2.5
    assert_ulp(logloss.softmax(x, axis), np.asarray(1), promised(3, dtype))
    for name in (*MAPS, "logsumexp"):
        actual = call(name, x, axis)
        assert np.shape(actual) == () and actual.dtype == dtype
        assert actual == call(name, row).reshape(())
        actual = call(f"{name}_backward", x, x, axis)
        assert np.shape(actual) == () and actual.dtype == dtype
        assert actual == call(f"{name}_backward", x if name == "logsumexp" else row, row)[0]


@pytest.mark.parametrize("axis", (0, 1, 2, 3, -1, -2, -3, -4))
def test_every_axis(axis: int, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    x = rng.normal(0, 3, (3, 4, 5, 2)).astype(dtype)
    g = rng.normal(0, 1, x.shape).astype(dtype)
    check_values(x, axis)
    check_gradients(g, x, axis)
    for keepdims in (False, True):
        lse = logloss.logsumexp(x, axis, keepdims=keepdims)
        assert lse.shape == ref.logsumexp(x, axis, keepdims=keepdims).shape
        np.testing.assert_array_equal(lse.ravel(), logloss.logsumexp(x, axis).ravel())
        g = np.ones_like(lse)
        grad = logloss.logsumexp_backward(g, x, axis, keepdims=keepdims)
        np.testing.assert_array_equal(grad, logloss.softmax(x, axis))


def numeric(name: str, x: Array, g: Array, axis: int) -> Array:
    return ref.numeric_gradient(lambda v: float((g * call(name, v, axis)).sum()), x)


@pytest.mark.parametrize("axis", (0, 1, 2))
def test_gradients_are_the_derivatives(axis: int, rng: np.random.Generator) -> None:
    x = rng.normal(0, 2, (3, 4, 5))
    g = rng.normal(0, 1, x.shape)
    for name in MAPS:
        np.testing.assert_allclose(
            call(f"{name}_backward", g, x, axis), numeric(name, x, g, axis), rtol=1e-6, atol=1e-8
        )
    row_g = np.take(g, 0, axis)
    np.testing.assert_allclose(
        logloss.logsumexp_backward(row_g, x, axis),
        numeric("logsumexp", x, row_g, axis),
        rtol=1e-6,
        atol=1e-8,
    )


# `out`


def strided_like(x: Array) -> Array:
    """An uninitialised array of the shape of `x` with a gap after every element and row."""
    shape = tuple(2 * n + 1 for n in x.shape)
    return np.full(shape, -7, x.dtype)[tuple(slice(1, None, 2) for _ in shape)]


CALLS_WITH_OUT: dict[str, Callable[..., Array]] = {
    "log_softmax": lambda g, x, axis, **kw: logloss.log_softmax(x, axis, **kw),
    "softmax": lambda g, x, axis, **kw: logloss.softmax(x, axis, **kw),
    "log_softmax_backward": lambda g, x, axis, **kw: logloss.log_softmax_backward(g, x, axis, **kw),
    "softmax_backward": lambda g, x, axis, **kw: logloss.softmax_backward(g, x, axis, **kw),
    "logsumexp_backward": lambda g, x, axis, **kw: logloss.logsumexp_backward(
        np.take(g, 0, axis), x, axis, **kw
    ),
}


@pytest.mark.parametrize("axis", (0, 1, 2))
@pytest.mark.parametrize("function", CALLS_WITH_OUT.values(), ids=CALLS_WITH_OUT.keys())
def test_out_receives_the_same_bits(
    function: Callable[..., Array], axis: int, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    x = rng.normal(0, 3, (3, 17, 20)).astype(dtype)
    g = rng.normal(0, 1, x.shape).astype(dtype)
    x_before, g_before = x.copy(), g.copy()
    right = function(g, x, axis)
    np.testing.assert_array_equal(x, x_before)
    for out in (
        np.empty_like(x),
        np.empty(x.shape, dtype, order="F"),
        strided_like(x),
        np.empty_like(x)[::-1, :, ::-1],
        np.empty_like(x.transpose(2, 0, 1)).transpose(1, 2, 0),
    ):
        assert function(g, x, axis, out=out) is out
        assert out.tobytes() == right.tobytes()
    np.testing.assert_array_equal(x, x_before)
    np.testing.assert_array_equal(g, g_before)
    in_place = x.copy()
    assert function(g, in_place, axis, out=in_place) is in_place
    assert in_place.tobytes() == right.tobytes()


def test_strided_out_leaves_the_gaps_alone(rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 9)).astype(np.float32)
    whole = np.full((9, 19), -7, np.float32)
    logloss.softmax(x, out=whole[1::2, 1::2])
    np.testing.assert_array_equal(whole[1::2, 1::2], logloss.softmax(x))
    whole[1::2, 1::2] = -7
    np.testing.assert_array_equal(whole, -7)


@pytest.mark.parametrize("name", GRADIENTS)
def test_grad_output_may_be_out(name: str, rng: np.random.Generator) -> None:
    x = rng.normal(0, 3, (5, 300)).astype(np.float32)
    g = rng.normal(0, 1, x.shape).astype(np.float32)
    right = call(name, g, x)
    assert call(name, g, x, out=g) is g
    np.testing.assert_array_equal(g, right)
