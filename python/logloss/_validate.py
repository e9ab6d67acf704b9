# SPDX-License-Identifier: BSD-3-Clause
"""Every check of an argument, and every message: what was wrong, what was got, what is expected."""

from __future__ import annotations

import operator
from typing import Any, Protocol

import numpy as np
from numpy import asarray, ndarray
from numpy.typing import ArrayLike, NDArray

from logloss import _memory
from logloss._memory import LARGE

Array = NDArray[Any]

FLOATS = "float16, bfloat16, float32 or float64"
REDUCTIONS = ("none", "mean", "sum")
KL_REDUCTIONS = (*REDUCTIONS, "batchmean")

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
# The dtypes of most arrays, in native byte order: the quick way through.
_COMMON_FLOATS = frozenset((np.dtype(np.float16), FLOAT32, FLOAT64))
# Device types of DLPack.
DLPACK_CUDA, DLPACK_CUDA_MANAGED = 2, 13
# Types of arguments that are in host memory, without a question asked.
HOST_TYPES = frozenset((ndarray, float, int, list, tuple, type(None)))
# bfloat16 values as two bytes, for arrays that come without ml_dtypes (see _calls.as_bfloat16).
RAW_BFLOAT16 = np.dtype([("bfloat16", np.uint16)])


class Described(Protocol):
    """What most checks look at, of arrays anywhere."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...


def is_device_array(value: Any) -> bool:
    """Tell whether `value` is an array in the memory of a CUDA device."""
    kind = type(value)
    if kind in HOST_TYPES:
        return False
    if not hasattr(kind, "__dlpack_device__"):
        return hasattr(value, "__cuda_array_interface__")
    try:
        device_type = int(value.__dlpack_device__()[0])
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError):
        return False  # not exportable: NumPy may know what to do with it
    return device_type in (DLPACK_CUDA, DLPACK_CUDA_MANAGED)


def host_array(name: str, value: Any) -> Array:
    """`value` as an array; TypeError for one on a device, which some libraries would copy."""
    if is_device_array(value):
        raise on_a_device(name, value, "an array in host memory as the others")
    return asarray(value)


def on_a_device(name: str, value: Any, expected: str) -> TypeError:
    """Refuse an array on a device where `expected` is."""
    return TypeError(f"{name}: got {type(value).__name__} on a CUDA device, expected {expected}")


def is_float(dtype: np.dtype[Any]) -> bool:
    """Tell whether kernels read `dtype`; bfloat16 is recognised without importing ml_dtypes."""
    return (
        dtype in _COMMON_FLOATS
        or (dtype.kind == "f" and dtype.itemsize in (2, 4, 8))
        or is_bfloat16(dtype)
    )


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Tell ml_dtypes' bfloat16 or its raw form from every other dtype."""
    return dtype.itemsize == 2 and (dtype.name == "bfloat16" or dtype.names == RAW_BFLOAT16.names)


def widened(array: Array) -> Array:
    """Raw bfloat16 as float32, which NumPy would convert as integers; any other array itself."""
    if array.dtype.names != RAW_BFLOAT16.names:
        return array
    bits = array.view(np.dtype(np.uint16).newbyteorder(array.dtype["bfloat16"].byteorder))
    return (bits.astype(np.uint32) << 16).view(np.float32)


def float_array(name: str, value: ArrayLike) -> Array:
    """`value` as an array of a floating-point dtype, without a copy; TypeError for others."""
    array = asarray(value)
    if array.dtype not in _COMMON_FLOATS and not is_float(array.dtype):
        raise TypeError(f"{name}: got dtype {array.dtype}, expected {FLOATS}")
    return array


def real_array(name: str, value: Any, dtype: np.dtype[Any]) -> Array:
    """`value` as a C-contiguous native array of `dtype`; TypeError unless real numbers."""
    array = value if type(value) is ndarray else host_array(name, value)
    if array.dtype == dtype and array.flags.c_contiguous:
        return array
    if array.dtype.kind not in "biuf" and not is_bfloat16(array.dtype):
        raise TypeError(f"{name}: got {_dtype_or_type(value, array)}, expected real numbers")
    return np.ascontiguousarray(widened(array), dtype=dtype).reshape(array.shape)


def numbers(name: str, value: Any) -> Array:
    """`value` as an array of real numbers, which kernels convert as they read."""
    array = value if type(value) is ndarray else host_array(name, value)
    if array.dtype.kind in "biu" or is_float(array.dtype):
        return array
    return real_array(name, array if array.dtype.kind != "O" else value, FLOAT64)


def _dtype_or_type(value: Any, array: Array) -> str:
    """What to call what is not numeric: the dtype of an array, else a value such as None."""
    whole = array.dtype.kind != "O" or isinstance(value, (ndarray, list, tuple))
    return f"dtype {array.dtype}" if whole else repr(value)


def axis_index(axis: Any, ndim: int) -> int:
    """`axis` as a number in [0, ndim); a 0-d array has axes 0 and -1."""
    try:
        index = operator.index(axis)
    except TypeError:
        raise TypeError(f"axis: got {type(axis).__name__}, expected an integer") from None
    axes = ndim or 1
    if not -axes <= index < axes:
        raise np.exceptions.AxisError(index, axes)
    return index if index >= 0 else index + axes


def no_class_axis() -> ValueError:
    """Refuse a number instead of logits."""
    return ValueError("input: got shape (), expected at least one axis, of the classes")


def class_axis(axis: Any, ndim: int) -> int:
    """Resolve the class axis of a loss: None is 0 for 1-D input, else 1."""
    if ndim == 0:
        raise no_class_axis()
    if axis is None:
        return 0 if ndim == 1 else 1
    return axis_index(axis, ndim)


def same_shape(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """ValueError unless `shape` is `expected`."""
    if shape != expected:
        raise ValueError(f"{name}: got shape {shape}, expected {expected}")


def check_reduction(reduction: Any, known: tuple[str, ...] = REDUCTIONS) -> None:
    """ValueError unless `reduction` is one of the `known` ones."""
    if reduction not in known:
        *others, last = map(repr, known)
        raise ValueError(f"reduction: got {reduction!r}, expected {', '.join(others)} or {last}")


def check_label_smoothing(label_smoothing: Any) -> float:
    """`label_smoothing` as a float in [0, 1]."""
    if type(label_smoothing) is float:
        smoothing = label_smoothing
    elif isinstance(label_smoothing, (str, bytes)) or not hasattr(label_smoothing, "__float__"):
        got = "None" if label_smoothing is None else type(label_smoothing).__name__
        raise TypeError(f"label_smoothing: got {got}, expected a number in [0, 1]")
    else:
        smoothing = float(label_smoothing)
    if not 0.0 <= smoothing <= 1.0:
        raise ValueError(f"label_smoothing: got {smoothing}, expected a number in [0, 1]")
    return smoothing


def check_ignore_index(ignore_index: Any) -> int:
    """`ignore_index` as an integer."""
    try:
        return operator.index(ignore_index)
    except TypeError:
        got = "None" if ignore_index is None else type(ignore_index).__name__
        raise TypeError(f"ignore_index: got {got}, expected an integer") from None


def no_ignored_probabilities(ignore_index: int) -> None:
    """ValueError for an `ignore_index` that could be a class."""
    if ignore_index >= 0:
        raise ValueError(
            f"ignore_index: got {ignore_index}, expected a negative one: class probabilities "
            "ignore none"
        )


def class_weight(weight: Any, classes: int, dtype: np.dtype[Any]) -> Array:
    """`weight` as one number for each class, of the dtype that the kernel computes in."""
    array = real_array("weight", weight, dtype)
    same_shape("weight", array.shape, (classes,))
    return array


def broadcast_weight(name: str, weight: Any, shape: tuple[int, ...]) -> Array | None:
    """`weight` stretched to `shape`, which it must not enlarge."""
    if weight is None:
        return None
    array = numbers(name, weight)
    try:
        return stretched(array, shape)
    except ValueError:
        raise ValueError(
            f"{name}: got shape {array.shape}, expected one that broadcasts to {shape}"
        ) from None


def stretched(array: Array, shape: tuple[int, ...]) -> Array:
    """`array` broadcast to `shape`: a view only where it must be, NumPy takes its time for one."""
    return array if array.shape == shape else np.broadcast_to(array, shape)


def broadcast_shape(input: Described, target: Described) -> tuple[int, ...]:
    """Return the shape to which input and target stretch each other."""
    if input.shape == target.shape:
        return input.shape
    try:
        return np.broadcast_shapes(input.shape, target.shape)
    except ValueError:
        raise ValueError(
            f"target: got shape {target.shape}, expected one that broadcasts with {input.shape}"
        ) from None


def embedding_rows(input1: Described, input2: Described, target: Described) -> tuple[int, ...]:
    """Return (N,) for inputs (N, D) and target (N,), where 1 stretches; () for (D,) and ()."""
    if input1.ndim not in (1, 2):
        raise ValueError(f"input1: got shape {input1.shape}, expected (N, D) or (D,)")
    if input2.ndim != input1.ndim or input2.shape[-1] != input1.shape[-1]:
        expected = "(N, D) with the D" if input1.ndim == 2 else "the shape"
        raise ValueError(
            f"input2: got shape {input2.shape}, expected {expected} of input1, {input1.shape}"
        )
    rows = input1.shape[:-1]
    try:
        if input2.shape != input1.shape:
            rows = np.broadcast_shapes(rows, input2.shape[:-1])
    except ValueError:
        raise ValueError(
            f"input2: got shape {input2.shape}, expected as many rows as input1, {input1.shape}"
        ) from None
    stretched = target.shape == (1,) or rows == (1,)
    if target.ndim != len(rows) or (target.shape != rows and not stretched):
        raise ValueError(f"target: got shape {target.shape}, expected {rows}")
    return rows if target.shape == (1,) else target.shape


def check_pair(name: str, value: Any) -> tuple[Any, Any]:
    """`value` as a pair; None stands for two of them."""
    if value is None:
        return None, None
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name}: got {type(value).__name__}, expected a pair of arrays")
    return value[0], value[1]


def not_a_probability(name: str, shape: tuple[int, ...], position: int, value: float) -> ValueError:
    """Name the first value outside [0, 1]."""
    where = _where(np.unravel_index(position, shape))
    return ValueError(f"{name}: got {value}{where}, expected probabilities in [0, 1]")


def _where(position: tuple[Any, ...]) -> str:
    """Say at which position, if there is more than one."""
    index = tuple(map(int, position))
    return f" at position {index[0] if len(index) == 1 else index}" if index else ""


def check_indices(
    target: Described, input: Described, shape: tuple[int, ...], *, probabilities: bool
) -> None:
    """Check that an integer `target` has `shape`, which is that of `input` without its classes."""
    # One sample without a batch axis may come as an array of one index.
    if target.shape == shape or (input.ndim == 1 and target.shape == (1,)):
        return
    if probabilities and target.shape == input.shape:
        raise TypeError(
            f"target: got dtype {target.dtype} with the shape of input, {target.shape}: expected "
            f"floats (class probabilities), or integers of shape {shape} (class indices)"
        )
    raise ValueError(f"target: got shape {target.shape}, expected {shape}")


def check_probabilities(
    target: Described,
    input: Described,
    shape: tuple[int, ...],
    *,
    probabilities: bool,
    missing: bool = False,
) -> None:
    """Check that `target` is floats of the shape of `input`, of a loss that takes them."""
    if probabilities and target.shape == input.shape and is_float(target.dtype):
        return
    got = "None" if missing else f"dtype {target.dtype} and shape {target.shape}"
    expected = f"integers of shape {shape}"
    if probabilities:
        expected += f" (class indices) or floats of shape {input.shape} (class probabilities)"
    raise TypeError(f"target: got {got}, expected {expected}")


def no_class(shape: tuple[int, ...], first_bad: int, value: int, classes: int) -> IndexError:
    """Name the first target that is out of range; `.position` and `.value` hold it."""
    position = tuple(int(i) for i in np.unravel_index(first_bad, shape))
    error = IndexError(f"target: got {value}{_where(position)}, expected a class in [0, {classes})")
    error.position = position  # type: ignore[attr-defined]
    error.value = value  # type: ignore[attr-defined]
    return error


def output_array(
    out: Any, input: Array, *, may_alias: tuple[Array, ...] = (), others: tuple[Any, ...] = ()
) -> Array:
    """
    `out`, or a new array like `input`.

    `out` may be one of `may_alias` itself; a part of one, or any array of `others`, it must not
    touch.
    """
    if out is None:  # laid out as `input`, of native byte order
        if input.nbytes < LARGE and input.dtype in _COMMON_FLOATS:
            return np.empty_like(input)
        return _memory.empty_like(input, native(input.dtype))
    if not isinstance(out, ndarray):
        host_array("out", out)
        raise TypeError(f"out: got {type(out).__name__}, expected a NumPy array")
    if out.dtype != input.dtype or (not out.dtype.isnative and out is not input):
        expected = native(input.dtype)
        if out.dtype != expected:
            raise TypeError(f"out: got dtype {out.dtype}, expected {expected}")
    same_shape("out", out.shape, input.shape)
    if not out.flags.writeable:
        raise ValueError("out: got a read-only array, expected a writable one")
    if 0 in out.strides and _repeats(out):
        raise ValueError("out: got an array whose elements overlap, expected separate ones")
    for other in (input, *may_alias):
        if other is not out and _overlap(out, other) and not _same_elements(out, other):
            raise ValueError("out: got an array that overlaps an argument in part")
    for other in others:
        if other is None or (type(other) is not ndarray and is_device_array(other)):
            continue  # an array on a device is refused by its name
        if _overlap(out, asarray(other)):
            raise ValueError("out: got an array that overlaps another argument")
    return out


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """`dtype` in the byte order of this machine."""
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def _repeats(array: Array) -> bool:
    """Tell whether an element stands at several positions, as in a broadcast array."""
    repeated = (s == 0 and n > 1 for s, n in zip(array.strides, array.shape, strict=True))
    return bool(array.size) and any(repeated)


def _same_elements(a: Array, b: Array) -> bool:
    return (
        a.shape == b.shape
        and a.strides == b.strides
        and a.dtype == b.dtype
        and a.__array_interface__["data"] == b.__array_interface__["data"]
    )


def _overlap(a: Array, b: Array) -> bool:
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=100_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def number(name: str, value: Any) -> float:
    """`value` as a float: a real number, or an array of shape ()."""
    if isinstance(value, (int, float)):
        return float(value)
    array = real_array(name, value, FLOAT64)
    same_shape(name, array.shape, ())
    return float(array)
