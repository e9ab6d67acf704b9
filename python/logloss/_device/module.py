# SPDX-License-Identifier: BSD-3-Clause
"""The CUDA module, which is built with logloss or installed beside it."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

MODULES = ("logloss._cuda", "logloss_cuda13._cuda")


@cache
def cuda() -> Any:
    """Import the module; ImportError that says what to install."""
    for name in MODULES:
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
    raise ImportError(
        "arrays on a GPU need the CUDA kernels of logloss: pip install logloss-cuda13"
    )


def device_count() -> int | None:
    """How many GPUs there are, 0 without a driver; None without the CUDA module."""
    try:
        return int(cuda().device_count())
    except ImportError:
        return None
    except RuntimeError:
        return 0
