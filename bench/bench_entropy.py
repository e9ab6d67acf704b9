# SPDX-License-Identifier: BSD-3-Clause
"""entropy of probabilities and entropy_with_logits, one value per row."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import peers
from bench.builders import function_operations
from bench.inputs import float64_rows, random_normal, random_probs, sample_rows
from bench.operation import Array, Call, Case
from bench.yardsticks import avx2_target, portable_target

MEDIUM = Case((8192, 1000))
LARGE = Case((2048, 32000))
CASES = (MEDIUM, LARGE, Case((2048, 32000), "bfloat16"))
BACKWARD_CASES = (MEDIUM, LARGE)
QUICK_CASES = (Case((512, 1000)), Case((64, 32000)), Case((64, 32000), "bfloat16"))
TARGETS = (avx2_target(MEDIUM, LARGE), portable_target(MEDIUM))
BACKWARD_TARGETS = (avx2_target(MEDIUM, LARGE),)


def probs_inputs(case: Case) -> dict[str, Array]:
    return {"probs": random_probs(case, scale=3.0)}


def logits_inputs(case: Case) -> dict[str, Array]:
    return {"input": random_normal(case, scale=3.0)}


def log_softmax(x: Array) -> Array:
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def sampled(case: Case, array: Array, grad_output: Array) -> tuple[Array, Array]:
    """Return some rows of the array and, as a column, the gradients of their entropies."""
    grads = grad_output[:, None]
    rows, g = (sample_rows(part, case.axis).astype(np.float64) for part in (array, grads))
    return rows, g


def probs_reference(case: Case, probs: Array) -> tuple[Array]:
    entropies = float64_rows(lambda p: -(p * np.log(p)).sum(axis=1), case.axis, probs)
    return (sample_rows(entropies, None),)


def probs_reference_backward(case: Case, probs: Array, grad_output: Array) -> tuple[Array]:
    p, g = sampled(case, probs, grad_output)
    return (-g * (np.log(p) + 1.0),)


def logits_reference(case: Case, input: Array) -> tuple[Array]:
    def entropies(x: Array) -> Array:
        log_probs = log_softmax(x)
        return -(np.exp(log_probs) * log_probs).sum(axis=1)

    return (sample_rows(float64_rows(entropies, case.axis, input), None),)


def logits_reference_backward(case: Case, input: Array, grad_output: Array) -> tuple[Array]:
    x, g = sampled(case, input, grad_output)
    log_probs = log_softmax(x)
    weighted = np.exp(log_probs) * log_probs
    return (-g * (weighted - np.exp(log_probs) * weighted.sum(axis=1, keepdims=True)),)


def torch_entropy(case: Case) -> Any:
    entr = peers.load("torch").special.entr

    def entropy(probs: Any) -> Any:
        return entr(probs).sum(case.axis)

    return entropy


def torch_entropy_with_logits(case: Case) -> Any:
    log_softmax = peers.load("torch").nn.functional.log_softmax

    def entropy_with_logits(input: Any) -> Any:
        log_probs = log_softmax(input, case.axis)
        return -(log_probs.exp() * log_probs).sum(case.axis)

    return entropy_with_logits


def jax_entropy(case: Case) -> Any:
    entr = peers.load("jax").scipy.special.entr

    def entropy(probs: Any) -> Any:
        return entr(probs).sum(case.axis)

    return entropy


def jax_entropy_with_logits(case: Case) -> Any:
    jax = peers.load("jax")

    def entropy_with_logits(input: Any) -> Any:
        log_probs = jax.nn.log_softmax(input, case.axis)
        return -(jax.numpy.exp(log_probs) * log_probs).sum(case.axis)

    return entropy_with_logits


def scipy_entropy(case: Case, probs: Array) -> Call:
    entr = peers.load("scipy.special").entr
    return lambda: entr(peers.widened(probs)).sum(axis=case.axis).astype(probs.dtype, copy=False)


def scipy_entropy_with_logits(case: Case, input: Array) -> Call:
    special = peers.load("scipy.special")

    def call() -> Any:
        probs = special.softmax(peers.widened(input), axis=case.axis)
        return special.entr(probs).sum(axis=case.axis).astype(input.dtype, copy=False)

    return call


OPERATIONS = (
    *function_operations(
        "entropy",
        cases=CASES,
        backward_cases=BACKWARD_CASES,
        quick_cases=QUICK_CASES,
        inputs=probs_inputs,
        reference=probs_reference,
        reference_backward=probs_reference_backward,
        torch=torch_entropy,
        jax=jax_entropy,
        forward_peers={"scipy": scipy_entropy},
        reduces=True,
        targets=TARGETS,
        backward_targets=BACKWARD_TARGETS,
        wrt="probs",
    ),
    *function_operations(
        "entropy_with_logits",
        cases=CASES,
        backward_cases=BACKWARD_CASES,
        quick_cases=QUICK_CASES,
        inputs=logits_inputs,
        reference=logits_reference,
        reference_backward=logits_reference_backward,
        torch=torch_entropy_with_logits,
        jax=jax_entropy_with_logits,
        forward_peers={"scipy": scipy_entropy_with_logits},
        reduces=True,
        targets=TARGETS,
        backward_targets=BACKWARD_TARGETS,
    ),
)
