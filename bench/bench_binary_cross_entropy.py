# SPDX-License-Identifier: BSD-3-Clause
"""binary_cross_entropy of probabilities with labels 0 and 1, and the mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import peers
from bench.builders import loss_operations
from bench.inputs import float64_rows, random_labels, random_uniform, sample_rows
from bench.operation import BEST_PEER, LIMIT, OURS_OUT, TORCH, Array, Call, Case, Target
from bench.yardsticks import avx2_target, portable_target

SMALL = Case((2**20,), axis=None)
LARGE = Case((2**24,), axis=None)
CASES = (SMALL, LARGE, Case((2**24,), "float64", axis=None), Case((2**24,), "float16", axis=None))
# The gradient of a mean over more elements underflows in float16.
BACKWARD_CASES = (SMALL, LARGE, Case((2**18,), "float16", axis=None))
QUICK_CASES = (Case((2**16,), axis=None), SMALL)
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
    return {"input": random_uniform(case, 0.01, 0.99), "target": random_labels(case, (0.0, 1.0))}


def reference(case: Case, input: Array, target: Array) -> tuple[Array, ...]:
    losses = float64_rows(lambda x, y: -np.log(np.where(y == 1.0, x, 1.0 - x)), None, input, target)
    x, y = (sample_rows(array, None).astype(np.float64) for array in (input, target))
    return losses.mean(), (x - y) / (x * (1.0 - x)) / input.size


def torch_loss(case: Case) -> Any:
    return peers.load("torch").nn.functional.binary_cross_entropy


def jax_loss(case: Case) -> Any:
    jnp = peers.load("jax").numpy

    def loss(input: Any, target: Any) -> Any:
        log_x = jnp.maximum(jnp.log(input), -100.0)
        log_1mx = jnp.maximum(jnp.log1p(-input), -100.0)
        return -(target * log_x + (1.0 - target) * log_1mx).mean()

    return loss


def scipy_forward(case: Case, input: Array, target: Array) -> Call:
    special = peers.load("scipy.special")

    def call() -> Any:
        x, y = peers.widened(input), peers.widened(target)
        return -(special.xlogy(y, x) + special.xlog1py(1.0 - y, -x)).mean()

    return call


def sklearn_forward(case: Case, input: Array, target: Array) -> Call:
    if input.size > 2**20:
        raise peers.Unavailable("left out: takes seconds")
    log_loss = peers.load("sklearn.metrics").log_loss
    return lambda: log_loss(target, input)


OPERATIONS = loss_operations(
    "binary_cross_entropy",
    cases=CASES,
    backward_cases=BACKWARD_CASES,
    quick_cases=QUICK_CASES,
    inputs=inputs,
    reference=reference,
    torch=torch_loss,
    jax=jax_loss,
    forward_peers={"scipy": scipy_forward, "scikit-learn": sklearn_forward},
    targets=TARGETS,
    backward_targets=BACKWARD_TARGETS,
    divisor=lambda case: case.shape[0],
)
