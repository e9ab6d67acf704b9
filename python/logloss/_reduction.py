# SPDX-License-Identifier: BSD-3-Clause
"""Options become numbers for each row: targets, weights, divisors, upstream gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from logloss import _core, _validate
from logloss._validate import Array

Reduction: TypeAlias = Literal["none", "mean", "sum"]
KLReduction: TypeAlias = Literal["none", "mean", "sum", "batchmean"]


@dataclass(slots=True)
class LossCall:
    """
    A checked call of a loss whose samples are the rows of `input` along `axis`.

    `target` is what the kernels take: int64 classes in C order with -1 for ignored rows, or
    probabilities of the shape and dtype of `input`. `valid` counts the rows that are not ignored.
    """

    input: Array
    axis: int
    target: Array
    weight: Array | None
    smoothing: float
    reduction: str
    shape: tuple[int, ...]
    valid: int
    indices: bool

    @property
    def loss_dtype(self) -> np.dtype[Any]:
        """The dtype of per-sample losses: float64 for float64 input, else float32."""
        return np.dtype(np.float64 if self.input.dtype.itemsize == 8 else np.float32)

    @property
    def rows(self) -> int:
        """The number of samples."""
        return self.valid if not self.indices else self.target.size

    def divisor(self) -> _core.ExactSum:
        """What the mean divides by: the weight of the rows with indices, else their number."""
        if self.weight is not None and self.indices:
            return _core.weight_of_rows(self.weight, self.target)
        count = _core.ExactSum()
        count.add(np.array([self.valid], np.float64))
        return count


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
    y = _validate.target_array(target, x, class_axis, probabilities=probabilities)
    classes = x.shape[class_axis]
    compute = np.dtype(np.float64 if x.dtype.itemsize == 8 else np.float32)
    w = None if weight is None else _validate.class_weight(weight, classes, compute)
    shape = x.shape[:class_axis] + x.shape[class_axis + 1 :]
    if y.dtype.kind in "iu":
        rows, valid = _class_rows(y, classes, ignore)
        return LossCall(x, class_axis, rows, w, smoothing, reduction, shape, valid, indices=True)
    if ignore >= 0:
        raise ValueError(
            f"ignore_index: got {ignore}, expected a negative one: class probabilities ignore none"
        )
    if y.dtype != x.dtype:
        x, y = in_common_dtype(x, y)
    samples = int(np.prod(shape, dtype=np.int64))
    return LossCall(x, class_axis, y, w, smoothing, reduction, shape, samples, indices=False)


def _class_rows(target: Array, classes: int, ignore_index: int) -> tuple[NDArray[np.int64], int]:
    native = np.ascontiguousarray(target, dtype=target.dtype.newbyteorder("="))
    if not -(2**63) <= ignore_index < 2**63:
        # Beyond int64 it can only occur among uint64 targets, which are then read modulo 2**64.
        reachable = native.dtype == np.uint64 and 0 <= ignore_index < 2**64
        native = native.view(np.int64) if reachable else native
        ignore_index = ignore_index - 2**64 if reachable else -(2**63)  # as good as none
    rows, valid, first_bad = _core.class_rows(native, classes, ignore_index)
    if first_bad >= 0:
        raise _validate.bad_class(target, first_bad, classes)
    return rows, valid


def common_dtype(x: Array, y: Array) -> np.dtype[Any]:
    """Find the dtype to compute two floating-point arrays in: the wider one, as torch promotes."""
    one, other = x.dtype.newbyteorder("="), y.dtype.newbyteorder("=")
    if one == other:
        return one
    if _validate.is_bfloat16(one) or _validate.is_bfloat16(other):
        return np.dtype(np.float64 if max(one.itemsize, other.itemsize) == 8 else np.float32)
    return np.result_type(one, other)


def in_common_dtype(x: Array, y: Array) -> tuple[Array, Array]:
    """Bring two floating-point arrays to their common dtype."""
    common = common_dtype(x, y)
    return x.astype(common, copy=False), y.astype(common, copy=False)


def mean_of(total: _core.ExactSum, count: int) -> float:
    """Correctly rounded mean; that of nothing is NaN."""
    return total.divided_by(float(count)) if count else math.nan


def upstream(
    grad_output: Any, reduction: str, shape: tuple[int, ...]
) -> tuple[float, NDArray[np.float64] | None]:
    """Split `grad_output` into a factor for all rows and, for "none", one for each row."""
    if reduction != "none" or isinstance(grad_output, (int, float)):
        return _validate.number("grad_output", grad_output), None
    grad = _validate.real_array("grad_output", grad_output, np.dtype(np.float64))
    if grad.shape == ():
        return float(grad), None
    _validate.same_shape("grad_output", grad.shape, shape)
    return 1.0, grad.reshape(-1)
