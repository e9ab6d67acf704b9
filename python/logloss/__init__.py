# SPDX-License-Identifier: BSD-3-Clause
"""Logarithmic losses for NumPy at the speed of memory."""

from __future__ import annotations

from logloss import functional, modules
from logloss._core import __version__
from logloss._runtime import config, get_num_threads, set_num_threads
from logloss.functional import *  # noqa: F403  (the names in functional.__all__)
from logloss.modules import *  # noqa: F403  (the names in modules.__all__)

__all__ = ["__version__", "config", "get_num_threads", "set_num_threads"]
__all__ += functional.__all__
__all__ += modules.__all__
