# SPDX-License-Identifier: BSD-3-Clause
"""binary_cross_entropy_with_logits: accuracy, weights, limits, reductions, layouts and `out`."""

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
    CENTRES,
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
    largest,
    logit_grid,
    middle_logits,
    normal,
    per_element,
    results,
    shapes,
    stretchable,
    targets_in_unit_interval,
)
from grid import assert_cancelling, promised
from reference_elementwise import binary_masses, logistic
from test_layouts import same_bits
from ulp import Array, assert_ulp

NAME = "binary_cross_entropy_with_logits"
REDUCTIONS = ("none", "mean", "sum")


def losses(input: Any, target: Any, **options: Any) -> Array:
    return per_element(NAME, input, target, **options)


def check_gradient_of_terms(x: Array, y: Array, **options: Any) -> None:
    """In the units of the larger of the two numbers that the gradient is the difference of, where
    those are within the range of the type.
    """
    options = {"reduction": "sum"} | options
    actual = logloss.binary_cross_entropy_with_logits_backward(1.0, x, y, **options)
    right = ref.binary_cross_entropy_with_logits_backward(1.0, x, y, **options)
    terms = ref.binary_cross_entropy_with_logits_terms(1.0, x, y, **options)
    kept = terms < largest(x.dtype) / 4
    assert_cancelling(actual[kept], right[kept], terms[kept])


def operands(dtype: Any, shape: tuple[int, ...] = (67, 130), reduction: str = "none") -> Any:
    """All arrays that there are, and the options."""
    generator = np.random.default_rng(5)
    logits, grad = generator.normal(0, 6, (2, *shape))
    y, w, p = generator.random((3, *shape))
    given = {"input": logits, "target": y, "weight": 3 * w, "pos_weight": 3 * p}
    arrays = {name: values.astype(dtype) for name, values in given.items()}
    g = grad.astype(dtype) if reduction == "none" else 0.75
    return arrays | {"grad_output": g, "reduction": reduction}


# Accuracy


@pytest.mark.parametrize("certain", (0, 1))
def test_certain_targets_keep_the_promise(certain: int, dtype: np.dtype[Any]) -> None:
    """Loss and gradient keep all their digits: nothing cancels."""
    x = logit_grid(dtype)
    y = np.full(x.shape, certain, dtype)
    check_losses(NAME, x, y)
    check_gradient(NAME, x, y, reduction="sum")
    check_gradient(NAME, x, y)


def test_the_middle_keeps_the_promise(wide_dtype: np.dtype[Any]) -> None:
    x = middle_logits(wide_dtype)
    for y in (np.zeros(x.shape), np.ones(x.shape), np.abs(x[::-1])):
        check_losses(NAME, x, y.astype(wide_dtype))


def test_fractional_targets_keep_the_promise(dtype: np.dtype[Any]) -> None:
    x = logit_grid(dtype)
    for shift in range(0, 6, 2):
        y = np.roll(targets_in_unit_interval(x.size, dtype), shift)
        check_losses(NAME, x, y)
        check_gradient_of_terms(x, y)


@pytest.mark.parametrize("given", (("weight",), ("pos_weight",), ("weight", "pos_weight")))
def test_weights_keep_the_promise(given: tuple[str, ...], dtype: np.dtype[Any]) -> None:
    """Weights of all sizes, where the logarithm that they multiply is a normal number."""
    x = logit_grid(dtype)
    x = x[logistic(ref.wide(x))[1] >= np.finfo(ref.loss_dtype(x)).tiny]
    y = targets_in_unit_interval(x.size, dtype)
    generator = np.random.default_rng(6)
    for size in (0.5, 3.0, 12.0):
        drawn = 10.0 ** generator.uniform(-size, size, (2, x.size))
        options = dict(zip(given, drawn, strict=False))
        check_losses(NAME, x, y, **options)
        check_gradient_of_terms(x, y, **options)
        certain = np.rint(y.astype(float)).astype(dtype)
        check_losses(NAME, x, certain, **options)
        check_gradient(NAME, x, certain, reduction="sum", **options)


def test_targets_beyond_the_unit_interval(dtype: np.dtype[Any]) -> None:
    """Of any size and sign: the error is relative to the terms of the loss, |z x| and |c| log1p."""
    x = logit_grid(dtype)
    generator = np.random.default_rng(7)
    y = (generator.normal(0, 1, x.size) * 10.0 ** generator.uniform(-2, 2, x.size)).astype(dtype)
    for options in ({}, {"weight": -np.abs(generator.normal(0, 2, x.size)), "pos_weight": y}):
        logits, n, p, both = binary_masses(x, y, options.get("weight"), options.get("pos_weight"))
        with np.errstate(invalid="ignore"):
            first = np.abs(np.where(logits > 0, n, p) * logits)
        # With a pos_weight c = n + p, where these may cancel as well.
        second = np.maximum(np.abs(n), np.abs(p)) if options else np.abs(both)
        terms = np.maximum(first, second * logistic(logits)[1])
        kept = terms < largest(ref.loss_dtype(x)) / 4
        right = ref.binary_cross_entropy_with_logits(x, y, **options, reduction="none")
        assert_cancelling(losses(x, y, **options)[kept], right[kept], terms[kept])
    check_gradient_of_terms(x, y)


def test_both_sides_of_a_confident_logit(wide_dtype: np.dtype[Any]) -> None:
    """The losses that the usual form rounds to 0, down to the smallest number of the type."""
    x = np.asarray(CENTRES, wide_dtype)
    for logits, certain in ((x, 1), (-x, 0)):
        y = np.full(x.shape, certain, wide_dtype)
        check_losses(NAME, logits, y)
        smallest = 104 if wide_dtype == np.float32 else 745.2
        np.testing.assert_array_equal(losses(logits, y) > 0, x < smallest)
        np.testing.assert_array_equal(losses(logits, y), -logloss.log_sigmoid(x))


# Limits


def test_infinite_logits_have_the_limits(dtype: np.dtype[Any]) -> None:
    x = np.repeat(np.array([INF, -INF], dtype), 5)
    y = np.array([0, 0.25, 0.5, 0.75, 1] * 2, dtype)
    right = np.array([INF] * 4 + [0, 0] + [INF] * 4)
    slope = np.array([1, 0.75, 0.5, 0.25, 0, 0, -0.25, -0.5, -0.75, -1])
    for options in ({}, {"weight": np.ones(10)}, {"pos_weight": np.ones(10)}):
        each = losses(x, y, **options)
        np.testing.assert_array_equal(each, right)
        assert not np.signbit(each).any()
        grad = logloss.binary_cross_entropy_with_logits_backward(
            1.0, x, y, reduction="sum", **options
        )
        np.testing.assert_array_equal(grad.astype(float), slope)
        assert logloss.binary_cross_entropy_with_logits(x, y, **options) == INF


def test_coefficients_of_zero_hide_infinite_logits(dtype: np.dtype[Any]) -> None:
    """A weight of 0, a pos_weight of 0 beside a target of 1: no loss, and no gradient."""
    x = np.array([INF, -INF, INF, -INF, 3, -3], dtype)
    y = np.array([0, 1, 0.5, 0.5, 0.5, 1], dtype)
    nothing = np.zeros(6, np.float32)
    for p in (None, np.full(6, 2.0)):
        loss, grad = logloss.binary_cross_entropy_with_logits_value_and_grad(
            x, y, weight=nothing, pos_weight=p, reduction="none"
        )
        same_bits(loss, np.zeros(6, ref.loss_dtype(x)))
        np.testing.assert_array_equal(grad.astype(float), nothing)
    positive = np.ones(6, dtype)
    loss, grad = logloss.binary_cross_entropy_with_logits_value_and_grad(
        x, positive, pos_weight=nothing, reduction="none"
    )
    same_bits(loss, np.zeros(6, ref.loss_dtype(x)))
    np.testing.assert_array_equal(grad.astype(float), nothing)
    # Half the weight is on the negative part, which an infinite logit makes infinite or 0.
    loss = losses(x[2:4], y[2:4], pos_weight=nothing[2:4])
    np.testing.assert_array_equal(loss, [INF, 0])


@pytest.mark.parametrize("weighted", (False, True))
def test_the_largest_logits(weighted: bool, wide_dtype: np.dtype[Any]) -> None:
    """No clamp: the loss on the wrong side is the logit itself, and inf only beyond the type."""
    top = largest(wide_dtype)
    x = np.array([top, -top, top, -top], wide_dtype)
    y = np.array([0, 1, 1, 0], wide_dtype)
    options: dict[str, Any] = {"weight": np.ones(4)} if weighted else {}
    same_bits(losses(x, y, **options), np.array([top, top, 0, 0], wide_dtype))
    np.testing.assert_array_equal(losses(x, y, weight=np.full(4, 2.0)), [INF, INF, 0, 0])
    np.testing.assert_array_equal(losses(x, y, weight=np.full(4, 0.5))[:2], top / 2)


def test_zeros_are_positive(wide_dtype: np.dtype[Any]) -> None:
    x = np.array([800, -800, INF, -INF], wide_dtype)
    y = np.array([1, 0, 1, 0])
    for options in ({}, {"weight": np.full(4, 3.0)}, {"pos_weight": np.full(4, 3.0)}):
        same_bits(losses(x, y, **options), np.zeros(4, wide_dtype))
        for reduction in ("mean", "sum"):
            loss = logloss.binary_cross_entropy_with_logits(x, y, reduction=reduction, **options)
            assert loss == 0 and math.copysign(1, loss) == 1


def test_zero_logits_of_either_sign(dtype: np.dtype[Any]) -> None:
    """log 2 whatever the target, and a slope of 1/2 - y exactly."""
    x = np.array([0.0, -0.0] * 4, dtype)
    y = np.repeat([0, 0.25, 0.5, 1], 2).astype(dtype)
    for options in ({}, {"weight": np.ones(8)}):
        loss, grad = logloss.binary_cross_entropy_with_logits_value_and_grad(
            x, y, reduction="none", **options
        )
        assert_ulp(loss, np.full(8, np.log(np.longdouble(2))), promised(2, loss.dtype))
        np.testing.assert_array_equal(grad.astype(float), 0.5 - y.astype(float))


def test_nan_stays_where_it_is(dtype: np.dtype[Any]) -> None:
    given = operands(dtype, (40,))
    right = results(NAME, given)
    for name in ("input", "target", "weight", "pos_weight"):
        spoilt = given[name].copy()
        spoilt[7::16] = NAN
        for found, expected in zip(results(NAME, given | {name: spoilt}), right, strict=True):
            assert np.isnan(found[7::16].astype(float)).all()
            np.testing.assert_array_equal(
                np.delete(found, (7, 23, 39)).astype(float),
                np.delete(expected, (7, 23, 39)).astype(float),
            )


# Reductions


def all_sizes_of_losses(n: int, dtype: Any) -> tuple[Array, Array]:
    """Logits whose losses reach from 1e-40 to 1e30 (float16: 6e4), in no order."""
    generator = np.random.default_rng(8)
    y = generator.integers(0, 2, n)
    top = 4.8 if dtype == np.float16 else 30
    large = 10.0 ** generator.uniform(-4, top, n)
    wrong = generator.random(n) < 0.5
    x = np.where(wrong, large, -generator.uniform(0, 92, n))
    return (np.where(y == 1, -x, x)).astype(dtype), y


@pytest.mark.parametrize("n", (*SIZES, MANY))
def test_reductions_are_correctly_rounded(n: int, dtype: np.dtype[Any]) -> None:
    """Of losses of like sizes, and of sizes from 1e-40 to 1e30, with and without weights."""
    x, y = all_sizes_of_losses(n, dtype)
    check_reductions(NAME, {"input": x, "target": y})
    ordinary = operands(dtype, (n,))
    check_reductions(NAME, {k: ordinary[k] for k in ("input", "target")})
    check_reductions(NAME, {k: ordinary[k] for k in ("input", "target", "weight", "pos_weight")})


@pytest.mark.parametrize("special", ((INF,), (NAN,), (INF, NAN)))
def test_one_infinite_loss_decides(special: tuple[float, ...], dtype: np.dtype[Any]) -> None:
    """In whichever batch it is, and whatever the sizes beside it."""
    for n, place in ((17, 16), (4096, 77), (9000, 4096)):
        x, y = all_sizes_of_losses(n, dtype)
        x[place - len(special) + 1 : place + 1] = special
        y[:] = 0
        check_reductions(NAME, {"input": x, "target": y})


def test_subnormal_losses_are_summed_exactly(wide_dtype: np.dtype[Any]) -> None:
    x = np.linspace(-103, -88, 5000) if wide_dtype == np.float32 else np.linspace(-744, -709, 5000)
    check_reductions(NAME, {"input": x.astype(wide_dtype), "target": np.zeros(5000, bool)})
    each = losses(x.astype(wide_dtype), np.zeros(5000))
    assert (each > 0).all() and (each < np.finfo(wide_dtype).tiny * 2).all()


def test_empty_and_single(dtype: np.dtype[Any]) -> None:
    check_empty(NAME, dtype, REDUCTIONS)
    check_single(NAME, np.array(0.0, dtype), 1, -0.5, REDUCTIONS)


# Gradients


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradient_is_the_derivative(reduction: str, rng: np.random.Generator) -> None:
    x, y = rng.normal(0, 2, (2, 3, 4))
    given: dict[str, Any] = {"input": x, "target": y, "weight": rng.normal(size=(3, 1))}
    given["pos_weight"] = rng.random(4)
    given["grad_output"] = rng.normal(size=(3, 4)) if reduction == "none" else 0.75
    check_derivative(NAME, given | {"reduction": reduction})


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("without", (("weight", "pos_weight"), ("pos_weight",), ("weight",), ()))
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
    actual = logloss.binary_cross_entropy_with_logits_backward(-3.0, *arrays, reduction=reduction)
    right = ref.binary_cross_entropy_with_logits_backward(-3.0, *arrays, reduction=reduction)
    terms = ref.binary_cross_entropy_with_logits_terms(-3.0, *arrays, reduction=reduction)
    assert_cancelling(actual, right, terms)


# Types


@pytest.mark.parametrize("name", ("target", "weight", "pos_weight", "grad_output"))
@pytest.mark.parametrize("kind", INTEGERS)
def test_integers_of_every_type(kind: str, name: str, dtype: np.dtype[Any]) -> None:
    """Converted exactly, as far as the values fit."""
    given = operands(dtype, (9, 31))
    given[name] = np.random.default_rng(9).integers(0, 100, (9, 31))
    check_converted(NAME, given, name, kind, dtype)


@pytest.mark.parametrize("name", ("weight", "pos_weight", "grad_output"))
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


@pytest.mark.parametrize("name", ("weight", "pos_weight"))
def test_weights_broadcast(name: str, dtype: np.dtype[Any]) -> None:
    """To the shape of the input from the right, as copies of them that have its shape."""
    given = operands(dtype, (3, 5, 7))
    for shape in ((), (1,), (7,), (5, 1), (5, 7), (3, 1, 1), (3, 1, 7), (1, 1, 1), (1, 5, 1)):
        weight = np.random.default_rng(10).random(shape).astype(dtype)
        full = np.ascontiguousarray(np.broadcast_to(weight, (3, 5, 7)))
        found = results(NAME, given | {name: weight})
        same_bits(tuple(found), tuple(results(NAME, given | {name: full})))
    same_bits(
        losses(given["input"], given["target"], **{name: 2}),
        losses(given["input"], given["target"], **{name: np.full((3, 5, 7), 2.0)}),
    )


@pytest.mark.parametrize("name", ("weight", "pos_weight"))
@pytest.mark.parametrize(("rows", "classes"), ((1000, 10), (13, 1024), (3, 4097), (2, 9001)))
@pytest.mark.parametrize("stored", ("f4", "f8", ">f4", "i2"))
def test_weights_broadcast_over_many_batches(
    name: str, rows: int, classes: int, stored: str, rng: np.random.Generator
) -> None:
    """One for each class, for each row, for all: they repeat within a batch of 4096 or beyond."""
    given = operands(np.dtype(np.float32), (rows, classes))
    for shape in ((classes,), (rows, 1), ()):
        weight = rng.integers(1, 9, shape).astype(stored)
        full = np.array(np.broadcast_to(weight, (rows, classes)), np.float32)
        right = tuple(results(NAME, given | {name: full}))
        for x in (given["input"], np.asfortranarray(given["input"])):
            same_bits(tuple(results(NAME, given | {"input": x, name: weight})), right)


@PROFILE
@given(st.data())
def test_any_layout(data: st.DataObject) -> None:
    shape = data.draw(shapes())
    reduction = data.draw(st.sampled_from(REDUCTIONS))
    arrays: dict[str, Any] = {"input": data.draw(laid_out(shape, normal)), "reduction": reduction}
    arrays["target"] = data.draw(st.one_of(laid_out(shape, normal), laid_out(shape, bits, REALS)))
    for name in ("weight", "pos_weight"):
        if data.draw(st.booleans()):
            arrays[name] = data.draw(stretchable(shape, bits, REALS))
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
