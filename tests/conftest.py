# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

# A job that a shell starts in the background inherits that Ctrl-C is ignored; its tests need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

DTYPE_NAMES = ("float16", "bfloat16", "float32", "float64")


def named_dtype(name: str) -> np.dtype[Any]:
    """The dtype of that name; skips the test where bfloat16 has no provider."""
    if name != "bfloat16":
        return np.dtype(name)
    module = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
    return np.dtype(module.bfloat16)


@pytest.fixture(params=DTYPE_NAMES)
def dtype(request: pytest.FixtureRequest) -> np.dtype[Any]:
    """Each input type in turn."""
    return named_dtype(request.param)


@pytest.fixture(params=("float16", "bfloat16"))
def half_dtype(request: pytest.FixtureRequest) -> np.dtype[Any]:
    """The two types of 16 bits."""
    return named_dtype(request.param)


@pytest.fixture(params=("float32", "float64"))
def wide_dtype(request: pytest.FixtureRequest) -> np.dtype[Any]:
    """The two types that per-sample losses may have."""
    return np.dtype(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The emulated CUDA module in the place of the real one; no memory of its devices is lost."""
    module: Any = pytest.importorskip(
        "logloss._cuda_emulated", reason="a build with -DLOGLOSS_CUDA_EMULATION=ON"
    )
    from logloss._device.module import cuda

    monkeypatch.setitem(sys.modules, "logloss._cuda", module)
    cuda.cache_clear()
    module.pretend()
    before = module.allocations()
    yield module
    if module.allocations() != before:  # tracebacks hold some in cycles
        gc.collect()
    assert module.allocations() == before
    assert module.current_device() == 0
    cuda.cache_clear()
