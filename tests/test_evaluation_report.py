# SPDX-License-Identifier: BSD-3-Clause
"""Reports of the evaluation package: digits, units, JSON, and the line of the progress bar."""

from __future__ import annotations

import json
import math

import numpy as np

from logloss.evaluation import CrossEntropyState, Progress
from logloss.evaluation.progress import progress_line
from logloss.evaluation.report import format_bytes, format_seconds, result_lines, table, to_json


def test_the_progress_line() -> None:
    line = progress_line(Progress(10, 40, 10 * 10**9, 40 * 10**9, 5.0))
    assert line == "[######..................]  25 % of 40 GB  2 GB/s  15 s left"


def test_numbers_have_as_many_digits_as_their_error() -> None:
    def line(name: str, **values: float) -> str:
        result = CrossEntropyState().update(np.zeros((2, 2)), [0, 1]).result()
        fields = {**result.__dict__, **values}
        return dict(result_lines(type(result)(**fields)))[name]

    assert line("mean loss", loss=1.23456789, standard_error=0.0123) == "1.235 +- 0.012 nats"
    assert (
        line("mean loss", loss=1.23456789, standard_error=1.23e-7)
        == "1.23456789 +- 0.00000012 nats"
    )
    assert line("mean loss", loss=1234.5, standard_error=67.8) == "1234 +- 68 nats"
    assert line("mean loss", loss=1.2345678, standard_error=math.nan) == "1.23457 nats"
    assert line("mean loss", loss=1.2345678, standard_error=0.0) == "1.23457 nats"
    assert line("mean loss", loss=123456.0, standard_error=1234.0) == "123456 +- 1.2e+03 nats"
    assert line("mean loss", loss=math.nan, standard_error=math.nan) == "nan nats"
    assert line("perplexity", perplexity=math.inf) == "inf"


def test_units() -> None:
    sizes = [0, 999, 1000, 36088, 999_499, 999_501, 2**30, 12 * 10**12, 4321 * 10**12]
    assert [format_bytes(size) for size in sizes] == [
        "0 B",
        "999 B",
        "1 kB",
        "36.1 kB",
        "999 kB",
        "1 MB",
        "1.07 GB",
        "12 TB",
        "4321 TB",
    ]
    times = [0.0, 15e-6, 1.234e-3, 0.4567, 1.0, 99.94, 99.96, 3599.0, 3600.0, 86400.0]
    assert [format_seconds(time) for time in times] == [
        "0 us",
        "15 us",
        "1.23 ms",
        "457 ms",
        "1 s",
        "99.9 s",
        "1 min 40 s",
        "59 min 59 s",
        "1 h 0 min",
        "24 h 0 min",
    ]


def test_json_and_table_helpers() -> None:
    assert json.loads(to_json({"a": [math.nan, math.inf, (-math.inf, 0.1)], "b": "x"})) == {
        "a": [None, "inf", ["-inf", 0.1]],
        "b": "x",
    }
    assert table([("a", "1"), ("bcd", "22")]) == "a    1\nbcd  22"
