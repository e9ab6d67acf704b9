# SPDX-License-Identifier: BSD-3-Clause
"""Kullback-Leibler divergence: of (log-)probabilities element by element, of logits row by row."""

from __future__ import annotations

from typing import Any

from numpy import ndarray
from numpy.typing import ArrayLike

from logloss import _device, _elementwise, _pairs
from logloss._device import on_device
from logloss._elementwise import kl_div_call
from logloss._pairs import PairCall, PairGradient, divergence_call
from logloss._reduction import KLReduction
from logloss._validate import Array, check_pair


def kl_div(
    input: ArrayLike,
    target: ArrayLike,
    *,
    reduction: KLReduction = "mean",
    log_target: bool = False,
    stream: Any = None,
) -> float | Array:
    """
    Terms of the Kullback-Leibler divergence KL(p || q), in nats: ``p * (log(p) - log(q))``.

    The first argument is log q and the second p, as in torch. An element is within 2 ulp of the
    exact value (4 for float64), and within half an ulp of p where p and q nearly agree.

    Parameters
    ----------
    input : array_like
        Log-probabilities log q, of a floating-point dtype and any shape.
    target : array_like
        Probabilities p, or log p with `log_target`, of a floating-point dtype; the two shapes
        broadcast, and of two dtypes the wider one holds.
    reduction : {"mean", "sum", "none", "batchmean"}
        "mean" divides by the number of elements, which is not the divergence of distributions;
        "batchmean" divides by ``input.shape[0]``, the number of samples of shape (N, C).
    log_target : bool, default False
        Whether `target` holds log p.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    float or ndarray
        "none": the terms, float32 (float64 for float64). Otherwise a float, the correctly rounded
        sum or quotient of those. The mean over nothing is NaN.

    Raises
    ------
    TypeError
        For a dtype that is not floating-point.
    ValueError
        For shapes that do not broadcast or an unknown reduction.

    See Also
    --------
    torch.nn.functional.kl_div : the same meaning; a probability p of 0 contributes 0 in ours at
        log q = -inf too, and so does log p = -inf.
    scipy.special.rel_entr : ``p * log(p / q)``, of probabilities.
    kl_div_with_logits : of logits, row by row, and accurate where the two nearly agree.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> p, q = np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])
    >>> logloss.kl_div(np.log(q), p, reduction="batchmean")
    0.14384103622589045
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.element_losses(
            "kl_div_log_target" if log_target else "kl_div", input, target, reduction, stream
        )
    return _elementwise.loss(kl_div_call(input, target, reduction, log_target=log_target))


def kl_div_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    target: ArrayLike,
    *,
    reduction: KLReduction = "mean",
    log_target: bool = False,
    out: Array | None = None,
    stream: Any = None,
) -> Array:
    """
    Gradient of `kl_div` with respect to `input`: ``-g * p``.

    Parameters
    ----------
    grad_output : array_like
        Upstream gradient g: a number, or for "none" also an array of the loss's shape.
    input, target, reduction, log_target
        As for `kl_div`.
    out : ndarray, optional
        Where to write the gradient; of the shape and dtype of `input`, and may be `input` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `input`: summed over the axes along which `input` was broadcast.

    Raises
    ------
    TypeError, ValueError
        As `kl_div`; `out` is untouched then.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.kl_div_backward(1.0, np.log([0.25, 0.75]), np.array([0.5, 0.5]), reduction="sum")
    array([-0.5, -0.5])
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.element_losses(
            "kl_div_log_target" if log_target else "kl_div",
            input,
            target,
            reduction,
            stream,
            want="gradient",
            grad_output=grad_output,
            out=out,
        )
    call = kl_div_call(input, target, reduction, log_target=log_target)
    return _elementwise.loss_backward(call, grad_output, input, out)


def kl_div_value_and_grad(
    input: ArrayLike,
    target: ArrayLike,
    *,
    reduction: KLReduction = "mean",
    log_target: bool = False,
    out: Array | None = None,
    stream: Any = None,
) -> tuple[float | Array, Array]:
    """
    `kl_div` and its gradient with respect to `input`, with both arrays read from memory once.

    Parameters
    ----------
    input, target, reduction, log_target
        As for `kl_div`.
    out : ndarray, optional
        Where to write the gradient; of the shape and dtype of `input`, and may be `input` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    loss : float or ndarray
        As `kl_div` returns it.
    grad : ndarray
        As `kl_div_backward` returns it for 1.0; for "none", the gradient of the sum.

    Raises
    ------
    TypeError, ValueError
        As `kl_div`; `out` is untouched then.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.kl_div_value_and_grad(np.array([[-1.0]]), np.array([[1.0]]), reduction="sum")
    (1.0, array([[-1.]]))
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.element_losses(
            "kl_div_log_target" if log_target else "kl_div",
            input,
            target,
            reduction,
            stream,
            want="both",
            out=out,
        )
    call = kl_div_call(input, target, reduction, log_target=log_target)
    return _elementwise.loss_value_and_grad(call, input, out)


# ---------------------------------------------------------------------------------------- of logits


def kl_div_with_logits(
    input: ArrayLike,
    target: ArrayLike,
    *,
    reduction: KLReduction = "batchmean",
    axis: int = -1,
    stream: Any = None,
) -> float | Array:
    """
    Kullback-Leibler divergence KL(softmax(target) || softmax(input)) of rows of logits, in nats.

    Both rows are read from memory once and, if they are of one dtype, nothing of their size is
    allocated. With p and q the two
    softmaxes and d = log p - log q, a row is ``sum(p * (exp(-d) - 1 + d))``, whose terms are never
    negative: within 2 ulp of the exact value for float32 however nearly the rows agree (for float64
    within 4 ulp, or 2e-15 times the square root of the result where that is more).

    Parameters
    ----------
    input : array_like
        Logits of q, say of a quantised model, of a floating-point dtype and shape (..., C, ...).
    target : array_like
        Logits of p, of the shape of `input`; of two dtypes the wider one holds.
    reduction : {"batchmean", "mean", "sum", "none"}
        As `kl_div` of the log-softmax and the softmax: "batchmean" divides the sum by
        ``input.shape[0]``, "mean" by the number of elements; "none" gives one value for each row.
        ``input.shape[0]`` is the number of classes where that is the class axis: "sum" is then
        what to ask for.
    axis : int, default -1
        The class axis.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    float or ndarray
        "none": the divergence of each row, without the class axis, float32 (float64 for float64).
        Otherwise a float, the correctly rounded sum or quotient of those. A class of probability 0
        in `target` adds nothing; one of probability 0 in `input` alone makes the row infinite.

    Raises
    ------
    TypeError
        For a dtype that is not floating-point.
    ValueError
        For two shapes, a number instead of a row, or an unknown reduction.
    numpy.exceptions.AxisError
        For an axis out of range.

    See Also
    --------
    kl_div : of log-probabilities and probabilities, element by element.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> x = np.array([[0.0, 0.0], [1.0, 2.0]])
    >>> logloss.kl_div_with_logits(x, x + [[0.0, 1.0], [0.0, 1e-6]], reduction="none")
    array([1.10944072e-01, 9.83059364e-14])
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.pair_losses(
            "kl_div_with_logits", input, target, reduction, stream, axis=axis
        )
    return _pairs.loss(divergence_call(input, target, reduction, axis))


def kl_div_with_logits_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    target: ArrayLike,
    *,
    reduction: KLReduction = "batchmean",
    axis: int = -1,
    target_grad: bool = False,
    out: Array | tuple[Array, Array] | None = None,
    stream: Any = None,
) -> Array | tuple[Array, Array]:
    """
    Gradient of `kl_div_with_logits`: ``g * (q - p)`` and, for the target, ``g * p * (d - KL)``.

    Parameters
    ----------
    grad_output : array_like
        Upstream gradient g: a number, or for "none" also an array of the loss's shape.
    input, target, reduction, axis
        As for `kl_div_with_logits`.
    target_grad : bool, default False
        Whether the gradient with respect to `target` is wanted as well.
    out : ndarray or pair of ndarray, optional
        Where to write the gradient, or both; may be `input` (and `target`) themselves.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray or pair of ndarray
        Of the shape and dtype of `input`; with `target_grad` a second one like `target`.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `kl_div_with_logits`; `out` is untouched then.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> x, t = np.array([[0.0, 0.0]]), np.log([[0.25, 0.75]])
    >>> logloss.kl_div_with_logits_backward(1.0, x, t)
    array([[ 0.25, -0.25]])
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.pair_losses(
            "kl_div_with_logits",
            input,
            target,
            reduction,
            stream,
            axis=axis,
            both_sides=target_grad,
            want="gradient",
            grad_output=grad_output,
            out=out,
        )
    call = divergence_call(input, target, reduction, axis)
    first, second = _gradients(call, input, target, out, (grad_output,), target_grad=target_grad)
    _pairs.loss_backward(call, grad_output, first, second)
    return _finished(first, second)


def kl_div_with_logits_value_and_grad(
    input: ArrayLike,
    target: ArrayLike,
    *,
    reduction: KLReduction = "batchmean",
    axis: int = -1,
    target_grad: bool = False,
    out: Array | tuple[Array, Array] | None = None,
    stream: Any = None,
) -> tuple[float | Array, Array | tuple[Array, Array]]:
    """
    `kl_div_with_logits` and its gradient, with both rows read from memory once.

    Parameters
    ----------
    input, target, reduction, axis
        As for `kl_div_with_logits`.
    target_grad : bool, default False
        Whether the gradient with respect to `target` is wanted as well.
    out : ndarray or pair of ndarray, optional
        Where to write the gradient, or both; may be `input` (and `target`) themselves.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    loss : float or ndarray
        As `kl_div_with_logits` returns it.
    grad : ndarray or pair of ndarray
        As `kl_div_with_logits_backward` returns it for 1.0; for "none", the gradient of the sum.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `kl_div_with_logits`; `out` is untouched then.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> x, t = np.array([[0.0, 0.0]]), np.log([[0.25, 0.75]])
    >>> loss, grad = logloss.kl_div_with_logits_value_and_grad(x, t)
    >>> round(loss, 6), grad
    (0.130812, array([[ 0.25, -0.25]]))
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.pair_losses(
            "kl_div_with_logits",
            input,
            target,
            reduction,
            stream,
            axis=axis,
            both_sides=target_grad,
            want="both",
            out=out,
        )
    call = divergence_call(input, target, reduction, axis)
    first, second = _gradients(call, input, target, out, (), target_grad=target_grad)
    return _pairs.loss(call, first, second), _finished(first, second)


def _gradients(
    call: PairCall,
    input: ArrayLike,
    target: ArrayLike,
    out: Array | tuple[Array, Array] | None,
    others: tuple[ArrayLike, ...],
    *,
    target_grad: bool,
) -> tuple[PairGradient, PairGradient | None]:
    if not target_grad:
        return PairGradient(call.first, input, out, (target, *others)), None
    first_out, second_out = check_pair("out", out)
    first = PairGradient(call.first, input, first_out, (target, *others))
    return first, PairGradient(call.second, target, second_out, (input, first.result, *others))


def _finished(first: PairGradient, second: PairGradient | None) -> Array | tuple[Array, Array]:
    return first.finish() if second is None else (first.finish(), second.finish())
