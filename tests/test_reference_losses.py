# SPDX-License-Identifier: BSD-3-Clause
"""The references of the element-wise losses, divergences, entropies and cosines.

Closely against arithmetic of many digits on hard inputs; their options against torch; every
gradient against differences of its loss.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest

import reference as ref
from reference_oracle import assert_close, exactly, mp
from ulp import Array

NONE: dict[str, Any] = {"reduction": "none"}
INF = np.inf

HARD_LOGITS = np.array([0.0, 1e-30, 0.5, 2.0, 40.0, 80.0, 700.0, 1e4])
HARD_LOGITS = np.concatenate([HARD_LOGITS, -HARD_LOGITS[1:]])
HARD_TARGETS = (0.0, 1.0, 0.5, 0.3, 1e-30, 1 - 2.0**-53)
UNUSUAL_TARGETS = (-2.5, 1e25)

# Many digits, where a difference of fewer would not do.
DIGITS = 400


def logistic(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x)) if x > 0 else mp.exp(x) / (1 + mp.exp(x))


def softplus(x: Any) -> Any:
    return mp.log1p(mp.exp(x))


# Element by element, to fifty digits


def test_sigmoid_family_to_fifty_digits() -> None:
    xs = exactly(HARD_LOGITS)
    g = mp.mpf(-1.75)
    assert_close(ref.sigmoid(HARD_LOGITS), [logistic(x) for x in xs])
    assert_close(ref.log_sigmoid(HARD_LOGITS), [-softplus(-x) for x in xs])
    grads = ref.sigmoid_backward(-1.75, HARD_LOGITS), ref.log_sigmoid_backward(-1.75, HARD_LOGITS)
    assert_close(grads[0], [g * logistic(x) * logistic(-x) for x in xs])
    assert_close(grads[1], [g * logistic(-x) for x in xs])


@pytest.mark.parametrize("target", HARD_TARGETS + UNUSUAL_TARGETS)
@pytest.mark.parametrize("pos_weight", (None, 0.0, 0.1, 3.0))
@pytest.mark.parametrize("weight", (None, -0.7))
def test_binary_cross_entropy_with_logits_to_fifty_digits(
    target: float, pos_weight: float | None, weight: float | None
) -> None:
    y = np.full_like(HARD_LOGITS, target)
    w, p = (mp.mpf(1.0 if v is None else v) for v in (weight, pos_weight))
    options: dict[str, Any] = {"weight": weight, "pos_weight": pos_weight, "reduction": "none"}
    with mp.workdps(DIGITS):
        n, p = w * (1 - mp.mpf(target)), w * p * mp.mpf(target)
        loss = [n * softplus(x) + p * softplus(-x) for x in exactly(HARD_LOGITS)]
        grad = [n * logistic(x) - p * logistic(-x) for x in exactly(HARD_LOGITS)]
        q = [logistic(-abs(x)) for x in exactly(HARD_LOGITS)]
        terms = [
            max(abs(n if x > 0 else p), abs((n + p) * q_here))
            for x, q_here in zip(HARD_LOGITS, q, strict=True)
        ]
    assert_close(ref.binary_cross_entropy_with_logits(HARD_LOGITS, y, **options), loss)
    got_terms = ref.binary_cross_entropy_with_logits_terms(1.0, HARD_LOGITS, y, **options)
    assert_close(got_terms, terms)
    got = ref.binary_cross_entropy_with_logits_backward(1.0, HARD_LOGITS, y, **options)
    certain = target in (0, 1) or (target == 0.5 and pos_weight is None)
    assert_close(got, grad, None if certain else got_terms)


def test_binary_cross_entropy_to_fifty_digits() -> None:
    pairs = product((0.0, 1e-45, 1e-30, 0.1, 0.5, 1 - 2.0**-53, 1.0), HARD_TARGETS)
    x, y = np.array(list(pairs)).T
    loss, grad = [], []
    with mp.workdps(DIGITS):
        epsilon = mp.mpf(float(np.float32(1e-12)))
        for p, t in zip(exactly(x), exactly(y), strict=True):
            log_p = max(mp.log(p), -100) if p else mp.mpf(-100)
            log_rest = max(mp.log(1 - p), -100) if p < 1 else mp.mpf(-100)
            loss.append(-0.75 * (t * log_p + (1 - t) * log_rest))
            grad.append(0.75 * (p - t) / max(p * (1 - p), epsilon))
    options: dict[str, Any] = {"weight": 0.75, "reduction": "none"}
    assert_close(ref.binary_cross_entropy(x, y, **options), loss)
    assert_close(ref.binary_cross_entropy_backward(1.0, x, y, **options), grad)


def test_kl_div_to_fifty_digits() -> None:
    t = np.array([0.3, 0.3, 0.3, 1e-30, 1.0, 1.0, 1 - 2.0**-53, 5e-324, 0.7, 40.0])
    x = np.log(t) + np.array([0, 1e-16, 2.0, -1e-14, 0, 1e-30, 0, 0, -1e4, 0])
    ps, xs = exactly(t), exactly(x)
    expected = [p * (mp.log(p) - v) for p, v in zip(ps, xs, strict=True)]
    assert_close(ref.kl_div(x, t, **NONE), expected)
    assert_close(ref.kl_div_backward(2.5, x, t, **NONE), [-mp.mpf(2.5) * p for p in ps])
    t = np.array([-80.0, -80.0, 1e-30, 0.0, 5.0, 12000.0, -700.0])
    x = np.array([-80.0000001, -80.0, 0.0, 1e-30, -1e4, 12000.0, 1.0])
    ps = [mp.exp(v) for v in exactly(t)]
    expected = [p * (b - a) for p, a, b in zip(ps, exactly(x), exactly(t), strict=True)]
    assert_close(ref.kl_div(x, t, log_target=True, **NONE), expected)
    grad = ref.kl_div_backward(2.5, x[:5], t[:5], log_target=True, **NONE)
    assert_close(grad, [-mp.mpf(2.5) * p for p in ps[:5]])


# Rows, to fifty digits


def log_softmax(row: list[Any]) -> list[Any]:
    top = max(row)
    lse = mp.log(mp.fsum(mp.exp(v - top) for v in row))
    return [v - top - lse for v in row]


GENERATOR = np.random.default_rng(8)
ROW = GENERATOR.normal(0.0, 3.0, 50)
NOISE = GENERATOR.normal(0.0, 1.0, 50)
CONFIDENT = np.where(np.arange(50) == 7, 80.0, 0.0) + NOISE
PAIRS = (
    (ROW, ROW),
    (ROW, ROW + 1e-6 * NOISE),
    (ROW, ROW + 1e-6 * NOISE + 1000.0),
    (ROW, ROW + 1e-12 * NOISE),
    (ROW, ROW + NOISE),
    (ROW, 10 * NOISE),
    (CONFIDENT, CONFIDENT + 1e-3 * NOISE),
    (CONFIDENT, ROW),
    (ROW, CONFIDENT),
    (ROW, np.where(np.arange(50) == 3, -90.0, ROW + 1e-6 * NOISE)),
    (np.where(np.arange(50) == 3, -90.0, ROW + 1e-6 * NOISE), ROW),
    (np.array([0.0, 3000.0]), np.array([3000.0, 0.0])),
    (np.array([2.0]), np.array([-7.0])),
)


@pytest.mark.parametrize("pair", PAIRS)
def test_kl_div_with_logits_to_fifty_digits(pair: tuple[Array, Array]) -> None:
    x, t = pair
    with mp.workdps(4 * DIGITS):
        log_q, log_p = log_softmax(exactly(x)), log_softmax(exactly(t))
        p, q = ([mp.exp(v) for v in logs] for logs in (log_p, log_q))
        d = [a - b for a, b in zip(log_p, log_q, strict=True)]
        kl = mp.fsum(a * b for a, b in zip(p, d, strict=True))
        input_grad = [a - b for a, b in zip(q, p, strict=True)]
        target_grad = [a * (b - kl) for a, b in zip(p, d, strict=True)]
        logs = [-min(a, b) for a, b in zip(log_p, log_q, strict=True)]
        terms = (
            [max(a, b) for a, b in zip(p, q, strict=True)],
            [a * max(b, kl) for a, b in zip(p, logs, strict=True)],
        )
    assert_close(ref.kl_div_with_logits(x, t, **NONE), [kl])
    got_terms = ref.kl_div_with_logits_terms(1.0, x, t, **NONE, target_grad=True)
    got = ref.kl_div_with_logits_backward(1.0, x, t, **NONE, target_grad=True)
    for actual, expected in zip(got_terms, terms, strict=True):
        assert_close(actual, expected)
    for actual, expected, sizes in zip(got, (input_grad, target_grad), got_terms, strict=True):
        assert_close(actual, expected, sizes)
    if np.max(np.abs((x - x[0]) - (t - t[0]))) < 0.1:
        assert_close(got[0], input_grad, got_terms[0] * float(max(map(abs, d))))


def test_a_class_absent_from_both_rows_changes_no_divergence() -> None:
    x, t = ROW, ROW + 1e-6 * NOISE
    absent = np.append(x, -INF), np.append(t, -INF)
    expected = ref.kl_div_with_logits(x, t, **NONE)
    np.testing.assert_allclose(ref.kl_div_with_logits(*absent, **NONE), expected, rtol=1e-17)
    for got in ref.kl_div_with_logits_backward(1.0, *absent, **NONE, target_grad=True):
        assert got[-1] == 0 and np.isfinite(got).all()


ROWS = (ROW, CONFIDENT, np.full(5, 3.0), 1e3 + 1e-9 * NOISE, np.array([7.0]), 100 * NOISE)


@pytest.mark.parametrize("x", ROWS)
def test_entropies_to_fifty_digits(x: Array) -> None:
    with mp.workdps(DIGITS):
        logs = log_softmax(exactly(x))
        p = [mp.exp(v) for v in logs]
        h = -mp.fsum(a * b for a, b in zip(p, logs, strict=True))
        # -log p - H, as a mean of differences: exactly 0 in a row of equal logits.
        grad = [
            a * mp.fsum(other * (v - b) for other, v in zip(p, logs, strict=True))
            for a, b in zip(p, logs, strict=True)
        ]
        terms = [a * max(-b, h) for a, b in zip(p, logs, strict=True)]
        assert_close(ref.entropy_with_logits(x), [h])
        assert_close(ref.entropy_with_logits_terms(1.0, x), terms)
        s, below = ref.softmax(x), ref.wide(x.max() - x)
        reach = s * (below + (s * below).sum())
        assert_close(ref.entropy_with_logits_backward(1.0, x), grad, reach)
        probs = np.exp(x - x.max()) / np.exp(x - x.max()).sum()
        expected = -mp.fsum(v * mp.log(v) if v else 0 for v in exactly(probs))
        assert_close(ref.entropy(probs), [expected])


def test_entropy_gradient_to_fifty_digits() -> None:
    p = np.array([1e-30, 0.1, 1 / math.e, 0.36787944, 0.5, 1.0, 2.0])
    logs = [mp.log(v) for v in exactly(p)]
    assert_close(ref.entropy_backward(-1.5, p), [mp.mpf(1.5) * (v + 1) for v in logs])
    assert_close(ref.entropy_terms(-1.5, p), [mp.mpf(1.5) * max(abs(v), 1) for v in logs])


SIDE = GENERATOR.normal(0.0, 1.0, 12)
OTHER = GENERATOR.normal(0.0, 1.0, 12)
VECTORS = (
    (SIDE, OTHER),
    (SIDE, SIDE),
    (SIDE, -3 * SIDE),
    (SIDE, 1.1 * SIDE),
    (SIDE, SIDE + 1e-9 * OTHER),
    (SIDE, -SIDE + 1e-9 * OTHER),
    (1e-30 * SIDE, OTHER),
    (1e-7 * SIDE, 1e-6 * OTHER),
    (1e200 * SIDE, 1e-20 * OTHER),
    (1e200 * SIDE, 1e200 * (SIDE + 1e-8 * OTHER)),
    (np.zeros(12), OTHER),
    (np.array([1.0, 0.0]), np.array([0.0, 1.0])),
)


@pytest.mark.parametrize("pair", VECTORS)
@pytest.mark.parametrize("target", (1, -1))
@pytest.mark.parametrize("margin", (0.0, 0.1))
def test_cosine_embedding_loss_to_fifty_digits(
    pair: tuple[Array, Array], target: int, margin: float
) -> None:
    options: dict[str, Any] = {"margin": margin, "reduction": "none"}
    with mp.workdps(DIGITS):
        a, b = (exactly(v) for v in pair)
        epsilon = mp.mpf(float(np.float32(1e-12)))
        ab, aa, bb = (
            mp.fsum(u * v for u, v in zip(left, right, strict=True))
            for left, right in ((a, b), (a, a), (b, b))
        )
        aa, bb = aa + epsilon, bb + epsilon
        root = mp.sqrt(aa * bb)
        cosine = ab / root
        excess = cosine - mp.mpf(margin)
        loss = 1 - cosine if target == 1 else max(0, excess)
        slope = -1 if target == 1 else int(excess >= 0)
        firsts = [v / root for v in b], [v / root for v in a]
        seconds = [cosine * v / aa for v in a], [cosine * v / bb for v in b]
        grads = [
            [slope * (u - v) for u, v in zip(first, second, strict=True)]
            for first, second in zip(firsts, seconds, strict=True)
        ]
        terms = [
            [abs(slope) * max(abs(u), abs(v)) for u, v in zip(first, second, strict=True)]
            for first, second in zip(firsts, seconds, strict=True)
        ]
        assert_close(ref.cosine_embedding_loss(*pair, target, **options), [loss])
        got = ref.cosine_embedding_loss_backward(1.0, *pair, target, **options)
        got_terms = ref.cosine_embedding_loss_terms(1.0, *pair, target, **options)
        for side in (0, 1):
            assert_close(got[side], grads[side])
            assert_close(got_terms[side], terms[side])


# Every option, against torch


def agree(expected: Any, leaves: list[Any], grad_output: Any, loss: Any, grads: Any) -> None:
    """The loss and its gradients are those of the torch tensor `expected` in float64."""
    torch = pytest.importorskip("torch", reason="torch is the oracle of every option")
    expected.backward(torch.tensor(grad_output))
    np.testing.assert_allclose(np.float64(loss), expected.detach(), rtol=1e-12, atol=1e-14)
    for grad, leaf in zip(grads, leaves, strict=True):
        np.testing.assert_allclose(grad.astype(float), leaf.grad, rtol=1e-11, atol=1e-13)


def torch_leaves(*arrays: Any) -> tuple[Any, list[Any]]:
    torch = pytest.importorskip("torch", reason="torch is the oracle of every option")
    return torch, [torch.tensor(array, requires_grad=True) for array in arrays]


def grad_output_for(reduction: str, shape: tuple[int, ...]) -> Any:
    size = math.prod(shape)
    return np.cos(np.arange(float(size))).reshape(shape) if reduction == "none" else np.float64(0.7)


def test_sigmoid_family_agrees_with_torch() -> None:
    x = GENERATOR.normal(0, 3, (4, 3))
    g = grad_output_for("none", x.shape)
    for name, peer in (("sigmoid", "sigmoid"), ("log_sigmoid", "logsigmoid")):
        torch, leaves = torch_leaves(x)
        grad = getattr(ref, f"{name}_backward")(g, x)
        expected = getattr(torch.nn.functional, peer)(*leaves)
        agree(expected, leaves, g, getattr(ref, name)(x), [grad])


@pytest.mark.parametrize("reduction", ("none", "mean", "sum"))
def test_binary_cross_entropies_agree_with_torch(reduction: str) -> None:
    shape = (4, 3, 2)
    x, y = GENERATOR.normal(0, 3, shape), GENERATOR.uniform(0, 1, shape)
    g = grad_output_for(reduction, shape)
    weights = (None, GENERATOR.normal(0, 1, (3, 1)), GENERATOR.normal(0, 1, shape))
    for weight, pos_weight in product(weights, (None, np.float64(2.5), np.array([0.3, 4.0]))):
        options: dict[str, Any] = {"weight": weight, "reduction": reduction}
        torch, leaves = torch_leaves(x)
        tensors = [None if v is None else torch.tensor(v) for v in (weight, pos_weight)]
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            leaves[0], torch.tensor(y), tensors[0], reduction=reduction, pos_weight=tensors[1]
        )
        logits_options = options | {"pos_weight": pos_weight}
        loss = ref.binary_cross_entropy_with_logits(x, y, **logits_options)
        grad = ref.binary_cross_entropy_with_logits_backward(g, x, y, **logits_options)
        agree(expected, leaves, g, loss, [grad])

        probs = y[::-1].copy()
        probs[0, 0], probs[1, 1] = [0.0, 1.0], [1.0, 0.0]
        torch, leaves = torch_leaves(probs)
        expected = torch.nn.functional.binary_cross_entropy(
            leaves[0], torch.tensor(y), tensors[0], reduction=reduction
        )
        loss = ref.binary_cross_entropy(probs, y, **options)
        agree(
            expected,
            leaves,
            g,
            loss,
            [ref.binary_cross_entropy_backward(g, probs, y, **options)],
        )


SHAPES = (((3, 2), (3, 2)), ((4, 1, 3), (2, 3)), ((3,), (2, 3)), ((), (2,)), ((5,), ()), ((), ()))


@pytest.mark.filterwarnings("ignore:reduction")  # torch would have us use "batchmean"
@pytest.mark.parametrize("shapes", SHAPES)
def test_kl_div_agrees_with_torch(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    x, t = (GENERATOR.normal(0, 2, shape) for shape in shapes)
    for log_target, reduction in product((False, True), ("none", "mean", "sum", "batchmean")):
        target = t if log_target else np.exp(t)
        options: dict[str, Any] = {"log_target": log_target, "reduction": reduction}
        torch, leaves = torch_leaves(x)
        expected = torch.nn.functional.kl_div(*leaves, torch.tensor(target), **options)
        g = grad_output_for(reduction, np.broadcast_shapes(*shapes))
        grad = ref.kl_div_backward(g, x, target, **options)
        agree(expected, leaves, g, ref.kl_div(x, target, **options), [grad])


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("shape", ((4, 5), (3, 4, 2), (6,)))
def test_kl_div_with_logits_is_torch_s_composition(shape: tuple[int, ...]) -> None:
    x, t = GENERATOR.normal(0, 2, shape), GENERATOR.normal(0, 2, shape)
    for axis, reduction in product(range(-1, len(shape)), ("none", "mean", "sum", "batchmean")):
        torch, leaves = torch_leaves(x, t)
        logs = [torch.log_softmax(leaf, axis) for leaf in leaves]
        expected = torch.nn.functional.kl_div(*logs, reduction=reduction, log_target=True)
        expected = expected.sum(axis) if reduction == "none" else expected
        g = grad_output_for(reduction, tuple(expected.shape))
        options: dict[str, Any] = {"axis": axis, "reduction": reduction}
        grads = ref.kl_div_with_logits_backward(g, x, t, **options, target_grad=True)
        agree(expected, leaves, g, ref.kl_div_with_logits(x, t, **options), grads)
        alone = ref.kl_div_with_logits_backward(g, x, t, **options)
        np.testing.assert_array_equal(alone, grads[0])


def test_entropies_agree_with_torch_on_every_axis() -> None:
    x = GENERATOR.normal(0, 2, (3, 4, 5))
    for axis in (0, 1, 2, -2):
        torch, leaves = torch_leaves(np.exp(x))
        expected = torch.special.entr(leaves[0]).sum(axis)
        g = grad_output_for("none", tuple(expected.shape))
        moved = np.moveaxis(ref.entropy_backward(g, np.exp(x), axis), axis, -1)
        loss = ref.entropy(np.exp(x), axis)
        agree(expected, leaves, g, loss, [np.moveaxis(moved, -1, axis)])
        torch, leaves = torch_leaves(x)
        expected = torch.special.entr(torch.softmax(leaves[0], axis)).sum(axis)
        grad = ref.entropy_with_logits_backward(g, x, axis)
        agree(expected, leaves, g, ref.entropy_with_logits(x, axis), [grad])


COSINE_SHAPES = (
    ((6, 4), (6, 4), (6,)),
    ((1, 4), (6, 4), (6,)),
    ((6, 4), (1, 4), (6,)),
    ((6, 4), (6, 4), (1,)),
    ((4,), (4,), ()),
)


@pytest.mark.parametrize("shapes", COSINE_SHAPES)
@pytest.mark.parametrize("reduction", ("none", "mean", "sum"))
def test_cosine_embedding_loss_agrees_with_torch(shapes: Any, reduction: str) -> None:
    a, b = (GENERATOR.normal(0, 1, shape) for shape in shapes[:2])
    for margin, first in product((0.0, 0.3, -1.0), (1, -1)):
        y = np.resize([first, -1, 1, -1], shapes[2])
        torch, leaves = torch_leaves(a, b)
        expected = torch.nn.functional.cosine_embedding_loss(
            *leaves, torch.tensor(y), margin=margin, reduction=reduction
        )
        g = grad_output_for(reduction, tuple(expected.shape))
        options: dict[str, Any] = {"margin": margin, "reduction": reduction}
        grads = ref.cosine_embedding_loss_backward(g, a, b, y, **options)
        agree(expected, leaves, g, ref.cosine_embedding_loss(a, b, y, **options), grads)


# Gradients, against differences

X = GENERATOR.normal(0, 2, (3, 4))
T = GENERATOR.normal(0, 2, (3, 4))
PROBS = GENERATOR.uniform(0.1, 0.9, (3, 4))
WEIGHTS = {"weight": np.array([0.5, -1.0, 2.0, 1.5]), "reduction": "none"}
SIGNS = np.array([1, -1, 0])
DIFFERENTIABLE: tuple[tuple[str, tuple[Any, ...], int, dict[str, Any]], ...] = (
    ("sigmoid", (X,), 1, {}),
    ("log_sigmoid", (X,), 1, {}),
    ("binary_cross_entropy", (PROBS, PROBS[::-1]), 1, WEIGHTS),
    ("binary_cross_entropy_with_logits", (X, T), 1, WEIGHTS | {"pos_weight": np.array(3.0)}),
    ("binary_cross_entropy_with_logits", (X / 4, PROBS), 1, NONE),
    ("kl_div", (X[:, :1], PROBS), 1, NONE),
    ("kl_div", (X, T), 1, NONE | {"log_target": True}),
    ("kl_div_with_logits", (X, T), 2, NONE | {"axis": 0}),
    ("kl_div_with_logits", (X, X + T / 50), 2, NONE),
    ("entropy", (PROBS,), 1, {"axis": 0}),
    ("entropy_with_logits", (X,), 1, {}),
    ("cosine_embedding_loss", (X, T, SIGNS), 2, NONE | {"margin": -1.0}),
    ("cosine_embedding_loss", (X[:1], T, SIGNS), 2, NONE | {"margin": -1.0}),
)


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=lambda case: case[0])
def test_gradients_are_those_of_the_losses(
    case: tuple[str, tuple[Any, ...], int, dict[str, Any]],
) -> None:
    name, args, leaves, options = case
    f = getattr(ref, name)
    g = np.cos(np.arange(float(np.size(f(*args, **options))))).reshape(f(*args, **options).shape)
    both: dict[str, Any] = {"target_grad": True} if name == "kl_div_with_logits" else {}
    grads = getattr(ref, f"{name}_backward")(g, *args, **options, **both)
    for position, grad in enumerate(grads if leaves == 2 else [grads]):

        def total(x: Array, position: int = position) -> Any:
            return (g * f(*args[:position], x, *args[position + 1 :], **options)).sum()

        expected = ref.numeric_gradient(total, ref.wide(args[position]))
        assert grad.shape == args[position].shape
        np.testing.assert_allclose(grad.astype(float), expected.astype(float), rtol=1e-7, atol=1e-9)


# Limits, types and reductions


def test_limits_of_infinite_logits() -> None:
    x = np.array([INF, INF, INF, -INF, -INF, -INF])
    y = np.array([1.0, 0.0, 0.5, 0.0, 0.5, 1.0])
    loss = ref.binary_cross_entropy_with_logits(x, y, **NONE).astype(float)
    np.testing.assert_array_equal(loss, [0, INF, INF, 0, INF, INF])
    grad = ref.binary_cross_entropy_with_logits_backward(1.0, x, y, **NONE).astype(float)
    np.testing.assert_array_equal(grad, [0, 1, 0.5, 0, -0.5, -1])
    nothing: dict[str, Any] = {"weight": np.zeros(6)}
    assert ref.binary_cross_entropy_with_logits(x, y, **nothing) == 0
    assert not ref.binary_cross_entropy_with_logits_backward(1.0, x, y, **nothing).any()
    np.testing.assert_array_equal(ref.sigmoid([INF, -INF]).astype(float), [1, 0])
    np.testing.assert_array_equal(ref.log_sigmoid([INF, -INF]).astype(float), [0, -INF])
    np.testing.assert_array_equal(ref.log_sigmoid_backward(2.0, [INF, -INF]).astype(float), [0, 2])


def test_limits_of_absent_classes() -> None:
    x = np.array([-INF, 1.0, INF, np.nan, -INF, 0.0])
    t = np.array([0.0, 0.0, 0.0, 0.0, 0.5, -0.5])
    expected = [0, 0, np.nan, np.nan, INF, np.nan]
    np.testing.assert_array_equal(ref.kl_div(x, t, **NONE).astype(float), expected)
    logs: dict[str, Any] = {"log_target": True, "reduction": "none"}
    t = np.array([-INF, -INF, -INF, -INF, 0.5, -INF])
    expected = [0, 0, np.nan, np.nan, INF, 0]
    np.testing.assert_array_equal(ref.kl_div(x, t, **logs).astype(float), expected)

    rows = np.array([[0.0, 0.0, -INF], [0.0, -INF, -INF], [-INF, -INF, -INF], [0.0, np.nan, 1.0]])
    kl = ref.kl_div_with_logits(rows[[0, 1, 0, 2, 0, 3]], rows[[1, 0, 0, 0, 2, 0]], **NONE)
    expected = [math.log(2), INF, 0, np.nan, np.nan, np.nan]
    np.testing.assert_allclose(kl.astype(float), expected, rtol=1e-15)
    there, here = np.array([[0.0, 1.0, -INF]]), np.array([[0.0, -INF, 1.0]])
    _, grad = ref.kl_div_with_logits_backward(1.0, there, here, target_grad=True)
    assert grad[0, 0] == -INF and grad[0, 1] == 0
    entropies = ref.entropy_with_logits(rows).astype(float)
    np.testing.assert_allclose(entropies, [math.log(2), 0, np.nan, np.nan], rtol=1e-15)
    assert not ref.entropy_with_logits_backward(1.0, rows[:2]).any()
    probs = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [1.0, -0.5, 0.5]])
    np.testing.assert_allclose(
        ref.entropy(probs).astype(float), [math.log(2), 0, np.nan], rtol=1e-15
    )
    grad = ref.entropy_backward(np.ones(3), probs).astype(float)
    np.testing.assert_allclose(grad[1:, :2], [[-1, INF], [-1, np.nan]])


def test_cosines_of_special_rows() -> None:
    a, b = np.array([[INF, 1.0]] * 3), np.ones((3, 2))
    y = np.array([1, -1, 0])
    loss = ref.cosine_embedding_loss(a, b, y, **NONE).astype(float)
    np.testing.assert_array_equal(loss, [np.nan, np.nan, 0])
    for grad in ref.cosine_embedding_loss_backward(1.0, a, b, y, **NONE):
        assert np.isnan(grad[:2]).all() and not grad[2].any()
    empty = np.zeros((2, 0))
    loss = ref.cosine_embedding_loss(empty, empty, np.array([1, -1]), **NONE)
    np.testing.assert_array_equal(loss.astype(float), [1, 0])
    zero, ones = np.zeros((1, 2)), np.ones((1, 2))
    grad, _ = ref.cosine_embedding_loss_backward(1.0, zero, ones, np.array([-1]))
    np.testing.assert_allclose(grad.astype(float), np.full((1, 2), 1e6 / math.sqrt(2)), rtol=1e-7)


PAIRED = (
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "kl_div",
    "kl_div_with_logits",
    "cosine_embedding_loss",
)


@pytest.mark.parametrize("name", PAIRED)
def test_reduced_losses_round_each_loss_first(name: str, half_dtype: np.dtype[Any]) -> None:
    f = getattr(ref, name)
    extra = (np.array([1, -1, 1]),) if name == "cosine_embedding_loss" else ()
    pairs = ((half_dtype, "float32"), ("float32", "float32"), ("float32", "float64"))
    for first, second in pairs:
        args = (PROBS.astype(first), PROBS[::-1].astype(second), *extra)
        rounded = f(*args, **NONE).astype(second)
        assert f(*args, reduction="sum") == math.fsum(rounded.ravel())
        mean = math.fsum(rounded.ravel()) / (12 if name == "kl_div_with_logits" else rounded.size)
        assert f(*args, reduction="mean") == pytest.approx(mean, rel=2.0**-52)


def test_weights_and_integer_targets_are_read_in_the_type_of_the_losses() -> None:
    x, y = X.astype(np.float32), (T > 0)
    for f in (ref.binary_cross_entropy_with_logits, ref.binary_cross_entropy):
        inputs = x if f is ref.binary_cross_entropy_with_logits else PROBS.astype(np.float32)
        expected = f(inputs, y.astype(np.float32), weight=np.float32(0.1), **NONE)
        for dtype in (bool, np.int64, np.float16):
            got = f(inputs, y.astype(dtype), weight=np.float64(0.1), **NONE)
            np.testing.assert_array_equal(got, expected)
        wide = f(inputs, y.astype(np.float64), weight=np.float64(0.1), **NONE)
        assert (wide != expected).all()


@pytest.mark.parametrize("name", PAIRED)
def test_empty_losses_have_the_documented_value(name: str) -> None:
    f, backward = getattr(ref, name), getattr(ref, f"{name}_backward")
    args = (np.zeros((0, 3)), np.zeros((0, 3)))
    args += (np.zeros(0),) if name == "cosine_embedding_loss" else ()
    total = f(*args, reduction="sum")
    assert total == 0 and math.copysign(1, total) == 1
    assert math.isnan(f(*args, reduction="mean"))
    if "kl_div" in name:
        assert math.isnan(f(*args, reduction="batchmean"))
    rows = name in ("kl_div_with_logits", "cosine_embedding_loss")
    assert f(*args, **NONE).shape == ((0,) if rows else (0, 3))
    grads = backward(1.0, *args)
    for grad in grads if isinstance(grads, tuple) else (grads,):
        assert grad.shape == (0, 3)
