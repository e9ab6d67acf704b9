# SPDX-License-Identifier: BSD-3-Clause
"""Print what an element costs where memory does not count: ``python -m bench.profile``.

Each operation runs on one thread over arrays that stay in L2, and over arrays that no cache
holds; beside it stands what just reading those takes. Where the first number alone is above the
bare read, the instructions are the limit and no care for the memory can reach its bandwidth.
Nanoseconds become cycles by the time of a chain of dependent additions, one cycle each.

bench/limits.md says what the cycles are spent on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from bench import machine

if __name__ == "__main__":
    machine.limit_threads(1)

import numpy as np

import logloss
from logloss import _core

Array = np.ndarray[Any, np.dtype[Any]]
Call = Callable[[], Any]

IN_L2 = 64 * 1024  # elements: logits, a result and what is kept between the sweeps fill 768 KiB
IN_MEMORY = 64 * 1024 * 1024
LANES = 16  # elements of a float32 register of AVX-512


def median_seconds(call: Call, elements: int) -> float:
    """Return the median over rounds of a few milliseconds each."""
    repeats = max(1, 8 * 1024 * 1024 // elements)
    times = []
    for _ in range(11):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        times.append((time.perf_counter() - start) / repeats)
    return float(np.median(times))


def calls(elements: int) -> Iterator[tuple[str, int, Call]]:
    """Yield operations on about as many elements, and how many they are, by name."""
    rng = np.random.default_rng(0)
    for classes in (4096, 128, 10, 2):
        rows = elements // classes
        x = 2 * rng.standard_normal((rows, classes), dtype=np.float32)
        y = rng.integers(0, classes, rows)
        out = np.empty_like(x)
        name = f"rows of {classes}"
        yield (
            f"cross_entropy, {name}",
            x.size,
            lambda x=x, y=y: logloss.cross_entropy(x, y),
        )
        yield (
            f"its value_and_grad, {name}",
            x.size,
            lambda x=x, y=y, out=out: logloss.cross_entropy_value_and_grad(x, y, out=out),
        )
        if classes == 2:
            continue
        yield (
            f"log_softmax, {name}",
            x.size,
            lambda x=x, out=out: logloss.log_softmax(x, out=out),
        )
        yield f"softmax, {name}", x.size, lambda x=x, out=out: logloss.softmax(x, out=out)
    x = 2 * rng.standard_normal((elements // 4096, 4096), dtype=np.float32)
    y = rng.integers(0, 4096, len(x))
    p = logloss.softmax(2 * rng.standard_normal(x.shape, dtype=np.float32))
    yield (
        "label smoothing, rows of 4096",
        x.size,
        lambda: logloss.cross_entropy(x, y, label_smoothing=0.1),
    )
    yield "probability targets, rows of 4096", x.size, lambda: logloss.cross_entropy(x, p)
    half = x.astype(np.float16)
    yield "cross_entropy, float16, rows of 4096", x.size, lambda: logloss.cross_entropy(half, y)
    wide = x.astype(np.float64)
    yield "cross_entropy, float64, rows of 4096", x.size, lambda: logloss.cross_entropy(wide, y)
    yield (
        "binary_cross_entropy_with_logits",
        x.size,
        lambda: logloss.binary_cross_entropy_with_logits(x, p),
    )
    log_p = logloss.log_softmax(x)
    yield "kl_div", x.size, lambda: logloss.kl_div(log_p, p, reduction="sum")


def read_call(elements: int) -> Call:
    """Return a call that reads as many float32 once."""
    x = np.ones(elements, np.float32)
    return lambda: _core.testing.read_max(x)


def main() -> None:
    """Print the table."""
    hertz = _core.testing.additions_per_second()
    cpu, isa = machine.describe()["cpu"], logloss.config()["isa"]
    print(f"one thread, {isa}, {cpu}, {hertz / 1e9:.2f} GHz")
    read = median_seconds(read_call(IN_MEMORY), IN_MEMORY) / IN_MEMORY
    print(f"reading float32 from memory: {read * 1e9:.3f} ns per element\n")
    print(f"{'':40}{'in L2':>10}{'cycles for':>13}{'from memory':>13}{'share of':>10}")
    print(f"{'':40}{'ns':>10}{f'{LANES} elements':>13}{'ns':>13}{'the read':>10}")
    cached = {name: median_seconds(call, n) / n for name, n, call in calls(IN_L2)}
    for name, n, call in calls(IN_MEMORY):
        far = median_seconds(call, n) / n
        near = cached[name]
        cycles = near * hertz * LANES
        print(f"{name:40}{near * 1e9:10.3f}{cycles:13.1f}{far * 1e9:13.3f}{read / far:10.0%}")


if __name__ == "__main__":
    main()
