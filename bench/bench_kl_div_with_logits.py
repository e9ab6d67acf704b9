# SPDX-License-Identifier: BSD-3-Clause
"""kl_div_with_logits with "batchmean"; peers compose it from two log_softmax and kl_div."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import peers
from bench.builders import loss_operations
from bench.inputs import float64_rows, random_normal, sample_rows
from bench.operation import Array, Call, Case
from bench.yardsticks import avx2_target, portable_target

MEDIUM = Case((8192, 1000))
LARGE = Case((2048, 32000))
CASES = (MEDIUM, LARGE, Case((2048, 32000), "bfloat16"))
QUICK_CASES = (Case((512, 1000)), Case((64, 32000)), Case((64, 32000), "bfloat16"))
TARGETS = (avx2_target(MEDIUM, LARGE), portable_target(MEDIUM))
BACKWARD_TARGETS = (avx2_target(MEDIUM, LARGE),)


def inputs(case: Case) -> dict[str, Array]:
    return {
        "input": random_normal(case, scale=3.0),
        "target": random_normal(case, scale=3.0, seed=1),
    }


def reference(case: Case, input: Array, target: Array) -> tuple[Array, ...]:
    def log_softmax(x: Array) -> Array:
        return x - np.log(np.exp(x).sum(axis=1, keepdims=True))

    def losses(x: Array, t: Array) -> Array:
        log_q, log_p = log_softmax(x), log_softmax(t)
        return (np.exp(log_p) * (log_p - log_q)).sum(axis=1)

    x, t = (sample_rows(array, case.axis).astype(np.float64) for array in (input, target))
    grad = np.exp(log_softmax(x)) - np.exp(log_softmax(t))
    return float64_rows(losses, case.axis, input, target).mean(), grad / case.shape[0]


def torch_loss(case: Case) -> Any:
    functional = peers.load("torch").nn.functional

    def loss(input: Any, target: Any) -> Any:
        log_q = functional.log_softmax(input, case.axis)
        log_p = functional.log_softmax(target, case.axis)
        return functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)

    return loss


def jax_loss(case: Case) -> Any:
    jax = peers.load("jax")

    def loss(input: Any, target: Any) -> Any:
        log_q = jax.nn.log_softmax(input, case.axis)
        log_p = jax.nn.log_softmax(target, case.axis)
        return (jax.numpy.exp(log_p) * (log_p - log_q)).sum() / case.shape[0]

    return loss


def scipy_forward(case: Case, input: Array, target: Array) -> Call:
    special = peers.load("scipy.special")

    def call() -> Any:
        q = special.softmax(peers.widened(input), axis=case.axis)
        p = special.softmax(peers.widened(target), axis=case.axis)
        return special.rel_entr(p, q).sum() / case.shape[0]

    return call


OPERATIONS = loss_operations(
    "kl_div_with_logits",
    cases=CASES,
    backward_cases=(MEDIUM, LARGE),
    quick_cases=QUICK_CASES,
    inputs=inputs,
    reference=reference,
    torch=torch_loss,
    jax=jax_loss,
    forward_peers={"scipy": scipy_forward},
    targets=TARGETS,
    backward_targets=BACKWARD_TARGETS,
    divisor=lambda case: case.shape[0],
)
