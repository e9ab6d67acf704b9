# SPDX-License-Identifier: BSD-3-Clause
"""Numbers that tutorials on torch print, to the digits printed."""

from __future__ import annotations

import math

import numpy as np
import pytest

import logloss

# Random logits that a tutorial printed to four digits: results agree to about the last digit.
RANDOM_LOGITS = np.float32(
    [
        [-0.6722, 0.0933, -0.7828, -0.5380, -0.3814],
        [-1.0644, -0.0649, 0.6899, -0.5077, -0.4502],
        [-1.7857, -0.0663, 0.4620, 0.8843, -0.4773],
    ]
)
RANDOM_TARGET = np.array([1, 0, 1])
RANDOM_PROBS = [
    [0.1532, 0.3294, 0.1372, 0.1752, 0.2049],
    [0.0764, 0.2076, 0.4415, 0.1333, 0.1412],
    [0.0293, 0.1632, 0.2769, 0.4224, 0.1082],
]
RANDOM_LOSSES, RANDOM_LOSS = [1.1104, 2.5718, 1.8125], 1.8316
LAST_DIGIT = 1.5e-4


def test_random_logits() -> None:
    probs = logloss.softmax(RANDOM_LOGITS, 1)
    np.testing.assert_allclose(probs, RANDOM_PROBS, rtol=0, atol=LAST_DIGIT)
    log_probs = logloss.log_softmax(RANDOM_LOGITS, 1)
    for each in (
        logloss.cross_entropy(RANDOM_LOGITS, RANDOM_TARGET, reduction="none"),
        logloss.nll_loss(log_probs, RANDOM_TARGET, reduction="none"),
    ):
        np.testing.assert_allclose(each, RANDOM_LOSSES, rtol=0, atol=LAST_DIGIT)
    for loss in (
        logloss.cross_entropy(RANDOM_LOGITS, RANDOM_TARGET),
        logloss.nll_loss(log_probs, RANDOM_TARGET),
    ):
        assert loss == pytest.approx(RANDOM_LOSS, abs=LAST_DIGIT)


def test_softmax() -> None:
    probs = logloss.softmax(np.float32([7.4, 2.8, -0.6, 6.3]))
    np.testing.assert_allclose(probs, [0.74446, 0.0074832, 0.00024974, 0.24781], rtol=2e-5)
    probs = logloss.softmax(np.float32([9.3, -5.3, 7.2, -8.4]))
    np.testing.assert_allclose(probs, [0.8909, 4.0657e-7, 0.1091, 1.8315e-8], rtol=5e-5)


def test_cross_entropy_of_indices() -> None:
    x = np.float32([[7.4, 2.8, -0.6, 6.3], [-1.9, 4.2, 3.9, 5.1], [9.3, -5.3, 7.2, -8.4]])
    y = np.array([3, 0, 2])
    weight = np.float32([0, 1, 2, 3])
    assert round(logloss.cross_entropy(x, y), 4) == 3.7154
    assert round(logloss.cross_entropy(x, y, reduction="sum"), 4) == 11.1463
    each = logloss.cross_entropy(x, y, reduction="none")
    np.testing.assert_array_equal(np.round(each.astype(float), 4), [1.3951, 7.5357, 2.2155])
    assert round(logloss.cross_entropy(x, y, weight=weight), 4) == 1.7233
    assert round(logloss.cross_entropy(x, y, ignore_index=2), 4) == 4.4654
    assert round(logloss.cross_entropy(x, y, label_smoothing=0.8), 4) == 4.8088


def test_cross_entropy_of_probabilities() -> None:
    x = np.float32([[7.4, 2.8, -0.6], [6.3, -1.9, 4.2]])
    p = logloss.softmax(np.float32([[3.9, 5.1, 9.3], [-5.3, 7.2, -8.4]]))
    weight = np.float32([0, 1, 2])
    assert round(logloss.cross_entropy(x, p), 4) == 8.1203
    assert round(logloss.cross_entropy(x, p, reduction="sum"), 4) == 16.2406
    each = logloss.cross_entropy(x, p, reduction="none")
    np.testing.assert_array_equal(np.round(each.astype(float), 4), [7.9249, 8.3157])
    assert round(logloss.cross_entropy(x, p, weight=weight), 4) == 12.0488
    assert round(logloss.cross_entropy(x, p, label_smoothing=0.8), 4) == 4.7278


def test_cross_entropy_of_empty_probabilities() -> None:
    x = np.zeros(0, np.float32)
    p = logloss.softmax(x, 0)
    assert math.isnan(logloss.cross_entropy(x, p))
    for reduction in ("sum", "none"):
        assert str(float(logloss.cross_entropy(x, p, reduction=reduction))) == "-0.0"


def test_cross_entropy_of_float64_and_rows_of_three() -> None:
    assert round(logloss.cross_entropy(np.array([[1.0, 2], [1, 4]]), np.array([0, 1])), 4) == 0.6809
    x = np.tile(np.float32([0.1234, 0.5555, 0.3211]), (3, 1))
    assert round(logloss.cross_entropy(x, np.array([0, 1, 2])), 4) == 1.1142
