# SPDX-License-Identifier: BSD-3-Clause
"""entropy and entropy_with_logits and their gradients: accuracy, limits, shapes, layouts, `out`."""

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
    INTEGERS,
    NAN,
    PROFILE,
    check_any_layout,
    check_converted,
    check_derivative,
    check_layouts,
    check_memory_maps,
    check_out,
    check_repeated,
    check_threads,
    laid_out,
    normal,
    probability_grid,
    results,
    shapes,
    uniform,
)
from grid import DEVIATIONS, assert_cancelling, promised
from test_layouts import logits, same_bits
from ulp import Array, assert_ulp, ulp

NAMES = ("entropy", "entropy_with_logits")
CLASSES = (1, 2, 3, 10, 15, 16, 17, 127, 128, 129, 1000, 4097)


def value(name: str, x: Array, axis: int = -1) -> Array:
    return np.asarray(getattr(logloss, name)(x, axis))


def gradient(name: str, g: Any, x: Array, axis: int = -1, **options: Any) -> Array:
    return np.asarray(getattr(logloss, f"{name}_backward")(g, x, axis, **options))


def check_values(name: str, x: Array, axis: int = -1) -> None:
    """Within 2 ulps of the exact ones, 4 for float64; in the type of the input."""
    actual = value(name, x, axis)
    assert actual.dtype == x.dtype
    assert_ulp(actual, getattr(ref, name)(x, axis), promised(2, x.dtype))


def check_gradients(name: str, g: Any, x: Array) -> None:
    """In the units of the two numbers each is the difference of; in float64 one of them, g s H,
    inherits the error of the entropy.
    """
    actual = gradient(name, g, x)
    assert actual.dtype == x.dtype
    exact, terms = (getattr(ref, f"{name}_{what}")(g, x) for what in ("backward", "terms"))
    finite = np.isfinite(exact)
    np.testing.assert_array_equal(actual[~finite].astype(float), exact[~finite].astype(float))
    inherited: Any = 0.0
    if name == "entropy_with_logits" and x.dtype == np.float64:
        inherited = (promised(2, np.float64) * ulp(terms, np.float64))[finite]
    assert_cancelling(actual[finite], exact[finite], terms[finite], inherited)


def samples(name: str, classes: int, deviation: float, dtype: Any, rows: int = 0) -> Array:
    """Logits: as drawn, confident ones, and far from 0; or the softmax of such rows, where one in
    sixteen probabilities is 0.
    """
    rows = rows or max(8, min(64, 4000 // classes))
    generator = np.random.default_rng([classes, int(deviation)])
    x, kind, row = generator.normal(0, deviation, (rows, classes)), np.arange(rows) % 4, range(rows)
    x[row, x.argmax(axis=1)] += np.where(kind >= 2, np.linspace(0, 80, rows), 0)
    if name == "entropy":
        p = ref.softmax(x).astype(dtype)
        p.flat[7::16] = 0
        return p
    far = 10.0 ** generator.uniform(2, 4.6 if dtype == np.float16 else 8, (rows, 1))
    return np.where((kind == 3)[:, None], x + far, x).astype(dtype)


def operands(
    name: str, dtype: Any, shape: tuple[int, ...] = (67, 130), axis: int = -1
) -> dict[str, Any]:
    generator = np.random.default_rng(4)
    x = generator.normal(0, 4, shape) if name == "entropy_with_logits" else generator.random(shape)
    g = generator.normal(size=np.delete(shape, axis)).astype(dtype)
    return {"input": x.astype(dtype), "grad_output": g, "axis": axis}


# Accuracy


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("classes", CLASSES)
def test_promises(name: str, classes: int, deviation: float, dtype: np.dtype[Any]) -> None:
    x = samples(name, classes, deviation, dtype)
    check_values(name, x)
    g = np.random.default_rng(1).normal(0, 1, x.shape[0]).astype(dtype)
    for upstream in (np.ones_like(g), g):
        check_gradients(name, upstream, x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", (65537, 131073))
def test_rows_of_many_classes(name: str, classes: int, wide_dtype: np.dtype[Any]) -> None:
    x = samples(name, classes, 3.0, wide_dtype, 4)
    check_values(name, x)
    check_gradients(name, np.ones(4), x)


def test_probabilities_of_all_sizes(dtype: np.dtype[Any]) -> None:
    """Each alone, beside what it lacks to 1, and all in one row; the small ones are subnormal."""
    p = probability_grid(dtype)
    check_values("entropy", p)
    check_values("entropy", p[:, None])
    check_values("entropy", np.stack([p, (1 - p.astype(np.longdouble)).astype(dtype)], axis=1))
    check_gradients("entropy", np.ones(p.size), p[:, None])


def test_gradients_of_probabilities_keep_their_digits(half_dtype: np.dtype[Any]) -> None:
    """Of all of them, where the logarithm nearly is -1 too: rounded once."""
    p = probability_grid(half_dtype)[:, None]
    exact = ref.entropy_backward(np.ones(p.size), p)
    assert_ulp(gradient("entropy", 1.0, p), exact, promised(3, half_dtype))


def confident(classes: int, margin: Array, dtype: Any) -> Array:
    x = np.zeros((margin.size, classes))
    x[np.arange(margin.size), np.arange(margin.size) % classes] = margin
    return x.astype(dtype)


@pytest.mark.parametrize("classes", (2, 10, 1000))
def test_confident_rows(classes: int, dtype: np.dtype[Any]) -> None:
    """The entropy fades as the largest logit grows; in float32 to subnormal numbers and to 0, which
    it is not before. So do the gradients.
    """
    x = confident(classes, np.linspace(0, 700 if dtype == np.float64 else 120, 400), dtype)
    check_values("entropy_with_logits", x)
    check_gradients("entropy_with_logits", np.ones(x.shape[0]), x)
    each = value("entropy_with_logits", x).astype(float)
    assert (each >= 0).all() and (np.diff(each) <= 0).all()


@pytest.mark.parametrize("classes", (2, 10, 1000))
def test_the_most_confident_rows_of_float64(classes: int) -> None:
    """Where probabilities are subnormal their entropy is hundreds of times as large."""
    check_values("entropy_with_logits", confident(classes, np.linspace(700, 760, 200), np.float64))


@pytest.mark.parametrize("classes", (2, 10, 1000))
def test_gradients_of_the_most_confident_rows_of_float64(classes: int) -> None:
    x = confident(classes, np.linspace(700, 760, 200), np.float64)
    check_gradients("entropy_with_logits", np.ones(200), x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", (1, 2, 16, 1000, 4096))
def test_equal_classes(name: str, classes: int, dtype: np.dtype[Any]) -> None:
    """The logarithm of their number, from which no logit leads away."""
    p = 1 / classes if name == "entropy" else 3.0
    x = np.full((3, classes), p, dtype)
    check_values(name, x)
    if name == "entropy_with_logits":
        assert_ulp(value(name, x)[0], np.log(np.longdouble(classes)), promised(2, dtype))
        check_gradients(name, np.ones(3), x)


@PROFILE
@given(logits(), st.integers(0, 3))
def test_bounds(x: Array, axis: int) -> None:
    """Between 0 and the logarithm of the number of classes that are not absent."""
    axis %= x.ndim
    present = (x.astype(float) > -INF).sum(axis=axis)
    each = value("entropy_with_logits", x, axis)
    np.testing.assert_array_equal(np.isnan(each.astype(float)), present == 0)
    check_values("entropy_with_logits", np.ascontiguousarray(x).astype(each.dtype), axis)
    kept = each[present > 0].astype(np.longdouble)
    top = np.log(present[present > 0].astype(np.longdouble)).astype(each.dtype)
    beyond = np.maximum(kept, top.astype(np.longdouble)).astype(each.dtype)
    assert (kept >= 0).all() and not np.signbit(kept).any()
    assert_ulp(beyond, top, promised(2, each.dtype) + 0.5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("g", (-3.0, 0.1, 1e-30, 1e30))
def test_gradients_are_rounded_once(name: str, g: float, dtype: np.dtype[Any]) -> None:
    """After the product with grad_output, which is read in float64."""
    x = samples(name, 33, 3.0, dtype)
    largest = 1e3 if dtype == np.float16 else INF
    check_gradients(name, np.full(x.shape[0], min(g, largest)), x)


# Limits

# probabilities, entropy, gradient of it times -2
PROBABILITY_LIMITS: dict[str, tuple[list[float], float, list[float]]] = {
    "certain": ([0, 1, 0], 0.0, [-INF, 2, -INF]),
    "zeros of both signs": ([-0.0, 0.0, -0.0], 0.0, [-INF, -INF, -INF]),
    "half": ([0.5, 0.5, 0.0], math.log(2), [2 - 2 * math.log(2)] * 2 + [-INF]),
    "not normalised": ([1, 1, 1], 0.0, [2, 2, 2]),
    "above 1": ([4, 0, 0], -8 * math.log(2), [2 + 4 * math.log(2), -INF, -INF]),
    "negative": ([0.5, -0.5, 0.5], NAN, [2 - 2 * math.log(2), NAN, 2 - 2 * math.log(2)]),
    "nan": ([0, NAN, 1], NAN, [-INF, NAN, 2]),
    "nan last": ([0, 1, NAN], NAN, [-INF, 2, NAN]),
    "inf": ([0, INF, 1], -INF, [-INF, INF, 2]),
    "-inf": ([0, -INF, 1], NAN, [-INF, NAN, 2]),
}
LOGIT_LIMITS: dict[str, tuple[list[float], float, list[float]]] = {
    "absent": ([0, -INF, 0], math.log(2), [0, 0, 0]),
    "one class left": ([-INF, 5, -INF], 0.0, [0, 0, 0]),
    "all absent": ([-INF] * 3, NAN, [NAN] * 3),
    "inf": ([0, INF, 0], NAN, [NAN] * 3),
    "inf twice": ([INF, INF, -INF], NAN, [NAN] * 3),
    "nan": ([0, NAN, 0], NAN, [NAN] * 3),
    "nan beside -inf": ([-INF, -INF, NAN], NAN, [NAN] * 3),
    "nan beside inf": ([INF, NAN, 0], NAN, [NAN] * 3),
    "the largest": ([6e4, 6e4, -6e4], math.log(2), [0, 0, 0]),
    "far apart": ([6e4, -6e4, 0], 0.0, [0, 0, 0]),
}


@pytest.mark.parametrize("padding", (0, 37))
@pytest.mark.parametrize(
    ("name", "case"),
    [("entropy", c) for c in PROBABILITY_LIMITS.values()]
    + [("entropy_with_logits", c) for c in LOGIT_LIMITS.values()],
    ids=[*PROBABILITY_LIMITS, *LOGIT_LIMITS],
)
def test_limits(name: str, case: Any, padding: int, dtype: np.dtype[Any]) -> None:
    """Between two ordinary rows, alone, and after classes that add nothing."""
    row, right, right_grad = case
    x = np.array([0.0 if name == "entropy" else -INF] * padding + row, dtype)
    ordinary = np.linspace(0.01, 0.9, x.size).astype(dtype)
    rows = np.stack([ordinary, x, ordinary])
    each, grad = value(name, rows), gradient(name, -2.0, rows)
    assert_ulp(each[1], np.asarray(right), promised(2, dtype))
    assert_ulp(grad[1, padding:], np.asarray(right_grad), promised(3, dtype))
    same_bits((value(name, x), gradient(name, -2.0, x)), (each[1], grad[1]))
    same_bits((each[0], grad[0]), (value(name, ordinary), gradient(name, -2.0, ordinary)))
    same_bits((each[2], grad[2]), (each[0], grad[0]))
    assert not np.signbit(each[each == 0].astype(float)).any()


def test_the_widest_logits(wide_dtype: np.dtype[Any]) -> None:
    top = np.finfo(wide_dtype).max
    x = np.array([[top, -top, 0], [top, top, -top], [-top, -top, -top]], wide_dtype)
    right = np.log(np.array([1, 2, 3], np.longdouble))
    assert_ulp(value("entropy_with_logits", x), right, promised(2, wide_dtype))
    check_gradients("entropy_with_logits", np.ones(3), x)


def test_float16_sums_do_not_overflow() -> None:
    """In between; a result beyond 65504 is infinite."""
    x = np.full(200_003, 0.5, np.float16)
    assert value("entropy_with_logits", x) == np.float16(math.log(x.size))
    assert value("entropy", x[:150_001]) == np.float16(75_000.5 * math.log(2))
    assert value("entropy", x) == INF


# Shapes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axis", (-1, 0, 1))
@pytest.mark.parametrize("shape", ((0, 3), (3, 0), (2, 0, 5), (0, 0), (0,)))
def test_empty(name: str, shape: tuple[int, ...], axis: int, dtype: np.dtype[Any]) -> None:
    """No rows, or rows of no classes, whose entropy is 0."""
    if axis >= len(shape):
        return
    x = np.zeros(shape, dtype)
    kept = np.empty(shape).sum(axis=axis).shape
    same_bits(value(name, x, axis), np.zeros(kept, dtype))
    for g in (1.0, np.ones(kept, dtype)):
        same_bits(gradient(name, g, x, axis), x)
        assert getattr(logloss, f"{name}_backward")(g, x, axis, out=x) is x


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axis", (0, -1))
def test_a_number_is_a_row_of_one_class(name: str, axis: int, dtype: np.dtype[Any]) -> None:
    x = np.array(0.25, dtype)
    right = {"entropy": (math.log(4) / 4, 2 * math.log(4) - 2), "entropy_with_logits": (0, 0)}[name]
    found = value(name, x, axis), gradient(name, 2.0, x, axis)
    for actual, exact, limit in zip(found, right, (2, 3), strict=True):
        assert isinstance(actual, np.ndarray) and actual.dtype == dtype
        assert_ulp(actual, np.asarray(exact), promised(limit, dtype))
    same_bits(found[0], value(name, x.reshape(1)))
    same_bits(found[1], gradient(name, 2.0, x.reshape(1)).reshape(()))
    out = x.copy()
    assert getattr(logloss, f"{name}_backward")(2.0, out, axis, out=out) is out
    same_bits(out, found[1])


def test_lists_and_results_of_one_axis() -> None:
    """Whatever numpy.asarray can wrap; a row gives a result without axes."""
    for name in NAMES:
        row = [0.25, 0.5, 0.25]
        found = getattr(logloss, name)(row)
        assert isinstance(found, np.ndarray) and found.shape == () and found.dtype == np.float64
        same_bits(found, value(name, np.array(row)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axis", (0, 1, 2, 3, -1, -2, -3, -4))
def test_every_axis(name: str, axis: int, dtype: np.dtype[Any]) -> None:
    """The same bits as with the class axis last."""
    given = operands(name, dtype, (2, 5, 4, 6))
    each, grad = results(name, given)
    moved = np.moveaxis(given["input"], -1, axis).copy()
    assert moved.shape[axis] == 6
    found = results(name, given | {"input": moved, "axis": axis})
    same_bits(found[0], each)
    same_bits(np.moveaxis(found[1], axis, -1), grad)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("classes", "inner"), ((3, 1), (40, 7), (129, 33), (1000, 16)))
def test_an_inner_class_axis(name: str, classes: int, inner: int, dtype: np.dtype[Any]) -> None:
    """The same bits as of rows, which the promises are tested on."""
    x = samples(name, classes, 10.0, dtype, 2 * inner)
    turned = x.reshape(2, inner, classes).swapaxes(1, 2).copy()
    same_bits(value(name, turned, 1), value(name, x).reshape(2, inner))
    right = gradient(name, 1.0, x).reshape(2, inner, classes).swapaxes(1, 2)
    same_bits(gradient(name, 1.0, turned, 1), right)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_in_any_company(name: str, dtype: np.dtype[Any]) -> None:
    """Its result does not depend on the rows before and after it."""
    given = operands(name, dtype, (70, 21))
    each, grad = results(name, given)
    for rows in (slice(0, 1), slice(1, 18), slice(16, 33), slice(69, 70)):
        x, g = given["input"][rows], given["grad_output"][rows]
        same_bits(tuple(results(name, {"input": x, "grad_output": g})), (each[rows], grad[rows]))


# grad_output


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axis", (0, 1, 2))
def test_gradients_are_the_derivatives(name: str, axis: int) -> None:
    given = operands(name, np.float64, (3, 4, 5), axis)
    if name == "entropy":
        given["input"] = 0.1 + given["input"]
    check_derivative(name, given)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("g", (*GRAD_OUTPUTS, [0.25] * 5))
def test_grad_output_as_a_number(name: str, g: Any, dtype: np.dtype[Any]) -> None:
    """Of any kind, for all rows."""
    x = operands(name, dtype, (5, 31))["input"]
    same_bits(gradient(name, g, x), gradient(name, np.broadcast_to(np.asarray(g, float), 5), x))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("upstream", ("float16", "float32", "float64", *INTEGERS))
def test_grad_output_of_each_row(name: str, upstream: str, dtype: np.dtype[Any]) -> None:
    """Of any real type, read in float64."""
    given = operands(name, dtype)
    given["grad_output"] = np.abs(np.rint(given["grad_output"].astype(float)))
    check_converted(name, given, "grad_output", upstream, np.float64)


# Layouts, threads


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axis", (0, 1))
def test_layouts(name: str, axis: int, dtype: np.dtype[Any], tmp_path: Path) -> None:
    given = operands(name, dtype, (33, 20), axis)
    check_layouts(name, given)
    check_repeated(name, given)
    check_out(name, given)
    if dtype.kind == "f":
        check_memory_maps(name, given, tmp_path)


@PROFILE
@given(st.data())
def test_any_layout(data: st.DataObject) -> None:
    """Of the input and of one number for each row, along any axis; with and without elements."""
    shape = data.draw(shapes().filter(len))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    name, sample = data.draw(st.sampled_from(list(zip(NAMES, (uniform, normal), strict=True))))
    x = data.draw(laid_out(shape, sample))
    options: dict[str, Any] = {"input": x, "axis": axis, "grad_output": 0.75}
    if data.draw(st.booleans()):
        options["grad_output"] = data.draw(laid_out(tuple(np.delete(shape, axis)), normal))
    check_any_layout(data, name, options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("shape", "axis"), (((5000, 65), 1), ((3, 70_001), 1), ((2, 40, 900), 1)))
def test_threads(name: str, shape: tuple[int, ...], axis: int, dtype: np.dtype[Any]) -> None:
    check_threads(name, operands(name, dtype, shape, axis))
