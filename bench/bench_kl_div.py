# SPDX-License-Identifier: BSD-3-Clause
"""kl_div of log-probabilities and probabilities (or two log-probabilities), and the sum.

The sum, because the gradient of a mean of so many elements underflows in float16.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bench import peers
from bench.builders import loss_operations
from bench.inputs import float64_rows, random_probs, sample_rows
from bench.operation import BEST_PEER, LIMIT, OURS_OUT, TORCH, Array, Call, Case, Target
from bench.yardsticks import avx2_target, portable_target

SMALL = Case((1024, 1024))
LARGE = Case((4096, 4096))
CASES = (
    SMALL,
    LARGE,
    Case((4096, 4096), option="log_target"),
    Case((4096, 4096), "float64"),
    Case((4096, 4096), "float16"),
)
BACKWARD_CASES = CASES[:3]
QUICK_CASES = (Case((256, 256)), SMALL, Case((256, 256), option="log_target"))
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


def options(case: Case) -> dict[str, Any]:
    return {"reduction": "sum", "log_target": case.option == "log_target"}


def inputs(case: Case) -> dict[str, Array]:
    return {
        "input": random_probs(case, scale=1.0, log=True),
        "target": random_probs(case, scale=1.0, seed=1, log=options(case)["log_target"]),
    }


def reference(case: Case, input: Array, target: Array) -> tuple[Array, ...]:
    def losses(x: Array, t: Array) -> Array:
        return np.exp(t) * (t - x) if options(case)["log_target"] else t * (np.log(t) - x)

    t = sample_rows(target, case.axis).astype(np.float64)
    probs = np.exp(t) if options(case)["log_target"] else t
    return float64_rows(losses, case.axis, input, target).sum(), -probs


def torch_loss(case: Case) -> Any:
    return partial(peers.load("torch").nn.functional.kl_div, **options(case))


def jax_loss(case: Case) -> Any:
    jax = peers.load("jax")

    def loss(input: Any, target: Any) -> Any:
        return (jax.scipy.special.xlogy(target, target) - target * input).sum()

    def loss_of_logs(input: Any, target: Any) -> Any:
        return (jax.numpy.exp(target) * (target - input)).sum()

    return loss_of_logs if options(case)["log_target"] else loss


def scipy_forward(case: Case, input: Array, target: Array) -> Call:
    xlogy = peers.load("scipy.special").xlogy

    def call() -> Any:
        x, t = peers.widened(input), peers.widened(target)
        if options(case)["log_target"]:
            return (np.exp(t) * (t - x)).sum()
        return (xlogy(t, t) - t * x).sum()

    return call


OPERATIONS = loss_operations(
    "kl_div",
    cases=CASES,
    backward_cases=BACKWARD_CASES,
    quick_cases=QUICK_CASES,
    inputs=inputs,
    reference=reference,
    torch=torch_loss,
    jax=jax_loss,
    forward_peers={"scipy": scipy_forward},
    options=options,
    targets=TARGETS,
    backward_targets=BACKWARD_TARGETS,
    divisor=lambda case: 1,
)
