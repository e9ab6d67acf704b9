# SPDX-License-Identifier: BSD-3-Clause
"""`out` of the element-wise operations, the divergences, the entropies and the cosine loss: what it
must not be, and that it is untouched after the refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import logloss
from refusals import (
    BINARY,
    ENTROPIES,
    FUNCTIONS,
    GOOD,
    KL,
    OTHER,
    OUTS,
    SIGNS,
    WEIGHTS,
    P,
    X,
    forms,
    refuse,
    wrong,
)
from ulp import Array


def gradient_calls() -> dict[str, Callable[[Array, Any], Any]]:
    """Every call that takes an `out` for one gradient: of its input and that `out`."""

    def call(name: str, leading: tuple[Any, ...], args: tuple[Any, ...]) -> Callable[..., Any]:
        function = getattr(logloss, name)
        return lambda x, out: function(*leading, x, *args, out=out)

    calls = {name: call(name, (), ()) for name in FUNCTIONS}
    for name in (*FUNCTIONS, *ENTROPIES):
        calls[f"{name}_backward"] = call(f"{name}_backward", (1.0,), ())
    for name in (*BINARY, *KL):
        for function, leading in forms(name)[1:]:
            calls[function.__name__] = call(function.__name__, leading, GOOD[name][1:])
    return calls


GRADIENTS = gradient_calls()


@pytest.mark.parametrize("call", GRADIENTS.values(), ids=GRADIENTS.keys())
@pytest.mark.parametrize(("error", "words", "out"), OUTS.values(), ids=OUTS.keys())
def test_out(error: type[Exception], words: str, out: Any, call: Callable[..., Any]) -> None:
    before = np.copy(out)
    refuse(call, wrong(error, words, P, out))
    np.testing.assert_array_equal(out, before)


@pytest.mark.parametrize("name", (*BINARY, *KL))
def test_out_is_one_array_for_one_gradient(name: str) -> None:
    pair = (np.zeros((3, 4), np.float32), np.zeros((3, 4), np.float32))
    for function, leading in forms(name)[1:]:
        refuse(function, wrong(TypeError, "out: got tuple", *GOOD[name], out=pair), *leading)
        np.testing.assert_array_equal(pair, 0)


@pytest.mark.parametrize("call", GRADIENTS.values(), ids=GRADIENTS.keys())
def test_out_that_overlaps_the_input(call: Callable[..., Any]) -> None:
    """The input itself may be `out`; a shifted, reversed or transposed view may not."""
    memory = np.linspace(0, 1, 60, dtype=np.float32)
    before = memory.copy()
    x, square = memory[:12].reshape(3, 4), memory[:16].reshape(4, 4)
    for out in (memory[1:13].reshape(3, 4), memory[4:16].reshape(3, 4), x[::-1], x[:, ::-1]):
        refuse(call, wrong(ValueError, "out: got | overlaps", x, out))
        np.testing.assert_array_equal(memory, before)
    refuse(call, wrong(ValueError, "out: got | overlaps", square[:3], square.T[:3]))
    np.testing.assert_array_equal(memory, before)
    call(x, memory[12:24].reshape(3, 4))
    np.testing.assert_array_equal(memory[:12], before[:12])
    interleaved = memory[24:48].reshape(3, 8)
    call(interleaved[:, ::2], interleaved[:, 1::2])  # they share a range of memory, but no element
    np.testing.assert_array_equal(interleaved[:, ::2], before[24:48].reshape(3, 8)[:, ::2])


@pytest.mark.parametrize("name", (*BINARY, *KL))
def test_out_that_overlaps_the_target(name: str) -> None:
    """Neither the target itself nor a part of it, also where it is the input as well."""
    memory = np.linspace(0, 1, 60, dtype=np.float32)
    before = memory.copy()
    y = memory[:12].reshape(3, 4)
    for x, out in ((P, y), (P, memory[2:14].reshape(3, 4)), (P, y[::-1]), (y, y)):
        for function, leading in forms(name)[1:]:
            refuse(function, wrong(ValueError, "out: got | overlaps", x, y, out=out), *leading)
            np.testing.assert_array_equal(memory, before)


@pytest.mark.parametrize("shape", ((3, 4), (4,), (3, 1), ()))
def test_out_that_overlaps_a_weight(shape: tuple[int, ...]) -> None:
    memory = np.linspace(0, 1, 12, dtype=np.float32)
    out, size = memory.reshape(3, 4), int(np.prod(shape))
    weight = memory[12 - size :].reshape(shape)
    before = memory.copy()
    for name, argument in WEIGHTS:
        for function, leading in forms(name)[1:]:
            case = wrong(ValueError, "out: got | overlaps", P, P, out=out, **{argument: weight})
            refuse(function, case, *leading)
            np.testing.assert_array_equal(memory, before)


@pytest.mark.parametrize("name", (*FUNCTIONS, *ENTROPIES, *GOOD))
def test_out_that_overlaps_grad_output(name: str) -> None:
    """Only that of sigmoid and log_sigmoid, which has the shape of `out`, may be `out` itself."""
    backward, args = getattr(logloss, f"{name}_backward"), GOOD.get(name, (X,))
    per_row = name in ("kl_div_with_logits", "cosine_embedding_loss", *ENTROPIES)
    memory = np.linspace(0, 1, 60, dtype=np.float32)
    before = memory.copy()
    grad = memory[:3] if per_row else memory[:12].reshape(3, 4)
    options: dict[str, Any] = {"reduction": "none"} if name in GOOD else {}
    for first in (0, 2):
        out = memory[first : first + 12].reshape(3, 4)
        if name in FUNCTIONS and first == 0:
            continue
        options["out"] = (out, None) if name == "cosine_embedding_loss" else out
        refuse(backward, wrong(ValueError, "out: got | overlaps", grad, *args, **options))
        np.testing.assert_array_equal(memory, before)
    if name in FUNCTIONS:
        separate = backward(grad.copy(), X)
        np.testing.assert_array_equal(backward(grad, X, out=grad), separate)


# Pairs of gradients

PAIRS: dict[str, dict[str, Any]] = {
    "kl_div_with_logits": {"target_grad": True},
    "cosine_embedding_loss": {},
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("place", (0, 1))
@pytest.mark.parametrize(("error", "words", "bad"), OUTS.values(), ids=OUTS.keys())
def test_out_of_a_pair(error: type[Exception], words: str, bad: Any, place: int, name: str) -> None:
    """One bad array leaves the other untouched, too."""
    for function, leading in forms(name)[1:]:
        good = np.full((3, 4), 7, np.float32)
        before = np.copy(bad)
        out = (bad, good) if place == 0 else (good, bad)
        refuse(function, wrong(error, words, *GOOD[name], **PAIRS[name], out=out), *leading)
        np.testing.assert_array_equal(good, 7)
        np.testing.assert_array_equal(bad, before)


@pytest.mark.parametrize("name", PAIRS)
def test_out_is_a_pair_for_two_gradients(name: str) -> None:
    one = np.full((3, 4), 7, np.float32)
    for function, leading in forms(name)[1:]:
        for out, got in ((one, "ndarray"), ((one,), "tuple"), ([one] * 3, "list"), (1, "int")):
            words = f"out: got {got} | expected a pair of arrays"
            refuse(function, wrong(TypeError, words, *GOOD[name], **PAIRS[name], out=out), *leading)
            np.testing.assert_array_equal(one, 7)


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_that_overlap(name: str) -> None:
    """Each gradient may replace its own input, but touch nothing else."""
    memory = np.linspace(-1, 1, 60, dtype=np.float32)
    before = memory.copy()
    a, b, c, d = (memory[first : first + 12].reshape(3, 4) for first in (0, 12, 24, 36))
    shifted = memory[26:38].reshape(3, 4)
    args = (a, b, *GOOD[name][2:])
    for function, leading in forms(name)[1:]:
        for out in (
            (c, c),
            (c, shifted),
            (b, c),
            (c, a),
            (b, a),
            (a, a),
            (a[::-1], c),
            (c, b[::-1]),
        ):
            case = wrong(ValueError, "out: got | overlaps", *args, **PAIRS[name], out=out)
            refuse(function, case, *leading)
            np.testing.assert_array_equal(memory, before)
        function(*leading, *args, **PAIRS[name], out=(c, d))
        np.testing.assert_array_equal(memory[:24], before[:24])
        memory[24:] = before[24:]


def test_out_that_overlaps_the_target_of_cosine_embedding_loss() -> None:
    memory = np.linspace(-1, 1, 60)
    before = memory.copy()
    a, b, out = X.astype(float), OTHER.astype(float), memory[:12].reshape(3, 4)
    for function, leading in forms("cosine_embedding_loss")[1:]:
        for pair in ((out, None), (None, out)):
            case = wrong(ValueError, "out: got | overlaps", a, b, memory[1:4], out=pair)
            refuse(function, case, *leading)
            np.testing.assert_array_equal(memory, before)


@pytest.mark.parametrize("expected", ((4,), (1, 4), (3, 1), ()))
def test_out_of_a_broadcast_input(expected: tuple[int, ...]) -> None:
    """A gradient has the shape of the input, not that of the loss."""
    x, out = np.full(expected, -1.0, np.float32), np.full((3, 4), 7, np.float32)
    for function, leading in forms("kl_div")[1:]:
        words = f"out: got shape (3, 4) | expected {expected}"
        refuse(function, wrong(ValueError, words, x, P, out=out), *leading)
        np.testing.assert_array_equal(out, 7)


def test_out_of_a_repeated_row() -> None:
    for function, leading in forms("cosine_embedding_loss")[1:]:
        pair = (np.full((3, 4), 7, np.float32), None)
        words = "out: got shape (3, 4) | expected (1, 4)"
        refuse(function, wrong(ValueError, words, X[:1], OTHER, SIGNS, out=pair), *leading)
        np.testing.assert_array_equal(pair[0], 7)
