# SPDX-License-Identifier: BSD-3-Clause
"""cosine_embedding_loss and its gradients."""

from __future__ import annotations

from typing import Any

from numpy import ndarray
from numpy.typing import ArrayLike

from logloss import _device, _pairs
from logloss._device import on_device
from logloss._pairs import PairCall, PairGradient, cosine_call
from logloss._reduction import Reduction
from logloss._validate import Array, check_pair


def cosine_embedding_loss(
    input1: ArrayLike,
    input2: ArrayLike,
    target: ArrayLike,
    *,
    margin: float = 0.0,
    reduction: Reduction = "mean",
    stream: Any = None,
) -> float | Array:
    """
    Cosine embedding loss: ``1 - cos(a, b)`` for targets 1, ``max(0, cos(a, b) - margin)`` for -1.

    The cosine is ``sum(a b) / sqrt((sum(a a) + eps) (sum(b b) + eps))`` with eps = 1e-12. Within 2
    ulp of the exact value for float32, for nearly parallel vectors too; for
    unlike pairs, of the cosine where that nearly equals the margin.

    Parameters
    ----------
    input1, input2 : array_like
        Vectors a and b of shape (N, D) or (D,), of floating-point dtypes; of two the wider one
        holds. A single row is repeated.
    target : array_like
        1 or -1 for each pair, of shape (N,) or (); any other number makes the loss of its pair 0.
        A single one is repeated.
    margin : float, default 0.0
        Usually in [-1, 1], best in [0, 0.5].
    reduction : {"mean", "sum", "none"}
        "mean" divides by N.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    float or ndarray
        "none": the loss of each pair, float32 (float64 for float64). Otherwise a float, the
        correctly rounded sum or mean of those. The mean over nothing is NaN.

    Raises
    ------
    TypeError
        For a dtype that is not floating-point (inputs) or real (target).
    ValueError
        For shapes that do not fit or an unknown reduction.

    See Also
    --------
    torch.nn.functional.cosine_embedding_loss : the same meaning; ours does not overflow and keeps
        the digits of small losses.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> a, b = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 1e-6], [1.0, 1.0]])
    >>> logloss.cosine_embedding_loss(a, b, [1, -1], reduction="none")
    array([1.50000000e-12, 7.07106781e-01])
    """
    if (
        type(input1) is not ndarray or type(input2) is not ndarray or stream is not None
    ) and on_device(stream, input1, input2):
        return _device.pair_losses(
            "cosine_embedding_loss", input1, input2, reduction, stream, target=target, margin=margin
        )
    return _pairs.loss(cosine_call(input1, input2, target, margin, reduction))


def cosine_embedding_loss_backward(
    grad_output: ArrayLike,
    input1: ArrayLike,
    input2: ArrayLike,
    target: ArrayLike,
    *,
    margin: float = 0.0,
    reduction: Reduction = "mean",
    out: tuple[Array, Array] | None = None,
    stream: Any = None,
) -> tuple[Array, Array]:
    """
    Gradients of `cosine_embedding_loss` with respect to both inputs.

    That of the cosine with respect to a is ``b / (|a| |b|) - cos(a, b) * a / |a|**2``.

    Parameters
    ----------
    grad_output : array_like
        Upstream gradient: a number, or for "none" also an array of the loss's shape.
    input1, input2, target, margin, reduction
        As for `cosine_embedding_loss`.
    out : pair of ndarray, optional
        Where to write the gradients; of the shapes and dtypes of the inputs, may be them.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    grad1, grad2 : ndarray
        Of the shapes and dtypes of the inputs: that of a repeated row is summed. At the kink,
        where the cosine equals the margin, the gradient passes, as in torch.

    Raises
    ------
    TypeError, ValueError
        As `cosine_embedding_loss`; `out` is untouched then.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> a, b = np.array([1.0, 0.0]), np.array([0.0, 2.0])
    >>> grad1, grad2 = logloss.cosine_embedding_loss_backward(1.0, a, b, 1)
    >>> grad1.round(6) + 0.0, grad2.round(6) + 0.0
    (array([ 0., -1.]), array([-0.5,  0. ]))
    """
    if (
        type(input1) is not ndarray or type(input2) is not ndarray or stream is not None
    ) and on_device(stream, input1, input2):
        return _device.pair_losses(
            "cosine_embedding_loss",
            input1,
            input2,
            reduction,
            stream,
            target=target,
            margin=margin,
            both_sides=True,
            want="gradient",
            grad_output=grad_output,
            out=out,
        )
    call = cosine_call(input1, input2, target, margin, reduction)
    gradients = _gradients(call, input1, input2, out, (target, grad_output))
    _pairs.loss_backward(call, grad_output, *gradients)
    return gradients[0].finish(), gradients[1].finish()


def cosine_embedding_loss_value_and_grad(
    input1: ArrayLike,
    input2: ArrayLike,
    target: ArrayLike,
    *,
    margin: float = 0.0,
    reduction: Reduction = "mean",
    out: tuple[Array, Array] | None = None,
    stream: Any = None,
) -> tuple[float | Array, tuple[Array, Array]]:
    """
    `cosine_embedding_loss` and its gradients with respect to both inputs.

    Parameters
    ----------
    input1, input2, target, margin, reduction
        As for `cosine_embedding_loss`.
    out : pair of ndarray, optional
        Where to write the gradients; of the shapes and dtypes of the inputs, may be them.
    stream : optional
        For arrays on a GPU; see `logloss.functional`.

    Returns
    -------
    loss : float or ndarray
        As `cosine_embedding_loss` returns it.
    grads : pair of ndarray
        As `cosine_embedding_loss_backward` returns them for 1.0; for "none", of the sum.

    Raises
    ------
    TypeError, ValueError
        As `cosine_embedding_loss`; `out` is untouched then.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> a, b = np.array([1.0, 0.0]), np.array([0.0, 2.0])
    >>> loss, (grad1, grad2) = logloss.cosine_embedding_loss_value_and_grad(a, b, 1)
    >>> loss
    1.0
    """
    if (
        type(input1) is not ndarray or type(input2) is not ndarray or stream is not None
    ) and on_device(stream, input1, input2):
        return _device.pair_losses(
            "cosine_embedding_loss",
            input1,
            input2,
            reduction,
            stream,
            target=target,
            margin=margin,
            both_sides=True,
            want="both",
            out=out,
        )
    call = cosine_call(input1, input2, target, margin, reduction)
    gradients = _gradients(call, input1, input2, out, (target,))
    value = _pairs.loss(call, *gradients)
    return value, (gradients[0].finish(), gradients[1].finish())


def _gradients(
    call: PairCall,
    input1: ArrayLike,
    input2: ArrayLike,
    out: tuple[Array, Array] | None,
    others: tuple[ArrayLike, ...],
) -> tuple[PairGradient, PairGradient]:
    out1, out2 = check_pair("out", out)
    first = PairGradient(call.first, input1, out1, (input2, *others))
    return first, PairGradient(call.second, input2, out2, (input1, first.result, *others))
