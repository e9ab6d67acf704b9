# SPDX-License-Identifier: BSD-3-Clause
"""
The losses and softmaxes as classes, with the names, arguments and attributes of ``torch.nn``.

A criterion holds the options of one function of `logloss.functional` and checks them when it is
called, as torch does. Arguments that torch has deprecated (``size_average``, ``reduce``) do not
exist; since torch has them between the others, all but the first argument are keywords.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from logloss import functional
from logloss._reduction import KLReduction, Reduction
from logloss._validate import Array

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "KLDivLoss",
    "LogSoftmax",
    "NLLLoss",
    "Softmax",
]


class _Criterion:
    """What all criteria share: torch's representation, which shows no options."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class CrossEntropyLoss(_Criterion):
    """
    Cross-entropy of logits: `cross_entropy` with its options held.

    Parameters
    ----------
    weight : array_like, optional
        One weight for each class, of shape (C,).
    ignore_index : int, default -100
        The target of samples that do not count.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses of the samples.
    label_smoothing : float, default 0.0
        The share of each target that is spread over all classes, in [0, 1].

    See Also
    --------
    torch.nn.CrossEntropyLoss : the same meaning.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> criterion = logloss.CrossEntropyLoss(reduction="sum")
    >>> criterion(np.array([[0.0, 0.0], [0.0, 0.0]]), [0, 1])
    1.3862943611198906
    """

    def __init__(
        self,
        weight: ArrayLike | None = None,
        *,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        self.weight = weight
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction
        self.label_smoothing = label_smoothing

    def __call__(self, input: ArrayLike, target: ArrayLike) -> float | Array:
        """Return the loss of logits of shape (C,), (N, C) or (N, C, d1, ...)."""
        return functional.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )

    def value_and_grad(
        self, input: ArrayLike, target: ArrayLike, *, out: Array | None = None
    ) -> tuple[float | Array, Array]:
        """Return the loss and its gradient: `cross_entropy_value_and_grad`."""
        return functional.cross_entropy_value_and_grad(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            out=out,
        )


class NLLLoss(_Criterion):
    """
    Negative log-likelihood of log-probabilities: `nll_loss` with its options held.

    Parameters
    ----------
    weight : array_like, optional
        One weight for each class, of shape (C,).
    ignore_index : int, default -100
        The target of samples that do not count.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses of the samples.

    See Also
    --------
    torch.nn.NLLLoss : the same meaning.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.NLLLoss()(np.array([[-0.5, -1.5], [-0.25, -2.0]]), [0, 0])
    0.375
    """

    def __init__(
        self,
        weight: ArrayLike | None = None,
        *,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
    ) -> None:
        self.weight = weight
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def __call__(self, input: ArrayLike, target: ArrayLike) -> float | Array:
        """Return the loss of log-probabilities of shape (C,), (N, C) or (N, C, d1, ...)."""
        return functional.nll_loss(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def value_and_grad(
        self, input: ArrayLike, target: ArrayLike, *, out: Array | None = None
    ) -> tuple[float | Array, Array]:
        """Return the loss and its gradient: `nll_loss_value_and_grad`."""
        return functional.nll_loss_value_and_grad(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            out=out,
        )


class BCELoss(_Criterion):
    """
    Binary cross-entropy of probabilities: `binary_cross_entropy` with its options held.

    Parameters
    ----------
    weight : array_like, optional
        Weights that broadcast to the shape of the input.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses of the elements.

    See Also
    --------
    torch.nn.BCELoss : the same meaning.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.BCELoss()(np.array([0.5, 0.5]), [0, 1])
    0.6931471805599453
    """

    def __init__(self, weight: ArrayLike | None = None, *, reduction: Reduction = "mean") -> None:
        self.weight = weight
        self.reduction: Reduction = reduction

    def __call__(self, input: ArrayLike, target: ArrayLike) -> float | Array:
        """Return the loss of probabilities of any shape."""
        return functional.binary_cross_entropy(
            input, target, weight=self.weight, reduction=self.reduction
        )

    def value_and_grad(
        self, input: ArrayLike, target: ArrayLike, *, out: Array | None = None
    ) -> tuple[float | Array, Array]:
        """Return the loss and its gradient: `binary_cross_entropy_value_and_grad`."""
        return functional.binary_cross_entropy_value_and_grad(
            input, target, weight=self.weight, reduction=self.reduction, out=out
        )


class BCEWithLogitsLoss(_Criterion):
    """
    Binary cross-entropy of logits: `binary_cross_entropy_with_logits` with its options held.

    Parameters
    ----------
    weight : array_like, optional
        Weights that broadcast to the shape of the input.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses of the elements.
    pos_weight : array_like, optional
        Weights of the positive targets, which broadcast to the shape of the input.

    See Also
    --------
    torch.nn.BCEWithLogitsLoss : the same meaning.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.BCEWithLogitsLoss()(np.array([0.0, 0.0]), [0, 1])
    0.6931471805599453
    """

    def __init__(
        self,
        weight: ArrayLike | None = None,
        *,
        reduction: Reduction = "mean",
        pos_weight: ArrayLike | None = None,
    ) -> None:
        self.weight = weight
        self.reduction: Reduction = reduction
        self.pos_weight = pos_weight

    def __call__(self, input: ArrayLike, target: ArrayLike) -> float | Array:
        """Return the loss of logits of any shape."""
        return functional.binary_cross_entropy_with_logits(
            input,
            target,
            weight=self.weight,
            reduction=self.reduction,
            pos_weight=self.pos_weight,
        )

    def value_and_grad(
        self, input: ArrayLike, target: ArrayLike, *, out: Array | None = None
    ) -> tuple[float | Array, Array]:
        """Return the loss and its gradient: `binary_cross_entropy_with_logits_value_and_grad`."""
        return functional.binary_cross_entropy_with_logits_value_and_grad(
            input,
            target,
            weight=self.weight,
            reduction=self.reduction,
            pos_weight=self.pos_weight,
            out=out,
        )


class KLDivLoss(_Criterion):
    """
    Kullback-Leibler divergence: `kl_div` with its options held.

    Parameters
    ----------
    reduction : {"mean", "batchmean", "sum", "none"}
        What becomes of the terms of the elements; "batchmean" is the mean divergence of rows.
    log_target : bool, default False
        Whether targets are logarithms of probabilities.

    See Also
    --------
    torch.nn.KLDivLoss : the same meaning.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> criterion = logloss.KLDivLoss(reduction="batchmean")
    >>> round(criterion(np.log([[0.5, 0.5]]), np.array([[0.25, 0.75]])), 6)
    0.130812
    """

    def __init__(self, *, reduction: KLReduction = "mean", log_target: bool = False) -> None:
        self.reduction: KLReduction = reduction
        self.log_target = log_target

    def __call__(self, input: ArrayLike, target: ArrayLike) -> float | Array:
        """Return the loss of log-probabilities `input` of the model, `target` the truth."""
        return functional.kl_div(
            input, target, reduction=self.reduction, log_target=self.log_target
        )

    def value_and_grad(
        self, input: ArrayLike, target: ArrayLike, *, out: Array | None = None
    ) -> tuple[float | Array, Array]:
        """Return the loss and its gradient: `kl_div_value_and_grad`."""
        return functional.kl_div_value_and_grad(
            input, target, reduction=self.reduction, log_target=self.log_target, out=out
        )


class CosineEmbeddingLoss(_Criterion):
    """
    Cosine embedding loss of pairs of vectors: `cosine_embedding_loss` with its options held.

    Parameters
    ----------
    margin : float, default 0.0
        The cosine up to which unlike vectors cost nothing.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses of the pairs.

    See Also
    --------
    torch.nn.CosineEmbeddingLoss : the same meaning.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> criterion = logloss.CosineEmbeddingLoss(margin=0.5)
    >>> criterion(np.array([[3.0, 4.0]]), np.array([[4.0, -3.0]]), [1])
    1.0
    """

    def __init__(self, margin: float = 0.0, *, reduction: Reduction = "mean") -> None:
        self.margin = margin
        self.reduction: Reduction = reduction

    def __call__(self, input1: ArrayLike, input2: ArrayLike, target: ArrayLike) -> float | Array:
        """Return the loss of pairs of shape (N, D) or (D,)."""
        return functional.cosine_embedding_loss(
            input1, input2, target, margin=self.margin, reduction=self.reduction
        )

    def value_and_grad(
        self,
        input1: ArrayLike,
        input2: ArrayLike,
        target: ArrayLike,
        *,
        out: tuple[Array, Array] | None = None,
    ) -> tuple[float | Array, tuple[Array, Array]]:
        """Return the loss and both gradients: `cosine_embedding_loss_value_and_grad`."""
        return functional.cosine_embedding_loss_value_and_grad(
            input1, input2, target, margin=self.margin, reduction=self.reduction, out=out
        )


class _AlongDim:
    """What the softmaxes share: torch's word `dim`, and its rule for None."""

    def __init__(self, dim: int | None = None) -> None:
        self.dim = dim

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self.dim})"

    def _axis(self, input: ArrayLike) -> int:
        if self.dim is not None:
            return self.dim
        return 0 if np.ndim(input) in (0, 1, 3) else 1


class LogSoftmax(_AlongDim):
    """
    `log_softmax` along the axis `dim`.

    Parameters
    ----------
    dim : int, optional
        The class axis; None is axis 0 of 0-, 1- and 3-dimensional input, otherwise axis 1.

    See Also
    --------
    torch.nn.LogSoftmax : the same meaning.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.LogSoftmax(dim=1)
    LogSoftmax(dim=1)
    >>> logloss.LogSoftmax(dim=1)(np.array([[0.0, 0.0]]))
    array([[-0.69314718, -0.69314718]])
    """

    def __call__(self, input: ArrayLike) -> Array:
        """Return an array of the shape and dtype of `input`."""
        return functional.log_softmax(input, self._axis(input))


class Softmax(_AlongDim):
    """
    `softmax` along the axis `dim`.

    Parameters
    ----------
    dim : int, optional
        The class axis; None is axis 0 of 0-, 1- and 3-dimensional input, otherwise axis 1.

    See Also
    --------
    torch.nn.Softmax : the same meaning.

    Examples
    --------
    >>> import numpy as np, logloss
    >>> logloss.Softmax(dim=-1)(np.array([0.0, 0.0]))
    array([0.5, 0.5])
    """

    def __call__(self, input: ArrayLike) -> Array:
        """Return an array of the shape and dtype of `input`."""
        return functional.softmax(input, self._axis(input))
