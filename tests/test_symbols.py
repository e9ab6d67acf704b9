# SPDX-License-Identifier: BSD-3-Clause
"""The symbols of the ISA units: nothing that the linker could merge across levels.

A weak symbol outside the namespace of its level (an instantiated `std::` template, say) is in the
library once, whichever copy the linker picks: an AVX-512 one would then run on every machine.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

import logloss
from logloss import _core

ROOT = Path(__file__).parents[1]
FLAGS = {
    "avx512": "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mpopcnt",
    "avx2": "-mavx2 -mfma -mf16c -mpopcnt",
    "neon": "",
    "portable": "",
}
COMPILER, NM = shutil.which("g++") or shutil.which("c++"), shutil.which("nm")
LEVELS = _core.available_isas()
SOURCES = sorted((ROOT / "csrc" / "cpu").glob("*kernels.cpp"))
UNITS = {f"{source.stem} {level}": (source, level) for source in SOURCES for level in LEVELS}
# What the C++ runtime itself refers to in unoptimised code.
RUNTIME = re.compile(r"DW\.ref\.__gxx_personality_v0|__clang_call_terminate")


class Unit(NamedTuple):
    """One source compiled for one level, and what nm says of it."""

    level: str
    source: str
    listing: str

    def symbols(self, kinds: str) -> list[str]:
        """The names of the symbols of some kinds of nm."""
        found = re.findall(rf"^[0-9a-f ]* [{kinds}] (.+)$", self.listing, re.MULTILINE)
        return [name for name in found if not RUNTIME.fullmatch(name)]

    def foreign(self, kinds: str) -> list[str]:
        """Those outside the namespace of the level."""
        own = f"logloss::{self.level}::"
        return [name for name in self.symbols(kinds) if own not in name]


def compiled(source: Path, level: str, target: Path) -> Unit:
    """Without inlining, where every function stays."""
    macros = (f"-DLOGLOSS_LEVEL={level}", f"-DLOGLOSS_LEVEL_{level.upper()}")
    flags = ("-std=c++20", "-O1", "-fno-inline", "-Wno-psabi", *FLAGS[level].split())
    command = [COMPILER, *flags, *macros, "-I", ROOT / "csrc", "-c", source, "-o", target]
    subprocess.run(command, check=True)
    listing = subprocess.run([NM, "-C", str(target)], check=True, capture_output=True, text=True)
    return Unit(level, source.stem, listing.stdout)


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Unit]:
    """All of them, compiled at the same time."""
    if not COMPILER or not NM:
        pytest.skip("needs a C++ compiler and nm")
    folder = tmp_path_factory.mktemp("units")
    with ThreadPoolExecutor(logloss.get_num_threads()) as pool:
        jobs = {
            name: pool.submit(compiled, *unit, folder / f"{name}.o") for name, unit in UNITS.items()
        }
        return {name: job.result() for name, job in jobs.items()}


def test_all_units_are_found() -> None:
    """Those that CMake compiles for every level."""
    listed = re.search(r"foreach\(source (.+)\)", (ROOT / "CMakeLists.txt").read_text())
    assert listed is not None
    assert sorted(listed[1].split()) == [source.stem for source in SOURCES]


@pytest.mark.parametrize("name", UNITS)
def test_weak_symbols_belong_to_their_level(name: str, units: dict[str, Unit]) -> None:
    weak = "WVvwu"
    assert units[name].symbols(weak), "templates leave some: an empty list means a misread nm"
    assert units[name].foreign(weak) == []


@pytest.mark.parametrize("name", UNITS)
def test_one_function_leads_into_a_level(name: str, units: dict[str, Unit]) -> None:
    """To the table of all kernels; the other units only serve that one."""
    unit = units[name]
    entries = [f"logloss::{unit.level}_kernels()"] if unit.source == "kernels" else []
    assert unit.foreign("TDBR") == entries
