# SPDX-License-Identifier: BSD-3-Clause
"""Every gradient is the derivative of its function: differences of values in float64.

With D(h) the central difference, (4 D(h) - D(2h)) / 3 is off by h^4 / 30 times the fifth
derivative, which each case bounds, and by what the values may be off by, over h. Both are allowed,
nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import logloss
import reference as ref
from elementwise import PROFILE
from grid import promised
from test_kl_div_with_logits import FLOAT64_LOGS
from ulp import Array

STEP = 2.0**-10
EPS = 2.0**-52
REDUCTIONS = ("none", "mean", "sum")


class Case(NamedTuple):
    """A call of one function; the first `wrt` of its arguments have gradients.

    `fifth` bounds the fifth derivative of one of its values by one number, `noise` what a value may
    be off by beside its ulps.
    """

    name: str
    args: tuple[Array, ...]
    options: Mapping[str, Any] = MappingProxyType({})
    reductions: tuple[str, ...] = REDUCTIONS
    wrt: int = 1
    fifth: float = 0.0
    noise: float = 0.0

    def value(self, *args: Array, **options: Any) -> Array:
        return np.asarray(getattr(logloss, self.name)(*args, **self.options, **options))

    def gradients(self, g: Any, **options: Any) -> tuple[Array, ...]:
        """By the backward call, and by the joint one where it has them."""
        options = {**self.options, **options}
        if self.wrt == 2 and self.name == "kl_div_with_logits":
            options["target_grad"] = True
        found = getattr(logloss, f"{self.name}_backward")(g, *self.args, **options)
        return found if isinstance(found, tuple) else (found,)


# Builders of cases: of a generator, and two sizes.
Builder = Callable[[np.random.Generator, int, int], Case]


def logits(generator: np.random.Generator, *shape: int) -> Array:
    return generator.normal(0, 3, shape)


def quarters(generator: np.random.Generator, *shape: int) -> Array:
    """Weights up to 2."""
    return generator.integers(1, 9, shape) / 4


def indices(generator: np.random.Generator, classes: int, *shape: int) -> Array:
    return generator.integers(0, classes, shape)


def of_indices(name: str = "cross_entropy", *, weighted: bool = False, **options: Any) -> Builder:
    def build(generator: np.random.Generator, n: int, classes: int) -> Case:
        given = dict(options)
        if weighted:
            given |= {"weight": quarters(generator, classes), "ignore_index": 0}
        x, y = logits(generator, n, classes), indices(generator, classes, n)
        y[0] = classes - 1
        if weighted and classes == 1:
            given["ignore_index"] = -100
        if name == "nll_loss":
            return Case(name, (-np.abs(x), y), given)
        return Case(name, (x, y), given, fifth=0.5)

    return build


def of_inner_classes(generator: np.random.Generator, n: int, classes: int) -> Case:
    x, y = logits(generator, n, classes, 3), indices(generator, classes, n, 3)
    return Case("cross_entropy", (x, y), fifth=0.5)


def of_last_classes(generator: np.random.Generator, n: int, classes: int) -> Case:
    x, y = logits(generator, n, 3, classes), indices(generator, classes, n, 3)
    return Case("cross_entropy", (x, y), {"axis": -1}, fifth=0.5)


def of_probabilities(*, weighted: bool = False, **options: Any) -> Builder:
    def build(generator: np.random.Generator, n: int, classes: int) -> Case:
        given = dict(options)
        if weighted:
            given["weight"] = quarters(generator, classes)
        p = ref.softmax(logits(generator, n, classes)).astype(np.float64)
        return Case("cross_entropy", (logits(generator, n, classes), p), given, fifth=0.5)

    return build


def of_binary(name: str, *weights: str) -> Builder:
    def build(generator: np.random.Generator, n: int, d: int) -> Case:
        given = {weight: quarters(generator, d) for weight in weights}
        y = generator.integers(0, 5, (n, d)) / 4
        if name == "binary_cross_entropy":  # the fifth derivative of log x is 24 / x^5
            x = generator.uniform(0.3, 0.7, (n, d))
            return Case(name, (x, y), given, fifth=2 * 24 / 0.29**5)
        return Case(name, (logits(generator, n, d), y), given, fifth=1.0)

    return build


def of_terms(*, log_target: bool) -> Builder:
    """Linear in the input, and its terms may be off by half an ulp of p."""

    def build(generator: np.random.Generator, n: int, d: int) -> Case:
        x, t = (ref.log_softmax(logits(generator, n, d)).astype(np.float64) for _ in range(2))
        given = {"log_target": log_target}
        t = t if log_target else np.exp(t)
        return Case("kl_div", (x, t), given, (*REDUCTIONS, "batchmean"), noise=EPS)

    return build


def of_two_logits(generator: np.random.Generator, n: int, classes: int) -> Case:
    x, t = logits(generator, n, classes), logits(generator, n, classes)
    # p (d - KL), of which d and KL may be as large as all differences of logits.
    largest = float(np.ptp(x) + np.ptp(t)) + 1
    return Case(
        "kl_div_with_logits",
        (x, t),
        reductions=(*REDUCTIONS, "batchmean"),
        wrt=2,
        fifth=2 * largest,
        noise=FLOAT64_LOGS * math.sqrt(largest),
    )


def of_probs(generator: np.random.Generator, n: int, classes: int) -> Case:
    """The fifth derivative of p log p is -6 / p^4."""
    probs = generator.uniform(0.25, 0.9, (n, classes))
    return Case("entropy", (probs,), reductions=(), fifth=6 / 0.24**4)


def of_rows(name: str) -> Builder:
    def build(generator: np.random.Generator, n: int, classes: int) -> Case:
        x = logits(generator, n, classes)
        fifth = 1 + float(np.ptp(x)) / 2 if name == "entropy_with_logits" else 0.5
        return Case(name, (x,), reductions=(), fifth=fifth)

    return build


def of_vectors(generator: np.random.Generator, n: int, d: int) -> Case:
    """Not near the kink at the margin. Of vectors as long as sqrt(3) the cosine is at most 3 at the
    complex numbers within 0.7 of any of theirs: its fifth derivative is at most 120 * 3 / 0.7^5.
    """
    signs = generator.choice([-1, 1], (2, n, d + 2))
    a, b = generator.uniform(1, 2, (2, n, d + 2)) * signs
    cosine = (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    y = np.where(np.abs(cosine - 0.25) < 0.05, 1, generator.integers(-1, 2, n))
    given = {"margin": 0.25}
    name, fifth = "cosine_embedding_loss", 120 * 3 / 0.7**5
    return Case(name, (a, b, y), given, wrt=2, fifth=fifth, noise=4 * EPS)


CASES: dict[str, Builder] = {
    "cross_entropy of indices": of_indices(),
    "cross_entropy of indices, weights": of_indices(weighted=True),
    "cross_entropy of indices, smoothing": of_indices(label_smoothing=0.25),
    "cross_entropy of indices, both": of_indices(weighted=True, label_smoothing=0.25),
    "cross_entropy of inner classes": of_inner_classes,
    "cross_entropy of last classes": of_last_classes,
    "cross_entropy of probabilities": of_probabilities(),
    "cross_entropy of probabilities, weights": of_probabilities(weighted=True),
    "cross_entropy of probabilities, smoothing": of_probabilities(label_smoothing=0.25),
    "cross_entropy of probabilities, both": of_probabilities(weighted=True, label_smoothing=0.25),
    "nll_loss": of_indices("nll_loss"),
    "nll_loss, weights": of_indices("nll_loss", weighted=True),
    "binary_cross_entropy": of_binary("binary_cross_entropy"),
    "binary_cross_entropy, weights": of_binary("binary_cross_entropy", "weight"),
    "binary_cross_entropy_with_logits": of_binary("binary_cross_entropy_with_logits"),
    "binary_cross_entropy_with_logits, weights": of_binary(
        "binary_cross_entropy_with_logits", "weight", "pos_weight"
    ),
    "kl_div": of_terms(log_target=False),
    "kl_div, log_target": of_terms(log_target=True),
    "kl_div_with_logits": of_two_logits,
    "cosine_embedding_loss": of_vectors,
    "entropy": of_probs,
    **{
        name: of_rows(name)
        for name in (
            "entropy_with_logits",
            "log_softmax",
            "softmax",
            "logsumexp",
            "sigmoid",
            "log_sigmoid",
        )
    },
}


def totals(case: Case, generator: np.random.Generator) -> Iterator[tuple[Any, dict[str, Any], Any]]:
    """Upstream gradients g, the options they belong to, and what each value is multiplied by."""
    each = case.value(*case.args, **({"reduction": "none"} if case.reductions else {}))
    for reduction in case.reductions or (None,):
        options = {} if reduction is None else {"reduction": reduction}
        if reduction in (None, "none"):
            g: Any = generator.normal(size=each.shape)
            yield g, options, np.abs(g)
        else:
            # A mean of values is at most the sum of them, over weights of at least a quarter.
            yield 0.75, options, 0.75 * 4 if reduction == "mean" else 0.75


def check_derivative(case: Case, g: Any, options: dict[str, Any], size: Any) -> None:
    each = case.value(*case.args, **({"reduction": "none"} if case.reductions else {}))
    weight = float(np.sum(size * np.ones_like(each)))
    known = float(np.sum(size * np.abs(each)))
    for i, gradient in enumerate(case.gradients(g, **options)):

        def total(v: Array, i: int = i) -> float:
            args = (*case.args[:i], v, *case.args[i + 1 :])
            return math.fsum(np.ravel(g * case.value(*args, **options)))

        x = case.args[i]
        one, two = (ref.numeric_gradient(total, x, h) for h in (STEP, 2 * STEP))
        numeric = (4 * one - two) / 3
        # The values, also at the ends of the steps, and one more rounding of each.
        moved = known + 2 * STEP * np.abs(gradient)
        off = (promised(2, np.float64) + 1) * EPS * moved + case.noise * weight
        limit = 1.5 * off / STEP + STEP**4 / 30 * case.fifth * weight
        assert gradient.shape == x.shape
        error = np.abs(gradient - numeric)
        assert (error <= limit).all(), f"{np.max(error / limit)} times what is allowed"


@pytest.mark.parametrize("build", CASES.values(), ids=CASES.keys())
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 4),
    d=st.one_of(st.integers(1, 6), st.just(17)),
)
@settings(PROFILE, max_examples=20)
def test_gradient_is_the_derivative(build: Builder, seed: int, n: int, d: int) -> None:
    generator = np.random.default_rng(seed)
    case = build(generator, n, d)
    for g, options, size in totals(case, generator):
        check_derivative(case, g, options, size)
