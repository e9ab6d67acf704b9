# SPDX-License-Identifier: BSD-3-Clause
"""log_softmax and softmax over the class axis: forward, and backward alone.

torch, jax and numpy work backward from the output they keep; logloss works from its input.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bench import peers
from bench.harness import Array, Call, Case, Operation, aligned_empty, random_normal, sample_rows

CASES = (
    Case((65536, 10)),
    Case((65536, 128)),
    Case((8192, 1000)),
    Case((2048, 32000)),
    Case((512, 128256)),
    Case((2048, 32000), "bfloat16"),
    Case((2048, 32000), "float16"),
    Case((2048, 32000), "float64"),
)
QUICK_CASES = (Case((4096, 10)), Case((512, 1000)), Case((64, 32000)))


def forward_inputs(case: Case) -> dict[str, Array]:
    return {"logits": random_normal(case, scale=3.0)}


def backward_inputs(case: Case) -> dict[str, Array]:
    return {
        "logits": random_normal(case, scale=3.0),
        "grad_output": random_normal(case, scale=1.0, seed=1),
    }


def reference_forward(name: str, case: Case, logits: Array) -> tuple[Array]:
    wide = sample_rows(logits, case.axis).astype(np.float64)
    log_probs = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return (log_probs if name == "log_softmax" else np.exp(log_probs),)


def reference_backward(name: str, case: Case, logits: Array, grad_output: Array) -> tuple[Array]:
    (probs,) = reference_forward("softmax", case, logits)
    grad = sample_rows(grad_output, case.axis).astype(np.float64)
    if name == "log_softmax":
        return (grad - probs * grad.sum(axis=1, keepdims=True),)
    return (probs * (grad - (probs * grad).sum(axis=1, keepdims=True)),)


def torch_forward(name: str, case: Case, logits: Array) -> Call:
    function = getattr(peers.load("torch").nn.functional, name)
    x = peers.torch_tensor(logits)
    return lambda: function(x, case.axis)


def torch_forward_out(name: str, case: Case, logits: Array) -> Call:
    torch = peers.load("torch")
    function, x = getattr(torch, name), peers.torch_tensor(logits)
    output = torch.empty_like(x)
    return lambda: function(x, case.axis, out=output)


def torch_compile_forward(name: str, case: Case, logits: Array) -> Call:
    function = peers.torch_compile(getattr(peers.load("torch").nn.functional, name))
    x = peers.torch_tensor(logits)
    return lambda: function(x, case.axis)


def torch_backward(name: str, case: Case, logits: Array, grad_output: Array) -> Call:
    torch = peers.load("torch")
    x, g = peers.torch_tensor(logits).requires_grad_(), peers.torch_tensor(grad_output)
    y = getattr(torch, name)(x, case.axis)
    return lambda: torch.autograd.grad(y, x, g, retain_graph=True)


def jax_forward(name: str, case: Case, logits: Array) -> Call:
    jax = peers.load("jax")
    function = jax.jit(partial(getattr(jax.nn, name), axis=case.axis))
    x = jax.numpy.asarray(logits)
    return lambda: function(x).block_until_ready()


def jax_backward(name: str, case: Case, logits: Array, grad_output: Array) -> Call:
    jax = peers.load("jax")
    x, g = jax.numpy.asarray(logits), jax.numpy.asarray(grad_output)
    _, pullback = jax.vjp(jax.jit(partial(getattr(jax.nn, name), axis=case.axis)), x)
    apply = jax.jit(lambda pull, grad: pull(grad))
    return lambda: jax.block_until_ready(apply(pullback, g))


def onnxruntime_forward_out(name: str, case: Case, logits: Array) -> Call:
    operator = {"log_softmax": "LogSoftmax", "softmax": "Softmax"}[name]
    return peers.onnx_call(operator, case.shape, {"x": logits}, axis=case.axis)


def scipy_forward(name: str, case: Case, logits: Array) -> Call:
    function = getattr(peers.load("scipy.special"), name)
    dtype = logits.dtype
    return lambda: function(peers.widened(logits), axis=case.axis).astype(dtype, copy=False)


def numpy_forward(name: str, case: Case, logits: Array) -> Call:
    def call() -> Any:
        x = peers.widened(logits)
        shifted = x - x.max(axis=case.axis, keepdims=True)
        exps = np.exp(shifted)
        total = exps.sum(axis=case.axis, keepdims=True)
        output = shifted - np.log(total) if name == "log_softmax" else exps / total
        return output.astype(logits.dtype, copy=False)

    return call


def numpy_backward(name: str, case: Case, logits: Array, grad_output: Array) -> Call:
    kept = np.asarray(numpy_forward(name, case, logits)())

    def call() -> Any:
        output, g = peers.widened(kept), peers.widened(grad_output)
        if name == "log_softmax":
            grad = g - np.exp(output) * g.sum(axis=case.axis, keepdims=True)
        else:
            product = output * g
            grad = product - output * product.sum(axis=case.axis, keepdims=True)
        return grad.astype(logits.dtype, copy=False)

    return call


def logloss_forward(name: str, case: Case, logits: Array) -> Call:
    function = getattr(peers.load("logloss"), name)
    return lambda: function(logits, case.axis)


def logloss_forward_out(name: str, case: Case, logits: Array) -> Call:
    function = getattr(peers.load("logloss"), name)
    output = aligned_empty(case.shape, case.dtype)
    return lambda: function(logits, case.axis, out=output)


def logloss_backward(name: str, case: Case, logits: Array, grad_output: Array) -> Call:
    function = getattr(peers.load("logloss"), f"{name}_backward")
    return lambda: function(grad_output, logits, case.axis)


def logloss_backward_out(name: str, case: Case, logits: Array, grad_output: Array) -> Call:
    function = getattr(peers.load("logloss"), f"{name}_backward")
    grad = aligned_empty(case.shape, case.dtype)
    return lambda: function(grad_output, logits, case.axis, out=grad)


FORWARD = {
    "torch": torch_forward,
    "torch out=": torch_forward_out,
    "torch.compile": torch_compile_forward,
    "jax": jax_forward,
    "onnxruntime out=": onnxruntime_forward_out,
    "scipy": scipy_forward,
    "numpy": numpy_forward,
    "logloss": logloss_forward,
    "logloss out=": logloss_forward_out,
}
BACKWARD = {
    "torch": torch_backward,
    "jax": jax_backward,
    "numpy": numpy_backward,
    "logloss": logloss_backward,
    "logloss out=": logloss_backward_out,
}

OPERATIONS = tuple(
    operation
    for name in ("log_softmax", "softmax")
    for operation in (
        Operation(
            name=f"{name} forward",
            reads=1,
            writes=1,
            cases=CASES,
            quick_cases=QUICK_CASES,
            inputs=forward_inputs,
            reference=partial(reference_forward, name),
            variants={label: partial(build, name) for label, build in FORWARD.items()},
        ),
        Operation(
            name=f"{name} backward",
            reads=2,
            writes=1,
            cases=CASES,
            quick_cases=QUICK_CASES,
            inputs=backward_inputs,
            reference=partial(reference_backward, name),
            variants={label: partial(build, name) for label, build in BACKWARD.items()},
        ),
    )
)
