# SPDX-License-Identifier: BSD-3-Clause
"""Every option means what it means in torch: softmax family, cross_entropy, nll_loss.

The deliberate differences stand at the end; `torch_oracle` says how torch is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

import logloss
import reference as ref
from grid import cross_entropy_terms, promised
from torch_oracle import (
    EMPTY_SHAPES,
    INF,
    NAN,
    SHAPES,
    F,
    check_close,
    check_loss,
    in_double,
    spread,
    torch,
    upstream,
)
from ulp import Array, assert_ulp


def class_axis(shape: tuple[int, ...]) -> int:
    return 0 if len(shape) == 1 else 1


def terms(name: str, g: Any, x: Array, target: Array, options: dict[str, Any]) -> Array:
    """What the gradient is the difference of: nothing is subtracted for nll_loss."""
    if name == "nll_loss":
        return np.abs(ref.nll_loss_backward(g, x, target, **options))
    return cross_entropy_terms(g, x, target, **options)


# The softmax family


@pytest.mark.parametrize("shape", SHAPES + EMPTY_SHAPES, ids=str)
def test_softmax_family(shape: tuple[int, ...], wide_dtype: np.dtype[Any]) -> None:
    x, g = spread(shape, wide_dtype), upstream(shape, wide_dtype)
    for name, axis in product(("log_softmax", "softmax"), range(-len(shape), len(shape))):
        leaf = in_double(x, leaf=True)
        right = getattr(torch, name)(leaf, axis)
        right.backward(in_double(g))
        check_loss(getattr(logloss, name)(x, axis), right.detach().numpy(), wide_dtype, 20)
        s = torch.softmax(in_double(x), axis).numpy()
        size = np.maximum(np.abs(g), s * np.abs(g).sum(axis=axis, keepdims=True))
        if name == "softmax":
            size = s * np.maximum(np.abs(g), (s * np.abs(g)).sum(axis=axis, keepdims=True))
        backward = getattr(logloss, f"{name}_backward")(g, x, axis)
        assert backward.dtype == wide_dtype
        check_close(backward, leaf.grad.numpy(), size)


@pytest.mark.parametrize("shape", SHAPES + EMPTY_SHAPES, ids=str)
@pytest.mark.parametrize("keepdims", (False, True))
def test_logsumexp(shape: tuple[int, ...], keepdims: bool, wide_dtype: np.dtype[Any]) -> None:
    x = spread(shape, wide_dtype)
    for axis in range(-len(shape), len(shape)):
        leaf = in_double(x, leaf=True)
        right = torch.logsumexp(leaf, axis, keepdim=keepdims)
        actual = logloss.logsumexp(x, axis, keepdims=keepdims)
        assert np.shape(actual) == tuple(right.shape) and actual.dtype == wide_dtype
        check_loss(actual, right.detach().numpy(), wide_dtype, 20)
        g = upstream(tuple(right.shape), wide_dtype)
        right.backward(in_double(g))
        backward = logloss.logsumexp_backward(g, x, axis, keepdims=keepdims)
        check_close(backward, leaf.grad.numpy(), np.abs(leaf.grad.numpy()))


@pytest.mark.parametrize(
    "row",
    ([-INF, 1, 2], [-INF, -INF, -INF], [INF, 1, 2], [NAN, 1, 2], [INF, -INF, 0], [3e38, -3e38, 0]),
    ids=str,
)
def test_softmax_family_of_special_rows(row: list[float]) -> None:
    x = np.float32([row, [1, 2, 3]])
    leaf = torch.tensor(x)
    for name in ("log_softmax", "softmax", "logsumexp"):
        np.testing.assert_allclose(
            getattr(logloss, name)(x, -1), getattr(torch, name)(leaf, -1), rtol=1e-6
        )


# cross_entropy and nll_loss


def index_target(shape: tuple[int, ...], dtype: Any = np.int64) -> Array:
    axis = class_axis(shape)
    generator = np.random.default_rng([*shape, 12])
    positions = tuple(np.delete(shape, axis))
    return np.asarray(generator.integers(0, max(shape[axis], 1), positions), dtype)


def probability_target(shape: tuple[int, ...], dtype: Any) -> Array:
    """Not normalised, with zeros, as the rules allow."""
    generator = np.random.default_rng([*shape, 13])
    p = generator.uniform(-0.5, 1, shape)
    return np.maximum(p, 0).astype(dtype)


def class_weight(classes: int, dtype: Any) -> Array:
    return np.linspace(0.5, 2.0, classes).astype(dtype)


def options_of(shape: tuple[int, ...], dtype: Any) -> Iterator[tuple[Array, dict[str, Any]]]:
    """All combinations of a target and the options that go with it."""
    classes = shape[class_axis(shape)]
    reductions, smoothings = ("none", "mean", "sum"), (0.0, 0.1)
    for weight, smoothing, reduction in product(
        (None, class_weight(classes, dtype)), smoothings, reductions
    ):
        options = {"weight": weight, "label_smoothing": smoothing, "reduction": reduction}
        yield probability_target(shape, dtype), options
        if classes:
            for ignore_index in (-100, 0):
                yield index_target(shape), options | {"ignore_index": ignore_index}


def torch_loss(name: str, x: Array, target: Array, options: dict[str, Any]) -> tuple[Any, Any]:
    """Torch's loss in double, and the leaf that its gradient goes to."""
    leaf = in_double(x, leaf=True)
    weight = options.get("weight")
    y = in_double(target) if target.dtype.kind == "f" else torch.tensor(target)
    options = options | {"weight": None if weight is None else in_double(weight)}
    return getattr(F, name)(leaf, y, **options), leaf


def check_gradient(name: str, x: Array, target: Array, options: dict[str, Any]) -> None:
    """Value and gradient of one combination, through the separate and the joint call."""
    right, leaf = torch_loss(name, x, target, options)
    loss = getattr(logloss, name)(x, target, **options)
    assert np.shape(loss) == tuple(right.shape)
    check_loss(loss, right.detach().numpy(), x.dtype, 50.0 if right.dim() else 50.0 * x.size + 1)
    g: Any = -1.75
    if options["reduction"] == "none":
        g = upstream(tuple(right.shape), x.dtype)
    right.backward(in_double(g))
    actual = getattr(logloss, f"{name}_backward")(g, x, target, **options)
    assert actual.dtype == x.dtype
    check_close(actual, leaf.grad.numpy(), terms(name, g, x, target, options))
    both = getattr(logloss, f"{name}_value_and_grad")(x, target, **options)
    np.testing.assert_array_equal(both[0], loss)
    right, leaf = torch_loss(name, x, target, options)
    right.sum().backward()
    ones = np.ones(right.shape)
    check_close(both[1], leaf.grad.numpy(), terms(name, ones, x, target, options))


@pytest.mark.parametrize("shape", SHAPES + EMPTY_SHAPES, ids=str)
def test_cross_entropy(shape: tuple[int, ...], wide_dtype: np.dtype[Any]) -> None:
    x = spread(shape, wide_dtype)
    for target, options in options_of(shape, wide_dtype):
        check_gradient("cross_entropy", x, target, options)


@pytest.mark.parametrize("shape", [s for s in SHAPES + EMPTY_SHAPES if s[class_axis(s)]], ids=str)
def test_nll_loss(shape: tuple[int, ...], wide_dtype: np.dtype[Any]) -> None:
    x = -np.abs(spread(shape, wide_dtype))
    weights = (None, class_weight(shape[class_axis(shape)], wide_dtype))
    for weight, ignore_index, reduction in product(weights, (-100, 0), ("none", "mean", "sum")):
        options = {"weight": weight, "ignore_index": ignore_index, "reduction": reduction}
        check_gradient("nll_loss", x, index_target(shape), options)


@pytest.mark.parametrize("name", ("cross_entropy", "nll_loss"))
def test_all_ignored(name: str, wide_dtype: np.dtype[Any]) -> None:
    """Mean NaN with a gradient of 0, sum 0, none zeros."""
    x, y = spread((3, 4), wide_dtype), np.full(3, 2)
    for reduction in ("none", "mean", "sum"):
        options = {"ignore_index": 2, "reduction": reduction}
        check_gradient(name, x, y, options)


def test_total_weight_zero(wide_dtype: np.dtype[Any]) -> None:
    x, y = spread((3, 4), wide_dtype), np.array([1, -100, 1])
    options = {"weight": np.array([1, 0, 1, 1], wide_dtype), "reduction": "mean"}
    check_gradient("cross_entropy", x, y, options)
    check_gradient("nll_loss", x, y, options)


def test_negative_weights(wide_dtype: np.dtype[Any]) -> None:
    x, y = spread((6, 4), wide_dtype), np.array([0, 1, 2, 3, 1, 0])
    for smoothing, reduction in product((0.0, 0.2), ("none", "mean", "sum")):
        options: dict[str, Any] = {"weight": np.array([1, -2, 0.5, 4], wide_dtype)}
        options["reduction"] = reduction
        check_gradient("nll_loss", x, y, options)
        check_gradient("cross_entropy", x, y, options | {"label_smoothing": smoothing})


def test_one_row_has_no_weight_in_the_mean(wide_dtype: np.dtype[Any]) -> None:
    options = {"weight": np.array([0.5, 3, 7], wide_dtype), "reduction": "mean"}
    for name in ("cross_entropy", "nll_loss"):
        check_gradient(name, spread((1, 3), wide_dtype), np.array([1]), options)
        check_gradient(name, spread((3,), wide_dtype), np.array(2), options)


@pytest.mark.parametrize("reduction", ("none", "mean", "sum"))
def test_infinite_logits(reduction: str) -> None:
    """Rows with -inf among finite logits, -inf at the target, +inf, NaN, and all -inf."""
    x = np.float64([[0, -INF, 1], [0, -INF, 1], [0, INF, 1], [NAN, 0, 1], [-INF] * 3])
    y = np.array([0, 1, 1, 1, 1])
    for rows in ([0], [0, 1], [2], [3], [4], [0, 1, 2, 3, 4]):
        loss, _ = torch_loss("cross_entropy", x[rows], y[rows], {"reduction": reduction})
        actual = logloss.cross_entropy(x[rows], y[rows], reduction=reduction)
        np.testing.assert_allclose(actual, loss.detach(), rtol=1e-14)


# Deliberate differences: torch's answer first, then ours.


def test_confident_rows_keep_their_loss() -> None:
    x = np.zeros((1, 1000), np.float32)
    x[0, 3] = 25.0
    y = np.array([3])
    leaf = torch.tensor(x, requires_grad=True)
    loss = F.cross_entropy(leaf, torch.tensor(y))
    loss.backward()
    assert loss.item() == 0.0 and leaf.grad[0, 3] == 0.0
    exact = np.log1p(999 * np.exp(np.longdouble(-25)))
    each, grad = logloss.cross_entropy_value_and_grad(x, y, reduction="none")
    assert_ulp(each, np.array([exact]), promised(2, np.float32))
    assert grad[0, 3] == pytest.approx(-1.38744e-8, rel=1e-5)


def test_a_zero_probability_hides_minus_infinity() -> None:
    x, p = np.float32([[0, 0, -INF]]), np.float32([[0.5, 0.5, 0]])
    assert torch.isnan(F.cross_entropy(torch.tensor(x), torch.tensor(p)))
    assert logloss.cross_entropy(x, p) == float(np.float32(math.log(2)))


def test_a_zero_weight_hides_minus_infinity() -> None:
    x, y, weight = np.float32([[0, 0, -INF], [0, 0, 0]]), np.array([2, 1]), np.float32([1, 1, 0])
    args = torch.tensor(x), torch.tensor(y), torch.tensor(weight)
    for name in ("cross_entropy", "nll_loss"):
        assert torch.isnan(getattr(F, name)(*args, reduction="none")[0])
        assert getattr(logloss, name)(x, y, weight=weight, reduction="none")[0] == 0


def test_an_ignored_row_of_nan_has_gradient_zero() -> None:
    x, y = np.float32([[NAN, 0, 0], [0, 0, 0]]), np.array([-100, 1])
    leaf = torch.tensor(x, requires_grad=True)
    F.cross_entropy(leaf, torch.tensor(y)).backward()
    assert torch.isnan(leaf.grad[0]).all()
    np.testing.assert_array_equal(logloss.cross_entropy_backward(1.0, x, y)[0], [0, 0, 0])


def test_gradient_of_logsumexp_at_infinities() -> None:
    x = np.float32([[-INF, -INF], [INF, 0]])
    leaf = torch.tensor(x, requires_grad=True)
    torch.logsumexp(leaf, 1).sum().backward()
    assert torch.isnan(leaf.grad[0]).all() and torch.isnan(leaf.grad[1, 0])
    np.testing.assert_array_equal(
        logloss.logsumexp_backward(np.ones(2, np.float32), x), [[0, 0], [1, 0]]
    )


def test_float16_sums_are_wide() -> None:
    x = np.full((1, 70000), 0.5, np.float16)
    assert torch.log_softmax(torch.tensor(x), 1)[0, 0] == -INF
    assert logloss.log_softmax(x, 1)[0, 0] == np.float16(-11.16)
    log_probs, y = np.full((70000, 2), -1.5, np.float16), np.zeros(70000, np.int64)
    assert not torch.isfinite(F.nll_loss(torch.tensor(log_probs), torch.tensor(y)))
    assert logloss.nll_loss(log_probs, y) == 1.5


@pytest.mark.parametrize("integer", (np.int8, np.int16, np.int32, np.uint16, np.uint64))
def test_every_integer_type_is_an_index(integer: Any) -> None:
    x, y = spread((4, 5), np.float32), np.array([0, 4, 2, 1])
    assert logloss.cross_entropy(x, y.astype(integer)) == logloss.cross_entropy(x, y)


@pytest.mark.parametrize("smoothing", (-0.1, NAN))
def test_label_smoothing_is_checked_on_both_sides(smoothing: float) -> None:
    x, y = spread((4, 5), np.float32), np.array([0, 4, 2, 1])
    args = torch.tensor(x), torch.tensor(y)
    assert F.cross_entropy(*args, label_smoothing=smoothing) == F.cross_entropy(*args)
    with pytest.raises(ValueError, match="label_smoothing"):
        logloss.cross_entropy(x, y, label_smoothing=smoothing)


def test_losses_of_16_bits_are_float32(half_dtype: np.dtype[Any]) -> None:
    x, y = spread((4, 5), half_dtype), np.array([0, 4, 2, 1])
    assert logloss.cross_entropy(x, y, reduction="none").dtype == np.float32
    assert logloss.nll_loss(x, y, reduction="none").dtype == np.float32
