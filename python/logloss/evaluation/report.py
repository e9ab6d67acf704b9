# SPDX-License-Identifier: BSD-3-Clause
"""
Evaluations as text for people and as JSON for programs.

JSON knows neither nan nor infinity: nan is written as null, infinities as "inf" and "-inf". All
other numbers keep their full precision.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from logloss.evaluation.readers import NpyFile
    from logloss.evaluation.runner import Evaluation
    from logloss.evaluation.state import CrossEntropyResult, CrossEntropyState

SCHEMA_VERSION = 1


def to_json(values: dict[str, Any]) -> str:
    """Return JSON text; nan becomes null, infinities the strings "inf" and "-inf"."""
    return json.dumps(_json_safe(values), indent=2, allow_nan=False)


def state_values(state: CrossEntropyState) -> dict[str, Any]:
    """Return the metrics and the options of a state under stable keys."""
    options = {
        "weight": None if state.weight is None else state.weight.tolist(),
        "ignore_index": state.ignore_index,
        "label_smoothing": state.label_smoothing,
    }
    return {"schema_version": SCHEMA_VERSION, **asdict(state.result()), "options": options}


def evaluation_values(evaluation: Evaluation, threads: int) -> dict[str, Any]:
    """Return everything about an evaluation under stable keys."""
    shards, done = evaluation.shards, evaluation.progress
    return {
        **state_values(evaluation.state),
        "classes": shards[0].classes,
        "dtype": _dtype_names(shard.logits for shard in shards),
        "logits": [str(shard.logits.path) for shard in shards],
        "labels": list(dict.fromkeys(str(shard.labels.path) for shard in shards)),
        "bytes_read": done.bytes_read,
        "seconds": done.seconds,
        "gigabytes_per_second": done.gigabytes_per_second,
        "threads": threads,
    }


def evaluation_table(evaluation: Evaluation, threads: int) -> str:
    """Return an evaluation as an aligned table."""
    shards, done = evaluation.shards, evaluation.progress
    logits = [shard.logits for shard in shards]
    labels = list({shard.labels.path: shard.labels for shard in shards}.values())
    speed = (
        "n/a"
        if math.isnan(done.gigabytes_per_second)
        else (f"{done.gigabytes_per_second:.3g} GB/s")
    )
    return table(
        [
            ("logits", f"{_describe_files(logits)}, {_dtype_names(logits)}"),
            ("labels", _describe_files(labels)),
            *result_lines(evaluation.result),
            (
                "throughput",
                f"{speed} ({format_bytes(done.bytes_read)} in "
                f"{format_seconds(done.seconds)}, threads: {threads})",
            ),
        ]
    )


def result_lines(result: CrossEntropyResult) -> list[tuple[str, str]]:
    """Return the metrics as lines of a table: a name and a text each."""
    loss, error = result.loss, result.standard_error
    accuracy = "nan"
    if result.samples:
        accuracy = f"{100.0 * result.accuracy:.2f} % ({result.hits} of {result.samples})"
    lines = [
        ("samples", str(result.samples)),
        ("ignored", str(result.ignored)),
        ("mean loss", f"{_with_error(loss, error)} nats"),
        ("perplexity", _with_error(result.perplexity, result.perplexity * error)),
        ("bits", _with_error(result.bits, error / math.log(2.0))),
        ("top-1 accuracy", accuracy),
    ]
    if result.total_weight != result.samples:
        lines.insert(2, ("total weight", f"{result.total_weight:.10g}"))
    return lines


def table(lines: Sequence[tuple[str, str]]) -> str:
    """Align names and texts in two columns."""
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)


def format_bytes(count: int) -> str:
    """Return a size in decimal units, three significant digits."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000.0
    return f"{size:.3g} TB" if size < 999.5 else f"{size:.0f} TB"


def format_seconds(seconds: float) -> str:
    """Return a time span in the unit in which it is easy to read."""
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.3g} us"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 99.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _with_error(value: float, error: float) -> str:
    """Return "value +- error" with two digits of the error, or six digits of the value alone."""
    if not math.isfinite(value):
        return f"{value}"
    if not math.isfinite(error) or error <= 0.0:
        return f"{value:.6g}"
    decimals = 1 - math.floor(math.log10(error))
    if not 0 <= decimals <= 12:
        return f"{value:.6g} +- {error:.2g}"
    return f"{value:.{decimals}f} +- {error:.{decimals}f}"


def _describe_files(files: Sequence[NpyFile]) -> str:
    """Return the name and shape of a file, or the names of the first and the last of several."""
    first, last = files[0].path, files[-1].path
    if len(files) == 1:
        shape = " x ".join(str(size) for size in files[0].shape)
        return f"{first} ({shape})"
    return f"{first} ... {last.name} ({len(files)} files)"


def _dtype_names(files: Iterable[NpyFile]) -> str:
    return ", ".join(dict.fromkeys(file.dtype_name for file in files))


def _json_safe(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, dict):
        return {key: _json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_safe(item) for item in value]
    return value
