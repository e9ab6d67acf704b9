# SPDX-License-Identifier: BSD-3-Clause
"""Confident rows at their worst: the target is the most likely class, its loss what others leave.

Their terms here are just above powers of two, where half an ulp is the largest share of a number,
each half of the one before, so that their sum is just below a power of two, where an ulp is the
smallest share; and small terms make every addition round. Three additions in float32 are enough for
a loss to be off by 3 ulps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import logloss
import reference as ref
from grid import promised
from ulp import Array, assert_ulp

ELEMENTS = 1 << 20
LN2 = np.log(2)


def check(logits: Array, target: Array, **options: Any) -> None:
    """Every loss is within 2 ulps, of rows as they are and side by side."""
    options |= {"reduction": "none"}
    exact = ref.cross_entropy(logits, target, axis=-1, **options)
    limit = promised(2, np.float32)
    assert_ulp(logloss.cross_entropy(logits, target, axis=-1, **options), exact, limit)
    across = np.ascontiguousarray(logits.T), np.ascontiguousarray(target.T)
    assert_ulp(logloss.cross_entropy(*across, axis=0, **options), exact, limit)


def rows(classes: int, halvings: int, spread: float) -> Array:
    """Logits of which the first is the maximum, 0; `halvings` others at random places count."""
    rng = np.random.default_rng([classes, halvings])
    count = ELEMENTS // classes
    below = np.round(rng.uniform(5, 12, (count, 1)) / LN2) * LN2
    logits = -below - rng.uniform(9, 17, (count, classes))
    others = np.tile(np.arange(1, classes), (count, 1))
    places = rng.permuted(others, axis=1)[:, :halvings]
    terms = -below - LN2 * np.arange(halvings) + rng.uniform(0, spread, (count, halvings))
    np.put_along_axis(logits, places, terms, axis=1)
    logits[:, 0] = 0
    return logits.astype(np.float32)


@pytest.mark.parametrize("spread", [0.02, 0.3])
@pytest.mark.parametrize("halvings", [1, 2, 3])
@pytest.mark.parametrize("classes", [4, 20, 40, 128, 1000])
def test_losses_are_within_2_ulps(classes: int, halvings: int, spread: float) -> None:
    logits = rows(classes, halvings, spread)
    target = np.zeros(len(logits), np.int64)
    check(logits, target)
    exact = ref.log_softmax(logits, axis=-1)[:, 0]
    assert_ulp(logloss.log_softmax(logits, axis=-1)[:, 0], exact, promised(2, np.float32))


@pytest.mark.parametrize("classes", [20, 40, 128, 1000])
def test_probabilities(classes: int) -> None:
    """Nearly all is given to one class, far below the maximum; the others make sums round."""
    rng = np.random.default_rng(classes)
    count = ELEMENTS // classes
    logits = -rng.uniform(30, 60, (count, classes))
    logits[:, 0] = rng.uniform(0, 1, count)
    logits[:, 1] = logits[:, 0] - rng.choice([8, 16], count) * rng.uniform(1, 1.1, count)
    probs = rng.uniform(0, 1e-6, (count, classes))
    probs[:, 1] = rng.uniform(0.97, 1, count)
    check(logits.astype(np.float32), probs.astype(np.float32))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_weights_and_smoothing(classes: int) -> None:
    rng = np.random.default_rng(classes)
    logits = rng.normal(0, 5, (2 * ELEMENTS // classes, classes)).astype(np.float32)
    weight = rng.uniform(0, 10, classes).astype(np.float32)
    check(logits, logits.argmax(axis=1), weight=weight, label_smoothing=0.1)
