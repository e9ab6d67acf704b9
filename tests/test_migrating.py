# SPDX-License-Identifier: BSD-3-Clause
"""Every row of MIGRATING.md: their call and ours give the same numbers."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import logloss

TABLES = Path(__file__).parents[1] / "MIGRATING.md"
C = 5


def arguments() -> dict[str, Any]:
    generator = np.random.default_rng(8)
    logits, log_q, a, b = generator.normal(size=(4, 12, C)).astype(np.float32)
    return {
        "logits": logits,
        "labels": np.arange(12) % C,
        "class_probs": logloss.softmax(generator.normal(size=(12, C)).astype(np.float32)),
        "weight": np.linspace(0.5, 2, C, dtype=np.float32),
        "scores": a[0],
        "probs": logloss.sigmoid(b[0]),
        "truth": np.float32([0, 1, 1, 0, 1]),
        "log_q": logloss.log_softmax(log_q),
        "a": a,
        "b": b,
        "signs": np.where(np.arange(12) % 2, 1, -1),
        "C": C,
    }


def rows() -> list[tuple[str, str, str]]:
    """(library, their call, our call)"""
    found = []
    library = ""
    for line in TABLES.read_text().splitlines():
        if line.startswith("## "):
            library = line.split()[1]
        elif line.startswith("| `"):
            theirs, ours = re.findall(r"`([^`]+)`", line)[:2]
            found.append((library, theirs, ours))
    return found


def library_names(library: str) -> dict[str, Any]:
    """What their calls are made of; skips the test where the library is missing."""
    module = pytest.importorskip(
        {"scikit-learn": "sklearn"}.get(library, library), reason=f"compares with {library}"
    )
    if library == "torch":
        return {"torch": module, "F": module.nn.functional}
    if library == "scikit-learn":
        return {"metrics": importlib.import_module("sklearn.metrics"), "range": range}
    scipy = {name: importlib.import_module(f"scipy.{name}") for name in ("special", "stats")}
    return scipy | {library: module}


def test_the_tables_are_read() -> None:
    libraries = [library for library, _, _ in rows()]
    assert {name: libraries.count(name) for name in dict.fromkeys(libraries)} == {
        "torch": 17,
        "scipy": 7,
        "scikit-learn": 3,
        "optax": 5,
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("library", "theirs", "ours"), rows())
def test_row(library: str, theirs: str, ours: str) -> None:
    names = library_names(library)
    given = arguments()
    if library == "torch":
        given = {k: names["torch"].tensor(v) for k, v in given.items()}
    expected = eval(theirs, names | given)
    found = eval(ours, vars(logloss) | {"numpy": np} | arguments())
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=2e-6, atol=1e-7)
