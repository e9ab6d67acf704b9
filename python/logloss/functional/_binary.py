# SPDX-License-Identifier: BSD-3-Clause
"""sigmoid and log_sigmoid, the binary cross-entropies, and their gradients: element by element."""

from __future__ import annotations

from typing import Any

from numpy import ndarray
from numpy.typing import ArrayLike

from logloss import _core, _device, _elementwise
from logloss._device import on_device
from logloss._elementwise import binary_call
from logloss._reduction import Reduction
from logloss._validate import Array


def sigmoid(input: ArrayLike, *, out: Array | None = None, stream: Any = None) -> Array:
    """
    Logistic function ``1 / (1 + exp(-x))``, element by element.

    Within 2 ulp of the exact value, subnormal results included.

    Parameters
    ----------
    input : array_like
        Logits, of a floating-point dtype and any shape.
    out : ndarray, optional
        Where to write the result; of the shape and dtype of `input`, may be `input` itself.
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
        For an `out` of another shape, read-only or overlapping `input` in part.

    See Also
    --------
    torch.sigmoid, scipy.special.expit : the same meaning.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.sigmoid(np.array([0.0, -40.0]))
    array([5.00000000e-01, 4.24835426e-18])
    """
    if (type(input) is not ndarray or stream is not None) and on_device(stream, input):
        return _device.function("sigmoid", input, out, stream)
    return _elementwise.function(_core.sigmoid, input, out)


def log_sigmoid(input: ArrayLike, *, out: Array | None = None, stream: Any = None) -> Array:
    """
    Logarithm of the logistic function, ``min(x, 0) - log1p(exp(-|x|))``, element by element.

    Within 2 ulp of the exact value.

    Parameters
    ----------
    input : array_like
        Logits, of a floating-point dtype and any shape.
    out : ndarray, optional
        Where to write the result; of the shape and dtype of `input`, may be `input` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `input`.

    Raises
    ------
    TypeError, ValueError
        As `sigmoid`.

    See Also
    --------
    torch.nn.functional.logsigmoid, scipy.special.log_expit : the same meaning.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.log_sigmoid(np.array([40.0, -1000.0]))
    array([-4.24835426e-18, -1.00000000e+03])
    """
    if (type(input) is not ndarray or stream is not None) and on_device(stream, input):
        return _device.function("log_sigmoid", input, out, stream)
    return _elementwise.function(_core.log_sigmoid, input, out)


def sigmoid_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    *,
    out: Array | None = None,
    stream: Any = None,
) -> Array:
    """
    Gradient of `sigmoid` with respect to its input: ``g * s * (1 - s)`` with s the sigmoid.

    Parameters
    ----------
    grad_output : array_like
        Upstream gradient g: one number, or an array of the shape of `input`.
    input : array_like
        The logits that `sigmoid` was given.
    out : ndarray, optional
        Where to write the result; may be `input` or `grad_output` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `input`; within 3 ulp, where s is 1 to the last digit too.

    Raises
    ------
    TypeError, ValueError
        As `sigmoid`, or for a `grad_output` of another shape.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.sigmoid_backward(1.0, np.array([0.0, 40.0]))
    array([2.50000000e-01, 4.24835426e-18])
    """
    if (type(input) is not ndarray or stream is not None) and on_device(stream, input):
        return _device.function_backward("sigmoid_backward", grad_output, input, out, stream)
    return _elementwise.function_backward(_core.sigmoid_backward, grad_output, input, out)


def log_sigmoid_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    *,
    out: Array | None = None,
    stream: Any = None,
) -> Array:
    """
    Gradient of `log_sigmoid` with respect to its input: ``g * sigmoid(-x)``.

    Parameters
    ----------
    grad_output : array_like
        Upstream gradient g: one number, or an array of the shape of `input`.
    input : array_like
        The logits that `log_sigmoid` was given.
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
    TypeError, ValueError
        As `sigmoid`, or for a `grad_output` of another shape.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.log_sigmoid_backward(1.0, np.array([0.0, 40.0]))
    array([5.00000000e-01, 4.24835426e-18])
    """
    if (type(input) is not ndarray or stream is not None) and on_device(stream, input):
        return _device.function_backward("log_sigmoid_backward", grad_output, input, out, stream)
    return _elementwise.function_backward(_core.log_sigmoid_backward, grad_output, input, out)


# -------------------------------------------------------------------------------- of probabilities


def binary_cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    stream: Any = None,
) -> float | Array:
    """
    Binary cross-entropy of probabilities, in nats: ``-w (y log(x) + (1 - y) log(1 - x))``.

    Both logarithms are clamped at -100, so a wrong certainty costs 100. Within 2 ulp of the exact
    value (4 for float64).

    Parameters
    ----------
    input : array_like
        Probabilities x in [0, 1], of a floating-point dtype and any shape.
    target : array_like
        Targets y in [0, 1], of the shape of `input`, of any real dtype (booleans and integers
        too). Of two floating-point dtypes the wider one holds.
    weight : array_like, optional
        Weights w that broadcast to the shape of `input`: (N, 1) for samples of shape (N, D).
    reduction : {"mean", "sum", "none"}
        "mean" divides by the number of elements, whatever the weights.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    float or ndarray
        "mean" and "sum": a float, the correctly rounded mean or sum of the losses of the elements.
        "none": those losses, float32 (float64 for float64). The mean over nothing is NaN.

    Raises
    ------
    TypeError
        For a dtype that is not floating-point (`input`) or real.
    ValueError
        For a probability outside [0, 1] (it names the first one), a shape that does not fit or an
        unknown reduction.

    See Also
    --------
    torch.nn.functional.binary_cross_entropy : the same meaning; ours takes integer targets too.
    binary_cross_entropy_with_logits : from logits, without the clamp.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.binary_cross_entropy(np.array([0.8, 0.0]), [1, 1], reduction="none")
    array([  0.22314355, 100.        ])
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.element_losses(
            "binary_cross_entropy", input, target, reduction, stream, weight=weight
        )
    call = binary_call(_core.binary_cross_entropy, input, target, weight, reduction)
    return _elementwise.loss(call)


def binary_cross_entropy_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    out: Array | None = None,
    stream: Any = None,
) -> Array:
    """
    Gradient of `binary_cross_entropy`: ``g * w * (x - y) / max(x * (1 - x), 1e-12)``.

    The clamp of the logarithms is not differentiated, the denominator is kept from 0, as in torch.

    Parameters
    ----------
    grad_output : array_like
        Upstream gradient g: a number, or for "none" also an array of the loss's shape.
    input, target, weight, reduction
        As for `binary_cross_entropy`.
    out : ndarray, optional
        Where to write the gradient; of the shape and dtype of `input`, and may be `input` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `input`; over the number of elements for "mean".

    Raises
    ------
    TypeError, ValueError
        As `binary_cross_entropy`; `out` is untouched then.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.binary_cross_entropy_backward(1.0, np.array([0.5, 0.75]), [1, 0], reduction="sum")
    array([-2.,  4.])
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.element_losses(
            "binary_cross_entropy",
            input,
            target,
            reduction,
            stream,
            weight=weight,
            want="gradient",
            grad_output=grad_output,
            out=out,
        )
    call = binary_call(_core.binary_cross_entropy, input, target, weight, reduction)
    return _elementwise.loss_backward(call, grad_output, input, out)


def binary_cross_entropy_value_and_grad(
    input: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    out: Array | None = None,
    stream: Any = None,
) -> tuple[float | Array, Array]:
    """
    `binary_cross_entropy` and its gradient, with the probabilities read from memory once.

    With `out` they are read twice: where one is no probability, `out` is left as it was.

    Parameters
    ----------
    input, target, weight, reduction
        As for `binary_cross_entropy`.
    out : ndarray, optional
        Where to write the gradient; of the shape and dtype of `input`, and may be `input` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    loss : float or ndarray
        As `binary_cross_entropy` returns it.
    grad : ndarray
        As `binary_cross_entropy_backward` returns it for 1.0; for "none", the gradient of the sum.

    Raises
    ------
    TypeError, ValueError
        As `binary_cross_entropy`; `out` is untouched then.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.binary_cross_entropy_value_and_grad(np.array([0.5]), [1])
    (0.6931471805599453, array([-2.]))
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.element_losses(
            "binary_cross_entropy",
            input,
            target,
            reduction,
            stream,
            weight=weight,
            want="both",
            out=out,
        )
    call = binary_call(_core.binary_cross_entropy, input, target, weight, reduction)
    return _elementwise.loss_value_and_grad(call, input, out)


# -------------------------------------------------------------------------------------- of logits


def binary_cross_entropy_with_logits(
    input: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    pos_weight: ArrayLike | None = None,
    stream: Any = None,
) -> float | Array:
    """
    Binary cross-entropy of logits, in nats: ``w ((1 - y) x + (1 + (p - 1) y) softplus(-x))``.

    Within 2 ulp of the exact value (4 for float64) for targets in [0, 1]: at x = -40 and y = 0 it
    is 4.2e-18, where the usual form gives 0.

    Parameters
    ----------
    input : array_like
        Logits x, of a floating-point dtype and any shape.
    target : array_like
        Targets y, of the shape of `input` and of any real dtype (booleans and integers too);
        usually in [0, 1], which is not checked. Of two floating-point dtypes the wider one holds.
    weight : array_like, optional
        Weights w that broadcast to the shape of `input`.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the number of elements, whatever the weights.
    pos_weight : array_like, optional
        Weights p of the positive targets, which broadcast to the shape of `input`: (D,) for
        (N, D), (C, 1, 1) for (N, C, H, W).
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    float or ndarray
        As `binary_cross_entropy` returns it.

    Raises
    ------
    TypeError
        For a dtype that is not floating-point (`input`) or real.
    ValueError
        For a shape that does not fit or an unknown reduction.

    See Also
    --------
    torch.nn.functional.binary_cross_entropy_with_logits : the same meaning; at infinite logits
        ours is the limit where torch's is NaN, and a coefficient of 0 counts for nothing there.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> x = np.array([-40.0, 0.0, 1000.0])
    >>> logloss.binary_cross_entropy_with_logits(x, [0, 1, 0], reduction="none")
    array([4.24835426e-18, 6.93147181e-01, 1.00000000e+03])
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.element_losses(
            "binary_cross_entropy_with_logits",
            input,
            target,
            reduction,
            stream,
            weight=weight,
            pos_weight=pos_weight,
        )
    kernel = _core.binary_cross_entropy_with_logits
    call = binary_call(kernel, input, target, weight, reduction, pos_weight=pos_weight)
    return _elementwise.loss(call)


def binary_cross_entropy_with_logits_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    pos_weight: ArrayLike | None = None,
    out: Array | None = None,
    stream: Any = None,
) -> Array:
    """
    Gradient of `binary_cross_entropy_with_logits`: ``g w (sigmoid(x) - y)`` without `pos_weight`.

    With it: ``g w ((1 + (p - 1) y) sigmoid(x) - p y)``. Within 3 ulp for targets 0 and 1.

    Parameters
    ----------
    grad_output : array_like
        Upstream gradient g: a number, or for "none" also an array of the loss's shape.
    input, target, weight, reduction, pos_weight
        As for `binary_cross_entropy_with_logits`.
    out : ndarray, optional
        Where to write the gradient; of the shape and dtype of `input`, and may be `input` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `input`; over the number of elements for "mean".

    Raises
    ------
    TypeError, ValueError
        As `binary_cross_entropy_with_logits`; `out` is untouched then.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.binary_cross_entropy_with_logits_backward(1.0, np.array([0.0, 40.0]), [0, 1])
    array([ 2.50000000e-01, -2.12417713e-18])
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.element_losses(
            "binary_cross_entropy_with_logits",
            input,
            target,
            reduction,
            stream,
            weight=weight,
            pos_weight=pos_weight,
            want="gradient",
            grad_output=grad_output,
            out=out,
        )
    kernel = _core.binary_cross_entropy_with_logits
    call = binary_call(kernel, input, target, weight, reduction, pos_weight=pos_weight)
    return _elementwise.loss_backward(call, grad_output, input, out)


def binary_cross_entropy_with_logits_value_and_grad(
    input: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    pos_weight: ArrayLike | None = None,
    out: Array | None = None,
    stream: Any = None,
) -> tuple[float | Array, Array]:
    """
    `binary_cross_entropy_with_logits` and its gradient, with the logits read from memory once.

    Parameters
    ----------
    input, target, weight, reduction, pos_weight
        As for `binary_cross_entropy_with_logits`.
    out : ndarray, optional
        Where to write the gradient; of the shape and dtype of `input`, and may be `input` itself.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    loss : float or ndarray
        As `binary_cross_entropy_with_logits` returns it.
    grad : ndarray
        As `binary_cross_entropy_with_logits_backward` returns it for 1.0; for "none", the
        gradient of the sum.

    Raises
    ------
    TypeError, ValueError
        As `binary_cross_entropy_with_logits`; `out` is untouched then.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.binary_cross_entropy_with_logits_value_and_grad(np.array([0.0]), [1])
    (0.6931471805599453, array([-0.5]))
    """
    if (
        type(input) is not ndarray or type(target) is not ndarray or stream is not None
    ) and on_device(stream, input, target):
        return _device.element_losses(
            "binary_cross_entropy_with_logits",
            input,
            target,
            reduction,
            stream,
            weight=weight,
            pos_weight=pos_weight,
            want="both",
            out=out,
        )
    kernel = _core.binary_cross_entropy_with_logits
    call = binary_call(kernel, input, target, weight, reduction, pos_weight=pos_weight)
    return _elementwise.loss_value_and_grad(call, input, out)
