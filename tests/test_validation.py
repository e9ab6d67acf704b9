# SPDX-License-Identifier: BSD-3-Clause
"""Every wrong call: the class of the exception, and a message that names the argument, what was
passed and what would have been right. `out` is untouched afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import logloss
from refusals import AXES, NO_FLOATS, OUTS, ROW, Wrong, X, forms, refuse, wrong
from ulp import Array

NAN, INF = np.nan, np.inf

Y = np.array([0, 3, 1])
P = np.full((3, 4), 0.25, np.float32)
PLANES = np.zeros((2, 5, 3, 4), np.float32)
PLANE_TARGET = np.zeros((2, 3, 4), np.int64)

SOFTMAX = ("log_softmax", "softmax", "logsumexp")
LOSSES = ("cross_entropy", "nll_loss")


INPUTS = {
    name: wrong(TypeError, f"input | {dtype} | float", value)
    for name, (dtype, value) in NO_FLOATS.items()
}


@pytest.mark.parametrize("name", SOFTMAX)
@pytest.mark.parametrize("case", (INPUTS | AXES).values(), ids=(INPUTS | AXES).keys())
def test_softmax_family(name: str, case: Wrong) -> None:
    refuse(getattr(logloss, name), case)
    refuse(getattr(logloss, f"{name}_backward"), case, np.ones(np.shape(case.args[0]), np.float32))


GRAD_OUTPUTS = {
    "short": wrong(ValueError, "grad_output | (3, 3) | (3, 4)", X[:, :3], X),
    "transposed": wrong(ValueError, "grad_output | (4, 3) | (3, 4)", X.T, X),
    "per row": wrong(ValueError, "grad_output | (3,) | (3, 4)", ROW, X),
    "complex": wrong(TypeError, "grad_output | complex64", X.astype(np.complex64), X),
    "strings": wrong(TypeError, "grad_output", np.array([["a"] * 4] * 3), X),
}


@pytest.mark.parametrize("name", ("log_softmax", "softmax"))
@pytest.mark.parametrize("case", GRAD_OUTPUTS.values(), ids=GRAD_OUTPUTS.keys())
def test_grad_output_of_softmax(name: str, case: Wrong) -> None:
    refuse(getattr(logloss, f"{name}_backward"), case)


@pytest.mark.parametrize(
    "case",
    (
        wrong(ValueError, "grad_output | (3, 4) | (3,)", X, X),
        wrong(ValueError, "grad_output | (4,) | (3,)", X[0], X),
        wrong(ValueError, "grad_output | (3,) | (4,)", ROW, X, 0),
        wrong(ValueError, "grad_output | (3,) | (3, 1)", ROW, X, keepdims=True),
        wrong(TypeError, "grad_output | complex64", ROW.astype(np.complex64), X),
    ),
    ids=("full", "long", "other axis", "keepdims", "complex"),
)
def test_grad_output_of_logsumexp(case: Wrong) -> None:
    refuse(logloss.logsumexp_backward, case)


# Losses

LOSS_INPUTS = {
    name: Wrong(case.error, case.words, (*case.args, Y), {}) for name, case in INPUTS.items()
} | {
    "a number": wrong(ValueError, "input | ()", np.float32(1.0), np.int64(0)),
}

TARGET_SHAPES = {
    "batch": wrong(ValueError, "target | (4,) | (3,)", X, np.zeros(4, np.int64)),
    "0-d": wrong(ValueError, "target | () | (3,)", X, np.int64(0)),
    "2-d": wrong(ValueError, "target | (3, 1) | (3,)", X, Y[:, None]),
    "planes": wrong(ValueError, "target | (2, 4, 3) | (2, 3, 4)", PLANES, np.zeros((2, 4, 3), int)),
    "planes with classes": wrong(
        ValueError, "target | (2, 1, 3, 4) | (2, 3, 4)", PLANES, PLANE_TARGET[:, None]
    ),
    "planes without inner": wrong(
        ValueError, "target | (2,) | (2, 3, 4)", PLANES, np.zeros(2, int)
    ),
    "unbatched, two": wrong(ValueError, "target | (2,)", X[0], np.zeros(2, np.int64)),
    "other axis": wrong(ValueError, "target | (3,) | (4,)", X, Y, axis=0),
}

TARGET_TYPES = {
    "bool": wrong(TypeError, "target | bool", X, Y > 0),
    "complex": wrong(TypeError, "target | complex128", X, Y.astype(complex)),
    "objects": wrong(TypeError, "target | object", X, Y.astype(object)),
    "strings": wrong(TypeError, "target", X, np.array(["a", "b", "c"])),
    "none": wrong(TypeError, "target", X, None),
    "float per row": wrong(TypeError, "target | float64", X, Y.astype(float)),
    "integers of the input's shape": wrong(
        (TypeError, ValueError), "target | (3, 4)", X, P.astype(int)
    ),
}

OPTIONS = {
    "weight short": wrong(ValueError, "weight | (3,) | (4,)", X, Y, weight=np.ones(3, np.float32)),
    "weight 2-d": wrong(ValueError, "weight | (1, 4) | (4,)", X, Y, weight=np.ones((1, 4), "f4")),
    "weight number": wrong(ValueError, "weight | () | (4,)", X, Y, weight=np.float32(1)),
    "weight of the wrong axis": wrong(
        ValueError, "weight | (4,) | (3,)", X, np.zeros(4, int), weight=np.ones(4, "f4"), axis=0
    ),
    "weight complex": wrong(TypeError, "weight | complex128", X, Y, weight=np.ones(4, complex)),
    "weight strings": wrong(TypeError, "weight", X, Y, weight=np.array(list("abcd"))),
    "reduction unknown": wrong(
        ValueError, "reduction | 'average' | none | mean | sum", X, Y, reduction="average"
    ),
    "reduction of kl_div": wrong(
        ValueError, "reduction | 'batchmean' | none | mean | sum", X, Y, reduction="batchmean"
    ),
    "reduction None": wrong((TypeError, ValueError), "reduction | None", X, Y, reduction=None),
    "ignore_index float": wrong(TypeError, "ignore_index | float", X, Y, ignore_index=1.0),
    "ignore_index None": wrong(TypeError, "ignore_index | None", X, Y, ignore_index=None),
    "axis too large": wrong(np.exceptions.AxisError, "axis 2 | 2", X, Y, axis=2),
    "axis too small": wrong(np.exceptions.AxisError, "axis -3 | 2", X, Y, axis=-3),
    "axis float": wrong(TypeError, "axis | float", X, Y, axis=1.0),
}

RANGE = {
    "first": wrong(IndexError, "target | 4 | [0, 4)", X, np.array([4, 0, 0])),
    "the first of two": wrong(IndexError, "-1 | 1 | [0, 4)", X, np.array([0, -1, 9])),
    "minus 100 not ignored": wrong(
        IndexError, "-100 | 2 | [0, 4)", X, np.array([0, 1, -100]), ignore_index=-1
    ),
    "planes": wrong(
        IndexError,
        "7 | (1, 2, 3) | [0, 5)",
        PLANES,
        np.where(np.arange(24) == 23, 7, 0).reshape(2, 3, 4),
    ),
    "planes, inner": wrong(
        IndexError,
        "5 | (0, 2, 1) | [0, 5)",
        PLANES,
        np.where(np.arange(24) == 9, 5, 0).reshape(2, 3, 4),
    ),
    "unbatched": wrong(IndexError, "3 | [0, 3)", ROW, 3),
    "uint8": wrong(IndexError, "156 | [0, 4)", X, np.array([0, 156, 0], np.uint8)),
    "uint64": wrong(IndexError, f"{2**64 - 1} | [0, 4)", X, np.array([0, 1, 2**64 - 1], np.uint64)),
    "int64 extremes": wrong(IndexError, f"{-(2**63)} | [0, 4)", X, np.array([0, -(2**63), 1])),
    "huge ignore_index": wrong(
        IndexError, "-1 | 1 | [0, 4)", X, np.array([0, -1, 1]), ignore_index=2**63
    ),
    "no classes": wrong(IndexError, "0 | [0, 0)", np.zeros((2, 0), np.float32), np.array([0, 0])),
}

SHARED = LOSS_INPUTS | TARGET_SHAPES | TARGET_TYPES | OPTIONS | RANGE


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("case", SHARED.values(), ids=SHARED.keys())
def test_losses(name: str, case: Wrong) -> None:
    for function, leading in forms(name):
        refuse(function, case, *leading)


@pytest.mark.parametrize("reduction", ("none", "mean", "sum"))
@pytest.mark.parametrize("name", LOSSES)
def test_targets_are_checked_under_every_reduction(name: str, reduction: str) -> None:
    case = wrong(IndexError, "9 | 2", X, np.array([0, 1, 9]), reduction=reduction)
    for function, leading in forms(name):
        refuse(
            function,
            case,
            *(np.ones(3) for _ in leading if reduction == "none"),
            *(leading if reduction != "none" else ()),
        )


CROSS_ENTROPY = {
    "smoothing above 1": wrong(ValueError, "label_smoothing | 1.5", X, Y, label_smoothing=1.5),
    "smoothing negative": wrong(ValueError, "label_smoothing | -0.1", X, Y, label_smoothing=-0.1),
    "smoothing nan": wrong(ValueError, "label_smoothing | nan", X, Y, label_smoothing=NAN),
    "smoothing inf": wrong(ValueError, "label_smoothing | inf", X, P, label_smoothing=INF),
    "smoothing string": wrong(TypeError, "label_smoothing | str", X, Y, label_smoothing="0.1"),
    "smoothing None": wrong(TypeError, "label_smoothing | None", X, Y, label_smoothing=None),
    "ignored probabilities": wrong(ValueError, "ignore_index | 0", X, P, ignore_index=0),
    "probabilities of another shape": wrong(TypeError, "target | float32", X, P[:, :3]),
    "probabilities without a batch": wrong(TypeError, "target | float32", X, P[0]),
    "complex probabilities": wrong(TypeError, "target | complex64", X, P.astype(np.complex64)),
    "weight and probabilities": wrong(ValueError, "weight | (3,) | (4,)", X, P, weight=ROW),
    "reduction and probabilities": wrong(ValueError, "reduction | 'max'", X, P, reduction="max"),
}


@pytest.mark.parametrize("case", CROSS_ENTROPY.values(), ids=CROSS_ENTROPY.keys())
def test_cross_entropy(case: Wrong) -> None:
    for function, leading in forms("cross_entropy"):
        refuse(function, case, *leading)


def test_nll_loss_has_no_probabilities() -> None:
    case = wrong((TypeError, ValueError), "target", X, P)
    for function, leading in forms("nll_loss"):
        refuse(function, case, *leading)


@pytest.mark.parametrize("name", LOSSES)
def test_grad_output_of_losses(name: str) -> None:
    backward = getattr(logloss, f"{name}_backward")
    none: dict[str, Any] = {"reduction": "none"}
    for case in (
        wrong(ValueError, "grad_output | (4,) | (3,)", np.ones(4, np.float32), X, Y, **none),
        wrong(ValueError, "grad_output | (3, 1) | (3,)", ROW[:, None], X, Y, **none),
        wrong(ValueError, "grad_output | (3,)", ROW, X, Y),
        wrong(ValueError, "grad_output | (3,)", ROW, X, Y, reduction="sum"),
        wrong(TypeError, "grad_output | complex", 1j, X, Y),
        wrong(TypeError, "grad_output", "1", X, Y),
        wrong(TypeError, "grad_output", None, X, Y),
    ):
        refuse(backward, case)


# Missing, misplaced and unknown arguments: Python itself names them.


@pytest.mark.parametrize(
    ("name", "args", "options", "message"),
    (
        ("log_softmax", (), {}, "input"),
        ("softmax", (X, 1, None), {}, "positional"),
        ("softmax", (X,), {"dim": 1}, "dim"),
        ("logsumexp", (X, 1, True), {}, "positional"),
        ("logsumexp", (X,), {"keepdim": True}, "keepdim"),
        ("log_softmax_backward", (X,), {}, "input"),
        ("cross_entropy", (X,), {}, "target"),
        ("cross_entropy", (X, Y, None), {}, "positional"),
        ("cross_entropy", (X, Y), {"size_average": True}, "size_average"),
        ("cross_entropy_backward", (1.0, X), {}, "target"),
        ("cross_entropy_value_and_grad", (X, Y, "mean"), {}, "positional"),
        ("nll_loss", (X,), {}, "target"),
        ("nll_loss", (X, Y), {"label_smoothing": 0.1}, "label_smoothing"),
        ("nll_loss", (X, Y, None), {}, "positional"),
    ),
)
def test_signatures(name: str, args: Any, options: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        getattr(logloss, name)(*args, **options)


# `out`

WITH_OUT: dict[str, Callable[[Array, Any], Any]] = {
    "log_softmax": lambda x, out: logloss.log_softmax(x, out=out),
    "softmax": lambda x, out: logloss.softmax(x, out=out),
    "log_softmax_backward": lambda x, out: logloss.log_softmax_backward(X, x, out=out),
    "softmax_backward": lambda x, out: logloss.softmax_backward(X, x, out=out),
    "logsumexp_backward": lambda x, out: logloss.logsumexp_backward(ROW, x, out=out),
    "cross_entropy_backward": lambda x, out: logloss.cross_entropy_backward(1.0, x, Y, out=out),
    "cross_entropy_value_and_grad": lambda x, out: logloss.cross_entropy_value_and_grad(
        x, Y, out=out
    ),
    "cross_entropy_value_and_grad, probabilities": lambda x, out: (
        logloss.cross_entropy_value_and_grad(x, P, out=out)
    ),
    "nll_loss_backward": lambda x, out: logloss.nll_loss_backward(1.0, x, Y, out=out),
    "nll_loss_value_and_grad": lambda x, out: logloss.nll_loss_value_and_grad(x, Y, out=out),
}


@pytest.mark.parametrize("call", WITH_OUT.values(), ids=WITH_OUT.keys())
@pytest.mark.parametrize(("error", "words", "out"), OUTS.values(), ids=OUTS.keys())
def test_out(
    error: type[Exception], words: str, out: Any, call: Callable[[Array, Any], Any]
) -> None:
    before = np.copy(out)
    refuse(call, wrong(error, words, X, out))
    np.testing.assert_array_equal(out, before)


@pytest.mark.parametrize("call", WITH_OUT.values(), ids=WITH_OUT.keys())
def test_out_that_overlaps_the_logits(call: Callable[[Array, Any], Any]) -> None:
    """The logits array itself may be `out`; a shifted, reversed or transposed view may not."""
    memory = np.linspace(-3, 3, 60, dtype=np.float32)
    before = memory.copy()
    x = memory[:12].reshape(3, 4)
    for out in (
        memory[1:13].reshape(3, 4),
        memory[4:16].reshape(3, 4),
        x[::-1],
        x[:, ::-1],
        memory[:24].reshape(3, 8)[:, ::2],
    ):
        refuse(call, wrong(ValueError, "out | overlap", x, out))
        np.testing.assert_array_equal(memory, before)
    beside = memory[12:24].reshape(3, 4)
    call(x, beside)
    np.testing.assert_array_equal(memory[:12], before[:12])
    interleaved = memory[24:48].reshape(3, 8)
    call(interleaved[:, ::2], interleaved[:, 1::2])  # they share a range of memory, but no element
    np.testing.assert_array_equal(interleaved[:, ::2], before[24:48].reshape(3, 8)[:, ::2])


def test_out_that_overlaps_other_arguments() -> None:
    memory = np.linspace(0.1, 1, 60, dtype=np.float32)
    before = memory.copy()
    p, shifted = memory[:12].reshape(3, 4), memory[2:14].reshape(3, 4)
    for function in (logloss.log_softmax_backward, logloss.softmax_backward):
        refuse(function, wrong(ValueError, "out | overlap", p, X, out=shifted))
    refuse(logloss.logsumexp_backward, wrong(ValueError, "out | overlap", memory[:3], X, out=p))
    for function, leading in forms("cross_entropy")[1:]:
        refuse(function, wrong(ValueError, "out | overlap", X, p, out=shifted), *leading)
        refuse(function, wrong(ValueError, "out | overlap", X, Y, weight=p[0], out=p), *leading)
    np.testing.assert_array_equal(memory, before)


@pytest.mark.parametrize("name", LOSSES)
def test_out_is_untouched_after_any_failure(name: str) -> None:
    """In place too: a bad target in the last row leaves every logit as it was."""
    for case in SHARED.values():
        input = np.asarray(case.args[0])
        if input.dtype.kind != "f":
            continue
        out = np.full(input.shape, 7, input.dtype)
        for function, leading in forms(name)[1:]:
            refuse(function, case._replace(options=case.options | {"out": out}), *leading)
            np.testing.assert_array_equal(out, 7)
    logits, bad = X.copy(), np.array([0, 1, 4])
    for function, leading in forms(name)[1:]:
        refuse(function, wrong(IndexError, "4 | 2", logits, bad, out=logits), *leading)
        np.testing.assert_array_equal(logits, X)


def test_numbers_beyond_the_range_of_a_long_target_are_found() -> None:
    """One bad index at the end of many, which threads would share."""
    rows = 300_000
    x = np.zeros((rows, 2), np.float32)
    y = np.zeros(rows, np.int64)
    y[[rows - 3, rows - 1]] = 2, 5
    for name in LOSSES:
        for function, leading in forms(name):
            refuse(function, wrong(IndexError, f"target | 2 | {rows - 3} | [0, 2)", x, y), *leading)
