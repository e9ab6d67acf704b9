# SPDX-License-Identifier: BSD-3-Clause
"""log_softmax and softmax over the class axis: forward, and backward alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bench import peers
from bench.builders import function_operations
from bench.inputs import random_normal, sample_rows
from bench.operation import BEST_PEER, LIMIT, OURS_OUT, TORCH, Array, Call, Case, Target
from bench.yardsticks import FLOAT32, avx2_target, portable_target

CALL = Case((1, 10))
SHAPES = tuple(map(Case, ((65536, 10), (65536, 128), (8192, 1000), (2048, 32000), (512, 128256))))
INNER = (Case((8, 21, 256, 256)), Case((2, 1000, 64, 64)))
HALF = (Case((2048, 32000), "bfloat16"), Case((2048, 32000), "float16"))
DOUBLE = (Case((2048, 32000), "float64"),)
QUICK_CASES = (CALL, Case((4096, 10)), Case((512, 1000)), Case((64, 32000)), Case((1, 21, 64, 64)))
TARGETS = (
    Target(SHAPES, 3.0, against=TORCH),
    Target(SHAPES, 1.5, against=BEST_PEER, variant=OURS_OUT),
    Target(SHAPES, 0.70, against=LIMIT, variant=OURS_OUT),
    Target(INNER, 4.0, against=TORCH),
    Target(INNER, 1.5, against=BEST_PEER, variant=OURS_OUT),
    Target(HALF, 8.0, against=TORCH),
    Target(HALF, 1.3, against=FLOAT32, variant=OURS_OUT, all_threads=True),
    Target(DOUBLE, 4.0, against=TORCH),
    avx2_target(*SHAPES, *INNER),
    portable_target(*SHAPES[:3]),
)
BACKWARD_TARGETS = (avx2_target(SHAPES[0], *SHAPES[2:4]),)


def inputs(case: Case) -> dict[str, Array]:
    return {"input": random_normal(case, scale=3.0)}


def options(case: Case) -> dict[str, Any]:
    return {"axis": case.axis}


def reference(name: str, case: Case, input: Array) -> tuple[Array]:
    wide = sample_rows(input, case.axis).astype(np.float64)
    log_probs = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return (log_probs if name == "log_softmax" else np.exp(log_probs),)


def reference_backward(name: str, case: Case, input: Array, grad_output: Array) -> tuple[Array]:
    (probs,) = reference("softmax", case, input)
    grad = sample_rows(grad_output, case.axis).astype(np.float64)
    if name == "log_softmax":
        return (grad - probs * grad.sum(axis=1, keepdims=True),)
    return (probs * (grad - (probs * grad).sum(axis=1, keepdims=True)),)


def torch_function(name: str, case: Case) -> Any:
    return partial(getattr(peers.load("torch").nn.functional, name), dim=case.axis)


def torch_forward_out(name: str, case: Case, input: Array) -> Call:
    torch = peers.load("torch")
    function, x = getattr(torch, name), peers.torch_tensor(input)
    output = torch.empty_like(x)
    return lambda: function(x, case.axis, out=output)


def jax_function(name: str, case: Case) -> Any:
    function = getattr(peers.load("jax").nn, name)

    def named(input: Any) -> Any:
        return function(input, case.axis)

    return named


def onnxruntime_forward_out(name: str, case: Case, input: Array) -> Call:
    operator = {"log_softmax": "LogSoftmax", "softmax": "Softmax"}[name]
    return peers.onnx_call(operator, case.shape, {"x": input}, axis=case.axis)


def scipy_forward(name: str, case: Case, input: Array) -> Call:
    function = getattr(peers.load("scipy.special"), name)
    dtype = input.dtype
    return lambda: function(peers.widened(input), axis=case.axis).astype(dtype, copy=False)


def numpy_forward(name: str, case: Case, input: Array) -> Call:
    def call() -> Any:
        x = peers.widened(input)
        shifted = x - x.max(axis=case.axis, keepdims=True)
        exps = np.exp(shifted)
        total = exps.sum(axis=case.axis, keepdims=True)
        output = shifted - np.log(total) if name == "log_softmax" else exps / total
        return output.astype(input.dtype, copy=False)

    return call


def numpy_backward(name: str, case: Case, input: Array, grad_output: Array) -> Call:
    """Work backward from the output, as torch and jax do."""
    kept = np.asarray(numpy_forward(name, case, input)())

    def call() -> Any:
        output, g = peers.widened(kept), peers.widened(grad_output)
        if name == "log_softmax":
            grad = g - np.exp(output) * g.sum(axis=case.axis, keepdims=True)
        else:
            product = output * g
            grad = product - output * product.sum(axis=case.axis, keepdims=True)
        return grad.astype(input.dtype, copy=False)

    return call


FORWARD = {
    "torch out=": torch_forward_out,
    "onnxruntime out=": onnxruntime_forward_out,
    "scipy": scipy_forward,
    "numpy": numpy_forward,
}

OPERATIONS = tuple(
    operation
    for name in ("log_softmax", "softmax")
    for operation in function_operations(
        name,
        cases=(*SHAPES, *INNER, *HALF, *DOUBLE, CALL),
        backward_cases=(SHAPES[0], *SHAPES[2:4]),
        quick_cases=QUICK_CASES,
        inputs=inputs,
        reference=partial(reference, name),
        reference_backward=partial(reference_backward, name),
        torch=partial(torch_function, name),
        jax=partial(jax_function, name),
        forward_peers={label: partial(build, name) for label, build in FORWARD.items()},
        backward_peers={"numpy": partial(numpy_backward, name)},
        options=options,
        targets=TARGETS,
        backward_targets=BACKWARD_TARGETS,
    )
)
