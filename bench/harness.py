# SPDX-License-Identifier: BSD-3-Clause
"""Checks and times the variants of an operation, together with the limits of the machine.

All variants of a case are called once in each round, in a new random order, so that a slow
spell of the machine and the state of the caches meet all of them alike. A result is released
inside the timed region: a program that calls in a loop pays for that as well.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench import machine, peers

Array = np.ndarray[Any, Any]
Call = Callable[[], object]
Builder = Callable[..., Call]

OURS = "logloss"
LIMITS = ("limit: read", "limit: copy")

# Largest error relative to the largest expected value. A wrong formula is off by far more; the
# narrow types leave room for peers that compute in them.
_TOLERANCES = {"float64": 1e-12, "float32": 2e-5, "float16": 2e-2, "bfloat16": 1e-1}
_SAMPLED_ROWS = 8
_SAMPLED_ELEMENTS = 4096


@dataclass(frozen=True)
class Case:
    """A shape, a dtype, the axis of the classes (None: element-wise) and an option in use."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    axis: int | None = 1
    option: str = ""

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.shape))} {self.dtype} {self.option}".rstrip()


@dataclass(frozen=True)
class Target:
    """A promise: in `case`, on `threads` threads, `ratio` times as fast as `peer`."""

    case: Case
    peer: str
    ratio: float
    threads: int = 1


@dataclass(frozen=True)
class Operation:
    """What is computed, on which cases, and by whom.

    `inputs(case)` makes the named arrays, the one the limits are measured on first. They are
    passed by name to `reference`, which returns the float64 results (scalars whole, arrays as
    `sample_rows` gives them), and to each builder in `variants`, which returns the call to time.
    `reads` and `writes` count the sweeps over arrays of the size of the first one that no
    implementation can avoid: a loss of two arrays of that size reads twice.
    """

    name: str
    reads: int
    writes: int
    cases: Sequence[Case]
    quick_cases: Sequence[Case]
    inputs: Callable[[Case], dict[str, Array]]
    reference: Callable[..., tuple[Array, ...]]
    variants: Mapping[str, Builder]
    target: Target | None = None


@dataclass(frozen=True)
class Settings:
    """How long a case is measured, and what is left out."""

    seconds: float
    min_rounds: int
    max_rounds: int
    leave_out: tuple[str, ...] = ()


@dataclass
class Result:
    """The times of one case in milliseconds, one per round, and why a variant has none."""

    operation: str
    case: str
    shape: tuple[int, ...]
    dtype: str
    threads: int
    reads: int
    writes: int
    array_bytes: int
    times: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """Return the median time of a variant."""
        return float(np.median(self.times[name]))

    @property
    def limit(self) -> float:
        """The time in which the machine just moves the data: a copy is one read and one write."""
        read, copy = (self.median(name) for name in LIMITS)
        return (self.reads - self.writes) * read + self.writes * copy


def run_case(operation: Operation, case: Case, settings: Settings) -> Result:
    """Build, check and time every variant of `operation` on `case`."""
    arrays = operation.inputs(case)
    expected = operation.reference(case, **arrays)
    first = next(iter(arrays.values()))
    result = Result(
        operation=operation.name,
        case=str(case),
        shape=case.shape,
        dtype=case.dtype,
        threads=machine.threads(),
        reads=operation.reads,
        writes=operation.writes,
        array_bytes=first.nbytes,
    )
    calls: dict[str, Call] = {}
    for name, build in operation.variants.items():
        if name in settings.leave_out:
            continue
        try:
            call = build(case, **arrays)
            _check(call(), expected, case)
        except Exception as error:  # a peer may fail in any way: it is shown as missing
            if name.startswith(OURS):
                raise
            result.skipped[name] = _reason(error)
        else:
            calls[name] = call
    calls |= dict(zip(LIMITS, _limits(first), strict=True))
    result.times = _interleave(calls, settings)
    return result


def _interleave(calls: Mapping[str, Call], settings: Settings) -> dict[str, list[float]]:
    """Time each call once per round, after a warm-up round, until the time is spent."""
    # The threads of some runtimes spin for a while after a call and would disturb the next one.
    pause = 0.02 if machine.threads() > 1 else 0.0
    order = list(calls)
    shuffle = random.Random(0).shuffle
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    gc.collect()
    gc.disable()
    try:
        stop = time.perf_counter() + settings.seconds
        for done in range(settings.max_rounds):
            if done >= settings.min_rounds and time.perf_counter() > stop:
                break
            shuffle(order)
            for name in order:
                if pause:
                    time.sleep(pause)
                start = time.perf_counter()
                calls[name]()
                times[name].append((time.perf_counter() - start) * 1e3)
    finally:
        gc.enable()
    return times


def _limits(array: Array) -> tuple[Call, Call]:
    """Return a call that reads the memory of `array` once, and one that copies it."""
    testing = peers.load("logloss._core").testing
    source = array.reshape(-1).view(np.float32)
    destination = aligned_empty(source.shape, "float32")
    if machine.threads() == 1:
        return lambda: testing.read_max(source), lambda: np.copyto(destination, source)
    return lambda: testing.read_max(source), lambda: testing.copy(source, destination)


def _check(result: object, expected: tuple[Array, ...], case: Case) -> None:
    """Raise ValueError unless the result of a variant equals the reference."""
    for part, reference in zip(_parts(result), expected, strict=True):
        values = peers.to_numpy(part)
        axis = case.axis if values.ndim == len(case.shape) else None
        actual = sample_rows(values, axis) if reference.ndim else values
        error = np.max(np.abs(actual.astype(np.float64) - reference)) / np.max(np.abs(reference))
        if not error <= _TOLERANCES[case.dtype]:
            raise ValueError(f"wrong result: relative error {error:.1e} in {case.dtype}")


def _parts(result: object) -> list[object]:
    """Return the arrays and numbers of a result in order; a gradient may be a pair."""
    if isinstance(result, tuple):
        return [part for item in result for part in _parts(item)]
    return [result]


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]


def rows_of(array: Array, axis: int | None) -> Array:
    """Return `array` with `axis` moved to the end, as a matrix; without an axis, as a column."""
    if axis is None:
        return array.reshape(-1, 1)
    return np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])


def sample_rows(array: Array, axis: int | None) -> Array:
    """Return a few of the rows, first and last included, or many of the elements."""
    rows = rows_of(array, axis)
    count = min(len(rows), _SAMPLED_ELEMENTS if axis is None else _SAMPLED_ROWS)
    sample: Array = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
    return sample


def float64_rows(formula: Callable[..., Array], axis: int | None, *arrays: Array) -> Array:
    """Return `formula` of the rows of `arrays` in float64, computed from some rows at a time."""
    rows = [rows_of(array, axis) for array in arrays]
    step = max(1, 2**18 // rows[0].shape[1])
    return np.concatenate(
        [
            formula(*(part[start : start + step].astype(np.float64) for part in rows))
            for start in range(0, len(rows[0]), step)
        ]
    )


def aligned_empty(shape: tuple[int, ...], dtype: str) -> Array:
    """Return an uninitialised array that starts on a page: the best any library can ask for."""
    item = numpy_dtype(dtype)
    size, page = math.prod(shape) * item.itemsize, 4096
    buffer = np.empty(size + page, np.uint8)
    start = -buffer.ctypes.data % page
    return buffer[start : start + size].view(item).reshape(shape)


def random_normal(case: Case, scale: float, seed: int = 0) -> Array:
    """Return normal deviates times `scale` in the shape and dtype of `case`."""
    return _aligned_copy(case, _normal(case, scale, seed))


def random_probs(case: Case, scale: float, seed: int = 0, *, log: bool = False) -> Array:
    """Return the softmax of normal deviates times `scale`, or its logarithm."""
    values = _normal(case, scale, seed)
    values -= np.log(np.exp(values).sum(axis=case.axis, keepdims=True))
    return _aligned_copy(case, values if log else np.exp(values, out=values))


def random_uniform(case: Case, low: float, high: float, seed: int = 0) -> Array:
    """Return numbers between `low` and `high` in the shape and dtype of `case`."""
    values = np.random.default_rng(seed).random(case.shape, dtype=_drawn_dtype(case))
    values *= high - low
    values += low
    return _aligned_copy(case, values)


def random_labels(case: Case, values: tuple[float, float], seed: int = 1) -> Array:
    """Return one of two values, with equal chances, in the shape and dtype of `case`."""
    chosen = np.random.default_rng(seed).integers(0, 2, case.shape, np.uint8)
    return _aligned_copy(case, np.array(values, np.float32)[chosen])


def random_classes(case: Case, seed: int = 1) -> Array:
    """Return one class index (int64) per sample of `case`."""
    shape = case.shape[: case.axis] + case.shape[case.axis + 1 :]
    return np.random.default_rng(seed).integers(0, case.shape[case.axis], shape)


def _normal(case: Case, scale: float, seed: int) -> Array:
    values = np.random.default_rng(seed).standard_normal(case.shape, dtype=_drawn_dtype(case))
    values *= scale
    return values


def _drawn_dtype(case: Case) -> Any:
    return np.float64 if case.dtype == "float64" else np.float32


def _aligned_copy(case: Case, values: Array) -> Array:
    array = aligned_empty(case.shape, case.dtype)
    array[...] = values
    return array


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the dtype of that name; bfloat16 comes from ml_dtypes."""
    return np.dtype(peers.load("ml_dtypes").bfloat16 if name == "bfloat16" else name)
