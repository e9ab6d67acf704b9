# SPDX-License-Identifier: BSD-3-Clause
"""cross_entropy with index targets and the mean: forward, and forward with the gradient."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from bench import peers
from bench.builders import loss_operations, torch_forward
from bench.inputs import aligned_empty, float64_rows, random_classes, random_normal, sample_rows
from bench.operation import (
    BEST_PEER,
    LIMIT,
    OURS_OUT,
    TORCH,
    Array,
    Builder,
    Call,
    Case,
    Target,
)
from bench.yardsticks import (
    FLOAT32,
    ONE_THREAD,
    WIDE_ROWS,
    avx2_target,
    portable_target,
    unchecked,
)

SMOOTHING = 0.1

CALL = Case((1, 10))
FEW_CLASSES = Case((65536, 10))
MEDIUM = (Case((65536, 128)), Case((8192, 1000)))
LARGE = (Case((2048, 32000)), Case((512, 128256)))
SMALL_CLASSES = tuple(Case((65536, classes)) for classes in (2, 3, 5, 10, 17, 32, 64))
INNER = (Case((8, 21, 256, 256)), Case((2, 1000, 64, 64)))
SMOOTHED = tuple(replace(case, option="label_smoothing") for case in LARGE)
HALF = tuple(replace(case, dtype=dtype) for dtype in ("bfloat16", "float16") for case in LARGE)
DOUBLE = tuple(replace(case, dtype="float64") for case in LARGE)
FEW_ROWS = (Case((8, 1000000)), Case((1, 10000000)))
QUICK_CASES = (
    CALL,
    Case((4096, 10)),
    Case((512, 1000)),
    Case((64, 32000)),
    Case((1, 21, 64, 64)),
    Case((64, 32000), "float16"),
    Case((64, 32000), option="label_smoothing"),
)
TARGETS = (
    Target(LARGE, 12.0, against=TORCH),
    Target(LARGE, 2.0, against=BEST_PEER),
    Target(LARGE, 0.70, against=LIMIT),
    Target(LARGE, 0.85, against=LIMIT, all_threads=True),
    Target(MEDIUM, 2.0, against=BEST_PEER),
    Target((FEW_CLASSES,), 1.3, against=BEST_PEER),
    Target(SMALL_CLASSES, 1 / 3, against=WIDE_ROWS),
    Target(INNER, 4.0, against=TORCH),
    Target(INNER, 1.5, against=BEST_PEER),
    Target(SMOOTHED, 10.0, against=TORCH),
    Target(HALF, 8.0, against=TORCH),
    Target(HALF, 1.3, against=FLOAT32, all_threads=True),
    Target(DOUBLE, 4.0, against=TORCH),
    Target((CALL,), 1.0, against=TORCH),
    Target((MEDIUM[1], *FEW_ROWS), 1.7, ONE_THREAD, all_threads=True, unless_limit=0.85),
    avx2_target(FEW_CLASSES, *MEDIUM, *LARGE, *INNER),
    portable_target(FEW_CLASSES, *MEDIUM),
)
BACKWARD = "logloss _backward"
BACKWARD_OUT = "logloss _backward out="
TORCH_FORWARD = "torch forward alone"
BACKWARD_TARGETS = (
    Target(LARGE, 12.0, against=TORCH),
    Target(LARGE, 18.0, against=TORCH, variant=OURS_OUT),
    Target(LARGE, 0.65, against=LIMIT, variant=OURS_OUT),
    Target(LARGE, 0.80, against=LIMIT, variant=OURS_OUT, all_threads=True),
    Target(LARGE, 12.0, against=TORCH, variant=BACKWARD),
    Target(LARGE, 18.0, against=TORCH, variant=BACKWARD_OUT),
    Target(LARGE, 0.65, against=LIMIT, variant=BACKWARD_OUT),
    Target(LARGE, 0.80, against=LIMIT, variant=BACKWARD_OUT, all_threads=True),
    Target(SMOOTHED, 10.0, against=TORCH),
    Target(HALF, 8.0, against=TORCH),
    Target(HALF, 1.3, against=FLOAT32, variant=OURS_OUT, all_threads=True),
    Target(DOUBLE, 4.0, against=TORCH),
    Target((CALL,), 0.5, against=TORCH_FORWARD),
    avx2_target(FEW_CLASSES, *MEDIUM, *LARGE),
)


def inputs(case: Case) -> dict[str, Array]:
    return {"input": random_normal(case, scale=3.0), "target": random_classes(case)}


def options(case: Case) -> dict[str, Any]:
    return {"label_smoothing": SMOOTHING} if case.option == "label_smoothing" else {}


def reference(case: Case, input: Array, target: Array) -> tuple[Array, ...]:
    smoothing = options(case).get("label_smoothing", 0.0)

    def losses(x: Array, t: Array) -> Array:
        picked = np.take_along_axis(x, t.astype(np.int64), 1)
        expected = (1.0 - smoothing) * picked + smoothing * x.mean(axis=1, keepdims=True)
        return np.log(np.exp(x).sum(axis=1, keepdims=True)) - expected

    index = np.expand_dims(target, case.axis)
    grad = np.exp(sample_rows(input, case.axis).astype(np.float64))
    grad /= grad.sum(axis=1, keepdims=True)
    grad -= smoothing / grad.shape[1]
    grad[np.arange(len(grad)), sample_rows(index, case.axis)[:, 0]] -= 1.0 - smoothing
    return float64_rows(losses, case.axis, input, index).mean(), grad / target.size


def torch_loss(case: Case) -> Any:
    return partial(peers.load("torch").nn.functional.cross_entropy, **options(case))


def jax_loss(case: Case) -> Any:
    jax = peers.load("jax")

    def cross_entropy(input: Any, target: Any) -> Any:
        index = jax.numpy.expand_dims(target, case.axis)
        picked = jax.numpy.take_along_axis(input, index, axis=case.axis).squeeze(case.axis)
        return (jax.nn.logsumexp(input, axis=case.axis) - picked).mean()

    def smoothed(input: Any, target: Any) -> Any:
        losses = jax.nn.logsumexp(input, axis=case.axis) - input.mean(axis=case.axis)
        return (1.0 - SMOOTHING) * cross_entropy(input, target) + SMOOTHING * losses.mean()

    return smoothed if case.option else cross_entropy


def index_targets_only(build: Builder) -> Builder:
    """Return a builder that refuses label smoothing."""

    def checked(case: Case, **arrays: Array) -> Call:
        if case.option:
            raise peers.Unavailable(f"no {case.option}")
        return build(case, **arrays)

    return checked


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


def logloss_backward(case: Case, *, reuse: bool, input: Array, target: Array) -> Call:
    backward = peers.load("logloss").cross_entropy_backward
    keywords = {"out": aligned_empty(case.shape, case.dtype)} if reuse else {}
    return unchecked(lambda: backward(1.0, input, target, **keywords))


def torch_forward_alone(case: Case, input: Array, target: Array) -> Call:
    return unchecked(torch_forward(torch_loss, case, input=input, target=target))


OPERATIONS = loss_operations(
    "cross_entropy",
    cases=(*SMALL_CLASSES, *MEDIUM, *LARGE, *INNER, *SMOOTHED, *HALF, *DOUBLE, *FEW_ROWS, CALL),
    backward_cases=(FEW_CLASSES, *MEDIUM, *LARGE, INNER[0], *SMOOTHED, *HALF, *DOUBLE, CALL),
    quick_cases=QUICK_CASES,
    inputs=inputs,
    reads=1,
    reference=reference,
    torch=torch_loss,
    jax=jax_loss,
    forward_peers={
        "onnxruntime": index_targets_only(onnxruntime_forward),
        "scipy": index_targets_only(scipy_forward),
        "numpy": index_targets_only(numpy_forward),
    },
    backward_peers={"numpy": index_targets_only(numpy_forward_backward)},
    options=options,
    targets=TARGETS,
    backward_targets=BACKWARD_TARGETS,
    backward_yardsticks={
        BACKWARD: partial(logloss_backward, reuse=False),
        BACKWARD_OUT: partial(logloss_backward, reuse=True),
        TORCH_FORWARD: torch_forward_alone,
    },
    divisor=lambda case: case.shape[0],
)
