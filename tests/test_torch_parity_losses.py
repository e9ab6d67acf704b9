# SPDX-License-Identifier: BSD-3-Clause
"""Every option means what it means in torch: sigmoid, log_sigmoid, binary cross-entropies, kl_div.

`torch_oracle` says how torch is compared with.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import logloss
import reference as ref
from torch_oracle import (
    EMPTY_SHAPES,
    SHAPES,
    F,
    check_call,
    check_close,
    in_double,
    spread,
    torch,
    upstream,
)
from ulp import FORMATS, Array

ALL_SHAPES = ((), *SHAPES, *EMPTY_SHAPES)
REDUCTIONS = ("none", "mean", "sum")
KL_REDUCTIONS = (*REDUCTIONS, "batchmean")


def probabilities(shape: tuple[int, ...], dtype: Any, seed: int = 21) -> Array:
    """0 and 1 among them, and numbers so small that their logarithms are clamped."""
    generator = np.random.default_rng([*shape, seed])
    p = generator.random(shape)
    p.flat[::6] = 0
    p.flat[2::6] = 1
    p.flat[4::12] = 10.0 ** generator.uniform(-44, -3, p.flat[4::12].size)
    return p.astype(dtype)


def quarters(shape: tuple[int, ...], dtype: Any = np.float32, *, least: float = 0.0) -> Array:
    """Weights that every type has."""
    generator = np.random.default_rng([*shape, 22])
    return np.asarray(generator.integers(4 * least, 12, shape, endpoint=True) / 4, dtype)


def weights(shape: tuple[int, ...], least: float = 0.0) -> list[Array | None]:
    """None, and one of each shape that broadcasts to `shape` in a way of its own."""
    kept = [[n, 1][: 1 + (n > 1)] for n in shape]
    whole = set(product(*kept))
    shapes = sorted({s[i:] for s in whole for i in range(len(shape) + 1)})
    return [None, *(quarters(s, least=least) for s in shapes)]


# The sigmoid family


@pytest.mark.parametrize("shape", ALL_SHAPES, ids=str)
def test_sigmoid_family(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    x, g = spread(shape, dtype), upstream(shape, dtype)
    for name, function in (("sigmoid", torch.sigmoid), ("log_sigmoid", F.logsigmoid)):
        leaf = in_double(x, leaf=True)
        right = function(leaf)
        right.backward(in_double(g))
        actual = getattr(logloss, name)(x)
        assert actual.dtype == dtype
        check_close(actual, right.detach().numpy(), 0, ulps=2)
        # torch's derivative of the sigmoid is s (1 - s), a difference next to 1.
        torch_size = np.abs(g.astype(float)) if name == "sigmoid" else 0
        backward = getattr(logloss, f"{name}_backward")(g, x)
        check_close(backward, leaf.grad.numpy(), 0, ulps=3, torch_size=torch_size)


# binary_cross_entropy


def check_bce(x: Array, y: Array, **options: Any) -> None:
    options = {"weight": None, "reduction": "mean"} | options
    check_call(
        "binary_cross_entropy",
        (x, y),
        options,
        F.binary_cross_entropy,
        size=np.abs(ref.binary_cross_entropy(x, y, **options | {"reduction": "none"})),
        terms=lambda *args, **kwargs: np.abs(ref.binary_cross_entropy_backward(*args, **kwargs)),
        divisors={"mean": x.size},
        ulps=3,
    )


@pytest.mark.parametrize("shape", ALL_SHAPES, ids=str)
def test_binary_cross_entropy(shape: tuple[int, ...], wide_dtype: np.dtype[Any]) -> None:
    x, y = (probabilities(shape, wide_dtype, seed) for seed in (23, 24))
    for reduction in REDUCTIONS:
        check_bce(x, y, reduction=reduction)
        check_bce(x, np.round(y), reduction=reduction, weight=quarters(shape[-1:]))


@pytest.mark.parametrize("shape", ((7,), (3, 5), (2, 3, 4)), ids=str)
def test_binary_cross_entropy_weights(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Weights of all shapes, negative ones among them."""
    x, y = (probabilities(shape, dtype, seed) for seed in (25, 26))
    for weight, reduction in product(weights(shape, least=-3), REDUCTIONS):
        check_bce(x, y, reduction=reduction, weight=weight)


def test_binary_cross_entropy_at_the_clamps(wide_dtype: np.dtype[Any]) -> None:
    """A certainty that is wrong costs 100, and its gradient stops growing at 1e12."""
    limit = float(np.nextafter(wide_dtype.type(1), wide_dtype.type(0)))
    extremes = [0.0, 1.0, 0.5, limit, 1e-11, 1e-12, 1e-13, 1e-30, 1e-38, 3e-44, 4e-44, 1e-45]
    x, y = (v.ravel().astype(wide_dtype) for v in np.meshgrid(extremes, extremes))
    for reduction in REDUCTIONS:
        check_bce(x, y, reduction=reduction)


# binary_cross_entropy_with_logits


def check_bce_with_logits(x: Array, y: Array, *, slack: Any = 0.0, **options: Any) -> None:
    options = {"weight": None, "reduction": "mean", "pos_weight": None} | options
    w, p = (1 if options[k] is None else options[k] for k in ("weight", "pos_weight"))
    entering = np.abs(w * ((np.abs(p) + 1) * np.abs(y.astype(float)) + 1))
    check_call(
        "binary_cross_entropy_with_logits",
        (x, y),
        options,
        F.binary_cross_entropy_with_logits,
        size=entering * (np.abs(x.astype(float)) + 1),
        terms=ref.binary_cross_entropy_with_logits_terms,
        torch_terms=lambda g, *args, reduction, **kwargs: (
            np.abs(g) * entering / (x.size if reduction == "mean" else 1)
        ),
        divisors={"mean": x.size},
        slack=slack,
    )


@pytest.mark.parametrize("shape", ALL_SHAPES, ids=str)
def test_binary_cross_entropy_with_logits(
    shape: tuple[int, ...], wide_dtype: np.dtype[Any]
) -> None:
    x, y = spread(shape, wide_dtype), probabilities(shape, wide_dtype)
    last = quarters(shape[-1:])
    for reduction in REDUCTIONS:
        check_bce_with_logits(x, y, reduction=reduction)
        check_bce_with_logits(x, np.round(y), reduction=reduction, pos_weight=last)
        both = {"weight": quarters(shape), "pos_weight": last}
        check_bce_with_logits(x, y, reduction=reduction, **both)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy_with_logits_weights(reduction: str, dtype: np.dtype[Any]) -> None:
    """Weights and pos_weights of all shapes beside each other, negative weights among them."""
    x, y = spread((3, 5), dtype), probabilities((3, 5), dtype)
    for weight, pos_weight in product(weights((3, 5), least=-2), weights((3, 5))):
        check_bce_with_logits(x, y, reduction=reduction, weight=weight, pos_weight=pos_weight)
    x, y = spread((2, 3, 4), dtype), probabilities((2, 3, 4), dtype)
    others = reversed(weights((2, 3, 4)))
    for weight, pos_weight in zip(weights((2, 3, 4), least=-2), others, strict=True):
        check_bce_with_logits(x, y, reduction=reduction, weight=weight, pos_weight=pos_weight)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_targets_that_are_no_probabilities(reduction: str, wide_dtype: np.dtype[Any]) -> None:
    """Of logits they may be any numbers: the loss is a difference then."""
    x = spread((5, 17), wide_dtype)
    y = np.random.default_rng(27).normal(0, 3, x.shape).astype(wide_dtype)
    slack = 4 * np.finfo(wide_dtype).eps * (np.abs(x) + 1) * (np.abs(y) + 1).astype(float)
    check_bce_with_logits(x, y, reduction=reduction, slack=slack)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_targets_of_another_float_type(reduction: str) -> None:
    """The wider type holds, for a float16 target that of the input."""
    x, y = spread((5, 17), np.float32), probabilities((5, 17), np.float16)
    check_bce_with_logits(x, y, reduction=reduction)
    check_bce_with_logits(x, y.astype(np.float64), reduction=reduction)
    check_bce_with_logits(x.astype(np.float64), y, reduction=reduction)


# kl_div


def kl_div_terms(g: Any, *args: Any, **options: Any) -> Array:
    """What is added up in the gradient of an input that is repeated."""
    with np.errstate(invalid="ignore"):  # the mean over nothing
        return np.abs(ref.kl_div_backward(np.abs(g), *args, **options))


def check_kl_div(x: Array, t: Array, **options: Any) -> None:
    """Terms that cancel may be off by half an ulp of each of the probabilities."""
    options = {"reduction": "mean", "log_target": False} | options
    wide_x, wide_t = (v.astype(float) for v in (x, t))
    p, log_p = wide_t, wide_t
    if options["log_target"]:
        p = np.exp(wide_t)
    else:
        log_p = np.log(wide_t, where=wide_t > 0, out=np.zeros_like(wide_t))
    bits, _, _ = FORMATS["float64" if 8 in (x.itemsize, t.itemsize) else "float32"]
    slack = np.ldexp(1.0, -bits) * (p + np.zeros_like(x, float))
    check_call(
        "kl_div",
        (x, t),
        options,
        F.kl_div,
        size=p * np.abs(log_p) + p * np.abs(wide_x),
        terms=kl_div_terms,
        divisors={"mean": slack.size, "batchmean": x.shape[0] if x.ndim else 1},
        slack=0.0 if options["log_target"] else slack,
        ulps=3,
    )


def log_probabilities(shape: tuple[int, ...], dtype: Any, seed: int = 28) -> Array:
    """Of classes, and some that are none: above 0."""
    generator = np.random.default_rng([*shape, seed])
    x = -generator.exponential(4, shape)
    x.flat[3::7] *= -0.1
    return x.astype(dtype)


@pytest.mark.parametrize("shape", ALL_SHAPES, ids=str)
def test_kl_div(shape: tuple[int, ...], wide_dtype: np.dtype[Any]) -> None:
    x, t = (log_probabilities(shape, wide_dtype, seed) for seed in (29, 30))
    for reduction in KL_REDUCTIONS:
        check_kl_div(x, probabilities(shape, wide_dtype), reduction=reduction)
        check_kl_div(x, t, reduction=reduction, log_target=True)


# Shapes of the input and of the target.
STRETCHED = (
    ((3, 5), (3, 5)),
    ((5,), (3, 5)),
    ((3, 5), (5,)),
    ((), (3, 5)),
    ((3, 5), ()),
    ((1, 5), (3, 5)),
    ((3, 1), (5,)),
    ((1,), (17,)),
    ((2, 1, 4), (3, 1)),
    ((4, 1, 1, 3, 1), (2, 3, 1, 5)),
    ((1, 130), (33, 1)),
    ((3,), (2, 0, 3)),
    ((2, 0, 3), (3,)),
    ((0, 1), (1, 3)),
)


@pytest.mark.parametrize("shapes", STRETCHED, ids=str)
def test_kl_div_broadcasts(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], dtype: np.dtype[Any]
) -> None:
    """ "batchmean" divides by the length of the input as it was given."""
    x = log_probabilities(shapes[0], dtype)
    for reduction in KL_REDUCTIONS:
        check_kl_div(x, probabilities(shapes[1], dtype), reduction=reduction)
        t = log_probabilities(shapes[1], dtype, 31)
        check_kl_div(x, t, reduction=reduction, log_target=True)


def test_kl_div_of_two_float_types() -> None:
    for one, other in product((np.float16, np.float32, np.float64), repeat=2):
        x = log_probabilities((4, 9), one)
        for reduction in KL_REDUCTIONS:
            check_kl_div(x, probabilities((4, 9), other), reduction=reduction)
            t = log_probabilities((4, 9), other, 32)
            check_kl_div(x, t, reduction=reduction, log_target=True)
