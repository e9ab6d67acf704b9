# SPDX-License-Identifier: BSD-3-Clause
"""A progress bar of one line for a terminal."""

from __future__ import annotations

import math
import shutil
import time
from typing import TYPE_CHECKING

from logloss.evaluation.report import format_bytes, format_seconds

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self, TextIO

    from logloss.evaluation.runner import Progress

_SECONDS_BETWEEN_DRAWS = 0.1
_BAR_WIDTH = 24


class ProgressBar:
    """
    Draws a `Progress` on a stream if that is a terminal, and wipes it in the end.

    Used as a context manager and called with each `Progress`; on any other stream it stays silent.
    """

    def __init__(self, stream: TextIO, *, enabled: bool = True) -> None:
        self._stream = stream
        self._enabled = enabled and stream.isatty()
        self._next_draw = -math.inf
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def __call__(self, progress: Progress) -> None:
        """Draw, unless the last drawing is too recent."""
        now = time.monotonic()
        if not self._enabled or now < self._next_draw:
            return
        self._next_draw = now + _SECONDS_BETWEEN_DRAWS
        self._drawn = True
        columns = shutil.get_terminal_size().columns
        self._stream.write("\r" + progress_line(progress)[: columns - 1] + "\x1b[K")
        self._stream.flush()


def progress_line(progress: Progress) -> str:
    """Return a bar, the share done, the throughput and the time that is left."""
    share = progress.bytes_read / progress.total_bytes
    full = math.floor(share * _BAR_WIDTH)
    bar = "#" * full + "." * (_BAR_WIDTH - full)
    left = format_seconds(progress.seconds * (1.0 / share - 1.0))
    return (
        f"[{bar}] {100.0 * share:3.0f} % of {format_bytes(progress.total_bytes)}"
        f"  {progress.gigabytes_per_second:.3g} GB/s  {left} left"
    )
