# SPDX-License-Identifier: BSD-3-Clause
"""The reference itself: closely against 50-digit arithmetic, its options against torch."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest

import reference as ref
from reference_oracle import RELATIVE, assert_close, exactly, mp
from ulp import Array, max_ulp, ulp, ulp_distance

LOGITS = (
    np.array([0.3, -1.2, 2.5, 0.0]),
    np.array([7.25]),
    np.array([1e4 + 0.5, 1e4, 1e4 - 3.0]),
    np.array([3e38, -3e38, 0.0]),
    np.array([2.0, 2.0, 2.0, -1.0]),
    np.array([-80.0, 0.0, -80.5, -81.0, -200.0]),
    np.array([-700.0, 45.0, 44.999999999]),
    np.random.default_rng(0).normal(0.0, 10.0, 200),
)


@pytest.mark.parametrize("x", LOGITS)
def test_softmax_family_to_fifty_digits(x: Array) -> None:
    mp.dps = 50
    top = max(exactly(x))
    lse = top + mp.log(mp.fsum(mp.exp(v - top) for v in exactly(x)))
    with mp.workdps(400):  # enough for 1 - p at a margin of 745
        e = [mp.exp(v - top) for v in exactly(x)]
        total = mp.fsum(e)
        s = [v / total for v in e]
        log_probs = [v - top - mp.log(total) for v in exactly(x)]
        others = [mp.fsum(e[:i] + e[i + 1 :]) / total for i in range(len(e))]
    assert_close(ref.logsumexp(x), [lse])
    assert_close(ref.softmax(x), s)
    assert_close(ref.log_softmax(x), log_probs)
    assert_close(ref.row_probs(ref.wide(x))[1], others)
    g = np.cos(np.arange(x.size))
    weighted = mp.fsum(a * b for a, b in zip(exactly(g), s, strict=True))
    total_g = mp.fsum(exactly(g))
    size = max(1.0, float(np.abs(g).sum()))
    np.testing.assert_allclose(
        ref.log_softmax_backward(g, x).astype(float),
        [float(a - b * total_g) for a, b in zip(exactly(g), s, strict=True)],
        rtol=0,
        atol=2.0**-53 * size,
    )
    np.testing.assert_allclose(
        ref.softmax_backward(g, x).astype(float),
        [float(b * (a - weighted)) for a, b in zip(exactly(g), s, strict=True)],
        rtol=0,
        atol=2.0**-53 * size,
    )
    assert_close(ref.logsumexp_backward(np.float64(1.75), x), [mp.mpf(1.75) * v for v in s])


@pytest.mark.parametrize("x", LOGITS)
@pytest.mark.parametrize("smoothing", (0.0, 0.1, 1.0))
@pytest.mark.parametrize("weighted", (False, True))
def test_cross_entropy_to_fifty_digits(x: Array, smoothing: float, weighted: bool) -> None:
    classes = x.size
    w = np.linspace(0.25, 2.0, classes) if weighted else np.ones(classes)
    p = np.abs(np.sin(np.arange(classes) + 1.0))
    e = mp.mpf(smoothing)
    with mp.workdps(400):
        log_total = mp.log(mp.fsum(mp.exp(v - max(exactly(x))) for v in exactly(x)))
        nll = [max(exactly(x)) - v + log_total for v in exactly(x)]
        s = [mp.exp(-v) for v in nll]
        for target in (0, classes - 1, p):
            mass = [
                mp.mpf(float(w[c]))
                * (
                    (1 - e) * (mp.mpf(float(p[c])) if target is p else int(c == target))
                    + e / classes
                )
                for c in range(classes)
            ]
            options: dict[str, Any] = {"weight": w if weighted else None}
            options |= {"label_smoothing": smoothing, "reduction": "none"}
            loss = mp.fsum(v * l for v, l in zip(mass, nll, strict=True))
            assert_close(ref.cross_entropy(x, target, **options), [loss])
            grad = [
                s[c] * mp.fsum(mass[:c] + mass[c + 1 :]) - mass[c] * mp.fsum(s[:c] + s[c + 1 :])
                for c in range(classes)
            ]
            got = ref.cross_entropy_backward(1.0, x, target, **options)
            if smoothing == 0 and target is not p:
                assert_close(got, grad)
            size = float(np.abs(w * (p if target is p else 1)).sum())
            np.testing.assert_allclose(
                got.astype(float),
                [float(v) for v in grad],
                rtol=2e-16 + RELATIVE,
                atol=RELATIVE * size,
            )


def test_cross_entropy_agrees_with_torch_options() -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle of every option")
    generator = np.random.default_rng(3)
    x = generator.normal(0, 3, (5, 4, 3))
    w = generator.uniform(0.1, 2, 4)
    indices = generator.integers(0, 4, (5, 3))
    indices[0, 1] = indices[3, 2] = 2
    p = generator.normal(0, 1, x.shape)
    names = ("none", "mean", "sum")
    for y, weight, smoothing, ignore, reduction in product(
        (indices, p), (None, w), (0.0, 0.3, 1.0), (-100, 2), names
    ):
        if y is p and ignore >= 0:
            continue
        leaf = torch.tensor(x, requires_grad=True)
        expected = torch.nn.functional.cross_entropy(
            leaf,
            torch.tensor(y),
            None if weight is None else torch.tensor(weight),
            ignore_index=ignore,
            reduction=reduction,
            label_smoothing=smoothing,
        )
        g = np.cos(np.arange(15.0)).reshape(5, 3) if reduction == "none" else np.float64(0.7)
        expected.backward(torch.tensor(g))
        options: dict[str, Any] = {"weight": weight, "ignore_index": ignore}
        options |= {"reduction": reduction, "label_smoothing": smoothing}
        loss = ref.cross_entropy(x, y, **options)
        np.testing.assert_allclose(np.float64(loss), expected.detach(), rtol=1e-13, atol=1e-14)
        grad = ref.cross_entropy_backward(g, x, y, **options)
        np.testing.assert_allclose(grad.astype(float), leaf.grad, rtol=1e-12, atol=1e-14)


def test_nll_loss_agrees_with_torch_options() -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle of every option")
    generator = np.random.default_rng(4)
    x = generator.normal(0, 3, (6, 3, 2))
    y = generator.integers(0, 3, (6, 2))
    w = generator.uniform(0.1, 2, 3)
    for weight, ignore, reduction in product((None, w), (-100, 1), ("none", "mean", "sum")):
        leaf = torch.tensor(x, requires_grad=True)
        expected = torch.nn.functional.nll_loss(
            leaf,
            torch.tensor(y),
            None if weight is None else torch.tensor(weight),
            ignore_index=ignore,
            reduction=reduction,
        )
        g = np.cos(np.arange(12.0)).reshape(6, 2) if reduction == "none" else np.float64(-1.5)
        expected.backward(torch.tensor(g))
        options: dict[str, Any] = {"weight": weight, "ignore_index": ignore}
        loss = ref.nll_loss(x, y, **options, reduction=reduction)
        np.testing.assert_allclose(np.float64(loss), expected.detach(), rtol=1e-14)
        grad = ref.nll_loss_backward(g, x, y, **options, reduction=reduction)
        np.testing.assert_allclose(grad.astype(float), leaf.grad, rtol=1e-14)


def test_softmax_family_agrees_with_torch_on_every_axis() -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle of every option")
    x = np.random.default_rng(5).normal(0, 4, (3, 4, 5))
    x[0, 0, 0] = x[2, 3] = -np.inf
    g = np.random.default_rng(6).normal(0, 1, x.shape)
    for name, axis in product(("log_softmax", "softmax"), (0, 1, 2, -1, -3)):
        leaf = torch.tensor(x, requires_grad=True)
        expected = getattr(torch, name)(leaf, axis)
        expected.backward(torch.tensor(g))
        np.testing.assert_allclose(
            getattr(ref, name)(x, axis).astype(float), expected.detach(), rtol=1e-13, atol=1e-15
        )
        grad = getattr(ref, f"{name}_backward")(g, x, axis).astype(float)
        np.testing.assert_allclose(grad, leaf.grad, rtol=1e-12, atol=1e-15)
    for axis, keepdims in product((0, 1, 2, -1), (False, True)):
        expected = torch.logsumexp(torch.tensor(x), axis, keepdim=keepdims)
        actual = ref.logsumexp(x, axis, keepdims=keepdims).astype(float)
        np.testing.assert_allclose(actual, expected, rtol=1e-14)


def test_limits_that_differ_from_torch() -> None:
    inf = np.inf
    rows = np.array([[-inf, -inf, -inf], [inf, 1.0, inf], [1.0, 1.0, -inf]])
    expected = [[0, 0, 0], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    np.testing.assert_array_equal(ref.logsumexp_backward(np.ones(3), rows).astype(float), expected)
    none: dict[str, Any] = {"reduction": "none"}
    x = np.array([[0.0, 0.0, -inf]])
    p = np.array([[0.5, 0.5, 0.0]])
    assert float(ref.cross_entropy(x, p, **none)[0]) == pytest.approx(math.log(2), rel=1e-15)
    zero = np.array([1.0, 1.0, 0.0])
    assert ref.cross_entropy(x, np.array([2]), weight=zero, **none)[0] == 0
    assert ref.nll_loss(x, np.array([2]), weight=zero, **none)[0] == 0
    garbage = np.array([[np.nan, 0.0], [1.0, 1.0]])
    y = np.array([-100, 0])
    np.testing.assert_array_equal(
        ref.cross_entropy_backward(1.0, garbage, y).astype(float), [[0, 0], [-0.5, 0.5]]
    )


def test_quotient_rounds_once() -> None:
    assert ref.quotient([1e16, 1.0, -1e16]) == 1.0
    assert ref.quotient([1.0, 2.0**-53, 2.0**-200]) == 1.0 + 2.0**-52
    assert ref.quotient([1.0], 3) == 1 / 3
    # 1 + 2^-53 is a tie: rounding the sum before the division by 3 would give 1/3.
    assert ref.quotient([1.0, 2.0**-53, 2.0**-106], 3) == float(
        (Fraction(1) + Fraction(1, 2**53) + Fraction(1, 2**106)) / 3
    )
    assert ref.quotient([1.7e308, 1.7e308]) == math.inf
    assert ref.quotient([1.7e308, 1.7e308], 2) == 1.7e308
    assert math.isnan(ref.quotient([0.0], 0)) and ref.quotient([1.0], 0) == math.inf
    assert math.isnan(ref.quotient([math.inf, -math.inf])) and ref.quotient([math.inf]) == math.inf
    assert math.copysign(1, ref.quotient([-0.0])) == -1 and math.copysign(1, ref.quotient([])) == -1


def test_empty_losses_have_the_documented_value_and_sign() -> None:
    none, floats = np.zeros(0), np.zeros((0, 3))
    assert math.copysign(1, ref.cross_entropy(floats, floats, reduction="sum")) == -1
    assert math.copysign(1, ref.cross_entropy(none, none, reduction="sum")) == -1
    assert math.copysign(1, ref.cross_entropy(none, none, reduction="none")) == -1
    indices = np.zeros(0, np.int64)
    assert math.copysign(1, ref.cross_entropy(floats, indices, reduction="sum")) == 1
    assert math.copysign(1, ref.nll_loss(floats, indices, reduction="sum")) == 1
    for target in (floats, indices):
        assert math.isnan(ref.cross_entropy(floats, target))
        assert ref.cross_entropy(floats, target, reduction="none").shape == (0,)


def test_ulp_counts_steps_between_neighbours(wide_dtype: np.dtype[Any]) -> None:
    tiny = np.finfo(wide_dtype).smallest_subnormal
    for x in (1.0, 1.5, -2.0, 3e-39, float(tiny), float(np.finfo(wide_dtype).max)):
        here = np.asarray(x, wide_dtype)
        with np.errstate(over="ignore"):
            outward = np.nextafter(here, np.copysign(np.asarray(np.inf, wide_dtype), here))
        assert max_ulp(outward, here, wide_dtype) == 1
        assert max_ulp(here, here, wide_dtype) == 0
    assert ulp(0.0, wide_dtype) == tiny and ulp(1.0, wide_dtype) == np.finfo(wide_dtype).eps


def test_ulp_distance_of_special_values() -> None:
    nan, inf = np.nan, np.inf
    actual = [nan, inf, -inf, nan, 1.0, inf, -inf, inf, inf, 65504.0]
    exact = [nan, inf, -inf, 1.0, nan, -inf, 7.0, 65520.0, 1e6, 65520.0]
    expected = [0, 0, 0, inf, inf, inf, inf, 0.5, 0, 0.5]
    np.testing.assert_array_equal(ulp_distance(actual, exact, np.float16), expected)
