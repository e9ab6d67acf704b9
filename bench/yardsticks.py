# SPDX-License-Identifier: BSD-3-Clause
"""Calls that targets compare logloss with, beside its peers: itself otherwise, and scalar C code.

Each is timed in the same rounds as the call it is compared with. Where an operation has an output
as large as its input, logloss writes it into memory allocated beforehand. A yardstick that does
other work than the case asks for returns None, and has nothing to be checked.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from bench import peers
from bench.operation import Array, Builder, Call, Case, Target

LEVELS = ("avx512", "avx2", "portable")
ONE_THREAD = "logloss on one thread"
FLOAT32 = "logloss in float32"
WIDE_ROWS = "logloss on as many elements in rows of 128"
SCALAR = "scalar libm code"

Inputs = Callable[[Case], dict[str, Array]]
# Returns by what a loss divides the sum over all elements or rows.
Divisor = Callable[[Case], int]


def level(name: str) -> str:
    """Return the name of the yardstick that is logloss at an ISA level."""
    return f"logloss at {name}"


def avx2_target(*cases: Case) -> Target:
    return Target(cases, 0.5, against=level("avx512"), variant=level("avx2"))


def portable_target(*cases: Case) -> Target:
    return Target(cases, 5.0, against=SCALAR, variant=level("portable"))


def own_yardsticks(mine: Builder, inputs: Inputs) -> dict[str, Builder]:
    """Return logloss at each ISA level, on one thread, and on other inputs; `mine` calls it."""
    return {
        **{level(name): partial(_at_level, name, mine) for name in LEVELS},
        ONE_THREAD: partial(_on_one_thread, mine),
        FLOAT32: partial(_on_other_inputs, mine, inputs, _in_float32),
        WIDE_ROWS: partial(_on_other_inputs, mine, inputs, _in_wide_rows),
    }


def _at_level(name: str, mine: Builder, case: Case, **arrays: Array) -> Call:
    """Switch to what LOGLOSS_ISA selects at import, in the same process and the same rounds."""
    core = peers.load("logloss._core")
    if name not in core.available_isas():
        raise peers.Unavailable(f"no {name} on this machine")
    call, usual = mine(case, **arrays), core.isa()

    def call_at_level() -> object:
        core.testing.select_isa(name)
        try:
            return call()
        finally:
            core.testing.select_isa(usual)

    return call_at_level


def _on_one_thread(mine: Builder, case: Case, **arrays: Array) -> Call:
    logloss = peers.load("logloss")
    call, usual = mine(case, **arrays), logloss.get_num_threads()

    def call_on_one_thread() -> object:
        logloss.set_num_threads(1)
        try:
            return call()
        finally:
            logloss.set_num_threads(usual)

    return call_on_one_thread


def _on_other_inputs(
    mine: Builder, inputs: Inputs, changed: Callable[[Case], Case], case: Case, **arrays: Array
) -> Call:
    other = changed(case)
    return unchecked(mine(other, **inputs(other)))


def _in_float32(case: Case) -> Case:
    return replace(case, dtype="float32")


def _in_wide_rows(case: Case) -> Case:
    rows, classes = case.shape
    return replace(case, shape=(rows * classes // 128, 128))


def unchecked(call: Call) -> Call:
    """Return a call that drops its result."""

    def call_only() -> None:
        call()

    return call_only


def scalar_loss(name: str, divisor: Divisor) -> dict[str, Builder]:
    """Return a loss of scalar_libm.c as a yardstick."""
    return {SCALAR: partial(_scalar_call, name, divisor, False)}


def scalar_function(name: str, *, reduces: bool) -> dict[str, Builder]:
    """Return a function of scalar_libm.c as a yardstick; if it `reduces`, to a value per row."""
    return {SCALAR: partial(_scalar_call, name, None, reduces)}


def _scalar_call(
    name: str, divisor: Divisor | None, reduces: bool, case: Case, **arrays: Array
) -> Call:
    if case.dtype != "float32" or case.axis not in (None, len(case.shape) - 1) or case.option:
        raise peers.Unavailable("plain float32 with a last axis only")
    function = getattr(_scalar_library(), name)
    function.restype = ctypes.c_double
    function.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_ssize_t] * 2
    x, y = (*arrays.values(), None)[:2]
    assert x is not None
    rows, classes = x.shape if x.ndim == 2 else (1, x.size)
    out = np.empty(rows if reduces else x.shape, np.float32)
    pointers = (x.ctypes.data, None if y is None else y.ctypes.data, out.ctypes.data)

    def call() -> object:
        total = function(*pointers, rows, classes)
        return total / divisor(case) if divisor else out

    return call


@functools.cache
def _scalar_library() -> ctypes.CDLL:
    """Compile scalar_libm.c, as scalar code, and load it."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise peers.Unavailable("no C compiler: set CC")
    source = Path(__file__).with_name("scalar_libm.c")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "scalar_libm.so"
        flags = ("-O2", "-fno-tree-vectorize", "-shared", "-fPIC")
        subprocess.run([compiler, *flags, source, "-o", target, "-lm"], check=True)
        return ctypes.CDLL(str(target))
