# SPDX-License-Identifier: BSD-3-Clause
"""sigmoid and log_sigmoid on a device, and their gradients."""

from __future__ import annotations

from typing import Any

from logloss import _validate
from logloss._device.arrays import type_number
from logloss._device.call import Call, compute_dtype
from logloss._validate import is_device_array


def function(name: str, input: Any, out: Any, stream: Any) -> Any:
    """Run sigmoid or log_sigmoid."""
    with Call(stream, input) as call:
        x = call.floats("input", input)
        result = call.output(out, x)
        if x.size:
            call.run(name, type_number(x.dtype), x.size, x.address, result.operand.address)
        return result.returned


def function_backward(name: str, grad_output: Any, input: Any, out: Any, stream: Any) -> Any:
    """Run the gradient of sigmoid or log_sigmoid."""
    with Call(stream, input, grad_output) as call:
        x = call.floats("input", input)
        given = None
        if is_device_array(grad_output):
            given = call.numbers("grad_output", grad_output)
            if given.shape != ():
                _validate.same_shape("grad_output", given.shape, x.shape)
        number = 0.0 if given is not None else call.number("grad_output", grad_output)
        result = call.output(out, x, may_alias=() if given is None else (given,))
        if x.size == 0:
            return result.returned
        # The kernel takes both arrays in one dtype: one that holds what the CPU's computes with.
        alike = given is not None and given.dtype == x.dtype
        dtype = x.dtype if alike else compute_dtype(x.dtype)
        if given is None:
            grad = call.room(x.shape, dtype)
            call.fill(grad, number)
        else:
            grad = call.converted(given, dtype, x.shape)
        wide = call.converted(x, dtype)
        computed = result.operand if dtype == x.dtype else call.room(x.shape, dtype)
        arrays = (grad.address, wide.address, computed.address)
        call.run(name, type_number(dtype), x.size, *arrays)
        if computed is not result.operand:
            call.convert(computed, result.operand)
        return result.returned
