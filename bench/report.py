# SPDX-License-Identifier: BSD-3-Clause
"""Turns results into tables, one JSON document and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import LIMITS, OURS, Operation, Result

_COLOURS = {"torch": "#e8743b", "best peer": "#e8c33b", "logloss": "#19806f", "limit": "#c9ced6"}
REUSES = "out="  # ends the name of a variant that writes into memory allocated beforehand
READING_AID = """\
Medians in ms of interleaved calls; in brackets the quartiles of the ratio within a round.
`vs torch`: both with fresh output. `vs best`: the fastest peer; if that one writes into memory
allocated beforehand ("out="), logloss does too. `limit`: the time in which this machine reads
every large input once and writes the output; `of limit`: the share the faster logloss has."""


def machine_lines(machine: dict[str, Any]) -> str:
    """Return the description of the machine for people."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    config = ", ".join(f"{name} {value}" for name, value in machine["logloss"].items())
    plural = "s" if machine["threads"] > 1 else ""
    return (
        f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['caches']}; {machine['os']}, "
        f"huge pages {machine['huge pages']}, load {machine['load']} before the run\n"
        f"{machine['threads']} thread{plural} for every library; Python {machine['python']}, "
        f"{versions}\nlogloss: {config}"
    )


def table(operation: Operation, results: Sequence[Result]) -> str:
    """Return a Markdown table of one operation: a row per case, and notes on what is missing."""
    known = {name for result in results for name in (*result.times, *result.skipped)}
    columns = [name for name in operation.variants if name in known]
    rows = [["ms", *columns, "limit", "vs torch", "vs best", "of limit"]]
    for result in results:
        times = [_ms(result.median(c)) if c in result.times else "-" for c in columns]
        ratios = [_ratio(result, "torch", OURS), _versus_best(result)]
        share = f"{result.limit / result.median(fastest(result, ours=True)):.0%}"
        rows.append([result.case, *times, _ms(result.limit), *ratios, share])
    return "\n".join([f"## {operation.name}", "", *_aligned(rows), *_notes(results)])


def target_line(operation: Operation, results: Sequence[Result]) -> str | None:
    """Return the line that says whether the target of `operation` was reached."""
    target = operation.target
    if target is None:
        return None
    promise = (
        f"target: {operation.name}, {target.case}, {target.threads} thread(s), "
        f"at least {target.ratio:g}x {target.peer}"
    )
    for result in results:
        same = result.case == str(target.case) and result.threads == target.threads
        if same and target.peer in result.times:
            ratio = result.median(target.peer) / result.median(OURS)
            return f"{promise}: {'reached' if ratio >= target.ratio else 'MISSED'}, {ratio:.2f}x"
    return f"{promise}: not measured in this run"


def fastest(result: Result, *, ours: bool) -> str:
    """Return the name of the fastest variant of logloss, or of the peers ("" if there is none)."""
    names = [n for n in result.times if n not in LIMITS and n.startswith(OURS) == ours]
    return min(names, key=result.median, default="")


def write_json(path: Path, machine: dict[str, Any], results: Sequence[Result]) -> None:
    """Write the machine and, for every case, all times with their medians and quartiles."""
    records = []
    for result in results:
        summary = {
            name: dict(zip(("q1", "median", "q3"), np.percentile(ms, (25, 50, 75)), strict=True))
            for name, ms in result.times.items()
        }
        records.append({**asdict(result), "limit": result.limit, "summary": summary})
    path.write_text(json.dumps({"machine": machine, "unit": "ms", "results": records}, indent=1))


def plot(path: Path, machine: dict[str, Any], results: Sequence[Result]) -> None:
    """Draw, per operation and case, the bandwidth of torch, the best peer, logloss, the limit."""
    from matplotlib.figure import Figure

    operations = list(dict.fromkeys(result.operation for result in results))
    figure = Figure(figsize=(11, 3.2 * len(operations)), layout="constrained")
    axes = figure.subplots(len(operations), squeeze=False)[:, 0]
    for ax, name in zip(axes, operations, strict=True):
        shown = [result for result in results if result.operation == name]
        bars = [_bandwidths(result) for result in shown]
        for index, (label, colour) in enumerate(_COLOURS.items()):
            heights = [bar[label] for bar in bars]
            places = np.arange(len(shown)) + 0.2 * index
            drawn = ax.bar(places, heights, 0.19, label=label, color=colour, zorder=2)
            if label == "best peer":
                peers = [fastest(result, ours=False) for result in shown]
                ax.bar_label(drawn, peers, rotation=90, fontsize=6, padding=2)
        ax.set_xticks(np.arange(len(shown)) + 0.3, [r.case.replace(" ", "\n") for r in shown])
        ax.set(title=name, ylabel="GB/s, higher is better")
        ax.grid(axis="y", zorder=0)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle(f"{machine['cpu']}, {machine['threads']} thread(s)")
    figure.savefig(path, dpi=120)


def _bandwidths(result: Result) -> dict[str, float]:
    """Return GB/s of the data the operation must touch (not of the data a variant does touch)."""
    work = (result.reads + result.writes) * result.array_bytes * 1e-6
    chosen = {
        "torch": "torch",
        "best peer": fastest(result, ours=False),
        "logloss": fastest(result, ours=True),
    }
    speeds = {
        label: work / result.median(name) if name in result.times else 0.0
        for label, name in chosen.items()
    }
    return {**speeds, "limit": work / result.limit}


def _versus_best(result: Result) -> str:
    peer = fastest(result, ours=False)
    mine = f"{OURS} {REUSES}" if peer.endswith(REUSES) else OURS
    cell = _ratio(result, peer, mine)
    return cell if cell == "-" else f"{cell} {peer}"


def _ratio(result: Result, peer: str, mine: str) -> str:
    """Return the ratio of the medians and the quartiles of the ratios within the rounds."""
    if peer not in result.times or mine not in result.times:
        return "-"
    ratio = result.median(peer) / result.median(mine)
    low, high = np.percentile(np.divide(result.times[peer], result.times[mine]), (25, 75))
    return f"{ratio:.2f}x [{low:.2f}-{high:.2f}]"


def _notes(results: Sequence[Result]) -> list[str]:
    """Return one line per reason for a "-", with the cases unless it is all of them."""
    where: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for name, reason in result.skipped.items():
            where.setdefault((name, reason), []).append(result.case)
    names: dict[str, list[str]] = {}
    for (name, reason), cases in where.items():
        scope = "" if len(cases) == len(results) else f" ({', '.join(cases)})"
        names.setdefault(f"{scope}: {reason}", []).append(name)
    notes = [f"- {', '.join(group)}{what}" for what, group in names.items()]
    return ["", *notes] if notes else []


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.rjust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")
    return lines


def _ms(value: float) -> str:
    """Return at least three significant digits, without an exponent."""
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"
