# SPDX-License-Identifier: BSD-3-Clause
"""Every public function and class has an example in its docstring, and every example is true."""

from __future__ import annotations

import doctest
import importlib
import inspect
from typing import Any

import pytest

import logloss

PUBLIC: list[Any] = [getattr(logloss, name) for name in logloss.__all__ if name != "__version__"]
MODULES = {thing.__module__ for thing in PUBLIC} | {"logloss.evaluation.state"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    failed, attempted = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert attempted > 0
    assert failed == 0


def test_everything_public_has_an_example() -> None:
    assert [thing.__name__ for thing in PUBLIC if ">>> " not in (inspect.getdoc(thing) or "")] == []
