# SPDX-License-Identifier: BSD-3-Clause
# Of the optional module; csrc/cuda/README.md says what the numbers mean. Arrays and streams are
# addresses, 0 for none; of a device of -1 the arrays are asked.
from typing import Any, TypeAlias

__version__: str
SUM_STATE_BYTES: int
TARGET_REPORT_BYTES: int
MISFIT_REPORT_BYTES: int

Shape: TypeAlias = tuple[int, int, int]
Repeated: TypeAlias = tuple[int, int, int]

class Memory:
    def __init__(self, bytes: int, device: int, stream: int, owner: object = None) -> None: ...
    @property
    def address(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def device(self) -> int: ...
    @property
    def stream(self) -> int: ...
    def lend(self, stream: int) -> None: ...
    def to_dlpack(
        self, shape: list[int], code: int, bits: int, *, versioned: bool, copied: bool
    ) -> Any: ...

class Borrowed:
    def __init__(self, capsule: object) -> None: ...
    @property
    def address(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...] | None: ...
    @property
    def dtype(self) -> tuple[int, int, int]: ...
    @property
    def device(self) -> tuple[int, int]: ...
    @property
    def read_only(self) -> bool: ...

def device_count() -> int: ...
def device_name(device: int) -> str: ...
def current_device() -> int: ...
def device_of(array: int) -> int: ...
def order(before: int, after: int, device: int) -> None: ...
def fetch(to: int, source: int, bytes: int, stream: int, device: int = -1) -> None: ...
def copy(to: int, source: int, bytes: int, stream: int, device: int = -1) -> None: ...
def convert(
    from_type: int,
    dtype: int,
    n: int,
    source: Repeated,
    output: int,
    *,
    stream: int,
    device: int = -1,
) -> None: ...
def fill(
    dtype: int, n: int, value: float, output: int, *, stream: int, device: int = -1
) -> None: ...
def repeat(
    dtype: int,
    n: int,
    source: int,
    copies: int,
    inner: int,
    output: int,
    *,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def sum_copies(
    dtype: int,
    shape: list[tuple[int, bool]],
    values: int,
    sums: int,
    *,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def clear_sum(sum: int, *, stream: int = 0, device: int = -1) -> None: ...
def class_rows(
    index_type: int,
    n: int,
    classes: int,
    ignore_index: int | None,
    target: int,
    report: int,
    rows: int,
    *,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def weight_of_rows(
    dtype: int,
    n: int,
    classes: int,
    weight: int,
    rows: int,
    sum: int,
    *,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def finish_sum(
    out: int,
    *,
    numerator: int = 0,
    denominator: int = 0,
    count: int = 0,
    divisor: float = 1.0,
    factor: int = 0,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def name_misfit(
    dtype: int, input: int, target: int, report: int, *, stream: int = 0, device: int = -1
) -> None: ...
def log_softmax(
    dtype: int, shape: Shape, input: int, output: int, *, stream: int = 0, device: int = -1
) -> None: ...
def softmax(
    dtype: int, shape: Shape, input: int, output: int, *, stream: int = 0, device: int = -1
) -> None: ...
def log_softmax_backward(
    dtype: int,
    shape: Shape,
    grad_output: int,
    input: int,
    output: int,
    *,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def softmax_backward(
    dtype: int,
    shape: Shape,
    grad_output: int,
    input: int,
    output: int,
    *,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def sigmoid(
    dtype: int, n: int, input: int, output: int, *, stream: int = 0, device: int = -1
) -> None: ...
def log_sigmoid(
    dtype: int, n: int, input: int, output: int, *, stream: int = 0, device: int = -1
) -> None: ...
def sigmoid_backward(
    dtype: int,
    n: int,
    grad_output: int,
    input: int,
    output: int,
    *,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def log_sigmoid_backward(
    dtype: int,
    n: int,
    grad_output: int,
    input: int,
    output: int,
    *,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def logsumexp(
    dtype: int, shape: Shape, input: int, value: int, *, stream: int = 0, device: int = -1
) -> None: ...
def entropy(
    dtype: int, shape: Shape, input: int, value: int, *, stream: int = 0, device: int = -1
) -> None: ...
def entropy_with_logits(
    dtype: int, shape: Shape, input: int, value: int, *, stream: int = 0, device: int = -1
) -> None: ...
def logsumexp_backward(
    dtype: int,
    shape: Shape,
    grad_output: int,
    input: int,
    output: int,
    *,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def entropy_backward(
    dtype: int,
    shape: Shape,
    grad_output: int,
    input: int,
    output: int,
    *,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def entropy_with_logits_backward(
    dtype: int,
    shape: Shape,
    grad_output: int,
    input: int,
    output: int,
    *,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def cross_entropy(
    dtype: int,
    shape: Shape,
    input: int,
    *,
    target: int = 0,
    probs: int = 0,
    weight: int = 0,
    smoothing: float = 0.0,
    loss: int = 0,
    sum: int = 0,
    grad: int = 0,
    grad_scale: float = 1.0,
    grad_factor: int = 0,
    grad_rows: int = 0,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def nll_loss(
    dtype: int,
    shape: Shape,
    input: int,
    *,
    target: int = 0,
    probs: int = 0,
    weight: int = 0,
    smoothing: float = 0.0,
    loss: int = 0,
    sum: int = 0,
    grad: int = 0,
    grad_scale: float = 1.0,
    grad_factor: int = 0,
    grad_rows: int = 0,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def kl_div_with_logits(
    dtype: int,
    shape: Shape,
    first: int,
    second: int,
    *,
    target: int = 0,
    margin: float = 0.0,
    loss: int = 0,
    sum: int = 0,
    first_grad: int = 0,
    second_grad: int = 0,
    grad_scale: float = 1.0,
    grad_factor: int = 0,
    grad_rows: int = 0,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def cosine_embedding_loss(
    dtype: int,
    shape: Shape,
    first: int,
    second: int,
    *,
    target: int = 0,
    margin: float = 0.0,
    loss: int = 0,
    sum: int = 0,
    first_grad: int = 0,
    second_grad: int = 0,
    grad_scale: float = 1.0,
    grad_factor: int = 0,
    grad_rows: int = 0,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def binary_cross_entropy(
    dtype: int,
    n: int,
    input: int,
    target: int,
    *,
    weight: Repeated | None = None,
    pos_weight: Repeated | None = None,
    loss: int = 0,
    sum: int = 0,
    grad: int = 0,
    grad_scale: float = 1.0,
    grad_factor: int = 0,
    grad_output: int = 0,
    misfit: int = 0,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def binary_cross_entropy_with_logits(
    dtype: int,
    n: int,
    input: int,
    target: int,
    *,
    weight: Repeated | None = None,
    pos_weight: Repeated | None = None,
    loss: int = 0,
    sum: int = 0,
    grad: int = 0,
    grad_scale: float = 1.0,
    grad_factor: int = 0,
    grad_output: int = 0,
    misfit: int = 0,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def kl_div(
    dtype: int,
    n: int,
    input: int,
    target: int,
    *,
    weight: Repeated | None = None,
    pos_weight: Repeated | None = None,
    loss: int = 0,
    sum: int = 0,
    grad: int = 0,
    grad_scale: float = 1.0,
    grad_factor: int = 0,
    grad_output: int = 0,
    misfit: int = 0,
    stream: int = 0,
    device: int = -1,
) -> None: ...
def kl_div_log_target(
    dtype: int,
    n: int,
    input: int,
    target: int,
    *,
    weight: Repeated | None = None,
    pos_weight: Repeated | None = None,
    loss: int = 0,
    sum: int = 0,
    grad: int = 0,
    grad_scale: float = 1.0,
    grad_factor: int = 0,
    grad_output: int = 0,
    misfit: int = 0,
    stream: int = 0,
    device: int = -1,
) -> None: ...
