# SPDX-License-Identifier: BSD-3-Clause
"""The losses on a device: value, gradient or both. Nothing waits for the host."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from logloss import _validate
from logloss._device.arrays import (
    FIRST_INDEX_TYPE,
    DType,
    Operand,
    Report,
    type_number,
)
from logloss._device.call import Call, Output, address, compute_dtype, rows_along
from logloss._device.module import cuda
from logloss._device.reports import MisfitReport, TargetReport
from logloss._reduction import common_dtype
from logloss._validate import FLOAT32, FLOAT64

Want = Literal["value", "gradient", "both"]
UINT64 = np.dtype(np.uint64)


class Value:
    """Where the losses go: an array of them, or their exact sum."""

    def __init__(
        self,
        call: Call,
        reduction: str,
        shape: tuple[int, ...],
        dtype: DType,
        report: Report | None,
    ) -> None:
        self._call = call
        self._state: Operand | None = None
        if reduction == "none":
            self.output = call.result(shape, compute_dtype(dtype), report)
        else:
            self.output = call.result((), FLOAT64, report)
            self._state = sum_state(call)

    def options(self) -> dict[str, int]:
        """Name the place to the kernel."""
        if self._state is None:
            return {"loss": self.output.operand.address}
        return {"sum": self._state.address}

    def finish(self, divisor: dict[str, Any]) -> None:
        """Divide and round a sum."""
        if self._state is not None:
            numerator = self._state.address
            out = self.output.operand.address
            self._call.run("finish_sum", out, numerator=numerator, **divisor)

    def of_nothing(self, value: float) -> None:
        """Write the value of losses that no kernel computes."""
        self._call.fill(self.output.operand, value)


class Gradient:
    """
    Where a gradient goes: the result, or by way of an array as the kernel writes it.

    That one has the dtype and the shape that the kernel computes, and is summed over the axes along
    which the input was repeated.
    """

    def __init__(self, call: Call, output: Output, dtype: DType, shape: tuple[int, ...]) -> None:
        self._call, self._output = call, output
        result = output.operand
        self._repeated = result.shape != shape
        direct = result.dtype == dtype and not self._repeated
        self.computed = result if direct else call.room(shape, dtype)

    def finish(self, *, via_float32: bool = False) -> Any:
        """Sum, and convert to the dtype of the input."""
        result, computed = self._output.operand, self.computed
        if computed is not result:
            if self._repeated:
                computed = self._call.summed(computed, result.shape)
            elif via_float32:
                computed = self._call.converted(computed, FLOAT32)
            self._call.convert(computed, result)
        return self._output.returned


def sum_state(call: Call) -> Operand:
    """An exact sum of nothing."""
    state = call.room((cuda().SUM_STATE_BYTES // 8,), UINT64)
    call.run("clear_sum", state.address)
    return state


def wanted(value: Value | None, gradient: Any) -> Any:
    """What was asked for, of value and gradient."""
    if value is None:
        return gradient
    return value.output.returned if gradient is None else (value.output.returned, gradient)


# ------------------------------------------------------------------------------------- of classes


def class_losses(
    name: str,
    input: Any,
    target: Any,
    weight: Any,
    ignore_index: Any,
    reduction: str,
    axis: Any,
    stream: Any,
    *,
    label_smoothing: Any = 0.0,
    want: Want = "value",
    grad_output: Any = 1.0,
    out: Any = None,
) -> Any:
    """cross_entropy or nll_loss; a target that is no class makes its row NaN and is reported."""
    with Call(stream, input, target) as call:
        given = call.floats("input", input)
        class_axis = _validate.class_axis(axis, given.ndim)
        _validate.check_reduction(reduction)
        smoothing = _validate.check_label_smoothing(label_smoothing)
        ignore = _validate.check_ignore_index(ignore_index)
        y = class_target(call, name, target, given, class_axis, ignore)
        shape = given.shape[:class_axis] + given.shape[class_axis + 1 :]
        indices = y.dtype.kind in "iu"
        dtype = given.dtype if indices else common_dtype(given, y)
        x = call.converted(given, dtype)
        p = None if indices else call.converted(y, dtype)
        outer, classes, inner = rows_along(given.shape, class_axis)
        rows = outer * inner
        w = None
        if weight is not None:
            w = call.numbers("weight", weight)
            _validate.same_shape("weight", w.shape, (classes,))
        scale, number, each = 1.0, None, None
        if want == "gradient":
            scale, number, each = call.upstream(grad_output, reduction, shape)
        result = None
        if want != "value":
            result = call.output(out, given, others=(y, w, number, each))
        if w is not None:
            w = call.converted(w, compute_dtype(x.dtype))
        report, places = (None, None) if not indices else class_rows(call, y, rows, classes, ignore)
        if result is not None and out is None and report is not None:
            result.returned.report_to(report)

        divisor: dict[str, Any] = {}
        if reduction == "mean":
            divisor = divisor_of_mean(call, report, places, w, rows, classes)
        value = None
        if want != "gradient":
            value = Value(call, reduction, shape, x.dtype, report)
        gradient = None if result is None else Gradient(call, result, x.dtype, given.shape)
        if rows * classes:
            options: dict[str, Any] = {} if value is None else value.options()
            if gradient is not None:
                options |= gradient_scale(call, scale, number, each, divisor)
                options["grad"] = gradient.computed.address
            call.run(
                name,
                type_number(x.dtype),
                (outer, classes, inner),
                x.address,
                target=address(places),
                probs=address(p),
                weight=address(w),
                smoothing=smoothing,
                **options,
            )
            if value is not None:
                value.finish(divisor)
        elif value is not None:
            # Sums over no classes: torch gives -0.0 where it negates such a sum.
            value.of_nothing(math.nan if reduction == "mean" else 0.0 if indices else -0.0)
        return wanted(value, gradient and gradient.finish())


def class_target(
    call: Call, name: str, target: Any, input: Operand, axis: int, ignore: int
) -> Operand:
    """Check that `target` holds classes, or probabilities for cross_entropy."""
    y = call.operand("target", target)
    shape = input.shape[:axis] + input.shape[axis + 1 :]
    probabilities = name == "cross_entropy"
    if y.dtype.kind not in "iu":
        _validate.check_probabilities(y, input, shape, probabilities=probabilities)
        _validate.no_ignored_probabilities(ignore)
    elif y.shape != shape:
        _validate.check_indices(y, input, shape, probabilities=probabilities)
    return y


def class_rows(
    call: Call, target: Operand, rows: int, classes: int, ignore: int
) -> tuple[TargetReport, Operand]:
    """Check targets on the device: what is wrong with them, and the class of each row."""
    words = call.room((cuda().TARGET_REPORT_BYTES // 8,), UINT64)
    places = call.room((rows,), np.dtype(np.int64))
    index_type = type_number(target.dtype)
    assert index_type is not None
    call.run(
        "class_rows",
        index_type - FIRST_INDEX_TYPE,
        rows,
        classes,
        as_target(ignore, target.dtype),
        target.address,
        words.address,
        places.address,
    )
    return TargetReport(words, target.shape, target.dtype, classes), places


def as_target(number: int, dtype: DType) -> int | None:
    """`number` as the 64 bits of a target; None if targets of that dtype never equal it."""
    unsigned = dtype == UINT64
    low, high = (0, 2**64) if unsigned else (-(2**63), 2**63)
    if not low <= number < high:
        return None
    return number - 2**64 if number >= 2**63 else number


def divisor_of_mean(
    call: Call,
    report: TargetReport | None,
    places: Operand | None,
    weight: Operand | None,
    rows: int,
    classes: int,
) -> dict[str, Any]:
    """What the mean divides by: the weight of the rows that count, or their number."""
    if report is None or places is None:
        return {"divisor": float(rows)}
    if weight is None:
        return {"count": report.words.address}
    state = sum_state(call)
    arrays = (weight.address, places.address, state.address)
    call.run("weight_of_rows", type_number(weight.dtype), rows, classes, *arrays)
    return {"denominator": state.address}


def gradient_scale(
    call: Call,
    scale: float,
    number: Operand | None,
    each: Operand | None,
    divisor: dict[str, Any],
) -> dict[str, Any]:
    """The factors of a gradient: a number of the host, one of the device, one for each row."""
    if "divisor" in divisor:
        quotient = 1.0 / divisor["divisor"] if divisor["divisor"] else math.inf
        scale = scale * quotient
    elif divisor:
        factor = call.room((), FLOAT64)
        call.run("finish_sum", factor.address, factor=address(number), **divisor)
        number = factor
    factors: dict[str, Any] = {"grad_scale": scale, "grad_factor": address(number)}
    if each is not None:
        factors["grad_rows"] = call.converted(each, FLOAT64).address
    return factors


# -------------------------------------------------------------------------------- of elements


def element_losses(
    name: str,
    input: Any,
    target: Any,
    reduction: str,
    stream: Any,
    *,
    weight: Any = None,
    pos_weight: Any = None,
    want: Want = "value",
    grad_output: Any = 1.0,
    out: Any = None,
) -> Any:
    """The binary cross-entropies and kl_div; what is no probability is NaN and reported."""
    with Call(stream, input, target) as call:
        given, y, shape, dtype = element_operands(call, name, input, target, reduction)
        scale, number, each = 1.0, None, None
        if want == "gradient":
            scale, number, each = call.upstream(grad_output, reduction, shape)
        compute = compute_dtype(dtype)
        w = call.weights("weight", weight, shape)
        pos_w = call.weights("pos_weight", pos_weight, shape)
        result = None
        if want != "value":
            result = call.output(out, given, others=(y, w, pos_w, number, each))
        options: dict[str, Any] = {
            "weight": call.repeated(w, shape, compute),
            "pos_weight": call.repeated(pos_w, shape, compute),
        }
        x = call.converted(given, dtype, shape)
        y = call.converted(y, dtype, shape)
        report = None
        if name == "binary_cross_entropy" and x.size:
            words = call.room((cuda().MISFIT_REPORT_BYTES // 8,), UINT64)
            report = MisfitReport(words, shape)
            options["misfit"] = words.address
            if result is not None and out is None:
                result.returned.report_to(report)

        size = math.prod(shape)
        samples = given.shape[0] if given.ndim else 1
        divisor = {"mean": float(size), "batchmean": float(samples)}.get(reduction, 1.0)
        value = None
        if want != "gradient":
            value = Value(call, reduction, shape, dtype, report)
            options |= value.options()
        gradient = None
        if result is not None:
            gradient = Gradient(call, result, dtype, shape)
            options |= gradient_scale(call, scale, number, None, {"divisor": divisor})
            options["grad_output"] = address(each and call.converted(each, compute))
            options["grad"] = gradient.computed.address
        if size:
            launch_elements(call, name, x, y, report, options)
            if value is not None:
                value.finish({"divisor": divisor})
        elif value is not None:
            value.of_nothing(0.0 if divisor else math.nan)
        # The host's kernels write float64 gradients to 16 bits by way of float32.
        via_float32 = dtype.itemsize == 8 and given.dtype.itemsize == 2
        return wanted(value, gradient and gradient.finish(via_float32=via_float32))


def element_operands(
    call: Call, name: str, input: Any, target: Any, reduction: str
) -> tuple[Operand, Operand, tuple[int, ...], DType]:
    """Input and target of a loss of elements, their common shape, and the dtype of the kernel."""
    given = call.floats("input", input)
    if name.startswith("kl_div"):
        y = call.floats("target", target)
        _validate.check_reduction(reduction, _validate.KL_REDUCTIONS)
        shape, dtype = _validate.broadcast_shape(given, y), common_dtype(given, y)
        if given.shape != shape and dtype.itemsize == 2:
            dtype = FLOAT32  # as on the host
    else:
        y = call.numbers("target", target)
        _validate.same_shape("target", y.shape, given.shape)
        _validate.check_reduction(reduction)
        floats = _validate.is_float(y.dtype)
        shape, dtype = given.shape, common_dtype(given, y) if floats else given.dtype
    return given, y, shape, dtype


def launch_elements(
    call: Call,
    name: str,
    x: Operand,
    y: Operand,
    report: MisfitReport | None,
    options: dict[str, Any],
) -> None:
    """Run the kernel; where the gradient replaces its input, misfits are named before that."""
    arguments = (type_number(x.dtype), x.size, x.address, y.address)
    in_place = options.get("grad") == x.address
    if report is None:
        call.run(name, *arguments, **options)
        return
    if in_place:
        call.run(name, *arguments, misfit=report.words.address)
        options["misfit"] = call.room(report.words.shape, UINT64).address
    else:
        call.run(name, *arguments, **options)
    call.run("name_misfit", type_number(x.dtype), x.address, y.address, report.words.address)
    if in_place:
        call.run(name, *arguments, **options)


# ----------------------------------------------------------------------------- of pairs of rows


def pair_losses(
    name: str,
    first: Any,
    second: Any,
    reduction: str,
    stream: Any,
    *,
    axis: Any = -1,
    target: Any = None,
    margin: Any = 0.0,
    both_sides: bool = False,
    want: Want = "value",
    grad_output: Any = 1.0,
    out: Any = None,
) -> Any:
    """kl_div_with_logits or cosine_embedding_loss; `both_sides` asks for two gradients."""
    with Call(stream, first, second) as call:
        if name == "kl_div_with_logits":
            pair = logit_rows(call, first, second, reduction, axis)
        else:
            pair = embedding_rows(call, first, second, target, reduction)
        a, b, y, full, position = pair
        shape = full[:position] + full[position + 1 :]
        margin = call.number("margin", margin)
        divisor = divisor_of_pairs(name, full, shape, reduction)
        nothing = math.prod(shape if y is not None else full) == 0
        dtype = common_dtype(a, b)
        if dtype.itemsize == 2 and not a.shape == b.shape == full:
            dtype = FLOAT32  # as on the host
        scale, number, each = 1.0, None, None
        if want == "gradient":
            scale, number, each = call.upstream(grad_output, reduction, shape)
        sides: list[Gradient] = []
        if want != "value":
            outs = _validate.check_pair("out", out) if both_sides else (out, None)
            others = (y, number, each)
            result = call.output(outs[0], a, others=(b, *others))
            sides.append(Gradient(call, result, dtype, full))
            if both_sides:
                other = call.output(outs[1], b, others=(a, result.operand, *others))
                sides.append(Gradient(call, other, dtype, full))
        x1, x2 = call.converted(a, dtype, full), call.converted(b, dtype, full)
        value = Value(call, reduction, shape, dtype, None) if want != "gradient" else None
        if not nothing:
            rows = rows_along(full, position)
            if rows[1] == 0:  # vectors without features are those of one that is zero
                rows, x1 = (rows[0], 1, 1), call.room(shape, dtype)
                call.fill(x1, 0.0)
                x2 = x1
            options: dict[str, Any] = {} if value is None else value.options()
            if sides and a.size:
                options |= gradient_scale(call, scale, number, each, {"divisor": divisor})
                for gradient, option in zip(sides, ("first_grad", "second_grad"), strict=False):
                    options[option] = gradient.computed.address
            if y is not None:
                options |= {"target": y.address, "margin": margin}
            call.run(name, type_number(dtype), rows, x1.address, x2.address, **options)
            if value is not None:
                value.finish({"divisor": divisor})
        elif value is not None:
            value.of_nothing(0.0 if divisor else math.nan)
        gradients = tuple(side.finish() for side in sides)
        return wanted(value, gradients if both_sides and gradients else next(iter(gradients), None))


# The first and the second array, the target of each row, the shape of all pairs, the class axis.
Pair = tuple[Operand, Operand, Operand | None, tuple[int, ...], int]


def logit_rows(call: Call, input: Any, target: Any, reduction: str, axis: Any) -> Pair:
    """Check the arguments of kl_div_with_logits."""
    x, t = call.floats("input", input), call.floats("target", target)
    _validate.same_shape("target", t.shape, x.shape)
    _validate.check_reduction(reduction, _validate.KL_REDUCTIONS)
    if x.ndim == 0:
        raise _validate.no_class_axis()
    return x, t, None, x.shape, _validate.axis_index(axis, x.ndim)


def embedding_rows(call: Call, input1: Any, input2: Any, target: Any, reduction: str) -> Pair:
    """Check the arguments of cosine_embedding_loss."""
    a, b = call.floats("input1", input1), call.floats("input2", input2)
    y = call.numbers("target", target)
    rows = _validate.embedding_rows(a, b, y)
    _validate.check_reduction(reduction)
    y = call.converted(y, FLOAT64, rows)
    return a, b, y, (*rows, a.shape[-1]), len(rows)


def divisor_of_pairs(
    name: str, full: tuple[int, ...], shape: tuple[int, ...], reduction: str
) -> float:
    """What the sum is divided by: kl_div's mean counts elements, the other's rows."""
    if reduction == "batchmean":
        return float(full[0])
    if reduction != "mean":
        return 1.0
    return float(math.prod(full if name == "kl_div_with_logits" else shape))
