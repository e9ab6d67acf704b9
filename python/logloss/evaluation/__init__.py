# SPDX-License-Identifier: BSD-3-Clause
"""
High-throughput evaluation of stored logits.

`CrossEntropyState` accumulates batches and merges with other states without any rounding.
`evaluate` streams whole ``.npy`` files, larger than memory if need be, through such a state.
The ``logloss`` command is a thin layer over this package.
"""

from __future__ import annotations

from logloss.evaluation.readers import DataError
from logloss.evaluation.runner import Evaluation, Progress, evaluate
from logloss.evaluation.state import CrossEntropyResult, CrossEntropyState

__all__ = [
    "CrossEntropyResult",
    "CrossEntropyState",
    "DataError",
    "Evaluation",
    "Progress",
    "evaluate",
]
