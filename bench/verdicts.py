# SPDX-License-Identifier: BSD-3-Clause
"""Says of every target whether it is met: its value, the measured value, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench import limits
from bench.harness import Result
from bench.operation import BEST_PEER, LIMIT, OURS, OURS_OUT, Case, Operation, Target

# The peak of the resident memory is exact to a few pages per thread, so small arrays tell nothing.
_LARGE_BYTES = 64 * 2**20
_SMALL_SHARE = 0.01
# Where the description of the machine says how many threads tiny calls have started.
TINY_CALLS = "threads started by tiny calls"


@dataclass(frozen=True)
class Verdict:
    """A promise about a case; `met` is None if it was not measured, and `measured` says why.

    `obstacle` says what stands in the way of one that is not met.
    """

    operation: str
    case: str
    threads: int
    promise: str
    measured: str
    met: bool | None
    obstacle: str = ""


def judge(
    operations: Sequence[Operation], results: Sequence[Result], machine: Mapping[str, Any]
) -> list[Verdict]:
    """Return the verdicts on the targets of `operations` about the cases in `results`."""
    speeds = [
        _speed(target, case, result)
        for operation in operations
        for result in results
        if result.operation == operation.name
        for target in operation.targets_on(result.threads)
        for case in target.cases
        if result.case == str(case)
    ]
    memory = [
        _memory([result for result in results if result.operation == operation.name])
        for operation in operations
    ]
    return [*speeds, *(verdict for verdict in memory if verdict), *_tiny_calls(machine)]


def _speed(target: Target, case: Case, result: Result) -> Verdict:
    against = result.fastest(ours=False) if target.against == BEST_PEER else target.against
    promise = f"{_short(target.variant)}at least {_amount(target, target.ratio)}"
    if target.unless_limit <= 1.0:
        promise += f", or {target.unless_limit:.0%} of {LIMIT}"
    missing = [n for n in (target.variant, against) if n != LIMIT and n not in result.times]
    if missing:
        reason = result.skipped.get(missing[0], "no peer" if target.against == BEST_PEER else "")
        return _verdict(result, promise, reason, None)
    time = result.median(target.variant)
    ratio = (result.limit if against == LIMIT else result.median(against)) / time
    share = result.limit / time
    measured = f"{ratio:.0%}" if against == LIMIT else f"{ratio:.2f}x"
    if target.against == BEST_PEER:
        measured += f" {against}"
    if target.unless_limit <= 1.0:
        measured += f", {share:.0%}"
    met = ratio >= target.ratio or share >= target.unless_limit
    obstacle = "" if met else _obstacle(target, case, result, ratio / share)
    return replace(_verdict(result, promise, measured, met), obstacle=obstacle)


def _obstacle(target: Target, case: Case, result: Result, most: float) -> str:
    """Return what stands in the way of a target; at the limit its ratio is `most`."""
    section = limits.link(limits.section(target, case, writes=result.writes > 0))
    if target.against != LIMIT and most < target.ratio:
        return f"{LIMIT}: {most:.2f}x; {section}"
    return section


def _amount(target: Target, ratio: float) -> str:
    return (
        f"{ratio:.0%} of {LIMIT}" if target.against == LIMIT else f"{ratio:.3g}x {target.against}"
    )


def _short(variant: str) -> str:
    """Return how a promise begins: nothing for a plain call of logloss."""
    return "" if variant == OURS else f"{variant.removeprefix(OURS).strip()}: "


def _memory(results: Sequence[Result]) -> Verdict | None:
    """Return the verdict on the worst of an operation's large cases, if there is any.

    A reduced result needs no memory of the size of the input; nor does a gradient, with `out=`.
    """
    extra = {
        index: result.extra_memory[name] / result.array_bytes
        for index, result in enumerate(results)
        if (name := OURS_OUT if result.writes else OURS) in result.extra_memory
        and result.array_bytes >= _LARGE_BYTES
    }
    if not extra:
        return None
    worst = max(extra, key=extra.__getitem__)
    who = _short(OURS_OUT if results[worst].writes else OURS)
    promise = f"{who}extra memory at most {_SMALL_SHARE:.0%} of the input"
    return _verdict(results[worst], promise, f"{extra[worst]:.1%}", extra[worst] <= _SMALL_SHARE)


def _tiny_calls(machine: Mapping[str, Any]) -> list[Verdict]:
    started = machine[TINY_CALLS]
    if machine["threads"] == 1 or started is None:
        return []
    promise, measured = "start no threads", f"{started} started"
    return [Verdict("losses", "1x10, 100x10", machine["threads"], promise, measured, started == 0)]


def _verdict(result: Result, promise: str, measured: str, met: bool | None) -> Verdict:
    return Verdict(result.operation, result.case, result.threads, promise, measured, met)
