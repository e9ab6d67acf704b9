# SPDX-License-Identifier: BSD-3-Clause
"""
The functions of logloss: checks and options here, arithmetic in ``logloss._core``.

Shapes are written as (N, C): N samples (any number of axes) of C classes along the class axis.
Losses are in nats. Inputs are float16, bfloat16 (ml_dtypes), float32 or float64 arrays with any
strides; half types are computed in float32. Of arrays of one dtype and shape, nothing of their size
is allocated but the results. A masked array counts as the array behind the mask. Calls release the
GIL and use up to ``get_num_threads()`` threads; the bits of a result depend on neither threads nor
strides nor the instruction set (AVX2, AVX-512, NEON).

Every function also takes C-contiguous arrays on one NVIDIA GPU, by DLPack or
``__cuda_array_interface__``, if the CUDA kernels are installed. It returns a ``DeviceArray``, for a
float one without axes, or `out`, and does not wait: for a target that is no class loss and gradient
are NaN, and the error is raised where the result is brought to the host. ``stream=`` is a handle
(1 the legacy default stream, 2 that of the thread) or a stream of torch, CuPy or CUDA Python; by
default it is the one that the first array names, else the legacy one. Streams that other arrays
name are waited for, and then wait for the call, on the device.
"""

from __future__ import annotations

from logloss.functional._binary import (
    binary_cross_entropy,
    binary_cross_entropy_backward,
    binary_cross_entropy_value_and_grad,
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_backward,
    binary_cross_entropy_with_logits_value_and_grad,
    log_sigmoid,
    log_sigmoid_backward,
    sigmoid,
    sigmoid_backward,
)
from logloss.functional._cosine import (
    cosine_embedding_loss,
    cosine_embedding_loss_backward,
    cosine_embedding_loss_value_and_grad,
)
from logloss.functional._cross_entropy import (
    cross_entropy,
    cross_entropy_backward,
    cross_entropy_value_and_grad,
    nll_loss,
    nll_loss_backward,
    nll_loss_value_and_grad,
)
from logloss.functional._entropy import (
    entropy,
    entropy_backward,
    entropy_with_logits,
    entropy_with_logits_backward,
)
from logloss.functional._kl_div import (
    kl_div,
    kl_div_backward,
    kl_div_value_and_grad,
    kl_div_with_logits,
    kl_div_with_logits_backward,
    kl_div_with_logits_value_and_grad,
)
from logloss.functional._softmax import (
    log_softmax,
    log_softmax_backward,
    logsumexp,
    logsumexp_backward,
    softmax,
    softmax_backward,
)

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_value_and_grad",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_backward",
    "binary_cross_entropy_with_logits_value_and_grad",
    "cosine_embedding_loss",
    "cosine_embedding_loss_backward",
    "cosine_embedding_loss_value_and_grad",
    "cross_entropy",
    "cross_entropy_backward",
    "cross_entropy_value_and_grad",
    "entropy",
    "entropy_backward",
    "entropy_with_logits",
    "entropy_with_logits_backward",
    "kl_div",
    "kl_div_backward",
    "kl_div_value_and_grad",
    "kl_div_with_logits",
    "kl_div_with_logits_backward",
    "kl_div_with_logits_value_and_grad",
    "log_sigmoid",
    "log_sigmoid_backward",
    "log_softmax",
    "log_softmax_backward",
    "logsumexp",
    "logsumexp_backward",
    "nll_loss",
    "nll_loss_backward",
    "nll_loss_value_and_grad",
    "sigmoid",
    "sigmoid_backward",
    "softmax",
    "softmax_backward",
]
