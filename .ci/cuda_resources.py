# SPDX-License-Identifier: BSD-3-Clause
"""
Compile the CUDA kernels without a GPU and hold what they take against a budget.

Every unit is compiled to PTX for every architecture with warnings as errors. For the architectures
of ``--assemble`` ptxas makes machine code of it and reports registers and spills; rows and elements
must be read and written 16 bytes at a time, and in the machine code (where there is nvdisasm) no
loop over elements may touch what was spilled. Prints one line for each kernel, and what is amiss.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
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
    loads: bool = False  # whether they read rows or elements
    stores: bool = False  # whether they write them in packets
    one_thread: bool = False  # whose loops are over the limbs of a sum


# The first that fits counts. 96 registers keep two blocks of 320 threads on a multiprocessor, or
# five of 128; 128 keep four of 128, 80 three of 256, 64 four. What is spilled are numbers of pairs
# of rows, of rows with coefficients and of rows of float64 that wait for the end of a sweep.
BUDGETS = (
    Budget("rows_by_part.*9LogSumExpI", 80, 0),
    Budget("9LogSumExpI", 96, 0, loads=True),
    Budget("rows_by_part", 80, 16, loads=True, stores=True),
    Budget("rows_by_block.*SoftmaxBackward.*ELb0EEEvT_i", 128, 0, loads=True, stores=True),
    Budget("rows_by_block.*10Divergence.*ELb0EEEvT_i", 128, 64, loads=True),
    Budget("rows_by_block.*7Entropy.*ELb0EEEvT_i", 128, 64, loads=True, stores=True),
    Budget("rows_by_block.*ELb0EEEvT_i", 128, 0, loads=True),
    Budget("rows_by_(team|block).*7EntropyI", 96, 64, loads=True, stores=True),
    Budget("rows_by_(team|block).*(10Divergence|15CosineEmbedding)I", 96, 192, loads=True),
    Budget("rows_by_(team|block).*CrossEntropyI.*Lb1", 96, 192, loads=True, stores=True),
    Budget("rows_by_team.*CrossEntropyId", 96, 64, loads=True, stores=True),
    Budget("rows_by_(team|block)", 96, 0, loads=True, stores=True),
    Budget("sweep_chunks.*NoTerms", 96, 0, loads=True),
    Budget("join_chunks.*ProbabilityTermsId", 96, 256, loads=True),
    Budget("(sweep|join)_chunks", 96, 192, loads=True),
    Budget("(elements|map)_kernel", 64, 0, loads=True, stores=True),
    Budget("nll_", 48, 0),
    Budget("class_rows_kernel", 32, 0),
    Budget("weight_of_rows_kernel", 40, 0),
    Budget("(convert|repeat)_kernel", 40, 0),
    Budget("sum_(distant|neighbouring)_copies", 64, 0),
    Budget("fill_kernel|name_misfit_kernel|name_bad_target", 32, 0),
    Budget("finish_sum_kernel", 255, 1000, one_thread=True),
)

# Accesses of 16 bytes, in PTX.
LOADS = re.compile(
    r"\bld(?!\.(shared|local|param))(\.\w+)*\.v(4\.[ufb]32|2\.[ufb]64)"
    r"|\bcp\.async\.cg\.shared\.global"
)
STORES = re.compile(r"\bst\.global(\.\w+)*\.v4\.[ub]32")
# A loop over elements may touch what was spilled once for so many multiply-adds.
MULTIPLY_ADDS = 32


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
        if re.search(budget.pattern, name):
            return budget
    raise SystemExit(f"{name}: a kernel without a budget")


def compile_to_ptx(unit: Path, architecture: int, build: Path, optimised: bool) -> Path:
    """Compile a unit with warnings as errors."""
    ptx = build / f"{unit.stem}_{architecture}.ptx"
    flags = (*FLAGS, *STRICT, f"-arch=compute_{architecture}")
    # What is not assembled needs no optimisation: half the time.
    level = () if optimised else ("-Xcicc", "-O1")
    subprocess.run(["nvcc", *flags, *level, "-ptx", "-o", str(ptx), str(unit)], check=True)
    return ptx


def entries(ptx: str) -> dict[str, str]:
    """Split PTX into its kernels."""
    parts = re.split(r"^\.visible \.entry (\w+)\(", ptx, flags=re.MULTILINE)
    return {
        name: body.split("\n}\n")[0] for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def narrow_accesses(ptx: str) -> list[str]:
    """Kernels over rows or elements that do not move 16 bytes at a time."""
    complaints = []
    for name, body in entries(ptx).items():
        budget = budget_of(name)
        if budget.loads and not LOADS.search(body):
            complaints.append(f"{name}: no 128-bit loads")
        if budget.stores and not STORES.search(body):
            complaints.append(f"{name}: no 128-bit stores")
    return complaints


def assemble(ptx: Path, architecture: int) -> tuple[Path, list[Kernel]]:
    """Run ptxas and read what it says of each kernel."""
    cubin = ptx.with_suffix(".cubin")
    command = ["ptxas", "-v", "-O3", f"-arch=sm_{architecture}", "-o", str(cubin), str(ptx)]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    pattern = re.compile(
        r"Compiling entry function '(?P<name>\w+)'.*?Function properties for (?P=name)\s+"
        r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores.*?"
        r"Used (?P<registers>\d+) registers",
        re.DOTALL,
    )
    return cubin, [
        Kernel(m["name"], int(m["registers"]), int(m["stores"]), int(m["stack"]))
        for m in pattern.finditer(report)
    ]


def innermost_loops(lines: list[str]) -> list[list[str]]:
    """Find the loops that hold no other in machine code: from a label to a jump back to it."""
    labels: dict[str, int] = {}
    loops: list[tuple[int, int]] = []
    for i, line in enumerate(lines):
        if match := re.match(r"(\.L_\w+):", line):
            labels[match[1]] = i
        elif (match := re.search(r"\bBRA\b.*`\((\.L_\w+)\)", line)) and match[1] in labels:
            loops.append((labels[match[1]], i))
    return [
        lines[start:end]
        for start, end in loops
        if not any((s, e) != (start, end) and start <= s and e <= end for s, e in loops)
    ]


def spills_in_loops(cubin: Path) -> list[str]:
    """Kernels that touch spilled registers in a loop over elements."""
    code = subprocess.run(
        ["nvdisasm", "-c", str(cubin)], check=True, capture_output=True, text=True
    )
    complaints = []
    for kernel in re.split(r"^\.text\.", code.stdout, flags=re.MULTILINE)[1:]:
        name, *lines = kernel.splitlines()
        if budget_of(name).one_thread:
            continue
        for loop in innermost_loops(lines):
            text = "\n".join(loop)
            touched = len(re.findall(r"\b(?:LDL|STL)\b", text))
            work = len(re.findall(r"\b[FD]FMA\b", text))
            if work and touched > work / MULTIPLY_ADDS:
                complaints.append(f"{name} {touched} accesses to spilled registers in a loop")
    return complaints


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


def check(unit: Path, architecture: int, options: argparse.Namespace) -> list[str]:
    """Compile a unit for an architecture, print what it takes, return complaints."""
    start = time.monotonic()
    assembled = architecture in options.assemble
    ptx = compile_to_ptx(unit, architecture, options.build, optimised=assembled)
    complaints = []
    if assembled:
        complaints += narrow_accesses(ptx.read_text())
        cubin, kernels = assemble(ptx, architecture)
        complaints += over_budget(kernels, architecture)
        if shutil.which("nvdisasm"):
            complaints += spills_in_loops(cubin)
        else:
            print("no nvdisasm here: loops were not looked at")
    print(f"{unit.name} for {architecture}: {time.monotonic() - start:.0f} s", flush=True)
    return complaints


def main() -> int:
    """Return 1 if anything is amiss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="where the PTX goes")
    parser.add_argument("--assemble", type=int, nargs="*", default=(75, 90))
    parser.add_argument("--architectures", type=int, nargs="*", default=ARCHITECTURES)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    options.build.mkdir(parents=True, exist_ok=True)
    # The largest first, so that none is left to be waited for.
    units = sorted((ROOT / "csrc" / "cuda").glob("*.cu"), key=lambda u: -u.stat().st_size)
    order = sorted(options.architectures, key=lambda a: a not in options.assemble)
    with ThreadPoolExecutor(options.jobs) as pool:
        results = [pool.submit(check, unit, a, options) for a in order for unit in units]
    complaints = [complaint for result in results for complaint in result.result()]
    print(*complaints, sep="\n")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
