# SPDX-License-Identifier: BSD-3-Clause
"""The same bits for every memory layout, byte order and integer type, and for huge strides."""

from __future__ import annotations

import array
import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import logloss
from conftest import DTYPE_NAMES, named_dtype
from logloss import _calls
from ulp import Array

# What may be done to the memory behind an array; the values stay as they are.
STEPS = (1, 2, 3, -1, -2)
INDEX_TYPES = "bhilqBHILQ"


def spaced(x: Array, steps: tuple[int, ...]) -> Array:
    """A view equal to `x` that takes every `steps`-th element of a larger array along each axis."""
    larger = np.zeros([n * abs(step) for n, step in zip(x.shape, steps, strict=True)], x.dtype)
    view = larger[..., *(slice(None, None, step) for step in steps)]
    view[...] = x
    return view


def permuted(x: Array, order: tuple[int, ...]) -> Array:
    """A view equal to `x` whose axes lie in memory in the order given."""
    return np.array(x.transpose(order), order="C").transpose(np.argsort(order))


def unaligned(x: Array) -> Array:
    """A C-ordered array equal to `x` that starts one byte past an aligned address."""
    memory = np.zeros(x.nbytes + 1, np.uint8)
    view = memory[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def swapped(x: Array) -> Array:
    """The other byte order; bfloat16 has only the native one."""
    return x if x.dtype.kind == "V" else x.astype(x.dtype.newbyteorder())


@st.composite
def relaid(draw: st.DrawFn, x: Array) -> Array:
    """An array equal to `x` with a layout of its own."""
    if draw(st.booleans()):
        x = swapped(x)
    if draw(st.integers(0, 4)) == 0:
        x = unaligned(x)
    else:
        x = permuted(x, tuple(draw(st.permutations(range(x.ndim)))))
        x = spaced(x, tuple(draw(st.sampled_from(STEPS)) for _ in range(x.ndim)))
    x.flags.writeable = draw(st.booleans())
    return x


@st.composite
def logits(draw: st.DrawFn) -> Array:
    """A small array of 1 to 4 dimensions; some have an axis that repeats one slice."""
    sizes = st.one_of(st.integers(1, 6), st.sampled_from((15, 16, 17, 33, 65, 130)))
    shape = draw(st.lists(sizes, min_size=1, max_size=4).filter(lambda s: np.prod(s) <= 6000))
    dtype = named_dtype(draw(st.sampled_from(DTYPE_NAMES)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = generator.normal(0, 4, shape).astype(dtype)
    if draw(st.booleans()):
        x.flat[:: draw(st.integers(2, 9))] = -np.inf
    if draw(st.integers(0, 3)) == 0:
        axis = draw(st.integers(0, x.ndim - 1))
        return np.broadcast_to(x.take([0], axis), x.shape)
    return draw(relaid(x))


def plain(x: Array) -> Array:
    """A C-ordered, aligned, writeable copy in native byte order."""
    return np.array(x, x.dtype.newbyteorder("=") if x.dtype.kind != "V" else x.dtype, order="C")


def same_bits(actual: Any, right: Any) -> None:
    if isinstance(right, tuple):
        for a, b in zip(actual, right, strict=True):
            same_bits(a, b)
        return
    actual, right = np.asarray(actual), np.asarray(right)
    assert actual.dtype == right.dtype and actual.dtype.isnative
    assert actual.shape == right.shape and actual.tobytes() == right.tobytes()


def same_numbers(actual: Array, right: Array) -> None:
    """The same bits but of NaN, whose sign is the machine's business."""
    nan, zero = np.isnan(right), np.zeros((), right.dtype)
    np.testing.assert_array_equal(np.isnan(actual), nan)
    same_bits(np.where(nan, zero, actual), np.where(nan, zero, right))


def options_of(draw: st.DrawFn, classes: int, x: Array) -> dict[str, Any]:
    options: dict[str, Any] = {"reduction": draw(st.sampled_from(("none", "mean", "sum")))}
    if draw(st.booleans()):
        wide = np.float64 if x.dtype == np.float64 else np.float32
        options["weight"] = draw(relaid(np.linspace(0.5, 2, classes).astype(wide)))
    return options


PROFILE = settings(max_examples=150, deadline=None, derandomize=True)


@PROFILE
@given(st.data())
def test_softmax_family(data: st.DataObject) -> None:
    x = data.draw(logits())
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    for f in (logloss.log_softmax, logloss.softmax, logloss.logsumexp):
        same_bits(f(x, axis), f(plain(x), axis))
    g = data.draw(relaid(np.cos(np.arange(x.size)).reshape(x.shape).astype(plain(x).dtype)))
    for f in (logloss.log_softmax_backward, logloss.softmax_backward):
        same_bits(f(g, x, axis), f(plain(g), plain(x), axis))
    g = g.take(0, axis)
    f = logloss.logsumexp_backward
    same_bits(f(g, x, axis), f(plain(g), plain(x), axis))


@PROFILE
@given(st.data())
def test_class_indices(data: st.DataObject) -> None:
    """Logits, indices of every integer type, and weights, each with a layout of its own."""
    x = data.draw(logits())
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    classes = x.shape[axis]
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    y = generator.integers(0, min(classes, 128), np.delete(x.shape, axis))
    options = options_of(data.draw, classes, x) | {"axis": axis}
    options["ignore_index"] = data.draw(st.sampled_from((-100, 0)))
    target = data.draw(relaid(y.astype(data.draw(st.sampled_from(INDEX_TYPES)))))
    plain_options = options | {"weight": plain(options["weight"]) if "weight" in options else None}
    for f in (
        logloss.cross_entropy,
        logloss.nll_loss,
        logloss.cross_entropy_value_and_grad,
        logloss.nll_loss_value_and_grad,
    ):
        same_bits(f(x, target, **options), f(plain(x), y, **plain_options))
    g: Any = 1.5
    if options["reduction"] == "none":
        g = data.draw(relaid(np.cos(np.arange(y.size)).reshape(y.shape).astype(np.float32)))
    plain_g = plain(g) if isinstance(g, np.ndarray) else g
    for f in (logloss.cross_entropy_backward, logloss.nll_loss_backward):
        same_bits(f(g, x, target, **options), f(plain_g, plain(x), y, **plain_options))


@PROFILE
@given(st.data())
def test_class_probabilities(data: st.DataObject) -> None:
    x = data.draw(logits())
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    p = np.abs(np.sin(np.arange(x.size))).reshape(x.shape).astype(plain(x).dtype)
    options = options_of(data.draw, x.shape[axis], x) | {"axis": axis}
    options["label_smoothing"] = data.draw(st.sampled_from((0.0, 0.1)))
    target = data.draw(relaid(p))
    plain_options = options | {"weight": plain(options["weight"]) if "weight" in options else None}
    for f in (logloss.cross_entropy, logloss.cross_entropy_value_and_grad):
        same_bits(f(x, target, **options), f(plain(x), p, **plain_options))


@PROFILE
@given(st.data())
def test_out(data: st.DataObject) -> None:
    """`out` of any layout, and in place in any layout."""
    x = data.draw(logits())
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    y = np.arange(x.size // x.shape[axis]).reshape(np.delete(x.shape, axis)) % x.shape[axis]
    calls: tuple[Callable[[Array, Array | None], Any], ...] = (
        lambda x, out: logloss.log_softmax(x, axis, out=out),
        lambda x, out: logloss.softmax(x, axis, out=out),
        lambda x, out: logloss.cross_entropy_value_and_grad(x, y, axis=axis, out=out)[1],
    )
    for call in calls:
        right = call(plain(x), None)
        out = data.draw(
            relaid(np.zeros(x.shape, plain(x).dtype)).filter(lambda a: a.dtype.isnative)
        )
        out.flags.writeable = True
        assert call(x, out) is out
        assert out.tobytes() == right.tobytes()
        out[...] = x
        assert call(out, out) is out
        assert out.tobytes() == right.tobytes()


@pytest.mark.parametrize("classes", [1, 2, 7, 21, 32, 33, 128, 129, 301])
@pytest.mark.parametrize("beyond_line", [0, 1, 3])
@pytest.mark.parametrize("plane", [(37, 40), (32, 32), (3, 5)])
def test_large_planes(
    plane: tuple[int, int], beyond_line: int, classes: int, dtype: np.dtype[Any]
) -> None:
    """A class axis that is not last, from anywhere in a cache line on; nothing else is touched."""
    shape = (2, classes, *plane)
    size, line = 2 * classes * plane[0] * plane[1], 64 // dtype.itemsize

    def memory_and_array() -> tuple[Array, Array]:
        memory = np.full(size + 3 * line, 7, dtype)
        first = -memory.ctypes.data % 64 // dtype.itemsize + line + beyond_line
        return memory, memory[first : first + size].reshape(shape)

    generator = np.random.default_rng([classes, beyond_line])
    _, x = memory_and_array()
    x[...] = generator.normal(0, 3, shape).astype(dtype)
    rows = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    grads = np.ascontiguousarray(np.moveaxis(x[::-1], 1, -1))
    target = generator.integers(0, classes, (2, *plane))
    calls: dict[str, tuple[Callable[[Array], Any], Array]] = {
        "softmax": (
            lambda out: logloss.softmax(x, 1, out=out),
            logloss.softmax(rows, -1),
        ),
        "softmax_backward": (
            lambda out: logloss.softmax_backward(x[::-1], x, 1, out=out),
            logloss.softmax_backward(grads, rows, -1),
        ),
        "cross_entropy_value_and_grad": (
            lambda out: logloss.cross_entropy_value_and_grad(x, target, out=out)[1],
            logloss.cross_entropy_value_and_grad(rows, target, axis=-1)[1],
        ),
    }
    for name, (call, right) in calls.items():
        memory, out = memory_and_array()
        call(out)
        same_bits(np.moveaxis(out, 1, -1), right)
        out[...] = 7
        assert (memory == 7).all(), name
    for f in (logloss.logsumexp, logloss.entropy_with_logits):
        same_bits(f(x, axis=1), f(rows, axis=-1))


@pytest.mark.parametrize("classes", [5, 21, 100, 301])
@pytest.mark.parametrize("beyond_line", [0, 1])
def test_planes_beyond_the_caches(beyond_line: int, classes: int, dtype: np.dtype[Any]) -> None:
    """Results too large to be found in the caches later, in and out of whole cache lines."""
    line = 64 // dtype.itemsize
    rows = 17 * 2**20 // dtype.itemsize // classes // 2
    for plane, gap in itertools.product((rows // line * line, rows // line * line + 7), (0, 3)):
        size = 2 * (classes * plane + gap)
        memory = np.full(size + 3 * line, 7, dtype)
        first = -memory.ctypes.data % 64 // dtype.itemsize + line + beyond_line
        planes = memory[first : first + size].reshape(2, classes * plane + gap)
        out = planes[:, : classes * plane].reshape(2, classes, plane)
        assert np.shares_memory(out, memory)
        generator = np.random.default_rng([classes, plane])
        numbers = generator.normal(0, 3, 2 * classes * 1009).astype(dtype)
        x = np.resize(numbers, (2, classes, plane))
        rows_of_x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        target = generator.integers(-1, classes, (2, plane))
        options: dict[str, Any] = {"ignore_index": -1, "reduction": "sum"}
        loss, grad = logloss.cross_entropy_value_and_grad(rows_of_x, target, axis=-1, **options)
        found, _ = logloss.cross_entropy_value_and_grad(x, target, out=out, **options)
        same_bits(found, loss)
        same_bits(np.moveaxis(out, 1, -1), grad)
        for f in (logloss.softmax, logloss.log_softmax):
            f(x, 1, out=out)
            same_bits(np.moveaxis(out, 1, -1), f(rows_of_x, -1))
        out[...] = 7
        assert (memory == 7).all()


@pytest.mark.parametrize("beyond_line", [0, 5])
def test_elements_beyond_the_caches(beyond_line: int, dtype: np.dtype[Any]) -> None:
    """Element-wise results too large for the caches, in and out of whole lines, special too."""
    n, line = 17 * 2**20 // dtype.itemsize + 11, 64 // dtype.itemsize
    memory = np.full(n + 3 * line, 7, dtype)
    first = -memory.ctypes.data % 64 // dtype.itemsize + line + beyond_line
    out = memory[first : first + n]
    generator = np.random.default_rng(beyond_line)
    x = np.resize(generator.normal(0, 3, 10007).astype(dtype), n)
    y = np.resize(generator.random(10009).astype(dtype), n)
    for place, special in enumerate((np.inf, -np.inf, np.nan, 3e4, -0.0)):
        x[place * 5003] = special
    p = logloss.sigmoid(np.clip(np.nan_to_num(x.astype(np.float32)), -9, 9).astype(dtype))
    part = 64 * 1024 // dtype.itemsize  # kept in the caches
    calls: dict[str, Callable[..., Any]] = {
        "sigmoid": lambda at, out: logloss.sigmoid(x[at], out=out),
        "log_sigmoid": lambda at, out: logloss.log_sigmoid(x[at], out=out),
        "log_sigmoid_backward": lambda at, out: logloss.log_sigmoid_backward(y[at], x[at], out=out),
    }
    for name in ("binary_cross_entropy_with_logits", "kl_div", "binary_cross_entropy"):
        backward = getattr(logloss, f"{name}_backward")
        operand = p if name == "binary_cross_entropy" else x
        calls[name] = lambda at, out, f=backward, a=operand: f(
            1.0, a[at], y[at], reduction="sum", out=out
        )
    for call in calls.values():
        call(slice(None), out)
        for start in range(0, n, part):
            same_numbers(out[start : start + part], call(slice(start, start + part), None))
        out[...] = 7
        assert (memory == 7).all()


@pytest.mark.parametrize("classes", [1003, 4096, 6007, 8192, 32771, 65541, 140001])
@pytest.mark.parametrize("beyond_line", [0, 5])
def test_rows_beyond_the_caches(beyond_line: int, classes: int, dtype: np.dtype[Any]) -> None:
    """Long rows, special ones too, whose results are too large for the caches."""
    rows, line = 17 * 2**20 // dtype.itemsize // classes + 1, 64 // dtype.itemsize
    memory = np.full(rows * classes + 3 * line, 7, dtype)
    first = -memory.ctypes.data % 64 // dtype.itemsize + line + beyond_line
    out = memory[first : first + rows * classes].reshape(rows, classes)
    generator = np.random.default_rng([classes, beyond_line])
    x = np.resize(generator.normal(0, 3, 10007 + classes).astype(dtype), (rows, classes))
    largest = 3e38 if dtype == np.float32 or dtype.kind == "V" else np.finfo(dtype).max
    for row, special in zip((1, 2, 5, 6, 9), (np.inf, -np.inf, np.nan, largest, 3e4), strict=True):
        x[row, row * 100] = special
    x[rows - 1, classes // 3] = 200  # all others have a softmax of 0
    target = generator.integers(-1, classes, rows)
    target[:2] = -1
    options: dict[str, Any] = {"ignore_index": -1, "reduction": "none"}
    loss, _ = logloss.cross_entropy_value_and_grad(x, target, out=out, **options)
    for i in range(0, rows, 3):
        right, grad = logloss.cross_entropy_value_and_grad(
            x[i : i + 3], target[i : i + 3], **options
        )
        same_numbers(loss[i : i + 3], right)
        same_numbers(out[i : i + 3], grad)
    for f in (logloss.softmax, logloss.log_softmax):
        f(x, 1, out=out)
        for i in range(0, rows, 3):
            same_numbers(out[i : i + 3], f(x[i : i + 3], 1))
    out[...] = 7
    assert (memory == 7).all()


@pytest.mark.parametrize("classes", [2, 21, 32, 33, 128, 129, 200])
@pytest.mark.parametrize("rows", [1, 15, 64, 83])
def test_special_rows_beside_plain_ones(classes: int, rows: int, dtype: np.dtype[Any]) -> None:
    """A row that its neighbours cannot be worked on with changes nothing of them, nor of itself."""
    generator = np.random.default_rng([classes, rows])
    x = generator.normal(0, 3, (rows, classes)).astype(dtype)
    target = generator.integers(0, classes, rows)
    limit = 3e38 if dtype == np.float32 or dtype.kind == "V" else np.finfo(dtype).max
    for row, special in zip(range(0, rows, 17), (np.inf, limit, np.nan, -np.inf), strict=False):
        x[row] = special if special == -np.inf else x[row]
        x[row, row % classes] = special
        x[row, -2:] = special  # where a NaN is seen by the maximum
    beside = np.ascontiguousarray(x.T)[np.newaxis]
    for name in ("softmax", "log_softmax"):
        found = getattr(logloss, name)(beside, 1)
        same_numbers(found[0].T, getattr(logloss, name)(x, 1))
    loss, grad = logloss.cross_entropy_value_and_grad(x, target, reduction="none")
    found_loss, found = logloss.cross_entropy_value_and_grad(
        beside, target[np.newaxis], reduction="none"
    )
    same_numbers(found_loss[0], loss)
    same_numbers(found[0].T, grad)


@pytest.mark.parametrize("order", "<>")
def test_raw_bfloat16(order: str) -> None:
    """The bits of bfloat16 values without ml_dtypes, beside arrays of another type."""
    x = np.random.default_rng(3).normal(size=(6, 5)).astype(np.float32).view(np.uint32) >> 16
    raw = _calls.as_bfloat16(x.astype(f"{order}u2"))
    wide = (x << 16).view(np.float32)
    p = np.full((6, 5), 0.2, np.float32)
    same_bits(logloss.cross_entropy(raw, p), logloss.cross_entropy(wide, p))
    same_bits(logloss.kl_div_with_logits(p, raw), logloss.kl_div_with_logits(p, wide))
    same_bits(
        logloss.nll_loss(p, np.arange(6) % 5, weight=raw[0]),
        logloss.nll_loss(p, np.arange(6) % 5, weight=wide[0]),
    )


@pytest.mark.parametrize("code", INDEX_TYPES)
def test_every_integer_type_at_its_limits(code: str) -> None:
    """The largest index a small type can hold, and ignored values that look negative elsewhere."""
    top = min(int(np.iinfo(code).max), 1000)
    x = np.random.default_rng(1).normal(size=(3, top + 1)).astype(np.float32)
    y = np.array([0, top, 5])
    right = logloss.cross_entropy(x, y, reduction="none")
    same_bits(logloss.cross_entropy(x, y.astype(code), reduction="none"), right)
    same_bits(
        logloss.cross_entropy(x, y.astype(code), ignore_index=top),
        float(logloss.cross_entropy(x, y, ignore_index=top)),
    )
    beyond = int(np.iinfo(code).max)
    marked = np.array([0, beyond, 5], code)
    np.testing.assert_array_equal(
        logloss.cross_entropy(x, marked, ignore_index=beyond, reduction="none"),
        [right[0], 0, right[2]],
    )


def test_unsigned_indices_are_not_negative_numbers() -> None:
    """156 in uint8 and 2**64 - 100 in uint64 are out of range, not the ignore_index of -100."""
    x = np.zeros((2, 3), np.float32)
    for bad in (np.array([0, 156], np.uint8), np.array([0, 2**64 - 100], np.uint64)):
        with pytest.raises(IndexError, match=str(bad[1])):
            logloss.cross_entropy(x, bad)
        with pytest.raises(IndexError, match=str(bad[1])):
            logloss.nll_loss(x, bad)


def test_wrapped_inputs() -> None:
    """Whatever numpy.asarray can wrap."""
    x, y = np.float32([[0.5, -1, 2], [1, 0, 3]]), np.array([2, 0])
    right = logloss.cross_entropy(x, y)

    class Wrapper:
        def __init__(self, values: Array) -> None:
            self.values = values

        def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
            return self.values

    assert logloss.cross_entropy(Wrapper(x), Wrapper(y)) == right
    assert logloss.cross_entropy(memoryview(x), array.array("q", [2, 0])) == right
    assert logloss.cross_entropy(x, [2, 0]) == right
    assert logloss.cross_entropy(x.astype(float).tolist(), [2, 0]) == logloss.cross_entropy(
        x.astype(float), y
    )


@pytest.mark.parametrize("order", ("C", "F"))
def test_memory_mapped_files(tmp_path: Path, order: Any, wide_dtype: np.dtype[Any]) -> None:
    """Read-only maps are read as they are, and a gradient may go straight to a file."""
    x = np.asarray(np.random.default_rng(2).normal(0, 3, (50, 70)), wide_dtype, order=order)
    y = np.arange(50)
    np.save(tmp_path / "logits.npy", x)
    np.save(tmp_path / "target.npy", y)
    stored = np.load(tmp_path / "logits.npy", mmap_mode="r")
    target = np.load(tmp_path / "target.npy", mmap_mode="r")
    loss, grad = logloss.cross_entropy_value_and_grad(x, y)
    assert logloss.cross_entropy(stored, target) == loss
    same_bits(logloss.cross_entropy_backward(1.0, stored, target), grad)
    assert not isinstance(logloss.softmax(stored), np.memmap)
    in_place = np.load(tmp_path / "logits.npy", mmap_mode="r+")
    logloss.cross_entropy_value_and_grad(in_place, target, out=in_place)
    in_place.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "logits.npy"), grad)


# More than 2**31 elements


def test_more_rows_than_32_bits_can_count_elements() -> None:
    """65537 + 3 rows of 32768 float16 classes, all of them one row in memory."""
    rows, classes = 2**16 + 3, 2**15
    row = np.random.default_rng(3).normal(0, 3, classes).astype(np.float16)
    x = np.broadcast_to(row, (rows, classes))
    assert x.size > 2**31
    y = np.full(rows, 7)
    y[-2:] = 1, classes - 1
    each = logloss.cross_entropy(x, y, reduction="none")
    first, last = (
        logloss.cross_entropy(np.stack([row] * 3), np.array([7, 1, classes - 1]), reduction="none"),
        each[-2:],
    )
    np.testing.assert_array_equal(each[:-2], np.full(rows - 2, first[0]))
    np.testing.assert_array_equal(last, first[1:])


@contextlib.contextmanager
def sparse_file(path: Path, shape: tuple[int, ...]) -> Iterator[Array]:
    """A file of float16 zeros that occupies no space until it is written to."""
    try:
        stored = np.memmap(path, np.float16, "w+", shape=shape)
    except OSError as error:
        pytest.skip(f"no sparse file of this size: {error}")
    try:
        yield stored
    finally:
        del stored
        path.unlink()


@pytest.mark.parametrize("axis", (0, -1))
def test_strides_beyond_32_bits(tmp_path: Path, axis: int) -> None:
    """Three lines, 2**31 + 64 elements apart, as rows of classes and as classes of a row."""
    gap = 2**31 + 64
    lines = np.random.default_rng(4).normal(0, 3, (3, 48)).astype(np.float16)
    with sparse_file(tmp_path / "sparse", (3, gap)) as stored:
        stored[:, -48:] = lines
        x = np.asarray(stored)[:, -48:]
        assert x.strides[0] == 2 * gap
        y = np.arange(48 if axis == 0 else 3) % 3
        for f in (logloss.log_softmax, logloss.softmax, logloss.logsumexp):
            same_bits(f(x, axis), f(lines, axis))
        right = logloss.cross_entropy_value_and_grad(lines, y, axis=axis)
        same_bits(logloss.cross_entropy_value_and_grad(x, y, axis=axis), right)
        logloss.cross_entropy_backward(1.0, x, y, axis=axis, out=x)
        same_bits(stored[:, -48:], right[1])
        del x
