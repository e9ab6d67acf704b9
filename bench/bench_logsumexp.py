# SPDX-License-Identifier: BSD-3-Clause
"""logsumexp over the class axis, one value per row: forward, and backward alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import peers
from bench.builders import function_operations
from bench.inputs import float64_rows, random_normal, sample_rows
from bench.operation import Array, Call, Case
from bench.yardsticks import avx2_target, portable_target

MEDIUM = Case((8192, 1000))
LARGE = Case((2048, 32000))
CASES = (Case((65536, 10)), MEDIUM, LARGE)
BACKWARD_CASES = (MEDIUM, LARGE)
QUICK_CASES = (Case((4096, 10)), Case((512, 1000)), Case((64, 32000)))


def inputs(case: Case) -> dict[str, Array]:
    return {"input": random_normal(case, scale=3.0)}


def options(case: Case) -> dict[str, Any]:
    return {"axis": case.axis}


def reference(case: Case, input: Array) -> tuple[Array]:
    totals = float64_rows(lambda x: np.log(np.exp(x).sum(axis=1)), case.axis, input)
    return (sample_rows(totals, None),)


def reference_backward(case: Case, input: Array, grad_output: Array) -> tuple[Array]:
    arrays = (input, grad_output[:, None])
    x, g = (sample_rows(array, case.axis).astype(np.float64) for array in arrays)
    return (g * np.exp(x) / np.exp(x).sum(axis=1, keepdims=True),)


def torch_function(case: Case) -> Any:
    torch = peers.load("torch")

    def logsumexp(input: Any) -> Any:
        return torch.logsumexp(input, case.axis)

    return logsumexp


def jax_function(case: Case) -> Any:
    jax = peers.load("jax")

    def logsumexp(input: Any) -> Any:
        return jax.nn.logsumexp(input, case.axis)

    return logsumexp


def scipy_forward(case: Case, input: Array) -> Call:
    logsumexp = peers.load("scipy.special").logsumexp
    return lambda: logsumexp(input, axis=case.axis)


OPERATIONS = function_operations(
    "logsumexp",
    cases=CASES,
    backward_cases=BACKWARD_CASES,
    quick_cases=QUICK_CASES,
    inputs=inputs,
    reference=reference,
    reference_backward=reference_backward,
    torch=torch_function,
    jax=jax_function,
    forward_peers={"scipy": scipy_forward},
    options=options,
    reduces=True,
    targets=(avx2_target(*CASES), portable_target(*CASES[:2])),
    backward_targets=(avx2_target(*BACKWARD_CASES),),
)
