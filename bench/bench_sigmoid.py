# SPDX-License-Identifier: BSD-3-Clause
"""sigmoid and log_sigmoid: forward, and backward alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bench import peers
from bench.builders import function_operations
from bench.inputs import random_normal, sample_rows
from bench.operation import Array, Builder, Call, Case
from bench.yardsticks import avx2_target, portable_target

SMALL = Case((2**20,), axis=None)
LARGE = Case((2**24,), axis=None)
CASES = (SMALL, LARGE, Case((2**24,), "float16", axis=None))
QUICK_CASES = (Case((2**16,), axis=None), SMALL)
TARGETS = (avx2_target(SMALL, LARGE), portable_target(SMALL, LARGE))
BACKWARD_TARGETS = (avx2_target(SMALL, LARGE),)


def inputs(case: Case) -> dict[str, Array]:
    return {"input": random_normal(case, scale=3.0)}


def reference(name: str, case: Case, input: Array) -> tuple[Array]:
    x = sample_rows(input, None).astype(np.float64)
    return (1.0 / (1.0 + np.exp(-x)) if name == "sigmoid" else -np.logaddexp(0.0, -x),)


def reference_backward(name: str, case: Case, input: Array, grad_output: Array) -> tuple[Array]:
    g = sample_rows(grad_output, None).astype(np.float64)
    (s,) = reference("sigmoid", case, input)
    return (g * s * (1.0 - s) if name == "sigmoid" else g * (1.0 - s),)


def torch_function(name: str, case: Case) -> Any:
    torch = peers.load("torch")
    return torch.sigmoid if name == "sigmoid" else torch.nn.functional.logsigmoid


def torch_sigmoid_out(case: Case, input: Array) -> Call:
    torch = peers.load("torch")
    x = peers.torch_tensor(input)
    output = torch.empty_like(x)
    return lambda: torch.sigmoid(x, out=output)


def jax_function(name: str, case: Case) -> Any:
    function = getattr(peers.load("jax").nn, name)

    def named(input: Any) -> Any:
        return function(input)

    return named


def onnxruntime_sigmoid_out(case: Case, input: Array) -> Call:
    return peers.onnx_call("Sigmoid", case.shape, {"x": input})


def scipy_forward(name: str, case: Case, input: Array) -> Call:
    special = peers.load("scipy.special")
    function = special.expit if name == "sigmoid" else special.log_expit
    return lambda: function(peers.widened(input)).astype(input.dtype, copy=False)


FORWARD: dict[str, dict[str, Builder]] = {
    "sigmoid": {"torch out=": torch_sigmoid_out, "onnxruntime out=": onnxruntime_sigmoid_out},
    "log_sigmoid": {},
}

OPERATIONS = tuple(
    operation
    for name, only_here in FORWARD.items()
    for operation in function_operations(
        name,
        cases=CASES,
        backward_cases=(SMALL, LARGE),
        quick_cases=QUICK_CASES,
        inputs=inputs,
        reference=partial(reference, name),
        reference_backward=partial(reference_backward, name),
        torch=partial(torch_function, name),
        jax=partial(jax_function, name),
        forward_peers={**only_here, "scipy": partial(scipy_forward, name)},
        targets=TARGETS,
        backward_targets=BACKWARD_TARGETS,
    )
)
