# SPDX-License-Identifier: BSD-3-Clause
"""Draws how much of the machine's memory bandwidth torch, the best peer and logloss reach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.harness import Result
from bench.operation import BEST_PEER, LIMIT, OURS, TORCH
from bench.report import readable

# What the picture shows, if it was measured.
_OPERATIONS = (
    "cross_entropy forward",
    "cross_entropy forward+backward",
    "log_softmax forward",
    "binary_cross_entropy_with_logits forward",
    "kl_div forward",
)
_CASES = (
    "65536x10 float32",
    "65536x128 float32",
    "8192x1000 float32",
    "2048x32000 float32",
    "512x128256 float32",
    "8x21x256x256 float32",
    "4096x4096 float32",
    "16777216 float32",
)
_COLOURS = {TORCH: "#d9822b", BEST_PEER: "#e3bf4f", OURS: "#19806f"}
_LIMIT_COLOUR = "#e4e8eb"
_BAR = 0.26


def highlights(results: Sequence[Result]) -> list[Result]:
    """Return the results that the picture and the README show: main operations on one thread."""
    found = {(r.operation, r.case): r for r in results if r.threads == 1}
    keys = ((operation, case) for operation in _OPERATIONS for case in _CASES)
    return [found[key] for key in keys if key in found]


def draw(path: Path, machine: dict[str, Any], results: Sequence[Result]) -> None:
    """Draw a panel for each operation in `results`, in it a group of bars for each shape."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update({"font.size": 8, "svg.fonttype": "none", "svg.hashsalt": "logloss"})
    panels: dict[str, list[Result]] = {}
    for result in results:
        panels.setdefault(result.operation, []).append(result)
    heights = [len(panel) for panel in panels.values()]
    figure = Figure(
        figsize=(9.0, 0.8 + 0.42 * sum(heights) + 0.25 * len(panels)), layout="constrained"
    )
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for ax, (operation, panel) in zip(axes, panels.items(), strict=True):
        _draw_panel(ax, operation, panel)
    axes[-1].set_xlabel("share of the memory bandwidth measured in the same run")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    figure.supxlabel(f"{machine['cpu']}, one thread, float32", fontsize=7, color="#666666")
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_panel(ax: Any, operation: str, panel: Sequence[Result]) -> None:
    places = range(len(panel))
    limits = [_label(result, result.limit, LIMIT) for result in panel]
    ax.barh(places, [1.0] * len(panel), 0.86, color=_LIMIT_COLOUR, label=LIMIT)
    for place, text in zip(places, limits, strict=True):
        ax.text(1.01, place, text, va="center", color="#77828a", fontsize=7)
    for offset, (label, colour) in zip((-_BAR, 0.0, _BAR), _COLOURS.items(), strict=True):
        bars = [_bar(result, label) for result in panel]
        ys = [place + offset for place in places]
        ax.barh(ys, [share for share, _ in bars], _BAR, color=colour, label=label)
        for y, (share, text) in zip(ys, bars, strict=True):
            ax.text(share, y, f" {text}", va="center", fontsize=6.5)
    ax.set_yticks(places, ["x".join(map(str, result.shape)) for result in panel])
    ax.invert_yaxis()
    ax.set_xlim(0.0, 1.0)
    ax.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    ax.set_title(operation, loc="left", fontsize=9, fontweight="bold")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def _bar(result: Result, label: str) -> tuple[float, str]:
    """Return the length of a bar and what stands beside it."""
    names = {
        TORCH: TORCH,
        BEST_PEER: result.fastest(ours=False),
        OURS: result.fastest(ours=True),
    }
    name = names[label]
    if name not in result.times:
        return 0.0, "not installed"
    time = result.median(name)
    return result.limit / time, _label(result, time, name)


def _label(result: Result, ms: float, name: str) -> str:
    return f"{readable(ms)} {name}"
