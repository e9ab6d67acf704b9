# SPDX-License-Identifier: BSD-3-Clause
"""The public functions over arrays that claim to be on a GPU: the bits of those over the host's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import logloss
from fake_device import KINDS, Array, Interface
from logloss._device import DeviceArray

pytestmark = pytest.mark.usefixtures("emulated")

by_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
Kind = Callable[..., Any]


def to_device(value: Any, kind: Kind) -> Any:
    """Arrays as `kind`; everything else as it is."""
    if isinstance(value, tuple):
        return tuple(to_device(v, kind) for v in value)
    return kind(value) if isinstance(value, np.ndarray) else value


def to_host(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(to_host, value))
    return value.numpy() if isinstance(value, DeviceArray) else value


def bits(array: Array) -> Array:
    """Bit patterns, every NaN alike."""
    patterns = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").copy()
    patterns[np.isnan(array.astype(np.float64))] = 1
    return patterns


def assert_same(actual: Any, expected: Any) -> None:
    """The same bits; numbers of the host are float64 arrays without axes on a device."""
    if isinstance(expected, tuple):
        assert len(actual) == len(expected)
        for pair in zip(actual, expected, strict=True):
            assert_same(*pair)
        return
    expected = np.asarray(expected)
    assert isinstance(actual, np.ndarray)
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(bits(actual), bits(expected))


def check(name: str, kind: Kind, *args: Any, **options: Any) -> None:
    function = getattr(logloss, name)
    with np.errstate(all="ignore"):
        expected = function(*args, **options)
    on_device = {k: to_device(v, kind) for k, v in options.items()}
    result = function(*to_device(args, kind), **on_device)
    assert_same(to_host(result), expected)


# ------------------------------------------------------------------------- every function, option


class Arrays(NamedTuple):
    """Arguments for one dtype."""

    x: Array
    other: Array
    p: Array
    target: Array
    weight: Array
    g: Array


def arrays(dtype: np.dtype[Any], rng: np.random.Generator, shape: tuple[int, ...]) -> Arrays:
    x, other, g = (rng.normal(0, 3, shape).astype(dtype) for _ in range(3))
    p = rng.random(shape)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target.flat[0] = -100
    weight = rng.uniform(0, 2, shape[1])
    return Arrays(x, other, p.astype(dtype), target, weight, g)


SHAPES = ((5, 7), (3, 4, 5), (2, 130))
by_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
SUMS = ("none", "mean", "sum")


def forms(loss: str) -> tuple[tuple[str, tuple[Any, ...], str], ...]:
    """Names, arguments before the others, and reductions of the three forms of a loss."""
    every = [
        (loss, (), reduction) for reduction in (*SUMS, *(("batchmean",) if "kl" in loss else ()))
    ]
    values = [(f"{loss}_value_and_grad", (), reduction) for _, _, reduction in every]
    gradients = [(f"{loss}_backward", (0.37,), reduction) for _, _, reduction in every]
    return (*every, *values, *gradients)


@by_kind
@by_shape
def test_softmax_family(
    kind: Kind, shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    a = arrays(dtype, rng, shape)
    for axis in range(-1, len(shape)):
        rows = np.delete(np.array(shape), axis)
        for name in ("softmax", "log_softmax"):
            check(name, kind, a.x, axis)
            for g in (a.g, a.g.astype(np.float64), rng.integers(0, 9, shape)):
                check(f"{name}_backward", kind, g, a.x, axis)
        for name, x in (
            ("logsumexp", a.x),
            ("entropy_with_logits", a.x),
            ("entropy", a.p),
        ):
            check(name, kind, x, axis)
            for g in (2.5, np.float32(0.1).reshape(()), rng.normal(size=rows)):
                check(f"{name}_backward", kind, g, x, axis)
        check("logsumexp", kind, a.x, axis, keepdims=True)


@by_kind
def test_sigmoids(kind: Kind, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    a = arrays(dtype, rng, (5, 7))
    for name in ("sigmoid", "log_sigmoid"):
        check(name, kind, a.x)
        for g in (0.7, a.g, a.g.astype(np.float64), np.array(0.3)):
            check(f"{name}_backward", kind, g, a.x)


@by_kind
@by_shape
def test_losses_of_classes(
    kind: Kind, shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    a = arrays(dtype, rng, shape)
    w = a.weight.astype(dtype)
    for loss, options in (
        ("cross_entropy", {}),
        ("cross_entropy", {"weight": a.weight}),
        ("cross_entropy", {"weight": w, "label_smoothing": 0.1, "ignore_index": 2}),
        ("nll_loss", {}),
        ("nll_loss", {"weight": w, "ignore_index": 1}),
    ):
        target = np.maximum(a.target, 0) if "ignore_index" in options else a.target
        for name, leading, reduction in forms(loss):
            check(name, kind, *leading, a.x, target, reduction=reduction, **options)
    for name, leading, reduction in forms("cross_entropy"):
        check(name, kind, *leading, a.x, a.p, reduction=reduction, label_smoothing=0.2)
        check(name, kind, *leading, a.x, a.p.astype(np.float64), weight=w, reduction=reduction)


@by_kind
@pytest.mark.parametrize("axis", (0, 1, -1))
def test_any_class_axis(kind: Kind, axis: int, rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 5, 6)).astype(np.float32)
    target = rng.integers(0, 4, np.delete(np.array(x.shape), axis))
    for name, leading, reduction in (*forms("cross_entropy"), *forms("nll_loss")):
        check(name, kind, *leading, x, target, axis=axis, reduction=reduction)
    for name, leading, reduction in forms("kl_div_with_logits"):
        check(name, kind, *leading, x, x[::-1].copy(), axis=axis, reduction=reduction)


@by_kind
@pytest.mark.parametrize("index", ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"))
def test_any_integers(kind: Kind, index: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(9, 5)).astype(np.float32)
    target = rng.integers(0, 5, 9).astype(index)
    for ignore in (-100, 3, 2**63 + 5, -(2**70)):
        check("cross_entropy", kind, x, target, ignore_index=ignore)


@by_kind
def test_upstream_gradients(kind: Kind, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    a = arrays(dtype, rng, (5, 7))
    one, rows, full = np.array(0.37), rng.normal(size=5), rng.normal(size=(5, 7))
    w = a.weight
    for reduction in SUMS:
        for g in (one, np.float32(0.37).reshape(()), rows) if reduction == "none" else (one,):
            for options in ({}, {"weight": w}):
                args = (g, a.x, a.target)
                check("cross_entropy_backward", kind, *args, reduction=reduction, **options)
                check("nll_loss_backward", kind, *args, reduction=reduction, **options)
            check("cross_entropy_backward", kind, g, a.x, a.p, reduction=reduction)
            check("kl_div_with_logits_backward", kind, g, a.x, a.other, reduction=reduction)
            signs = np.array([1, -1, 1, 0, -1])
            args = (g, a.x, a.other, signs)
            check("cosine_embedding_loss_backward", kind, *args, reduction=reduction)
        for g in (one, full, full.astype(np.float32)) if reduction == "none" else (one,):
            for loss in ELEMENTS:
                check(f"{loss}_backward", kind, g, elements(loss, a), a.p, reduction=reduction)


ELEMENTS = ("binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div")


def elements(loss: str, a: Arrays) -> Array:
    return a.p[::-1].copy() if loss == "binary_cross_entropy" else a.x


@by_kind
@by_shape
@pytest.mark.parametrize("loss", ELEMENTS)
def test_losses_of_elements(
    kind: Kind,
    loss: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    rng: np.random.Generator,
) -> None:
    a = arrays(dtype, rng, shape)
    x = elements(loss, a)
    options: tuple[dict[str, Any], ...] = ({}, {"log_target": True})
    if loss != "kl_div":
        column = a.weight.astype(np.float32).reshape(-1, *[1] * (len(shape) - 2))
        options = ({}, {"weight": column}, {"weight": rng.random(shape[-1])})
        options += ({"weight": rng.integers(0, 3, (shape[0], *[1] * (len(shape) - 1)))},)
    if loss == "binary_cross_entropy_with_logits":
        options += ({"pos_weight": rng.random(shape[-1]), "weight": np.array(2.0)},)
        options += ({"pos_weight": 3, "weight": 0.5},)
    for name, leading, reduction in forms(loss):
        for some in options:
            check(name, kind, *leading, x, a.p, reduction=reduction, **some)
        check(name, kind, *leading, x, a.p.astype(np.float64), reduction=reduction)
        if loss != "kl_div":
            check(name, kind, *leading, x, a.p > 0.5, reduction=reduction)
            check(name, kind, *leading, x, (a.p > 0.5).astype(np.int32), reduction=reduction)


@by_kind
def test_kl_div_of_repeated_arrays(
    kind: Kind, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    a = arrays(dtype, rng, (5, 7))
    for reduction in (*SUMS, "batchmean"):
        check("kl_div", kind, a.x, a.p[0], reduction=reduction)
        check("kl_div", kind, a.x, a.p[:, :1].copy(), reduction=reduction)
        check("kl_div", kind, a.x[0], a.p, reduction=reduction)
        check("kl_div_backward", kind, 0.37, a.x, a.p[0], reduction=reduction)


@by_kind
def test_losses_of_pairs(kind: Kind, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    a = arrays(dtype, rng, (6, 9))
    signs = np.array([1, -1, 0, 1, -1, 1])
    wide = a.other.astype(np.float64)
    for name, leading, reduction in forms("kl_div_with_logits"):
        for other in (a.other, wide):
            check(name, kind, *leading, a.x, other, reduction=reduction)
            if name != "kl_div_with_logits":
                check(name, kind, *leading, a.x, other, reduction=reduction, target_grad=True)
    for name, leading, reduction in forms("cosine_embedding_loss"):
        for other in (a.other, wide):
            check(name, kind, *leading, a.x, other, signs, margin=0.1, reduction=reduction)
        check(name, kind, *leading, a.x[0], a.other[0], np.array(-1), reduction=reduction)
        check(name, kind, *leading, a.x[0], a.other[0], 1, reduction=reduction)
    for reduction in SUMS:
        check("cosine_embedding_loss", kind, a.x, a.other[:1], signs, reduction=reduction)
        check("cosine_embedding_loss", kind, a.x, a.other, np.array([-1]), reduction=reduction)


@by_kind
def test_without_elements(kind: Kind) -> None:
    for shape in ((0, 3), (3, 0), (0, 0), (0,)):
        x = np.zeros(shape, np.float32)
        for name in ("softmax", "log_softmax", "sigmoid", "logsumexp"):
            check(name, kind, x)
        check("entropy", kind, x)
        check("softmax_backward", kind, x, x)
        check("logsumexp_backward", kind, 1.0, x)
        for reduction in SUMS:
            check("cross_entropy", kind, x, x, reduction=reduction)
            for loss in ELEMENTS:
                check(loss, kind, x, x, reduction=reduction)
                check(f"{loss}_backward", kind, 1.0, x, x, reduction=reduction)
                check(f"{loss}_value_and_grad", kind, x, x, reduction=reduction)
            check("kl_div_with_logits", kind, x, x, reduction=reduction)
    x, none = np.zeros((0, 3), np.float32), np.zeros(0, np.int64)
    for name, leading, reduction in forms("cross_entropy"):
        check(name, kind, *leading, x, none, reduction=reduction)
    ignored = np.full(3, -100)
    for reduction in SUMS:
        check("cross_entropy", kind, np.zeros((3, 0)), ignored, reduction=reduction)
        check("cross_entropy", kind, np.zeros((3, 2)), ignored, reduction=reduction)
        check("cross_entropy_value_and_grad", kind, np.zeros((3, 2)), ignored, reduction=reduction)
        empty = np.zeros((3, 0), np.float32)
        check(
            "cosine_embedding_loss", kind, empty, empty, np.array([1, -1, 1]), reduction=reduction
        )


@by_kind
def test_numbers(kind: Kind) -> None:
    x = np.array(0.3, np.float32)
    for name in ("softmax", "log_softmax", "sigmoid", "log_sigmoid", "logsumexp"):
        check(name, kind, x)
    check("logsumexp_backward", kind, 2.0, x)
    check("softmax_backward", kind, x, x)
    check("binary_cross_entropy", kind, x, x)
    check("cross_entropy", kind, np.array([0.1, 0.2]), np.array(1))
    check("cross_entropy", kind, np.array([0.1, 0.2]), np.array([1]))


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    shape=st.lists(st.integers(1, 4), min_size=0, max_size=6),
    pattern=st.lists(st.booleans(), min_size=6, max_size=6),
    drop=st.integers(0, 6),
    seed=st.integers(0, 1000),
)
def test_repetition(shape: list[int], pattern: list[bool], drop: int, seed: int) -> None:
    """Weights, inputs and gradients of every broadcast form."""
    rng = np.random.default_rng(seed)
    full = tuple(shape)
    kept = tuple(n if keep else 1 for n, keep in zip(full, pattern, strict=False))
    kept = kept[min(drop, len(kept)) :] if all(n == 1 for n in kept[:drop]) else kept
    p, some = rng.random(full), rng.random(kept)
    check("binary_cross_entropy_value_and_grad", Interface, p, p, weight=some)
    check("kl_div", Interface, p, some)
    for dtype in (np.float64, np.float32, np.float16):
        check("kl_div_value_and_grad", Interface, some.astype(dtype), p.astype(dtype))
    check("kl_div_backward", Interface, 0.3, some.astype(np.float16), p)


@by_kind
def test_gradients_of_repeated_arrays(
    kind: Kind, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    a = arrays(dtype, rng, (300, 7))
    for reduction in (*SUMS, "batchmean"):
        for x in (a.x[0], a.x[:1, :1].copy(), a.x[:, :1].copy(), a.x[:1, 0].copy()):
            check("kl_div_value_and_grad", kind, x, a.p, reduction=reduction)
            check("kl_div_backward", kind, 0.37, x, a.p, reduction=reduction)
            check("kl_div_backward", kind, 0.37, x, a.p.astype(np.float64), reduction=reduction)
    g, none = rng.normal(size=(300, 7)), a.p[:0].copy()
    check("kl_div_backward", kind, g, a.x[0], a.p, reduction="none")
    check("kl_div_value_and_grad", kind, a.x[0], none)
    out = np.empty_like(a.x[0])
    logloss.kl_div_value_and_grad(kind(a.x[0].copy()), kind(a.p), out=kind(out))
    expected = logloss.kl_div_value_and_grad(a.x[0], a.p)[1]
    np.testing.assert_array_equal(bits(out), bits(expected))

    signs = np.where(rng.random(300) < 0.5, 1, -1)
    wide, one = a.other.astype(np.float64), np.array([-1])
    for reduction in SUMS:
        for leading, name in (((), "value_and_grad"), ((0.37,), "backward")):
            name = f"cosine_embedding_loss_{name}"
            for pair in ((a.x, a.other[:1]), (a.x[:1], a.other), (a.x[:1], wide)):
                check(name, kind, *leading, *pair, signs, margin=0.1, reduction=reduction)
                check(name, kind, *leading, *pair, one, reduction=reduction)
            check(name, kind, *leading, a.x[:1], a.other[:1], signs, reduction=reduction)
            check(name, kind, *leading, a.x[:, :1].copy(), a.other[:1, :1].copy(), signs)


# ---------------------------------------------------------------------------------------- outputs


@by_kind
def test_out(kind: Kind, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    a = arrays(dtype, rng, (5, 7))

    def check_out(name: str, x_at: int, *args: Any, **options: Any) -> None:
        function = getattr(logloss, name)
        expected = function(*args, **options)
        gradient = expected[1] if isinstance(expected, tuple) else expected
        for in_place in (False, True):
            given = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
            there = [to_device(value, kind) for value in given]
            out = there[x_at] if in_place else kind(np.zeros_like(given[x_at]))
            result = function(*there, out=out, **options)
            value = result[1] if isinstance(result, tuple) else result
            assert value is out
            assert_same(out.array, gradient)

    for name in ("softmax", "log_softmax", "sigmoid", "log_sigmoid"):
        check_out(name, 0, a.x)
        check_out(f"{name}_backward", 1, a.g, a.x)
        check_out(f"{name}_backward", 0, a.g, a.x)
    for name, x in (("logsumexp", a.x), ("entropy", a.p), ("entropy_with_logits", a.x)):
        check_out(f"{name}_backward", 1, 2.0, x)
    check_out("cross_entropy_backward", 1, 0.3, a.x, a.target)
    check_out("cross_entropy_value_and_grad", 0, a.x, a.target)
    check_out("cross_entropy_value_and_grad", 0, a.x, a.p.astype(np.float64))
    check_out("nll_loss_value_and_grad", 0, a.x, a.target)
    for loss in ELEMENTS:
        check_out(f"{loss}_value_and_grad", 0, elements(loss, a), a.p)
        check_out(f"{loss}_backward", 1, 0.3, elements(loss, a), a.p)
    check_out("kl_div_with_logits_value_and_grad", 0, a.x, a.other)


def test_pairs_of_out(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 4, 6)).astype(np.float32)
    signs = np.array([1, -1, 1, -1])
    expected = logloss.cosine_embedding_loss_backward(1.0, a, b, signs)
    outs = Interface(np.empty_like(a)), Interface(np.empty_like(b))
    result = logloss.cosine_embedding_loss_backward(
        1.0, Interface(a), Interface(b), Interface(signs), out=outs
    )
    assert result == outs
    assert_same(tuple(o.array for o in outs), expected)


def test_results_are_arguments(rng: np.random.Generator) -> None:
    """What a call returns goes into the next one, in place too."""
    x = rng.normal(size=(4, 6)).astype(np.float32)
    target = np.arange(4)
    logits = logloss.log_softmax(Interface(x))
    assert_same(
        logloss.nll_loss(logits, Interface(target)).numpy(),
        logloss.nll_loss(logloss.log_softmax(x), target),
    )
    assert logloss.softmax(logits, out=logits) is logits
    assert_same(logits.numpy(), logloss.softmax(logloss.log_softmax(x)))


def test_classes_take_device_arrays(rng: np.random.Generator) -> None:
    x, target, weight = rng.normal(size=(4, 6)), np.arange(4), rng.random(6)
    expected = logloss.CrossEntropyLoss(weight).value_and_grad(x, target)
    criterion = logloss.CrossEntropyLoss(Interface(weight))
    assert_same(to_host(criterion.value_and_grad(Interface(x), Interface(target))), expected)
    assert_same(logloss.Softmax(dim=1)(Interface(x)).numpy(), logloss.Softmax(dim=1)(x))


# ---------------------------------------------------------------------------- values that are wrong


@by_kind
@pytest.mark.parametrize("index", ("i1", "i8", "u8"))
def test_bad_targets(
    kind: Kind, index: str, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    """NaN on the device; the host's IndexError where a result is brought to the host."""
    x = rng.normal(size=(5, 3, 4)).astype(dtype)
    target = rng.integers(0, 3, (5, 4)).astype(index)
    target[1, 2], target[3, 0] = 3, 100
    bad = target >= 3
    for loss in ("cross_entropy", "nll_loss"):
        function = getattr(logloss, f"{loss}_value_and_grad")
        with pytest.raises(IndexError) as expected:
            function(x, target)
        for reduction in SUMS:
            value, grad = function(kind(x), kind(target), reduction=reduction)
            for result in (value, grad):
                with pytest.raises(IndexError) as caught:
                    result.numpy()
                assert str(caught.value) == str(expected.value)
                assert caught.value.position == (1, 2)  # type: ignore[attr-defined]
                assert caught.value.value == 3  # type: ignore[attr-defined]
                result.report_to(None)
            losses, rows = value.numpy(), np.moveaxis(grad.numpy(), 1, -1)
            assert np.isnan(losses if reduction != "none" else losses[bad]).all()
            assert np.isnan(rows[bad].astype(np.float32)).all()
            assert np.isfinite(rows[~bad].astype(np.float32)).all()
        with pytest.raises(IndexError):
            function(kind(x), kind(target))[0].item()
        with pytest.raises(IndexError):
            float(function(kind(x), kind(target))[0])


def test_bad_targets_of_large_and_negative_values() -> None:
    x = Interface(np.zeros((2, 3), np.float32))
    for value, index in ((2**64 - 100, "u8"), (-1, "i8"), (-(2**63), "i8"), (-7, "i1")):
        target = Interface(np.array([0, value], index))
        with pytest.raises(IndexError, match=rf"got {value} at position 1, expected"):
            logloss.cross_entropy(x, target).item()


@by_kind
def test_bad_probabilities(kind: Kind, dtype: np.dtype[Any]) -> None:
    """The input's first one before the target's, as on the host."""
    good = np.full((3, 4), 0.5, dtype)
    for x_at, y_at in (((1, 2), None), (None, (0, 3)), ((2, 1), (0, 0))):
        x, y = good.copy(), good.copy()
        if x_at:
            x[x_at] = 1.5
        if y_at:
            y[y_at] = -0.5
        with pytest.raises(ValueError, match="probabilities") as expected:
            logloss.binary_cross_entropy(x, y)
        for in_place in (False, True):
            given = kind(x.copy())
            value, grad = logloss.binary_cross_entropy_value_and_grad(
                given, kind(y), reduction="none", out=given if in_place else None
            )
            for result in (value,) if in_place else (value, grad):
                with pytest.raises(ValueError, match="probabilities") as caught:
                    result.numpy()
                assert str(caught.value) == str(expected.value)
            value.report_to(None)
            bad = x_at or y_at
            assert np.isnan(value.numpy()[bad])
            if in_place:
                assert np.isnan(given.array[bad])


def test_item_needs_one_element(rng: np.random.Generator) -> None:
    result = logloss.softmax(Interface(rng.normal(size=3)))
    with pytest.raises(ValueError, match="one element"):
        result.item()
    with pytest.raises(TypeError, match=r"\.numpy\(\)"):
        np.asarray(result)
    assert repr(result) == "DeviceArray(shape=(3,), dtype=float64, device=0)"
    assert (result.ndim, result.size, result.nbytes, result.device) == (1, 3, 24, 0)
