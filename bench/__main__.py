# SPDX-License-Identifier: BSD-3-Clause
"""Command line of the benchmarks: ``python -m bench --help``."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import machine

if TYPE_CHECKING:
    from bench.harness import Case, Operation


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Time logloss and peers.")
    parser.add_argument("--quick", action="store_true", help="small shapes: a minute, not an hour")
    parser.add_argument(
        "--only",
        default="",
        metavar="NAME",
        help="words that operation, shape and dtype must contain: 'cross_entropy 2048x32000'",
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times to FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a picture to FILE")
    options = parser.parse_args(arguments)
    available = len(machine.usable_cpus())
    if not 1 <= options.threads <= available:
        parser.error(f"--threads must be between 1 and {available}, the usable CPUs")
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")
    return options


def main() -> int:
    options = parse_arguments()
    if importlib.util.find_spec("logloss") is None:
        print("logloss is not installed", file=sys.stderr)
        return 2
    machine.limit_threads(options.threads)  # before anything imports NumPy

    import logloss
    from bench import harness, report

    logloss.set_num_threads(options.threads)
    selected = select(options.only, options.quick)
    if not selected:
        print(f"--only {options.only!r} matches nothing", file=sys.stderr)
        return 2
    if options.quick:
        settings = harness.Settings(0.3, 5, 50, leave_out=("torch.compile",))
    else:
        settings = harness.Settings(10.0, 7, 200)
    description = {**machine.describe(), "logloss": logloss.config()}
    print(report.machine_lines(description), report.READING_AID, sep="\n\n", flush=True)
    results = []
    for operation, cases in selected:
        done = []
        for case in cases:
            show_progress(f"{operation.name} {case}")
            done.append(harness.run_case(operation, case, settings))
        show_progress("")
        print(f"\n{report.table(operation, done)}", flush=True)
        if line := report.target_line(operation, done):
            print(f"\n{line}", flush=True)
        results += done
    if options.json:
        report.write_json(options.json, description, results)
    if options.plot:
        report.plot(options.plot, description, results)
    return 0


def show_progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:<79}", end="\r", file=sys.stderr, flush=True)


def select(only: str, quick: bool) -> list[tuple[Operation, list[Case]]]:
    """Return the operations of all bench files with those of their cases that `only` names.

    Without ml_dtypes NumPy has no bfloat16, and the cases of that dtype are left out.
    """
    words = only.split()
    selected = []
    for module in sorted(info.name for info in pkgutil.iter_modules([str(Path(__file__).parent)])):
        if not module.startswith("bench_"):
            continue
        for operation in importlib.import_module(f"bench.{module}").OPERATIONS:
            cases = operation.quick_cases if quick else operation.cases
            kept = [
                case
                for case in cases
                if all(word in f"{operation.name} {case}" for word in words)
                and (case.dtype != "bfloat16" or importlib.util.find_spec("ml_dtypes"))
            ]
            if kept:
                selected.append((operation, kept))
    return selected


if __name__ == "__main__":
    sys.exit(main())
