# SPDX-License-Identifier: BSD-3-Clause
"""
Compile the CUDA kernels without a GPU and hold what they take against a budget.

Every unit is compiled to PTX for every architecture with warnings as errors; the PTX of the kernels
over rows and elements must move 16 bytes at a time; `ptxas -v` reports registers and spills for the
architectures of ``--assemble``. Prints one line for each kernel, or what is over its budget.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
FLAGS = ("-std=c++20", "--expt-relaxed-constexpr", "--fmad=false", "-O3", "-I", str(ROOT / "csrc"))
STRICT = ("-Werror", "all-warnings")


@dataclass(frozen=True)
class Budget:
    """What kernels whose mangled name holds `pattern` may take on any architecture."""

    pattern: str
    registers: int
    spilled_bytes: int
    packets: bool


# 96 registers keep two blocks of 320 threads on a multiprocessor, or five of 128; 64 keep four of
# 256. What is spilled should be numbers of rows that wait for the end of a sweep.
BUDGETS = (
    Budget("rows_by_team", 96, 1000, packets=True),
    Budget("rows_by_block", 96, 1000, packets=True),
    Budget("elements_kernel", 64, 64, packets=True),
    Budget("nll_", 48, 0, packets=False),
    Budget("class_rows_kernel", 32, 0, packets=False),
    Budget("weight_of_rows_kernel", 40, 0, packets=False),
    Budget("finish_sum_kernel", 255, 2000, packets=False),  # one thread
)


@dataclass(frozen=True)
class Kernel:
    """A kernel as ptxas reports it."""

    name: str
    registers: int
    spilled_bytes: int
    stack_bytes: int


def budget_of(name: str) -> Budget:
    """Find the budget of a kernel; every kernel must have one."""
    for budget in BUDGETS:
        if budget.pattern in name:
            return budget
    raise SystemExit(f"{name}: a kernel without a budget")


def compile_to_ptx(unit: Path, architecture: int, build: Path) -> Path:
    """Compile a unit with warnings as errors."""
    ptx = build / f"{unit.stem}_{architecture}.ptx"
    flags = (*FLAGS, *STRICT, f"-arch=compute_{architecture}")
    subprocess.run(["nvcc", *flags, "-ptx", "-o", str(ptx), str(unit)], check=True)
    return ptx


def entries(ptx: str) -> dict[str, str]:
    """Split PTX into its kernels."""
    parts = re.split(r"^\.visible \.entry (\w+)\(", ptx, flags=re.MULTILINE)
    return {
        name: body.split("\n}\n")[0] for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def without_packets(ptx: str) -> list[str]:
    """Kernels over rows or elements that lack 128-bit accesses to global memory."""
    return [
        name
        for name, body in entries(ptx).items()
        if budget_of(name).packets and "ld.global.v4" not in body
    ]


def assemble(ptx: Path, architecture: int) -> list[Kernel]:
    """Run ptxas and read what it says of each kernel."""
    command = ["ptxas", "-v", "-O3", f"-arch=sm_{architecture}", "-o", "/dev/null", str(ptx)]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    pattern = re.compile(
        r"Compiling entry function '(?P<name>\w+)'.*?Function properties for (?P=name)\s+"
        r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores.*?"
        r"Used (?P<registers>\d+) registers",
        re.DOTALL,
    )
    return [
        Kernel(m["name"], int(m["registers"]), int(m["stores"]), int(m["stack"]))
        for m in pattern.finditer(report)
    ]


def readable(names: list[str]) -> list[str]:
    """Demangle, without the arguments."""
    result = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True)
    short = [
        re.sub(r"\(.*|void |logloss::|cuda::", "", name) for name in result.stdout.splitlines()
    ]
    return short if len(short) == len(names) else names


def over_budget(kernels: list[Kernel], architecture: int) -> list[str]:
    """Print what the kernels take; return complaints."""
    complaints = []
    for kernel, name in zip(kernels, readable([k.name for k in kernels]), strict=True):
        numbers = f"{kernel.registers:4d} registers {kernel.spilled_bytes:5d} spilled"
        line = f"sm_{architecture} {numbers} {kernel.stack_bytes:5d} stack  {name}"
        print(line)
        budget = budget_of(kernel.name)
        if kernel.registers > budget.registers or kernel.spilled_bytes > budget.spilled_bytes:
            complaints.append("over the budget: " + line)
    return complaints


def main() -> int:
    """Return 1 if anything is over its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="where the PTX goes")
    parser.add_argument("--assemble", type=int, nargs="*", default=(75, 90))
    parser.add_argument("--architectures", type=int, nargs="*", default=ARCHITECTURES)
    options = parser.parse_args()
    options.build.mkdir(parents=True, exist_ok=True)
    complaints = []
    for unit in sorted((ROOT / "csrc" / "cuda").glob("*.cu")):
        for architecture in options.architectures:
            ptx = compile_to_ptx(unit, architecture, options.build)
            complaints += [f"{name}: no 128-bit loads" for name in without_packets(ptx.read_text())]
            if architecture not in options.assemble:
                continue
            complaints += over_budget(assemble(ptx, architecture), architecture)
    print(*complaints, sep="\n")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
