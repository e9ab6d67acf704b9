# SPDX-License-Identifier: BSD-3-Clause
"""Logarithmic losses for NumPy at the speed of memory."""

from __future__ import annotations

from logloss._core import __version__
from logloss._runtime import config, get_num_threads, set_num_threads
from logloss.functional import (
    cross_entropy,
    cross_entropy_backward,
    cross_entropy_value_and_grad,
    log_softmax,
    log_softmax_backward,
    logsumexp,
    logsumexp_backward,
    nll_loss,
    nll_loss_backward,
    nll_loss_value_and_grad,
    softmax,
    softmax_backward,
)

__all__ = [
    "__version__",
    "config",
    "cross_entropy",
    "cross_entropy_backward",
    "cross_entropy_value_and_grad",
    "get_num_threads",
    "log_softmax",
    "log_softmax_backward",
    "logsumexp",
    "logsumexp_backward",
    "nll_loss",
    "nll_loss_backward",
    "nll_loss_value_and_grad",
    "set_num_threads",
    "softmax",
    "softmax_backward",
]
