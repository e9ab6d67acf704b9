# SPDX-License-Identifier: BSD-3-Clause
"""Threads and the configuration in use."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any

from logloss import _core
from logloss._device.module import device_count


def set_num_threads(n: int) -> None:
    """
    Set how many threads a call may use.

    Results never depend on it. Small inputs use fewer threads, down to the calling one alone.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is below 1.

    Examples
    --------
    >>> import logloss
    >>> before = logloss.get_num_threads()
    >>> logloss.set_num_threads(1)
    >>> logloss.get_num_threads()
    1
    >>> logloss.set_num_threads(before)
    """
    try:
        threads = operator.index(n)
    except TypeError:
        raise TypeError(f"n: got {type(n).__name__}, expected an integer") from None
    if threads < 1:
        raise ValueError(f"n: got {threads}, expected at least 1")
    _core.set_num_threads(min(threads, 4096))


def get_num_threads() -> int:
    """
    Return how many threads a call may use.

    It is 1 without OpenMP, and in a forked child of a process that has used several threads.

    Examples
    --------
    >>> import logloss
    >>> logloss.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


def config() -> dict[str, Any]:
    """
    Return what is in use: version, instruction set, threads.

    Returns
    -------
    dict
        ``version``; ``isa``, the level of the kernels in use; ``available_isas``, best first, any
        of which LOGLOSS_ISA may name; ``openmp``; ``num_threads``; ``keep_mib``, how many MiB of
        the memory of large results may be kept for later ones (LOGLOSS_KEEP_MIB); ``cuda``,
        whether the CUDA kernels are installed, and ``cuda_devices``, for how many GPUs.

    Examples
    --------
    >>> import logloss
    >>> logloss.config()["isa"] in logloss.config()["available_isas"]
    True
    """
    devices = device_count()
    return {
        "version": _core.__version__,
        "isa": _core.isa(),
        "available_isas": _core.available_isas(),
        "openmp": _core.has_openmp(),
        "num_threads": _core.get_num_threads(),
        "keep_mib": _core.kept_limit() >> 20,
        "cuda": devices is not None,
        "cuda_devices": devices or 0,
    }


def default_num_threads() -> int:
    """LOGLOSS_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs that this process may use."""
    for variable in ("LOGLOSS_NUM_THREADS", "OMP_NUM_THREADS"):
        # OMP_NUM_THREADS may be a list, one number for each level of nesting: the first counts.
        value = os.environ.get(variable, "").split(",")[0].strip()
        if value.isdecimal() and int(value) > 0:
            return min(int(value), 4096)
        if value and variable == "LOGLOSS_NUM_THREADS":
            raise ValueError(f"{variable}: got {value!r}, expected an integer of at least 1")
    return usable_cpus()


def usable_cpus() -> int:
    """Count the CPUs that affinity and the cgroup's quota allow, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        cpus = len(os.sched_getaffinity(0))
    else:
        cpus = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, cpus if quota is None else min(cpus, int(quota + 0.999)))


def _cgroup_quota(
    root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc/self/cgroup")
) -> float | None:
    """CPUs granted by the smallest quota from this process's cgroup to the root (v2, else v1)."""
    try:
        groups = dict(line.split(":", 2)[1:] for line in proc.read_text().splitlines())
    except (OSError, ValueError):
        return None
    quotas = []
    relative = Path(groups.get("", "/").lstrip("/"))
    for group in (relative, *relative.parents):
        quotas.append(_ratio(root / group / "cpu.max"))
    version_1 = next((path for name, path in groups.items() if "cpu" in name.split(",")), None)
    if version_1 is not None:
        for group in (root / "cpu" / version_1.lstrip("/"), root / "cpu"):
            quotas.append(_ratio(group / "cpu.cfs_quota_us", group / "cpu.cfs_period_us"))
    return min((quota for quota in quotas if quota is not None), default=None)


def _ratio(*files: Path) -> float | None:
    """Quota over period from one file holding both or from two; None where there is no limit."""
    try:
        quota, period = " ".join(file.read_text().strip() for file in files).split()
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):
        return None


_core.set_num_threads(default_num_threads())
