# SPDX-License-Identifier: BSD-3-Clause
"""ExactSum, the sum behind "mean" and "sum": compared with rational arithmetic, always exactly."""

from __future__ import annotations

import math
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logloss._core import ExactSum
from ulp import Array

TINY = 5e-324
LARGEST = sys.float_info.max
INF, NAN = math.inf, math.nan

PROFILE = settings(max_examples=300, deadline=None, derandomize=True)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
# Everything cancels, nearly cancels, or is lost beside something else.
HARD = st.one_of(
    FINITE,
    st.sampled_from([1.0, -1.0, 2.0**53, -(2.0**53), 0.5, LARGEST, -LARGEST, TINY, -TINY, -0.0]),
    st.builds(math.ldexp, st.sampled_from([1.0, -1.0, 1.5]), st.integers(-1074, 1022)),
    st.builds(math.ldexp, st.integers(-(2**53), 2**53), st.integers(-1074, 900)),
)
LISTS = st.lists(HARD, max_size=40)


def exact_sum(values: Any) -> ExactSum:
    total = ExactSum()
    total.add(np.asarray(values, np.float64))
    return total


def fraction(total: ExactSum) -> Fraction:
    return Fraction(*total.as_integer_ratio())


def nearest(exact: Fraction) -> float:
    """The double nearest to a fraction, ties to even."""
    try:
        return float(exact)
    except OverflowError:
        return INF if exact > 0 else -INF


def same(actual: float, right: float) -> bool:
    return actual == right or (math.isnan(actual) and math.isnan(right))


# Sums


@PROFILE
@given(LISTS)
def test_finite_values(values: list[float]) -> None:
    right = sum(map(Fraction, values), Fraction(0))
    total = exact_sum(values)
    assert fraction(total) == right
    assert total.value() == nearest(right)


@PROFILE
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40))
def test_float32_values(values: list[float]) -> None:
    total = ExactSum()
    total.add(np.array(values, np.float32))
    assert fraction(total) == sum(map(Fraction, values), Fraction(0))


@PROFILE
@given(st.lists(st.floats(), max_size=12))
def test_infinities_and_nan(values: list[float]) -> None:
    """As a sum in any order gives them, but that finite values never overflow on the way."""
    special = [v for v in values if not math.isfinite(v)]
    finite = sum((Fraction(v) for v in values if math.isfinite(v)), Fraction(0))
    assert same(exact_sum(values).value(), sum(special) if special else nearest(finite))


@pytest.mark.parametrize(
    ("values", "right"),
    [
        ([], 0.0),
        ([-0.0], 0.0),
        ([-0.0, 0.0], 0.0),
        ([1.0, 1e100, 1.0, -1e100], 2.0),
        ([LARGEST, LARGEST, -LARGEST, -LARGEST, TINY], TINY),
        ([LARGEST, LARGEST], INF),
        ([-LARGEST, -LARGEST], -INF),
        ([LARGEST, 2.0**969], LARGEST),
        ([LARGEST, 2.0**970], INF),  # half a unit of the last place: the tie goes to 2**1024
        ([LARGEST, 2.0**970, -TINY], LARGEST),
        ([1.0, 2.0**-53], 1.0),
        ([1.0, 2.0**-53, TINY], 1 + 2.0**-52),
        ([1.0, 2.0**-53, -TINY], 1.0),
        ([1.0, 2.0**-52, 2.0**-53], 1 + 2.0**-51),
        ([2.0**-1022, -TINY], 2.0**-1022 - TINY),
        ([INF, LARGEST], INF),
        ([-INF, 1.0], -INF),
        ([INF, -INF], NAN),
        ([NAN, INF], NAN),
    ],
)
def test_known_sums(values: list[float], right: float) -> None:
    value = exact_sum(values).value()
    assert same(value, right)
    assert value != 0 or math.copysign(1, value) == 1
    if right == right and math.isfinite(right):
        assert same(-right if right else 0.0, exact_sum([-v for v in values]).value())


def hard_values(count: int, seed: int) -> Array:
    """Values of all magnitudes whose large parts cancel."""
    rng = np.random.default_rng(seed)
    half = np.ldexp(rng.uniform(-1, 1, count // 2), rng.integers(-1070, 1000, count // 2))
    rest = np.ldexp(rng.uniform(-1, 1, count - 2 * half.size), -900)
    return rng.permutation(np.concatenate([half, -half * (1 + 2.0**-40), rest]))


def test_order_does_not_matter() -> None:
    values = hard_values(20_001, 1)
    right = exact_sum(values)
    assert right.value() == math.fsum(values)
    for order in (
        np.sort(values),
        np.sort(values)[::-1],
        np.random.default_rng(2).permutation(values),
    ):
        assert exact_sum(order.copy()).to_bytes() == right.to_bytes()


@pytest.mark.parametrize(
    "value",
    [1.0, -1.0, LARGEST, -LARGEST, TINY, -TINY, np.nextafter(1, 0), -(2.0**53 - 1), 2.0**-1030],
)
def test_millions_of_equal_values(value: float) -> None:
    """Carries run through many limbs, and a sum may turn its sign at the very end."""
    count = 3_000_000
    total = exact_sum(np.full(count, value))
    assert fraction(total) == count * Fraction(value)
    back = exact_sum(np.full(count + 1, -value))
    total.merge(back)
    assert fraction(total) == -Fraction(value)
    assert total == exact_sum([-value])


@pytest.mark.exhaustive
def test_more_values_than_a_limb_can_hold() -> None:
    """2**31 values whose parts have all bits set would overflow 64 bits without carries."""
    value = -(2.0**53 - 1)
    piece = np.full(2**24, value)
    total = ExactSum()
    for _ in range(2**7 + 1):
        total.add(piece)
    assert fraction(total) == (2**7 + 1) * 2**24 * Fraction(value)


# Merging


@PROFILE
@given(st.lists(LISTS, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_merge_in_any_grouping(parts: list[list[float]], random: Any) -> None:
    right = exact_sum([v for part in parts for v in part])
    sums = [exact_sum(part) for part in parts]
    while len(sums) > 1:
        other = sums.pop(random.randrange(len(sums)))
        unchanged = other.to_bytes()
        sums[random.randrange(len(sums))].merge(other)
        assert other.to_bytes() == unchanged
    assert sums[0] == right
    assert sums[0].to_bytes() == right.to_bytes()
    assert same(sums[0].value(), right.value())


def test_merge_with_itself_doubles() -> None:
    total = exact_sum([1.0, -TINY, 1e300])
    right = 2 * fraction(total)
    total.merge(total)
    assert fraction(total) == right


def test_merge_keeps_infinities_and_nan() -> None:
    total = exact_sum([INF, 1.0])
    total.merge(exact_sum([2.0]))
    assert total.value() == INF
    total.merge(exact_sum([-INF]))
    assert math.isnan(total.value())


def test_each_thread_its_own_sum() -> None:
    values = hard_values(200_000, 3)
    with ThreadPoolExecutor(8) as pool:
        sums = list(pool.map(exact_sum, np.array_split(values, 64)))
    total = ExactSum()
    for part in sums:
        total.merge(part)
    assert total.to_bytes() == exact_sum(values).to_bytes()


# Storing


@PROFILE
@given(st.lists(st.floats(), max_size=20))
def test_bytes_round_trip(values: list[float]) -> None:
    total = exact_sum(values)
    again = ExactSum.from_bytes(total.to_bytes())
    assert again == total
    assert again.to_bytes() == total.to_bytes()
    assert same(again.value(), total.value())
    again.add(np.array([1.0]))
    total.add(np.array([1.0]))
    assert again == total


def test_equality() -> None:
    """Equal sums are equal however they came about; the history of carries does not show."""
    up_and_down = exact_sum([2.0**60] * 7 + [-(2.0**60)] * 7 + [3.0])
    assert up_and_down == exact_sum([1.0, 2.0])
    assert exact_sum([1.0]) != exact_sum([1.0, TINY])
    assert exact_sum([INF]) != exact_sum([-INF])
    assert exact_sum([1.0]) != 1.0


def test_repr() -> None:
    assert repr(exact_sum([0.1, 0.2])) == "ExactSum(0.30000000000000004)"
    assert repr(exact_sum([NAN])) == "ExactSum(nan)"


def test_bytes_that_are_no_state() -> None:
    state = exact_sum([1.0]).to_bytes()
    for wrong in (b"", state[:-1], state + b"\0"):
        with pytest.raises(ValueError, match=f"got {len(wrong)} bytes, expected {len(state)}"):
            ExactSum.from_bytes(wrong)
    beyond_a_limb = bytearray(state)
    beyond_a_limb[4] = 1
    with pytest.raises(ValueError, match="not the state"):
        ExactSum.from_bytes(bytes(beyond_a_limb))
    last_limb = len(state) - 4 * 8
    for top in (0x7F, 0x80):  # far beyond any sum of doubles
        too_large = bytearray(state)
        too_large[last_limb + 7] = top
        with pytest.raises(ValueError, match="not the state"):
            ExactSum.from_bytes(bytes(too_large))


def test_no_ratio_of_infinity_and_nan() -> None:
    with pytest.raises(OverflowError):
        exact_sum([INF]).as_integer_ratio()
    with pytest.raises(ValueError):
        exact_sum([NAN]).as_integer_ratio()


# Quotients


def right_quotient(numerator: ExactSum, denominator: ExactSum) -> float:
    return nearest(fraction(numerator) / fraction(denominator))


# Sums of a few parts of which the later ones lie far below the last place of the first.
MODERATE = st.builds(math.ldexp, st.integers(-(2**53), 2**53), st.integers(-120, 60))
LAYERED = st.lists(MODERATE, min_size=1, max_size=4)


@PROFILE
@given(LAYERED, LAYERED)
def test_quotient_is_rounded_once(a: list[float], b: list[float]) -> None:
    numerator, denominator = exact_sum(a), exact_sum(b)
    if fraction(denominator) == 0:
        denominator.add(np.array([3.0]))
    assert numerator.quotient(denominator) == right_quotient(numerator, denominator)


@pytest.mark.parametrize("seed", range(4))
def test_quotient_where_both_roundings_lean_the_same_way(seed: int) -> None:
    """Numerator and denominator lie half-way between doubles, the quotient just below 2^n."""
    rng = np.random.default_rng(seed)
    for _ in range(500):
        high, tail = 1 + rng.integers(0, 64) * 2.0**-52, 2.0**-53 * rng.choice([-1, 1], 2)
        numerator = exact_sum([high, tail[0] * (1 - 2.0**-20)])
        denominator = exact_sum(
            [0.5 + rng.integers(0, 128) * 2.0**-53, tail[1] / 2 * (1 - 2.0**-20)]
        )
        for n, d in ((numerator, denominator), (denominator, numerator)):
            assert n.quotient(d) == right_quotient(n, d)


@PROFILE
@given(st.integers(2**52, 2**53 - 1), st.integers(1, 2**50), st.sampled_from([-1, 0, 1]))
def test_quotient_at_ties(odd: int, divisor: int, side: int) -> None:
    """Exactly between two doubles, and the least bit beside it."""
    middle = (2 * odd + 1) * divisor
    numerator = exact_sum([float(middle >> 60) * 2.0**60, float((middle >> 30) % 2**30) * 2.0**30])
    numerator.add(np.array([float(middle % 2**30), side * 2.0**-300]))
    denominator = exact_sum([divisor])
    assert fraction(numerator) == middle + side * Fraction(2) ** -300
    right = right_quotient(numerator, denominator)
    assert numerator.quotient(denominator) == right
    assert numerator.divided_by(float(divisor)) == right
    negative = exact_sum([-divisor])
    assert numerator.quotient(negative) == -right


@PROFILE
@given(st.integers(-(2**60), 2**60), st.integers(1, 2**40))
def test_quotients_below_the_normal_numbers(units: int, divisor: int) -> None:
    high, low = divmod(units, 2**30)
    numerator = exact_sum([high * 2.0**30 * TINY, low * TINY])
    assert fraction(numerator) == units * Fraction(TINY)
    right = right_quotient(numerator, exact_sum([divisor]))
    assert numerator.divided_by(float(divisor)) == right


def test_quotient_of_a_sum_beyond_the_largest_number() -> None:
    """The mean of large numbers is no larger than the largest of them."""
    numerator = exact_sum([LARGEST, LARGEST / 2, LARGEST])
    assert numerator.divided_by(3.0) == right_quotient(numerator, exact_sum([3.0]))
    assert numerator.divided_by(-3.0) == -numerator.divided_by(3.0)
    assert numerator.divided_by(0.5) == INF
    assert exact_sum([1.0]).quotient(numerator) == 1 / LARGEST * 0.4


def test_mean_of_many_values() -> None:
    values = hard_values(9_999, 4)
    total = exact_sum(values)
    for count in (1, 3, 7, 9_999, 2**40 + 1):
        assert total.divided_by(float(count)) == nearest(fraction(total) / count)


@pytest.mark.parametrize("numerator", [[], [1.0], [-2.0], [INF], [-INF], [NAN], [1.0, -1.0]])
@pytest.mark.parametrize("divisor", [0.0, -0.0, 2.0, -3.0, INF, -INF, NAN])
def test_quotients_of_special_values(numerator: list[float], divisor: float) -> None:
    total = exact_sum(numerator)
    with np.errstate(all="ignore"):
        right = float(np.float64(total.value()) / np.float64(divisor))
        of_sums = float(np.float64(total.value()) / np.float64(divisor + 0.0))  # no sum is -0
    assert same(total.quotient(exact_sum([divisor])), of_sums)
    assert same(total.divided_by(divisor), of_sums if divisor == 0 else right)


# Products


def products(a: Any, b: Any, dtype: Any) -> ExactSum:
    total = ExactSum()
    total.add_products(np.asarray(a, dtype), np.asarray(b, dtype))
    return total


FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
# Products and their rounding errors are normal numbers.
NORMAL = st.builds(math.ldexp, st.integers(-(2**53), 2**53), st.integers(-450, 430))


@PROFILE
@given(st.lists(st.tuples(FLOAT32, FLOAT32), max_size=20))
def test_products_of_float32(pairs: list[tuple[float, float]]) -> None:
    total = products([a for a, _ in pairs], [b for _, b in pairs], np.float32)
    assert fraction(total) == sum((Fraction(a) * Fraction(b) for a, b in pairs), Fraction(0))


@PROFILE
@given(st.lists(st.tuples(NORMAL, NORMAL), max_size=20))
def test_products_of_float64(pairs: list[tuple[float, float]]) -> None:
    total = products([a for a, _ in pairs], [b for _, b in pairs], np.float64)
    assert fraction(total) == sum((Fraction(a) * Fraction(b) for a, b in pairs), Fraction(0))


def test_products_of_special_values() -> None:
    assert products([INF, 1.0], [2.0, 3.0], np.float64).value() == INF
    assert math.isnan(products([INF], [0.0], np.float64).value())
    assert math.isnan(products([INF, -INF], [1.0, 1.0], np.float32).value())
    assert products([LARGEST], [2.0], np.float64).value() == INF


def test_products_want_two_vectors_of_one_length() -> None:
    for a, b in (([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])):
        with pytest.raises(ValueError, match="one length"):
            products(a, b, np.float64)
