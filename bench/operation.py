# SPDX-License-Identifier: BSD-3-Clause
"""What a bench file declares: an operation, the cases it is measured on, and its targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Call = Callable[[], object]
Builder = Callable[..., Call]

OURS = "logloss"
OURS_OUT = "logloss out="
TORCH = "torch"
BEST_PEER = "best peer"
LIMIT = "limit"


@dataclass(frozen=True)
class Case:
    """A shape, a dtype, the axis of the classes (None: element-wise) and an option in use."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    axis: int | None = 1
    option: str = ""

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.shape))} {self.dtype} {self.option}".rstrip()


@dataclass(frozen=True)
class Target:
    """A promise: on each of `cases`, `variant` is at least `ratio` times as fast as `against`.

    `against` is a peer, BEST_PEER, a yardstick of the operation, or LIMIT: then `ratio` is the
    share of the memory bandwidth that `variant` reaches. On one thread, or on `all_threads`. The
    promise is kept as well where the memory stands in the way: at a share of `unless_limit`.
    """

    cases: Sequence[Case]
    ratio: float
    against: str
    variant: str = OURS
    all_threads: bool = False
    unless_limit: float = math.inf


@dataclass(frozen=True)
class Operation:
    """What is computed, on which cases, by whom, and how fast it is meant to be.

    `inputs(case)` makes the named arrays, the one the limits are measured on first. They are
    passed by name to `reference`, which returns the float64 results (scalars whole, arrays as
    `sample_rows` gives them), and to each builder in `variants`, which returns the call to time.
    `reads` and `writes` count the sweeps over arrays of the size of the first one that no
    implementation can avoid: a loss of two arrays of that size reads twice.
    `yardsticks` are further calls that targets compare or are about; they are built only for the
    cases whose targets name them.
    """

    name: str
    reads: int
    writes: int
    cases: Sequence[Case]
    quick_cases: Sequence[Case]
    inputs: Callable[[Case], dict[str, Array]]
    reference: Callable[..., tuple[Array, ...]]
    variants: Mapping[str, Builder]
    yardsticks: Mapping[str, Builder] = field(default_factory=dict)
    targets: Sequence[Target] = ()

    def targets_on(self, threads: int) -> list[Target]:
        """Return the targets about one thread, or else about all threads."""
        return [target for target in self.targets if target.all_threads == (threads > 1)]
