# SPDX-License-Identifier: BSD-3-Clause
"""No operation touches memory outside its arrays, in any layout, at any length, at any level."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fenced_memory
from conftest import DTYPE_NAMES, named_dtype
from logloss import _core

PROGRAM = Path(fenced_memory.__file__)

pytestmark = pytest.mark.skipif(not hasattr(fenced_memory.libc, "mprotect"), reason="no mprotect")


@pytest.mark.parametrize("level", _core.available_isas())
@pytest.mark.parametrize("dtype_name", DTYPE_NAMES)
@pytest.mark.parametrize("side", fenced_memory.SIDES)
def test_operations_stay_within_their_arrays(side: str, dtype_name: str, level: str) -> None:
    named_dtype(dtype_name)
    command = [sys.executable, "-X", "faulthandler", str(PROGRAM), side, dtype_name, level]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"


@pytest.mark.parametrize("side", fenced_memory.SIDES)
def test_a_fence_stops_what_is_one_byte_off(side: str) -> None:
    script = f"""
import ctypes, fenced_memory
array = fenced_memory.fenced_bytes(100, {side!r})
array[:] = 1
ctypes.string_at(array.ctypes.data + (100 if {side!r} == "end" else -1), 1)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=PROGRAM.parent, check=False)
    assert done.returncode == -signal.SIGSEGV


def test_fences_stand_beside_the_array() -> None:
    for side in fenced_memory.SIDES:
        for layout in fenced_memory.LAYOUTS:
            x = np.arange(35.0).reshape(5, 7)
            copy = fenced_memory.fenced_copy(x, layout, side)
            assert np.array_equal(copy, x)
            low, high = np.lib.array_utils.byte_bounds(copy)
            assert (low if side == "begin" else high) % fenced_memory.PAGE == 0
