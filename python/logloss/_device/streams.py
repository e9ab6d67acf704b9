# SPDX-License-Identifier: BSD-3-Clause
"""What a call may be given as its stream, and the streams that arrays name."""

from __future__ import annotations

from typing import Any

LEGACY, PER_THREAD = 1, 2
NO_ORDER = -1  # of DLPack: the consumer sees to it


def handle_of(stream: Any) -> int:
    """The handle of `stream`: an integer, or what an object of another library holds."""
    if isinstance(stream, int) and not isinstance(stream, bool):
        return known_handle("stream", stream)
    if hasattr(stream, "__cuda_stream__"):
        _, handle = stream.__cuda_stream__()
    else:
        # Of torch; of CuPy and others.
        handle = getattr(stream, "cuda_stream", getattr(stream, "ptr", None))
    if not isinstance(handle, int):
        raise TypeError(
            f"stream: got {type(stream).__name__}, expected a handle or an object with "
            "__cuda_stream__, cuda_stream or ptr"
        )
    return int(handle) or LEGACY


def known_handle(name: str, handle: Any) -> int:
    """Refuse 0, which could be either default stream, and what is no handle."""
    if not isinstance(handle, int) or isinstance(handle, bool):
        raise TypeError(f"{name}: got {type(handle).__name__}, expected an integer")
    if handle <= 0:
        raise ValueError(
            f"{name}: got {handle}, expected 1 (legacy default stream), 2 (default stream of the "
            "thread) or a handle"
        )
    return handle


def seen_by_all(handle: int) -> int:
    """
    The stream that stands for `handle` in other threads.

    Nobody else can name a thread's default stream; the legacy one waits for it, and it for that.
    """
    return LEGACY if handle == PER_THREAD else handle
