# SPDX-License-Identifier: BSD-3-Clause
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_Made = TypeVar("_Made")

__version__: str
testing: ModuleType

def isa() -> str: ...
def available_isas() -> list[str]: ...
def has_openmp() -> bool: ...
def set_num_threads(threads: int, /) -> None: ...
def get_num_threads() -> int: ...

LARGE_RESULT: int

def in_result_memory(make: Callable[..., _Made], /, *arguments: Any) -> _Made: ...
def set_kept_limit(bytes: int, /) -> None: ...
def kept_limit() -> int: ...
def kept_bytes() -> int: ...

class ExactSum:
    def __init__(self) -> None: ...
    def add(self, values: NDArray[np.float32] | NDArray[np.float64]) -> None: ...
    def add_products(self, a: NDArray[Any], b: NDArray[Any]) -> None: ...
    def merge(self, other: ExactSum) -> None: ...
    def value(self) -> float: ...
    def quotient(self, denominator: ExactSum) -> float: ...
    def divided_by(self, divisor: float) -> float: ...
    def as_integer_ratio(self) -> tuple[int, int]: ...
    def to_bytes(self) -> bytes: ...
    @staticmethod
    def from_bytes(data: bytes) -> ExactSum: ...
    def __eq__(self, other: object, /) -> bool: ...

def log_softmax(input: NDArray[Any], axis: int, out: NDArray[Any]) -> None: ...
def softmax(input: NDArray[Any], axis: int, out: NDArray[Any]) -> None: ...
def log_softmax_backward(
    grad_output: NDArray[Any], input: NDArray[Any], axis: int, out: NDArray[Any]
) -> None: ...
def softmax_backward(
    grad_output: NDArray[Any], input: NDArray[Any], axis: int, out: NDArray[Any]
) -> None: ...
def logsumexp(input: NDArray[Any], axis: int, out: NDArray[Any]) -> None: ...
def logsumexp_backward(
    grad_output: NDArray[np.float64], input: NDArray[Any], axis: int, out: NDArray[Any]
) -> None: ...
def entropy(input: NDArray[Any], axis: int, out: NDArray[Any]) -> None: ...
def entropy_backward(
    grad_output: NDArray[np.float64], input: NDArray[Any], axis: int, out: NDArray[Any]
) -> None: ...
def entropy_with_logits(input: NDArray[Any], axis: int, out: NDArray[Any]) -> None: ...
def entropy_with_logits_backward(
    grad_output: NDArray[np.float64], input: NDArray[Any], axis: int, out: NDArray[Any]
) -> None: ...
def cross_entropy(
    input: NDArray[Any],
    axis: int,
    target: NDArray[Any],
    ignore_index: int = -100,
    weight: NDArray[Any] | None = None,
    smoothing: float = 0.0,
    mean: bool = False,
    want_sum: bool = False,
    loss: NDArray[Any] | None = None,
    grad: NDArray[Any] | None = None,
    grad_output: float = 1.0,
    grad_rows: NDArray[np.float64] | None = None,
    hit: NDArray[np.uint8] | None = None,
) -> float | None: ...
def nll_loss(
    input: NDArray[Any],
    axis: int,
    target: NDArray[Any],
    ignore_index: int = -100,
    weight: NDArray[Any] | None = None,
    smoothing: float = 0.0,
    mean: bool = False,
    want_sum: bool = False,
    loss: NDArray[Any] | None = None,
    grad: NDArray[Any] | None = None,
    grad_output: float = 1.0,
    grad_rows: NDArray[np.float64] | None = None,
    hit: NDArray[np.uint8] | None = None,
) -> float | None: ...
def kl_div_with_logits(
    first: NDArray[Any],
    second: NDArray[Any],
    axis: int,
    target: NDArray[np.float64] | None = None,
    margin: float = 0.0,
    divisor: float = 1.0,
    want_sum: bool = False,
    loss: NDArray[Any] | None = None,
    first_grad: NDArray[Any] | None = None,
    second_grad: NDArray[Any] | None = None,
    grad_output: float = 1.0,
    grad_rows: NDArray[np.float64] | None = None,
) -> float | None: ...
def cosine_embedding_loss(
    first: NDArray[Any],
    second: NDArray[Any],
    axis: int,
    target: NDArray[np.float64] | None = None,
    margin: float = 0.0,
    divisor: float = 1.0,
    want_sum: bool = False,
    loss: NDArray[Any] | None = None,
    first_grad: NDArray[Any] | None = None,
    second_grad: NDArray[Any] | None = None,
    grad_output: float = 1.0,
    grad_rows: NDArray[np.float64] | None = None,
) -> float | None: ...
def sigmoid(input: NDArray[Any], out: NDArray[Any]) -> None: ...
def sigmoid_backward(grad_output: NDArray[Any], input: NDArray[Any], out: NDArray[Any]) -> None: ...
def log_sigmoid(input: NDArray[Any], out: NDArray[Any]) -> None: ...
def log_sigmoid_backward(
    grad_output: NDArray[Any], input: NDArray[Any], out: NDArray[Any]
) -> None: ...
def binary_cross_entropy(
    input: NDArray[Any],
    target: NDArray[Any],
    dtype: np.dtype[Any],
    weight: NDArray[Any] | None,
    pos_weight: NDArray[Any] | None,
    divisor: float,
    want_sum: bool,
    loss: NDArray[Any] | None = None,
    grad: NDArray[Any] | None = None,
    grad_output: NDArray[Any] | None = None,
    grad_scale: float = 1.0,
) -> float | None: ...
def binary_cross_entropy_with_logits(
    input: NDArray[Any],
    target: NDArray[Any],
    dtype: np.dtype[Any],
    weight: NDArray[Any] | None,
    pos_weight: NDArray[Any] | None,
    divisor: float,
    want_sum: bool,
    loss: NDArray[Any] | None = None,
    grad: NDArray[Any] | None = None,
    grad_output: NDArray[Any] | None = None,
    grad_scale: float = 1.0,
) -> float | None: ...
def kl_div(
    input: NDArray[Any],
    target: NDArray[Any],
    dtype: np.dtype[Any],
    weight: NDArray[Any] | None,
    pos_weight: NDArray[Any] | None,
    divisor: float,
    want_sum: bool,
    loss: NDArray[Any] | None = None,
    grad: NDArray[Any] | None = None,
    grad_output: NDArray[Any] | None = None,
    grad_scale: float = 1.0,
) -> float | None: ...
def kl_div_log_target(
    input: NDArray[Any],
    target: NDArray[Any],
    dtype: np.dtype[Any],
    weight: NDArray[Any] | None,
    pos_weight: NDArray[Any] | None,
    divisor: float,
    want_sum: bool,
    loss: NDArray[Any] | None = None,
    grad: NDArray[Any] | None = None,
    grad_output: NDArray[Any] | None = None,
    grad_scale: float = 1.0,
) -> float | None: ...
def first_outside_unit_interval(array: NDArray[Any]) -> tuple[int, float]: ...
