# SPDX-License-Identifier: BSD-3-Clause
"""The classes: the functions with options held, and torch's names for everything."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import numpy as np
import pytest

import logloss
from test_layouts import same_bits
from ulp import Array

WEIGHT = np.float32([0.5, 2.0, 0.0, 1.5])
OTHER_WEIGHT = np.float32([[1.0], [3.0]])

# class, function, options, and what a default instance has
CRITERIA: dict[str, tuple[Any, Any, dict[str, Any], dict[str, Any]]] = {
    "cross_entropy": (
        logloss.CrossEntropyLoss,
        logloss.cross_entropy,
        {"weight": WEIGHT, "ignore_index": 1, "reduction": "sum", "label_smoothing": 0.25},
        {"weight": None, "ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0},
    ),
    "nll_loss": (
        logloss.NLLLoss,
        logloss.nll_loss,
        {"weight": WEIGHT, "ignore_index": 1, "reduction": "sum"},
        {"weight": None, "ignore_index": -100, "reduction": "mean"},
    ),
    "binary_cross_entropy": (
        logloss.BCELoss,
        logloss.binary_cross_entropy,
        {"weight": OTHER_WEIGHT, "reduction": "sum"},
        {"weight": None, "reduction": "mean"},
    ),
    "binary_cross_entropy_with_logits": (
        logloss.BCEWithLogitsLoss,
        logloss.binary_cross_entropy_with_logits,
        {"weight": OTHER_WEIGHT, "pos_weight": WEIGHT, "reduction": "sum"},
        {"weight": None, "reduction": "mean", "pos_weight": None},
    ),
    "kl_div": (
        logloss.KLDivLoss,
        logloss.kl_div,
        {"reduction": "batchmean", "log_target": True},
        {"reduction": "mean", "log_target": False},
    ),
    "cosine_embedding_loss": (
        logloss.CosineEmbeddingLoss,
        logloss.cosine_embedding_loss,
        {"margin": 0.5, "reduction": "sum"},
        {"margin": 0.0, "reduction": "mean"},
    ),
}
LOSSES = pytest.mark.parametrize("name", CRITERIA)


def arguments(name: str) -> tuple[Array, ...]:
    generator = np.random.default_rng(3)
    x = generator.normal(size=(2, 4)).astype(np.float32)
    probs = logloss.softmax(generator.normal(size=(2, 4)).astype(np.float32))
    return {
        "cross_entropy": (x, np.array([1, 3])),
        "nll_loss": (x, np.array([1, 3])),
        "binary_cross_entropy": (probs, np.eye(2, 4, dtype=np.float32)),
        "binary_cross_entropy_with_logits": (x, np.eye(2, 4, dtype=np.float32)),
        "kl_div": (np.log(probs), probs),
        "cosine_embedding_loss": (x, probs, np.array([-1, 1])),
    }[name]


@LOSSES
def test_calls_are_those_of_the_function(name: str) -> None:
    criterion_type, function, options, _ = CRITERIA[name]
    of_value_and_grad = getattr(logloss, f"{name}_value_and_grad")
    given = arguments(name)
    for held in ({}, options, *({key: value} for key, value in options.items())):
        criterion = criterion_type(**held)
        assert criterion(*given) == function(*given, **held)
        loss, grad = criterion.value_and_grad(*given)
        right, right_grad = of_value_and_grad(*given, **held)
        assert loss == right
        same_bits(grad, right_grad)


@LOSSES
def test_gradients_go_where_they_are_wanted(name: str) -> None:
    criterion = CRITERIA[name][0]()
    given = arguments(name)
    _, right = criterion.value_and_grad(*given)
    out = tuple(map(np.empty_like, right)) if isinstance(right, tuple) else np.empty_like(right)
    _, grad = criterion.value_and_grad(*given, out=out)
    same_bits(grad, right)
    pairs = zip(grad, out, strict=True) if isinstance(out, tuple) else [(grad, out)]
    assert all(written is wanted for written, wanted in pairs)


@LOSSES
def test_attributes_are_the_options(name: str) -> None:
    criterion_type, _, options, defaults = CRITERIA[name]
    assert vars(criterion_type()) == defaults
    assert vars(criterion_type(**options)) == options
    first, *others = inspect.signature(criterion_type).parameters.values()
    assert all(option.kind is option.KEYWORD_ONLY for option in others)
    if name != "kl_div":
        assert vars(criterion_type(options[first.name]))[first.name] is options[first.name]


@LOSSES
def test_representation_and_copies(name: str) -> None:
    criterion_type, _, options, _ = CRITERIA[name]
    criterion = criterion_type(**options)
    assert repr(criterion) == f"{criterion_type.__name__}()"
    for twin in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        assert twin(*arguments(name)) == criterion(*arguments(name))


@LOSSES
def test_options_are_checked_at_the_call(name: str) -> None:
    criterion = CRITERIA[name][0](reduction="median")
    with pytest.raises(ValueError, match="reduction: got 'median'"):
        criterion(*arguments(name))
    with pytest.raises(ValueError, match="reduction: got 'median'"):
        criterion.value_and_grad(*arguments(name))


def test_unknown_options() -> None:
    for criterion_type, *_ in CRITERIA.values():
        with pytest.raises(TypeError, match="size_average"):
            criterion_type(size_average=True)


@pytest.mark.parametrize("kind", (logloss.LogSoftmax, logloss.Softmax))
def test_softmaxes(kind: Any) -> None:
    function = logloss.softmax if kind is logloss.Softmax else logloss.log_softmax
    x = np.random.default_rng(4).normal(size=(2, 3, 4, 5))
    for dim in (0, 1, 2, 3, -1):
        same_bits(kind(dim)(x), function(x, dim))
        assert repr(kind(dim=dim)) == f"{kind.__name__}(dim={dim})"
    assert repr(kind()) == f"{kind.__name__}(dim=None)"
    for shape, axis in (((), 0), ((4,), 0), ((3, 4), 1), ((2, 3, 4), 0), ((2, 3, 4, 5), 1)):
        each = x.ravel()[: int(np.prod(shape))].reshape(shape)
        same_bits(kind()(each), function(each, axis))
    with pytest.raises(np.exceptions.AxisError):
        kind(4)(x)


@pytest.mark.parametrize("name", (*CRITERIA, "softmax", "log_softmax"))
def test_torch_has_the_same_ones(name: str) -> None:
    """Names, defaults, attributes, representation and result."""
    torch = pytest.importorskip("torch", reason="the oracle of the semantics")
    if name in CRITERIA:
        kind, _, options, _ = CRITERIA[name]
    else:
        kind = logloss.Softmax if name == "softmax" else logloss.LogSoftmax
        options = {"dim": 0}
    theirs = getattr(torch.nn, kind.__name__)
    known = inspect.signature(theirs).parameters
    for option, parameter in inspect.signature(kind).parameters.items():
        assert known[option].default == parameter.default
    ours = kind(**options)
    as_tensors = {
        k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()
    }
    other = theirs(**as_tensors)
    assert repr(ours) == repr(other)
    for attribute in vars(ours):
        assert np.array_equal(getattr(ours, attribute), getattr(other, attribute))
    given = arguments(name) if name in CRITERIA else (arguments("cross_entropy")[0],)
    right = other(*map(torch.tensor, given))
    np.testing.assert_allclose(ours(*given), right.numpy(), rtol=1e-6)
