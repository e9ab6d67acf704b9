# SPDX-License-Identifier: BSD-3-Clause
"""The libraries logloss is compared with: loading them, and passing arrays to and fro."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bench import machine

Array = np.ndarray[Any, Any]

INSTALL = 'pip install "logloss[peers]"'


class Unavailable(Exception):
    """A peer that is missing or cannot do what is asked; the message says why."""


@functools.cache
def load(name: str) -> Any:
    """Import a library and set it up for `machine.threads()` threads."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise Unavailable(f"not installed: {INSTALL}") from error
    if name == "torch":
        module.set_num_threads(machine.threads())
    elif name == "jax":
        module.config.update("jax_platforms", "cpu")
        module.config.update("jax_enable_x64", True)
    return module


def torch_tensor(array: Array) -> Any:
    """Return a tensor on the memory of `array`; torch does not know the bfloat16 of ml_dtypes."""
    torch = load("torch")
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def torch_compile(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` anew, for exactly the shape it is called with first."""
    torch = load("torch")
    torch.compiler.reset()
    compiled: Callable[..., Any] = torch.compile(function, dynamic=False)
    return compiled


def widened(array: Array) -> Array:
    """Return a half-precision array in float32, which NumPy and SciPy need; others as they are."""
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array


def to_numpy(value: Any) -> Array:
    """Return the result of any library as an array."""
    if hasattr(value, "detach"):
        tensor = value.detach()
        value = tensor.float() if tensor.dtype == load("torch").bfloat16 else tensor
    elif hasattr(value, "numpy"):
        value = value.numpy()
    return np.asarray(value)


def onnx_call(
    operator: str,
    output_shape: tuple[int, ...],
    inputs: Mapping[str, Array],
    **attributes: int | str,
) -> Callable[[], Any]:
    """Return a call that runs one ONNX operator on `inputs`, in memory bound beforehand."""
    ort = load("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = machine.threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.force_spinning_stop", "1")
    dtype = next(iter(inputs.values())).dtype
    model = _onnx_model(operator, inputs, output_shape, dtype, attributes)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    output = ort.OrtValue.ortvalue_from_numpy(np.zeros(output_shape, dtype))
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    binding.bind_ortvalue_output("output", output)

    def call() -> Any:
        session.run_with_iobinding(binding)
        return output

    return call


# A model of one node is little more than its operator's name, so it is written here in the wire
# format of protocol buffers and needs no onnx package. Field numbers: onnx.proto, IR version 8.
_ONNX_TYPES = {"float32": 1, "int64": 7, "float16": 10, "float64": 11}
_OPSET = 13


def _onnx_model(
    operator: str,
    inputs: Mapping[str, Array],
    output_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    attributes: Mapping[str, int | str],
) -> bytes:
    node = b"".join(_field(1, name) for name in inputs) + _field(2, "output") + _field(4, operator)
    for name, value in attributes.items():
        number, kind = (3, 2) if isinstance(value, int) else (4, 3)
        node += _field(5, _field(1, name) + _field(number, value) + _field(20, kind))
    graph = _field(1, node) + _field(2, operator)
    for name, array in inputs.items():
        graph += _field(11, _onnx_value(name, array.dtype, array.shape))
    graph += _field(12, _onnx_value("output", dtype, output_shape))
    return _field(1, 8) + _field(8, _field(1, "") + _field(2, _OPSET)) + _field(7, graph)


def _onnx_value(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    if dtype.name not in _ONNX_TYPES:
        raise Unavailable(f"no {dtype.name} input from NumPy")
    dimensions = b"".join(_field(1, _field(1, size)) for size in shape)
    tensor = _field(1, _ONNX_TYPES[dtype.name]) + _field(2, dimensions)
    return _field(1, name) + _field(2, _field(1, tensor))


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
