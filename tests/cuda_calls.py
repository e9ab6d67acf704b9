# SPDX-License-Identifier: BSD-3-Clause
"""Calls of the CUDA module (its emulated build) over NumPy arrays, beside the same of _core."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from logloss import _core

try:
    import ml_dtypes

    BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
except ImportError:  # the type's name is what counts
    BFLOAT16 = None

cuda: Any = pytest.importorskip(
    "logloss._cuda_emulated", reason="a build with -DLOGLOSS_CUDA_EMULATION=ON"
)

Array = np.ndarray[Any, np.dtype[Any]]

CODES = {np.dtype(np.float16): 0, np.dtype(np.float32): 2, np.dtype(np.float64): 3}
if BFLOAT16 is not None:
    CODES[BFLOAT16] = 1
DTYPES = tuple(CODES)


def compute_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float64 if dtype.itemsize == 8 else np.float32)


def on_device(values: Any, dtype: np.dtype[Any], beyond: int = 0) -> Array:
    """A contiguous array that begins `beyond` elements after a multiple of 16 bytes."""
    given = np.asarray(values)
    room = np.zeros(given.size * dtype.itemsize + 64, np.uint8)
    start = -room.ctypes.data % 16 + beyond * dtype.itemsize
    array = room[start : start + given.size * dtype.itemsize].view(dtype).reshape(given.shape)
    with np.errstate(over="ignore"):
        array[...] = given.astype(dtype)
    return array


def like(array: Array, beyond: int = 0) -> Array:
    return on_device(np.zeros(array.shape), array.dtype, beyond)


def address(array: Array | None) -> int:
    return 0 if array is None else array.ctypes.data


def bits(array: Array) -> Array:
    """The bit patterns, every NaN alike: which NaN an operation makes is up to the machine."""
    unsigned = {2: np.uint16, 4: np.uint32, 8: np.uint64}[array.dtype.itemsize]
    patterns = np.ascontiguousarray(array).view(unsigned).copy()
    patterns[np.isnan(array.astype(np.float64))] = 1
    return patterns


def assert_same_bits(actual: Array, expected: Array, what: str) -> None:
    differ = np.argwhere(bits(actual) != bits(expected))
    if len(differ):
        at = tuple(differ[0])
        message = f"{what}: {len(differ)} differ, first at {at}: {actual[at]!r}, {expected[at]!r}"
        raise AssertionError(message)


def sum_state() -> Array:
    return np.zeros(cuda.SUM_STATE_BYTES // 8, np.uint64)


def exact_sum(values: Array) -> _core.ExactSum:
    total = _core.ExactSum()
    total.add(values)
    return total


def assert_same_sum(state: Array, expected: _core.ExactSum, what: str) -> None:
    """Limbs that have not been carried yet, against those that have."""
    words = np.frombuffer(expected.to_bytes(), np.uint64)
    limbs = len(words) - 3
    number = [
        sum(int(limb) << (32 * i) for i, limb in enumerate(w[:limbs].view(np.int64)))
        for w in (state, words)
    ]
    assert number[0] == number[1], what
    assert (state[limbs:] == words[limbs:]).all(), what


def assert_sum_of(losses: Array, state: Array, total: float | None, what: str) -> None:
    """The state of the one and the rounded sum of the other, which may be missing."""
    expected = exact_sum(losses)
    assert_same_sum(state, expected, what)
    if total is not None:
        np.testing.assert_array_equal(total, expected.value(), what)


def rows_of(x: Array) -> tuple[int, int, int]:
    """(outer, classes, inner) of an array whose class axis is 1."""
    return x.shape[0], x.shape[1], int(np.prod(x.shape[2:], dtype=np.int64))


def check_softmax(x: Array, g: Array, name: str) -> None:
    """softmax or log_softmax, and its gradient."""
    code, shape = CODES[x.dtype], rows_of(x)
    actual, expected = like(x), np.empty_like(x)
    getattr(cuda, name)(code, shape, address(x), address(actual))
    getattr(_core, name)(x, 1, expected)
    assert_same_bits(actual, expected, f"{name} {x.dtype} {x.shape}")
    actual, backward = g.copy(), name + "_backward"
    getattr(cuda, backward)(code, shape, address(g), address(x), address(actual))
    getattr(_core, backward)(g, x, 1, expected)
    assert_same_bits(actual, expected, f"{backward} {x.dtype} {x.shape}")


def check_sigmoid(x: Array, g: Array) -> None:
    """Both functions and their gradients; outputs begin where g does."""
    code, what = CODES[x.dtype], f"{x.dtype} {x.size}"
    for name in ("sigmoid", "log_sigmoid"):
        actual, expected = g.copy(), np.empty_like(x)
        getattr(cuda, name)(code, x.size, address(x), address(actual))
        getattr(_core, name)(x, expected)
        assert_same_bits(actual, expected, f"{name} {what}")
        actual, backward = g.copy(), name + "_backward"
        getattr(cuda, backward)(code, x.size, address(actual), address(x), address(actual))
        getattr(_core, backward)(g, x, expected)
        assert_same_bits(actual, expected, f"{backward} {what}")


def check_row_values(x: Array, name: str, rng: np.random.Generator) -> None:
    code, shape = CODES[x.dtype], rows_of(x)
    what = f"{name} {x.dtype} {x.shape}"
    actual = np.zeros(shape[0] * shape[2], x.dtype)
    getattr(cuda, name)(code, shape, address(x), address(actual))
    expected = np.empty_like(actual)
    getattr(_core, name)(x, 1, expected)
    assert_same_bits(actual, expected, what)
    grad_output = rng.normal(size=actual.size)
    grad, right = like(x), np.empty_like(x)
    getattr(cuda, name + "_backward")(code, shape, address(grad_output), address(x), address(grad))
    getattr(_core, name + "_backward")(grad_output, x, 1, right)
    assert_same_bits(grad, right, what + " gradient")


def check_class_loss(
    name: str,
    x: Array,
    target: Array,
    weight: Array | None = None,
    smoothing: float = 0.0,
    in_place: bool = False,
    grad_rows: Array | None = None,
) -> None:
    shape = rows_of(x)
    rows = shape[0] * shape[2]
    compute = compute_dtype(x.dtype)
    what = f"{name} {x.dtype} {x.shape} smoothing {smoothing} weights {weight is not None}"
    loss, right_loss = np.full(rows, 7, compute), np.empty(rows, compute)
    right_grad = np.empty_like(x)
    total = getattr(_core, name)(
        x,
        1,
        target,
        ignore_index=-1,
        weight=weight,
        smoothing=smoothing,
        want_sum=True,
        loss=right_loss,
        grad=right_grad,
        grad_output=0.37,
        grad_rows=grad_rows,
    )
    logits = on_device(x, x.dtype, x.ctypes.data % 16 // x.dtype.itemsize)
    grad = logits if in_place else like(x)
    state = sum_state()
    indices = target.dtype == np.int64
    getattr(cuda, name)(
        CODES[x.dtype],
        shape,
        address(logits),
        target=address(target) if indices else 0,
        probs=0 if indices else address(target),
        weight=address(weight),
        smoothing=smoothing,
        loss=address(loss),
        sum=address(state),
        grad=address(grad),
        grad_scale=0.37,
        grad_rows=address(grad_rows),
    )
    assert_same_bits(loss, right_loss, what)
    assert_same_bits(grad, right_grad, what + " gradient")
    assert_sum_of(right_loss, state, total, what)


# Which of the two gradients of a pair are wanted.
Pair = tuple[bool, bool]
PAIRS: tuple[Pair, ...] = ((True, True), (True, False), (False, True))


def check_pair_loss(
    name: str,
    first: Array,
    second: Array,
    target: Array | None = None,
    margin: float = 0.0,
    pairs: tuple[Pair, ...] = PAIRS,
) -> None:
    shape = rows_of(first)
    rows = shape[0] * shape[2]
    compute = compute_dtype(first.dtype)
    what = f"{name} {first.dtype} {first.shape}"
    for wanted in pairs:
        grads = [like(first) if want else None for want in wanted]
        right_grads = [np.empty_like(first) if want else None for want in wanted]
        loss, right_loss = np.full(rows, 7, compute), np.empty(rows, compute)
        state = sum_state()
        total = getattr(_core, name)(
            first,
            second,
            1,
            target=target,
            margin=margin,
            want_sum=True,
            loss=right_loss,
            first_grad=right_grads[0],
            second_grad=right_grads[1],
            grad_output=0.37,
        )
        getattr(cuda, name)(
            CODES[first.dtype],
            shape,
            address(first),
            address(second),
            target=address(target),
            margin=margin,
            loss=address(loss),
            sum=address(state),
            first_grad=address(grads[0]),
            second_grad=address(grads[1]),
            grad_scale=0.37,
        )
        assert_same_bits(loss, right_loss, what)
        assert_sum_of(right_loss, state, total, what)
        for actual, expected in zip(grads, right_grads, strict=True):
            if actual is not None and expected is not None:
                assert_same_bits(actual, expected, what + " gradient")


def check_element_loss(
    name: str,
    x: Array,
    y: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    grad_output: Array | None = None,
) -> None:
    """Weights of the last axis alone are repeated."""
    compute = compute_dtype(x.dtype)
    what = f"{name} {x.dtype} {x.shape}"
    loss, right_loss = np.full(x.shape, 7, compute), np.empty(x.shape, compute)
    grad, right_grad = like(x), np.empty_like(x)
    state, misfit = sum_state(), np.zeros(2, np.uint64)

    def spread(array: Array | None) -> Array | None:
        return None if array is None else np.broadcast_to(array, x.shape)

    def repeated(array: Array | None) -> tuple[int, int, int] | None:
        return None if array is None else (address(array), array.size, 1)

    total = getattr(_core, name)(
        x,
        y,
        x.dtype,
        weight=spread(weight),
        pos_weight=spread(pos_weight),
        divisor=1.0,
        want_sum=True,
        loss=right_loss,
        grad=right_grad,
        grad_output=grad_output,
        grad_scale=0.37,
    )
    getattr(cuda, name)(
        CODES[x.dtype],
        x.size,
        address(x),
        address(y),
        weight=repeated(weight),
        pos_weight=repeated(pos_weight),
        loss=address(loss),
        sum=address(state),
        grad=address(grad),
        grad_scale=0.37,
        grad_output=address(grad_output),
        misfit=address(misfit),
    )
    if name == "binary_cross_entropy":  # what the CPU refuses is NaN
        with np.errstate(invalid="ignore"):
            inside = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
        right_loss[~inside] = right_grad[~inside] = np.nan
    assert_same_bits(loss, right_loss, what)
    assert_same_bits(grad, right_grad, what + " gradient")
    assert_sum_of(right_loss, state, total, what)
