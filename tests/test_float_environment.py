# SPDX-License-Identifier: BSD-3-Clause
"""The floating-point environment of the caller: it changes no bit, and no call changes it."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import os
import platform
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import logloss
from logloss import _core
from programs import logits, python
from ulp import Array


@pytest.fixture(autouse=True)
def restored_threads() -> Iterator[None]:
    before = logloss.get_num_threads()
    yield
    logloss.set_num_threads(before)


class FloatEnvironment:
    """Changes this thread's rounding, flushing of subnormals and traps through the C library."""

    DIRECTIONS = {  # noqa: RUF012
        "x86_64": {"downward": 0x400, "upward": 0x800, "toward zero": 0xC00},
        "aarch64": {"upward": 0x400000, "downward": 0x800000, "toward zero": 0xC00000},
    }

    def __init__(self) -> None:
        name = ctypes.util.find_library("m")
        if os.name != "posix" or platform.machine() not in self.DIRECTIONS or not name:
            pytest.skip("no known floating-point environment")
        self.libm = ctypes.CDLL(name)
        self.machine = platform.machine()
        # x86-64: 28 bytes of x87 state, then MXCSR. aarch64: FPCR first.
        self.word = 7 if self.machine == "x86_64" else 0

    def state(self) -> Any:
        state = (ctypes.c_uint32 * 16)()
        assert self.libm.fegetenv(state) == 0
        return state

    def control(self) -> int:
        """Modes alone, without the flags that record what has happened."""
        return int(self.state()[self.word]) & ~0x3F

    def set_bits(self, bits: int) -> None:
        state = self.state()
        state[self.word] |= bits
        assert self.libm.fesetenv(state) == 0

    @contextlib.contextmanager
    def changed(self, mode: str) -> Iterator[None]:
        before = self.state()
        try:
            if mode == "flush subnormals":
                self.set_bits(0x8040 if self.machine == "x86_64" else 1 << 24)
            else:
                assert self.libm.fesetround(self.DIRECTIONS[self.machine][mode]) == 0
            yield
        finally:
            self.libm.fesetenv(before)


MODES = ("downward", "upward", "toward zero", "flush subnormals")


class Inputs(NamedTuple):
    """Logits, classes, an upstream gradient, class probabilities and class weights."""

    x: Array
    y: Array
    g: Array
    p: Array
    weight: Array


def inputs(classes: int, dtype: np.dtype[Any]) -> Inputs:
    x = logits(7, classes).astype(dtype)
    x[3] *= 40 if dtype == np.float64 else 7  # spreads softmax over subnormals
    g = logits(7, classes).astype(dtype)[::-1].copy() - 0.3
    weight = np.linspace(0.1, 1.7, classes, dtype=dtype)
    return Inputs(x, np.arange(7), g, np.abs(g) / 16, weight)


def everything(x: Array, y: Array, g: Array, p: Array, weight: Array) -> list[Any]:
    """Results of every kind of call, with means over 7 rows and subnormal gradients."""
    found: list[Any] = [
        logloss.log_softmax(x),
        logloss.softmax(x),
        logloss.logsumexp(x),
        logloss.log_softmax_backward(g, x),
        logloss.softmax_backward(g, x),
        logloss.logsumexp_backward(g[:, 0], x),
        *logloss.cross_entropy_value_and_grad(x, y),
        *logloss.cross_entropy_value_and_grad(x, y, weight=weight, label_smoothing=0.1),
        *logloss.cross_entropy_value_and_grad(x, p, weight=weight),
        logloss.cross_entropy(x, y, reduction="sum"),
        logloss.cross_entropy_backward(0.3, x, y, weight=weight),
        *logloss.nll_loss_value_and_grad(x, y, weight=weight),
    ]
    return [np.asarray(each).tobytes() for each in found]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("threads", (1, 2))
def test_float_modes_of_the_caller(mode: str, threads: int, wide_dtype: np.dtype[Any]) -> None:
    """They change no bit, and are as before after the call."""
    environment = FloatEnvironment()
    logloss.set_num_threads(threads)
    given = inputs(20_000 if threads > 1 else 100, wide_dtype)
    right = everything(*given)
    with environment.changed(mode):
        inside = environment.control()
        found = everything(*given)
        after = environment.control()
    assert inside != environment.control()
    assert after == inside
    assert [a == b for a, b in zip(found, right, strict=True)] == [True] * len(right)


@pytest.mark.parametrize("mode", MODES)
def test_float_modes_and_exact_sums(mode: str) -> None:
    """Sums and quotients are rounded to nearest, and subnormal ones are kept."""
    environment = FloatEnvironment()
    values = logits(1, 1001)[0].astype(np.float64) * (1 + 2.0**-40)
    tiny = np.array([5e-324 * 1001])

    def sums() -> list[float]:
        total, small, three = (_core.ExactSum() for _ in range(3))
        total.add(values)
        small.add(tiny)
        three.add(np.array([3.0]))
        both = (total, small)
        return [each.value() for each in both] + [each.quotient(three) for each in both]

    right = sums()
    with environment.changed(mode):
        found = sums()
    assert found == right


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="feenableexcept is glibc's own")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="traps are optional on aarch64")
def test_trapping_exceptions_of_the_caller() -> None:
    """A program that traps invalid operations, overflow and underflow is not killed by a kernel."""
    script = """
import ctypes, ctypes.util, numpy as np, logloss
libm = ctypes.CDLL(ctypes.util.find_library("m"))
x = np.array([[-np.inf, 3e38, -3e38, 88.0], [np.nan, 1.0, -200.0, 0.0]] * 5, np.float32)
y = np.array([0, 3] * 5)
losses, out = np.empty(10, np.float32), np.empty_like(x)
call = lambda: logloss._core.cross_entropy(x, 1, y, loss=losses, grad=out)
call()
right = losses.tobytes(), out.tobytes()
INVALID, ZERO, OVERFLOW, UNDERFLOW = 1, 4, 8, 16
libm.feenableexcept(INVALID | ZERO | OVERFLOW | UNDERFLOW)
call()
enabled = libm.fegetexcept()
libm.fedisableexcept(63)
assert enabled == INVALID | ZERO | OVERFLOW | UNDERFLOW
assert (losses.tobytes(), out.tobytes()) == right
print("done")
"""
    assert python(script) == "done"
