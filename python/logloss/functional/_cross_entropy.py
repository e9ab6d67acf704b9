# SPDX-License-Identifier: BSD-3-Clause
"""Losses of classes, cross_entropy and nll_loss, and their gradients."""

from __future__ import annotations

from typing import Any

from numpy import ndarray
from numpy.typing import ArrayLike

from logloss import _calls, _core, _device
from logloss._device import on_device
from logloss._reduction import Reduction, loss_call
from logloss._validate import Array


def cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
    stream: Any = None,
) -> float | Array:
    """
    Cross-entropy between logits and class indices or class probabilities, in nats.

    For class indices y the loss of a sample is ``-log_softmax(x)[y]``, times ``weight[y]``. It is
    within 2 ulp of the exact value (4 for float64), for confident predictions too: a margin of 25
    gives 1.4e-11 and not 0.

    Parameters
    ----------
    input : array_like
        Logits of shape (C,), (N, C) or (N, C, d1, ...), of a floating-point dtype.
    target : array_like
        Class indices in [0, C) of any integer dtype, of the shape of `input` without the class
        axis; or class probabilities of a floating-point dtype, of the shape of `input`.
        Probabilities need not sum to 1. If they have another dtype than the logits, the wider one
        holds for both.
    weight : array_like, optional
        A weight for each class, shape (C,).
    ignore_index : int, default -100
        A target that does not count: loss and gradient are 0, and its logits are not read.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the summed weight of the targets, for probabilities by their number.
    label_smoothing : float, default 0.0
        In [0, 1]: the share of the target that is spread evenly over all classes.
    axis : int, optional
        The class axis; by default 0 for 1-D input, else 1.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    float or ndarray
        "mean" and "sum": a float, the correctly rounded mean or sum of the per-sample losses.
        "none": those losses, float32 (float64 for float64 input). The mean over nothing is NaN.

    Raises
    ------
    TypeError
        For logits that are not floating-point, or a target that is neither indices nor
        probabilities.
    ValueError
        For a shape that does not fit or an option out of range.
    IndexError
        For a target outside [0, C) that is not `ignore_index`; it names the first one.

    See Also
    --------
    torch.nn.functional.cross_entropy : the same meaning; ours also takes `axis` and any integers.
    cross_entropy_value_and_grad : the loss and its gradient in one go.

    Notes
    -----
    Differences from torch, all on purpose: a probability or class weight of 0 contributes 0 even
    where the logit is -inf; an ignored sample that holds NaN has gradient 0; "mean" and "sum" are
    float64.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logits = np.array([[0.0, 25.0], [1.0, 1.0]], dtype=np.float32)
    >>> logloss.cross_entropy(logits, [1, 0], reduction="none")
    array([1.3887944e-11, 6.9314718e-01], dtype=float32)
    >>> logloss.cross_entropy(logits, [1, 0])
    0.34657359123924375
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.class_losses(
            "cross_entropy",
            input,
            target,
            weight,
            ignore_index,
            reduction,
            axis,
            stream,
            label_smoothing=label_smoothing,
        )
    call = loss_call(
        input, target, weight, ignore_index, reduction, axis, label_smoothing=label_smoothing
    )
    return _calls.loss(_core.cross_entropy, call)


def cross_entropy_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
    out: Array | None = None,
    stream: Any = None,
) -> Array:
    """
    Gradient of `cross_entropy` with respect to the logits.

    For class indices, without smoothing: ``g * weight[y] * (softmax(x) - onehot(y))`` over the
    divisor of the mean; within 3 ulp, at the target within 2, where torch rounds to 0.

    Parameters
    ----------
    grad_output : array_like
        Upstream gradient g: a number, or for "none" also an array of the loss's shape.
    input, target, weight, ignore_index, reduction, label_smoothing, axis
        As for `cross_entropy`.
    out : ndarray, optional
        Where to write the gradient; of the shape and dtype of `input`, and may be `input` itself,
        whose logits the gradient then replaces.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `input`. Exactly 0 for ignored samples.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `cross_entropy`; `out` is untouched then.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.cross_entropy_backward(1.0, np.array([[0.0, 0.0]]), [1])
    array([[ 0.5, -0.5]])
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.class_losses(
            "cross_entropy",
            input,
            target,
            weight,
            ignore_index,
            reduction,
            axis,
            stream,
            label_smoothing=label_smoothing,
            want="gradient",
            grad_output=grad_output,
            out=out,
        )
    call = loss_call(
        input, target, weight, ignore_index, reduction, axis, label_smoothing=label_smoothing
    )
    gradient = _calls.Gradient(call, out, input, (target, weight, grad_output))
    return _calls.loss_backward(_core.cross_entropy, call, grad_output, gradient)


def cross_entropy_value_and_grad(
    input: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
    out: Array | None = None,
    stream: Any = None,
) -> tuple[float | Array, Array]:
    """
    `cross_entropy` and its gradient, with the logits read from memory once.

    Parameters
    ----------
    input, target, weight, ignore_index, reduction, label_smoothing, axis
        As for `cross_entropy`.
    out : ndarray, optional
        Where to write the gradient; of the shape and dtype of `input`, and may be `input` itself,
        whose logits the gradient then replaces.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    loss : float or ndarray
        As `cross_entropy` returns it.
    grad : ndarray
        As `cross_entropy_backward` returns it for 1.0; for "none", the gradient of the sum.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `cross_entropy`; `out` is untouched then.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> loss, grad = logloss.cross_entropy_value_and_grad(np.array([[0.0, 0.0]]), [1])
    >>> loss
    0.6931471805599453
    >>> grad
    array([[ 0.5, -0.5]])
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.class_losses(
            "cross_entropy",
            input,
            target,
            weight,
            ignore_index,
            reduction,
            axis,
            stream,
            label_smoothing=label_smoothing,
            want="both",
            out=out,
        )
    call = loss_call(
        input, target, weight, ignore_index, reduction, axis, label_smoothing=label_smoothing
    )
    gradient = _calls.Gradient(call, out, input, (target, weight))
    return _calls.loss_value_and_grad(_core.cross_entropy, call, gradient)


def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    axis: int | None = None,
    stream: Any = None,
) -> float | Array:
    """
    Negative log-likelihood of class indices under log-probabilities: ``-weight[y] * input[y]``.

    Parameters
    ----------
    input : array_like
        Log-probabilities of shape (C,), (N, C) or (N, C, d1, ...), taken as they are.
    target : array_like
        Class indices in [0, C) of any integer dtype, of the shape of `input` without the class
        axis.
    weight, ignore_index, reduction, axis
        As for `cross_entropy`.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    float or ndarray
        As `cross_entropy` returns it.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `cross_entropy`.

    See Also
    --------
    torch.nn.functional.nll_loss : the same meaning.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.nll_loss(np.log([[0.25, 0.75]]), [0])
    1.3862943611198906
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.class_losses(
            "nll_loss", input, target, weight, ignore_index, reduction, axis, stream
        )
    call = loss_call(input, target, weight, ignore_index, reduction, axis, probabilities=False)
    return _calls.loss(_core.nll_loss, call)


def nll_loss_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    axis: int | None = None,
    out: Array | None = None,
    stream: Any = None,
) -> Array:
    """
    Gradient of `nll_loss` with respect to its input: ``-g * weight[y]`` at the target, else 0.

    Parameters
    ----------
    grad_output : array_like
        Upstream gradient g: a number, or for "none" also an array of the loss's shape.
    input, target, weight, ignore_index, reduction, axis
        As for `nll_loss`.
    out : ndarray, optional
        Where to write the gradient; of the shape and dtype of `input`, and may be `input` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `input`.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `nll_loss`; `out` is untouched then.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.nll_loss_backward(1.0, np.log([[0.25, 0.75]]), [0])
    array([[-1.,  0.]])
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.class_losses(
            "nll_loss",
            input,
            target,
            weight,
            ignore_index,
            reduction,
            axis,
            stream,
            want="gradient",
            grad_output=grad_output,
            out=out,
        )
    call = loss_call(input, target, weight, ignore_index, reduction, axis, probabilities=False)
    gradient = _calls.Gradient(call, out, input, (target, weight, grad_output))
    return _calls.loss_backward(_core.nll_loss, call, grad_output, gradient)


def nll_loss_value_and_grad(
    input: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    axis: int | None = None,
    out: Array | None = None,
    stream: Any = None,
) -> tuple[float | Array, Array]:
    """
    `nll_loss` and its gradient.

    Parameters
    ----------
    input, target, weight, ignore_index, reduction, axis
        As for `nll_loss`.
    out : ndarray, optional
        Where to write the gradient; of the shape and dtype of `input`, and may be `input` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    loss : float or ndarray
        As `nll_loss` returns it.
    grad : ndarray
        As `nll_loss_backward` returns it for 1.0; for "none", the gradient of the sum.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `nll_loss`; `out` is untouched then.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> loss, grad = logloss.nll_loss_value_and_grad(np.array([[-2.0, -0.5]]), [1])
    >>> loss, grad.tolist()
    (0.5, [[0.0, -1.0]])
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.class_losses(
            "nll_loss",
            input,
            target,
            weight,
            ignore_index,
            reduction,
            axis,
            stream,
            want="both",
            out=out,
        )
    call = loss_call(input, target, weight, ignore_index, reduction, axis, probabilities=False)
    gradient = _calls.Gradient(call, out, input, (target, weight))
    return _calls.loss_value_and_grad(_core.nll_loss, call, gradient)
