# SPDX-License-Identifier: BSD-3-Clause
"""Checked arguments handed to the kernels: outputs, edge cases without elements, reductions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy import asarray, ndarray
from numpy.typing import ArrayLike, NDArray

from logloss import _core, _memory, _validate
from logloss._reduction import LossCall, compute_dtype, loss_call, upstream
from logloss._validate import FLOAT64, Array, native

# ---------------------------------------------------------------------------------- softmax family


def softmax_like(
    kernel: Callable[[Array, int, Array], None], input: ArrayLike, axis: Any, out: Array | None
) -> Array:
    """Run log_softmax or softmax."""
    x = _validate.float_array("input", input)
    position = _validate.axis_index(axis, x.ndim)
    result = _validate.output_array(out, x)
    if x.size:
        kernel(x, position, result)
    return result


def softmax_like_backward(
    kernel: Callable[[Array, Array, int, Array], None],
    grad_output: Any,
    input: ArrayLike,
    axis: Any,
    out: Array | None,
) -> Array:
    """Run the gradient of log_softmax or softmax."""
    x = _validate.float_array("input", input)
    position = _validate.axis_index(axis, x.ndim)
    plain = type(grad_output) is ndarray
    grad = given = grad_output if plain else _validate.host_array("grad_output", grad_output)
    if given.dtype != x.dtype:
        grad = _validate.real_array("grad_output", given, native(x.dtype))
    _validate.same_shape("grad_output", grad.shape, x.shape)
    result = _validate.output_array(out, x, may_alias=(given,))
    if x.size:
        kernel(grad, x, position, result)
    return result


def summed_shape(shape: tuple[int, ...], axis: int, *, keepdims: bool) -> tuple[int, ...]:
    """Return the shape that remains when `axis` is summed; that of a number is ()."""
    if not shape:
        return ()
    return shape[:axis] + ((1,) if keepdims else ()) + shape[axis + 1 :]


def row_values(
    kernel: Callable[[Array, int, Array], None],
    input: ArrayLike,
    axis: Any,
    *,
    keepdims: bool = False,
    of_nothing: float,
    name: str = "input",
) -> Array:
    """Run logsumexp or an entropy; the value of rows without classes is `of_nothing`."""
    x = _validate.float_array(name, input)
    position = _validate.axis_index(axis, x.ndim)
    shape = summed_shape(x.shape, position, keepdims=keepdims)
    if x.size == 0:
        return np.full(shape, of_nothing).astype(native(x.dtype))
    result = np.empty(shape, native(x.dtype))
    kernel(x, position, result)
    return result


def row_values_backward(
    kernel: Callable[[NDArray[np.float64], Array, int, Array], None],
    grad_output: ArrayLike,
    input: ArrayLike,
    axis: Any,
    *,
    keepdims: bool = False,
    out: Array | None,
    name: str = "input",
) -> Array:
    """Run the gradient of logsumexp or of an entropy."""
    x = _validate.float_array(name, input)
    position = _validate.axis_index(axis, x.ndim)
    grad = _validate.real_array("grad_output", grad_output, FLOAT64)
    shape = summed_shape(x.shape, position, keepdims=keepdims)
    if grad.shape != ():
        _validate.same_shape("grad_output", grad.shape, shape)
    elif shape != ():
        grad = np.full(shape, grad)
    result = _validate.output_array(out, x, others=(grad_output,))
    if x.size:
        kernel(grad, x, position, result)
    return result


# ------------------------------------------------------------------------------------------ losses

LossKernel = Callable[..., float | None]


class Gradient:
    """The array a gradient is written to, by way of a wider one where the logits were promoted."""

    def __init__(
        self, call: LossCall, out: Array | None, input: ArrayLike, others: tuple[Any, ...]
    ) -> None:
        original = asarray(input)
        self.result = _validate.output_array(out, original, others=others)
        promoted = call.input.dtype != original.dtype
        self.computed = (
            _memory.empty(call.input.shape, call.input.dtype) if promoted else self.result
        )

    def finish(self) -> Array:
        """Return the gradient in the dtype of the logits as they were given."""
        if self.computed is not self.result:
            with np.errstate(over="ignore", under="ignore"):
                self.result[...] = self.computed
        return self.result


def loss(
    kernel: LossKernel,
    call: LossCall,
    grad: Array | None = None,
    hit: NDArray[np.uint8] | None = None,
) -> float | Array:
    """The loss; also writes its gradient (that of its sum for "none") and hits where asked to."""
    per_sample = call.reduction == "none"
    losses = np.empty(call.shape, compute_dtype(call.input)) if per_sample else None
    value = _call_kernel(kernel, call, not per_sample, losses, grad, 1.0, None, hit)
    if call.input.size == 0:
        # Sums over no classes: torch gives -0.0 where it negates such a sum.
        zero = 0.0 if call.target.dtype.kind in "iu" else -0.0
        value = math.nan if call.reduction == "mean" else zero
        if losses is not None:
            losses.fill(value)
    if losses is not None:
        return losses
    assert value is not None
    return value


def loss_backward(
    kernel: LossKernel, call: LossCall, grad_output: Any, gradient: Gradient
) -> Array:
    """The gradient alone, times `grad_output`."""
    scale, grad_rows = upstream(grad_output, call.reduction, call.shape)
    _call_kernel(kernel, call, False, None, gradient.computed, scale, grad_rows)
    return gradient.finish()


def loss_value_and_grad(
    kernel: LossKernel, call: LossCall, gradient: Gradient
) -> tuple[float | Array, Array]:
    """The loss and the gradient of it (of its sum for "none")."""
    value = loss(kernel, call, gradient.computed)
    return value, gradient.finish()


def _call_kernel(
    kernel: LossKernel,
    call: LossCall,
    want_sum: bool,
    loss: Array | None,
    grad: Array | None,
    grad_output: float,
    grad_rows: NDArray[np.float64] | None,
    hit: NDArray[np.uint8] | None = None,
) -> float | None:
    """Run the kernel (by position: names take half as long again); IndexError for a bad target."""
    try:
        return kernel(
            call.input,
            call.axis,
            call.target,
            call.ignore_index,
            call.weight,
            call.smoothing,
            call.reduction == "mean",
            want_sum,
            loss,
            grad,
            grad_output,
            grad_rows,
            hit,
        )
    except IndexError as error:
        classes = call.input.shape[call.axis]
        first_bad = error.args[0]
        value = int(call.target.flat[first_bad])
        raise _validate.no_class(call.target.shape, first_bad, value, classes) from None


# -------------------------------------------------------------------------------------- evaluation


class RowScores(NamedTuple):
    """
    What one sweep over logits tells of each sample, in C order of the target.

    Ignored samples have loss, weight, hit and valid 0. A hit is a target that is the first of the
    largest logits.
    """

    loss: Array
    weight: Array
    hit: NDArray[np.uint8]
    valid: NDArray[np.uint8]


def score_rows(
    input: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    axis: int | None = None,
) -> RowScores:
    """Score class indices, sample by sample; arguments and errors as `cross_entropy`."""
    call = loss_call(
        input,
        target,
        weight,
        ignore_index,
        "none",
        axis,
        label_smoothing=label_smoothing,
        probabilities=False,
    )
    hit = np.zeros(call.target.size, np.uint8)
    losses = np.asarray(loss(_core.cross_entropy, call, hit=hit)).reshape(-1)
    classes = call.target.reshape(-1)
    valid = classes != call.ignore_index
    if call.weight is None:
        weights = valid.astype(losses.dtype)
    else:
        weights = np.zeros_like(losses)
        weights[valid] = call.weight[classes[valid]]
    return RowScores(losses, weights, hit, valid.view(np.uint8))


def as_bfloat16(array: NDArray[np.uint16]) -> Array:
    """See the bits of bfloat16 values, stored as uint16, as an array that every function takes."""
    return array.view(_validate.RAW_BFLOAT16.newbyteorder(array.dtype.byteorder))
