# SPDX-License-Identifier: BSD-3-Clause
"""
Arrays on NVIDIA GPUs: whether a call has any, and what then becomes of it.

An array counts as one on a device if its ``__dlpack_device__`` says CUDA, or, without that method,
if it has a ``__cuda_array_interface__``. The CUDA module is imported when the first one is met.
"""

from __future__ import annotations

from logloss._device.arrays import DeviceArray, on_device
from logloss._device.elements import function, function_backward
from logloss._device.losses import class_losses, element_losses, pair_losses
from logloss._device.rows import (
    row_values,
    row_values_backward,
    softmax_like,
    softmax_like_backward,
)

__all__ = [
    "DeviceArray",
    "class_losses",
    "element_losses",
    "function",
    "function_backward",
    "on_device",
    "pair_losses",
    "row_values",
    "row_values_backward",
    "softmax_like",
    "softmax_like_backward",
]
