# SPDX-License-Identifier: BSD-3-Clause
"""softmax, log_softmax, logsumexp and the entropies on a device, and their gradients."""

from __future__ import annotations

from typing import Any

from logloss import _validate
from logloss._calls import summed_shape
from logloss._device.arrays import type_number
from logloss._device.call import Call, rows_along
from logloss._validate import FLOAT64, is_device_array


def softmax_like(name: str, input: Any, axis: Any, out: Any, stream: Any) -> Any:
    """Run log_softmax or softmax."""
    with Call(stream, input) as call:
        x = call.floats("input", input)
        position = _validate.axis_index(axis, x.ndim)
        result = call.output(out, x)
        if x.size:
            shape = rows_along(x.shape, position)
            call.run(name, type_number(x.dtype), shape, x.address, result.operand.address)
        return result.returned


def softmax_like_backward(
    name: str, grad_output: Any, input: Any, axis: Any, out: Any, stream: Any
) -> Any:
    """Run the gradient of log_softmax or softmax."""
    with Call(stream, input, grad_output) as call:
        x = call.floats("input", input)
        position = _validate.axis_index(axis, x.ndim)
        given = call.numbers("grad_output", grad_output)
        _validate.same_shape("grad_output", given.shape, x.shape)
        result = call.output(out, x, may_alias=(given,))
        if x.size:
            grad = call.converted(given, x.dtype)
            arrays = (grad.address, x.address, result.operand.address)
            call.run(name, type_number(x.dtype), rows_along(x.shape, position), *arrays)
        return result.returned


def row_values(
    name: str,
    input: Any,
    axis: Any,
    stream: Any,
    *,
    keepdims: bool = False,
    of_nothing: float,
    argument: str = "input",
) -> Any:
    """Run logsumexp or an entropy; the value of rows without classes is `of_nothing`."""
    with Call(stream, input) as call:
        x = call.floats(argument, input)
        position = _validate.axis_index(axis, x.ndim)
        result = call.result(summed_shape(x.shape, position, keepdims=keepdims), x.dtype)
        if x.size:
            shape = rows_along(x.shape, position)
            call.run(name, type_number(x.dtype), shape, x.address, result.operand.address)
        else:
            call.fill(result.operand, of_nothing)
        return result.returned


def row_values_backward(
    name: str,
    grad_output: Any,
    input: Any,
    axis: Any,
    stream: Any,
    *,
    keepdims: bool = False,
    out: Any,
    argument: str = "input",
) -> Any:
    """Run the gradient of logsumexp or of an entropy."""
    with Call(stream, input, grad_output) as call:
        x = call.floats(argument, input)
        position = _validate.axis_index(axis, x.ndim)
        shape = summed_shape(x.shape, position, keepdims=keepdims)
        grad = None
        if is_device_array(grad_output):
            grad = call.numbers("grad_output", grad_output)
            if grad.shape != ():
                _validate.same_shape("grad_output", grad.shape, shape)
        number = 0.0 if grad is not None else call.number("grad_output", grad_output)
        result = call.output(out, x, others=(grad,))
        if x.size:
            if grad is None:
                rows = call.room(shape, FLOAT64)
                call.fill(rows, number)
            else:
                rows = call.converted(grad, FLOAT64, shape)
            arrays = (rows.address, x.address, result.operand.address)
            call.run(name, type_number(x.dtype), rows_along(x.shape, position), *arrays)
        return result.returned
