# SPDX-License-Identifier: BSD-3-Clause
"""Command line of the benchmarks: ``python -m bench --help``."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench import machine, run

if TYPE_CHECKING:
    from bench.harness import Result


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    available = len(machine.usable_cpus())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Time logloss, its peers and the memory, and say which targets are met.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small shapes: a minute, not half an hour"
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="NAME",
        help="words of the operation and the case: 'cross_entropy forward 2048x32000 float32'",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=available,
        metavar="N",
        help=f"measure on one thread and on N, where a target asks for it (default: {available})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times to FILE")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw bars to FILE (SVG, PNG)")
    parser.add_argument(
        "--readme", action="store_true", help="write the run into README.md and the files it shows"
    )
    parser.add_argument(
        "--read",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="measure nothing, take the results from files that --json wrote",
    )
    options = parser.parse_args(arguments)
    if not 1 <= options.threads <= available:
        parser.error(f"--threads must be between 1 and {available}, the usable CPUs")
    if options.readme and (options.quick or options.only):
        parser.error("--readme needs a full run")
    if (options.picture or options.readme) and importlib.util.find_spec("matplotlib") is None:
        parser.error('pictures need matplotlib: pip install "logloss[plot]"')
    return options


def main() -> int:
    options = parse_arguments()
    if importlib.util.find_spec("logloss") is None:
        print("logloss is not installed", file=sys.stderr)
        return 2
    parts = read(options.read) if options.read else run.measure(options)
    selected = run.select(options.only, options.quick)
    results = in_order([result for _, part in parts for result in part], selected)
    if not results:
        print(f"--only {options.only!r} matches nothing", file=sys.stderr)
        return 2

    from bench import picture, readme, report, verdicts

    description = max((about for about, _ in parts), key=lambda about: about["threads"])
    judged = verdicts.judge([operation for operation, _ in selected], results, description)
    print(readme.record(description, results, judged))
    if options.json:
        report.write_json(options.json, description, results, judged)
    if options.picture:
        picture.draw(options.picture, description, picture.highlights(results) or results)
    if options.readme:
        readme.write(description, results, judged)
    return 0


def read(paths: Sequence[Path]) -> list[run.Part]:
    from bench import report

    return [report.read_json(path) for path in paths]


def in_order(results: list[Result], selected: run.Selection) -> list[Result]:
    """Return the results of the selected cases, in the order of the bench files."""
    names = [(operation.name, str(case)) for operation, cases in selected for case in cases]
    kept = [result for result in results if (result.operation, result.case) in names]
    return sorted(kept, key=lambda r: (names.index((r.operation, r.case)), r.threads))


if __name__ == "__main__":
    sys.exit(main())
