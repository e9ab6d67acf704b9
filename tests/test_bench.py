# SPDX-License-Identifier: BSD-3-Clause
"""The benchmarks' own arithmetic: declarations, yardsticks, verdicts, tables, the README."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import logloss
from bench import harness, limits, machine, peers, readme, report, run, verdicts, yardsticks
from bench.harness import LIMITS, Result
from bench.operation import BEST_PEER, LIMIT, OURS, OURS_OUT, TORCH, Case, Operation, Target

ROOT = Path(__file__).parent.parent
OPERATIONS = [operation for operation, _ in run.select("", quick=False)]
CASE = Case((2048, 32000))


def names(operation: Operation) -> str:
    return operation.name.replace(" ", "-")


# Declarations


@pytest.mark.parametrize("operation", OPERATIONS, ids=names)
def test_targets_name_what_is_measured(operation: Operation) -> None:
    """A target about an unknown case or call would never be judged."""
    calls = {*operation.variants, *operation.yardsticks}
    for target in operation.targets:
        assert set(target.cases) <= set(operation.cases)
        assert target.variant in calls
        assert target.against in calls | {BEST_PEER, LIMIT}


def test_every_operation_is_measured() -> None:
    measured = {operation.name.split()[0] for operation in OPERATIONS}
    suffixes = ("_backward", "_value_and_grad", "_num_threads")
    functions = {
        name
        for name in logloss.__all__
        if name.islower() and callable(getattr(logloss, name)) and not name.endswith(suffixes)
    }
    assert measured == functions - {"config"}


@pytest.mark.parametrize(
    "operation", [op for op in OPERATIONS if yardsticks.SCALAR in op.yardsticks], ids=names
)
def test_scalar_code_computes_the_same(operation: Operation) -> None:
    build = operation.yardsticks[yardsticks.SCALAR]
    for case in operation.quick_cases:
        arrays = operation.inputs(case)
        try:
            call = build(case, **arrays)
        except peers.Unavailable as reason:
            if "compiler" in str(reason):
                pytest.skip(str(reason))
            continue
        harness.check(call(), operation.reference(case, **arrays), case)


def test_levels_and_threads_are_restored() -> None:
    """A yardstick runs under its own setting and leaves the usual one behind."""
    core = logloss._core
    seen = []

    def mine(case: Case) -> Any:
        return lambda: seen.append((core.isa(), logloss.get_num_threads()))

    usual = core.isa(), logloss.get_num_threads()
    own = yardsticks.own_yardsticks(mine, lambda case: {})
    own[yardsticks.level("portable")](CASE)()
    own[yardsticks.ONE_THREAD](CASE)()
    assert seen == [("portable", usual[1]), (usual[0], 1)]
    assert (core.isa(), logloss.get_num_threads()) == usual


# Measuring


def test_a_wrong_result_is_refused() -> None:
    case = Case((4, 3))
    expected = (np.array(1.5), np.ones((4, 3)))
    harness.check((1.5, np.ones((4, 3), np.float32)), expected, case)
    with pytest.raises(ValueError, match="wrong result"):
        harness.check((1.5, np.full((4, 3), 1.001, np.float32)), expected, case)
    with pytest.raises(ValueError, match="argument"):
        harness.check(1.5, expected, case)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_extra_memory() -> None:
    size = 48 * 2**20
    extra = machine.extra_memory(lambda: np.ones(size, np.uint8))
    assert extra is not None and size * 0.95 < extra < size * 1.1
    kept = np.ones(size, np.uint8)
    extra = machine.extra_memory(kept.sum)
    assert extra is not None and extra < size * 0.05


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
@pytest.mark.skipif(not logloss.config()["openmp"], reason="built without OpenMP")
def test_tiny_calls_start_no_threads() -> None:
    """Asked in a fresh process, where a large call is then seen to start one."""
    script = """
import numpy as np, logloss
from bench import harness, machine
logloss.set_num_threads(2)
tiny, before = harness.threads_started_by_tiny_calls(), machine.running_threads()
logloss.logsumexp(np.zeros((1000, 1000), np.float32))
print(tiny, machine.running_threads() - before)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1"]


# Verdicts


def result(times: dict[str, float]) -> Result:
    """A result with those medians in milliseconds, of one read of the input."""
    found = {name: [ms, ms * 3, ms / 3] for name, ms in times.items()}
    found |= {LIMITS[0]: [8.0], LIMITS[1]: [20.0]}
    return Result("loss", str(CASE), CASE.shape, CASE.dtype, 1, 1, 0, 2**28, found)


def verdict(target: Target, measured: Result) -> verdicts.Verdict:
    operation = Operation("loss", 1, 0, (CASE,), (), dict, tuple, {}, targets=(target,))
    (found,) = verdicts.judge([operation], [measured], {verdicts.TINY_CALLS: 0, "threads": 1})
    return found


@pytest.mark.parametrize(
    ("target", "met", "measured"),
    [
        (Target((CASE,), 12.0, TORCH), False, "10.00x"),
        (Target((CASE,), 10.0, TORCH), True, "10.00x"),
        (Target((CASE,), 2.0, BEST_PEER), True, "2.00x jax"),
        (Target((CASE,), 2.1, BEST_PEER), False, "2.00x jax"),
        (Target((CASE,), 0.5, LIMIT), False, "40%"),
        (Target((CASE,), 0.4, LIMIT), True, "40%"),
        (Target((CASE,), 12.0, TORCH, unless_limit=0.4), True, "10.00x, 40%"),
        (Target((CASE,), 12.0, TORCH, unless_limit=0.5), False, "10.00x, 40%"),
        (Target((CASE,), 1.0, "scipy"), None, "not installed"),
    ],
)
def test_verdicts(target: Target, met: bool | None, measured: str) -> None:
    times = result({TORCH: 200.0, "jax": 40.0, OURS: 20.0})
    times.skipped["scipy"] = "not installed"
    found = verdict(target, times)
    assert (found.met, found.measured) == (met, measured)


@pytest.mark.parametrize(
    ("target", "obstacle"),
    [
        (Target((CASE,), 10.0, TORCH), ""),
        (Target((CASE,), 12.0, TORCH), "[S](limits.md#s)"),
        (Target((CASE,), 26.0, TORCH), "limit: 25.00x; [S](limits.md#s)"),
        (Target((CASE,), 0.5, LIMIT), "[S](limits.md#s)"),
    ],
)
def test_obstacles(target: Target, obstacle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missed names its section, and a target beyond the bandwidth says so."""
    monkeypatch.setattr(limits, "section", lambda *_, writes: "S")
    assert verdict(target, result({TORCH: 200.0, OURS: 20.0})).obstacle == obstacle


def test_every_target_has_a_section() -> None:
    text = (ROOT / "bench" / limits.FILE).read_text()
    headings = {line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")}
    named = {
        limits.section(target, case, writes=operation.writes > 0)
        for operation in OPERATIONS
        for target in operation.targets
        for case in target.cases
    }
    assert named <= headings


def test_yardsticks_are_no_peers() -> None:
    times = result({TORCH: 200.0, "fast": 1.0, OURS: 20.0, "logloss at avx2": 2.0})
    times.yardsticks = ["fast", "logloss at avx2"]
    assert times.fastest(ours=False) == TORCH
    assert times.fastest(ours=True) == OURS


@pytest.mark.parametrize(("extra", "met"), [(2**20, True), (2**28, False)])
def test_memory_is_judged(extra: int, met: bool) -> None:
    times = result({OURS: 20.0})
    times.extra_memory = {TORCH: 2**28, OURS: extra, OURS_OUT: 2**28}
    machine_facts = {verdicts.TINY_CALLS: 0, "threads": 1}
    operation = Operation("loss", 1, 0, (CASE,), (), dict, tuple, {})
    (found,) = verdicts.judge([operation], [times], machine_facts)
    assert found.met == met


def test_threads_of_tiny_calls_are_judged() -> None:
    for started, met in ((0, True), (1, False)):
        facts = {verdicts.TINY_CALLS: started, "threads": 2}
        assert [found.met for found in verdicts.judge([], [], facts)] == [met]


@pytest.mark.parametrize(
    ("reads", "writes", "limit"), [(1, 0, 8.0), (2, 0, 16.0), (1, 1, 20.0), (2, 1, 28.0)]
)
def test_limit(reads: int, writes: int, limit: float) -> None:
    times = result({OURS: 20.0})
    times.reads, times.writes = reads, writes
    assert times.limit == limit


# What is printed


def test_scorecard_row() -> None:
    """A peer that writes into existing memory is compared with logloss doing so."""
    times = result({TORCH: 200.0, "jax out=": 30.0, OURS: 20.0, OURS_OUT: 10.0})
    header, _, row = (line.split("|") for line in report.scorecard([times]).splitlines())
    cells = {name.strip(): cell.strip() for name, cell in zip(header, row, strict=True)}
    assert [cells[name] for name in ("torch", "best peer", "logloss", "out=", "limit")] == [
        *("200 ms", "30.0 ms jax out=", "20.0 ms", "10.0 ms", "8.00 ms")
    ]
    ratios = [cells[name] for name in ("vs torch", "vs best", "of limit")]
    assert ratios == ["10.00x", "3.00x", "80%"]


def test_json_keeps_everything(tmp_path: Path) -> None:
    path, facts = tmp_path / "run.json", {"cpu": "one", "threads": 1}
    times = result({TORCH: 200.0, OURS: 20.0})
    report.write_json(path, facts, [times], [])
    read_facts, (read,) = report.read_json(path)
    assert read_facts == facts
    assert vars(read) == vars(times) | {"shape": list(times.shape)}
    assert json.loads(path.read_text())["results"][0]["summary"]["logloss"]["median"] == 20.0


def test_readme_has_a_place_for_a_run() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count(readme.BEGIN) == text.count(readme.END) == 1
    assert text.index(readme.BEGIN) < text.index(readme.END)


def test_command_line(tmp_path: Path) -> None:
    """One small case, measured, checked and judged, with whatever peers are installed."""
    path = tmp_path / "run.json"
    command = [sys.executable, "-m", "bench", "--quick", "--only", "nll_loss forward 4096x10"]
    done = subprocess.run(
        [*command, "--threads", "1", "--json", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "| nll_loss forward | 4096x10 float32 |" in done.stdout
    _, (times,) = report.read_json(path)
    assert len(times.times[OURS]) >= harness.QUICK.min_rounds


def test_an_unknown_selection_is_an_error() -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--threads", "1", "--only", "nonsense"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "matches nothing" in done.stderr
