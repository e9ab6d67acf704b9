# SPDX-License-Identifier: BSD-3-Clause
"""kl_div: accuracy, also where the two nearly agree; limits, reductions, broadcasting, layouts."""

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
    per_element,
    probability_grid,
    shapes,
    stretchable,
    uniform,
)
from grid import promised
from reference_base import wider
from test_layouts import same_bits
from ulp import FORMATS, Array, assert_ulp, ulp

NAME = "kl_div"
REDUCTIONS = ("none", "mean", "sum", "batchmean")

# Shapes of the input and of the target.
STRETCHED = (
    ((5,), (4, 5)),
    ((4, 5), (5,)),
    ((), (3, 4)),
    ((3, 4), ()),
    ((1, 5), (4, 5)),
    ((4, 1), (4, 5)),
    ((4, 1), (5,)),
    ((3, 1, 5), (4, 1)),
    ((2, 1, 3, 1), (1, 4, 1, 5)),
    ((1, 1, 1), (2,)),
    ((3,), (2, 0, 3)),
    ((2, 0, 3), (3,)),
    ((17,), (300, 17)),
)


def losses(input: Any, target: Any, **options: Any) -> Array:
    return per_element(NAME, input, target, **options)


def kept_in_range(right: Array, dtype: Any) -> Array:
    """Where the loss does not come near the largest number."""
    return np.asarray(np.abs(right) < largest(dtype) / 4)


def check_terms(x: Array, t: Array) -> None:
    """2 ulps of the loss (4 of float64), or half an ulp of 1 for each unit of t + |loss|."""
    actual, right = losses(x, t), ref.kl_div(x, t, reduction="none")
    assert actual.dtype == ref.loss_dtype(wider(x, t))
    rounding = np.ldexp(np.longdouble(1), -FORMATS[actual.dtype.name][0])
    allowed = np.maximum(
        promised(2, actual.dtype) * ulp(right, actual.dtype), rounding * (ref.wide(t) + abs(right))
    )
    kept = kept_in_range(right, actual.dtype)
    error = np.abs(ref.wide(actual) - right)[kept] / allowed[kept]
    worst = np.flatnonzero(kept)[np.argmax(error)]
    assert error.max() <= 1, (
        f"{float(error.max()):.4g} times what is allowed at {x[worst], t[worst]}"
    )


def check_log_terms(x: Array, t: Array) -> None:
    right = ref.kl_div(x, t, log_target=True, reduction="none")
    kept = kept_in_range(right, ref.loss_dtype(wider(x, t)))
    check_losses(NAME, x[kept], t[kept], log_target=True)


def operands(
    dtype: Any,
    shape: tuple[int, ...] = (67, 130),
    reduction: str = "none",
    *,
    log_target: bool = False,
) -> dict[str, Any]:
    """Log-probabilities that nearly agree in every third element."""
    generator = np.random.default_rng(5)
    t, x, g = -generator.exponential(4, (3, *shape))
    close = np.arange(t.size).reshape(shape) % 3 == 0
    x = np.where(close, t * (1 + 1e-3 * g), x)
    target = t if log_target else np.exp(t)
    given = {"input": x.astype(dtype), "target": target.astype(dtype), "log_target": log_target}
    g = g.astype(dtype) if reduction == "none" else 0.75
    return given | {"grad_output": g, "reduction": reduction}


# Accuracy


def test_terms_keep_the_promise(dtype: np.dtype[Any]) -> None:
    """Probabilities of all sizes, subnormal ones too, beside logarithms of all sizes."""
    generator = np.random.default_rng(6)
    t = probability_grid(dtype)
    grid = logit_grid(dtype)
    for x in (grid, -np.abs(grid), generator.normal(0, 10, grid.size).astype(dtype)):
        check_terms(generator.choice(x, t.size), t)


def test_terms_keep_the_promise_where_they_cancel(dtype: np.dtype[Any]) -> None:
    """The logarithm of the target to within its last places: error of half an ulp of the target."""
    t = probability_grid(dtype)
    t = np.random.default_rng(7).choice(t[t > 0], 1000)
    log_t = np.log(ref.wide(t))
    for steps in (0.0, 1.0, -2.0, 7.0, -100.0, 3e4):
        check_terms((log_t + steps * ulp(log_t, dtype)).astype(dtype), t)


def test_targets_above_1(wide_dtype: np.dtype[Any]) -> None:
    generator = np.random.default_rng(8)
    top = math.log10(largest(wide_dtype))
    t = (10.0 ** generator.uniform(0, top - 3, 5000)).astype(wide_dtype)
    check_terms(generator.normal(0, 30, 5000).astype(wide_dtype), t)
    check_terms(np.log(t[:1000]), t[:1000])


def test_log_targets_keep_the_promise(dtype: np.dtype[Any]) -> None:
    """Log-probabilities of all sizes, and differences of all sizes."""
    generator = np.random.default_rng(9)
    t = logit_grid(dtype)
    noise = generator.normal(size=t.size)
    for x in (
        generator.permutation(t),
        (10 * noise).astype(dtype),
        (t.astype(float) * (1 - 1e-3 * np.abs(noise))).astype(dtype),
    ):
        check_log_terms(x, t)


def test_log_targets_that_nearly_agree(wide_dtype: np.dtype[Any]) -> None:
    """The difference is exact there, so nothing cancels; equal ones give 0."""
    t = logit_grid(wide_dtype)
    for towards in (-1e30, 1e30, 0):
        check_log_terms(np.nextafter(t, wide_dtype.type(towards)), t)
    with np.errstate(over="ignore"):
        same_bits(losses(t, t, log_target=True), np.zeros_like(t))


def test_differences_outweigh_small_targets(wide_dtype: np.dtype[Any]) -> None:
    """Where exp(t) is no number of the type but its product with the difference is one."""
    generator = np.random.default_rng(10)
    lowest, most = (-190, 38) if wide_dtype == np.float32 else (-1450, 308)
    t = generator.uniform(lowest, 0, 20000)
    x = -(10.0 ** generator.uniform(0, most, 20000)) * generator.choice((-1, 1), 20000)
    check_log_terms(x.astype(wide_dtype), t.astype(wide_dtype))


def test_the_largest_differences(wide_dtype: np.dtype[Any]) -> None:
    """exp(t) takes them back into the range, and to 0 where it is small enough."""
    top = float(largest(wide_dtype))
    x = np.array([-1, 1, -0.75, 0.75, -0.5, 0.5], wide_dtype) * wide_dtype.type(top)
    for value in (-1.0, -10.0, -88.0, -100.0, -150.0, -200.0, -300.0, -800.0, -1400.0, -1600.0):
        check_log_terms(x, np.full_like(x, value))
    for share in (1e-30, 0.1, 0.3, 0.6, 1.0):
        t = np.full_like(x, -top * share)
        np.testing.assert_array_equal(losses(x, t, log_target=True), np.zeros_like(x))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients_keep_their_promise(reduction: str, dtype: np.dtype[Any]) -> None:
    """-g k t, and -g k exp(t), whatever the input is."""
    t = probability_grid(dtype)
    x = np.full_like(t, NAN)
    check_gradient(NAME, x, t, reduction=reduction)
    t = logit_grid(dtype)
    t = t[t.astype(float) < 80]
    check_gradient(NAME, np.full_like(t, NAN), t, reduction=reduction, log_target=True)


# Limits

# input, target or its logarithm, loss
LIMITS = (
    (-INF, 0.0, 0.0),
    (-INF, -0.0, 0.0),
    (-3.0, 0.0, 0.0),
    (3e4, 0.0, 0.0),
    (INF, 0.0, NAN),
    (NAN, 0.0, NAN),
    (-INF, 0.25, INF),
    (INF, 0.25, -INF),
    (NAN, 0.25, NAN),
    (0.0, 1.0, 0.0),
    (-0.0, 1.0, 0.0),
    (-2.0, 1.0, 2.0),
    (2.0, 1.0, -2.0),
    (0.0, NAN, NAN),
    (0.0, -1.0, NAN),
    (-INF, -1.0, NAN),
    (0.0, -1e-7, NAN),
    (0.0, -INF, NAN),
)
LOG_LIMITS = (
    (-INF, -INF, 0.0),
    (-3.0, -INF, 0.0),
    (3e4, -INF, 0.0),
    (INF, -INF, NAN),
    (NAN, -INF, NAN),
    (-INF, -3.0, INF),
    (INF, -3.0, -INF),
    (NAN, -3.0, NAN),
    (-INF, 0.0, INF),
    (-3.0, -3.0, 0.0),
    (-0.0, 0.0, 0.0),
    (-2.0, 0.0, 2.0),
    (2.0, 0.0, -2.0),
    (0.0, NAN, NAN),
    (-INF, -3e4, INF),
    (INF, -3e4, -INF),
    (0.0, INF, INF),
)


@pytest.mark.parametrize("log_target", (False, True))
def test_limits(log_target: bool, dtype: np.dtype[Any]) -> None:
    """In a batch of their own and one by one; a loss of 0 is positive."""
    x, t, right = np.array(LOG_LIMITS if log_target else LIMITS).T
    x, t = x.astype(dtype), t.astype(dtype)
    each = losses(x, t, log_target=log_target)
    np.testing.assert_array_equal(each, right)
    assert not np.signbit(each[right == 0]).any()
    for i in range(len(x)):
        for reduction in ("sum", "mean", "batchmean"):
            loss = logloss.kl_div(x[i], t[i], log_target=log_target, reduction=reduction)
            np.testing.assert_array_equal(loss, right[i])
            assert right[i] != 0 or math.copysign(1, loss) == 1


def test_gradients_at_the_limits(dtype: np.dtype[Any]) -> None:
    """An absent class has gradient 0; an input of any kind changes none."""
    x = np.array([-INF, INF, NAN, 0, -INF, 0], dtype)
    t = np.array([0, 0, 0, 0.5, 0.5, -2], dtype)
    grad = logloss.kl_div_backward(2.0, x, t, reduction="sum")
    np.testing.assert_array_equal(grad.astype(float), [0, 0, 0, -1, -1, 4])
    t = np.array([-INF, -INF, -INF, 0, 0, -INF], dtype)
    grad = logloss.kl_div_backward(2.0, x, t, reduction="sum", log_target=True)
    np.testing.assert_array_equal(grad.astype(float), [0, 0, 0, -2, -2, 0])


# Reductions


def all_sizes_of_losses(n: int, dtype: Any) -> dict[str, Any]:
    """Losses from 1e-40 to 1e30 (float16: 6e4) and of either sign, in no order."""
    generator = np.random.default_rng(8)
    top = 4.8 if dtype == np.float16 else 30
    x = generator.choice((-1, -1, 1), n) * 10.0 ** generator.uniform(0, top, n)
    t = np.where(generator.random(n) < 0.5, 1, 10.0 ** generator.uniform(-40, 0, n))
    return {"input": x.astype(dtype), "target": t.astype(dtype)}


@pytest.mark.parametrize("n", (*SIZES, MANY))
def test_reductions_are_correctly_rounded(n: int, dtype: np.dtype[Any]) -> None:
    """Of losses of like sizes, and of sizes from 1e-40 to 1e30 in one batch."""
    check_reductions(NAME, all_sizes_of_losses(n, dtype), {"mean": n, "batchmean": n})
    for log_target in (False, True):
        given = operands(dtype, (1, n), log_target=log_target)
        given = {k: given[k] for k in ("input", "target", "log_target")}
        check_reductions(NAME, given, {"mean": n, "batchmean": 1})


@pytest.mark.parametrize("special", ((-INF,), (INF,), (NAN,), (INF, -INF), (-INF, NAN)))
@pytest.mark.parametrize("log_target", (False, True))
def test_one_infinite_loss_decides(
    special: tuple[float, ...], log_target: bool, dtype: np.dtype[Any]
) -> None:
    for n, place in ((17, 16), (4096, 77), (9000, 4096)):
        given = all_sizes_of_losses(n, dtype)
        if log_target:
            given = given | {"target": given["target"] - 1, "log_target": True}
        given["input"][place - len(special) + 1 : place + 1] = special
        given["target"][place - len(special) + 1 : place + 1] = 0.5
        check_reductions(NAME, given)


@pytest.mark.parametrize("shape", ((6, 5), (5, 6), (30,), (1, 30), (2, 3, 5), (30, 1)))
def test_batchmean_divides_by_the_first_axis(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    x, t = np.full(shape, -1, dtype), np.full(shape, 1, dtype)
    assert logloss.kl_div(x, t, reduction="batchmean") == 30 / shape[0]
    assert logloss.kl_div(x, t) == 1.0
    grad = logloss.kl_div_backward(1.0, x, t, reduction="batchmean")
    assert_ulp(grad, np.full(shape, np.longdouble(-1) / shape[0]), promised(3, dtype))


def test_batchmean_of_what_is_broadcast_divides_by_the_first_axis_of_the_input() -> None:
    x, t = np.full((1, 5), -1.0), np.full((4, 5), 1.0)
    assert logloss.kl_div(x, t, reduction="batchmean") == 20
    assert logloss.kl_div(x[0], t, reduction="batchmean") == 4
    assert logloss.kl_div(x[0, 0], t, reduction="batchmean") == 20
    assert logloss.kl_div(-t, t[:1], reduction="batchmean") == 5


def test_empty_and_single(dtype: np.dtype[Any]) -> None:
    check_empty(NAME, dtype, REDUCTIONS)
    check_single(NAME, np.array(-0.5, dtype), np.array(1, dtype), -1.0, REDUCTIONS)
    for shape, batchmean in (((0,), NAN), ((3, 0), 0.0), ((0, 3), NAN), ((2, 0, 5), 0.0)):
        nothing = np.zeros(shape, dtype)
        loss = logloss.kl_div(nothing, nothing, reduction="batchmean")
        np.testing.assert_array_equal(loss, batchmean)


# Gradients


@pytest.mark.parametrize("log_target", (False, True))
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shapes", (((3, 4), (3, 4)), *STRETCHED[:9]))
def test_gradient_is_the_derivative(
    shapes: Any, reduction: str, log_target: bool, rng: np.random.Generator
) -> None:
    arrays = {"input": rng.normal(size=shapes[0]), "target": rng.random(shapes[1])}
    g = rng.normal(size=np.broadcast_shapes(*shapes)) if reduction == "none" else 0.75
    options = {"reduction": reduction, "log_target": log_target, "grad_output": g}
    check_derivative(NAME, arrays | options)


@pytest.mark.parametrize("log_target", (False, True))
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_value_and_grad_is_both_in_one(
    reduction: str, log_target: bool, dtype: np.dtype[Any]
) -> None:
    given = operands(dtype, (3, 4099), reduction, log_target=log_target)
    check_value_and_grad(NAME, given)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_grad_outputs(reduction: str, dtype: np.dtype[Any]) -> None:
    given = operands(dtype, (5, 10), reduction)
    check_grad_outputs(NAME, given)
    arrays = given["input"], given["target"]
    actual = logloss.kl_div_backward(-3.0, *arrays, reduction=reduction)
    right = ref.kl_div_backward(-3.0, *arrays, reduction=reduction)
    assert_ulp(actual, right, promised(3, dtype))


# Types, broadcasting


@pytest.mark.parametrize("kind", REALS)
def test_grad_output_of_every_type(kind: str, dtype: np.dtype[Any]) -> None:
    given = operands(dtype, (9, 31))
    given["grad_output"] = np.random.default_rng(9).integers(0, 100, (9, 31))
    if kind == "bfloat16":
        kind = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes").bfloat16
    check_converted(NAME, given, "grad_output", kind, ref.loss_dtype(given["input"]))


@pytest.mark.parametrize("log_target", (False, True))
def test_targets_of_another_type(log_target: bool, dtype: np.dtype[Any]) -> None:
    given, wide = (operands(d, (9, 31), log_target=log_target) for d in (dtype, np.float64))
    check_target_types(NAME, given, wide["target"])


def test_gradients_are_summed_before_they_are_rounded(dtype: np.dtype[Any]) -> None:
    """Each is 1 / 320000 of a probability, of which float16 keeps a digit or two."""
    t = np.broadcast_to(np.linspace(0.1, 0.9, 16).astype(dtype), (20000, 16))
    grad = logloss.kl_div_backward(1.0, np.zeros(16, dtype), t)
    right = -ref.wide(t[0]) / 16
    additions = len(t) if dtype == np.float64 else 0
    assert_ulp(grad, right, promised(3, dtype) + additions)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shapes", STRETCHED)
def test_broadcasting(shapes: Any, reduction: str, dtype: np.dtype[Any]) -> None:
    """The losses of copies that have the common shape; gradients are summed to the input's shape
    in float64, where each addition may round once.
    """
    generator = np.random.default_rng(11)
    x, t = (generator.random(shape).astype(dtype) for shape in shapes)
    common = np.broadcast_shapes(*shapes)
    full = [np.ascontiguousarray(np.broadcast_to(a, common)) for a in (x, t)]
    same_bits(losses(x, t), losses(*full))
    g: Any = generator.random(common) if reduction == "none" else 0.75
    g = g.astype(ref.loss_dtype(x)) if reduction == "none" else g
    actual = logloss.kl_div_backward(g, x, t, reduction=reduction)
    assert actual.shape == x.shape and actual.dtype == dtype
    right = ref.kl_div_backward(g, x, t, reduction=reduction)
    additions = max(math.prod(common) // max(x.size, 1) - 1, 0) if dtype == np.float64 else 0
    assert_ulp(actual, right, promised(3, dtype) + additions)
    loss, grad = logloss.kl_div_value_and_grad(x, t, reduction=reduction)
    same_bits(loss, logloss.kl_div(x, t, reduction=reduction))
    in_place = x.copy()
    for input, out in ((x, np.full_like(x, 7)), (in_place, in_place)):
        again, written = logloss.kl_div_value_and_grad(input, t, reduction=reduction, out=out)
        assert written is out
        same_bits(again, loss)
        same_bits(out, grad)
    if reduction in ("mean", "sum"):
        same_bits(loss, logloss.kl_div(*full, reduction=reduction))


# Layouts, threads


@pytest.mark.parametrize("reduction", ("none", "batchmean"))
@pytest.mark.parametrize("log_target", (False, True))
def test_layouts(log_target: bool, reduction: str, dtype: np.dtype[Any], tmp_path: Path) -> None:
    given = operands(dtype, reduction=reduction, log_target=log_target)
    check_layouts(NAME, given)
    check_repeated(NAME, given)
    if dtype.kind == "f":
        check_memory_maps(NAME, given, tmp_path)


def log_probs(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return -generator.exponential(4, shape)


@PROFILE
@given(st.data())
def test_any_layout(data: st.DataObject) -> None:
    """Of arrays of one shape, and of those that broadcast against each other."""
    shape = data.draw(shapes())
    arrays: dict[str, Any] = {"log_target": data.draw(st.booleans())}
    pick = stretchable if data.draw(st.booleans()) else laid_out
    arrays["input"] = data.draw(pick(shape, log_probs))
    arrays["target"] = data.draw(pick(shape, log_probs if arrays["log_target"] else uniform))
    arrays["reduction"] = data.draw(st.sampled_from(REDUCTIONS))
    arrays["grad_output"] = 0.75
    if arrays["reduction"] == "none" and data.draw(st.booleans()):
        common = np.broadcast_shapes(arrays["input"].shape, arrays["target"].shape)
        arrays["grad_output"] = data.draw(laid_out(common, bits, REALS))
    check_any_layout(data, NAME, arrays)


@pytest.mark.parametrize("reduction", ("none", "batchmean"))
@pytest.mark.parametrize("log_target", (False, True))
def test_out(log_target: bool, reduction: str, dtype: np.dtype[Any]) -> None:
    check_out(NAME, operands(dtype, reduction=reduction, log_target=log_target))


@pytest.mark.parametrize("reduction", ("none", "mean"))
@pytest.mark.parametrize("log_target", (False, True))
def test_threads(log_target: bool, reduction: str, dtype: np.dtype[Any]) -> None:
    check_threads(NAME, operands(dtype, (200_000,), reduction, log_target=log_target))
