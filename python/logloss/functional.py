# SPDX-License-Identifier: BSD-3-Clause
"""
The functions of logloss: checks and options here, arithmetic in ``logloss._core``.

Shapes are written as (N, C): N samples (any number of axes) of C classes along the class axis.
Losses are in nats. Inputs are float16, bfloat16 (ml_dtypes), float32 or float64 arrays with any
strides; half types are computed in float32. Nothing of the size of the input is allocated but the
results. Calls release the GIL and use up to ``get_num_threads()`` threads; the bits of a result
depend on neither threads nor strides nor the instruction set (AVX2, AVX-512, NEON).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from numpy.typing import ArrayLike

from logloss import _calls, _core
from logloss._reduction import loss_call
from logloss._validate import Array

Reduction: TypeAlias = Literal["none", "mean", "sum"]


# ---------------------------------------------------------------------------------- softmax family


def log_softmax(input: ArrayLike, axis: int = -1, *, out: Array | None = None) -> Array:
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
    return _calls.softmax_like(_core.log_softmax, input, axis, out)


def softmax(input: ArrayLike, axis: int = -1, *, out: Array | None = None) -> Array:
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
    return _calls.softmax_like(_core.softmax, input, axis, out)


def logsumexp(input: ArrayLike, axis: int = -1, *, keepdims: bool = False) -> Array:
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
    return _calls.logsumexp(input, axis, keepdims=keepdims)


def log_softmax_backward(
    grad_output: ArrayLike, input: ArrayLike, axis: int = -1, *, out: Array | None = None
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
    return _calls.softmax_like_backward(_core.log_softmax_backward, grad_output, input, axis, out)


def softmax_backward(
    grad_output: ArrayLike, input: ArrayLike, axis: int = -1, *, out: Array | None = None
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
    return _calls.softmax_like_backward(_core.softmax_backward, grad_output, input, axis, out)


def logsumexp_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    axis: int = -1,
    *,
    keepdims: bool = False,
    out: Array | None = None,
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
    return _calls.logsumexp_backward(grad_output, input, axis, keepdims=keepdims, out=out)


# ----------------------------------------------------------------------------------- cross-entropy


def cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
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
    call = loss_call(
        input, target, weight, ignore_index, reduction, axis, label_smoothing=label_smoothing
    )
    gradient = _calls.Gradient(call, out, input, (target, weight))
    return _calls.loss_value_and_grad(_core.cross_entropy, call, gradient)


# ---------------------------------------------------------------------------------------- nll_loss


def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    axis: int | None = None,
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
) -> tuple[float | Array, Array]:
    """
    `nll_loss` and its gradient.

    Parameters
    ----------
    input, target, weight, ignore_index, reduction, axis
        As for `nll_loss`.
    out : ndarray, optional
        Where to write the gradient; of the shape and dtype of `input`, and may be `input` itself.

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
    call = loss_call(input, target, weight, ignore_index, reduction, axis, probabilities=False)
    gradient = _calls.Gradient(call, out, input, (target, weight))
    return _calls.loss_value_and_grad(_core.nll_loss, call, gradient)
