# SPDX-License-Identifier: BSD-3-Clause
"""binary_cross_entropy_with_logits with labels 0 and 1, and the mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import peers
from bench.builders import loss_operations
from bench.inputs import float64_rows, random_labels, random_normal, random_uniform, sample_rows
from bench.operation import BEST_PEER, LIMIT, OURS_OUT, TORCH, Array, Call, Case, Target
from bench.yardsticks import avx2_target, portable_target

SMALL = Case((2**20,), axis=None)
LARGE = Case((2**24,), axis=None)
CASES = (
    SMALL,
    LARGE,
    Case((4096, 1024), axis=None, option="pos_weight"),
    Case((2**24,), "float64", axis=None),
    Case((2**24,), "float16", axis=None),
)
# The gradient of a mean over more elements underflows in float16.
BACKWARD_CASES = (*CASES[:-2], Case((2**18,), "float16", axis=None))
QUICK_CASES = (
    Case((2**16,), axis=None),
    SMALL,
    Case((256, 256), axis=None, option="pos_weight"),
)
TARGETS = (
    Target((LARGE,), 10.0, against=TORCH),
    Target((LARGE,), 2.0, against=BEST_PEER),
    Target((LARGE,), 0.85, against=LIMIT, all_threads=True),
    avx2_target(SMALL, LARGE),
    portable_target(SMALL, LARGE),
)
BACKWARD_TARGETS = (
    Target((LARGE,), 5.0, against=TORCH),
    Target((LARGE,), 1.5, against=BEST_PEER),
    Target((LARGE,), 0.85, against=LIMIT, variant=OURS_OUT, all_threads=True),
    avx2_target(SMALL, LARGE),
)


def inputs(case: Case) -> dict[str, Array]:
    arrays = {"input": random_normal(case, scale=3.0), "target": random_labels(case, (0.0, 1.0))}
    if case.option == "pos_weight":
        arrays["pos_weight"] = random_uniform(Case(case.shape[1:], case.dtype), 0.5, 4.0, seed=2)
    return arrays


def reference(
    case: Case, input: Array, target: Array, pos_weight: float | Array = 1.0
) -> tuple[Array, ...]:
    arrays = (input, target, np.broadcast_to(pos_weight, case.shape))
    losses = float64_rows(
        lambda x, y, p: (1.0 - y) * x + (1.0 + (p - 1.0) * y) * np.logaddexp(0.0, -x), None, *arrays
    )
    x, y, p = (sample_rows(array, None).astype(np.float64) for array in arrays)
    grad = (1.0 + (p - 1.0) * y) / (1.0 + np.exp(-x)) - p * y
    return losses.mean(), grad / input.size


def torch_loss(case: Case) -> Any:
    return peers.load("torch").nn.functional.binary_cross_entropy_with_logits


def jax_loss(case: Case) -> Any:
    jnp = peers.load("jax").numpy

    def softplus(x: Any) -> Any:
        """Twice as fast as that of jax.nn."""
        return jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(x)))

    def loss(input: Any, target: Any, pos_weight: Any = None) -> Any:
        if pos_weight is None:
            return (softplus(input) - input * target).mean()
        factor = 1.0 + (pos_weight - 1.0) * target
        return ((1.0 - target) * input + factor * softplus(-input)).mean()

    return loss


def scipy_forward(case: Case, input: Array, target: Array, pos_weight: float | Array = 1.0) -> Call:
    log_expit = peers.load("scipy.special").log_expit

    def call() -> Any:
        x, y = peers.widened(input), peers.widened(target)
        factor = 1.0 + (pos_weight - 1.0) * y if case.option else 1.0
        return ((1.0 - y) * x - factor * log_expit(x)).mean()

    return call


OPERATIONS = loss_operations(
    "binary_cross_entropy_with_logits",
    cases=CASES,
    backward_cases=BACKWARD_CASES,
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
