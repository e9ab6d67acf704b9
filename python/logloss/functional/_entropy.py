# SPDX-License-Identifier: BSD-3-Clause
"""Entropy of probabilities and of logits along one axis, and its gradients."""

from __future__ import annotations

from typing import Any

from numpy import ndarray
from numpy.typing import ArrayLike

from logloss import _calls, _core, _device
from logloss._device import on_device
from logloss._validate import Array


def entropy(probs: ArrayLike, axis: int = -1, *, stream: Any = None) -> Array:
    """
    Entropy of probabilities along one axis, in nats: ``-sum(p * log(p))``.

    Within 2 ulp of the exact value for probabilities up to 1 (4 for float64).

    Parameters
    ----------
    probs : array_like
        Probabilities, of a floating-point dtype and any shape; taken as they are, not normalised.
    axis : int, default -1
        The class axis.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the dtype of `probs`, without the class axis. A probability of 0 adds nothing, a
        negative one makes its row NaN.

    Raises
    ------
    TypeError
        For a dtype that is not floating-point.
    numpy.exceptions.AxisError
        For an axis out of range.

    See Also
    --------
    torch.distributions.Categorical.entropy : the same for normalised probabilities.
    scipy.stats.entropy : normalises its argument first.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> float(logloss.entropy(np.array([0.5, 0.5, 0.0])))
    0.6931471805599453
    """
    if (type(probs) is not ndarray or stream is not None) and on_device(stream, probs):
        return _device.row_values("entropy", probs, axis, stream, of_nothing=0.0, argument="probs")
    return _calls.row_values(_core.entropy, probs, axis, of_nothing=0.0, name="probs")


def entropy_backward(
    grad_output: ArrayLike,
    probs: ArrayLike,
    axis: int = -1,
    *,
    out: Array | None = None,
    stream: Any = None,
) -> Array:
    """
    Gradient of `entropy` with respect to the probabilities: ``-g * (log(p) + 1)``.

    Parameters
    ----------
    grad_output : array_like
        Upstream gradient g, of the shape of the result of `entropy`, or one number for all.
    probs : array_like
        The probabilities that `entropy` was given.
    axis : int, default -1
        The class axis.
    out : ndarray, optional
        Where to write the result; may be `probs` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `probs`; infinite at a probability of 0.

    Raises
    ------
    TypeError, numpy.exceptions.AxisError
        As `entropy`.
    ValueError
        For a `grad_output` or `out` of another shape, or an `out` that cannot be written.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.entropy_backward(1.0, np.array([1.0, 0.5]))
    array([-1.        , -0.30685282])
    """
    if (type(probs) is not ndarray or stream is not None) and on_device(stream, probs):
        return _device.row_values_backward(
            "entropy_backward", grad_output, probs, axis, stream, out=out, argument="probs"
        )
    return _calls.row_values_backward(
        _core.entropy_backward, grad_output, probs, axis, out=out, name="probs"
    )


def entropy_with_logits(input: ArrayLike, axis: int = -1, *, stream: Any = None) -> Array:
    """
    Entropy of the softmax of logits along one axis, in nats.

    Within 2 ulp of the exact value (4 for float64), for confident rows too: every term of
    ``sum(p * -log(p))`` is formed without cancellation and none is negative.

    Parameters
    ----------
    input : array_like
        Logits, of a floating-point dtype and any shape.
    axis : int, default -1
        The class axis.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the dtype of `input`, without the class axis. A row that is all -inf, or holds NaN or
        +inf, gives NaN.

    Raises
    ------
    TypeError
        For a dtype that is not floating-point.
    numpy.exceptions.AxisError
        For an axis out of range.

    See Also
    --------
    torch.distributions.Categorical.entropy : the same meaning.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.entropy_with_logits(np.array([[0.0, 0.0], [0.0, 40.0]]))
    array([6.93147181e-01, 1.74182524e-16])
    """
    if (type(input) is not ndarray or stream is not None) and on_device(stream, input):
        return _device.row_values("entropy_with_logits", input, axis, stream, of_nothing=0.0)
    return _calls.row_values(_core.entropy_with_logits, input, axis, of_nothing=0.0)


def entropy_with_logits_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    axis: int = -1,
    *,
    out: Array | None = None,
    stream: Any = None,
) -> Array:
    """
    Gradient of `entropy_with_logits` with respect to the logits: ``-g * p * (log(p) + H)``.

    Parameters
    ----------
    grad_output : array_like
        Upstream gradient g, of the shape of the result of `entropy_with_logits`, or one number.
    input : array_like
        The logits that `entropy_with_logits` was given.
    axis : int, default -1
        The class axis.
    out : ndarray, optional
        Where to write the result; may be `input` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `input`.

    Raises
    ------
    TypeError, numpy.exceptions.AxisError
        As `entropy_with_logits`.
    ValueError
        For a `grad_output` or `out` of another shape, or an `out` that cannot be written.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.entropy_with_logits_backward(1.0, np.array([0.0, np.log(3.0)]))
    array([ 0.2059898, -0.2059898])
    """
    if (type(input) is not ndarray or stream is not None) and on_device(stream, input):
        return _device.row_values_backward(
            "entropy_with_logits_backward", grad_output, input, axis, stream, out=out
        )
    return _calls.row_values_backward(
        _core.entropy_with_logits_backward, grad_output, input, axis, out=out
    )
