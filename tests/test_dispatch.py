# SPDX-License-Identifier: BSD-3-Clause
"""LOGLOSS_ISA: the named level is the one that runs, and a wrong name is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import logloss
from logloss import _core

LEVELS = tuple(_core.available_isas())
KNOWN = ("avx512", "avx2", "neon", "portable")

# Prints what is in use, and bits that tell a fused multiply-add from two operations.
REPORT = """
import json, numpy as np, logloss
x = np.linspace(-9, 9, 1000, dtype=np.float32).reshape(20, 50)
bits = logloss.softmax(x).tobytes().hex()
print(json.dumps(logloss.config() | {"core_isa": logloss._core.isa(), "bits": bits}))
"""


# Computes for a while, then prints how long ago the kernel last saw this process use AVX-512.
ARCH_STATUS = Path("/proc/self/arch_status")
WORK = f"""
import time, warnings
warnings.simplefilter("ignore")
import numpy as np, logloss
x = np.ones((200, 1000), np.float32)
end = time.monotonic() + 0.6
while time.monotonic() < end:
    logloss.softmax(x)
    time.sleep(0.001)
print(open("{ARCH_STATUS}").read().split()[1])
"""
# Keeps the C library and NumPy, which have levels of their own, off AVX-512.
OTHERS = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512CD",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_SKX AVX512_ICL AVX512_SPR",
    "LOGLOSS_NUM_THREADS": "1",
}


def run(isa: str | None, script: str = REPORT, **others: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "LOGLOSS_ISA"}
    environment |= others
    if isa is not None:
        environment["LOGLOSS_ISA"] = isa
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def restored_level() -> Iterator[None]:
    before = _core.isa()
    yield
    _core.testing.select_isa(before)


def bits_at(level: str) -> str:
    _core.testing.select_isa(level)
    x = np.linspace(-9, 9, 1000, dtype=np.float32).reshape(20, 50)
    return logloss.softmax(x).tobytes().hex()


@pytest.mark.parametrize("level", LEVELS)
def test_the_named_level_runs(level: str, restored_level: None) -> None:
    report = json.loads(run(level).stdout)
    assert report["isa"] == report["core_isa"] == level
    assert report["available_isas"] == list(LEVELS)
    assert report["bits"] == bits_at(level)


def test_levels_can_be_told_apart(restored_level: None) -> None:
    """The comparison of bits above means something: without a fused multiply-add they differ."""
    fused = {bits_at(level) for level in LEVELS if level != "portable"}
    assert len(fused) <= 1
    assert bits_at("portable") not in fused


def milliseconds_without_avx512(level: str) -> int:
    elapsed = int(run(level, WORK, **OTHERS).stdout)
    return elapsed if elapsed >= 0 else sys.maxsize  # -1: never used


@pytest.mark.skipif(
    "avx512" not in LEVELS or not ARCH_STATUS.exists(), reason="no record of AVX-512 use"
)
def test_avx512_is_used_by_its_level_alone() -> None:
    if milliseconds_without_avx512("portable") < 300:
        pytest.skip("something else in the process uses AVX-512")
    assert milliseconds_without_avx512("avx2") >= 300
    assert milliseconds_without_avx512("avx512") < 100


@pytest.mark.parametrize("isa", (None, ""))
def test_the_best_level_is_the_default(isa: str | None) -> None:
    report = json.loads(run(isa).stdout)
    assert report["isa"] == LEVELS[0]


def test_levels_are_known_and_ordered() -> None:
    positions = [KNOWN.index(level) for level in LEVELS]
    assert positions == sorted(set(positions))
    assert LEVELS[-1] == "portable"


REFUSED = [(name, "which this machine does not support") for name in KNOWN if name not in LEVELS]
UNKNOWN = [(name, "which is not an ISA level") for name in ("sse2", "AVX2", "avx2 ", "0")]


@pytest.mark.parametrize(("isa", "reason"), REFUSED + UNKNOWN)
def test_a_wrong_name_fails_the_import(isa: str, reason: str) -> None:
    result = run(isa)
    assert result.returncode != 0
    choices = ", ".join(LEVELS)
    right = f"LOGLOSS_ISA: got '{isa}', {reason}; expected one of: {choices}"
    assert right in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(("isa", "reason"), REFUSED + UNKNOWN)
def test_a_wrong_name_changes_nothing(isa: str, reason: str) -> None:
    before = _core.isa()
    with pytest.raises(ValueError, match=reason):
        _core.testing.select_isa(isa)
    assert _core.isa() == before
