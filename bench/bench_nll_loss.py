# SPDX-License-Identifier: BSD-3-Clause
"""nll_loss of log-probabilities with the mean: a gather, and a gradient that is nearly all zeros.

The limit of the forward pass counts the targets alone, without the one number picked per row.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bench import peers
from bench.builders import loss_operations
from bench.inputs import random_classes, random_probs, sample_rows
from bench.operation import Array, Call, Case
from bench.yardsticks import avx2_target

CASES = (Case((65536, 10)), Case((8192, 1000)), Case((2048, 32000)), Case((8, 21, 256, 256)))
QUICK_CASES = (Case((4096, 10)), Case((64, 32000)), Case((1, 21, 64, 64)))
TARGETS = (avx2_target(*CASES),)


def inputs(case: Case) -> dict[str, Array]:
    return {"input": random_probs(case, scale=3.0, log=True), "target": random_classes(case)}


def target_first(case: Case) -> dict[str, Array]:
    return dict(reversed(inputs(case).items()))


def picked(case: Case, array: Any, target: Any, numpy: Any = np) -> Any:
    """Return the values of `array` at the targets, in the shape of `target`."""
    index = numpy.expand_dims(target, case.axis)
    return numpy.take_along_axis(array, index, case.axis).squeeze(case.axis)


def reference(case: Case, input: Array, target: Array) -> tuple[Array, ...]:
    grad = np.zeros(sample_rows(input, case.axis).shape)
    index = sample_rows(np.expand_dims(target, case.axis), case.axis)
    np.put_along_axis(grad, index, -1.0 / target.size, 1)
    return -picked(case, input, target).astype(np.float64).mean(), grad


def torch_loss(case: Case) -> Any:
    return peers.load("torch").nn.functional.nll_loss


def jax_loss(case: Case) -> Any:
    jnp = peers.load("jax").numpy

    def loss(input: Any, target: Any) -> Any:
        return -picked(case, input, target, jnp).mean()

    return loss


def onnxruntime_forward(case: Case, input: Array, target: Array) -> Call:
    arrays = {"input": input, "target": target}
    return peers.onnx_call("NegativeLogLikelihoodLoss", (), arrays, reduction="mean")


def numpy_forward(case: Case, input: Array, target: Array) -> Call:
    return lambda: -picked(case, input, target).mean(dtype=np.float32)


def numpy_forward_backward(case: Case, input: Array, target: Array) -> Call:
    index = np.expand_dims(target, case.axis)

    def call() -> tuple[Any, Array]:
        grad = np.zeros(input.shape, input.dtype)
        np.put_along_axis(grad, index, -1.0 / target.size, case.axis)
        return -picked(case, input, target).mean(dtype=np.float32), grad

    return call


FORWARD, FORWARD_BACKWARD = loss_operations(
    "nll_loss",
    reads=0,
    cases=CASES,
    quick_cases=QUICK_CASES,
    inputs=inputs,
    reference=reference,
    torch=torch_loss,
    jax=jax_loss,
    forward_peers={"onnxruntime": onnxruntime_forward, "numpy": numpy_forward},
    backward_peers={"numpy": numpy_forward_backward},
    targets=TARGETS,
    backward_targets=TARGETS,
)
OPERATIONS = (replace(FORWARD, inputs=target_first, reads=1), FORWARD_BACKWARD)
