# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of the element-wise operations share: values, layouts, and calls to compare."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

import logloss
import reference as ref
from conftest import DTYPE_NAMES, named_dtype
from grid import ROUNDED_ONCE, promised
from reference_base import round_once, wider
from test_layouts import permuted, plain, relaid, same_bits, spaced, swapped, unaligned
from ulp import FORMATS, Array, assert_ulp

INF, NAN = np.inf, np.nan
PROFILE = settings(max_examples=120, deadline=None, derandomize=True)

# Around the widths of registers and batches.
SIZES = (1, 15, 16, 17, 4095, 4096, 4097)
MANY = 100003

INTEGERS = ("bool", *"bhilqBHILQ")
REALS = (*DTYPE_NAMES, *INTEGERS)

# Where the logistic functions change: in the middle, where 1 - q rounds to 1 in either type, where
# results become subnormal, and where they are 0.
CENTRES = (0.0, 1.0, 15.0, 17.0, 37.0, 40.0, 87.0, 88.7, 104.0, 708.4, 745.0)

# Arguments by name: arrays, or a number for grad_output.
Operands = dict[str, Any]


# Values


def all_magnitudes(dtype: Any, generator: np.random.Generator) -> Array:
    """Positive numbers of every exponent that the type has, and its extremes."""
    bits, lowest, highest = FORMATS[np.dtype(dtype).name]
    exponent = np.repeat(np.arange(lowest - bits + 1, highest + 1), 3)
    values = np.ldexp(generator.uniform(1, 2, exponent.size).astype(np.longdouble), exponent)
    extremes = np.ldexp(np.longdouble(1), [lowest - bits + 1, lowest, highest])
    top = largest(dtype)
    return np.minimum(np.concatenate([values, extremes, [top, 0]]), top).astype(dtype)


def largest(dtype: Any) -> Array:
    """The largest number of the type, in extended precision."""
    bits, _, highest = FORMATS[np.dtype(dtype).name]
    return np.asarray(np.ldexp(2 - np.ldexp(np.longdouble(1), 1 - bits), highest))


def every_value(dtype: Any) -> Array:
    """Every finite number of a type of 16 bits."""
    positive = np.arange(np.array(INF, dtype).view(np.uint16), dtype=np.uint16).view(dtype)
    return np.concatenate([positive, -positive])


def logit_grid(dtype: Any) -> Array:
    """Finite logits of either sign: every one of 16 bits, all magnitudes of the wider types, and
    many where the logistic functions bend.
    """
    if np.dtype(dtype).itemsize == 2:
        return every_value(dtype)
    generator = np.random.default_rng(1)
    reach = 110.0 if dtype == np.float32 else 750.0
    about = generator.normal(CENTRES, 0.3, (150, len(CENTRES))).ravel()
    values = [all_magnitudes(dtype, generator), np.asarray(CENTRES), about]
    values += [generator.uniform(0, size, 4000) for size in (1.0, 4.0, 20.0, reach)]
    positive = np.concatenate(values).astype(dtype)
    return np.concatenate([positive, -positive])


def middle_logits(dtype: Any) -> Array:
    """So many logits about 0 that the largest errors of log(1 + e^-|x|) are among them."""
    return np.random.default_rng(11).uniform(-1, 1, 300_000).astype(dtype)


def probability_grid(dtype: Any) -> Array:
    """Numbers in [0, 1]: every one of 16 bits; else all magnitudes, and many that are near 1."""
    if np.dtype(dtype).itemsize == 2:
        values = every_value(dtype)
        return values[(values >= 0) & (values <= 1)]
    generator = np.random.default_rng(2)
    small = all_magnitudes(dtype, generator)
    small = small[small <= 1]
    clamped = math.exp(-100) * generator.uniform(0.5, 1.5, 100)
    values = [small, 1 - small, generator.random(3000), clamped, [-0.0, 0.0, 1.0]]
    return np.concatenate(values).astype(dtype)


def targets_in_unit_interval(n: int, dtype: Any) -> Array:
    """0, 1, fractions, and the neighbourhoods of 0 and 1, in turn."""
    generator = np.random.default_rng(3)
    smallest = 2.0 ** (FORMATS[np.dtype(dtype).name][1] / 1.2)
    tiny = smallest ** generator.random(n)
    target = np.choose(np.arange(n) % 6, [0, 1, 0.5, generator.random(n), tiny, 1 - tiny])
    return target.astype(dtype)


# Calls


def forms(name: str) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any] | None]:
    """The operation, its backward, and its value_and_grad where it is a loss."""
    names = (name, f"{name}_backward", f"{name}_value_and_grad")
    function, backward, both = (getattr(logloss, n, None) for n in names)
    assert function is not None and backward is not None
    return function, backward, both


def gradient_calls(name: str, operands: Operands) -> list[Callable[..., Any]]:
    """Everything with an `out`: f(input, out) gives the gradient, and the loss; or the map."""
    given = {k: v for k, v in operands.items() if k not in ("input", "grad_output")}
    function, backward, both = forms(name)
    calls = [lambda x, out: backward(operands["grad_output"], x, **given, out=out)]
    if both is not None:
        calls.append(lambda x, out: both(x, **given, out=out))
    elif "out" in signature(function).parameters:
        calls.append(lambda x, out: function(x, out=out))
    return calls


def results(name: str, operands: Operands) -> list[Array]:
    """What the operation and its forms return; an argument `input` may have another name there."""
    function, backward, both = forms(name)
    given = {k: v for k, v in operands.items() if k not in ("input", "grad_output")}
    first = [operands[k] for k in ("input",) if k in operands]
    of_value = {k: v for k, v in given.items() if k != "target_grad"}
    found = [function(*first, **of_value), backward(operands["grad_output"], *first, **given)]
    if both is not None:
        found += both(*first, **given)
    return [np.asarray(each) for each in found]


def per_element(name: str, input: Array, target: Array, **options: Any) -> Array:
    """The losses of elements."""
    return np.asarray(getattr(logloss, name)(input, target, reduction="none", **options))


def check_losses(name: str, input: Array, target: Array, **options: Any) -> None:
    """Within 2 ulps of the exact ones, 4 for float64."""
    actual = per_element(name, input, target, **options)
    right = getattr(ref, name)(input, target, reduction="none", **options)
    assert actual.dtype == ref.loss_dtype(wider(input, target))
    assert_ulp(actual, right, promised(2, actual.dtype))


def check_gradient(name: str, *args: Array, ulps: float = 3, **options: Any) -> None:
    """Within so many ulps of the exact one, in the type of the input."""
    actual = getattr(logloss, f"{name}_backward")(1.0, *args, **options)
    assert actual.dtype == args[0].dtype
    right = getattr(ref, f"{name}_backward")(1.0, *args, **options)
    assert_ulp(actual, right, promised(ulps, actual.dtype))


def check_value_and_grad(name: str, operands: Operands) -> None:
    """The same bits as the two calls; for "none" the gradient of the sum."""
    function, backward, both = forms(name)
    assert both is not None
    given = {k: v for k, v in operands.items() if k != "grad_output"}
    of_sum = "sum" if given["reduction"] == "none" else given["reduction"]
    loss, grad = both(**given)
    assert isinstance(loss, np.ndarray if given["reduction"] == "none" else float)
    same_bits(loss, function(**given))
    same_bits(grad, backward(1.0, **given | {"reduction": of_sum}))
    assert grad.dtype == operands["input"].dtype


def check_derivative(name: str, operands: Operands) -> None:
    """The gradient in float64 is that of the loss."""
    function, backward, _ = forms(name)
    x, g = operands["input"], operands["grad_output"]
    given = {k: v for k, v in operands.items() if k not in ("input", "grad_output")}
    numeric = ref.numeric_gradient(lambda v: float(np.sum(g * function(v, **given))), x)
    actual = backward(g, x, **given)
    assert actual.shape == x.shape
    np.testing.assert_allclose(actual, numeric, rtol=1e-6, atol=1e-8)


GRAD_OUTPUTS = (0.75, 2, True, np.float32(0.75), np.int8(3), np.array(0.75))


def check_grad_outputs(name: str, operands: Operands) -> None:
    """A number of any kind, an array without axes, or for "none" one number for each element."""
    _, backward, _ = forms(name)
    given = {k: v for k, v in operands.items() if k != "grad_output"}
    shape = np.broadcast_shapes(given["input"].shape, given["target"].shape)
    for g in GRAD_OUTPUTS:
        actual = backward(g, **given)
        same_bits(actual, backward(float(g), **given))
        if given["reduction"] == "none":
            same_bits(actual, backward(np.full(shape, g), **given))
            same_bits(actual, backward(np.full(shape, float(g)).tolist(), **given))


def check_empty(name: str, dtype: Any, reductions: tuple[str, ...]) -> None:
    """The mean of nothing is NaN, the sum of it +0."""
    function, backward, both = forms(name)
    assert both is not None
    for shape in ((0,), (3, 0), (0, 3), (2, 0, 5)):
        x = np.zeros(shape, dtype)
        assert math.isnan(function(x, x, reduction="mean"))
        total = function(x, x, reduction="sum")
        assert total == 0 and math.copysign(1, total) == 1
        each = function(x, x, reduction="none")
        assert each.shape == shape and each.dtype == ref.loss_dtype(x)
        for reduction in reductions:
            out = np.empty_like(x)
            assert both(x, x, reduction=reduction, out=out)[1] is out
            assert backward(1.0, x, x, reduction=reduction, out=out) is out
            assert backward(1.0, x, x, reduction=reduction).shape == shape


def check_single(name: str, x: Array, y: Any, grad: float, reductions: tuple[str, ...]) -> None:
    """A number is a sample of its own: its loss is also the mean and the sum."""
    each = per_element(name, x, y)
    assert each.shape == () and each.dtype == ref.loss_dtype(x)
    both = forms(name)[2]
    assert both is not None
    for reduction in reductions:
        loss, found = both(x, y, reduction=reduction)
        assert loss == each and isinstance(loss, np.ndarray if reduction == "none" else float)
        assert isinstance(found, np.ndarray) and found.shape == () and found.dtype == x.dtype
        assert found.astype(float) == grad


# Reductions


def exact_sum(values: Array) -> Fraction:
    """The sum of finite float64 numbers, as math.fsum has it before it rounds."""
    parts: list[float] = []
    while part := math.fsum([*values, *(-p for p in parts)]):
        parts.append(part)
    return sum(map(Fraction, parts), Fraction(0))


def reduced(losses: Array, divisor: int) -> float:
    """The sum of the losses over a divisor, rounded once."""
    values = losses.ravel().astype(np.float64)
    if not np.isfinite(values).all():
        with np.errstate(invalid="ignore"):
            return float(values.sum())
    if divisor == 1:
        return math.fsum(values)
    return round_once(exact_sum(values), Fraction(divisor))


def check_reductions(name: str, operands: Operands, divisors: dict[str, int] | None = None) -> None:
    """Of the losses of "none" exactly, also where the gradient is computed along with them, and
    where it takes the place of the input.
    """
    function, _, both = forms(name)
    assert both is not None
    each = function(**operands, reduction="none")
    if divisors is None:
        divisors = {"mean": each.size}
    for reduction, divisor in {"sum": 1, **divisors}.items():
        right = reduced(each, divisor)
        in_place = operands["input"].copy()
        moved = operands | {"input": in_place}
        calls = {
            "alone": function(**operands, reduction=reduction),
            "with the gradient": both(**operands, reduction=reduction)[0],
            "in place": both(**moved, reduction=reduction, out=in_place)[0],
        }
        for what, loss in calls.items():
            assert isinstance(loss, float)
            same = loss == right or (math.isnan(loss) and math.isnan(right))
            assert same, f"{reduction} {what}: got {loss!r}, expected {right!r}"
    in_place = operands["input"].copy()
    loss, _ = both(**operands | {"input": in_place}, reduction="none", out=in_place)
    same_bits(loss, each)


# Layouts


def read_only(x: Array) -> Array:
    x = x.copy()
    x.flags.writeable = False
    return x


# Arrays equal to one of two axes.
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "every other column": lambda x: spaced(x, (1, 2)),
    "every third row": lambda x: spaced(x, (3, 1)),
    "rows reversed": lambda x: spaced(x, (-1, 1)),
    "columns reversed": lambda x: spaced(x, (1, -1)),
    "all of it": lambda x: spaced(permuted(swapped(x), (1, 0)), (-2, -3)),
    "Fortran order": np.asfortranarray,
    "unaligned": unaligned,
    "byte-swapped": swapped,
    "read-only": read_only,
}


def check_layouts(name: str, operands: Operands) -> None:
    """The same bits for each array in each layout, beside plain others and beside like ones."""
    right = results(name, operands)
    arrays = {k: v for k, v in operands.items() if np.ndim(v) == 2}
    for what, layout in LAYOUTS.items():
        moved = {k: layout(v) for k, v in arrays.items()}
        for changed in (moved, *({k: v} for k, v in moved.items())):
            for found, expected in zip(results(name, operands | changed), right, strict=True):
                assert found.tobytes() == expected.tobytes(), f"{what}: {', '.join(changed)}"


def check_repeated(name: str, operands: Operands) -> None:
    """The same bits for arrays that repeat one row or column in memory as for copies of them."""
    for k, v in operands.items():
        if np.ndim(v) != 2:
            continue
        for repeated in (v[:1], v[:, :1], v[:1, :1]):
            stretched = np.broadcast_to(repeated, v.shape)
            found = results(name, operands | {k: stretched})
            same_bits(tuple(found), tuple(results(name, operands | {k: plain(stretched)})))


def check_memory_maps(name: str, operands: Operands, folder: Path) -> None:
    """Arrays in files are read as they are, and a gradient may go straight to a file."""
    arrays = {k: v for k, v in operands.items() if isinstance(v, np.ndarray)}
    for k, v in arrays.items():
        np.save(folder / k, v)
    stored = {k: np.load(folder / f"{k}.npy", mmap_mode="r") for k in arrays}
    same_bits(tuple(results(name, operands | stored)), tuple(results(name, operands)))
    for call in gradient_calls(name, operands | stored):
        right = call(operands["input"], None)
        np.save(folder / "gradient", operands["input"])
        in_place = np.load(folder / "gradient.npy", mmap_mode="r+")
        same_bits(call(in_place, in_place), right)
        in_place.flush()
        grad = right[1] if isinstance(right, tuple) else right
        same_bits(np.load(folder / "gradient.npy"), grad)
        assert not isinstance(call(stored["input"], None), np.memmap)


def check_written(found: Any, right: Any, out: Array) -> None:
    """The call returned `out`, with the right gradient in it, and beside it the right loss."""
    *losses, grad = found if isinstance(found, tuple) else (found,)
    *right_losses, right_grad = right if isinstance(right, tuple) else (right,)
    assert grad is out
    assert out.astype(right_grad.dtype).tobytes() == right_grad.tobytes()
    same_bits(tuple(losses), tuple(right_losses))


def check_out(name: str, operands: Operands) -> None:
    """`out` of any layout is filled, and nothing beside it; in place in any byte order too."""
    x = operands["input"]
    before = x.copy()
    for call in gradient_calls(name, operands):
        right = call(x, None)
        for what, layout in LAYOUTS.items():
            if what == "read-only":
                continue
            out = layout(np.full_like(x, 7))
            if out.dtype.isnative:
                check_written(call(x, out), right, out)
                same_bits(x, before)
            out[...] = x
            check_written(call(out, out), right, out)
        memory = np.full((2 * x.shape[0] + 1, 2 * x.shape[1] + 1), 7, x.dtype)
        out = memory[1::2, 1::2]
        check_written(call(x, out), right, out)
        assert (memory[::2] == 7).all() and (memory[:, ::2] == 7).all()


def check_threads(name: str, operands: Operands) -> None:
    """The same bits for any number of threads."""
    before = logloss.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            logloss.set_num_threads(threads)
            found.append(results(name, operands))
    finally:
        logloss.set_num_threads(before)
    for other in found[1:]:
        same_bits(tuple(other), tuple(found[0]))


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return generator.normal(0, 4, shape)


def uniform(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return generator.random(shape)


def bits(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Numbers that every type has."""
    return generator.integers(0, 2, shape)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, ...]:
    """No axes to five, at times more elements than a batch has, at times none."""
    sizes = st.one_of(st.integers(1, 5), st.sampled_from((0, 15, 16, 17, 65, 130)))
    drawn = draw(st.lists(sizes, max_size=5).filter(lambda s: np.prod(s) <= 9000))
    return tuple(drawn)


@st.composite
def laid_out(
    draw: st.DrawFn,
    shape: tuple[int, ...],
    sample: Callable[[np.random.Generator, tuple[int, ...]], Array],
    dtypes: tuple[str, ...] = DTYPE_NAMES,
) -> Array:
    """An array of values from `sample`, with a type and layout of its own; it may repeat itself."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kept = tuple(1 if n and draw(st.integers(0, 7)) == 0 else n for n in shape)
    name = draw(st.sampled_from(dtypes))
    dtype = named_dtype(name) if name in DTYPE_NAMES else np.dtype(name)
    x: Array = draw(relaid(sample(generator, kept).astype(dtype)))
    return np.broadcast_to(x, shape) if kept != shape else x


@st.composite
def stretchable(
    draw: st.DrawFn,
    shape: tuple[int, ...],
    sample: Callable[[np.random.Generator, tuple[int, ...]], Array],
    dtypes: tuple[str, ...] = DTYPE_NAMES,
) -> Array:
    """An array that broadcasts to `shape`, with fewer axes at times."""
    kept = shape[draw(st.integers(0, len(shape))) :]
    kept = tuple(1 if draw(st.integers(0, 3)) == 0 else n for n in kept)
    return draw(laid_out(kept, sample, dtypes))


def check_any_layout(data: st.DataObject, name: str, operands: Operands) -> None:
    """The same bits as for plain copies; `out` of a layout of its own."""
    copies = {k: plain(v) if isinstance(v, np.ndarray) else v for k, v in operands.items()}
    same_bits(tuple(results(name, operands)), tuple(results(name, copies)))
    x = copies["input"]
    for call in gradient_calls(name, operands):
        right = call(x, None)
        out = data.draw(relaid(np.zeros_like(x)).filter(lambda a: a.dtype.isnative))
        out.flags.writeable = True
        for input in (operands["input"], out):
            if input is out:
                out[...] = x
            check_written(call(input, out), right, out)


def check_converted(name: str, operands: Operands, argument: str, dtype: Any, to: Any) -> None:
    """An argument of one type gives the bits of the same values in the type they are read in."""
    given = operands[argument].astype(dtype)
    read = results(name, operands | {argument: given.astype(to)})
    for found, right in zip(results(name, operands | {argument: given}), read, strict=True):
        same_bits(found, right)


def check_target_types(name: str, operands: Operands, wide_target: Array) -> None:
    """Of two types the wider one holds; the gradient has the type of the input."""
    x = operands["input"]
    for other in (np.float16, np.float32, np.float64):
        common: Any = np.float64 if np.float64 in (x.dtype, other) else np.float32
        common = x.dtype if other == x.dtype else common
        target = wide_target.astype(other)
        found = results(name, operands | {"target": target})
        wide = {"input": x.astype(common), "target": target.astype(common)}
        loss, grad, loss_beside, grad_beside = results(name, operands | wide)
        same_bits((found[0], found[2]), (loss, loss_beside))
        for gradient, right in ((found[1], grad), (found[3], grad_beside)):
            assert gradient.dtype == x.dtype
            assert_ulp(gradient, right, ROUNDED_ONCE)
