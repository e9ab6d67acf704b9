# SPDX-License-Identifier: BSD-3-Clause
"""sigmoid and log_sigmoid and their gradients: accuracy, limits, layouts and `out`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import logloss
import reference as ref
from conftest import named_dtype
from elementwise import (
    INF,
    INTEGERS,
    MANY,
    NAN,
    PROFILE,
    REALS,
    SIZES,
    bits,
    check_any_layout,
    check_converted,
    check_gradient,
    check_layouts,
    check_memory_maps,
    check_out,
    check_repeated,
    check_threads,
    gradient_calls,
    laid_out,
    logit_grid,
    middle_logits,
    normal,
    results,
    shapes,
)
from grid import promised
from test_layouts import same_bits
from ulp import Array, assert_ulp

FUNCTIONS = ("sigmoid", "log_sigmoid")


def check_values(name: str, x: Array) -> None:
    actual = getattr(logloss, name)(x)
    assert actual.dtype == x.dtype
    assert_ulp(actual, getattr(ref, name)(x), promised(2, x.dtype))


def operands(dtype: Any, shape: tuple[int, ...] = (67, 130)) -> dict[str, Any]:
    generator = np.random.default_rng(4)
    x, g = generator.normal(0, 6, (2, *shape)).astype(dtype)
    return {"input": x, "grad_output": g}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_keep_their_promise(name: str, dtype: np.dtype[Any]) -> None:
    """2 ulps (4 of float64) for results of all sizes; types of 16 bits over all of their values."""
    check_values(name, logit_grid(dtype))
    check_values(name, middle_logits(dtype))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_keep_their_promise(name: str, dtype: np.dtype[Any]) -> None:
    """3 ulps, where the sigmoid is 0 or 1 to the last digit too."""
    check_gradient(name, logit_grid(dtype))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("g", (-3.0, 0.1, 1e-30, 1e30))
def test_gradients_are_rounded_once(name: str, g: float, dtype: np.dtype[Any]) -> None:
    """After the product with grad_output; where the derivative itself is a normal number."""
    x = logit_grid(dtype)
    derivative = getattr(ref, f"{name}_backward")(1.0, x)
    x = x[derivative >= np.finfo(ref.loss_dtype(x)).tiny]
    actual = getattr(logloss, f"{name}_backward")(g, x)
    assert_ulp(actual, getattr(ref, f"{name}_backward")(g, x), promised(3, dtype))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("upstream", ("float16", "float32", "float64", *INTEGERS))
def test_grad_output_of_each_element(name: str, upstream: str, dtype: np.dtype[Any]) -> None:
    """Of any real type, read in float32, or float64 beside float64."""
    given = operands(dtype)
    given["grad_output"] = np.abs(np.rint(given["grad_output"].astype(float)))
    check_converted(name, given, "grad_output", upstream, ref.loss_dtype(given["input"]))
    g = given["grad_output"].astype(upstream)
    actual = getattr(logloss, f"{name}_backward")(g, given["input"])
    right = getattr(ref, f"{name}_backward")(g, given["input"])
    assert_ulp(actual, right, promised(3, dtype))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "g", (2, 0.5, np.float32(-3), np.int8(4), np.array(0.25), [0.25] * 5, True)
)
def test_grad_output_as_a_number(name: str, g: Any, dtype: np.dtype[Any]) -> None:
    x = np.linspace(-3, 3, 5).astype(dtype)
    backward = getattr(logloss, f"{name}_backward")
    same_bits(backward(g, x), backward(np.broadcast_to(np.asarray(g, float), 5), x))


def test_limits(wide_dtype: np.dtype[Any]) -> None:
    """No NaN at the infinities, and never a zero of negative sign for the sigmoid."""
    x = np.array([INF, -INF, 0.0, -0.0, 800.0, -800.0], wide_dtype)
    value = logloss.sigmoid(x)
    np.testing.assert_array_equal(value, [1, 0, 0.5, 0.5, 1, 0])
    assert not np.signbit(value).any()
    log2 = np.log(2).astype(wide_dtype)
    np.testing.assert_array_equal(logloss.log_sigmoid(x), [0, -INF, -log2, -log2, 0, -800])
    slope = logloss.sigmoid_backward(2.0, x)
    np.testing.assert_array_equal(slope, [0, 0, 0.5, 0.5, 0, 0])
    log_slope = logloss.log_sigmoid_backward(2.0, x)
    np.testing.assert_array_equal(log_slope, [0, 2, 1, 1, 0, 2])
    assert not np.signbit(slope).any() and not np.signbit(log_slope).any()
    for minus in (logloss.sigmoid_backward(-1.0, x), logloss.log_sigmoid_backward(-1.0, x)):
        np.testing.assert_array_equal(np.signbit(minus), True)


def test_the_ends_of_the_range(dtype: np.dtype[Any]) -> None:
    largest = np.float64(65504) if dtype == np.float16 else np.float64(3e38)
    x = np.array([largest, -largest, INF, -INF], dtype)
    np.testing.assert_array_equal(logloss.sigmoid(x).astype(float), [1, 0, 1, 0])
    right = np.array([0, x[1].astype(float), 0, -INF])
    np.testing.assert_array_equal(logloss.log_sigmoid(x).astype(float), right)
    assert not logloss.sigmoid_backward(1.0, x).astype(float).any()
    np.testing.assert_array_equal(logloss.log_sigmoid_backward(1.0, x).astype(float), [0, 1, 0, 1])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_stays_where_it_is(name: str, dtype: np.dtype[Any]) -> None:
    x = np.linspace(-4, 4, 40).astype(dtype)
    right = results(name, {"input": x, "grad_output": 1.0})
    x[7::16] = NAN
    for found, expected in zip(results(name, {"input": x, "grad_output": 1.0}), right, strict=True):
        expected[7::16] = NAN
        np.testing.assert_array_equal(found.astype(float), expected.astype(float))


def test_reflections(dtype: np.dtype[Any]) -> None:
    """The slopes of the sigmoid at x and -x are one; that of the logarithm at x is sigmoid(-x)."""
    x = logit_grid(dtype)
    same_bits(logloss.sigmoid_backward(1.0, x), logloss.sigmoid_backward(1.0, -x))
    slope = logloss.log_sigmoid_backward(1.0, x)
    assert_ulp(slope, logloss.sigmoid(-x), promised(3, dtype) + promised(2, dtype))


# Shapes, layouts, threads


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("n", (*SIZES, MANY))
def test_sizes(name: str, n: int, dtype: np.dtype[Any]) -> None:
    """Each element has the value it has in other company."""
    given = operands(dtype, (n,))
    fives = given["input"][:5], given["grad_output"][:5]
    for found, right in zip(
        results(name, given),
        results(name, {"input": fives[0], "grad_output": fives[1]}),
        strict=True,
    ):
        assert found.shape == (n,) and found.dtype == dtype
        same_bits(found[:5], right)
    tail = {k: v[n // 2 :] for k, v in given.items()}
    for found, right in zip(results(name, given), results(name, tail), strict=True):
        same_bits(found[n // 2 :], right)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numbers_and_nothing(name: str, dtype: np.dtype[Any]) -> None:
    for shape in ((), (0,), (3, 0), (0, 5, 2), (1, 1, 1, 1, 1)):
        x = np.full(shape, 0.5, dtype)
        for found in results(name, {"input": x, "grad_output": x}):
            assert isinstance(found, np.ndarray)
            assert found.shape == shape and found.dtype == dtype
        for call in gradient_calls(name, {"grad_output": x}):
            assert call(x, x) is x
    same_bits(getattr(logloss, name)(0.5), getattr(logloss, name)(np.array(0.5)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_layouts(name: str, dtype: np.dtype[Any], tmp_path: Path) -> None:
    given = operands(dtype)
    check_layouts(name, given)
    check_repeated(name, given)
    if dtype.kind == "f":
        check_memory_maps(name, given, tmp_path)


@PROFILE
@given(st.data())
def test_any_layout(data: st.DataObject) -> None:
    shape = data.draw(shapes())
    given: dict[str, Any] = {"input": data.draw(laid_out(shape, normal)), "grad_output": 0.75}
    if data.draw(st.booleans()):
        given["grad_output"] = data.draw(laid_out(shape, bits, REALS))
    check_any_layout(data, data.draw(st.sampled_from(FUNCTIONS)), given)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_out(name: str, dtype: np.dtype[Any]) -> None:
    check_out(name, operands(dtype))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradient_in_the_place_of_grad_output(name: str, dtype: np.dtype[Any]) -> None:
    given = operands(dtype)
    backward = getattr(logloss, f"{name}_backward")
    right = backward(given["grad_output"], given["input"])
    g = given["grad_output"].copy()
    assert backward(g, given["input"], out=g) is g
    same_bits(g, right)
    square = backward(given["input"], given["input"])
    both = given["input"].copy()
    assert backward(both, both, out=both) is both
    same_bits(both, square)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_threads(name: str, dtype: np.dtype[Any]) -> None:
    check_threads(name, operands(dtype, (200_000,)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_memory_maps_of_bfloat16(name: str, tmp_path: Path) -> None:
    """NumPy's files do not know the type, but a memmap may be viewed as it."""
    dtype = named_dtype("bfloat16")
    x = operands(dtype)["input"]
    x.tofile(tmp_path / "logits")
    stored = np.memmap(tmp_path / "logits", np.uint16, "r").view(dtype).reshape(x.shape)
    same_bits(getattr(logloss, name)(stored), getattr(logloss, name)(x))
