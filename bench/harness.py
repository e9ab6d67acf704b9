# SPDX-License-Identifier: BSD-3-Clause
"""Checks and times the variants of an operation, together with the limits of the machine.

All variants of a case are called once in each round, in a new random order, so that a slow
spell of the machine and the state of the caches meet all of them alike. A result is released
inside the timed region: a program that calls in a loop pays for that as well.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench import machine, peers
from bench.inputs import aligned_empty, sample_rows
from bench.operation import OURS, OURS_OUT, TORCH, Array, Builder, Call, Case, Operation, Target

LIMITS = ("limit: read", "limit: copy")

# Largest error relative to the largest expected value. A wrong formula is off by far more; there is
# room for peers that compute in narrow types, or add up ten million numbers one after another.
_TOLERANCES = {"float64": 1e-12, "float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
# A peer this many times slower than the fastest one is not timed in the rounds; torch always is.
_OUT_OF_THE_RACE = 2.5
# For how many seconds a call is made before it is timed on several threads.
_WARM_UP = 0.01
# Shorter calls are repeated to fill this time: the clock itself takes a tenth of a microsecond.
_SHORTEST_SAMPLE_MS = 0.05


@dataclass(frozen=True)
class Settings:
    """How long a case is measured, and what is left out."""

    seconds: float
    min_rounds: int
    max_rounds: int
    leave_out: tuple[str, ...] = ()


FULL = Settings(seconds=1.0, min_rounds=5, max_rounds=200)
QUICK = Settings(seconds=0.2, min_rounds=5, max_rounds=50, leave_out=("torch.compile",))


@dataclass
class Result:
    """The times of one case in milliseconds, one per round, and why a variant has none.

    `extra_memory` says by how many bytes a call raises the peak of the memory in use.
    """

    operation: str
    case: str
    shape: tuple[int, ...]
    dtype: str
    threads: int
    reads: int
    writes: int
    array_bytes: int
    times: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    extra_memory: dict[str, int] = field(default_factory=dict)
    yardsticks: list[str] = field(default_factory=list)

    def median(self, name: str) -> float:
        """Return the median time of a variant."""
        return float(np.median(self.times[name]))

    @property
    def limit(self) -> float:
        """The time in which the machine just moves the data: a copy is one read and one write."""
        read, copy = (self.median(name) for name in LIMITS)
        return (self.reads - self.writes) * read + self.writes * copy

    def fastest(self, *, ours: bool) -> str:
        """Return the name of the fastest variant of logloss, or of the peers ("": none)."""
        names = [
            name
            for name in self.times
            if name not in (*LIMITS, *self.yardsticks) and name.startswith(OURS) == ours
        ]
        return min(names, key=self.median, default="")


def run_case(
    operation: Operation, case: Case, targets: Sequence[Target], settings: Settings
) -> Result:
    """Build, check and time the variants of `operation` on `case`, and what `targets` compare."""
    arrays = operation.inputs(case)
    expected = operation.reference(case, **arrays)
    first = next(iter(arrays.values()))
    named = {name for t in targets if case in t.cases for name in (t.variant, t.against)}
    yardsticks = {n: build for n, build in operation.yardsticks.items() if n in named}
    result = Result(
        operation=operation.name,
        case=str(case),
        shape=case.shape,
        dtype=case.dtype,
        threads=machine.threads(),
        reads=operation.reads,
        writes=operation.writes,
        array_bytes=first.nbytes,
        yardsticks=list(yardsticks),
    )
    calls: dict[str, Call] = {}
    for name, build in {**operation.variants, **yardsticks}.items():
        if name in settings.leave_out:
            continue
        try:
            call = build(case, **arrays)
            check(call(), expected, case)
        except Exception as error:  # a peer may fail in any way: it is shown as missing
            if name.startswith(OURS) and not isinstance(error, peers.Unavailable):
                raise
            result.skipped[name] = _reason(error)
        else:
            calls[name] = call
            result.extra_memory |= _extra_memory(name, call)
    calls |= dict(zip(LIMITS, _limits(first), strict=True))
    warm = {name: _first_look(call) for name, call in calls.items()}
    for name, reason in _out_of_the_race(warm, yardsticks).items():
        result.skipped[name] = reason
        del calls[name]
    result.times = _interleave(calls, warm, settings)
    return result


def threads_started_by_tiny_calls() -> int | None:
    """Return how many threads small inputs start, asked before anything else has started some."""
    logloss = peers.load("logloss")
    before = machine.running_threads()
    for rows in (1, 100):
        logits, target = np.zeros((rows, 10), np.float32), np.zeros(rows, np.int64)
        logloss.cross_entropy(logits, target)
        logloss.cross_entropy_value_and_grad(logits, target)
        logloss.log_softmax(logits)
        logloss.binary_cross_entropy_with_logits(logits, logits)
    after = machine.running_threads()
    return None if before is None or after is None else after - before


def _extra_memory(name: str, call: Call) -> dict[str, int]:
    extra = machine.extra_memory(call) if name in (TORCH, OURS, OURS_OUT) else None
    return {} if extra is None else {name: extra}


def _milliseconds(call: Call, repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) * 1e3 / repeats


def _keep_calling(call: Call, seconds: float) -> None:
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        call()


def _first_look(call: Call) -> float:
    """Return about how many milliseconds a call takes, a short one from the best of four."""
    first = _milliseconds(call)
    return first if first > 20.0 else min(first, *(_milliseconds(call) for _ in range(3)))


def _out_of_the_race(
    warm: Mapping[str, float], yardsticks: Mapping[str, Builder]
) -> dict[str, str]:
    """Return the peers that are too slow to be the best one, each with the reason."""
    racing = [n for n in warm if not n.startswith((OURS, *LIMITS)) and n not in yardsticks]
    fastest = min((warm[name] for name in racing), default=0.0)
    return {
        name: f"left out after the warm-up: over {_OUT_OF_THE_RACE:g}x slower than the best peer"
        for name in racing
        if name != TORCH and warm[name] > _OUT_OF_THE_RACE * fastest
    }


def _interleave(
    calls: Mapping[str, Call], warm: Mapping[str, float], settings: Settings
) -> dict[str, list[float]]:
    """Time each call once per round until the time is spent; `warm` foretells how long it takes."""
    # The threads of some runtimes spin for a while after a call and would disturb the next one. But
    # a core that had nothing to do takes milliseconds to come back, on a virtual machine: after the
    # pause each variant wakes its own threads.
    pause = 0.02 if machine.threads() > 1 else 0.0
    repeats = {name: max(1, int(_SHORTEST_SAMPLE_MS / warm[name])) for name in calls}
    order = list(calls)
    shuffle = random.Random(0).shuffle
    times: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        stop = time.perf_counter() + settings.seconds
        for done in range(settings.max_rounds):
            if done >= settings.min_rounds and time.perf_counter() > stop:
                break
            shuffle(order)
            for name in order:
                if pause:
                    time.sleep(pause)
                    _keep_calling(calls[name], _WARM_UP)
                times[name].append(_milliseconds(calls[name], repeats[name]))
    finally:
        gc.enable()
    return times


def _limits(array: Array) -> tuple[Call, Call]:
    """Return a call that reads the memory of `array` once, and one that copies it."""
    testing = peers.load("logloss._core").testing
    source = array.reshape(-1).view(np.float32)
    destination = aligned_empty(source.shape, "float32")
    if machine.threads() == 1:
        return lambda: testing.read_max(source), lambda: np.copyto(destination, source)
    return lambda: testing.read_max(source), lambda: testing.copy(source, destination)


def check(result: object, expected: tuple[Array, ...], case: Case) -> None:
    """Raise ValueError unless a result equals the reference; a yardstick may give none."""
    if result is None:
        return
    for part, reference in zip(_parts(result), expected, strict=True):
        values = peers.to_numpy(part)
        axis = case.axis if values.ndim == len(case.shape) else None
        actual = sample_rows(values, axis) if reference.ndim else values
        error = np.max(np.abs(actual.astype(np.float64) - reference)) / np.max(np.abs(reference))
        if not error <= _TOLERANCES[case.dtype]:
            raise ValueError(f"wrong result: relative error {error:.1e} in {case.dtype}")


def _parts(result: object) -> list[object]:
    """Return the arrays and numbers of a result in order; a gradient may be a pair."""
    if isinstance(result, tuple):
        return [part for item in result for part in _parts(item)]
    return [result]


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]
