# SPDX-License-Identifier: BSD-3-Clause
"""Threads: how many, from how many at once, after a fork, under Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import logloss
from logloss import _core, _runtime
from programs import logits, python
from ulp import Array

needs_openmp = pytest.mark.skipif(not _core.has_openmp(), reason="built without OpenMP")
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX only")


@pytest.fixture(autouse=True)
def restored_threads() -> Iterator[None]:
    before = logloss.get_num_threads()
    yield
    logloss.set_num_threads(before)


# How many


@needs_openmp
@pytest.mark.parametrize("count", (1, 2, 7, np.int64(3), True))
def test_set_num_threads(count: Any) -> None:
    logloss.set_num_threads(count)
    assert logloss.get_num_threads() == logloss.config()["num_threads"] == int(count)


@needs_openmp
def test_absurd_numbers_of_threads_are_cut() -> None:
    logloss.set_num_threads(10**30)
    assert logloss.get_num_threads() == 4096


@pytest.mark.parametrize(
    ("count", "error", "message"),
    [
        (0, ValueError, "n: got 0, expected at least 1"),
        (-3, ValueError, "n: got -3, expected at least 1"),
        (1.0, TypeError, "n: got float, expected an integer"),
        ("2", TypeError, "n: got str, expected an integer"),
        (None, TypeError, "n: got NoneType, expected an integer"),
    ],
)
def test_wrong_numbers_change_nothing(count: Any, error: Any, message: str) -> None:
    before = logloss.get_num_threads()
    with pytest.raises(error, match=message):
        logloss.set_num_threads(count)
    assert logloss.get_num_threads() == before


ASK = "import logloss; print(logloss.get_num_threads())"


@needs_openmp
@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({"LOGLOSS_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "5,2,1"}, 5),
        ({"LOGLOSS_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"LOGLOSS_NUM_THREADS": " 4 "}, 4),
        ({"LOGLOSS_NUM_THREADS": "100000"}, 4096),
        ({"LOGLOSS_NUM_THREADS": "", "OMP_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "many"}, _runtime.usable_cpus()),
        ({}, _runtime.usable_cpus()),
    ],
)
def test_environment(environment: dict[str, str], count: int) -> None:
    assert python(ASK, **environment) == str(count)


@pytest.mark.parametrize("value", ("0", "-1", "2.5", "all"))
def test_a_wrong_variable_is_named(value: str) -> None:
    script = """
try:
    import logloss
except ValueError as error:
    print(error)
"""
    message = f"LOGLOSS_NUM_THREADS: got '{value}', expected an integer of at least 1"
    assert python(script, LOGLOSS_NUM_THREADS=value) == message


@needs_openmp
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks here")
def test_affinity() -> None:
    cpu = min(os.sched_getaffinity(0))
    assert python(f"import os; os.sched_setaffinity(0, [{cpu}])\n{ASK}") == "1"


class Cgroups:
    """A made-up /sys/fs/cgroup and /proc/self/cgroup."""

    def __init__(self, folder: Path) -> None:
        self.root, self.proc = folder / "cgroup", folder / "self"

    def member(self, *lines: str) -> None:
        self.proc.write_text("".join(f"{line}\n" for line in lines))

    def file(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{text}\n")

    def quota(self) -> float | None:
        return _runtime._cgroup_quota(self.root, self.proc)


@pytest.fixture
def cgroups(tmp_path: Path) -> Cgroups:
    return Cgroups(tmp_path)


def test_cgroup_version_2(cgroups: Cgroups) -> None:
    """The smallest quota on the way up to the root holds."""
    cgroups.member("0::/user/box/inner")
    assert cgroups.quota() is None
    cgroups.file("user/box/inner/cpu.max", "max 100000")
    assert cgroups.quota() is None
    cgroups.file("user/box/cpu.max", "350000 100000")
    assert cgroups.quota() == 3.5
    cgroups.file("user/cpu.max", "50000 100000")
    assert cgroups.quota() == 0.5
    cgroups.file("other/cpu.max", "1000 100000")
    assert cgroups.quota() == 0.5


def test_cgroup_version_1(cgroups: Cgroups) -> None:
    cgroups.member("3:cpuset:/set", "2:cpu,cpuacct:/docker/abc", "1:memory:/docker/abc")
    cgroups.file("cpu/docker/abc/cpu.cfs_quota_us", "-1")
    cgroups.file("cpu/docker/abc/cpu.cfs_period_us", "100000")
    assert cgroups.quota() is None
    cgroups.file("cpu/docker/abc/cpu.cfs_quota_us", "200000")
    assert cgroups.quota() == 2.0


def test_cgroup_of_a_container(cgroups: Cgroups) -> None:
    """Inside a container its own group often is the root."""
    cgroups.member("0::/")
    cgroups.file("cpu.max", "150000 100000")
    assert cgroups.quota() == 1.5


@pytest.mark.parametrize("text", ("", "max", "1 2 3", "a b", "0 100000"))
def test_unreadable_quotas_do_not_count(cgroups: Cgroups, text: str) -> None:
    cgroups.member("0::/group")
    cgroups.file("group/cpu.max", text)
    assert cgroups.quota() is None


def test_no_cgroups_at_all(cgroups: Cgroups) -> None:
    assert cgroups.quota() is None
    cgroups.member("nonsense")
    assert cgroups.quota() is None


@pytest.mark.parametrize(("quota", "cpus"), [(None, 8), (0.2, 1), (1.0, 1), (2.5, 3), (64.0, 8)])
def test_usable_cpus(monkeypatch: pytest.MonkeyPatch, quota: float | None, cpus: int) -> None:
    """A part of a CPU counts as one, and a quota never adds CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(_runtime, "_cgroup_quota", lambda: quota)
    assert _runtime.usable_cpus() == cpus


# From many Python threads


def results(x: Array, y: Array) -> tuple[Any, ...]:
    loss, grad = logloss.cross_entropy_value_and_grad(x, y)
    return loss, grad.tobytes(), logloss.log_softmax(x).tobytes(), logloss.logsumexp(x).tobytes()


@pytest.mark.parametrize("count", (1, 3))
def test_concurrent_calls(count: int) -> None:
    logloss.set_num_threads(count)
    x = logits(300, 700)
    inputs = [(x * np.float32(k), np.arange(300) * k % 700) for k in range(1, 5)]
    right = [results(*each) for each in inputs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda each: results(*each), inputs * 8))
    assert found == right * 8


def test_the_thread_count_may_change_at_any_time() -> None:
    x, y = logits(400, 500), np.arange(400)
    right = results(x, y)
    stop = threading.Event()

    def toggle() -> None:
        while not stop.is_set():
            for count in (1, 2, 5):
                logloss.set_num_threads(count)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(toggle)
        try:
            assert all(results(x, y) == right for _ in range(50))
        finally:
            stop.set()


SPECIAL_ROWS = {
    "finite": (),
    "nan": (np.nan,),
    "inf": (np.inf,),
    "inf and nan": (np.inf, np.nan),
    "beyond the range of an unshifted exponential": (1e30, 1e30),
    "ties across chunks": (1000.0, 1000.0),
}


@needs_openmp
@pytest.mark.parametrize("kind", SPECIAL_ROWS)
@pytest.mark.parametrize("rows", (1, 3))
def test_few_long_rows_are_shared_between_threads(rows: int, kind: str) -> None:
    x = logits(rows, 200_003)
    values = SPECIAL_ROWS[kind]
    x[-1, [70_000, 199_999][: len(values)]] = values
    target = np.array([199_999, -100, 5])[:rows]

    def everything(threads: int) -> list[Array]:
        logloss.set_num_threads(threads)
        loss, grad = logloss.cross_entropy_value_and_grad(x, target)
        replaced = x.copy()
        logloss.cross_entropy_value_and_grad(replaced, target, out=replaced)
        strided = np.empty((rows, 2 * x.shape[1]), np.float32)[:, ::2]
        logloss.log_softmax(x, out=strided)
        smoothed = logloss.cross_entropy(x, target, label_smoothing=0.1, reduction="none")
        none = logloss.cross_entropy(x, target, reduction="none")
        lse = logloss.logsumexp(x, axis=1)
        softmaxes = logloss.softmax(x), logloss.log_softmax(x)
        upstream = np.ones(rows, np.float32)
        lse_grad = logloss.logsumexp_backward(upstream, x, axis=1)
        return [
            np.asarray(loss),
            grad,
            replaced,
            strided,
            smoothed,
            none,
            lse,
            *softmaxes,
            lse_grad,
        ]

    alone = everything(1)
    for threads in (2, 5):
        for found, right in zip(everything(threads), alone, strict=True):
            np.testing.assert_array_equal(found, right)
            assert found.tobytes() == right.tobytes() or np.isnan(right).any()
    assert rows == 1 or alone[5][1] == 0.0


def long_call(seconds: float) -> tuple[Array, Array]:
    """Logits (one row over and over) and targets whose cross-entropy takes about that long."""
    row = logits(1, 32768)
    y = np.zeros(2000, np.int64)
    times = []
    for _ in range(5):  # the fastest: a busy machine must not make the long call short
        start = time.perf_counter()
        logloss.cross_entropy(np.broadcast_to(row, (y.size, row.size)), y)
        times.append(time.perf_counter() - start)
    rows = int(y.size * seconds / min(times)) + 1
    return np.broadcast_to(row, (rows, row.size)), np.zeros(rows, np.int64)


@pytest.mark.parametrize("level", _core.available_isas())
def test_targets_may_change_during_a_call(level: str) -> None:
    """A class that is none any more when it is used counts as ignored; nothing is read there."""
    script = """
import threading, time, numpy as np, logloss
logits, target = np.zeros((200_000, 4), np.float32), np.zeros(200_000, np.int64)
weight, grad = np.ones(4, np.float32), np.empty_like(logits)
done = threading.Event()
def change():
    while not done.is_set():
        target[:] = 2**45
        target[:] = 3
        time.sleep(1e-4)  # so that most calls find classes when they check
changing = threading.Thread(target=change)
changing.start()
for _ in range(200):
    for options in ({}, {"weight": weight}):
        try:
            logloss.cross_entropy_value_and_grad(logits, target, out=grad, **options)
            logloss.nll_loss(logits, target, **options)
        except IndexError:
            pass
done.set()
changing.join()
print("alive")
"""
    assert python(script, LOGLOSS_ISA=level) == "alive"


def test_other_python_threads_run_meanwhile() -> None:
    """The GIL is released: another thread counts on while a kernel computes."""
    x, y = long_call(0.6)
    stop, ticks = threading.Event(), []

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    logloss.cross_entropy(x, y)
    end = time.perf_counter()
    stop.set()
    thread.join()
    during = [t for t in ticks if start + 0.05 < t < end - 0.05]
    assert end - start > 0.2
    assert len(during) > 20
    assert max(np.diff([start, *during, end])) < 0.3


@posix
def test_ctrl_c_ends_a_long_call() -> None:
    x, y = long_call(30.0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    start = time.perf_counter()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        logloss.cross_entropy(x, y)
    assert time.perf_counter() - start < 3.0
    small = logloss.cross_entropy(x[:3], y[:3])
    assert small == logloss.cross_entropy(np.ascontiguousarray(x[:3]), y[:3])


@posix
def test_a_signal_handler_that_returns_does_not_end_the_call() -> None:
    x, y = long_call(0.6)
    right = logloss.cross_entropy(x, y)
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(time.perf_counter()))
    timer = threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        timer.start()
        assert logloss.cross_entropy(x, y) == right
        end = time.perf_counter()
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(seen) == 1 and seen[0] < end


# After a fork


FORK = """
import os, signal, sys, numpy as np, logloss
from concurrent.futures import ThreadPoolExecutor
logloss.set_num_threads(4)
x = (np.arange(400 * 900, dtype=np.float32) % 977 / 64).reshape(400, 900)
y = np.arange(400)

def results():
    loss, grad = logloss.cross_entropy_value_and_grad(x, y)
    return loss, grad.tobytes(), logloss.softmax(x).tobytes()

def in_child(check):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if check() else 1)
    assert os.waitpid(child, 0)[1] == 0
"""


@posix
@needs_openmp
def test_fork_after_threads_were_used() -> None:
    """A child computes alone, its own children too; the parent goes on as before."""
    script = """
right = results()
in_child(lambda: logloss.get_num_threads() == 1 and results() == right)
in_child(lambda: in_child(lambda: results() == right) is None)
assert logloss.get_num_threads() == 4 and results() == right
print("done")
"""
    assert python(FORK + script) == "done"


@posix
@needs_openmp
def test_fork_before_threads_were_used() -> None:
    """A child of a process that has used no team may start one of its own."""
    script = """
in_child(lambda: logloss.get_num_threads() == 4 and results() == results())
right = results()
in_child(lambda: logloss.get_num_threads() == 1 and results() == right)
print("done")
"""
    assert python(FORK + script) == "done"


@posix
def test_fork_while_threads_compute() -> None:
    script = """
right = results()
with ThreadPoolExecutor(3) as pool:
    busy = [pool.submit(results) for _ in range(60)]
    for _ in range(5):
        in_child(lambda: results() == right)
    assert all(each.result() == right for each in busy)
print("done")
"""
    assert python(FORK + script) == "done"


@posix
@pytest.mark.parametrize("method", ("fork", "spawn", "forkserver"))
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    script = """
import multiprocessing, sys, numpy as np, logloss

def loss(scale):
    x = (np.arange(400 * 900, dtype=np.float32) % 977 / scale).reshape(400, 900)
    return logloss.cross_entropy(x, np.arange(400))

if __name__ == "__main__":
    logloss.set_num_threads(4)
    scales = [16, 32, 64, 128]
    right = [loss(scale) for scale in scales]
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        assert pool.map_async(loss, scales).get(timeout=40) == right
    print("done")
"""
    file = tmp_path / "script.py"
    file.write_text(script)
    command = [sys.executable, "-W", "ignore", str(file), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "done\n", done.stderr


def test_report_is_json() -> None:
    """config() holds plain values only."""
    assert json.loads(json.dumps(logloss.config())) == logloss.config()
