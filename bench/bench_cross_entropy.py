# SPDX-License-Identifier: BSD-3-Clause
"""cross_entropy with index targets and the mean: forward, and forward with the gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import peers
from bench.harness import (
    Array,
    Call,
    Case,
    Operation,
    Target,
    aligned_empty,
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
    return {"logits": random_normal(case, scale=3.0), "target": random_classes(case)}


def reference_loss(case: Case, logits: Array, target: Array) -> tuple[Array]:
    rows = np.moveaxis(logits, case.axis, -1).reshape(-1, case.shape[case.axis])
    total, step = 0.0, max(1, 2**18 // rows.shape[1])
    for start in range(0, len(rows), step):
        wide = rows[start : start + step].astype(np.float64)
        picked = wide[np.arange(len(wide)), target.reshape(-1)[start : start + step]]
        total += float(np.sum(np.log(np.exp(wide).sum(axis=1)) - picked))
    return (np.asarray(total / len(rows)),)


def reference_loss_and_grad(case: Case, logits: Array, target: Array) -> tuple[Array, Array]:
    (loss,) = reference_loss(case, logits, target)
    grad = np.exp(sample_rows(logits, case.axis).astype(np.float64))
    grad /= grad.sum(axis=1, keepdims=True)
    picked = sample_rows(np.expand_dims(target, case.axis), case.axis)[:, 0]
    grad[np.arange(len(grad)), picked] -= 1.0
    return loss, grad / target.size


def torch_forward(case: Case, logits: Array, target: Array, compiled: bool = False) -> Call:
    cross_entropy = _torch_cross_entropy(compiled)
    x, t = peers.torch_tensor(logits), peers.torch_tensor(target)
    return lambda: cross_entropy(x, t)


def torch_forward_backward(
    case: Case, logits: Array, target: Array, compiled: bool = False
) -> Call:
    cross_entropy = _torch_cross_entropy(compiled)
    x, t = peers.torch_tensor(logits).requires_grad_(), peers.torch_tensor(target)

    def call() -> tuple[Any, Any]:
        x.grad = None
        loss = cross_entropy(x, t)
        loss.backward()
        return loss, x.grad

    return call


def torch_compile_forward(case: Case, logits: Array, target: Array) -> Call:
    return torch_forward(case, logits, target, compiled=True)


def torch_compile_forward_backward(case: Case, logits: Array, target: Array) -> Call:
    return torch_forward_backward(case, logits, target, compiled=True)


def _torch_cross_entropy(compiled: bool) -> Any:
    cross_entropy = peers.load("torch").nn.functional.cross_entropy
    return peers.torch_compile(cross_entropy) if compiled else cross_entropy


def jax_forward(case: Case, logits: Array, target: Array) -> Call:
    jax = peers.load("jax")
    function = jax.jit(_jax_cross_entropy(case))
    x, t = jax.numpy.asarray(logits), jax.numpy.asarray(target)
    return lambda: function(x, t).block_until_ready()


def jax_forward_backward(case: Case, logits: Array, target: Array) -> Call:
    jax = peers.load("jax")
    function = jax.jit(jax.value_and_grad(_jax_cross_entropy(case)))
    x, t = jax.numpy.asarray(logits), jax.numpy.asarray(target)
    return lambda: jax.block_until_ready(function(x, t))


def _jax_cross_entropy(case: Case) -> Any:
    jax = peers.load("jax")

    def cross_entropy(x: Any, t: Any) -> Any:
        index = jax.numpy.expand_dims(t, case.axis)
        picked = jax.numpy.take_along_axis(x, index, axis=case.axis).squeeze(case.axis)
        return (jax.nn.logsumexp(x, axis=case.axis) - picked).mean()

    return cross_entropy


def onnxruntime_forward(case: Case, logits: Array, target: Array) -> Call:
    arrays = {"scores": logits, "labels": target}
    return peers.onnx_call("SoftmaxCrossEntropyLoss", (), arrays, reduction="mean")


def scipy_forward(case: Case, logits: Array, target: Array) -> Call:
    logsumexp = peers.load("scipy.special").logsumexp
    index = np.expand_dims(target, case.axis)

    def call() -> Any:
        x = peers.widened(logits)
        picked = np.take_along_axis(x, index, case.axis).squeeze(case.axis)
        return (logsumexp(x, axis=case.axis) - picked).mean()

    return call


def numpy_forward(case: Case, logits: Array, target: Array) -> Call:
    index = np.expand_dims(target, case.axis)

    def call() -> Any:
        x = peers.widened(logits)
        shifted = x - x.max(axis=case.axis, keepdims=True)
        lse = np.log(np.exp(shifted).sum(axis=case.axis, keepdims=True))
        return (lse - np.take_along_axis(shifted, index, case.axis)).mean()

    return call


def numpy_forward_backward(case: Case, logits: Array, target: Array) -> Call:
    index = np.expand_dims(target, case.axis)

    def call() -> tuple[Any, Array]:
        x = peers.widened(logits)
        shifted = x - x.max(axis=case.axis, keepdims=True)
        grad = np.exp(shifted)
        total = grad.sum(axis=case.axis, keepdims=True)
        loss = (np.log(total) - np.take_along_axis(shifted, index, case.axis)).mean()
        grad /= total * target.size
        picked = np.take_along_axis(grad, index, case.axis) - 1.0 / target.size
        np.put_along_axis(grad, index, picked, case.axis)
        return loss, grad.astype(logits.dtype, copy=False)

    return call


def logloss_forward(case: Case, logits: Array, target: Array) -> Call:
    logloss = peers.load("logloss")
    return lambda: logloss.cross_entropy(logits, target)


def logloss_forward_backward(case: Case, logits: Array, target: Array) -> Call:
    logloss = peers.load("logloss")
    return lambda: logloss.cross_entropy_value_and_grad(logits, target)


def logloss_forward_backward_out(case: Case, logits: Array, target: Array) -> Call:
    logloss = peers.load("logloss")
    grad = aligned_empty(case.shape, case.dtype)
    return lambda: logloss.cross_entropy_value_and_grad(logits, target, out=grad)


OPERATIONS = (
    Operation(
        name="cross_entropy forward",
        reads=1,
        writes=0,
        cases=CASES,
        quick_cases=QUICK_CASES,
        inputs=inputs,
        reference=reference_loss,
        variants={
            "torch": torch_forward,
            "torch.compile": torch_compile_forward,
            "jax": jax_forward,
            "onnxruntime": onnxruntime_forward,
            "scipy": scipy_forward,
            "numpy": numpy_forward,
            "logloss": logloss_forward,
        },
        target=Target(LARGE_VOCABULARY, peer="torch", ratio=8.0),
    ),
    Operation(
        name="cross_entropy forward+backward",
        reads=1,
        writes=1,
        cases=CASES,
        quick_cases=QUICK_CASES,
        inputs=inputs,
        reference=reference_loss_and_grad,
        variants={
            "torch": torch_forward_backward,
            "torch.compile": torch_compile_forward_backward,
            "jax": jax_forward_backward,
            "numpy": numpy_forward_backward,
            "logloss": logloss_forward_backward,
            "logloss out=": logloss_forward_backward_out,
        },
    ),
)
