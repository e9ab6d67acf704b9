# SPDX-License-Identifier: BSD-3-Clause
"""Writes a run into the documentation: a block of README.md, the whole record, the picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import picture, report
from bench.harness import Result
from bench.verdicts import Verdict

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
_RECORD = Path("bench/scorecard.md")
_PICTURE = Path("bench/scorecard.svg")


def write(machine: dict[str, Any], results: Sequence[Result], verdicts: Sequence[Verdict]) -> None:
    """Rewrite the block between the marks in README.md, and the two files it refers to."""
    shown = picture.highlights(results)
    picture.draw(ROOT / _PICTURE, machine, shown)
    (ROOT / _RECORD).write_text(record(machine, results, verdicts))
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    _, after = rest.split(END)
    readme.write_text(f"{before}{BEGIN}\n{block(machine, shown, verdicts)}\n{END}{after}")


def block(machine: dict[str, Any], shown: Sequence[Result], verdicts: Sequence[Verdict]) -> str:
    """Return what the README says about a run."""
    return f"""\
![Share of the memory bandwidth that torch, the best peer and logloss reach]({_PICTURE})

`python -m bench` printed these lines: one thread, {machine["logloss"]["isa"]}, {machine["cpu"]}.
`best peer` is the fastest of torch, torch.compile, jax, onnxruntime, scipy, scikit-learn and NumPy;
`out=` is logloss writing into an array that exists already; `limit` is the time in which this
machine just reads the input or, where the result is as large, copies it, and `of limit` the share
of that bandwidth which logloss reaches.

{report.scorecard(shown, report.README_COLUMNS)}

{report.summary(verdicts)}. [{_RECORD}]({_RECORD}) has every operation,
shape and type, the runs on all threads, the cost of a call on a tiny array, the memory that calls
add, and each target with the measured value."""


def record(machine: dict[str, Any], results: Sequence[Result], verdicts: Sequence[Verdict]) -> str:
    """Return everything that a run prints."""
    return f"""\
# Scorecard

`python -m bench` on this machine:

```
{report.machine_lines(machine)}
```

{report.READING_AID}

{report.scorecard(results)}

Variants without a time, and in how many cases:

{report.notes(results)}

## Targets: {report.summary(verdicts)}

In the way of a missed one stands what a section of [limits.md](limits.md) says, or the memory: then
`limit` is what even the bandwidth measured beside it allows.

{report.verdict_table(verdicts)}
"""
