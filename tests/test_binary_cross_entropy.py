# SPDX-License-Identifier: BSD-3-Clause
"""binary_cross_entropy of probabilities: accuracy, the clamps, reductions, layouts and `out`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import logloss
import reference as ref
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
    check_derivative,
    check_empty,
    check_grad_outputs,
    check_gradient,
    check_layouts,
    check_losses,
    check_memory_maps,
    check_out,
    check_reductions,
    check_repeated,
    check_single,
    check_target_types,
    check_threads,
    check_value_and_grad,
    laid_out,
    per_element,
    probability_grid,
    results,
    shapes,
    stretchable,
    targets_in_unit_interval,
    uniform,
)
from grid import promised
from test_layouts import same_bits
from ulp import FORMATS, Array, assert_ulp

NAME = "binary_cross_entropy"
REDUCTIONS = ("none", "mean", "sum")
EPSILON = float(np.float32(1e-12))


def losses(input: Any, target: Any, **options: Any) -> Array:
    return per_element(NAME, input, target, **options)


def gradient(input: Any, target: Any, **options: Any) -> Array:
    """Of the sum."""
    return logloss.binary_cross_entropy_backward(1.0, input, target, reduction="sum", **options)


def operands(dtype: Any, shape: tuple[int, ...] = (67, 130), reduction: str = "none") -> Any:
    """All arrays that there are, and the options."""
    generator = np.random.default_rng(5)
    x, y, w, g = generator.random((4, *shape)).astype(dtype)
    given = {"input": x, "target": y, "weight": w, "reduction": reduction}
    return given | {"grad_output": g if reduction == "none" else 0.75}


def check_both(x: Array, y: Array, **options: Any) -> None:
    check_losses(NAME, x, y, **options)
    check_gradient(NAME, x, y, reduction="sum", **options)


# Accuracy


@pytest.mark.parametrize("certain", (0, 1))
def test_certain_targets_keep_the_promise(certain: int, dtype: np.dtype[Any]) -> None:
    x = probability_grid(dtype)
    check_both(x, np.full(x.shape, certain, dtype))


def test_fractional_targets_keep_the_promise(dtype: np.dtype[Any]) -> None:
    """Both parts of the loss have one sign; the difference in the gradient is exact enough."""
    x = probability_grid(dtype)
    for shift in range(6):
        check_both(x, np.roll(targets_in_unit_interval(x.size, dtype), shift))


def test_targets_next_to_the_probability(wide_dtype: np.dtype[Any]) -> None:
    """The gradient x - y keeps its digits where the two nearly agree."""
    x = probability_grid(wide_dtype)
    for steps in (0, 1, 5, 1000):
        y = x.copy()
        for towards in (0, 1):
            moved = y + (towards - y) * wide_dtype.type(steps * np.finfo(wide_dtype).eps)
            check_both(x, moved)
    np.testing.assert_array_equal(gradient(x, x), np.zeros_like(x))


@pytest.mark.parametrize("size", (0.5, 12.0))
def test_weights_keep_the_promise(size: float, dtype: np.dtype[Any]) -> None:
    """Of all sizes and either sign, where the loss that they multiply is a normal number."""
    grid = probability_grid(dtype)
    fractions = targets_in_unit_interval(grid.size, dtype)
    generator = np.random.default_rng(6)
    for y in (fractions, np.rint(fractions.astype(float)).astype(dtype)):
        kept = losses(grid, y) >= np.finfo(ref.loss_dtype(grid)).tiny
        sign = generator.choice((-1, 1), kept.sum())
        weight = sign * 10.0 ** generator.uniform(-size, size, kept.sum())
        check_both(grid[kept], y[kept], weight=weight)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients_of_means(reduction: str, dtype: np.dtype[Any]) -> None:
    given = operands(dtype, (4099,))
    check_gradient(NAME, given["input"], given["target"], reduction=reduction)


# The clamps and other limits


def test_logarithms_are_clamped(dtype: np.dtype[Any]) -> None:
    """A wrong certainty costs 100, and a weight multiplies that."""
    x = np.array([0, 0, 1, 1, 0, 1, -0.0, -0.0], dtype)
    y = np.array([0, 1, 0, 1, 0.25, 0.25, 0, 1], dtype)
    right = np.array([0, 100, 100, 0, 25, 75, 0, 100])
    each = losses(x, y)
    np.testing.assert_array_equal(each, right)
    assert not np.signbit(each).any()
    np.testing.assert_array_equal(losses(x, y, weight=np.full(8, 0.5)), right / 2)
    assert logloss.binary_cross_entropy(x, y) == 50


def test_the_clamp_begins_at_exp_of_minus_100(wide_dtype: np.dtype[Any]) -> None:
    """A number beside it, subnormal in float32, is not clamped."""
    edge = np.exp(np.longdouble(-100))
    x = (edge * np.array([0, 1e-3, 0.5, 0.9, 1.1, 2, 100])).astype(wide_dtype)
    check_both(x, np.ones_like(x))
    each = losses(x, np.ones_like(x))
    np.testing.assert_array_equal(each[:4], 100)
    assert (each[4:] < 100).all()
    smallest = np.array([2.0 ** (-149 if wide_dtype == np.float32 else -1074)], wide_dtype)
    np.testing.assert_array_equal(losses(smallest, [1]), [100])
    # The clamp costs nothing on the other side, where it is the probability itself.
    np.testing.assert_array_equal(losses(smallest, [0]), smallest)


def test_the_gradient_is_bounded(dtype: np.dtype[Any]) -> None:
    """The clamp is not differentiated, but the denominator is at least float32(1e-12)."""
    x = np.array([0, 1, 0, 1, 0], dtype)
    y = np.array([1, 0, 0, 1, 0.5], dtype)
    right = np.array([-1 / EPSILON, 1 / EPSILON, 0, 0, -0.5 / EPSILON])
    grad = gradient(x, y)
    assert_ulp(grad, right, promised(3, dtype))
    if dtype == np.float16:
        np.testing.assert_array_equal(grad, [-INF, INF, 0, 0, -INF])
    # In the logarithm there is no such bound.
    tiny = np.array([2.0 ** max(-60, FORMATS[dtype.name][1])], dtype)
    assert_ulp(losses(tiny, [1]), -np.log(ref.wide(tiny)), promised(2, ref.loss_dtype(tiny)))


def test_zeros_are_positive(dtype: np.dtype[Any]) -> None:
    x, y = np.array([0, 1, -0.0], dtype), np.array([0, 1, 0])
    for options in ({}, {"weight": np.full(3, 2.0)}, {"weight": np.zeros(3)}):
        same_bits(losses(x, y, **options), np.zeros(3, ref.loss_dtype(x)))
        for reduction in ("mean", "sum"):
            loss = logloss.binary_cross_entropy(x, y, reduction=reduction, **options)
            assert loss == 0 and math.copysign(1, loss) == 1


def test_a_weight_of_zero_counts_for_nothing(dtype: np.dtype[Any]) -> None:
    x, y = np.array([0, 1, 0.3], dtype), np.array([1, 0, 1])
    loss, grad = logloss.binary_cross_entropy_value_and_grad(
        x, y, weight=np.zeros(3), reduction="none"
    )
    same_bits(loss, np.zeros(3, ref.loss_dtype(x)))
    np.testing.assert_array_equal(grad.astype(float), 0)


def test_infinite_weights(wide_dtype: np.dtype[Any]) -> None:
    """They are not checked, and reach the elements that they weigh."""
    x, y = np.array([0.5, 0.5, 0.5], wide_dtype), np.array([1, 0, 1])
    loss = losses(x, y, weight=np.array([INF, -INF, NAN]))
    np.testing.assert_array_equal(loss, [INF, -INF, NAN])
    np.testing.assert_array_equal(gradient(x, y, weight=np.array([INF, -INF, 1])), [-INF, -INF, -2])


# Reductions


def with_weights_of_all_sizes(n: int, dtype: Any) -> dict[str, Any]:
    generator = np.random.default_rng(8)
    weight = 10.0 ** generator.uniform(-40, 30, n)
    given = operands(dtype, (n,))
    return {"input": given["input"], "target": given["target"], "weight": weight}


@pytest.mark.parametrize("n", (*SIZES, MANY))
def test_reductions_are_correctly_rounded(n: int, dtype: np.dtype[Any]) -> None:
    """Of losses of like sizes, and of sizes from 1e-40 to 1e30 in one batch."""
    given = with_weights_of_all_sizes(n, dtype)
    check_reductions(NAME, given)
    del given["weight"]
    check_reductions(NAME, given)
    given["input"] = np.resize(probability_grid(dtype), n)
    check_reductions(NAME, given)


@pytest.mark.parametrize("special", ((INF,), (NAN,), (-INF, INF), (-INF, 1.0)))
def test_one_infinite_loss_decides(special: tuple[float, ...], dtype: np.dtype[Any]) -> None:
    for n, place in ((17, 16), (4096, 77), (9000, 4096)):
        given = with_weights_of_all_sizes(n, dtype)
        given["weight"][place - len(special) + 1 : place + 1] = special
        check_reductions(NAME, given)


def test_empty_and_single(dtype: np.dtype[Any]) -> None:
    check_empty(NAME, dtype, REDUCTIONS)
    check_single(NAME, np.array(0.5, dtype), 1, -2.0, REDUCTIONS)


# Gradients


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradient_is_the_derivative(reduction: str, rng: np.random.Generator) -> None:
    x, y = rng.uniform(0.1, 0.9, (2, 3, 4))
    given: dict[str, Any] = {"input": x, "target": y, "weight": rng.normal(size=(3, 1))}
    given["grad_output"] = rng.normal(size=(3, 4)) if reduction == "none" else 0.75
    check_derivative(NAME, given | {"reduction": reduction})


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("without", (("weight",), ()))
def test_value_and_grad_is_both_in_one(
    without: tuple[str, ...], reduction: str, dtype: np.dtype[Any]
) -> None:
    given = operands(dtype, (4099,), reduction)
    check_value_and_grad(NAME, {k: v for k, v in given.items() if k not in without})


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_grad_outputs(reduction: str, dtype: np.dtype[Any]) -> None:
    given = operands(dtype, (50,), reduction)
    check_grad_outputs(NAME, given)
    arrays = given["input"], given["target"]
    actual = logloss.binary_cross_entropy_backward(-3.0, *arrays, reduction=reduction)
    right = ref.binary_cross_entropy_backward(-3.0, *arrays, reduction=reduction)
    assert_ulp(actual, right, promised(3, dtype))


# Types


@pytest.mark.parametrize("name", ("target", "weight", "grad_output"))
@pytest.mark.parametrize("kind", INTEGERS)
def test_integers_of_every_type(kind: str, name: str, dtype: np.dtype[Any]) -> None:
    given = operands(dtype, (9, 31))
    given[name] = np.random.default_rng(9).integers(0, 2 if name == "target" else 100, (9, 31))
    check_converted(NAME, given, name, kind, dtype)


@pytest.mark.parametrize("name", ("weight", "grad_output"))
@pytest.mark.parametrize("kind", ("float16", "float32", "float64"))
def test_weights_are_read_in_the_type_of_the_losses(
    kind: str, name: str, dtype: np.dtype[Any]
) -> None:
    given = operands(np.float64, (9, 31))
    given["input"], given["target"] = (given[k].astype(dtype) for k in ("input", "target"))
    check_converted(NAME, given, name, kind, ref.loss_dtype(given["input"]))


def test_targets_of_another_float_type(dtype: np.dtype[Any]) -> None:
    check_target_types(NAME, operands(dtype, (9, 31)), operands(np.float64, (9, 31))["target"])


# Layouts, threads


@pytest.mark.parametrize("reduction", ("none", "mean"))
def test_layouts(reduction: str, dtype: np.dtype[Any], tmp_path: Path) -> None:
    given = operands(dtype, reduction=reduction)
    check_layouts(NAME, given)
    check_repeated(NAME, given)
    if dtype.kind == "f":
        check_memory_maps(NAME, given, tmp_path)


def test_weights_broadcast(dtype: np.dtype[Any]) -> None:
    """To the shape of the input from the right, as copies of them that have its shape."""
    given = operands(dtype, (3, 5, 7))
    for shape in ((), (1,), (7,), (5, 1), (5, 7), (3, 1, 1), (3, 1, 7), (1, 1, 1), (1, 5, 1)):
        weight = np.random.default_rng(10).random(shape).astype(dtype)
        full = np.ascontiguousarray(np.broadcast_to(weight, (3, 5, 7)))
        found = results(NAME, given | {"weight": weight})
        same_bits(tuple(found), tuple(results(NAME, given | {"weight": full})))


@PROFILE
@given(st.data())
def test_any_layout(data: st.DataObject) -> None:
    shape = data.draw(shapes())
    reduction = data.draw(st.sampled_from(REDUCTIONS))
    arrays: dict[str, Any] = {"input": data.draw(laid_out(shape, uniform)), "reduction": reduction}
    arrays["target"] = data.draw(st.one_of(laid_out(shape, uniform), laid_out(shape, bits, REALS)))
    if data.draw(st.booleans()):
        arrays["weight"] = data.draw(stretchable(shape, bits, REALS))
    arrays["grad_output"] = 0.75
    if reduction == "none" and data.draw(st.booleans()):
        arrays["grad_output"] = data.draw(laid_out(shape, bits, REALS))
    check_any_layout(data, NAME, arrays)


@pytest.mark.parametrize("reduction", ("none", "mean"))
def test_out(reduction: str, dtype: np.dtype[Any]) -> None:
    check_out(NAME, operands(dtype, reduction=reduction))


@pytest.mark.parametrize("reduction", ("none", "mean"))
def test_threads(reduction: str, dtype: np.dtype[Any]) -> None:
    check_threads(NAME, operands(dtype, (200_000,), reduction))
