# SPDX-License-Identifier: BSD-3-Clause
"""Losses of pairs of rows (kl_div_with_logits, cosine_embedding_loss), handed to their kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from logloss import _core, _memory, _validate
from logloss._reduction import compute_dtype, in_common_dtype, upstream
from logloss._validate import Array

PairKernel = Callable[..., float | None]


@dataclass(slots=True)
class PairCall:
    """
    A checked call: rows of `first` and `second` along `axis`, of one shape and dtype.

    `shape` is that of the losses. The sum of the losses, and every gradient, is divided by
    `divisor`. `target` and `margin` are cosine_embedding_loss's.
    """

    kernel: PairKernel
    first: Array
    second: Array
    axis: int
    reduction: str
    shape: tuple[int, ...]
    divisor: int
    target: NDArray[np.float64] | None = None
    margin: float = 0.0


def divergence_call(input: ArrayLike, target: ArrayLike, reduction: str, axis: Any) -> PairCall:
    """Check the arguments of `kl_div_with_logits`."""
    x = _validate.float_array("input", input)
    t = _validate.float_array("target", target)
    _validate.same_shape("target", t.shape, x.shape)
    _validate.check_reduction(reduction, _validate.KL_REDUCTIONS)
    if x.ndim == 0:
        raise _validate.no_class_axis()
    position = _validate.axis_index(axis, x.ndim)
    return PairCall(
        _core.kl_div_with_logits,
        *in_common_dtype(x, t),
        position,
        reduction,
        x.shape[:position] + x.shape[position + 1 :],
        {"mean": x.size, "batchmean": x.shape[0]}.get(reduction, 1),
    )


def cosine_call(
    input1: ArrayLike, input2: ArrayLike, target: ArrayLike, margin: float, reduction: str
) -> PairCall:
    """Check the arguments of `cosine_embedding_loss`."""
    a = _validate.float_array("input1", input1)
    b = _validate.float_array("input2", input2)
    y = _validate.real_array("target", target, np.dtype(np.float64))
    rows = _validate.embedding_rows(a, b, y)
    _validate.check_reduction(reduction)
    a, b = in_common_dtype(a, b)
    shape = (*rows, a.shape[-1])
    if a.dtype.itemsize == 2 and not a.shape == b.shape == shape:
        # The gradients of a repeated row are added before they are rounded.
        a, b = a.astype(np.float32), b.astype(np.float32)
    return PairCall(
        _core.cosine_embedding_loss,
        _validate.stretched(a, shape),
        _validate.stretched(b, shape),
        len(rows),
        reduction,
        rows,
        math.prod(rows) if reduction == "mean" else 1,
        np.ascontiguousarray(_validate.stretched(y, rows)),
        _validate.number("margin", margin),
    )


class PairGradient:
    """The array that one side's gradient is written to, by way of a wider or larger one."""

    def __init__(
        self,
        computed_from: Array,
        input: ArrayLike,
        out: Any,
        others: tuple[ArrayLike, ...],
    ) -> None:
        original = np.asarray(input)
        self.result = _validate.output_array(out, original, others=others)
        self.repeated = original.shape != computed_from.shape
        direct = not self.repeated and original.dtype == computed_from.dtype
        self.computed = (
            self.result if direct else _memory.empty(computed_from.shape, computed_from.dtype)
        )

    def finish(self) -> Array:
        """Return the gradient in the dtype and shape of the input: summed if it was repeated."""
        if self.computed is not self.result:
            total = self.computed
            if self.repeated:
                total = np.add.reduce(total, axis=0, dtype=np.float64)
            with np.errstate(over="ignore", under="ignore"):
                self.result[...] = total.reshape(self.result.shape)
        return self.result


def loss(
    call: PairCall, first: PairGradient | None = None, second: PairGradient | None = None
) -> float | Array:
    """The loss; also computes the gradients (of its sum for "none") of the sides that are given."""
    losses = np.zeros(call.shape, compute_dtype(call.first)) if call.reduction == "none" else None
    value = _call_kernel(call, losses is None, losses, first, second)
    return value if losses is None else losses


def loss_backward(
    call: PairCall,
    grad_output: Any,
    first: PairGradient | None,
    second: PairGradient | None,
) -> None:
    """Compute the gradients, times `grad_output`, of the sides that are given."""
    scale, grad_rows = upstream(grad_output, call.reduction, call.shape)
    _call_kernel(call, False, None, first, second, scale, grad_rows)


def _call_kernel(
    call: PairCall,
    want_sum: bool,
    loss: Array | None,
    first: PairGradient | None,
    second: PairGradient | None,
    grad_output: float = 1.0,
    grad_rows: NDArray[np.float64] | None = None,
) -> float:
    """Run the kernel; without rows, or without classes to compare, there is nothing to add."""
    nothing = math.prod(call.shape) == 0
    if nothing or (call.first.size == 0 and call.kernel is _core.kl_div_with_logits):
        return 0.0 if call.divisor else math.nan
    value = call.kernel(
        call.first,
        call.second,
        call.axis,
        call.target,
        call.margin,
        call.divisor,
        want_sum,
        loss,
        first and first.computed,
        second and second.computed,
        grad_output,
        grad_rows,
    )
    return 0.0 if value is None else value
