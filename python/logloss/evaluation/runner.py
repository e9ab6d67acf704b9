# SPDX-License-Identifier: BSD-3-Clause
"""
Streams stored logits through a state, block by block, in bounded memory.

Logits are read where they lie, through a memory map; a block is a view. While one block is
scored the system reads the next one ahead, and the pages of the last one are dropped from the
resident size. So the memory in use is that of a block, whatever the size of the files.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from logloss import _calls
from logloss.evaluation.readers import DataError, MappedArray, Shard, open_shards
from logloss.evaluation.state import CrossEntropyState

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from logloss.evaluation.state import CrossEntropyResult

DEFAULT_BLOCK_BYTES = 64 * 2**20
# Per sample: its label as int64, loss, weight, hit, valid, and room for a temporary.
_BYTES_PER_SAMPLE = 32


@dataclass(frozen=True)
class Progress:
    """
    How far an evaluation has come.

    ``bytes_read`` counts the bytes of logits; ``seconds`` is the time since the pass began.
    """

    samples: int
    total_samples: int
    bytes_read: int
    total_bytes: int
    seconds: float

    @property
    def gigabytes_per_second(self) -> float:
        """Bytes of logits read per second, in units of 10^9; nan before any time has passed."""
        return self.bytes_read / self.seconds / 1e9 if self.seconds > 0 else math.nan


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of stored logits: the state, where it came from, and how fast it went."""

    state: CrossEntropyState
    shards: tuple[Shard, ...]
    progress: Progress

    @property
    def result(self) -> CrossEntropyResult:
        """The metrics over all samples."""
        return self.state.result()


def evaluate(
    logits: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    *,
    axis: int = -1,
    dtype: str | None = None,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    progress: Callable[[Progress], None] | None = None,
) -> Evaluation:
    """
    Score stored logits against stored labels.

    Parameters
    ----------
    logits, labels : path
        ``.npy`` files, directories of them or glob patterns; see `readers.open_shards`.
    axis : int, default -1
        The class axis of the logits.
    dtype : {"bfloat16"}, optional
        Reads raw values of two bytes as bfloat16.
    weight, ignore_index, label_smoothing
        As for `CrossEntropyState`.
    block_bytes : int
        How much is scored at once, and so the memory in use. The result does not depend on it.
    progress : callable, optional
        Called with a `Progress` after every block.

    Raises
    ------
    OSError
        If a file is missing or cannot be read.
    DataError
        If a file is damaged, the files do not fit each other, or a label is out of range.
    """
    if dtype not in (None, "bfloat16"):
        raise ValueError(f"dtype must be None or 'bfloat16', got {dtype!r}")
    shards = open_shards(logits, labels, axis=axis, dtype=dtype)
    state = CrossEntropyState(
        weight=weight, ignore_index=ignore_index, label_smoothing=label_smoothing
    )
    if state.weight is not None and state.weight.size != shards[0].classes:
        raise DataError(f"{state.weight.size} class weights for {shards[0].classes} classes")
    done = Progress(0, sum(s.samples for s in shards), 0, sum(s.logits.nbytes for s in shards), 0.0)
    for done in stream(shards, state, block_bytes=block_bytes):
        if progress is not None:
            progress(done)
    return Evaluation(state, tuple(shards), done)


def stream(
    shards: list[Shard], state: CrossEntropyState, *, block_bytes: int = DEFAULT_BLOCK_BYTES
) -> Iterator[Progress]:
    """
    Score every sample of the shards into a state, yielding the progress after each block.

    Raises
    ------
    DataError
        If a label is neither a class nor the state's ``ignore_index``.
    """
    total_samples = sum(shard.samples for shard in shards)
    total_bytes = sum(shard.logits.nbytes for shard in shards)
    samples = bytes_read = 0
    begin = time.perf_counter()
    for shard in shards:
        for block in _stream_shard(shard, state, block_bytes):
            samples += block.target.size
            bytes_read += block.logits.nbytes
            seconds = time.perf_counter() - begin
            yield Progress(samples, total_samples, bytes_read, total_bytes, seconds)


class _Block(NamedTuple):
    """
    A part of a shard: views of its logits and labels, and where they begin.

    The axes are in the order in which the file stores them; ``axis`` is the class axis in it.
    ``start`` counts along the sample axes in that order.
    """

    logits: NDArray[Any]
    target: NDArray[Any]
    axis: int
    start: tuple[int, ...]


def _stream_shard(shard: Shard, state: CrossEntropyState, block_bytes: int) -> Iterator[_Block]:
    """Score one shard into a state, yielding each block that is done."""
    logits, labels = shard.logits.map(), shard.labels.map()
    order = _memory_order(logits.array)
    blocks = _blocks(shard, logits, labels, order, block_bytes)
    block = next(blocks, None)
    while block is not None:
        following = next(blocks, None)
        if following is not None:
            logits.will_need(following.logits)
        values = block.logits
        if shard.logits.bfloat16:
            values = _calls.as_bfloat16(values.astype(np.uint16, copy=False))
        try:
            state.update(values, block.target, axis=block.axis)
        except IndexError as error:
            raise _bad_label(error, shard, state, block, order) from error
        logits.release(block.logits)
        labels.release(block.target)
        yield block
        block = following


def _blocks(
    shard: Shard, logits: MappedArray, labels: MappedArray, order: list[int], block_bytes: int
) -> Iterator[_Block]:
    """
    Cut a shard into blocks of about ``block_bytes``, in the order in which the file is stored.

    The order is free because the sums of a state are exact.
    """
    axis = order.index(shard.axis)
    sample_order = _sample_order(order, shard.axis)
    stored_logits = logits.array.transpose(order)
    stored_labels = shard.select_labels(labels.array).transpose(sample_order)
    row_bytes = shard.classes * shard.logits.dtype.itemsize + _BYTES_PER_SAMPLE
    for box in _boxes(stored_labels.shape, max(1, block_bytes // row_bytes)):
        window = (*box[:axis], slice(None), *box[axis:])
        start = tuple(part.start for part in box)
        yield _Block(stored_logits[window], stored_labels[box], axis, start)


def _memory_order(array: NDArray[Any]) -> list[int]:
    """Return the axes of an array from the largest stride to the smallest."""
    return sorted(range(array.ndim), key=lambda axis: -array.strides[axis])


def _sample_order(order: list[int], class_axis: int) -> list[int]:
    """Return an order of axes without the class axis, as an order of the sample axes."""
    return [axis - (axis > class_axis) for axis in order if axis != class_axis]


def _boxes(shape: tuple[int, ...], samples: int) -> Iterator[tuple[slice, ...]]:
    """Cut a box into boxes of at most ``samples`` entries, each one piece in C order."""
    if 0 in shape:
        return
    cut, inner = len(shape) - 1, 1
    while cut > 0 and inner * shape[cut] <= samples:
        inner *= shape[cut]
        cut -= 1
    step = max(1, samples // inner)
    whole = tuple(slice(0, size) for size in shape[cut + 1 :])
    for outer in np.ndindex(shape[:cut]):
        fixed = tuple(slice(index, index + 1) for index in outer)
        for start in range(0, shape[cut], step):
            yield (*fixed, slice(start, min(start + step, shape[cut])), *whole)


def _bad_label(
    error: IndexError, shard: Shard, state: CrossEntropyState, block: _Block, order: list[int]
) -> DataError:
    """
    Say which label of which file is out of range.

    ``error.position`` counts within the block, along the stored order of the axes.
    """
    position = [0] * len(shard.sample_shape)
    inside: tuple[int, ...] = error.position  # type: ignore[attr-defined]
    for axis, first, offset in zip(
        _sample_order(order, shard.axis), block.start, inside, strict=True
    ):
        position[axis] = first + offset
    row = shard.first_label + int(np.ravel_multi_index(position, shard.sample_shape))
    where = f"row {row}"
    if len(position) > 1:
        where += f" (position {tuple(position)} in {shard.logits.path.name})"
    return DataError(
        f"{shard.labels.path}: the label in {where} is "
        f"{error.value}, "  # type: ignore[attr-defined]
        f"outside [0, {shard.classes}) and not the ignore index {state.ignore_index}"
    )
