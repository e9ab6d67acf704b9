# SPDX-License-Identifier: BSD-3-Clause
"""The cases of tests/hashes.json: every operation over inputs made by integer arithmetic alone.

tests/native/kernel_hashes.cpp does the like in C++, for machines without Python. After a change
that is meant to change bits, write the file anew:

    python tests/hash_cases.py > tests/hashes.json
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

import logloss
from conftest import DTYPE_NAMES, named_dtype
from ulp import FORMATS, Array

# Around the widths of registers, tiles, blocks, chunks and of the types that count them.
CLASSES = (1, 2, 3, 10, 15, 16, 17, 127, 128, 129, 1000, 1023, 1024, 1025, 4097)
CLASSES += (65535, 65536, 65537, 131073)


def rows_of(classes: int) -> int:
    """Enough for several batches and, from 127 classes on, for 8 threads."""
    return max(3, min(3000, 280_000 // classes))


def mix(n: Array, stream: int) -> Array:
    """64 random bits for each n: the finalizer of SplitMix64 (Steele, Lea, Flood, 2014)."""
    z = (n + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(stream * 0xD1B54A32D192ED03 % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def random_bits(stream: int, *shape: int) -> Array:
    return mix(np.arange(np.prod(shape), dtype=np.uint64), stream).reshape(shape)


def uniform(dtype_name: str, stream: int, *shape: int) -> Array:
    """Numbers in [-16, 16) with as many bits as the type has."""
    bits = FORMATS[dtype_name][0]
    integers = (random_bits(stream, *shape) >> np.uint64(64 - bits)).astype(np.int64)
    return (integers - 2 ** (bits - 1)) * 2.0 ** (5 - bits)


class Inputs(NamedTuple):
    """Arguments for one number of classes and one dtype; in `finite` no row is special."""

    logits: Array
    finite: Array
    target: Array
    probs: Array
    weight: Array
    grad: Array
    grad_rows: Array


@lru_cache(len(CLASSES))
def inputs(classes: int, dtype_name: str) -> Inputs:
    rows, dtype = rows_of(classes), named_dtype(dtype_name)
    row, place = np.arange(rows), np.arange(rows) * 7 % classes
    target = (random_bits(1, rows) % np.uint64(classes)).astype(np.int64)
    logits = uniform(dtype_name, 0, rows, classes)
    logits[row[::3], target[::3]] = 40  # a confident prediction
    kind = row % 64 if rows > 64 else np.zeros(rows)
    logits[kind == 63] *= 512
    finite = logits.copy()
    logits[row[kind == 60], place[kind == 60]] = np.nan
    logits[kind == 61] = -np.inf
    logits[row[kind == 62], place[kind == 62]] = np.inf
    target[(kind >= 60) & (kind <= 62)] = -100
    weight = (1.0 + (random_bits(3, classes) >> np.uint64(60))) / 8
    weight[4::5] = 0
    return Inputs(
        logits.astype(dtype),
        finite.astype(dtype),
        target,
        ((random_bits(2, rows, classes) >> np.uint64(56)) / 256.0).astype(dtype),
        weight.astype(np.float64 if dtype_name == "float64" else np.float32),
        (uniform(dtype_name, 4, rows, classes) / 16).astype(dtype),
        uniform("float32", 5, rows) / 16,
    )


# What one operation returns, as a sequence of arrays and numbers.
Operation = Callable[[Inputs], tuple[Any, ...]]


def loss(function: str, *, probs: bool = False, weight: bool = False, **options: Any) -> Operation:
    """A loss and its gradient."""
    call = getattr(logloss, f"{function}_value_and_grad")

    def run(given: Inputs) -> tuple[Any, ...]:
        x, y = (given.finite, given.probs) if probs else (given.logits, given.target)
        return tuple(call(x, y, weight=given.weight if weight else None, **options))

    return run


def backward_of_rows(given: Inputs) -> tuple[Any, ...]:
    arguments = given.grad_rows, given.logits, given.target
    grad = logloss.cross_entropy_backward(*arguments, weight=given.weight, reduction="none")
    return (grad,)


OPERATIONS: dict[str, Operation] = {
    "log_softmax": lambda a: (logloss.log_softmax(a.logits),),
    "softmax": lambda a: (logloss.softmax(a.logits),),
    "logsumexp": lambda a: (logloss.logsumexp(a.logits),),
    "log_softmax_backward": lambda a: (logloss.log_softmax_backward(a.grad, a.logits),),
    "softmax_backward": lambda a: (logloss.softmax_backward(a.grad, a.logits),),
    "logsumexp_backward": lambda a: (logloss.logsumexp_backward(a.grad_rows, a.logits),),
    "cross_entropy none": loss("cross_entropy", reduction="none"),
    "cross_entropy mean": loss("cross_entropy", reduction="mean"),
    "cross_entropy weight sum": loss("cross_entropy", weight=True, reduction="sum"),
    "cross_entropy smoothed none": loss("cross_entropy", label_smoothing=0.1, reduction="none"),
    "cross_entropy weight smoothed mean": loss(
        "cross_entropy", weight=True, label_smoothing=0.1, reduction="mean"
    ),
    "cross_entropy weight rows backward": backward_of_rows,
    "cross_entropy probs mean": loss("cross_entropy", probs=True, reduction="mean"),
    "cross_entropy probs weight smoothed none": loss(
        "cross_entropy", probs=True, weight=True, label_smoothing=0.1, reduction="none"
    ),
    "nll_loss weight none": loss("nll_loss", weight=True, reduction="none"),
    "nll_loss mean": loss("nll_loss", reduction="mean"),
}


def words(result: Any) -> Array:
    """The bits of each element as an integer, the same one for every NaN."""
    array = np.atleast_1d(np.asarray(result))
    bits = array.view(f"u{array.dtype.itemsize}").astype(np.uint64).reshape(-1)
    bits[np.isnan(array.reshape(-1))] = np.uint64(2**64 - 1)
    return bits


def hash_of(results: tuple[Any, ...]) -> str:
    """A sum of mixed words, each with its position: 8 hexadecimal digits."""
    total = np.zeros(1, np.uint64)
    for result in results:
        bits = words(result)
        bits += np.arange(bits.size, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        total = mix(total, 6) + mix(bits, 7).sum(dtype=np.uint64)
    return f"{int(total[0]) >> 32:08x}"


def hashes() -> Iterator[tuple[str, dict[int, str]]]:
    """("operation dtype", {classes: hash}) for all cases."""
    for name, operation in OPERATIONS.items():
        for dtype_name in DTYPE_NAMES:
            results = {c: hash_of(operation(inputs(c, dtype_name))) for c in CLASSES}
            yield f"{name} {dtype_name}", results


def main() -> None:
    lines = []
    for name, results in hashes():
        pairs = ", ".join(f'"{classes}": "{digits}"' for classes, digits in results.items())
        lines.append(f'"{name}": {{{pairs}}}')
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
