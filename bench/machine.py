# SPDX-License-Identifier: BSD-3-Clause
"""Which machine a run used, and how many threads every library in it may use.

Imports nothing but the standard library: thread counts must be set before NumPy is loaded.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CPUS = Path("/sys/devices/system/cpu")
_PACKAGES = ("numpy", "ml_dtypes", "torch", "jax", "jaxlib", "onnxruntime", "scipy", "scikit-learn")


def usable_cpus() -> list[int]:
    """Return the CPUs this process may use, one of each core before its hardware siblings."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))

    def sibling_index(cpu: int) -> int:
        siblings = _CPUS / f"cpu{cpu}/topology/thread_siblings_list"
        if not siblings.exists():
            return 0
        firsts = [int(part.split("-")[0]) for part in siblings.read_text().split(",")]
        return sum(first < cpu for first in firsts)

    return sorted(os.sched_getaffinity(0), key=lambda cpu: (sibling_index(cpu), cpu))


def limit_threads(count: int) -> None:
    """Give this process `count` CPUs, and every library in it as many threads.

    The environment serves libraries that read it when loaded. XLA has no such variable on every
    version: it counts the CPUs of the affinity mask, which binds all the others as well.
    """
    for name in ("OMP", "MKL", "OPENBLAS", "VECLIB_MAXIMUM", "LOGLOSS"):
        os.environ[f"{name}_NUM_THREADS"] = str(count)
    os.environ["NPROC"] = str(count)
    if count == 1:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, usable_cpus()[:count])


def threads() -> int:
    """Return the number of threads that `limit_threads` has set."""
    return int(os.environ["LOGLOSS_NUM_THREADS"])


def running_threads() -> int | None:
    """Return how many threads this process has, if Linux tells."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else None


def extra_memory(call: Callable[[], object]) -> int | None:
    """Return by how many bytes a call raises the peak of the resident memory, if Linux tells."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is in use
    except OSError:
        return None
    before = _status_bytes("VmRSS")
    call()
    return max(0, _status_bytes("VmHWM") - before)


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def describe() -> dict[str, Any]:
    """Return what a reader needs to judge a timing: CPU, caches, system, versions."""
    huge_pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "caches": _caches(),
        "os": platform.platform(),
        "huge pages": _selected(huge_pages.read_text()) if huge_pages.exists() else "unknown",
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else "unknown",
        "python": platform.python_version(),
        "threads": threads(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        fields: dict[str, str] = {}
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
        if "model name" in fields:
            family, model = fields.get("cpu family", "?"), fields.get("model", "?")
            return f"{fields['model name']} (family {family}, model {model})"
    return platform.processor() or platform.machine()


def _caches() -> str:
    """Return for example "L1d 32K, L2 1024K, L3 32768K", as the first CPU sees them."""
    found = []
    for index in sorted((_CPUS / "cpu0/cache").glob("index*")):
        level, kind, size = (
            (index / name).read_text().strip() for name in ("level", "type", "size")
        )
        if kind != "Instruction":
            found.append(f"L{level}{'d' if kind == 'Data' else ''} {size}")
    return ", ".join(found) or "unknown"


def _selected(choices: str) -> str:
    """Return the bracketed word of a kernel setting such as "always [madvise] never"."""
    return choices.partition("[")[2].partition("]")[0]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "-"
