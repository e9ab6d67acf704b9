# SPDX-License-Identifier: BSD-3-Clause
"""
Mergeable accumulators for metrics over any number of samples.

A state holds integers and exact sums only. Addition of exact sums is associative and commutative,
so the order of the samples and their split over calls, processes or machines cannot change a bit
of the result.

A saved state is, in little-endian order::

    8 bytes   magic, b"logloss" and a zero byte
    uint16    version of the format (1)
    uint16    kind of state (1: cross-entropy)
    uint64    length of the body in bytes
    body      samples, ignored, hits (uint64), ignore_index (int64), label_smoothing (float64),
              number of class weights (int64, -1 without weights), the weights (float64), and the
              exact sums, each after its length in bytes (uint32)
    uint32    CRC-32 of everything before it
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from logloss._calls import score_rows
from logloss._core import ExactSum
from logloss._validate import check_ignore_index, check_label_smoothing, real_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

MAGIC = b"logloss\0"
_VERSION = 1
_KIND_CROSS_ENTROPY = 1
_HEADER = struct.Struct("<8sHHQ")
_COUNTS = struct.Struct("<QQQqdq")
_SUM_LENGTH = struct.Struct("<I")
_CHECKSUM = struct.Struct("<I")


@dataclass(frozen=True)
class CrossEntropyResult:
    """
    What a `CrossEntropyState` has measured.

    Attributes
    ----------
    samples : int
        Samples that were scored; ignored ones are not among them.
    ignored : int
        Samples whose label was ``ignore_index``.
    loss : float
        Mean loss in nats, ``total_loss / total_weight``, correctly rounded; nan without samples.
    standard_error : float
        Standard error of ``loss``; nan for fewer than two samples or an infinite or nan loss.
    perplexity : float
        ``exp(loss)``; inf where that overflows.
    bits : float
        ``loss`` in bits, ``loss / log(2)``.
    accuracy : float
        Share of the samples whose highest logit is at the label, unweighted. Of equal highest
        logits the first counts.
    hits : int
        The number of such samples.
    total_loss : float
        Sum of the (weighted) losses in nats, correctly rounded.
    total_weight : float
        Sum of the class weights of the labels; the number of samples without class weights.
    """

    samples: int
    ignored: int
    loss: float
    standard_error: float
    perplexity: float
    bits: float
    accuracy: float
    hits: int
    total_loss: float
    total_weight: float


class CrossEntropyState:
    """
    Cross-entropy, perplexity and top-1 accuracy over a stream of samples.

    The mean follows `logloss.cross_entropy` with ``reduction="mean"``: the sum of the weighted
    losses over the sum of the weights. Its standard error is that of a ratio of two sums,

        sqrt(n / (n - 1) * sum_i (l_i - mean * w_i)^2) / sum_i w_i

    which without class weights is the sample standard deviation over ``sqrt(n)``. Both are
    evaluated in exact arithmetic and rounded once.

    Parameters
    ----------
    weight : array_like of shape (classes,), optional
        A weight for each class.
    ignore_index : int, default -100
        Samples with this label are left out.
    label_smoothing : float in [0, 1], default 0.0
        Share of the target that is spread evenly over all classes.

    Raises
    ------
    TypeError
        If ``weight`` is not numeric or ``ignore_index`` is not an integer.
    ValueError
        If ``weight`` is not 1-D, ``ignore_index`` does not fit an int64, or ``label_smoothing``
        lies outside [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from logloss.evaluation import CrossEntropyState
    >>> logits = np.zeros((6, 4), dtype=np.float32)
    >>> whole = CrossEntropyState().update(logits, [0, 1, 2, 3, 0, 0])
    >>> first = CrossEntropyState().update(logits[:2], [0, 1])
    >>> second = CrossEntropyState().update(logits[2:], [2, 3, 0, 0])
    >>> first.merge(second) == whole
    True
    >>> round(whole.result().perplexity, 5), whole.result().accuracy
    (4.0, 0.5)
    """

    def __init__(
        self,
        *,
        weight: ArrayLike | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
    ) -> None:
        self._weight = None if weight is None else _checked_weight(weight)
        self._ignore_index = _checked_ignore_index(ignore_index)
        self._label_smoothing = check_label_smoothing(label_smoothing)
        self._samples = 0
        self._ignored = 0
        self._hits = 0
        self._loss = ExactSum()
        self._loss_loss = ExactSum()
        # Stay zero without class weights: every weight is 1 then and the counts say it all.
        self._sample_weight = ExactSum()
        self._loss_weight = ExactSum()
        self._weight_weight = ExactSum()

    @property
    def weight(self) -> NDArray[np.float64] | None:
        """The class weights, read-only, or None."""
        return self._weight

    @property
    def ignore_index(self) -> int:
        """The label of the samples that are left out."""
        return self._ignore_index

    @property
    def label_smoothing(self) -> float:
        """The share of the target that is spread over all classes."""
        return self._label_smoothing

    def update(self, logits: ArrayLike, target: ArrayLike, *, axis: int = -1) -> CrossEntropyState:
        """
        Add a batch of samples and return the state itself.

        Parameters
        ----------
        logits : array_like of float16, bfloat16, float32 or float64
            Unnormalised scores with the classes along ``axis``.
        target : array_like of integers
            Class indices, of the shape of ``logits`` without ``axis``.
        axis : int, default -1
            The class axis.

        Raises
        ------
        TypeError, ValueError
            For a dtype or a shape that does not fit.
        IndexError
            For a label that is neither a class nor ``ignore_index``.

        The state is unchanged if an error is raised.
        """
        rows = score_rows(
            logits,
            target,
            weight=self._weight,
            ignore_index=self._ignore_index,
            label_smoothing=self._label_smoothing,
            axis=axis,
        )
        valid = int(np.count_nonzero(rows.valid))
        self._samples += valid
        self._ignored += rows.valid.size - valid
        self._hits += int(np.count_nonzero(rows.hit))
        self._loss.add(rows.loss)
        self._loss_loss.add_products(rows.loss, rows.loss)
        if self._weight is not None:
            self._sample_weight.add(rows.weight)
            self._loss_weight.add_products(rows.loss, rows.weight)
            self._weight_weight.add_products(rows.weight, rows.weight)
        return self

    def merge(self, other: CrossEntropyState) -> CrossEntropyState:
        """
        Add what another state has seen and return the state itself; ``other`` stays as it is.

        Raises
        ------
        TypeError
            If ``other`` is not a `CrossEntropyState`.
        ValueError
            If the two states were made with different options.
        """
        if not isinstance(other, CrossEntropyState):
            raise TypeError(f"cannot merge a CrossEntropyState with {type(other).__name__}")
        self._check_same_options(other)
        self._samples += other._samples
        self._ignored += other._ignored
        self._hits += other._hits
        for mine, theirs in zip(self._sums(), other._sums(), strict=True):
            mine.merge(theirs)
        return self

    def result(self) -> CrossEntropyResult:
        """Return the metrics of everything seen so far."""
        total_weight = self._total_weight()
        loss = self._loss.quotient(total_weight)
        return CrossEntropyResult(
            samples=self._samples,
            ignored=self._ignored,
            loss=loss,
            standard_error=self._standard_error(total_weight),
            perplexity=_exp(loss),
            bits=loss / math.log(2.0),
            accuracy=self._hits / self._samples if self._samples else math.nan,
            hits=self._hits,
            total_loss=self._loss.value(),
            total_weight=total_weight.value(),
        )

    def to_bytes(self) -> bytes:
        """Return the state as bytes that `from_bytes` reads on any machine."""
        weight = b"" if self._weight is None else self._weight.astype("<f8").tobytes()
        parts = [
            _COUNTS.pack(
                self._samples,
                self._ignored,
                self._hits,
                self._ignore_index,
                self._label_smoothing,
                -1 if self._weight is None else self._weight.size,
            ),
            weight,
        ]
        for exact_sum in self._sums():
            raw = exact_sum.to_bytes()
            parts += [_SUM_LENGTH.pack(len(raw)), raw]
        body = b"".join(parts)
        content = _HEADER.pack(MAGIC, _VERSION, _KIND_CROSS_ENTROPY, len(body)) + body
        return content + _CHECKSUM.pack(zlib.crc32(content))

    @staticmethod
    def from_bytes(data: bytes) -> CrossEntropyState:
        """
        Return the state that `to_bytes` wrote.

        Raises
        ------
        ValueError
            If ``data`` is no saved state, of another version or kind, cut short, or damaged.
        """
        body = _Cursor(_checked_body(bytes(data)))
        samples, ignored, hits, ignore_index, label_smoothing, classes = body.unpack(_COUNTS)
        weight = None
        if classes >= 0:
            weight = np.frombuffer(body.take(8 * classes), dtype="<f8")
        state = CrossEntropyState(
            weight=weight, ignore_index=ignore_index, label_smoothing=label_smoothing
        )
        state._samples, state._ignored, state._hits = samples, ignored, hits
        for exact_sum in state._sums():
            (length,) = body.unpack(_SUM_LENGTH)
            exact_sum.merge(ExactSum.from_bytes(body.take(length)))
        body.check_end()
        return state

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CrossEntropyState):
            return NotImplemented
        return (
            self._options() == other._options()
            and self._counts() == other._counts()
            and self._sums() == other._sums()
        )

    __hash__ = None  # type: ignore[assignment]  # mutable, compared by value

    def __reduce__(self) -> tuple[Callable[[bytes], CrossEntropyState], tuple[bytes]]:
        return CrossEntropyState.from_bytes, (self.to_bytes(),)

    def __repr__(self) -> str:
        return f"<CrossEntropyState: {self._samples} samples, {self._ignored} ignored>"

    def _counts(self) -> tuple[int, int, int]:
        return self._samples, self._ignored, self._hits

    def _options(self) -> tuple[bytes | None, int, float]:
        weight = None if self._weight is None else self._weight.tobytes()
        return weight, self._ignore_index, self._label_smoothing

    def _sums(self) -> list[ExactSum]:
        sums = [self._loss, self._loss_loss]
        if self._weight is not None:
            sums += [self._sample_weight, self._loss_weight, self._weight_weight]
        return sums

    def _check_same_options(self, other: CrossEntropyState) -> None:
        if self._options()[0] != other._options()[0]:
            raise ValueError("cannot merge states with different weight")
        for name in ("ignore_index", "label_smoothing"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(f"cannot merge states with different {name} ({mine} and {theirs})")

    def _total_weight(self) -> ExactSum:
        return self._sample_weight if self._weight is not None else _exact_integer(self._samples)

    def _standard_error(self, total_weight: ExactSum) -> float:
        n = self._samples
        if n < 2:
            return math.nan
        try:
            loss = Fraction(*self._loss.as_integer_ratio())
            loss_loss = Fraction(*self._loss_loss.as_integer_ratio())
            weight = Fraction(*total_weight.as_integer_ratio())
            loss_weight, weight_weight = loss, weight
            if self._weight is not None:
                loss_weight = Fraction(*self._loss_weight.as_integer_ratio())
                weight_weight = Fraction(*self._weight_weight.as_integer_ratio())
            mean = loss / weight
        except (OverflowError, ValueError, ZeroDivisionError):
            return math.nan  # an infinite or nan loss, or a total weight of 0
        squares = loss_loss - 2 * mean * loss_weight + mean * mean * weight_weight
        return _sqrt(Fraction(n, n - 1) * squares / (weight * weight))


class _Cursor:
    """Reads a saved state from front to back and never past its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> bytes:
        start, stop = self._position, self._position + count
        if stop > len(self._data):
            raise ValueError("the saved state is damaged: a length inside it is wrong")
        self._position = stop
        return self._data[start:stop]

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))

    def check_end(self) -> None:
        if self._position != len(self._data):
            raise ValueError("the saved state is damaged: it is longer than its content")


def _checked_body(data: bytes) -> bytes:
    """Return the body of a saved state after checking everything around it."""
    if not data or data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise ValueError("not a saved logloss state")
    if len(data) < _HEADER.size:
        raise ValueError(f"the saved state is cut short: {len(data)} bytes")
    _, version, kind, length = _HEADER.unpack_from(data)
    if version != _VERSION:
        raise ValueError(f"the saved state has format version {version}, expected {_VERSION}")
    if kind != _KIND_CROSS_ENTROPY:
        raise ValueError(f"the saved state is of kind {kind}, not a cross-entropy state")
    expected = _HEADER.size + length + _CHECKSUM.size
    if len(data) < expected:
        raise ValueError(f"the saved state is cut short: {len(data)} of {expected} bytes")
    if len(data) > expected:
        raise ValueError(f"the saved state has {len(data) - expected} bytes too many")
    content = data[: -_CHECKSUM.size]
    if _CHECKSUM.unpack_from(data, len(content)) != (zlib.crc32(content),):
        raise ValueError("the saved state is damaged: its checksum does not match")
    return content[_HEADER.size :]


def _checked_weight(weight: ArrayLike) -> NDArray[np.float64]:
    array = real_array("weight", weight, np.dtype(np.float64)).copy()
    if array.ndim != 1:
        raise ValueError(f"weight: got shape {array.shape}, expected one axis, of the classes")
    array.setflags(write=False)
    return array


def _checked_ignore_index(ignore_index: int) -> int:
    value = check_ignore_index(ignore_index)
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"ignore_index: got {value}, expected an integer of 64 bits")
    return value


def _exact_integer(value: int) -> ExactSum:
    exact_sum = ExactSum()
    exact_sum.add(np.array([value], dtype=np.float64))
    return exact_sum


def _exp(value: float) -> float:
    """Return e^value, inf where it overflows."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _sqrt(value: Fraction) -> float:
    """
    Return the square root of a fraction, correctly rounded; 0 for a negative one.

    The value is scaled by a power of four until its integer square root has 56 bits or more. What
    lies below the last bit can only matter at a tie, so it is kept as one more bit, set if there
    is any remainder. A variance can fall below 0 only where squares of float64 losses underflow.
    """
    if value <= 0:
        return 0.0
    bits = value.numerator.bit_length() - value.denominator.bit_length()
    shift = max(0, (114 - bits) // 2)
    scaled, remainder = divmod(value.numerator << (2 * shift), value.denominator)
    root = math.isqrt(scaled)
    inexact = remainder != 0 or root * root != scaled
    return _float((root << 1) | inexact, shift + 1)


def _float(integer: int, shift: int) -> float:
    """Return integer / 2^shift, correctly rounded; inf where it overflows."""
    try:
        return integer / (1 << shift)
    except OverflowError:
        return math.inf
