# SPDX-License-Identifier: BSD-3-Clause
"""Every public function has an example in its docstring, and every example is true."""

from __future__ import annotations

import doctest
import importlib
import inspect

import pytest

import logloss

MODULES = ("logloss.functional", "logloss._runtime", "logloss.evaluation.state")


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    failed, attempted = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert attempted > 0
    assert failed == 0


def test_every_public_function_has_an_example() -> None:
    functions = [getattr(logloss, name) for name in logloss.__all__ if name != "__version__"]
    assert [f.__name__ for f in functions if ">>> " not in (inspect.getdoc(f) or "")] == []
