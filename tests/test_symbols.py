# SPDX-License-Identifier: BSD-3-Clause
"""The symbols of the ISA units: nothing that the linker could merge across levels.

A weak symbol outside the namespace of its level (an instantiated `std::` template, say) is in the
library once, whichever copy the linker picks: an AVX-512 one would then run on every machine.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from logloss import _core

ROOT = Path(__file__).parents[1]
FLAGS = {
    "avx512": "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mpopcnt",
    "avx2": "-mavx2 -mfma -mf16c -mpopcnt",
    "neon": "",
    "portable": "",
}
# What the C++ runtime itself refers to in unoptimised code.
RUNTIME = re.compile(r"DW\.ref\.__gxx_personality_v0|__clang_call_terminate")


@pytest.fixture(scope="module", params=_core.available_isas())
def unit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Compile one level without optimisation, where every function stays, and list its symbols."""
    compiler, nm = shutil.which("g++") or shutil.which("c++"), shutil.which("nm")
    if compiler is None or nm is None:
        pytest.skip("needs a C++ compiler and nm")
    level = request.param
    target = tmp_path_factory.mktemp("units") / f"{level}.o"
    macros = (f"-DLOGLOSS_LEVEL={level}", f"-DLOGLOSS_LEVEL_{level.upper()}")
    source = ROOT / "csrc" / "cpu" / "kernels.cpp"
    flags = ("-std=c++20", "-O0", "-Wno-psabi", "-I", str(ROOT / "csrc"), *FLAGS[level].split())
    subprocess.run([compiler, *flags, *macros, "-c", str(source), "-o", str(target)], check=True)
    listing = subprocess.run([nm, "-C", str(target)], check=True, capture_output=True, text=True)
    return f"{level}\n{listing.stdout}"


def symbols(unit: str, kinds: str) -> list[str]:
    """The names of the unit's symbols of some kinds of nm."""
    found = re.findall(rf"^[0-9a-f ]* [{kinds}] (.+)$", unit, re.MULTILINE)
    return [name for name in found if not RUNTIME.fullmatch(name)]


def test_weak_symbols_belong_to_their_level(unit: str) -> None:
    level = unit.splitlines()[0]
    weak = symbols(unit, "WVvwu")
    assert weak, "templates leave weak symbols: an empty list means that nm was misread"
    own = f"logloss::{level}::"
    assert [name for name in weak if own not in name] == []


def test_one_function_leads_into_a_unit(unit: str) -> None:
    level = unit.splitlines()[0]
    own = f"logloss::{level}::"
    assert [name for name in symbols(unit, "TDBR") if own not in name] == [
        f"logloss::{level}_kernels()"
    ]
