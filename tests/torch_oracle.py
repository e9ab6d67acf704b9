# SPDX-License-Identifier: BSD-3-Clause
"""The oracle of the parity tests: torch in float64, from the same numbers.

Its own errors are then far below those allowed here, which are the promises of this package for
float32 (2 ulps for losses, 3 for gradients, 4 of the terms of a difference). For float64 the errors
of torch, which cancel for confident rows, decide.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import logloss
import reference as ref
from grid import CANCELLING_ULPS, promised
from reference_base import wider
from ulp import Array, ulp

torch = pytest.importorskip("torch", reason="torch is the oracle of these tests")
torch.set_num_threads(1)
F = torch.nn.functional
INF, NAN = np.inf, np.nan

# Of torch in double, relative to the numbers that it adds up: a roundoff for each addition of a row
# of 1025 in four lanes, which is as few as its code for any CPU has, and for their fold.
TORCH_ERROR = (1025 / 4 + 4) * 2.0**-53

EDGES = sorted({n + d for n in (8, 16, 32, 64, 128, 1024) for d in (-1, 0, 1)})
EMPTY_SHAPES = ((0,), (0, 3), (3, 0), (0, 0), (2, 3, 0), (0, 3, 2), (2, 0, 3), (2, 3, 0, 4))
SHAPES = (
    *((n,) for n in (1, 2, 5, 17, 1025)),
    *((5, n) for n in (1, 2, 3, *EDGES)),
    *((n, 4) for n in (1, *EDGES)),
    *((2, 5, n) for n in (1, *EDGES)),
    (2, 129, 3),
    (3, 33, 17),
    (2, 3, 4, 5),
    (1, 17, 3, 33),
    (2, 1, 1, 3),
    (2, 6, 3, 2, 4),
)


# Inputs


def spread(shape: tuple[int, ...], dtype: Any, seed: int = 11) -> Array:
    """Logits with a few clear winners, the same for one shape on every run."""
    generator = np.random.default_rng([*shape, seed])
    x = generator.normal(0, 3, shape)
    x.flat[::5] += 6
    return x.astype(dtype)


def upstream(shape: tuple[int, ...], dtype: Any) -> Array:
    """An upstream gradient of a few bits, without zeros."""
    return (np.arange(math.prod(shape)).reshape(shape) % 7 - 3.5).astype(dtype)


def in_double(x: Any, *, leaf: bool = False) -> Any:
    return torch.tensor(np.asarray(x).astype(np.float64), requires_grad=leaf)


# Comparisons


def check_within(actual: Any, right: Array, limit: Any) -> None:
    """NaN and infinities where torch has them, other numbers no further from its than `limit`."""
    actual = np.asarray(actual)
    assert actual.shape == right.shape
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(right))
    error = np.abs(np.where(actual == right, 0, actual.astype(np.float64) - right))
    assert not (error > limit).any(), f"{np.nanmax(error / limit)} times what is allowed"


def check_loss(actual: Any, right: Array, dtype: Any, size: Any) -> None:
    """Losses, or sums of them, within 2 ulps; `size` bounds the logits that enter."""
    rtol = promised(2, dtype) * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(actual, right, rtol=rtol, atol=TORCH_ERROR * size)


def check_close(
    actual: Array,
    right: Array,
    size: Any,
    *,
    ulps: float = CANCELLING_ULPS,
    torch_size: Any = 0.0,
) -> None:
    """A result within so many ulps of the `size` of the terms it is made of.

    Those that torch makes it of may be larger: `torch_size`.
    """
    compute = "float64" if actual.dtype == np.float64 else "float32"
    size = np.maximum(np.asarray(size, np.float64), np.abs(right))
    limit = promised(ulps, compute) * ulp(size, compute)
    if actual.dtype.itemsize == 2:
        limit = limit + 0.5 * ulp(right, actual.dtype)
    check_within(actual, right, limit + TORCH_ERROR * np.maximum(size, torch_size))


# Whole calls


def run(
    torch_loss: Callable[..., Any], arrays: tuple[Array, ...], options: dict[str, Any], wrt: int
) -> tuple[Any, list[Any]]:
    """Torch's loss in double, and the leaves that its gradients go to: the first `wrt` arrays."""
    tensors = [in_double(a, leaf=i < wrt) for i, a in enumerate(arrays)]
    options = {k: in_double(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "reduction: 'mean' divides")
        return torch_loss(*tensors, **options), tensors[:wrt]


def check_call(
    name: str,
    arrays: tuple[Array, ...],
    options: dict[str, Any],
    torch_loss: Callable[..., Any],
    *,
    size: Array,
    terms: Callable[..., Any],
    torch_terms: Callable[..., Any] | None = None,
    wrt: int = 1,
    divisors: dict[str, int],
    slack: Any = 0.0,
    ulps: float = CANCELLING_ULPS,
) -> None:
    """Value and gradients of a loss, through the separate and the joint call.

    `size` bounds what each loss is the sum of for torch, and `slack` is what each of ours may be
    off beside its ulps. `terms` takes the arguments of the backward call and gives, for each of
    the first `wrt` arrays, what its gradient is made of; `torch_terms` what torch's is.
    """
    reduction = options["reduction"]
    loss_dtype = ref.loss_dtype(wider(*arrays[:2]))
    right, leaves = run(torch_loss, arrays, options, wrt)
    each, leaves_of_each = run(torch_loss, arrays, options | {"reduction": "none"}, wrt)

    limit = promised(2, loss_dtype) * ulp(each.detach().numpy(), loss_dtype)
    limit = limit + slack + TORCH_ERROR * size
    if reduction != "none":
        divisor = divisors.get(reduction, 1)
        limit = limit.sum() / divisor if divisor else 0.0
    loss = getattr(logloss, name)(*arrays, **options)
    assert isinstance(loss, np.ndarray if reduction == "none" else float)
    check_within(loss, right.detach().numpy(), limit)

    def check_gradients(found: Any, rights: list[Array], g: Any) -> None:
        found, sizes = as_tuple(found), as_tuple(terms(g, *arrays, **options))
        theirs = as_tuple(torch_terms(g, *arrays, **options)) if torch_terms else sizes
        assert len(found) == wrt
        for actual, array, grad, a, b in zip(found, arrays, rights, sizes, theirs, strict=False):
            assert actual.dtype == array.dtype
            check_close(actual, grad, a, ulps=ulps, torch_size=b)

    g: Any = upstream(tuple(right.shape), np.float64) if reduction == "none" else -1.75
    right.backward(in_double(g))
    rights = [leaf.grad.numpy() for leaf in leaves]
    check_gradients(getattr(logloss, f"{name}_backward")(g, *arrays, **options), rights, g)

    value, gradients = getattr(logloss, f"{name}_value_and_grad")(*arrays, **options)
    np.testing.assert_array_equal(value, loss)
    if reduction == "none":
        each.sum().backward()
        rights = [leaf.grad.numpy() for leaf in leaves_of_each]
        check_gradients(gradients, rights, np.ones(right.shape))
    else:
        check_gradients(gradients, [grad / g for grad in rights], 1.0)


def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
