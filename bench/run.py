# SPDX-License-Identifier: BSD-3-Clause
"""Runs the selected cases: each number of threads in a fresh process.

Libraries read how many threads they may use when they are loaded, so NumPy and all that builds on
it are imported in those processes only, or after them.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import multiprocessing
import pkgutil
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import machine

if TYPE_CHECKING:
    from bench.harness import Result
    from bench.operation import Case, Operation

Selection = list[tuple["Operation", list["Case"]]]
# The description of the machine, and what was measured on it.
Part = tuple[dict[str, Any], "list[Result]"]


def measure(options: argparse.Namespace) -> list[Part]:
    """Measure on one thread, then on as many as there are, each time in a fresh process."""
    parts = []
    for threads in sorted({1, options.threads}):
        if planned(options, threads):
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as process:
                parts.append(process.submit(measure_here, options, threads).result())
    return parts


def measure_here(options: argparse.Namespace, threads: int) -> Part:
    """Measure what is planned, in this process."""
    machine.limit_threads(threads)  # before anything imports NumPy

    import logloss
    from bench import harness, verdicts

    logloss.set_num_threads(threads)
    settings = harness.QUICK if options.quick else harness.FULL
    description = {**machine.describe(), "logloss": logloss.config()}
    description[verdicts.TINY_CALLS] = harness.threads_started_by_tiny_calls()
    results = []
    for operation, case in planned(options, threads):
        show_progress(f"{threads} thread(s): {operation.name} {case}")
        targets = operation.targets_on(threads)
        results.append(harness.run_case(operation, case, targets, settings))
    show_progress("")
    return description, results


def planned(options: argparse.Namespace, threads: int) -> list[tuple[Operation, Case]]:
    """Return the selected cases; for more than one thread, those that targets are about."""
    return [
        (operation, case)
        for operation, cases in select(options.only, options.quick)
        for case in cases
        if threads == 1 or any(case in target.cases for target in operation.targets_on(threads))
    ]


def show_progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:<79}", end="\r", file=sys.stderr, flush=True)


def select(only: str, quick: bool) -> Selection:
    """Return the operations of all bench files with those of their cases that `only` names.

    Without ml_dtypes NumPy has no bfloat16, and the cases of that dtype are left out.
    """
    words = set(only.split())
    selected = []
    for module in sorted(info.name for info in pkgutil.iter_modules([str(Path(__file__).parent)])):
        if not module.startswith("bench_"):
            continue
        for operation in importlib.import_module(f"bench.{module}").OPERATIONS:
            cases = operation.quick_cases if quick else operation.cases
            kept = [
                case
                for case in cases
                if words <= set(f"{operation.name} {case}".split())
                and (case.dtype != "bfloat16" or importlib.util.find_spec("ml_dtypes"))
            ]
            if kept:
                selected.append((operation, kept))
    return selected
