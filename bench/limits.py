# SPDX-License-Identifier: BSD-3-Clause
"""Which section of limits.md says what stands in the way of a target."""

from __future__ import annotations

import numpy as np

from bench.operation import Case, Target
from bench.yardsticks import level

FILE = "limits.md"
_FEW_CLASSES = 32


def section(target: Target, case: Case, *, writes: bool) -> str:
    """Return its heading; `writes`: results as large as the input."""
    if target.variant == level("portable"):
        return "The portable level"
    if target.variant == level("avx2"):
        return "AVX2"
    if case.dtype == "float64":
        return "float64"
    if case.dtype != "float32":
        return "16-bit logits"
    if case.axis is None:
        return "Element-wise losses"
    if case.axis != len(case.shape) - 1:
        return "A class axis that is not last"
    if int(np.prod(case.shape)) < 1000:
        return "Calls"
    if case.shape[-1] <= _FEW_CLASSES:
        return "Rows of few classes"
    return "Second sweeps" if writes else "Rows of many classes"


def link(heading: str) -> str:
    """Return a Markdown link to a section, as it stands beside limits.md."""
    return f"[{heading}]({FILE}#{heading.lower().replace(' ', '-')})"
