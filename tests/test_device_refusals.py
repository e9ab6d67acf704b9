# SPDX-License-Identifier: BSD-3-Clause
"""Arguments that are refused in calls on device arrays."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import logloss
from fake_device import TARGET, Array, Copying, Interface, Lender, Refusing, X
from refusals import wrong

D, T = Interface(X), Interface(TARGET)
WRONG = {
    "host target": (
        "cross_entropy",
        wrong(TypeError, "target | ndarray in host memory", D, TARGET),
    ),
    "list": ("cross_entropy", wrong(TypeError, "target | list in host memory", D, [0, 1, 2])),
    "host input": ("cross_entropy", wrong(TypeError, "input | ndarray in host memory", X, T)),
    "none": ("cross_entropy", wrong(TypeError, "target | None", D, None)),
    "host weight": (
        "cross_entropy",
        wrong(TypeError, "weight | ndarray in host memory", D, T, weight=np.ones(4)),
    ),
    "weight shape": (
        "cross_entropy",
        wrong(ValueError, "weight | (3,) | (4,)", D, T, weight=Interface(np.ones(3))),
    ),
    "weight dtype": (
        "cross_entropy",
        wrong(TypeError, "weight | complex128", D, T, weight=Interface(np.ones(4) * 1j)),
    ),
    "target shape": ("cross_entropy", wrong(ValueError, "target | (3,) | (4,)", D.array.T, T)),
    "float target": ("nll_loss", wrong(TypeError, "target | float32", D, D)),
    "probabilities": (
        "cross_entropy",
        wrong(ValueError, "ignore_index | 3 | negative", D, D, ignore_index=3),
    ),
    "reduction": ("cross_entropy", wrong(ValueError, "reduction | 'max'", D, T, reduction="max")),
    "smoothing": ("cross_entropy", wrong(ValueError, "2.0", D, T, label_smoothing=2.0)),
    "number": (
        "cross_entropy",
        wrong(ValueError, "input | () | axis", Interface(np.array(1.0)), T),
    ),
    "axis": ("softmax", wrong(np.exceptions.AxisError, "axis 2", D, 2)),
    "integers": ("softmax", wrong(TypeError, "input | int64", T)),
    "grad_output shape": (
        "softmax_backward",
        wrong(ValueError, "grad_output | (3,) | (3, 4)", Interface(np.ones(3)), D),
    ),
    "host grad_output": (
        "softmax_backward",
        wrong(TypeError, "grad_output | ndarray in host memory", X, D),
    ),
    "host grad_output of losses": (
        "cross_entropy_backward",
        wrong(TypeError, "grad_output | ndarray in host memory", np.ones(3), D, T),
    ),
    "grad_output of a mean": (
        "cross_entropy_backward",
        wrong(ValueError, "grad_output | (3,) | ()", Interface(np.ones(3)), D, T),
    ),
    "broadcast": (
        "binary_cross_entropy",
        wrong(ValueError, "weight | (5,) | (3, 4)", D, D, weight=Interface(np.ones(5))),
    ),
    "larger weight": (
        "binary_cross_entropy",
        wrong(ValueError, "weight | (2, 3, 4)", D, D, weight=Interface(np.ones((2, 3, 4)))),
    ),
    "two shapes": ("kl_div_with_logits", wrong(ValueError, "target | (4,)", D, Interface(X[0]))),
    "pair": (
        "cosine_embedding_loss_value_and_grad",
        wrong(TypeError, "out | Interface | pair", D, D, T, out=D),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments(emulated: Any, case: str) -> None:
    from refusals import refuse

    name, call = WRONG[case]
    if case == "target shape":
        call = call._replace(args=(Interface(np.ones((4, 3), np.float32)), T))
    refuse(getattr(logloss, name), call)


REDUCTION = {"reduction": "none"}
P, WEIGHT = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4), np.ones(4)
ARRAYS: dict[str, Array] = {
    "grad_output": np.ones((3, 4)),
    "input": P,
    "input1": X,
    "input2": X,
    "probs": P,
    "target": P,
    "weight": WEIGHT,
    "pos_weight": WEIGHT,
    "out": np.empty_like(X),
}


def arrays_of(name: str) -> dict[str, Any]:
    """An array, or a pair of them, for each argument of a function that may be one."""
    taken = inspect.signature(getattr(logloss, name)).parameters
    arrays: dict[str, Any] = {arg: array for arg, array in ARRAYS.items() if arg in taken}
    if name.startswith(("cross_entropy", "nll_loss")):
        arrays["target"] = TARGET
    elif name.startswith("cosine"):
        arrays["target"] = np.ones(3)
        if "out" in arrays:
            arrays["out"] = (np.empty_like(X), np.empty_like(X))
    by_row = ("cross_entropy", "nll_loss", "cosine", "kl_div_with", "entropy", "logsumexp")
    if name.startswith(by_row) and "grad_output" in arrays:
        arrays["grad_output"] = np.ones(3)
    return arrays


EVERY_ARRAY = [(name, arg) for name in logloss.functional.__all__ for arg in arrays_of(name)]
HERE = "(ndarray|tuple) in host memory, expected an array on the device of the others"
THERE = r"\w+ on a CUDA device, expected an array in host memory as the others"


@pytest.mark.parametrize("kind", (Interface, Lender, Copying, Refusing))
@pytest.mark.parametrize(("name", "arg"), EVERY_ARRAY)
def test_one_array_elsewhere(emulated: Any, name: str, arg: str, kind: Any) -> None:
    """It is named, or where it is the one that decides, the next one."""

    def there(value: Any) -> Any:
        return tuple(map(kind, value)) if isinstance(value, tuple) else kind(value)

    function, on_host = getattr(logloss, name), arrays_of(name)
    options = {} if "reduction" not in inspect.signature(function).parameters else REDUCTION
    elsewhere = {other: there(array) for other, array in on_host.items()}
    function(**on_host, **options)
    function(**elsewhere, **options)
    if len(on_host) == 1:
        return
    decisive = arg in ("input", "probs", "input1", "input2")
    decisive |= arg == "target" and not name.startswith("cosine")
    for arrays, one in ((elsewhere, on_host[arg]), (on_host, elsewhere[arg])):
        named = r"\w+" if decisive else arg
        with pytest.raises(TypeError, match=f"^{named}: got ({HERE}|{THERE})$"):
            function(**(arrays | {arg: one}), **options)


@pytest.mark.parametrize("kind", (Interface, Copying))
def test_a_number_on_a_device(emulated: Any, kind: Any) -> None:
    margin = kind(np.array(0.5))
    with pytest.raises(TypeError, match=r"margin: got .* on a CUDA device, expected an array in"):
        logloss.cosine_embedding_loss(X, X, np.ones(3), margin=margin)
    with pytest.raises(TypeError, match=r"margin: got .* on a CUDA device, expected a number in"):
        logloss.cosine_embedding_loss(D, D, Interface(np.ones(3)), margin=margin)


def test_a_stream_for_host_arrays() -> None:
    for name in logloss.functional.__all__:
        pair = (X, X, np.ones(3)) if name.startswith("cosine") else (X,)
        pair = (X, X) if "loss" in name or "entropy" in name or "kl_div" in name else pair
        with pytest.raises((ValueError, TypeError), match=r"stream: got 7|missing|positional"):
            getattr(logloss, name)(*pair, stream=7)
    with pytest.raises(ValueError, match="stream: got 7, expected None for arrays in host memory"):
        logloss.cross_entropy(X, [0, 1, 2], stream=7)


OUTS = {
    "host": (TypeError, "out: got ndarray in host memory", np.empty_like(X)),
    "shape": (ValueError, r"out: got shape \(4, 3\), expected \(3, 4\)", X.T.copy()),
    "dtype": (TypeError, "out: got dtype float64, expected float32", X.astype(float)),
}


@pytest.mark.parametrize("case", OUTS)
def test_outs_that_are_refused(emulated: Any, case: str) -> None:
    error, message, array = OUTS[case]
    out = array if case == "host" else Interface(array)
    with pytest.raises(error, match=message):
        logloss.softmax(Interface(X), out=out)
    with pytest.raises(error, match=message):
        logloss.cross_entropy_value_and_grad(Interface(X), Interface(TARGET), out=out)


def test_outs_that_are_read_only(emulated: Any) -> None:
    for out in (Interface(X.copy(), read_only=True), Lender(X.copy(), read_only=True)):
        with pytest.raises(ValueError, match="out: got a read-only array"):
            logloss.softmax(Interface(X), out=out)
        assert logloss.softmax(out).shape == (3, 4)


def test_outs_that_overlap(emulated: Any) -> None:
    room = np.zeros(40, np.float32)
    x, out = room[:12].reshape(3, 4), room[4:16].reshape(3, 4)
    with pytest.raises(ValueError, match="out: got an array that overlaps an argument in part"):
        logloss.softmax(Interface(x), out=Interface(out))
    with pytest.raises(ValueError, match="out: got an array that overlaps another argument"):
        logloss.binary_cross_entropy_value_and_grad(Interface(X), Interface(x), out=Interface(out))
    with pytest.raises(ValueError, match="overlaps another argument"):
        logloss.kl_div_with_logits_value_and_grad(
            Interface(X),
            Interface(x),
            target_grad=True,
            out=(Interface(out), Interface(np.empty_like(X))),
        )
    with pytest.raises(ValueError, match="overlaps another argument"):
        logloss.binary_cross_entropy_value_and_grad(
            Interface(X), Interface(X.copy()), weight=Interface(x[:1]), out=Interface(x)
        )
