# SPDX-License-Identifier: BSD-3-Clause
"""cosine_embedding_loss: accuracy, also of nearly parallel vectors; limits, options, layouts."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

import logloss
import reference as ref
from conftest import DTYPE_NAMES, named_dtype
from elementwise import (
    GRAD_OUTPUTS,
    INF,
    LAYOUTS,
    NAN,
    PROFILE,
    REALS,
    bits,
    check_layouts,
    check_repeated,
    check_threads,
    laid_out,
    normal,
    reduced,
)
from grid import DEVIATIONS, ROUNDED_ONCE, assert_cancelling, promised
from reference_base import summed_to, wider
from reference_elementwise import EPSILON
from reference_rows import cosine_gradients
from test_layouts import plain, same_bits
from ulp import Array, assert_ulp, ulp

NAME = "cosine_embedding_loss"
INPUTS = ("input1", "input2")
REDUCTIONS = ("none", "mean", "sum")
FEATURES = (1, 2, 3, 10, 15, 16, 17, 127, 128, 129, 1000, 4097)

# In float64 the cosine, and the distance of the two directions, are known to 4 ulps of 1. Half the
# square of that distance is the loss of alike vectors.
FLOAT64_COSINE = 2.0**-51

loss_of = logloss.cosine_embedding_loss
gradients_of = logloss.cosine_embedding_loss_backward
value_and_grads = logloss.cosine_embedding_loss_value_and_grad


def all_forms(grad_output: Any = 1.0, **given: Any) -> tuple[Any, ...]:
    """The loss, the gradients, and the two together."""
    return loss_of(**given), gradients_of(grad_output, **given), value_and_grads(**given)


def check_losses(a: Array, b: Array, y: Any, margin: float = 0.0) -> None:
    """Within 2 ulps; in float64 4, as far as the cosine is known."""
    actual = np.asarray(loss_of(a, b, y, margin=margin, reduction="none"))
    right = ref.cosine_embedding_loss(a, b, y, margin=margin, reduction="none")
    assert actual.dtype == ref.loss_dtype(wider(a, b))
    if actual.dtype != np.float64:
        assert_ulp(actual, right, promised(2, actual.dtype))
        return
    known = np.where(np.asarray(y) == 1, np.sqrt(2 * right) + FLOAT64_COSINE / 2, 1 + abs(margin))
    allowed = np.where(right == 0, 0, FLOAT64_COSINE * known)
    allowed = np.maximum(allowed, promised(2, actual.dtype) * ulp(right, actual.dtype))
    error = np.abs(actual - right) / allowed
    assert (error <= 1).all(), f"{float(error.max()):.4g} times what is allowed"


def check_gradients(
    a: Array, b: Array, y: Any, g: Any = 1.0, margin: float = 0.0, reduction: str = "sum"
) -> None:
    """Both, in the units of the numbers they are differences of; in float64 also as far as the
    cosine is known.
    """
    found = gradients_of(g, a, b, y, margin=margin, reduction=reduction)
    right = cosine_gradients(g, a, b, y, margin, reduction)
    rows = max(len(a), len(b), len(y))
    scale = np.abs(ref.long_ratio(g, Fraction(rows if reduction == "mean" else 1)))
    for actual, (exact, terms), like in zip(found, right, (a, b), strict=True):
        assert actual.dtype == like.dtype
        v = ref.wide(like)
        with np.errstate(over="ignore"):
            per_row = np.abs(v) / ((v * v).sum(axis=1, keepdims=True) + EPSILON)
        known = FLOAT64_COSINE * summed_to(scale * per_row * np.ones((rows, 1)), v.shape)
        assert_cancelling(actual, exact, terms, known if like.dtype == np.float64 else 0.0)


def check(a: Array, b: Array, y: Any, margin: float = 0.0) -> None:
    check_losses(a, b, y, margin)
    check_gradients(a, b, y, margin=margin)


def check_written(found: Any, right: Any, out: tuple[Array, Array]) -> None:
    """The call returned the pair `out`, with the right gradients in it, and the right loss."""
    *losses, grads = found if isinstance(found[1], tuple) else (found,)
    *right_losses, right_grads = right if isinstance(right[1], tuple) else (right,)
    same_bits(tuple(losses), tuple(right_losses))
    for grad, exact, written in zip(grads, right_grads, out, strict=True):
        assert grad is written
        same_bits(plain(grad), exact)


def pairs(features: int, deviation: float, dtype: Any, rows: int) -> tuple[Array, Array, Array]:
    """In turn unrelated, parallel but for noise (4), opposite, equal, of other lengths; targets."""
    generator = np.random.default_rng([features, int(deviation)])
    a, b, noise = generator.normal(0, deviation, (3, rows, features))
    kind, times = np.arange(rows) % 8, generator.uniform(0.2, 3, (rows, 1))
    for i, relative in enumerate((0.1, 1e-3, 1e-5, 1e-7, 1e-3), 1):
        b[kind == i] = (times * a * (1 + relative * noise / deviation))[kind == i]
    b[kind == 5] *= -1
    b[kind == 6] = a[kind == 6]
    reach = 2 if np.dtype(dtype).itemsize == 2 else 8
    b[kind == 7] *= (10.0 ** generator.uniform(-reach, reach, (rows, 1)))[kind == 7]
    return a.astype(dtype), b.astype(dtype), np.where(np.arange(rows) % 3 == 2, -1, 1)


def operands(dtype: Any, shape: Any = (67, 130), reduction: str = "none") -> dict[str, Any]:
    """Alike, unlike and unscored pairs."""
    a, b, _ = pairs(shape[1], 3.0, dtype, shape[0])
    y = np.resize([1, -1, 1, -1, 0], shape[0])
    g: Any = np.sin(np.arange(shape[0])).astype(np.float32) if reduction == "none" else 0.75
    options = {"grad_output": g, "reduction": reduction, "margin": 0.125}
    return {"input1": a, "input2": b, "target": y} | options


# Accuracy


@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("features", FEATURES)
def test_promises(features: int, deviation: float, dtype: np.dtype[Any]) -> None:
    a, b, y = pairs(features, deviation, dtype, 24 if features < 200 else 8)
    if features == 4097:  # each deviation has two of the pairs
        a, b, y = (v[DEVIATIONS.index(deviation) :: 4] for v in (a, b, y))
    check(a, b, y if deviation < 30 else -y, {3.0: 0.25, 10.0: -0.5}.get(deviation, 0.0))


@pytest.mark.parametrize("length", (1.0, 1e4, 1e9))
@pytest.mark.parametrize("features", (2, 3, 10, 129))
def test_one_feature_by_one_step(features: int, length: float, dtype: np.dtype[Any]) -> None:
    """The smallest differences that there are: losses down to 1e-20 and less."""
    generator = np.random.default_rng(features)
    length = min(length, 1e3) if dtype == np.float16 else length
    a = generator.normal(0, length, (24, features)).astype(dtype)
    b, at = a.copy(), (np.arange(24), generator.integers(0, features, 24))
    b[at] = np.nextafter(b[at], dtype.type(6e4))
    check(a, b, np.ones(24))


@pytest.mark.parametrize("largest", (1e6, 1e10, 1e14))
def test_a_small_feature_of_a_long_vector_by_one_step(largest: float) -> None:
    """Nearly parallel vectors of float32 have tiny losses, with all their digits."""
    a = np.float32([[largest, 1, largest / 3, largest * 10.0**-i] for i in range(5)])
    for feature in (3, 1):
        b = a.copy()
        b[:, feature] = np.nextafter(a[:, feature], np.float32(INF))
        check_losses(a, b, [1])


@pytest.mark.parametrize("features", (1, 2, 17, 129))
def test_equal_and_opposite_vectors(features: int, dtype: np.dtype[Any]) -> None:
    """What EPSILON leaves of the loss: EPSILON / |a|**2."""
    a, _, y = pairs(features, 3.0, dtype, 16)
    for b in (a, 2 * a, a / 2, -a):
        check(a, b, np.ones_like(y))
        check(a, b, -np.ones_like(y), -0.5)


LENGTHS = (1e-45, 1e-30, 1e-20, 1e-7, 1e-6, 1e-5, 1e10, 1e19, 1e20, 1e38)
FLOAT64_LENGTHS = (*LENGTHS, 1e-200, 1e-140, 1e70, 1e100, 1e150, 1e154, 1e200, 1e240, 1e300)
SCALES = [("float32", s) for s in LENGTHS] + [("float64", s) for s in FLOAT64_LENGTHS]


@pytest.mark.parametrize(("kind", "length"), SCALES)
def test_tiny_and_huge_vectors(kind: str, length: float) -> None:
    """Neither the squares nor their products overflow or vanish."""
    a, b, y = pairs(5, 1.0, np.float64, 16)
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    for other in (length, 1.0, min(1 / length, 1e38 if kind == "float32" else INF)):
        check((a * length).astype(kind), (b * other).astype(kind), y, -1.0)


def test_the_ends_of_the_range(dtype: np.dtype[Any]) -> None:
    top = dtype.type(65504.0 if dtype == np.float16 else 3e38)
    a = np.array([[1, 1, -1, 0], [1, 0, 0, 0], [-1, 1, 1, 1], [0, -1, 0, 1]]).astype(dtype) * top
    for b in (a, a[::-1], -a):
        check(a, b, np.array([1, -1, 1, -1]), -0.75)


# Limits


def test_zero_vectors(dtype: np.dtype[Any]) -> None:
    """Their cosine is 0, and their gradient as steep as EPSILON lets it be."""
    a, b = np.zeros((2, 3, 40), dtype)
    b[0, -3:] = a[1, -3:] = 3, -4, 12
    steep = b[0].astype(np.longdouble) / np.sqrt(EPSILON * (169 + np.longdouble(EPSILON)))
    for y, margin, right in ((1, 0.0, 1), (-1, 0.0, 0), (-1, -0.5, 0.5), (-1, 0.25, 0), (0, 0, 0)):
        loss, grads = value_and_grads(a, b, [y], margin=margin, reduction="none")
        same_bits(loss, np.full(3, right, loss.dtype))
        for side, grad in enumerate(grads):
            exact = np.zeros(a.shape, np.longdouble)
            exact[side] = -y * steep if margin <= 0 else 0
            assert_ulp(grad, exact, promised(3, dtype))


def test_the_kink(dtype: np.dtype[Any]) -> None:
    """Where the cosine is the margin the loss is 0 and the gradient passes; not beyond it."""
    a, b = np.array([[300, 0, 400]], dtype), np.array([[0, 200, 0]], dtype)
    for margin, slope in ((0.0, 1), (-0.0, 1), (5e-324, 0), (0.5, 0), (1.0, 0), (INF, 0)):
        loss, grads = value_and_grads(a, b, [-1], margin=margin)
        assert loss == 0 and math.copysign(1, loss) == 1
        for grad, right in zip(grads, ([[0, 1, 0]], [[1.5, 0, 2]]), strict=True):
            assert_ulp(grad, slope * np.array(right) / np.longdouble(500), promised(3, dtype))


@pytest.mark.parametrize("y", (0, 2, -2, 0.5, -0.0, 1e300, INF, NAN, np.nextafter(1, 2)))
def test_other_targets(y: float, dtype: np.dtype[Any]) -> None:
    """No loss and no gradient, of vectors that hold NaN either; the mean counts their pairs."""
    a, b, _ = pairs(7, 3.0, dtype, 4)
    a[2, 3], b[3, 4] = NAN, INF
    right = np.zeros(4, ref.loss_dtype(a)), (np.zeros_like(a), np.zeros_like(b))
    same_bits(value_and_grads(a, b, [y], reduction="none"), right)
    assert loss_of(a[:2], b[:2], [1, y]) == loss_of(a[:1], b[:1], [1]) / 2


@pytest.mark.parametrize("special", (NAN, INF, -INF))
@pytest.mark.parametrize("side", (0, 1))
def test_one_pair_that_is_not_finite(side: int, special: float, dtype: np.dtype[Any]) -> None:
    """Its loss and both its gradients are NaN, and only they."""
    a, b, y = pairs(19, 3.0, dtype, 5)
    right = value_and_grads(a, b, y, reduction="none")
    (a, b)[side][3, 17] = special
    for sign in (1, -1):
        loss, grads = value_and_grads(a, b, sign * y, reduction="none")
        for found, exact in zip((loss, *grads), (right[0], *right[1]), strict=True):
            assert np.isnan(found[3].astype(float)).all()
            if sign == 1:
                same_bits(np.delete(found, 3, 0), np.delete(exact, 3, 0))
        assert math.isnan(loss_of(a, b, sign * y))


# Reductions, shapes


@pytest.mark.parametrize("rows", (1, 3, 1000, 4099))
def test_reductions_are_correctly_rounded(rows: int, dtype: np.dtype[Any]) -> None:
    """Also where the gradients are computed along with them, and in place of the vectors."""
    a, b, y = pairs(3, 3.0, dtype, rows)
    each = loss_of(a, b, y, margin=0.1, reduction="none")
    for reduction, divisor in {"sum": 1, "mean": rows}.items():
        options: dict[str, Any] = {"target": y, "margin": 0.1, "reduction": reduction}
        out = a.copy(), b.copy()
        alone, beside = loss_of(a, b, **options), value_and_grads(a, b, **options)[0]
        for loss in (alone, beside, value_and_grads(*out, **options, out=out)[0]):
            assert isinstance(loss, float) and loss == reduced(each, divisor)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_value_and_grad_is_the_two_calls(reduction: str, dtype: np.dtype[Any]) -> None:
    """To the last bit; for "none" the gradients are those of the sum."""
    given = operands(dtype, reduction=reduction) | {"grad_output": 1.0}
    loss, _, beside = all_forms(**given)
    of_sum = {"reduction": "sum" if reduction == "none" else reduction}
    same_bits(beside, (loss, gradients_of(**given | of_sum)))


@pytest.mark.parametrize("shape", ((0, 3), (3, 0), (0, 0), (0,)))
@pytest.mark.parametrize(("y", "each"), ((1, 1.0), (-1, 0.5)))
def test_empty(shape: tuple[int, ...], y: int, each: float, dtype: np.dtype[Any]) -> None:
    """No pairs, or pairs of no features, whose cosine is 0."""
    x, losses = np.zeros(shape, dtype), np.full(shape[:-1], each)
    mean = each if losses.size else NAN
    right = {"none": losses.astype(ref.loss_dtype(x)), "sum": float(losses.sum()), "mean": mean}
    for reduction, loss in right.items():
        options: dict[str, Any] = {"target": y * np.ones_like(losses), "reduction": reduction}
        found = all_forms(input1=x, input2=x, margin=-0.5, **options)
        same_bits(found, (loss, (x, x), (loss, (x, x))))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("y", (1, -1.0, np.int8(1), True, np.array(-1)))
def test_one_pair(y: Any, reduction: str, dtype: np.dtype[Any]) -> None:
    """Vectors of one axis and a number have a loss without axes."""
    a, b, _ = pairs(9, 3.0, dtype, 1)
    (right,), right_grads = value_and_grads(a, b, [y], margin=-1, reduction="none")
    options: dict[str, Any] = {"target": y, "margin": -1, "reduction": reduction}
    loss, grads = value_and_grads(a[0], b[0], **options)
    assert np.shape(loss) == () and isinstance(loss, np.ndarray if reduction == "none" else float)
    assert loss == right == loss_of(a[0], b[0], **options)
    same_bits(grads, tuple(grad[0] for grad in right_grads))
    out = a[0].copy(), b[0].copy()
    check_written(gradients_of(1.0, *out, **options, out=out), grads, out)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kept", (INPUTS, ("input1",), ("input2", "target"), ("target",)))
def test_a_single_row_is_repeated(kept: Any, reduction: str, dtype: np.dtype[Any]) -> None:
    """So is a single target. The losses of copies, and a gradient of the shape of the row."""
    given = operands(dtype, (13, 21), reduction)
    given |= {k: given[k][:1] for k in kept}
    copies = given | {k: np.repeat(given[k], 13, axis=0) for k in kept}
    loss, grads, _ = all_forms(**given)
    right, right_grads, _ = all_forms(**copies)
    same_bits(loss, right)
    for name, grad, each in zip(INPUTS, grads, right_grads, strict=True):
        assert grad.shape == given[name].shape and grad.dtype == dtype
        if name not in kept:
            same_bits(grad, each)
    out = given["input1"].copy(), given["input2"].copy()
    moved = given | dict(zip(INPUTS, out, strict=True))
    check_written(gradients_of(**moved, out=out), grads, out)


def test_a_row_repeated_many_times(dtype: np.dtype[Any]) -> None:
    """The terms of its gradient are not rounded to 16 bits before they are added."""
    a, b, y = pairs(5, 3.0, dtype, 1500)
    check_gradients(a[:1], b, y, reduction="mean")
    check_gradients(a, b[:1], y, np.sin(np.arange(1500)), 0.25, "none")


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients_are_the_derivatives(reduction: str) -> None:
    given = operands(np.float64, (6, 5), reduction)
    given["input2"] = np.cos(given["input2"])  # at the minimum differences are all rounding
    found, g = gradients_of(**given), given.pop("grad_output")
    for name, grad in zip(INPUTS, found, strict=True):
        numeric = ref.numeric_gradient(
            lambda v, name=name: float(np.sum(g * loss_of(**given | {name: v}))), given[name]
        )
        np.testing.assert_allclose(grad, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_grad_outputs(reduction: str, dtype: np.dtype[Any]) -> None:
    """A number of any kind; for "none" also one for each pair."""
    given = operands(dtype, (11, 10), reduction)
    g = given.pop("grad_output")
    for number in GRAD_OUTPUTS:
        right = gradients_of(float(number), **given)
        same_bits(gradients_of(number, **given), right)
        if reduction == "none":
            for each in (np.full(11, number), np.full(11, float(number)).tolist()):
                same_bits(gradients_of(each, **given), right)
    for factor in (g, -3.0):
        check_gradients(*(given[k] for k in (*INPUTS, "target")), factor, 0.125, reduction)


@pytest.mark.parametrize("kind", REALS)
def test_targets_of_any_type(kind: str, dtype: np.dtype[Any]) -> None:
    """Read as the numbers they are."""
    given = operands(dtype, (20, 7))
    typed = named_dtype(kind) if kind in DTYPE_NAMES else np.dtype(kind)
    if typed.kind in "bu":
        given["target"] = np.abs(given["target"])
    target = given["target"].astype(typed)
    for values in (target, target.tolist()):
        same_bits(all_forms(**given | {"target": values}), all_forms(**given))


@pytest.mark.parametrize("other", DTYPE_NAMES)
def test_types_of_a_pair(other: str, dtype: np.dtype[Any]) -> None:
    """Of two types the wider one holds; each gradient has the type of its own side."""
    given = operands(np.float16, (9, 31))
    kinds = dtype, named_dtype(other)
    given |= {k: given[k].astype(kind) for k, kind in zip(INPUTS, kinds, strict=True)}
    common = np.dtype(np.float64 if np.float64 in kinds else np.float32)
    common = dtype if kinds[0] == kinds[1] else common
    right, right_grads, _ = all_forms(**given | {k: given[k].astype(common) for k in INPUTS})
    loss, grads, _ = all_forms(**given)
    same_bits(loss, right)
    for grad, exact, kind in zip(grads, right_grads, kinds, strict=True):
        assert grad.dtype == kind
        assert_ulp(grad, exact, ROUNDED_ONCE)


# Pairs of outputs, layouts, threads


@pytest.mark.parametrize("call", (gradients_of, value_and_grads))
def test_a_pair_of_outputs(call: Any, dtype: np.dtype[Any]) -> None:
    """In any layout, in place of their own vectors or not; in place in any byte order too."""
    given = operands(dtype, (19, 37))
    if call is value_and_grads:
        del given["grad_output"]
    right = call(**given)
    for what, layout in LAYOUTS.items():
        for other, in_place in product((layout, np.array), ((), INPUTS, *zip(INPUTS))):
            out = layout(given["input1"].copy()), other(given["input2"].copy())
            moved = {k: o for k, o in zip(INPUTS, out, strict=True) if k in in_place}
            writable = all(o.dtype.isnative or k in moved for k, o in zip(INPUTS, out, strict=True))
            if what != "read-only" and writable:
                check_written(call(**given | moved, out=out), right, out)


def test_layouts(dtype: np.dtype[Any], tmp_path: Path) -> None:
    given = operands(dtype, (33, 20))
    check_layouts(NAME, given)
    check_repeated(NAME, given)
    if dtype.kind == "f":
        check_files(given, tmp_path)


def check_files(given: dict[str, Any], folder: Path) -> None:
    """Memory-mapped vectors are read as they are, and gradients may take their place."""
    right = all_forms(**given)
    for k in INPUTS:
        np.save(folder / k, given[k])
    for mode in ("r", "r+"):
        stored = {k: np.load(folder / f"{k}.npy", mmap_mode=mode) for k in INPUTS}
        same_bits(all_forms(**given | stored), right)
    out = tuple(stored.values())
    check_written(gradients_of(**given | stored, out=out), right[1], out)
    same_bits(tuple(np.load(folder / f"{k}.npy") for k in INPUTS), right[1])


@PROFILE
@drawn(st.data())
def test_any_layout(data: st.DataObject) -> None:
    """Of vectors of any two types, targets and grad_output, each a single row at times."""
    rows, features = (data.draw(st.sampled_from((1, 2, 5, 15, 16, 17, 130, 0))) for _ in range(2))
    given: dict[str, Any] = {"margin": 0.125, "reduction": data.draw(st.sampled_from(REDUCTIONS))}
    for name in INPUTS:
        kept = 1 if data.draw(st.integers(0, 3)) == 0 else rows
        given[name] = data.draw(laid_out((kept, features), normal))
    shape = np.broadcast_shapes(*(given[name].shape[:1] for name in INPUTS))
    given["target"] = data.draw(laid_out(shape, bits, REALS))
    if given["reduction"] == "none" and data.draw(st.booleans()):
        given["grad_output"] = data.draw(laid_out(shape, normal))
    copies = {k: plain(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
    right = all_forms(**copies)
    same_bits(all_forms(**given), right)
    out = tuple(np.zeros_like(copies[k], order="F") for k in INPUTS)
    check_written(gradients_of(**{"grad_output": 1.0} | given, out=out), right[1], out)
    given.pop("grad_output", None)
    check_written(value_and_grads(**given, out=out), right[2], out)


@pytest.mark.parametrize("shape", ((5000, 65), (3, 70_001), (30_000, 2)))
def test_threads(shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
    for reduction in ("none", "mean"):
        check_threads(NAME, operands(dtype, shape, reduction))
