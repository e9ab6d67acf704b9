# SPDX-License-Identifier: BSD-3-Clause
"""Every wrong call of the element-wise operations, the divergences, the entropies and the cosine
loss: as test_validation.py does for the softmax family.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import logloss
from refusals import (
    AXES,
    BINARY,
    ENTROPIES,
    FUNCTIONS,
    GOOD,
    KL,
    NO_FLOATS,
    NO_NUMBERS,
    OTHER,
    ROW,
    SIGNS,
    WEIGHTS,
    P,
    Wrong,
    X,
    forms,
    refuse,
    wrong,
)
from ulp import Array

NAN, INF = np.nan, np.inf


def refuse_all_forms(name: str, case: Wrong) -> None:
    """All three forms refuse; `out`, be it fresh arrays or the inputs, keeps its values."""
    inputs = 2 if name == "cosine_embedding_loss" else 1
    arrays = [np.asarray(argument) for argument in case.args[:inputs]]
    floats = all(array.dtype.kind == "f" for array in arrays)
    for function, leading in forms(name):
        refuse(function, case, *leading)
    for function, leading in forms(name)[1:]:
        dtypes = [array.dtype.newbyteorder("=") if floats else X.dtype for array in arrays]
        fresh = [np.full(a.shape, 7, dtype) for a, dtype in zip(arrays, dtypes, strict=True)]
        in_place = [array.copy() for array in arrays]
        for out in (fresh, in_place) if floats else (fresh,):
            before = [array.copy() for array in out]
            args = (*out, *case.args[inputs:]) if out is in_place else case.args
            options = case.options | {"out": tuple(out) if inputs == 2 else out[0]}
            refuse(function, Wrong(case.error, case.words, args, options), *leading)
            for array, old in zip(out, before, strict=True):
                np.testing.assert_array_equal(array, old)


def replaced(args: tuple[Any, ...], place: int, value: Any) -> tuple[Any, ...]:
    return (*args[:place], value, *args[place + 1 :])


# Types

# (loss, argument, its place): arrays that must be floats, and those that any real numbers may fill.
FLOATS = [(name, "input", 0) for name in (*BINARY, *KL)]
FLOATS += [(name, "target", 1) for name in KL]
FLOATS += [("cosine_embedding_loss", f"input{place + 1}", place) for place in (0, 1)]
NUMBERS = [(name, "target", 1) for name in BINARY] + [("cosine_embedding_loss", "target", 2)]


@pytest.mark.parametrize(("dtype", "value"), NO_FLOATS.values(), ids=NO_FLOATS.keys())
@pytest.mark.parametrize(("name", "argument", "place"), FLOATS)
def test_floats(name: str, argument: str, place: int, dtype: str, value: Any) -> None:
    words = f"{argument}: got | {dtype} | expected float16, bfloat16, float32 or float64"
    refuse_all_forms(name, wrong(TypeError, words, *replaced(GOOD[name], place, value)))


@pytest.mark.parametrize(("dtype", "value"), NO_NUMBERS.values(), ids=NO_NUMBERS.keys())
@pytest.mark.parametrize(("name", "argument", "place"), NUMBERS)
def test_numbers(name: str, argument: str, place: int, dtype: str, value: Any) -> None:
    words = f"{argument}: got | {dtype} | expected real numbers"
    refuse_all_forms(name, wrong(TypeError, words, *replaced(GOOD[name], place, value)))


@pytest.mark.parametrize("kind", sorted(NO_NUMBERS.keys() - {"none"}))  # None is no weight
@pytest.mark.parametrize(("name", "argument"), WEIGHTS)
def test_weights_of_no_numbers(name: str, argument: str, kind: str) -> None:
    dtype, value = NO_NUMBERS[kind]
    words = f"{argument}: got | {dtype} | expected real numbers"
    refuse_all_forms(name, wrong(TypeError, words, *GOOD[name], **{argument: value}))


@pytest.mark.parametrize(("dtype", "value"), NO_NUMBERS.values(), ids=NO_NUMBERS.keys())
@pytest.mark.parametrize("reduction", ("none", "sum"))
@pytest.mark.parametrize("name", GOOD)
def test_grad_outputs_of_no_numbers(name: str, reduction: str, dtype: str, value: Any) -> None:
    words = f"grad_output: got | {dtype} | expected real numbers"
    case = wrong(TypeError, words, value, *GOOD[name], reduction=reduction)
    refuse(getattr(logloss, f"{name}_backward"), case)


# Shapes

PLANES, LONG = np.zeros((2, 3, 4), np.float32), np.zeros((3, 5), np.float32)

SAME_SHAPE = {
    "short": wrong(ValueError, "target: got shape (3, 3) | expected (3, 4)", X, P[:, :3]),
    "transposed": wrong(ValueError, "target: got shape (4, 3) | expected (3, 4)", X, P.T),
    "one row": wrong(ValueError, "target: got shape (4,) | expected (3, 4)", X, P[0]),
    "one column": wrong(ValueError, "target: got shape (3, 1) | expected (3, 4)", X, P[:, :1]),
    "extra axis": wrong(ValueError, "target: got shape (1, 3, 4) | expected (3, 4)", X, P[None]),
    "number": wrong(ValueError, "target: got shape () | expected (3, 4)", X, np.float32(0.5)),
    "of a number": wrong(ValueError, "target: got shape (1,) | expected ()", X[0, 0], P[0, :1]),
    "empty": wrong(ValueError, "target: got shape (0, 4) | expected (3, 4)", X, P[:0]),
    "of nothing": wrong(ValueError, "target: got shape (3, 4) | expected (0, 4)", X[:0], P),
}


@pytest.mark.parametrize("case", SAME_SHAPE.values(), ids=SAME_SHAPE.keys())
@pytest.mark.parametrize("name", (*BINARY, "kl_div_with_logits"))
def test_targets_of_another_shape(name: str, case: Wrong) -> None:
    refuse_all_forms(name, case)


@pytest.mark.parametrize(
    "case",
    (
        wrong(ValueError, "target: got shape (3, 3) | broadcasts with (3, 4)", X, P[:, :3]),
        wrong(ValueError, "target: got shape (4, 3) | broadcasts with (3, 4)", X, P.T),
        wrong(ValueError, "target: got shape (3,) | broadcasts with (3, 4)", X, ROW),
        wrong(ValueError, "target: got shape (0, 4) | broadcasts with (3, 4)", X, P[:0]),
    ),
    ids=("short", "transposed", "per row", "empty"),
)
def test_targets_that_do_not_broadcast(case: Wrong) -> None:
    refuse_all_forms("kl_div", case)


COSINE_SHAPES = {
    "numbers": wrong(ValueError, "input1: got shape () | (N, D)", ROW[0], ROW[0], 1),
    "planes": wrong(ValueError, "input1: got shape (2, 3, 4) | (N, D)", PLANES, PLANES, SIGNS),
    "features": wrong(ValueError, "input2: got shape (3, 5) | (3, 4)", X, LONG, SIGNS),
    "features of one": wrong(ValueError, "input2: got shape (3,) | (4,)", X[0], ROW, 1),
    "rows": wrong(ValueError, "input2: got shape (2, 4) | (3, 4)", X, X[:2], SIGNS),
    "no rows": wrong(ValueError, "input2: got shape (0, 4) | (3, 4)", X, X[:0], SIGNS),
    "second without rows": wrong(ValueError, "input2: got shape (4,) | (3, 4)", X, X[0], SIGNS),
    "first without rows": wrong(ValueError, "input2: got shape (3, 4) | (4,)", X[0], X, SIGNS),
    "second planes": wrong(ValueError, "input2: got shape (2, 3, 4) | (3, 4)", X, PLANES, SIGNS),
    "targets": wrong(ValueError, "target: got shape (2,) | expected (3,)", X, X, SIGNS[:2]),
    "target number": wrong(ValueError, "target: got shape () | expected (3,)", X, X, 1),
    "target column": wrong(
        ValueError, "target: got shape (3, 1) | expected (3,)", X, X, SIGNS[:, None]
    ),
    "no targets": wrong(ValueError, "target: got shape (0,) | expected (3,)", X, X, SIGNS[:0]),
    "targets of one": wrong(ValueError, "target: got shape (1,) | expected ()", ROW, ROW, [1]),
    "target per feature": wrong(ValueError, "target: got shape (3, 4) | expected (3,)", X, X, X),
}


@pytest.mark.parametrize("case", COSINE_SHAPES.values(), ids=COSINE_SHAPES.keys())
def test_shapes_of_cosine_embedding_loss(case: Wrong) -> None:
    refuse_all_forms("cosine_embedding_loss", case)


# (shape of the logits, shape of a weight that would enlarge it or does not fit)
WEIGHT_SHAPES = (
    ((3, 4), (3,)),
    ((3, 4), (4, 1)),
    ((3, 4), (4, 3)),
    ((3, 4), (2, 3, 4)),
    ((3, 4), (1, 3, 4)),
    ((3, 4), (1, 1, 1)),
    ((3, 1), (3, 4)),
    ((1, 4), (3, 4)),
    ((1,), (4,)),
    ((), (1,)),
    ((3, 4), (0,)),
    ((0, 4), (3, 4)),
    ((2, 3, 4, 5), (3,)),
    ((2, 3, 4, 5), (2, 3)),
)


@pytest.mark.parametrize(("shape", "weight_shape"), WEIGHT_SHAPES)
@pytest.mark.parametrize("dtype", (np.float32, np.int16))
def test_weights_of_another_shape(
    shape: tuple[int, ...], weight_shape: tuple[int, ...], dtype: type
) -> None:
    x, weight = np.full(shape, 0.5, np.float32), np.ones(weight_shape, dtype)
    for name, argument in WEIGHTS:
        words = f"{argument}: got shape {weight_shape} | expected one that broadcasts to {shape}"
        refuse_all_forms(name, wrong(ValueError, words, x, x, **{argument: weight}))


# Options


def options_of(name: str) -> dict[str, Wrong]:
    known = "'none', 'mean', 'sum' or 'batchmean'" if name in KL else "'none', 'mean' or 'sum'"
    wrong_ones = ["average", "", "Mean", None, 1, ["mean"], *(() if name in KL else ("batchmean",))]
    return {
        f"{name}, reduction {value!r}": wrong(
            ValueError, f"reduction: got {value!r} | {known}", *GOOD[name], reduction=value
        )
        for value in wrong_ones
    }


REDUCTIONS = {key: (name, case) for name in GOOD for key, case in options_of(name).items()}


@pytest.mark.parametrize(("name", "case"), REDUCTIONS.values(), ids=REDUCTIONS.keys())
def test_reductions(name: str, case: Wrong) -> None:
    refuse_all_forms(name, case)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    (
        (None, TypeError, "None"),
        ("0.5", TypeError, "expected real numbers"),
        (1j, TypeError, "complex128"),
        ([0.5], ValueError, "shape (1,) | expected ()"),
        (ROW, ValueError, "shape (3,) | expected ()"),
    ),
)
def test_margins(value: Any, error: type[Exception], words: str) -> None:
    case = wrong(error, f"margin: got | {words}", X, OTHER, SIGNS, margin=value)
    refuse_all_forms("cosine_embedding_loss", case)


@pytest.mark.parametrize("case", AXES.values(), ids=AXES.keys())
@pytest.mark.parametrize("name", ENTROPIES)
def test_axes_of_entropies(name: str, case: Wrong) -> None:
    refuse(getattr(logloss, name), case)
    refuse(getattr(logloss, f"{name}_backward"), case, 1.0)
    out = np.full(np.shape(case.args[0]), 7, np.float32)
    with_out = case._replace(options={"out": out})
    refuse(getattr(logloss, f"{name}_backward"), with_out, 1.0)
    np.testing.assert_array_equal(out, 7)


@pytest.mark.parametrize(
    "case",
    (
        wrong(np.exceptions.AxisError, "axis 2 | 2", X, OTHER, axis=2),
        wrong(np.exceptions.AxisError, "axis -3 | 2", X, OTHER, axis=-3),
        wrong(TypeError, "axis: got float | integer", X, OTHER, axis=1.0),
        wrong(TypeError, "axis: got NoneType | integer", X, OTHER, axis=None),
        wrong(ValueError, "input: got shape () | at least one axis", ROW[0], ROW[0]),
    ),
    ids=("too large", "too small", "not an integer", "none", "of a number"),
)
def test_axes_of_kl_div_with_logits(case: Wrong) -> None:
    refuse_all_forms("kl_div_with_logits", case)


# Probabilities outside [0, 1]

LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": lambda x: x,
    "Fortran": lambda x: np.asfortranarray(x),
    "every other": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "backwards": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "swapped axes": lambda x: np.ascontiguousarray(np.moveaxis(x, -1, 0)).transpose(
        *range(1, x.ndim), 0
    ),
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
}


def refuse_probability(
    argument: str, bad: Array, where: str, value: Any, beside: Any = np.float32
) -> None:
    """As input or as target; in place, too, and with a weight that makes it count for nothing."""
    given = dict.fromkeys(("input", "target"), np.full(bad.shape, 0.5, beside))
    given[argument] = bad
    x, y = given["input"], given["target"]
    words = f"{argument}: got {value}{where}, expected probabilities in [0, 1]"
    before = x.copy()
    for reduction in ("none", "mean", "sum"):
        for weight in (None, 0.0):
            case = wrong(ValueError, words, x, y, reduction=reduction, weight=weight)
            refuse_all_forms("binary_cross_entropy", case)
            for function, leading in forms("binary_cross_entropy")[1:]:
                refuse(function, case._replace(options=case.options | {"out": x}), *leading)
                np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("argument", ("input", "target"))
@pytest.mark.parametrize(
    ("shape", "places"),
    (((7,), (3, 5)), ((5, 6), (8, 27)), ((2, 3, 4), (13, 20)), ((40, 30, 20), (12345, 20001))),
)
def test_the_first_bad_probability(
    shape: tuple[int, ...], places: tuple[int, ...], argument: str, layout: Callable[..., Array]
) -> None:
    """The first one in C order, whatever the order in memory."""
    x = np.full(shape, 0.25, np.float32)
    x.flat[list(places)] = 1.5, -2.5
    place = tuple(int(i) for i in np.unravel_index(places[0], shape))
    where = f" at position {place if len(shape) > 1 else place[0]}"
    refuse_probability(argument, layout(x), where, 1.5)


@pytest.mark.parametrize("argument", ("input", "target"))
@pytest.mark.parametrize(
    ("value", "dtype"),
    (
        (NAN, np.float32),
        (INF, np.float32),
        (-INF, np.float64),
        (-0.5, np.float16),
        (-5e-324, np.float64),
        (1 + 2**-52, np.float64),
        (-(2.0**-149), np.float32),
        (1.5, np.float64),
    ),
)
def test_bad_probabilities(value: float, dtype: type, argument: str) -> None:
    """The nearest values outside, too; a number has no position to name."""
    row = np.array([0.0, 1.0, -0.0, value], dtype)
    for beside in (np.float16, np.float32, np.float64):
        refuse_probability(argument, np.array(value, dtype), "", value, beside)
        refuse_probability(argument, row, " at position 3", value, beside)


@pytest.mark.parametrize(
    ("value", "dtype"), ((2, np.uint8), (-1, np.int64), (2**63, np.uint64), (-(2**31), np.int32))
)
def test_integer_targets_that_are_no_probabilities(value: int, dtype: type) -> None:
    bad = np.array([[0, 1, 1], [0, 0, value]], dtype)
    for function, leading in forms("binary_cross_entropy"):
        words = f"target: got {float(value)} at position (1, 2), expected probabilities in [0, 1]"
        refuse(function, wrong(ValueError, words, P[:2, :3], bad), *leading)


def test_a_bad_bfloat16_probability() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
    bad = np.array([0.5, 1.0078125], ml_dtypes.bfloat16)
    for function, leading in forms("binary_cross_entropy"):
        words = "input: got 1.0078125 at position 1, expected probabilities in [0, 1]"
        refuse(function, wrong(ValueError, words, bad, [0, 1]), *leading)


@pytest.mark.parametrize("argument", ("input", "target"))
def test_a_bad_probability_among_many(argument: str) -> None:
    """At the end of an array that threads share."""
    n = 300_001
    x = np.full(n, 0.5, np.float32)
    x[[n - 3, n - 1]] = NAN, 2
    refuse_probability(argument, x, f" at position {n - 3}", NAN)


# Upstream gradients

GRAD_OUTPUTS = {
    "short": (ROW, "(3,)"),
    "transposed": (X.T, "(4, 3)"),
    "one": (ROW[:1], "(1,)"),
    "planes": (PLANES, "(2, 3, 4)"),
}


@pytest.mark.parametrize("name", ("sigmoid", "log_sigmoid", *BINARY, "kl_div"))
@pytest.mark.parametrize(("grad", "shape"), GRAD_OUTPUTS.values(), ids=GRAD_OUTPUTS.keys())
def test_grad_outputs_of_elements(name: str, grad: Array, shape: str) -> None:
    backward, args = getattr(logloss, f"{name}_backward"), GOOD.get(name, (X,))
    options: dict[str, Any] = {"reduction": "none"} if name in GOOD else {}
    words = f"grad_output: got shape {shape} | expected (3, 4)"
    out = np.full((3, 4), 7, np.float32)
    refuse(backward, wrong(ValueError, words, grad, *args, **options))
    refuse(backward, wrong(ValueError, words, grad, *args, **options, out=out))
    np.testing.assert_array_equal(out, 7)


@pytest.mark.parametrize("name", ("kl_div_with_logits", "cosine_embedding_loss", *ENTROPIES))
@pytest.mark.parametrize(
    ("grad", "shape"), ((X, "(3, 4)"), (X[0], "(4,)"), (ROW[:, None], "(3, 1)"), ([1.0], "(1,)"))
)
def test_grad_outputs_of_rows(name: str, grad: Any, shape: str) -> None:
    backward, args = getattr(logloss, f"{name}_backward"), GOOD.get(name, (X,))
    options: dict[str, Any] = {"reduction": "none"} if name in GOOD else {}
    words = f"grad_output: got shape {shape} | expected (3,)"
    refuse(backward, wrong(ValueError, words, grad, *args, **options))
    outs = [np.full((3, 4), 7, np.float32) for _ in "ab"]
    options["out"] = tuple(outs) if name == "cosine_embedding_loss" else outs[0]
    refuse(backward, wrong(ValueError, words, grad, *args, **options))
    np.testing.assert_array_equal(outs, 7)


@pytest.mark.parametrize("reduction", ("mean", "sum"))
@pytest.mark.parametrize("name", GOOD)
def test_a_reduced_loss_has_one_grad_output(name: str, reduction: str) -> None:
    backward = getattr(logloss, f"{name}_backward")
    for grad, shape in ((X, "(3, 4)"), (ROW, "(3,)"), ([1.0], "(1,)")):
        words = f"grad_output: got shape {shape} | expected ()"
        refuse(backward, wrong(ValueError, words, grad, *GOOD[name], reduction=reduction))


# The functions and the entropies


@pytest.mark.parametrize(("dtype", "value"), NO_FLOATS.values(), ids=NO_FLOATS.keys())
@pytest.mark.parametrize("name", (*FUNCTIONS, *ENTROPIES))
def test_functions_of_floats(name: str, dtype: str, value: Any) -> None:
    argument = ENTROPIES.get(name, "input")
    case = wrong(TypeError, f"{argument}: got | {dtype} | expected float16, bfloat16", value)
    refuse(getattr(logloss, name), case)
    refuse(getattr(logloss, f"{name}_backward"), case, 1.0)
    out = np.full(np.shape(value), 7, np.float32)
    refuse(getattr(logloss, f"{name}_backward"), case._replace(options={"out": out}), 1.0)
    np.testing.assert_array_equal(out, 7)


@pytest.mark.parametrize(("dtype", "value"), NO_NUMBERS.values(), ids=NO_NUMBERS.keys())
@pytest.mark.parametrize("name", (*FUNCTIONS, *ENTROPIES))
def test_grad_outputs_of_functions(name: str, dtype: str, value: Any) -> None:
    words = f"grad_output: got | {dtype} | expected real numbers"
    refuse(getattr(logloss, f"{name}_backward"), wrong(TypeError, words, value, X))


@pytest.mark.parametrize("name", GOOD)
def test_nothing_to_compute_is_no_excuse(name: str) -> None:
    args = tuple(argument[:0] for argument in GOOD[name])
    refuse_all_forms(name, wrong(ValueError, "reduction: got 'max'", *args, reduction="max"))
    refuse_all_forms(name, wrong(TypeError, "input | int64", *replaced(args, 0, SIGNS[:0])))
    backward, value_and_grad = (function for function, _ in forms(name)[1:])
    refuse(backward, wrong(ValueError, "grad_output: got shape (3,)", ROW, *args, reduction="sum"))
    out = np.zeros((1, 4), np.float32)
    bad = (out, out) if name == "cosine_embedding_loss" else out
    words = "out: got shape (1, 4) | expected (0, 4)"
    refuse(backward, wrong(ValueError, words, 1.0, *args, out=bad))
    refuse(value_and_grad, wrong(ValueError, words, *args, out=bad))


# Missing, misplaced and unknown arguments: Python itself names them.


@pytest.mark.parametrize("name", GOOD)
def test_signatures(name: str) -> None:
    names = ("input1", "input2", "target") if len(GOOD[name]) == 3 else ("input", "target")
    for function, leading in forms(name):
        for count, missing in enumerate(names):
            with pytest.raises(TypeError, match=missing):
                function(*leading, *GOOD[name][:count])
        with pytest.raises(TypeError, match="positional"):
            function(*leading, *GOOD[name], "mean")
        with pytest.raises(TypeError, match="size_average"):
            function(*leading, *GOOD[name], size_average=True)
    with pytest.raises(TypeError, match="out"):
        getattr(logloss, name)(*GOOD[name], out=X)


@pytest.mark.parametrize(
    ("name", "args", "options", "message"),
    (
        ("sigmoid", (), {}, "input"),
        ("sigmoid", (X, X), {}, "positional"),
        ("log_sigmoid_backward", (X,), {}, "input"),
        ("log_sigmoid_backward", (X, X, X), {}, "positional"),
        ("entropy", (), {}, "probs"),
        ("entropy", (X,), {"out": X}, "out"),
        ("entropy", (X,), {"input": X}, "input"),
        ("entropy_backward", (X,), {}, "probs"),
        ("entropy_with_logits", (X, 0, True), {}, "positional"),
        ("entropy_with_logits_backward", (X, X, 0, X), {}, "positional"),
        ("binary_cross_entropy", (P, P), {"pos_weight": 1.0}, "pos_weight"),
        ("kl_div", (X, P), {"axis": 1}, "axis"),
        ("kl_div_with_logits", (X, X), {"log_target": True}, "log_target"),
        ("kl_div_with_logits", (X, X), {"target_grad": True}, "target_grad"),
        ("cosine_embedding_loss", (X, X, SIGNS), {"weight": ROW}, "weight"),
    ),
)
def test_arguments_of_other_functions(name: str, args: Any, options: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        getattr(logloss, name)(*args, **options)
