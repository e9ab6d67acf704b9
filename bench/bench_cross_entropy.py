# SPDX-License-Identifier: BSD-3-Clause
"""cross_entropy with index targets and the mean: forward, and forward with the gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import peers
from bench.builders import loss_operations
from bench.harness import (
    Array,
    Call,
    Case,
    Target,
    float64_rows,
    random_classes,
    random_normal,
    sample_rows,
)

LARGE_VOCABULARY = Case((2048, 32000))
CASES = (
    Case((65536, 10)),
    Case((65536, 128)),
    Case((8192, 1000)),
    LARGE_VOCABULARY,
    Case((512, 128256)),
    Case((8, 21, 256, 256)),
    Case((2048, 32000), "bfloat16"),
    Case((2048, 32000), "float16"),
    Case((2048, 32000), "float64"),
)
QUICK_CASES = (
    Case((4096, 10)),
    Case((512, 1000)),
    Case((64, 32000)),
    Case((1, 21, 64, 64)),
    Case((64, 32000), "float16"),
)


def inputs(case: Case) -> dict[str, Array]:
    return {"input": random_normal(case, scale=3.0), "target": random_classes(case)}


def reference(case: Case, input: Array, target: Array) -> tuple[Array, ...]:
    def losses(x: Array, t: Array) -> Array:
        picked = np.take_along_axis(x, t.astype(np.int64), 1)
        return np.log(np.exp(x).sum(axis=1, keepdims=True)) - picked

    index = np.expand_dims(target, case.axis)
    grad = np.exp(sample_rows(input, case.axis).astype(np.float64))
    grad /= grad.sum(axis=1, keepdims=True)
    grad[np.arange(len(grad)), sample_rows(index, case.axis)[:, 0]] -= 1.0
    return float64_rows(losses, case.axis, input, index).mean(), grad / target.size


def torch_loss(case: Case) -> Any:
    return peers.load("torch").nn.functional.cross_entropy


def jax_loss(case: Case) -> Any:
    jax = peers.load("jax")

    def cross_entropy(input: Any, target: Any) -> Any:
        index = jax.numpy.expand_dims(target, case.axis)
        picked = jax.numpy.take_along_axis(input, index, axis=case.axis).squeeze(case.axis)
        return (jax.nn.logsumexp(input, axis=case.axis) - picked).mean()

    return cross_entropy


def onnxruntime_forward(case: Case, input: Array, target: Array) -> Call:
    arrays = {"scores": input, "labels": target}
    return peers.onnx_call("SoftmaxCrossEntropyLoss", (), arrays, reduction="mean")


def scipy_forward(case: Case, input: Array, target: Array) -> Call:
    logsumexp = peers.load("scipy.special").logsumexp
    index = np.expand_dims(target, case.axis)

    def call() -> Any:
        x = peers.widened(input)
        picked = np.take_along_axis(x, index, case.axis).squeeze(case.axis)
        return (logsumexp(x, axis=case.axis) - picked).mean()

    return call


def numpy_forward(case: Case, input: Array, target: Array) -> Call:
    index = np.expand_dims(target, case.axis)

    def call() -> Any:
        x = peers.widened(input)
        shifted = x - x.max(axis=case.axis, keepdims=True)
        lse = np.log(np.exp(shifted).sum(axis=case.axis, keepdims=True))
        return (lse - np.take_along_axis(shifted, index, case.axis)).mean()

    return call


def numpy_forward_backward(case: Case, input: Array, target: Array) -> Call:
    index = np.expand_dims(target, case.axis)

    def call() -> tuple[Any, Array]:
        x = peers.widened(input)
        shifted = x - x.max(axis=case.axis, keepdims=True)
        grad = np.exp(shifted)
        total = grad.sum(axis=case.axis, keepdims=True)
        loss = (np.log(total) - np.take_along_axis(shifted, index, case.axis)).mean()
        grad /= total * target.size
        picked = np.take_along_axis(grad, index, case.axis) - 1.0 / target.size
        np.put_along_axis(grad, index, picked, case.axis)
        return loss, grad.astype(input.dtype, copy=False)

    return call


OPERATIONS = loss_operations(
    "cross_entropy",
    cases=CASES,
    quick_cases=QUICK_CASES,
    inputs=inputs,
    reads=1,
    reference=reference,
    torch=torch_loss,
    jax=jax_loss,
    forward_peers={
        "onnxruntime": onnxruntime_forward,
        "scipy": scipy_forward,
        "numpy": numpy_forward,
    },
    backward_peers={"numpy": numpy_forward_backward},
    target=Target(LARGE_VOCABULARY, peer="torch", ratio=8.0),
)
