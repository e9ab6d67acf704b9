# SPDX-License-Identifier: BSD-3-Clause
"""Turns results into the scorecard: one table of times, one of targets; and into JSON and back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import Result
from bench.operation import LIMIT, OURS, OURS_OUT, TORCH
from bench.verdicts import Verdict

READING_AID = """\
Medians of interleaved calls. `torch`: eager. `best peer`: the fastest of torch, torch.compile, jax,
onnxruntime, scipy, scikit-learn and NumPy that are installed. `out=`: logloss, the result written
into an array that exists already. `limit`: the time in which this machine, in the same rounds and
on as many threads, reads every large input once and, if the result is as large, copies it.
`vs torch`: both with a fresh result. `vs best`: logloss with `out=` if the best peer does so too.
`of limit`: the share of that bandwidth which the faster logloss reaches. `extra MB`: what a call
adds to the peak of the memory in use, a fresh result included: torch / logloss."""

_WORDS = {True: "met", False: "**missed**", None: "not measured"}


def machine_lines(machine: dict[str, Any]) -> str:
    """Return the description of the machine for people."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    config = ", ".join(f"{name} {value}" for name, value in machine["logloss"].items())
    return (
        f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['caches']}; {machine['os']}, "
        f"huge pages {machine['huge pages']}, load {machine['load']} before the run\n"
        f"Python {machine['python']}, {versions}\nlogloss: {config}"
    )


def scorecard(results: Sequence[Result], columns: Sequence[str] = ()) -> str:
    """Return a Markdown table with a row for each case, and all columns or those named."""
    header = tuple(columns or _COLUMNS)
    rows = [[_COLUMNS[name](result) for name in header] for result in results]
    return _table(header, rows, left=2)


def notes(results: Sequence[Result]) -> str:
    """Return one line for each reason why a variant has no time, with the number of cases."""
    reasons = Counter(item for result in results for item in result.skipped.items())
    return "\n".join(f"- {name}: {why} ({n}x)" for (name, why), n in reasons.items())


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """Return a Markdown table with a row for each target."""
    rows = [
        (_WORDS[v.met], v.operation, v.case, str(v.threads), v.promise, v.measured, v.obstacle)
        for v in verdicts
    ]
    header = ("", "operation", "case", "threads", "target", "measured", "what stands in the way")
    return _table(header, rows, left=7)


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return for example "41 of 50 targets met, 2 not measured"."""
    counts = Counter(verdict.met for verdict in verdicts)
    unknown = f", {counts[None]} not measured" if counts[None] else ""
    return f"{counts[True]} of {len(verdicts)} targets met{unknown}"


def write_json(
    path: Path, machine: dict[str, Any], results: Sequence[Result], verdicts: Sequence[Verdict]
) -> None:
    """Write the machine, the verdicts and, for every case, all times and their quartiles."""
    records = []
    for result in results:
        quartiles = {
            name: dict(zip(("q1", "median", "q3"), np.percentile(ms, (25, 50, 75)), strict=True))
            for name, ms in result.times.items()
        }
        records.append({**asdict(result), "summary": {LIMIT: result.limit, **quartiles}})
    document = {
        "machine": machine,
        "unit": "ms",
        "results": records,
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }
    path.write_text(json.dumps(document, indent=1))


def read_json(path: Path) -> tuple[dict[str, Any], list[Result]]:
    """Return the machine and the results that `write_json` has written."""
    document = json.loads(path.read_text())
    results = []
    for record in document["results"]:
        del record["summary"]
        results.append(Result(**record))
    return document["machine"], results


def _time(result: Result, name: str) -> str:
    return readable(result.median(name)) if name in result.times else "-"


def _best_peer(result: Result) -> str:
    name = result.fastest(ours=False)
    return f"{_time(result, name)} {name}" if name else "-"


def _versus_best(result: Result) -> str:
    name = result.fastest(ours=False)
    return _ratio(result, name, OURS_OUT if name.endswith("out=") else OURS)


def _share(result: Result) -> str:
    return f"{result.limit / result.median(result.fastest(ours=True)):.0%}"


def _ratio(result: Result, peer: str, mine: str) -> str:
    if peer not in result.times or mine not in result.times:
        return "-"
    return f"{result.median(peer) / result.median(mine):.2f}x"


def _memory(result: Result) -> str:
    return " / ".join(_megabytes(result, name) for name in (TORCH, OURS))


def _megabytes(result: Result, name: str) -> str:
    return f"{result.extra_memory[name] / 1e6:.0f}" if name in result.extra_memory else "-"


def readable(ms: float) -> str:
    """Return three significant digits, in ms or us."""
    value, unit = (ms, "ms") if ms >= 0.1 else (ms * 1e3, "us")
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f} {unit}"


_COLUMNS: dict[str, Callable[[Result], str]] = {
    "operation": lambda result: result.operation,
    "case": lambda result: result.case,
    "threads": lambda result: str(result.threads),
    "torch": lambda result: _time(result, TORCH),
    "best peer": _best_peer,
    "logloss": lambda result: _time(result, OURS),
    "out=": lambda result: _time(result, OURS_OUT),
    "limit": lambda result: readable(result.limit),
    "vs torch": lambda result: _ratio(result, TORCH, OURS),
    "vs best": _versus_best,
    "of limit": _share,
    "extra MB": _memory,
}
README_COLUMNS = tuple(name for name in _COLUMNS if name not in ("threads", "extra MB"))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Return a Markdown table whose first `left` columns are flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    justify = [str.ljust if i < left else str.rjust for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = (j(c, w) for j, c, w in zip(justify, cells, widths, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = (
        "-" * w + ("-" if j is str.ljust else ":") for j, w in zip(justify, widths, strict=True)
    )
    return "\n".join([line(header), f"|{'|'.join('-' + r for r in rule)}|", *map(line, rows)])
