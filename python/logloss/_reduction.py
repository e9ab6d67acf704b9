# SPDX-License-Identifier: BSD-3-Clause
"""Options become numbers for each row: targets, weights, divisors, upstream gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy import asarray
from numpy.typing import ArrayLike, NDArray

from logloss import _validate
from logloss._validate import FLOAT32, FLOAT64, Array, Described, native

Reduction: TypeAlias = Literal["none", "mean", "sum"]
KLReduction: TypeAlias = Literal["none", "mean", "sum", "batchmean"]


@dataclass(slots=True)
class LossCall:
    """
    A checked call of a loss whose samples are the rows of `input` along `axis`.

    `target` holds class indices, whose range the kernels check, or probabilities of the shape and
    dtype of `input`. `shape` is that of the losses.
    """

    input: Array
    axis: int
    target: Array
    ignore_index: int
    weight: Array | None
    smoothing: float
    reduction: str
    shape: tuple[int, ...]


def loss_call(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    ignore_index: int,
    reduction: str,
    axis: int | None,
    *,
    label_smoothing: float = 0.0,
    probabilities: bool = True,
) -> LossCall:
    """Check the arguments of `cross_entropy` and, without probabilities, of `nll_loss`."""
    x = _validate.float_array("input", input)
    class_axis = _validate.class_axis(axis, x.ndim)
    _validate.check_reduction(reduction)
    smoothing = _validate.check_label_smoothing(label_smoothing)
    ignore = _validate.check_ignore_index(ignore_index)
    y = asarray(target)
    shape = x.shape
    shape = shape[:class_axis] + shape[class_axis + 1 :]
    if y.dtype.kind in "iu":
        if y.shape != shape:
            _validate.check_indices(y, x, shape, probabilities=probabilities)
    else:
        missing = target is None
        _validate.check_probabilities(y, x, shape, probabilities=probabilities, missing=missing)
        _validate.no_ignored_probabilities(ignore)
        x, y = in_common_dtype(x, y)
    w = None
    if weight is not None:
        w = _validate.class_weight(weight, x.shape[class_axis], compute_dtype(x))
    return LossCall(x, class_axis, y, ignore, w, smoothing, reduction, shape)


def compute_dtype(x: Array) -> np.dtype[Any]:
    """Return what rows are computed in, and losses are: float64 for float64, else float32."""
    return FLOAT64 if x.dtype.itemsize == 8 else FLOAT32


def common_dtype(x: Described, y: Described) -> np.dtype[Any]:
    """Find the dtype to compute two floating-point arrays in: the wider one, as torch promotes."""
    if x.dtype == y.dtype:
        return x.dtype
    one, other = native(x.dtype), native(y.dtype)
    if one == other:
        return one
    if _validate.is_bfloat16(one) or _validate.is_bfloat16(other):
        return FLOAT64 if max(one.itemsize, other.itemsize) == 8 else FLOAT32
    return np.result_type(one, other)


def in_common_dtype(x: Array, y: Array) -> tuple[Array, Array]:
    """Bring two floating-point arrays to their common dtype."""
    if x.dtype == y.dtype:
        return x, y
    common = common_dtype(x, y)
    x, y = _validate.widened(x), _validate.widened(y)
    return x.astype(common, copy=False), y.astype(common, copy=False)


def upstream(
    grad_output: Any, reduction: str, shape: tuple[int, ...]
) -> tuple[float, NDArray[np.float64] | None]:
    """Split `grad_output` into a factor for all rows and, for "none", one for each row."""
    if reduction != "none" or isinstance(grad_output, (int, float)):
        return _validate.number("grad_output", grad_output), None
    grad = _validate.real_array("grad_output", grad_output, FLOAT64)
    if grad.shape == ():
        return float(grad), None
    _validate.same_shape("grad_output", grad.shape, shape)
    return 1.0, grad.reshape(-1)
