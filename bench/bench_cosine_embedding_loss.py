# SPDX-License-Identifier: BSD-3-Clause
"""cosine_embedding_loss with the mean, half of the pairs similar (target 1), half not (-1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import peers
from bench.builders import loss_operations
from bench.inputs import float64_rows, random_labels, random_normal, sample_rows
from bench.operation import Array, Call, Case
from bench.yardsticks import avx2_target

CASES = (Case((8192, 512)), Case((65536, 64)))
TARGETS = (avx2_target(*CASES),)
QUICK_CASES = (Case((512, 512)), Case((4096, 64)))


def inputs(case: Case) -> dict[str, Array]:
    return {
        "input1": random_normal(case, scale=1.0),
        "input2": random_normal(case, scale=1.0, seed=1),
        "target": random_labels(Case(case.shape[:1], case.dtype), (1.0, -1.0), seed=2),
    }


def reference(case: Case, input1: Array, input2: Array, target: Array) -> tuple[Array, ...]:
    def parts(a: Array, b: Array) -> tuple[Array, Array, Array]:
        """Return the cosine and the squares of both lengths."""
        aa, bb = (a * a).sum(axis=1, keepdims=True), (b * b).sum(axis=1, keepdims=True)
        return (a * b).sum(axis=1, keepdims=True) / np.sqrt(aa * bb), aa, bb

    def losses(a: Array, b: Array, y: Array) -> Array:
        cosine, _, _ = parts(a, b)
        return np.where(y == 1.0, 1.0 - cosine, np.maximum(cosine, 0.0))

    arrays = (input1, input2, target[:, None])
    a, b, y = (sample_rows(array, case.axis).astype(np.float64) for array in arrays)
    cosine, aa, bb = parts(a, b)
    slope = np.where(y == 1.0, -1.0, cosine >= 0.0) / len(target)
    grad1 = slope * (b / np.sqrt(aa * bb) - cosine * a / aa)
    grad2 = slope * (a / np.sqrt(aa * bb) - cosine * b / bb)
    return float64_rows(losses, case.axis, *arrays).mean(), grad1, grad2


def torch_loss(case: Case) -> Any:
    return peers.load("torch").nn.functional.cosine_embedding_loss


def jax_loss(case: Case) -> Any:
    jnp = peers.load("jax").numpy

    def loss(input1: Any, input2: Any, target: Any) -> Any:
        dot = (input1 * input2).sum(1)
        squares = ((input1 * input1).sum(1) + 1e-12) * ((input2 * input2).sum(1) + 1e-12)
        cosine = dot / jnp.sqrt(squares)
        return jnp.where(target == 1.0, 1.0 - cosine, jnp.maximum(cosine, 0.0)).mean()

    return loss


def numpy_forward(case: Case, input1: Array, input2: Array, target: Array) -> Call:
    def call() -> Any:
        dot, aa, bb = (
            np.einsum("nd,nd->n", left, right)
            for left, right in ((input1, input2), (input1, input1), (input2, input2))
        )
        cosine = dot / np.sqrt((aa + 1e-12) * (bb + 1e-12))
        return np.where(target == 1.0, 1.0 - cosine, np.maximum(cosine, 0.0)).mean()

    return call


OPERATIONS = loss_operations(
    "cosine_embedding_loss",
    cases=CASES,
    quick_cases=QUICK_CASES,
    inputs=inputs,
    reference=reference,
    torch=torch_loss,
    jax=jax_loss,
    forward_peers={"numpy": numpy_forward},
    targets=TARGETS,
    backward_targets=TARGETS,
    wrt=("input1", "input2"),
)
