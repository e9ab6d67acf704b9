# SPDX-License-Identifier: BSD-3-Clause
"""Checked arguments handed to the element-wise kernels, which convert as they read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from logloss import _core, _memory, _validate
from logloss._reduction import common_dtype
from logloss._validate import FLOAT32, FLOAT64, Array

# --------------------------------------------------------------------------------------- functions


def function(kernel: Callable[[Array, Array], None], input: ArrayLike, out: Array | None) -> Array:
    """Run sigmoid or log_sigmoid."""
    x = _validate.float_array("input", input)
    result = _validate.output_array(out, x)
    if x.size:
        kernel(x, result)
    return result


def function_backward(
    kernel: Callable[[Array, Array, Array], None],
    grad_output: ArrayLike,
    input: ArrayLike,
    out: Array | None,
) -> Array:
    """Run the gradient of sigmoid or log_sigmoid."""
    x = _validate.float_array("input", input)
    given = _validate.numbers("grad_output", grad_output)
    if given.shape != ():
        _validate.same_shape("grad_output", given.shape, x.shape)
    result = _validate.output_array(out, x, may_alias=(given,))
    if x.size:
        kernel(_validate.stretched(given, x.shape), x, result)
    return result


# ------------------------------------------------------------------------------------------ losses

LossKernel = Callable[..., float | None]


@dataclass(slots=True)
class ElementCall:
    """
    A checked call of an element-wise loss: operands of one shape, computed in `dtype`.

    The sum of the losses, and every gradient, is divided by `divisor`. A kernel of losses of
    probabilities returns None where some are none.
    """

    kernel: LossKernel
    input: Array
    target: Array
    dtype: np.dtype[Any]
    weight: Array | None
    pos_weight: Array | None
    reduction: str
    divisor: int

    def run(
        self,
        *,
        want_sum: bool = False,
        loss: Array | None = None,
        grad: Array | None = None,
        grad_output: Array | None = None,
        grad_scale: float = 1.0,
    ) -> float:
        """Run the kernel; ValueError for probabilities that are none."""
        value = self.kernel(
            self.input,
            self.target,
            self.dtype,
            self.weight,
            self.pos_weight,
            self.divisor,
            want_sum,
            loss,
            grad,
            grad_output,
            grad_scale,
        )
        if value is None:
            raise self._no_probability()
        return value

    def check_probabilities(self) -> None:
        """Refuse values that the kernel would only find after it has written gradients."""
        if self.kernel is _core.binary_cross_entropy and self.input.size:
            self.run()

    def _no_probability(self) -> ValueError:
        position, value = _core.first_outside_unit_interval(self.input)
        if position >= 0:
            return _validate.not_a_probability("input", self.input.shape, position, value)
        position, value = _core.first_outside_unit_interval(self.target)
        return _validate.not_a_probability("target", self.target.shape, position, value)


def binary_call(
    kernel: LossKernel,
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    reduction: str,
    *,
    pos_weight: ArrayLike | None = None,
) -> ElementCall:
    """Check the arguments of the binary cross-entropies."""
    x = _validate.float_array("input", input)
    y = _validate.numbers("target", target)
    _validate.same_shape("target", y.shape, x.shape)
    _validate.check_reduction(reduction)
    return ElementCall(
        kernel,
        x,
        y,
        common_dtype(x, y) if _validate.is_float(y.dtype) else x.dtype,
        _validate.broadcast_weight("weight", weight, x.shape),
        _validate.broadcast_weight("pos_weight", pos_weight, x.shape),
        reduction,
        x.size if reduction == "mean" else 1,
    )


def kl_div_call(
    input: ArrayLike, target: ArrayLike, reduction: str, *, log_target: bool
) -> ElementCall:
    """Check the arguments of `kl_div`."""
    x = _validate.float_array("input", input)
    t = _validate.float_array("target", target)
    _validate.check_reduction(reduction, _validate.KL_REDUCTIONS)
    shape = _validate.broadcast_shape(x, t)
    dtype = common_dtype(x, t)
    if x.shape != shape and dtype.itemsize == 2:
        # The gradients of one element are added before they are rounded.
        dtype = np.dtype(np.float32)
    divisor = 1
    if reduction == "mean":
        divisor = math.prod(shape)
    elif reduction == "batchmean" and x.ndim:
        divisor = x.shape[0]
    return ElementCall(
        _core.kl_div_log_target if log_target else _core.kl_div,
        _validate.stretched(x, shape),
        _validate.stretched(t, shape),
        dtype,
        None,
        None,
        reduction,
        divisor,
    )


def loss(call: ElementCall, grad: Array | None = None) -> float | Array:
    """The loss; also writes its gradient (that of its sum for "none") where asked to."""
    per_element = call.reduction == "none"
    losses = _empty_losses(call) if per_element else None
    value = 0.0 if call.divisor else math.nan
    if call.input.size:
        value = call.run(want_sum=not per_element, loss=losses, grad=grad)
    return value if losses is None else losses


def loss_backward(
    call: ElementCall, grad_output: Any, input: ArrayLike, out: Array | None
) -> Array:
    """The gradient alone, times `grad_output`."""
    scale, each = _upstream(grad_output, call)
    gradient = _Gradient(call, input, out, each)
    if call.input.size:
        if out is not None:
            call.check_probabilities()
        call.run(grad=gradient.computed, grad_output=each, grad_scale=scale)
    return gradient.finish()


def loss_value_and_grad(
    call: ElementCall, input: ArrayLike, out: Array | None
) -> tuple[float | Array, Array]:
    """The loss and the gradient of it (of its sum for "none")."""
    gradient = _Gradient(call, input, out, None)
    if out is not None:
        call.check_probabilities()
    value = loss(call, gradient.computed)
    return value, gradient.finish()


def _empty_losses(call: ElementCall) -> Array:
    """Room for the losses, laid out as the input is."""
    dtype = FLOAT64 if call.dtype.itemsize == 8 else FLOAT32
    if 0 in call.input.strides:  # broadcast
        return _memory.empty(call.input.shape, dtype)
    return _memory.empty_like(call.input, dtype)


def _upstream(grad_output: Any, call: ElementCall) -> tuple[float, Array | None]:
    """Split `grad_output` into a factor for all elements and, for "none", one for each."""
    if call.reduction != "none" or isinstance(grad_output, (int, float)):
        return _validate.number("grad_output", grad_output), None
    grad = _validate.numbers("grad_output", grad_output)
    if grad.shape == ():
        return float(grad), None
    _validate.same_shape("grad_output", grad.shape, call.input.shape)
    return 1.0, grad


class _Gradient:
    """The array a gradient is written to, by way of a larger one where the input was broadcast."""

    def __init__(
        self, call: ElementCall, input: ArrayLike, out: Array | None, grad_output: Array | None
    ) -> None:
        original = np.asarray(input)
        given = (call.target, call.weight, call.pos_weight, grad_output)
        others = tuple(array for array in given if array is not None)
        self.result = _validate.output_array(out, original, others=others)
        self.computed = self.result
        if original.shape != call.input.shape:
            self.computed = _memory.empty(call.input.shape, FLOAT64)

    def finish(self) -> Array:
        """Return the gradient in the shape of the input: summed over the axes it was repeated."""
        if self.computed is not self.result:
            self.result[...] = _sum_to(self.computed, self.result.shape)
        return self.result


def _sum_to(array: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the axes along which an array of `shape` was repeated."""
    added = array.ndim - len(shape)
    stretched = [added + i for i, n in enumerate(shape) if n != array.shape[added + i]]
    repeated = (*range(added), *stretched)
    slices = np.moveaxis(array, repeated, range(len(repeated)))
    copies, kept = (
        math.prod(n) for n in (slices.shape[: len(repeated)], slices.shape[len(repeated) :])
    )
    total: Array = np.add.reduce(slices.reshape(copies, kept), axis=0)
    return total.reshape(shape)
