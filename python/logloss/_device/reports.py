# SPDX-License-Identifier: BSD-3-Clause
"""What kernels find wrong with values, raised where a result is brought to the host."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logloss import _validate
from logloss._device.arrays import DType, Operand
from logloss._device.module import cuda

NOWHERE = 2**64 - 1
OF_TARGET = 2**63


def fetch(report: Operand) -> NDArray[np.uint64]:
    """Wait for the words of a report."""
    words = np.empty(report.shape, np.uint64)
    place = report.owner.stream, report.owner.device
    cuda().fetch(words.ctypes.data, report.address, words.nbytes, *place)
    return words


@dataclass(frozen=True, slots=True)
class TargetReport:
    """The first target that is out of range: (valid ones, position, value)."""

    words: Operand
    shape: tuple[int, ...]
    dtype: DType
    classes: int

    def check(self) -> None:
        """IndexError for a target that is neither a class nor ignored."""
        _, first_bad, value = fetch(self.words)
        if first_bad != NOWHERE:
            signed = self.dtype.kind == "i"
            number = int(value.astype(np.int64)) if signed else int(value)
            raise _validate.no_class(self.shape, int(first_bad), number, self.classes)


@dataclass(frozen=True, slots=True)
class MisfitReport:
    """The first value outside [0, 1], of the input before the target: (position, value)."""

    words: Operand
    shape: tuple[int, ...]

    def check(self) -> None:
        """ValueError for a value that is no probability."""
        first, value = fetch(self.words)
        if first != NOWHERE:
            name = "target" if first >= OF_TARGET else "input"
            position = int(first) % OF_TARGET
            number = float(value.view(np.float64))
            raise _validate.not_a_probability(name, self.shape, position, number)
