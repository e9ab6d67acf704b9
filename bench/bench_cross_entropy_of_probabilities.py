# SPDX-License-Identifier: BSD-3-Clause
"""cross_entropy with a distribution over the classes as each target, and the mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import peers
from bench.builders import loss_operations
from bench.inputs import float64_rows, random_normal, random_probs, sample_rows
from bench.operation import TORCH, Array, Call, Case, Target
from bench.yardsticks import avx2_target

MEDIUM = Case((8192, 1000))
LARGE = (Case((2048, 32000)), Case((512, 128256)))
CASES = (MEDIUM, *LARGE)
QUICK_CASES = (Case((512, 1000)), Case((64, 32000)))
TARGETS = (Target(LARGE, 10.0, against=TORCH), avx2_target(MEDIUM, LARGE[0]))


def inputs(case: Case) -> dict[str, Array]:
    return {"input": random_normal(case, scale=3.0), "target": random_probs(case, 3.0, seed=1)}


def reference(case: Case, input: Array, target: Array) -> tuple[Array, ...]:
    def log_softmax(x: Array) -> Array:
        return x - np.log(np.exp(x).sum(axis=1, keepdims=True))

    def losses(x: Array, t: Array) -> Array:
        return -(t * log_softmax(x)).sum(axis=1)

    x, t = (sample_rows(array, case.axis).astype(np.float64) for array in (input, target))
    grad = np.exp(log_softmax(x)) * t.sum(axis=1, keepdims=True) - t
    return float64_rows(losses, case.axis, input, target).mean(), grad / case.shape[0]


def torch_loss(case: Case) -> Any:
    return peers.load("torch").nn.functional.cross_entropy


def jax_loss(case: Case) -> Any:
    jax = peers.load("jax")

    def loss(input: Any, target: Any) -> Any:
        return -(target * jax.nn.log_softmax(input, case.axis)).sum() / case.shape[0]

    return loss


def scipy_forward(case: Case, input: Array, target: Array) -> Call:
    log_softmax = peers.load("scipy.special").log_softmax
    return lambda: -(target * log_softmax(input, axis=case.axis)).sum() / case.shape[0]


OPERATIONS = loss_operations(
    "cross_entropy",
    title="cross_entropy of probabilities",
    cases=CASES,
    quick_cases=QUICK_CASES,
    inputs=inputs,
    reference=reference,
    torch=torch_loss,
    jax=jax_loss,
    forward_peers={"scipy": scipy_forward},
    targets=TARGETS,
    backward_targets=TARGETS,
)
