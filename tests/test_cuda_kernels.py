# SPDX-License-Identifier: BSD-3-Clause
"""The CUDA kernels, run on the CPU by csrc/cuda/emulation: the bits of the CPU kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from cuda_calls import (
    BFLOAT16,
    CODES,
    DTYPES,
    PAIRS,
    Array,
    Pair,
    address,
    assert_same_bits,
    assert_same_sum,
    check_class_loss,
    check_element_loss,
    check_pair_loss,
    check_row_values,
    check_sigmoid,
    check_softmax,
    compute_dtype,
    cuda,
    exact_sum,
    on_device,
    sum_state,
)

INF, NAN = np.inf, np.nan
# Tails of vectors, tiles and blocks; rows of one team and of a block.
WIDTHS = range(1, 2101)
# Vectors, tiles, blocks of 1024, and what is beside them.
CHOSEN_WIDTHS = (*(2**k + d for k in range(1, 12) for d in (-1, 0, 1)), 10, 1000, 2100)
# Rows of a block, rows too large for its memory, rows of several chunks.
LARGE_WIDTHS = (*(2**k + d for k in range(12, 18) for d in (-1, 1)), 24000, 65536, 65552)
# Block memory for rows: the usual, and none: those beyond a team's are read from where they are.
ROW_MEMORY = (99 * 1024, 0)

SCHEDULES: tuple[dict[str, Any], ...] = (
    {"order": "forward"},
    {"order": "reverse"},
    {"order": "shuffled", "seed": 1},
    {"order": "shuffled", "seed": 2},
)

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@pytest.fixture(autouse=True)
def _default_settings() -> Iterator[None]:
    cuda.configure()
    yield
    cuda.configure()


def logits(
    rng: np.random.Generator, rows: int, classes: int, dtype: np.dtype[Any], beyond: int = 0
) -> Array:
    """Rows of several deviations, the last one with a confident class and ties."""
    x = rng.normal(size=(rows, classes)) * np.array([1.0, 5.0, 30.0])[np.arange(rows) % 3, None]
    x[-1, : max(1, classes // 3)] = np.round(x[-1, : max(1, classes // 3)])
    x[-1, rng.integers(classes)] += 25
    return on_device(x, dtype, beyond)


def targets(rng: np.random.Generator, x: Array) -> Array:
    """Likely and unlikely classes, the first row ignored."""
    rows = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]).astype(np.float64)
    target = rng.integers(0, x.shape[1], len(rows))
    target[-1] = rows[-1].argmax() if len(rows) > 1 else target[-1]
    target[0] = -1 if len(rows) > 2 else target[0]
    return target.astype(np.int64)


def weights(rng: np.random.Generator, classes: int, dtype: np.dtype[Any]) -> Array:
    w = rng.uniform(0, 2, classes).astype(compute_dtype(dtype))
    w[rng.random(classes) < 0.2] = 0
    return w


def probabilities(rng: np.random.Generator, x: Array) -> Array:
    p = rng.exponential(size=x.shape) * (rng.random(x.shape) < 0.7)
    return on_device(p / np.maximum(p.sum(axis=1, keepdims=True), 1e-3), x.dtype)


def row_checks(
    rng: np.random.Generator, x: Array, pairs: tuple[Pair, ...] = PAIRS
) -> tuple[Callable[[], None], ...]:
    """
    Every operation over rows, with its gradient.

    Those of two inputs have the gradients that `pairs` name.
    """
    w, classes = weights(rng, x.shape[1], x.dtype), targets(rng, x)
    p, other = probabilities(rng, x), on_device(rng.permuted(x, axis=0), x.dtype)
    g = on_device(rng.normal(size=x.shape), x.dtype)
    alike = np.array([1.0, -1.0, 0.0])[np.arange(len(classes)) % 3]
    return (
        lambda: check_class_loss("cross_entropy", x, classes),
        lambda: check_class_loss("cross_entropy", x, classes, w, 0.1),
        lambda: check_class_loss("cross_entropy", x, p, w, 0.1),
        lambda: check_class_loss("nll_loss", x, classes, w),
        lambda: check_softmax(x, g, "log_softmax"),
        lambda: check_softmax(x, g, "softmax"),
        lambda: check_row_values(x, "logsumexp", rng),
        lambda: check_row_values(x, "entropy_with_logits", rng),
        lambda: check_row_values(p, "entropy", rng),
        lambda: check_pair_loss("kl_div_with_logits", x, other, pairs=pairs),
        lambda: check_pair_loss("cosine_embedding_loss", x, other, alike, 0.1, pairs=pairs),
    )


def check_rows(rng: np.random.Generator, x: Array) -> None:
    for check in row_checks(rng, x):
        check()


by_schedule = pytest.mark.parametrize(
    "schedule", SCHEDULES, ids=lambda s: "-".join(map(str, s.values()))
)
by_turn = pytest.mark.parametrize("turn", range(3), ids=("forward", "reverse", "shuffled"))


def check_in_turn(turn: int, rng: np.random.Generator, x: Array) -> None:
    """
    The operations whose turn it is, in one of three schedules.

    Over the three turns each operation runs once, in another schedule than its neighbour in the
    list and than itself at the next width: as 3 is no factor of 16, 128 or 1024, at every length of
    a tail in each. One gradient or both of the pairs: another one every three widths.
    """
    classes = x.shape[1]
    cuda.configure(**SCHEDULES[turn])
    pairs = (PAIRS[classes // 3 % 3],)
    for i, check in enumerate(row_checks(rng, x, pairs)):
        if (classes + i) % 3 == turn:
            check()


@by_dtype
@by_turn
def test_every_width(turn: int, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    """Every width with every operation in every dtype, in one of the schedules."""
    for classes in WIDTHS:
        rows = 3 if classes <= 1024 else 1 + classes % 2  # of teams, of a block each
        check_in_turn(turn, rng, logits(rng, rows, classes, dtype, beyond=classes % 3))


@by_dtype
@pytest.mark.parametrize("classes", LARGE_WIDTHS)
def test_large_rows(classes: int, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    """The same of large rows."""
    for turn in range(3):
        check_in_turn(turn, rng, logits(rng, 2 if classes < 20000 else 1, classes, dtype))


@by_dtype
@by_schedule
def test_every_schedule(
    schedule: dict[str, Any], dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    """Chosen widths with every operation in every dtype and every schedule."""
    cuda.configure(**schedule)
    for classes in CHOSEN_WIDTHS:
        check_rows(rng, logits(rng, 4, classes, dtype))


@by_dtype
def test_rows_beyond_block_memory(dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    for schedule in SCHEDULES[1:3]:
        cuda.configure(**schedule, row_memory=0)
        for classes in (1025, 2100, 5000, 20001):
            check_rows(rng, logits(rng, 3, classes, dtype))


@by_dtype
def test_rows_of_many_chunks(dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    """Chunks whose maxima rise, fall, are equal, or call for a shift."""
    classes = 18 * 65536 + 77
    for case in ("any", "rising", "ties", "shifted") if dtype == np.float32 else ("rising",):
        x = rng.normal(size=(2, classes))
        if case == "rising":
            x += 3 * (np.arange(classes) // 65536 // 2 % 7)
        elif case == "ties":
            x = np.minimum(np.round(x, 1), 3.0)
        elif case == "shifted":
            x[1] += 5000
        x = on_device(x, dtype)
        check_class_loss("cross_entropy", x, np.array([700000, 5]))
        check_class_loss("cross_entropy", x, np.array([5, -1]), in_place=True)
        check_row_values(x, "logsumexp", rng)
    check_class_loss("cross_entropy", x, np.array([9, 5]), weights(rng, classes, dtype), 0.1)


@by_dtype
def test_many_short_rows(dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    """Teams that have up to 16 rows in hand."""
    for classes, rows in ((3, 1500), (10, 1001), (40, 700)):
        x = logits(rng, rows, classes, dtype)
        check_class_loss("cross_entropy", x, targets(rng, x), grad_rows=rng.normal(size=rows))
        check_row_values(x, "logsumexp", rng)
        for name in ("log_softmax", "softmax"):
            check_softmax(x, on_device(rng.normal(size=x.shape), dtype), name)


@by_dtype
@pytest.mark.parametrize("inner", (2, 5, 33))
def test_inner_class_axis(inner: int, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    for classes in (1, 3, 21, 200, 1025):
        check_rows(rng, on_device(rng.normal(0, 5, (2, classes, inner)), dtype))


@by_dtype
def test_gradient_in_place_and_out_of_phase(dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    for classes in (7, 130, 1030):
        for beyond in range(16 // dtype.itemsize):
            x = logits(rng, 3, classes, dtype, beyond)
            check_class_loss("cross_entropy", x, targets(rng, x), in_place=beyond % 2 == 0)
            check_class_loss("nll_loss", x, targets(rng, x), in_place=beyond % 2 == 0)


SPECIAL_ROWS = (
    [INF, 0.0, 1.0],
    [INF, INF, -INF],
    [-INF, -INF, -INF],
    [-INF, 0.0, -INF],
    [NAN, 0.0, INF],
    [0.0, NAN, -INF],
    [NAN, NAN, NAN],
    [0.0, -0.0, 0.0],
    [6e4, 5.9e4, -6e4],
    [-5e4, -5e4, -5.1e4],
    [1e-7, -1e-7, 6e-8],
    [-0.6931, -0.6932, -60.0],
)


@by_dtype
@pytest.mark.parametrize("padding", (0, 20, 1500))
def test_special_rows(padding: int, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    for row in SPECIAL_ROWS:
        for fill in (-INF, row[1], -3.0):
            x = on_device([[*row, *[fill] * padding], [*[fill] * padding, *row]], dtype)
            for room in ROW_MEMORY:
                cuda.configure(row_memory=room)
                classes = np.array([1, padding], np.int64)
                check_class_loss("cross_entropy", x, classes)
                check_class_loss("cross_entropy", x, classes, smoothing=0.1)
                check_row_values(x, "logsumexp", rng)
                for name in ("log_softmax", "softmax"):
                    check_softmax(x, on_device(rng.normal(size=x.shape), dtype), name)
                check_row_values(x, "entropy_with_logits", rng)
                check_pair_loss("kl_div_with_logits", x, x[::-1].copy())


def test_special_rows_over_chunks(rng: np.random.Generator) -> None:
    for places in ((5, 70000), (70000, 70001), (65536,), (0,)):
        for value in (INF, NAN, 90.0, 1e5):
            x = on_device(rng.normal(size=(1, 70010)), np.dtype(np.float32))
            x[0, list(places)] = value
            check_class_loss("cross_entropy", x, np.array([70000]), smoothing=0.1)
            check_row_values(x, "logsumexp", rng)
            x[:] = -INF
            x[0, list(places)] = value
            check_row_values(x, "logsumexp", rng)


# ------------------------------------------------------------------------------------ element-wise

ELEMENT_LOSSES = ("binary_cross_entropy_with_logits", "kl_div", "kl_div_log_target")


@by_dtype
@pytest.mark.parametrize("deviation", (1.0, 40.0))
def test_element_losses(deviation: float, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    for n in (1, 3, 7, 8, 9, 255, 4097, 20000):
        for beyond in (0, 1):
            x = on_device(rng.normal(0, deviation, (n, 3)), dtype, beyond)
            y = on_device(rng.random((n, 3)) * rng.integers(0, 2, (n, 3)), dtype)
            w = rng.uniform(0, 2, (n, 3)).astype(compute_dtype(dtype))
            g = rng.normal(size=(n, 3)).astype(compute_dtype(dtype))
            for name in ELEMENT_LOSSES:
                check_element_loss(name, x, y)
                check_element_loss(name, x, y, grad_output=g)
            check_element_loss("binary_cross_entropy_with_logits", x, y, w, w[0] + 1)
            p = on_device(1 / (1 + np.exp(-x.astype(np.float64))), dtype, beyond)
            check_element_loss("binary_cross_entropy", p, y)
            check_element_loss("binary_cross_entropy", p, y, w[0])


@by_dtype
def test_special_elements(dtype: np.dtype[Any]) -> None:
    values = [
        0.0,
        -0.0,
        1.0,
        0.5,
        1e-7,
        -1e-7,
        80.0,
        -80.0,
        110.0,
        -110.0,
        6e4,
        -6e4,
        INF,
        -INF,
        NAN,
    ]
    x, y = (on_device(a, dtype) for a in np.meshgrid(values, values))
    for name in (*ELEMENT_LOSSES, "binary_cross_entropy"):
        check_element_loss(name, x, y)


@by_dtype
@pytest.mark.parametrize("deviation", (1.0, 60.0))
def test_sigmoid(deviation: float, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    special = [0.0, -0.0, INF, -INF, NAN, 1e-7, 88.0, -88.0, 104.0, -104.0, 720.0, -720.0]
    for n in (0, 1, 7, 8, 9, 255, 4097, 30000):
        for beyond in ((0, 0), (1, 1), (0, 1)):
            values = rng.normal(0, deviation, n)
            values[: len(special)] = special[:n]
            x = on_device(values, dtype, beyond[0])
            check_sigmoid(x, on_device(rng.normal(size=n), dtype, beyond[1]))


def test_the_first_element_that_is_no_probability() -> None:
    """One of the input before any of the target."""
    x = np.full(5000, 0.5, np.float32)
    for bad in ((), (4999,), (77, 300), (0,)):
        for other, of_target in ((x, 0), (x.copy(), 2**63)):
            p, misfit = x.copy(), np.zeros(2, np.uint64)
            p[list(bad)] = [1.5, NAN][: len(bad)]
            if not of_target:
                other = x.copy()
                other[3] = -1 if bad else 0.5
            pair = (p, other) if not of_target else (other, p)
            addresses = tuple(map(address, pair))
            cuda.binary_cross_entropy(2, p.size, *addresses, misfit=address(misfit))
            cuda.name_misfit(2, *addresses, address(misfit))
            assert int(misfit[0]) == (bad[0] + of_target if bad else 2**64 - 1)
            assert not bad or misfit[1:].view(np.float64) == 1.5


# -------------------------------------------------------------------------------- targets and sums


@pytest.mark.parametrize("code", range(8))
def test_class_rows(code: int, rng: np.random.Generator) -> None:
    index = np.dtype(
        [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64][code]
    )
    target = rng.integers(0, 10, 1000).astype(index)
    target[[5, 900]] = 77
    target[[123, 300]] = 10
    for ignore, bad in ((77, 123), (3, 5), (10, 5), (None, 5)):
        rows, report = np.zeros(1000, np.int64), np.zeros(3, np.uint64)
        cuda.class_rows(code, 1000, 10, ignore, address(target), address(report), address(rows))
        wide = target.astype(np.int64)
        ignored = wide == (-5 if ignore is None else ignore)
        good = (wide < 10) & ~ignored
        assert (rows == np.where(good, wide, np.where(ignored, -1, -2))).all()
        assert report.tolist() == [good.sum(), bad, target[bad]]


@pytest.mark.parametrize("memory", ROW_MEMORY)
@by_dtype
def test_rows_whose_target_is_no_class(
    dtype: np.dtype[Any], memory: int, rng: np.random.Generator
) -> None:
    """-2: loss and gradient are NaN; the other rows are as without it."""
    cuda.configure(row_memory=memory)
    for classes in (3, 40, 1030, 20001):
        x = logits(rng, 4, classes, dtype)
        target = np.array([0, -2, -1, 2], np.int64)
        for name in ("cross_entropy", "nll_loss"):
            for smoothing in (0.0, 0.1):
                results = []
                for second in (-2, -1):
                    target[1] = second
                    loss, grad = np.zeros(4, compute_dtype(dtype)), np.zeros_like(x)
                    getattr(cuda, name)(
                        CODES[dtype],
                        (4, classes, 1),
                        address(x),
                        target=address(target),
                        smoothing=smoothing,
                        loss=address(loss),
                        grad=address(grad),
                    )
                    results.append((loss, grad))
                for bad, ignored in zip(*results, strict=True):
                    assert np.isnan(bad[1].astype(np.float64)).all()
                    assert not ignored[1].any()
                    bad[1] = 0
                    assert bad.tobytes() == ignored.tobytes()


@pytest.mark.parametrize("code", range(12))
def test_convert(code: int, rng: np.random.Generator) -> None:
    """NumPy's conversions, of arrays that are repeated too."""
    names = ("f2", "", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
    source = np.arange(12) if code == 1 else rng.integers(0, 100, 12)
    values = source.astype(BFLOAT16 or np.float32) if code == 1 else source.astype(names[code])
    if code == 1 and BFLOAT16 is None:
        pytest.skip("bfloat16 needs ml_dtypes")
    if names[code].startswith("f"):
        values = (rng.normal(size=12) * 10.0 ** rng.integers(-9, 6, 12)).astype(values.dtype)
    for dtype, to in CODES.items():
        for count, inner in ((12, 1), (4, 3), (3, 1), (1, 1)):
            actual = np.zeros(12, dtype)
            cuda.convert(code, to, 12, (address(values), count, inner), address(actual), stream=0)
            with np.errstate(over="ignore"):
                expected = values[np.arange(12) // inner % count].astype(dtype)
            assert_same_bits(actual, expected, f"{values.dtype} to {dtype}")


# Whether an array is repeated along each axis.
REPEATED_AXES = ("r", "kr", "rk", "krk", "rkr", "krkr", "rkrkrk")


@by_schedule
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_sums_of_copies(dtype: type, schedule: dict[str, Any], rng: np.random.Generator) -> None:
    """In NumPy's order: sums over the first axes, or of neighbours."""
    cuda.configure(**schedule)
    for pattern in REPEATED_AXES:
        for n in (2, 7, 8, 9, 127, 128, 129, 136, 1000, 2047, 4097, 70001):
            if n == 70001 and len(pattern) > 3:
                continue
            place = pattern.index("r")
            shape = [n if axis == place else 2 + axis % 2 for axis in range(len(pattern))]
            values = rng.normal(size=shape) * 10.0 ** rng.integers(-3, 3, shape)
            values = values.astype(dtype)
            repeated = tuple(i for i, axis in enumerate(pattern) if axis == "r")
            moved = np.moveaxis(values, repeated, range(len(repeated)))
            copies = np.prod([shape[i] for i in repeated])
            expected = np.add.reduce(moved.reshape(copies, -1).astype(np.float64, "K"), axis=0)
            sums = np.zeros(values.size // copies)
            axes = [(length, axis == "r") for length, axis in zip(shape, pattern, strict=True)]
            cuda.sum_copies(CODES[values.dtype], axes, address(values), address(sums))
            assert_same_bits(sums, expected, f"{pattern} {shape}")


@by_dtype
def test_repeat(dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    for outer, copies, inner in ((1, 1, 1), (3, 2, 5), (1, 7, 100), (200, 3, 1), (17, 1, 17)):
        source = on_device(rng.normal(size=(outer, inner)), dtype)
        actual = np.zeros((outer, copies, inner), dtype)
        numbers = address(source), copies, inner
        cuda.repeat(CODES[dtype], actual.size, *numbers, address(actual))
        expected = np.repeat(source[:, None], copies, axis=1)
        assert_same_bits(actual, expected, f"{outer} {copies} {inner}")


def test_doubles_are_rounded_once_to_16_bits(rng: np.random.Generator) -> None:
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    ties = (halves[1:] + halves[:-1]) / 2
    values = np.concatenate(
        [ties, ties * (1 + 1e-14), ties * (1 - 1e-14), -ties, [65519.99999, 65520, 1e300, 1e-300]]
    )
    actual = np.zeros(values.size, np.float16)
    cuda.convert(3, 0, values.size, (address(values), values.size, 1), address(actual), stream=0)
    with np.errstate(over="ignore"):
        assert_same_bits(actual, values.astype(np.float16), "float64 to float16")


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_sums_are_rounded_once(dtype: type, rng: np.random.Generator) -> None:
    code = 3 if dtype is np.float64 else 2
    for classes, n in ((5, 3), (100, 1000)):
        weight = (rng.random(classes) * 10.0 ** rng.integers(-9, 9, classes)).astype(dtype)
        rows = rng.integers(-1, classes, n)
        state = sum_state()
        cuda.weight_of_rows(code, n, classes, address(weight), address(rows), address(state))
        expected = exact_sum(weight[rows[rows >= 0]])
        assert_same_sum(state, expected, "weight_of_rows")
        one, out = exact_sum(np.ones(1)), np.zeros(1)
        for numerator, denominator, right in (
            (state, None, expected.divided_by(7.0)),
            (None, state, one.quotient(expected)),
            (state, state, 1.0),
        ):
            cuda.finish_sum(
                address(out),
                numerator=address(numerator),
                denominator=address(denominator),
                divisor=7.0,
            )
            assert out[0] == right


def test_sum_of_specials() -> None:
    for row, right in (([INF, 1.0], INF), ([INF, -INF], NAN), ([NAN, 1.0], NAN), ([-INF], -INF)):
        state, out = sum_state(), np.zeros(1)
        rows = np.arange(len(row))
        values = np.array(row)
        cuda.weight_of_rows(3, len(row), len(row), address(values), address(rows), address(state))
        cuda.finish_sum(address(out), numerator=address(state))
        np.testing.assert_array_equal(out[0], right)


# --------------------------------------------------------------------------- the test of the tests


def _survives(check: Callable[[], None]) -> bool:
    try:
        check()
    except (AssertionError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize("room", ROW_MEMORY)
def test_a_removed_barrier_is_caught(room: int, rng: np.random.Generator) -> None:
    """Of the first barriers of a row of a block, each in turn does nothing."""
    x = logits(rng, 1, 2100, np.dtype(np.float32))
    target = targets(rng, x)
    caught = []
    for barrier in range(8):
        survived = True
        for schedule in (*SCHEDULES, {"order": "shuffled", "seed": 3}):
            cuda.configure(**schedule, row_memory=room, skipped_barrier=barrier)
            survived = survived and _survives(lambda: check_class_loss("cross_entropy", x, target))
        caught.append(not survived)
    assert sum(caught) >= 3, caught
    cuda.configure(row_memory=room)
    check_class_loss("cross_entropy", x, target)


def test_a_launch_beyond_the_limits_raises(rng: np.random.Generator) -> None:
    x = logits(rng, 1, 1024, np.dtype(np.float64))
    cuda.configure(memory_limit=1024)
    with pytest.raises(RuntimeError, match="bytes of memory"):
        check_class_loss("cross_entropy", x, targets(rng, x))
