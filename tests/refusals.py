# SPDX-License-Identifier: BSD-3-Clause
"""Wrong calls and how they must be refused: the helpers of the validation tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import logloss
from ulp import Array

X = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
ROW = np.float32([1, 2, 3])

P = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
OTHER = np.ascontiguousarray(X[::-1])
SIGNS = np.array([1, -1, 1])

# Arguments that each of the losses beside cross_entropy and nll_loss accepts.
GOOD: dict[str, tuple[Array, ...]] = {
    "binary_cross_entropy": (P, P),
    "binary_cross_entropy_with_logits": (X, P),
    "kl_div": (X, P),
    "kl_div_with_logits": (X, OTHER),
    "cosine_embedding_loss": (X, OTHER, SIGNS),
}
BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
KL = ("kl_div", "kl_div_with_logits")
WEIGHTS = ((BINARY[0], "weight"), (BINARY[1], "weight"), (BINARY[1], "pos_weight"))

FUNCTIONS = ("sigmoid", "log_sigmoid")
ENTROPIES = {"entropy": "probs", "entropy_with_logits": "input"}  # and what the argument is called

# "input: got shape (3,), expected (4,)"; what an `out` must not overlap needs no second half.
MESSAGE = re.compile(r"\w+: got .*(expected|overlaps)", re.DOTALL)


class Wrong(NamedTuple):
    """Arguments that must be refused, and what the refusal says: words in any order."""

    error: type[Exception] | tuple[type[Exception], ...]
    words: tuple[str, ...]
    args: tuple[Any, ...]
    options: dict[str, Any]


def wrong(error: Any, words: str, *args: Any, **options: Any) -> Wrong:
    """`words` are the parts of the message, separated by " | "."""
    return Wrong(error, tuple(words.split(" | ")), args, options)


def refuse(function: Callable[..., Any], case: Wrong, *leading: Any) -> None:
    """Call and check the class of the exception, the form of its message and the words in it."""
    with pytest.raises(case.error) as caught:
        function(*leading, *case.args, **case.options)
    errors = case.error if isinstance(case.error, tuple) else (case.error,)
    assert type(caught.value) in errors, f"{caught.value!r} is a subclass"
    message = str(caught.value)
    if case.error is not np.exceptions.AxisError:  # NumPy words that one
        assert MESSAGE.match(message), message
    missing = [word for word in case.words if word.lower() not in message.lower()]
    assert not missing, f"{missing} not in {message!r}"


def forms(name: str) -> tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...]:
    """The three ways to call a loss, with the arguments that come before `input`."""
    return (
        (getattr(logloss, name), ()),
        (getattr(logloss, f"{name}_backward"), (1.0,)),
        (getattr(logloss, f"{name}_value_and_grad"), ()),
    )


# Arrays that are no floats, and the name of each in a message.
NO_FLOATS: dict[str, tuple[str, Any]] = {
    "integers": ("int64", X.astype(np.int64)),
    "bools": ("bool", X > 0),
    "complex": ("complex64", X.astype(np.complex64)),
    "long double": (np.dtype("g").name, X.astype("g")),
    "objects": ("object", X.astype(object)),
    "strings": ("<U1", np.array(["a", "b"])),
    "none": ("object", None),
    "void": ("V2", np.zeros(3, "V2")),
    "record": ("<f4", np.zeros(3, [("a", "<f4")])),
    "dates": ("datetime64", np.zeros(3, "M8[s]")),
}
# Those that are no real numbers either, as weights and some targets may be.
NO_NUMBERS = {
    name: NO_FLOATS[name] for name in ("complex", "objects", "strings", "void", "record", "dates")
} | {"none": ("None", None)}

AXES = {
    "too large": wrong(np.exceptions.AxisError, "axis 2 | 2", X, 2),
    "too small": wrong(np.exceptions.AxisError, "axis -3 | 2", X, -3),
    "of a number": wrong(np.exceptions.AxisError, "axis 1", np.float32(1.0), 1),
    "not an integer": wrong(TypeError, "axis | float | integer", X, 1.0),
    "a pair": wrong(TypeError, "axis | tuple | integer", X, (0, 1)),
}


def read_only(x: Array) -> Array:
    x = x.copy()
    x.flags.writeable = False
    return x


# What `out` must not be for an input such as X.
OUTS: dict[str, tuple[type[Exception], str, Any]] = {
    "shape": (ValueError, "out | (4, 3) | (3, 4)", np.zeros((4, 3), np.float32)),
    "more rows": (ValueError, "out | (4, 4) | (3, 4)", np.zeros((4, 4), np.float32)),
    "flat": (ValueError, "out | (12,) | (3, 4)", np.zeros(12, np.float32)),
    "wider": (TypeError, "out | float64 | float32", np.zeros((3, 4))),
    "narrower": (TypeError, "out | float16 | float32", np.zeros((3, 4), np.float16)),
    "integers": (TypeError, "out | int32 | float32", np.zeros((3, 4), np.int32)),
    "swapped": (TypeError, "out | float32", np.zeros((3, 4), np.dtype(np.float32).newbyteorder())),
    "read-only": (ValueError, "out | read-only", read_only(X)),
    "list": (TypeError, "out | list", [[0.0] * 4] * 3),
    "number": (TypeError, "out | float", 0.0),
    "repeating": (
        ValueError,
        "out | overlap",
        np.lib.stride_tricks.as_strided(np.zeros(4, np.float32), (3, 4), (0, 4)),
    ),
}
