# SPDX-License-Identifier: BSD-3-Clause
"""softmax, log_softmax and logsumexp along one axis, and their gradients."""

from __future__ import annotations

import math
from typing import Any

from numpy import ndarray
from numpy.typing import ArrayLike

from logloss import _calls, _core, _device
from logloss._device import on_device
from logloss._validate import Array


def log_softmax(
    input: ArrayLike, axis: int = -1, *, out: Array | None = None, stream: Any = None
) -> Array:
    """
    Logarithm of the softmax along one axis: ``x - log(sum(exp(x)))``.

    Within 2 ulp of the exact value (4 for float64), near 0 too, where the usual form loses it.

    Parameters
    ----------
    input : array_like
        Logits, of a floating-point dtype and any shape.
    axis : int, default -1
        The class axis.
    out : ndarray, optional
        Where to write the result; of the shape and dtype of `input`, may be `input` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `input`. A row that is all -inf, or holds NaN or +inf, is NaN.

    Raises
    ------
    TypeError
        For a dtype that is not floating-point.
    ValueError
        For an `out` of another shape, read-only or overlapping `input` in part.
    numpy.exceptions.AxisError
        For an axis out of range.

    See Also
    --------
    torch.nn.functional.log_softmax : the same meaning.

    Notes
    -----
    With m the maximum, ``log_softmax(x) = (x - m) - log1p(sum of the other exp(x - m))``: see
    Blanchard, Higham, Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J.
    Numer. Anal. 41 (2021).

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.log_softmax(np.array([0.0, 40.0]))
    array([-4.00000000e+01, -4.24835426e-18])
    """
    if (type(input) is not ndarray or stream is not None) and on_device(stream, input):
        return _device.softmax_like("log_softmax", input, axis, out, stream)
    return _calls.softmax_like(_core.log_softmax, input, axis, out)


def softmax(
    input: ArrayLike, axis: int = -1, *, out: Array | None = None, stream: Any = None
) -> Array:
    """
    Softmax along one axis: ``exp(x) / sum(exp(x))``.

    Within 3 ulp of the exact value (4 for float64), subnormal results included.

    Parameters
    ----------
    input : array_like
        Logits, of a floating-point dtype and any shape.
    axis : int, default -1
        The class axis.
    out : ndarray, optional
        Where to write the result; of the shape and dtype of `input`, may be `input` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `input`. A row that is all -inf, or holds NaN or +inf, is NaN.

    Raises
    ------
    TypeError
        For a dtype that is not floating-point.
    ValueError
        For an `out` of another shape, read-only or overlapping `input` in part.
    numpy.exceptions.AxisError
        For an axis out of range.

    See Also
    --------
    torch.nn.functional.softmax : the same meaning.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.softmax(np.array([0.0, 0.0, -np.inf]))
    array([0.5, 0.5, 0. ])
    """
    if (type(input) is not ndarray or stream is not None) and on_device(stream, input):
        return _device.softmax_like("softmax", input, axis, out, stream)
    return _calls.softmax_like(_core.softmax, input, axis, out)


def logsumexp(
    input: ArrayLike, axis: int = -1, *, keepdims: bool = False, stream: Any = None
) -> Array:
    """
    ``log(sum(exp(x)))`` along one axis, without overflow.

    Within 2 ulp of the exact value for float32 (4 for float64).

    Parameters
    ----------
    input : array_like
        Logits, of a floating-point dtype and any shape.
    axis : int, default -1
        The axis that is summed.
    keepdims : bool, default False
        Whether that axis stays, with length 1.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the dtype of `input`. An empty or all -inf row gives -inf, one with +inf gives +inf, one
        with NaN gives NaN.

    Raises
    ------
    TypeError
        For a dtype that is not floating-point.
    numpy.exceptions.AxisError
        For an axis out of range.

    See Also
    --------
    scipy.special.logsumexp, torch.logsumexp : the same meaning.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> float(logloss.logsumexp(np.array([1000.0, 1000.0])))
    1000.6931471805599
    """
    if (type(input) is not ndarray or stream is not None) and on_device(stream, input):
        return _device.row_values(
            "logsumexp", input, axis, stream, keepdims=keepdims, of_nothing=-math.inf
        )
    return _calls.row_values(_core.logsumexp, input, axis, keepdims=keepdims, of_nothing=-math.inf)


def log_softmax_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    axis: int = -1,
    *,
    out: Array | None = None,
    stream: Any = None,
) -> Array:
    """
    Gradient of `log_softmax` with respect to its input: ``g - softmax(x) * sum(g)``.

    Parameters
    ----------
    grad_output : array_like
        Upstream gradient g, of the shape of `input`.
    input : array_like
        The logits that `log_softmax` was given.
    axis : int, default -1
        The class axis.
    out : ndarray, optional
        Where to write the result; may be `input` or `grad_output` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `input`.

    Raises
    ------
    TypeError
        For a dtype that is not floating-point.
    ValueError
        For a `grad_output` or `out` of another shape, or an `out` that cannot be written.
    numpy.exceptions.AxisError
        For an axis out of range.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.log_softmax_backward(np.array([1.0, 0.0]), np.array([0.0, 0.0]))
    array([ 0.5, -0.5])
    """
    if (type(input) is not ndarray or stream is not None) and on_device(stream, input):
        return _device.softmax_like_backward(
            "log_softmax_backward", grad_output, input, axis, out, stream
        )
    return _calls.softmax_like_backward(_core.log_softmax_backward, grad_output, input, axis, out)


def softmax_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    axis: int = -1,
    *,
    out: Array | None = None,
    stream: Any = None,
) -> Array:
    """
    Gradient of `softmax` with respect to its input: ``s * (g - sum(g * s))`` with s the softmax.

    Parameters
    ----------
    grad_output : array_like
        Upstream gradient g, of the shape of `input`.
    input : array_like
        The logits that `softmax` was given.
    axis : int, default -1
        The class axis.
    out : ndarray, optional
        Where to write the result; may be `input` or `grad_output` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `input`.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `log_softmax_backward`.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.softmax_backward(np.array([1.0, 0.0]), np.array([0.0, 0.0]))
    array([ 0.25, -0.25])
    """
    if (type(input) is not ndarray or stream is not None) and on_device(stream, input):
        return _device.softmax_like_backward(
            "softmax_backward", grad_output, input, axis, out, stream
        )
    return _calls.softmax_like_backward(_core.softmax_backward, grad_output, input, axis, out)


def logsumexp_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    axis: int = -1,
    *,
    keepdims: bool = False,
    out: Array | None = None,
    stream: Any = None,
) -> Array:
    """
    Gradient of `logsumexp` with respect to its input: ``g * softmax(x)``.

    Parameters
    ----------
    grad_output : array_like
        Upstream gradient g, of the shape of the result of `logsumexp`, or one number for all.
    input : array_like
        The logits that `logsumexp` was given.
    axis : int, default -1
        The axis that was summed.
    keepdims : bool, default False
        As it was given to `logsumexp`.
    out : ndarray, optional
        Where to write the result; may be `input` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `input`. Where torch gives NaN although the limit exists, that
        limit: 0 for a row that is all -inf, g / k at each of k entries +inf and 0 beside them.

    Raises
    ------
    TypeError
        For a dtype that is not floating-point.
    ValueError
        For a `grad_output` or `out` of another shape, or an `out` that cannot be written.
    numpy.exceptions.AxisError
        For an axis out of range.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.logsumexp_backward(1.0, np.array([0.0, 0.0]))
    array([0.5, 0.5])
    """
    if (type(input) is not ndarray or stream is not None) and on_device(stream, input):
        return _device.row_values_backward(
            "logsumexp_backward", grad_output, input, axis, stream, keepdims=keepdims, out=out
        )
    return _calls.row_values_backward(
        _core.logsumexp_backward, grad_output, input, axis, keepdims=keepdims, out=out
    )
