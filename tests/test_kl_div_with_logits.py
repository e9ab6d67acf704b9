# SPDX-License-Identifier: BSD-3-Clause
"""kl_div_with_logits: accuracy, also of rows that nearly agree; limits, options, pairs, layouts."""

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
    GRAD_OUTPUTS,
    INF,
    LAYOUTS,
    NAN,
    PROFILE,
    check_any_layout,
    check_layouts,
    check_memory_maps,
    check_out,
    check_reductions,
    check_repeated,
    check_target_types,
    check_threads,
    check_value_and_grad,
    normal,
    results,
)
from grid import DEVIATIONS, ROUNDED_ONCE, assert_cancelling, promised
from reference_base import wider
from test_layouts import logits, plain, relaid, same_bits
from ulp import Array, assert_ulp, ulp

NAME = "kl_div_with_logits"
REDUCTIONS = ("none", "mean", "sum", "batchmean")
CLASSES = (1, 2, 3, 10, 15, 16, 17, 127, 128, 129, 1000, 4097)
NOISE = (1e-3, 1e-5, 1e-7)

# The logarithm of a float32 row's sum is known to half an ulp of 1; that cancels but for its cube.
FLOAT32_FLOOR = 2.0**-72
# In float64 a difference of logarithms is off by 2e-15, of which the divergence is half the square.
FLOAT64_LOGS = 2e-15


def losses(input: Array, target: Array, **options: Any) -> Array:
    return np.asarray(logloss.kl_div_with_logits(input, target, reduction="none", **options))


def pairs(classes: int, deviation: float, dtype: Any, rows: int) -> tuple[Array, Array]:
    """Rows of input and target, in turn: unrelated ones; equal but for noise of three sizes;
    confident ones of one opinion, of two, and beside one that is not; far from 0.
    """
    generator = np.random.default_rng([classes, int(deviation)])
    t, x, noise = generator.normal(0, deviation, (3, rows, classes))
    kind, row, top = np.arange(rows) % 8, np.arange(rows), t.argmax(axis=1)
    margin = np.linspace(0, 80, rows)
    for i, relative in enumerate(NOISE, 1):
        x[kind == i] = (t * (1 + relative * noise))[kind == i]
    t[row, top] += np.where((kind == 4) | (kind == 5), margin, 0)
    x[row, top] += np.where((kind == 4) | (kind == 6), margin, 0)
    far = 10.0 ** generator.uniform(4, 4.6 if dtype == np.float16 else 8, (rows, 1))
    x[kind == 7] = (t + far)[kind == 7]
    return x.astype(dtype), t.astype(dtype)


def check_losses(x: Array, t: Array, **options: Any) -> None:
    """Within 2 ulps (4 of float64), as far as the logarithms of the sums are known."""
    actual, right = losses(x, t, **options), ref.kl_div_with_logits(x, t, reduction="none")
    assert actual.dtype == ref.loss_dtype(wider(x, t))
    allowed = promised(2, actual.dtype) * ulp(right, actual.dtype)
    if actual.dtype == np.float64:
        allowed = np.maximum(allowed, FLOAT64_LOGS * np.maximum(np.sqrt(right), FLOAT64_LOGS))
    error = np.abs(actual.astype(np.longdouble) - right) / np.maximum(allowed, FLOAT32_FLOOR**2)
    if actual.dtype == np.float32:
        error = np.where(np.abs(actual - right) < FLOAT32_FLOOR, 0, error)
    worst = np.argmax(error)
    assert error[worst] <= 1, (
        f"{float(error[worst]):.4g} times what is allowed in row {worst}: "
        f"got {float(actual[worst])!r}, expected {right[worst]!r}"
    )


def check_gradients(x: Array, t: Array, grad_output: Any = 1.0, **options: Any) -> None:
    """Both of them, in the units of the numbers they are differences of, and as far as the
    logarithms of the sums are known.
    """
    given = {"reduction": "sum", "target_grad": True} | options
    actual = logloss.kl_div_with_logits_backward(grad_output, x, t, **given)
    right = ref.kl_div_with_logits_backward(grad_output, x, t, **given)
    terms = ref.kl_div_with_logits_terms(grad_output, x, t, **given)
    for found, exact, size, like in zip(actual, right, terms, (x, t), strict=True):
        assert found.dtype == like.dtype
        known = FLOAT64_LOGS if like.dtype == np.float64 else 0.0
        assert_cancelling(found, exact, size, known * size)


def rows_for(classes: int) -> int:
    return max(8, min(64, 4000 // classes))


def operands(
    dtype: Any, shape: tuple[int, ...] = (67, 130), reduction: str = "none", **options: Any
) -> dict[str, Any]:
    """Logits that nearly agree in every third element."""
    generator = np.random.default_rng(5)
    t, x = generator.normal(0, 4, (2, *shape))
    close = np.arange(t.size).reshape(shape) % 3 == 0
    x = np.where(close, t * (1 + 1e-3 * x), x)
    kept = np.delete(shape, options.get("axis", -1))
    g: Any = generator.normal(size=kept).astype(dtype) if reduction == "none" else 0.75
    given = {"input": x.astype(dtype), "target": t.astype(dtype), "grad_output": g}
    return given | {"reduction": reduction} | options


# Accuracy


@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("classes", CLASSES)
def test_losses_keep_the_promise(classes: int, deviation: float, dtype: np.dtype[Any]) -> None:
    check_losses(*pairs(classes, deviation, dtype, rows_for(classes)))


@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("classes", CLASSES)
def test_gradients_keep_the_promise(classes: int, deviation: float, dtype: np.dtype[Any]) -> None:
    check_gradients(*pairs(classes, deviation, dtype, rows_for(classes)))


@pytest.mark.parametrize("classes", (65537, 131073))
def test_rows_of_many_classes(classes: int, wide_dtype: np.dtype[Any]) -> None:
    """A nearly equal one, two confident ones, one far from 0."""
    x, t = pairs(classes, 3.0, wide_dtype, 8)
    for row in (2, 5, 6, 7):
        check_losses(x[row : row + 1], t[row : row + 1])
    if wide_dtype == np.float32:
        check_gradients(x[2:3], t[2:3])


@pytest.mark.parametrize("margin", (0.0, 12.0, 40.0))
def test_flat_targets_of_many_classes(margin: float, wide_dtype: np.dtype[Any]) -> None:
    """The logarithm of a sum of thousands is rounded; the probabilities should not show it."""
    generator = np.random.default_rng([1, int(margin)])
    x, t = generator.normal(0, 1, (24, 4097)), generator.normal(0, 0.3, (24, 4097))
    x[np.arange(24), generator.integers(0, 4097, 24)] += margin
    check_losses(x.astype(wide_dtype), t.astype(wide_dtype))


def test_one_class_by_one_step(dtype: np.dtype[Any]) -> None:
    """The smallest differences that there are: divergences from 1e-5 down to 1e-15 and less."""
    for classes in (2, 10, 129):
        generator = np.random.default_rng(classes)
        t = generator.normal(0, 3, (200, classes)).astype(dtype)
        x = t.copy()
        at = np.arange(200), generator.integers(0, classes, 200)
        x[at] = np.nextafter(x[at], dtype.type(100))
        check_losses(x, t)
        check_gradients(x, t)


def test_an_inner_class_axis_keeps_the_promise(dtype: np.dtype[Any]) -> None:
    for classes, inner in ((3, 1), (40, 7), (129, 33)):
        x, t = pairs(classes, 5.0, dtype, 2 * inner)
        turned = (a.reshape(2, inner, classes).swapaxes(1, 2) for a in (x, t))
        each = losses(*turned, axis=1)
        assert each.shape == (2, inner)
        same_bits(each.ravel(), losses(x, t))


# Rows that agree


@pytest.mark.parametrize("classes", (1, 2, 17, 129, 4097))
def test_equal_rows(classes: int, dtype: np.dtype[Any]) -> None:
    """0 exactly, and gradients of 0, for confident rows too."""
    _, t = pairs(classes, 10.0, dtype, 16)
    loss, grads = logloss.kl_div_with_logits_value_and_grad(
        t, t, reduction="none", target_grad=True
    )
    same_bits(loss, np.zeros(16, ref.loss_dtype(t)))
    for grad in grads:
        np.testing.assert_array_equal(grad.astype(float), np.zeros(t.shape))


@pytest.mark.parametrize("shift", (0.5, -3.0, 16.0, 100.0))
def test_rows_equal_but_for_a_constant(shift: float, dtype: np.dtype[Any]) -> None:
    """0 but for the rounding of the two sums."""
    generator = np.random.default_rng(6)
    step = 1 if shift == 100 else 8
    for classes in (1, 2, 3, 17, 129):
        t = generator.integers(-12, 13, (100, classes)) / step
        x, t = (t + shift).astype(dtype), t.astype(dtype)
        kept = (x.astype(float) - t.astype(float) == shift).all(axis=1)
        assert kept.any()
        check_losses(x[kept], t[kept])


def test_no_divergence_is_negative(dtype: np.dtype[Any]) -> None:
    """Rows that are equal, equal but for a constant, or but for their last places."""
    generator = np.random.default_rng(7)
    for classes in (2, 3, 10, 33, 129):
        t = np.round(generator.normal(0, 1, (200, classes)) * 64) / 64
        noise = generator.normal(size=t.shape)
        for x in (t, t + 0.5, t - 3, t + 100, *(t * (1 + r * noise) for r in (1e-16, 1e-12, 1e-7))):
            each = losses(x.astype(dtype), t.astype(dtype))
            assert each.min() >= 0, f"{each.min()} of {classes} classes"


# Limits

# input, target, divergence
LIMITS: dict[str, tuple[list[float], list[float], float]] = {
    "absent from both": ([0, -INF, 0], [0, -INF, 0], 0.0),
    "absent from the target": ([0, 0, 1], [0, -INF, 0], math.log(1 + math.e / 2) - 0.5),
    "absent from the input": ([0, -INF, 0], [0, 0, 0], INF),
    "one class each": ([0, -INF, -INF], [3, -INF, -INF], 0.0),
    "another class each": ([-INF, -INF, 0], [0, -INF, -INF], INF),
    "an empty input": ([-INF] * 3, [0, 0, 0], NAN),
    "an empty target": ([0, 0, 0], [-INF] * 3, NAN),
    "both empty": ([-INF] * 3, [-INF] * 3, NAN),
    "inf in the input": ([0, INF, 0], [0, 0, 0], NAN),
    "inf in the target": ([0, 0, 0], [0, INF, 0], NAN),
    "inf in both": ([0, INF, 0], [0, INF, 0], NAN),
    "nan in the input": ([0, NAN, 0], [0, 0, 0], NAN),
    "nan in the target": ([0, 0, 0], [0, NAN, -INF], NAN),
    "nan beside inf": ([0, NAN, INF], [0, 0, 0], NAN),
    "the largest logits": ([6e4, -6e4, 0], [6e4, -6e4, 0], 0.0),
    "the largest apart": ([-(2**14), 2**14, 0], [2**14, -(2**14), 0], 2.0**15),
}


@pytest.mark.parametrize("padding", (0, 37))
@pytest.mark.parametrize("case", LIMITS.values(), ids=LIMITS.keys())
def test_limits(case: Any, padding: int, dtype: np.dtype[Any]) -> None:
    """Between two ordinary rows, alone, and with absent classes besides."""
    x, t = (np.array([-INF] * padding + row, dtype) for row in case[:2])
    ordinary = np.sin(np.arange(x.size)).astype(dtype)
    x, t = np.stack([ordinary, x, ordinary[::-1]]), np.stack([ordinary, t, ordinary])
    each = losses(x, t)
    assert_ulp(each, ref.kl_div_with_logits(x, t, reduction="none"), promised(2, each.dtype))
    assert_ulp(each[1], np.asarray(case[2]), promised(2, each.dtype))
    same_bits(losses(x[1], t[1]), each[1])
    given: dict[str, Any] = {"reduction": "sum", "target_grad": True}
    actual = logloss.kl_div_with_logits_backward(1.0, x, t, **given)
    right = ref.kl_div_with_logits_backward(1.0, x, t, **given)
    for found, exact in zip(actual, right, strict=True):
        assert_ulp(found[1], exact[1], promised(3, dtype))
    same_bits(actual[0], logloss.kl_div_with_logits_backward(1.0, x, t, reduction="sum"))


def test_the_widest_logits(wide_dtype: np.dtype[Any]) -> None:
    top = np.finfo(wide_dtype).max
    x, t = np.array([[top, -top, 0], [0, top, -top]], wide_dtype)
    np.testing.assert_array_equal(losses(x, x), 0)
    np.testing.assert_array_equal(losses(x, t), INF)
    grads = logloss.kl_div_with_logits_backward(1.0, x, t, reduction="sum")
    np.testing.assert_array_equal(grads, [1, -1, 0])


# Reductions, shapes


@pytest.mark.parametrize("rows", (1, 3, 1000, 4099))
def test_reductions_are_correctly_rounded(rows: int, dtype: np.dtype[Any]) -> None:
    x, t = pairs(7, 10.0, dtype, rows)
    divisors = {"mean": 7 * rows, "batchmean": rows}
    check_reductions(NAME, {"input": x, "target": t}, divisors)
    x, t = (np.ascontiguousarray(a.T) for a in (x, t))
    divisors["batchmean"] = 7
    check_reductions(NAME, {"input": x, "target": t, "axis": 0}, divisors)


@pytest.mark.parametrize("special", (-INF, NAN))
def test_one_row_decides(special: float, dtype: np.dtype[Any]) -> None:
    x, t = pairs(5, 3.0, dtype, 300)
    x[77, 2] = special
    check_reductions(NAME, {"input": x, "target": t}, {"mean": 1500, "batchmean": 300})


def test_one_row(dtype: np.dtype[Any]) -> None:
    """Of one axis: "batchmean" divides by its length as "mean" does."""
    x, t = (a[0] for a in pairs(4, 3.0, dtype, 1))
    each = losses(x, t)
    assert each.shape == ()
    for reduction, divisor in {"sum": 1, "mean": 4, "batchmean": 4}.items():
        loss, grad = logloss.kl_div_with_logits_value_and_grad(x, t, reduction=reduction)
        assert isinstance(loss, float) and loss == float(each) / divisor
        assert grad.shape == (4,)
    with pytest.raises(ValueError, match="at least one axis"):
        logloss.kl_div_with_logits(x[0], t[0])


@pytest.mark.parametrize("axis", (-1, 0, 1))
@pytest.mark.parametrize("shape", ((0, 3), (3, 0), (2, 0, 5), (0, 0), (0,)))
def test_empty(shape: tuple[int, ...], axis: int, dtype: np.dtype[Any]) -> None:
    """No rows, or rows of no classes, whose divergence is 0."""
    if axis >= len(shape):
        return
    x = np.zeros(shape, dtype)
    each = losses(x, x, axis=axis)
    assert each.shape == np.empty(shape).sum(axis=axis).shape
    same_bits(each, np.zeros(each.shape, ref.loss_dtype(x)))
    batchmean = 0.0 if shape[0] else NAN
    for reduction, right in {"sum": 0.0, "mean": NAN, "batchmean": batchmean}.items():
        options: dict[str, Any] = {"reduction": reduction, "axis": axis}
        loss, grad = logloss.kl_div_with_logits_value_and_grad(x, x, **options)
        for found in (loss, logloss.kl_div_with_logits(x, x, **options)):
            np.testing.assert_array_equal(found, right)
            assert math.copysign(1, found) == 1 or math.isnan(found)
        pair = logloss.kl_div_with_logits_backward(1.0, x, x, **options, target_grad=True)
        assert grad.shape == pair[0].shape == pair[1].shape == shape
        assert grad.dtype == pair[0].dtype == pair[1].dtype == dtype


@pytest.mark.parametrize("axis", (0, 1, 2, 3, -1, -3))
def test_any_class_axis_gives_the_same_bits(axis: int, dtype: np.dtype[Any]) -> None:
    given = operands(dtype, (2, 5, 4, 6), axis=-1, target_grad=True)
    moved = given | {k: np.moveaxis(given[k], -1, axis).copy() for k in ("input", "target")}
    moved["axis"] = axis
    loss, grads, loss_beside, grads_beside = results(NAME, given)
    for found, right in zip(
        results(NAME, moved), (loss, grads, loss_beside, grads_beside), strict=True
    ):
        back = np.moveaxis(found, axis % 4 + 1, -1) if found.ndim == 5 else found
        same_bits(back, right)


# Gradients


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_value_and_grad_is_both_in_one(reduction: str, dtype: np.dtype[Any]) -> None:
    given = operands(dtype, (9, 257), reduction)
    del given["grad_output"]
    check_value_and_grad(NAME, given)
    loss, grads = logloss.kl_div_with_logits_value_and_grad(**given, target_grad=True)
    same_bits(loss, logloss.kl_div_with_logits(**given))
    given["reduction"] = "sum" if reduction == "none" else reduction
    both = logloss.kl_div_with_logits_backward(1.0, **given, target_grad=True)
    same_bits(grads, both)
    same_bits(both[0], logloss.kl_div_with_logits_backward(1.0, **given))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_grad_outputs(reduction: str, dtype: np.dtype[Any]) -> None:
    """A number of any kind; for "none" also one for each row."""
    given = operands(dtype, (11, 10), reduction, target_grad=True)
    g = given.pop("grad_output")
    for number in GRAD_OUTPUTS:
        both = logloss.kl_div_with_logits_backward(number, **given)
        same_bits(both, logloss.kl_div_with_logits_backward(float(number), **given))
        if reduction == "none":
            for each in (np.full(11, number), np.full(11, float(number)).tolist()):
                same_bits(both, logloss.kl_div_with_logits_backward(each, **given))
    if dtype != np.float64:
        check_gradients(given["input"], given["target"], g, reduction=reduction)
        check_gradients(given["input"], given["target"], -3.0, reduction=reduction)


def test_types_of_a_pair(dtype: np.dtype[Any]) -> None:
    """Of two types the wider one holds; each gradient has the type of its own side."""
    wide = operands(np.float64, (9, 31))
    check_target_types(NAME, operands(dtype, (9, 31)), wide["target"])
    x, g = wide["input"].astype(dtype), wide["grad_output"].astype(np.float32)
    for other in (np.float16, np.float32, np.float64):
        t = wide["target"].astype(other)
        common = np.result_type(np.float32, *(a.dtype for a in (x, t) if a.dtype.itemsize > 2))
        common = dtype if other == dtype else common
        given: dict[str, Any] = {"reduction": "none", "target_grad": True}
        found = logloss.kl_div_with_logits_backward(g, x, t, **given)
        right = logloss.kl_div_with_logits_backward(g, x.astype(common), t.astype(common), **given)
        for grad, exact, like in zip(found, right, (x, t), strict=True):
            assert grad.dtype == like.dtype
            assert_ulp(grad, exact, ROUNDED_ONCE)


# Pairs of outputs


@pytest.mark.parametrize("reduction", ("none", "mean"))
def test_a_pair_of_outputs(reduction: str, dtype: np.dtype[Any]) -> None:
    """Each in any layout, and each in place of its own logits."""
    given = operands(dtype, (19, 37), reduction, target_grad=True)
    g = given.pop("grad_output")
    x, t = given["input"], given["target"]
    loss, of_one = logloss.kl_div_with_logits_value_and_grad(**given)
    right = logloss.kl_div_with_logits_backward(g, **given)
    for what, layout in LAYOUTS.items():
        for other in (layout, np.array):
            out = layout(np.full_like(x, 7)), other(np.full_like(t, 7))
            if what == "read-only" or not out[0].dtype.isnative:
                continue
            for logits_in, target_in in ((x, t), out, (x, out[1]), (out[0], t)):
                for written, like in zip((logits_in, target_in), (x, t), strict=True):
                    if written is not like:
                        written[...] = like
                moved = given | {"input": logits_in, "target": target_in, "out": out}
                found = logloss.kl_div_with_logits_backward(g, **moved)
                assert found[0] is out[0] and found[1] is out[1]
                assert [a.tobytes() for a in found] == [a.tobytes() for a in right]
                for written, like in zip((logits_in, target_in), (x, t), strict=True):
                    if written is not like:
                        written[...] = like
                again, found = logloss.kl_div_with_logits_value_and_grad(**moved)
                same_bits(again, loss)
                assert found[0] is out[0] and found[1] is out[1]
                assert [a.tobytes() for a in found] == [a.tobytes() for a in of_one]


# Layouts, threads


@pytest.mark.parametrize("axis", (0, 1))
def test_layouts(axis: int, dtype: np.dtype[Any], tmp_path: Path) -> None:
    given = operands(dtype, (33, 20), axis=axis)
    check_layouts(NAME, given | {"target_grad": True})
    check_repeated(NAME, given)
    check_out(NAME, given)
    if dtype.kind == "f":
        check_memory_maps(NAME, given, tmp_path)


@PROFILE
@given(st.data())
def test_any_layout(data: st.DataObject) -> None:
    """Of two arrays and of one number for each row, along any axis."""
    x = data.draw(logits())
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    t = np.cos(np.arange(x.size)).reshape(x.shape).astype(plain(x).dtype)
    options: dict[str, Any] = {"input": x, "target": data.draw(relaid(t)), "axis": axis}
    options["reduction"] = data.draw(st.sampled_from(REDUCTIONS))
    options["grad_output"] = 0.75
    if options["reduction"] == "none":
        kept = tuple(np.delete(x.shape, axis))
        g = normal(np.random.default_rng(1), kept).astype(np.float32)
        options["grad_output"] = data.draw(relaid(g))
    check_any_layout(data, NAME, options)
    copies = {k: plain(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    found, right = (results(NAME, given | {"target_grad": True}) for given in (options, copies))
    same_bits(tuple(found), tuple(right))


@pytest.mark.parametrize(("shape", "axis"), (((5000, 65), 1), ((3, 70_001), 1), ((2, 40, 900), 1)))
def test_threads(shape: tuple[int, ...], axis: int, dtype: np.dtype[Any]) -> None:
    for reduction in ("none", "batchmean"):
        check_threads(NAME, operands(dtype, shape, reduction, axis=axis, target_grad=True))
