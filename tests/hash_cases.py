# SPDX-License-Identifier: BSD-3-Clause
"""The cases of tests/hashes.json: every operation over inputs made by integer arithmetic alone.

tests/native/kernel_hashes.cpp does the like in C++, for machines without Python. After a change
that is meant to change bits, write the file anew:

    python tests/hash_cases.py > tests/hashes.json
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

import logloss
from conftest import DTYPE_NAMES, named_dtype
from ulp import FORMATS, Array

# Around the widths of registers, tiles, blocks, chunks and of the types that count them.
CLASSES = (1, 2, 3, 10, 15, 16, 17, 127, 128, 129, 1000, 1023, 1024, 1025, 4097)
CLASSES += (65535, 65536, 65537, 131073)
# Numbers of elements: around the widths of registers and batches, and enough for 3 and 8 threads.
SIZES = (1, 2, 15, 16, 17, 4095, 4096, 4097, 100003, 300007)

# Arguments by the names of the inputs.
COSINE = ("finite", "other", "signs")
WEIGHTS = ("weight", "pos_weight")


def rows_of(classes: int) -> int:
    """Enough for several batches and, from 127 classes on, for 8 threads."""
    return max(3, min(3000, 280_000 // classes))


def mix(n: Array, stream: int) -> Array:
    """64 random bits for each n: the finalizer of SplitMix64 (Steele, Lea, Flood, 2014)."""
    z = (n + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(stream * 0xD1B54A32D192ED03 % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def random_bits(stream: int, *shape: int) -> Array:
    return mix(np.arange(np.prod(shape), dtype=np.uint64), stream).reshape(shape)


def uniform(dtype_name: str, stream: int, *shape: int) -> Array:
    """Numbers in [-16, 16) with as many bits as the type has."""
    bits = FORMATS[dtype_name][0]
    integers = (random_bits(stream, *shape) >> np.uint64(64 - bits)).astype(np.int64)
    return (integers - 2 ** (bits - 1)) * 2.0 ** (5 - bits)


class Inputs(NamedTuple):
    """Arguments for one number of classes and one dtype; in `finite` no row is special.

    `other` nearly agrees with `finite` in every third row.
    """

    logits: Array
    finite: Array
    other: Array
    target: Array
    signs: Array
    probs: Array
    weight: Array
    grad: Array
    grad_rows: Array

    def at(self, index: Any) -> Inputs:
        """Some of the rows; the class weights stay."""
        return Inputs(*(x if x is self.weight else x[index] for x in self))


@lru_cache(len(CLASSES))
def inputs(classes: int, dtype_name: str) -> Inputs:
    rows, dtype = rows_of(classes), named_dtype(dtype_name)
    row, place = np.arange(rows), np.arange(rows) * 7 % classes
    target = (random_bits(1, rows) % np.uint64(classes)).astype(np.int64)
    logits = uniform(dtype_name, 0, rows, classes)
    logits[row[::3], target[::3]] = 40  # a confident prediction
    kind = row % 64 if rows > 64 else np.zeros(rows)
    logits[kind == 63] *= 512
    finite = logits.copy()
    logits[row[kind == 60], place[kind == 60]] = np.nan
    logits[kind == 61] = -np.inf
    logits[row[kind == 62], place[kind == 62]] = np.inf
    target[(kind >= 60) & (kind <= 62)] = -100
    other = uniform(dtype_name, 9, rows, classes)
    other[::3] = finite[::3] + other[::3] / 512
    weight = (1.0 + (random_bits(3, classes) >> np.uint64(60))) / 8
    weight[4::5] = 0
    return Inputs(
        logits.astype(dtype),
        finite.astype(dtype),
        other.astype(dtype),
        target,
        1 - row % 3,
        ((random_bits(2, rows, classes) >> np.uint64(56)) / 256.0).astype(dtype),
        weight.astype(np.float64 if dtype_name == "float64" else np.float32),
        (uniform(dtype_name, 4, rows, classes) / 16).astype(dtype),
        uniform("float32", 5, rows) / 16,
    )


class Elements(NamedTuple):
    """Arguments of the element-wise operations for one size and dtype; `finite` holds no special.

    In one third of the elements `log_probs` is the logarithm of `probs`, in another `log_target`
    nearly agrees with `log_probs`.
    """

    logits: Array
    finite: Array
    probs: Array
    target: Array
    binary: Array
    log_probs: Array
    log_target: Array
    weight: Array
    pos_weight: Array
    grad: Array

    def at(self, index: Any) -> Elements:
        """Some of the elements."""
        return Elements(*(x[index] for x in self))


def probabilities(dtype_name: str, stream: int, size: int) -> Array:
    """Numbers in [0, 1], with 0, 1 and numbers next to them among them."""
    probs = (uniform(dtype_name, stream, size) + 16) / 32
    tiny = 2.0**-10
    for first, value in ((3, 0), (5, 1), (6, tiny), (9, 1 - tiny), (10, tiny * tiny)):
        probs[first::11] = value
    return probs


@lru_cache(len(SIZES))
def elements(size: int, dtype_name: str) -> Elements:
    dtype, place = named_dtype(dtype_name), np.arange(size)
    finite = uniform(dtype_name, 10, size)
    finite[7::13] *= 8
    logits = finite.copy()
    for first, value in ((11, np.nan), (12, np.inf), (14, -np.inf), (16, -0.0), (18, 1000)):
        logits[first::19] = value
    probs, target = probabilities(dtype_name, 11, size), probabilities(dtype_name, 12, size)
    log_probs, power = -np.abs(uniform(dtype_name, 13, size)), place[::3] % 8
    probs[::3], log_probs[::3] = 2.0**-power, -0.6931471805599453 * power
    log_target = -np.abs(uniform(dtype_name, 14, size))
    log_target[1::3] = log_probs[1::3] * (1 + 2.0**-9)
    weight, pos_weight = ((random_bits(n, size) >> np.uint64(60)) / 8 for n in (15, 17))
    compute = np.float64 if dtype_name == "float64" else np.float32
    return Elements(
        logits.astype(dtype),
        finite.astype(dtype),
        probs.astype(dtype),
        target.astype(dtype),
        place % 7 % 2,
        log_probs.astype(dtype),
        log_target.astype(dtype),
        weight.astype(compute),
        pos_weight.astype(compute),
        (uniform(dtype_name, 16, size) / 16).astype(dtype),
    )


# What one operation returns, as a sequence of arrays and numbers.
Operation = Callable[[Any], tuple[Any, ...]]


def flat(*results: Any) -> tuple[Any, ...]:
    """Pairs of gradients among the others."""
    return tuple(
        x for result in results for x in (result if isinstance(result, tuple) else [result])
    )


def loss(function: str, *, probs: bool = False, weight: bool = False, **options: Any) -> Operation:
    """A loss of logits and classes, or probabilities of the classes, and its gradient."""
    names = ("finite", "probs") if probs else ("logits", "target")
    return with_gradient(function, *names, weights=("weight",) if weight else (), **options)


def with_gradient(
    function: str, *names: str, weights: tuple[str, ...] = (), **options: Any
) -> Operation:
    """A loss of the inputs of those names, `weights` by keyword, and its gradients."""
    call = getattr(logloss, f"{function}_value_and_grad")

    def run(given: Any) -> tuple[Any, ...]:
        arrays = given._asdict()
        keywords = {name: arrays[name] for name in weights}
        return flat(*call(*(arrays[name] for name in names), **keywords, **options))

    return run


def with_backward(function: str, *names: str, grad: str, **options: Any) -> Operation:
    """A function of the inputs of those names, and its gradients times the input `grad`."""
    forward, backward = getattr(logloss, function), getattr(logloss, f"{function}_backward")
    both = {"target_grad": True} if function == "kl_div_with_logits" else {}

    def run(given: Any) -> tuple[Any, ...]:
        arrays = given._asdict()
        args = [arrays[name] for name in names]
        return flat(forward(*args, **options), backward(arrays[grad], *args, **options, **both))

    return run


def backward_of_rows(given: Inputs) -> tuple[Any, ...]:
    arguments = given.grad_rows, given.logits, given.target
    grad = logloss.cross_entropy_backward(*arguments, weight=given.weight, reduction="none")
    return (grad,)


ROW_OPERATIONS: dict[str, Operation] = {
    "log_softmax": lambda a: (logloss.log_softmax(a.logits),),
    "softmax": lambda a: (logloss.softmax(a.logits),),
    "logsumexp": lambda a: (logloss.logsumexp(a.logits),),
    "log_softmax_backward": lambda a: (logloss.log_softmax_backward(a.grad, a.logits),),
    "softmax_backward": lambda a: (logloss.softmax_backward(a.grad, a.logits),),
    "logsumexp_backward": lambda a: (logloss.logsumexp_backward(a.grad_rows, a.logits),),
    "cross_entropy none": loss("cross_entropy", reduction="none"),
    "cross_entropy mean": loss("cross_entropy", reduction="mean"),
    "cross_entropy weight sum": loss("cross_entropy", weight=True, reduction="sum"),
    "cross_entropy smoothed none": loss("cross_entropy", label_smoothing=0.1, reduction="none"),
    "cross_entropy weight smoothed mean": loss(
        "cross_entropy", weight=True, label_smoothing=0.1, reduction="mean"
    ),
    "cross_entropy weight rows backward": backward_of_rows,
    "cross_entropy probs mean": loss("cross_entropy", probs=True, reduction="mean"),
    "cross_entropy probs weight smoothed none": loss(
        "cross_entropy", probs=True, weight=True, label_smoothing=0.1, reduction="none"
    ),
    "nll_loss weight none": loss("nll_loss", weight=True, reduction="none"),
    "nll_loss mean": loss("nll_loss", reduction="mean"),
    "entropy": with_backward("entropy", "probs", grad="grad_rows"),
    "entropy_with_logits": with_backward("entropy_with_logits", "logits", grad="grad_rows"),
    "kl_div_with_logits none": with_backward(
        "kl_div_with_logits", "logits", "other", grad="grad_rows", reduction="none"
    ),
    "kl_div_with_logits batchmean": with_gradient(
        "kl_div_with_logits", "finite", "other", target_grad=True
    ),
    "cosine_embedding_loss none": with_backward(
        "cosine_embedding_loss", *COSINE, grad="grad_rows", margin=-0.0625, reduction="none"
    ),
    "cosine_embedding_loss mean": with_gradient("cosine_embedding_loss", *COSINE),
}

ELEMENT_OPERATIONS: dict[str, Operation] = {
    "sigmoid": with_backward("sigmoid", "logits", grad="grad"),
    "log_sigmoid": with_backward("log_sigmoid", "logits", grad="grad"),
    "binary_cross_entropy none": with_backward(
        "binary_cross_entropy", "probs", "target", grad="grad", reduction="none"
    ),
    "binary_cross_entropy integers sum": with_gradient(
        "binary_cross_entropy", "probs", "binary", reduction="sum"
    ),
    "binary_cross_entropy weight mean": with_gradient(
        "binary_cross_entropy", "probs", "target", weights=("weight",)
    ),
    "binary_cross_entropy_with_logits none": with_backward(
        "binary_cross_entropy_with_logits", "logits", "target", grad="grad", reduction="none"
    ),
    "binary_cross_entropy_with_logits integers sum": with_gradient(
        "binary_cross_entropy_with_logits", "finite", "binary", reduction="sum"
    ),
    "binary_cross_entropy_with_logits weights none": with_gradient(
        "binary_cross_entropy_with_logits", "logits", "target", weights=WEIGHTS, reduction="none"
    ),
    "binary_cross_entropy_with_logits weights mean": with_gradient(
        "binary_cross_entropy_with_logits", "finite", "target", weights=WEIGHTS
    ),
    "kl_div none": with_backward("kl_div", "log_probs", "probs", grad="grad", reduction="none"),
    "kl_div mean": with_gradient("kl_div", "log_probs", "probs"),
    "kl_div log_target none": with_backward(
        "kl_div", "log_probs", "log_target", grad="grad", reduction="none", log_target=True
    ),
    "kl_div log_target sum": with_gradient(
        "kl_div", "log_probs", "log_target", reduction="sum", log_target=True
    ),
}


class Family(NamedTuple):
    """Operations over the same inputs, which are made for each of some sizes and a dtype."""

    operations: dict[str, Operation]
    inputs: Callable[[int, str], Any]
    sizes: tuple[int, ...]


ROWS = Family(ROW_OPERATIONS, inputs, CLASSES)
ELEMENTS = Family(ELEMENT_OPERATIONS, elements, SIZES)
FAMILY_OF = {name: family for family in (ROWS, ELEMENTS) for name in family.operations}


def words(result: Any) -> Array:
    """The bits of each element as an integer, the same one for every NaN."""
    array = np.atleast_1d(np.asarray(result))
    bits = array.view(f"u{array.dtype.itemsize}").astype(np.uint64).reshape(-1)
    bits[np.isnan(array.reshape(-1))] = np.uint64(2**64 - 1)
    return bits


def hash_of(results: tuple[Any, ...]) -> str:
    """A sum of mixed words, each with its position: 8 hexadecimal digits."""
    total = np.zeros(1, np.uint64)
    for result in results:
        bits = words(result)
        bits += np.arange(bits.size, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        total = mix(total, 6) + mix(bits, 7).sum(dtype=np.uint64)
    return f"{int(total[0]) >> 32:08x}"


def hashes(name: str, dtype_name: str) -> dict[str, str]:
    """{size: hash} of one operation."""
    operations, inputs_of, sizes = FAMILY_OF[name]
    return {str(n): hash_of(operations[name](inputs_of(n, dtype_name))) for n in sizes}


def main() -> None:
    lines = []
    for name in FAMILY_OF:
        for dtype_name in DTYPE_NAMES:
            results = hashes(name, dtype_name).items()
            pairs = ", ".join(f'"{size}": "{digits}"' for size, digits in results)
            lines.append(f'"{name} {dtype_name}": {{{pairs}}}')
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
