# SPDX-License-Identifier: BSD-3-Clause
"""The kernels of logloss for arrays on NVIDIA GPUs, built with CUDA 13."""

from logloss import __version__ as expected
from logloss_cuda13._cuda import __version__

if __version__ != expected:
    raise ImportError(f"logloss {expected} needs logloss-cuda13 {expected}, got {__version__}")
