# SPDX-License-Identifier: BSD-3-Clause
"""The same bits for any threads, ISA level with fma, layout, order and split of samples.

The bits themselves are in tests/hashes.json: every machine has to come to them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hash_cases as cases
import logloss
import reference as ref
from conftest import DTYPE_NAMES, named_dtype
from grid import promised
from hash_cases import Elements, Inputs, words
from logloss import _core
from ulp import Array, assert_ulp

FUSED = tuple(level for level in _core.available_isas() if level != "portable")
THREADS = (1, 2, 3, 5, 8)
HASHES = json.loads((Path(__file__).parent / "hashes.json").read_text())

needs_fma = pytest.mark.skipif(not FUSED, reason="no level with a fused multiply-add here")


@pytest.fixture(autouse=True)
def restored_runtime() -> Iterator[None]:
    threads, level = logloss.get_num_threads(), _core.isa()
    yield
    logloss.set_num_threads(threads)
    _core.testing.select_isa(level)


def same_bits(found: tuple[Any, ...], right: tuple[Any, ...]) -> bool:
    """Whether all results agree, any NaN being equal to any other."""

    def same(a: Any, b: Any) -> bool:
        a, b = np.asarray(a), np.asarray(b)
        equal = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        return equal or np.array_equal(words(a), words(b))

    return all(same(a, b) for a, b in zip(found, right, strict=True))


def settings() -> list[list[tuple[str, int]]]:
    """Groups of (level, threads) that must agree: all, unless this is the portable level."""
    level = _core.isa()
    threads = [(level, count) for count in THREADS]
    levels = [(fused, 2) for fused in FUSED]
    return [threads + levels] if level in FUSED else [threads, levels]


@pytest.mark.parametrize("operation", cases.FAMILY_OF)
@pytest.mark.parametrize("dtype_name", DTYPE_NAMES)
def test_threads_and_levels(operation: str, dtype_name: str) -> None:
    named_dtype(dtype_name)
    operations, inputs_of, sizes = cases.FAMILY_OF[operation]
    for group in settings():
        for size in sizes:
            given, results = inputs_of(size, dtype_name), []
            for level, threads in group:
                _core.testing.select_isa(level)
                logloss.set_num_threads(threads)
                results.append(operations[operation](given))
            agree = [same_bits(found, results[0]) for found in results]
            assert all(agree), f"size {size}: {list(zip(group, agree, strict=True))}"


@needs_fma
@pytest.mark.parametrize("operation", cases.FAMILY_OF)
@pytest.mark.parametrize("dtype_name", DTYPE_NAMES)
def test_bits_are_the_committed_ones(operation: str, dtype_name: str) -> None:
    named_dtype(dtype_name)
    _core.testing.select_isa(FUSED[0])
    assert cases.hashes(operation, dtype_name) == HASHES[f"{operation} {dtype_name}"]


def test_no_hash_is_left_over() -> None:
    names = {f"{operation} {dtype}" for operation in cases.FAMILY_OF for dtype in DTYPE_NAMES}
    assert set(HASHES) == names


# Layouts

SOME_CLASSES = (10, 129, 1025, 4097)
SOME_ELEMENTS = (63, 65)  # in rows and columns


def shifted(x: Array) -> Array:
    """Starts one element past a boundary of 64 bytes."""
    memory = np.empty(x.size + 64, x.dtype)
    first = -memory.ctypes.data % 64 // x.itemsize + 1
    return memory[first : first + x.size].reshape(x.shape)


def unaligned(x: Array) -> Array:
    """Starts one byte past an address that C++ would allow."""
    return np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "shifted": shifted,
    "unaligned": unaligned,
    "every other element": lambda x: np.empty((x.shape[0], 2 * x.shape[1]), x.dtype)[:, ::2],
    "every third row": lambda x: np.empty((3 * x.shape[0], x.shape[1]), x.dtype)[::3],
    "padded rows": lambda x: np.empty((x.shape[0], x.shape[1] + 3), x.dtype)[:, 1:-2],
    "rows backwards": lambda x: np.empty(x.shape, x.dtype)[::-1],
    "classes backwards": lambda x: np.empty(x.shape, x.dtype)[:, ::-1],
    "Fortran": lambda x: np.empty(x.shape, x.dtype, order="F"),
}


def laid_out(layout: Callable[[Array], Array], given: Inputs | Elements) -> Inputs | Elements:
    """The same values; class weights and gradients of rows are copied by the package anyway."""

    def relaid(x: Array) -> Array:
        if x.ndim != 2:
            return x
        view = layout(x)
        view[...] = x
        return view

    return type(given)(*map(relaid, given))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("classes", SOME_CLASSES)
def test_layouts(layout: str, classes: int, dtype: np.dtype[Any]) -> None:
    given = cases.inputs(classes, dtype.name)
    other = laid_out(LAYOUTS[layout], given)
    for name, operation in cases.ROW_OPERATIONS.items():
        assert same_bits(operation(other), operation(given)), name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_elements(layout: str, dtype: np.dtype[Any]) -> None:
    """All arrays in another layout, and every other one of them."""
    flat = cases.elements(math.prod(SOME_ELEMENTS), dtype.name)
    given = Elements(*(x.reshape(SOME_ELEMENTS) for x in flat))
    other = laid_out(LAYOUTS[layout], given)
    mixed = Elements(*(pair[i % 2] for i, pair in enumerate(zip(given, other, strict=True))))
    for name, operation in cases.ELEMENT_OPERATIONS.items():
        right = operation(given)
        assert same_bits(operation(other), right), name
        assert same_bits(operation(mixed), right), f"{name}, mixed"


# Order and split of the samples


def is_reduced(name: str) -> bool:
    return name.endswith(("mean", "sum"))


def check_permuted(given: Inputs | Elements, operations: dict[str, cases.Operation]) -> None:
    """Results of samples move with them; sums and means do not change at all."""
    order = np.argsort(cases.random_bits(8, len(given.target)))
    moved = given.at(order)
    for name, operation in operations.items():
        found = operation(moved)
        first = found[0] if is_reduced(name) else found[0][np.argsort(order)]
        rest = tuple(result[np.argsort(order)] for result in found[1:])
        assert same_bits((first, *rest), operation(given)), name


@pytest.mark.parametrize("classes", SOME_CLASSES)
def test_permuted_rows(classes: int, dtype: np.dtype[Any]) -> None:
    check_permuted(cases.inputs(classes, dtype.name), cases.ROW_OPERATIONS)


@pytest.mark.parametrize("dtype_name", ("float32", "float64", "bfloat16"))
def test_rows_that_climb(dtype_name: str) -> None:
    """Rows whose later parts exceed all before by any factor, and rows that fall.

    What one thread keeps of a row's exponentials serves some of them; several threads, which take
    parts of rows, keep nothing.
    """
    classes, dtype = 70000, named_dtype(dtype_name)
    steps = np.array([0.1, 1, 11, 21, 22.5, 30, 80, 200, 700])[:, None]
    height = np.minimum(steps * (np.arange(classes) // 1024), 3000)
    noise = np.random.default_rng(0).standard_normal(height.shape)
    x = np.concatenate([noise + height, noise - height, noise + height % 100]).astype(dtype)
    x[1::2, 5:3000:7] = -np.inf
    target, dy = np.arange(len(x)) * 2593 % classes, -np.arange(1.0, len(x) + 1)

    def results(part: slice) -> tuple[Array, ...]:
        grad = logloss.cross_entropy_backward(dy[part], x[part], target[part], reduction="none")
        return grad, logloss.softmax(x[part])

    for first in range(0, len(x), 3):
        part = slice(first, first + 3)
        logloss.set_num_threads(1)
        kept = results(part)
        logloss.set_num_threads(4)
        assert same_bits(kept, results(part))
        assert_ulp(kept[1], ref.softmax(x[part]), promised(3, dtype))


@pytest.mark.parametrize("size", (17, 4097, 100003))
def test_permuted_elements(size: int, dtype: np.dtype[Any]) -> None:
    check_permuted(cases.elements(size, dtype.name), cases.ELEMENT_OPERATIONS)


def check_split(
    given: Inputs | Elements, cuts: tuple[int, ...], operations: dict[str, cases.Operation]
) -> None:
    """Samples have the same bits in whatever company they are given."""
    parts = np.split(np.arange(len(given.target)), cuts)
    for name, operation in operations.items():
        if is_reduced(name):
            continue
        pieces = [operation(given.at(part)) for part in parts]
        found = tuple(np.concatenate(each) for each in zip(*pieces, strict=True))
        assert same_bits(found, operation(given)), name


@pytest.mark.parametrize("cuts", ((1,), (7, 64, 65), tuple(range(3, 200, 13))))
@pytest.mark.parametrize("classes", (2, 10, 21, 32, 33, 1025))
def test_split_rows(cuts: tuple[int, ...], classes: int, dtype: np.dtype[Any]) -> None:
    check_split(cases.inputs(classes, dtype.name), cuts, cases.ROW_OPERATIONS)


@pytest.mark.parametrize("cuts", ((1,), (7, 64, 65), (4095,), (5000, 9097)))
def test_split_elements(cuts: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    check_split(cases.elements(100003, dtype.name), cuts, cases.ELEMENT_OPERATIONS)


@pytest.mark.parametrize("shards", (2, 5, 16))
@pytest.mark.parametrize("classes", (10, 1025))
def test_shards(shards: int, classes: int, dtype: np.dtype[Any]) -> None:
    """Exact sums of shards, stored and merged in another order, give the reduced losses."""
    given = cases.inputs(classes, dtype.name)
    parts = np.array_split(np.arange(len(given.target)), shards)
    total, divisor = _core.ExactSum(), _core.ExactSum()
    for part in reversed(parts):
        rows = given.at(part)
        losses = logloss.cross_entropy(
            rows.logits, rows.target, weight=given.weight, reduction="none"
        )
        shard = _core.ExactSum()
        shard.add(losses)
        total.merge(_core.ExactSum.from_bytes(shard.to_bytes()))
        divisor.add(given.weight[rows.target[rows.target >= 0]])
    x, y = given.logits, given.target
    assert total.value() == logloss.cross_entropy(x, y, weight=given.weight, reduction="sum")
    mean = logloss.cross_entropy(x, y, weight=given.weight)
    assert total.quotient(divisor) == mean
    assert np.isfinite(mean)
