# SPDX-License-Identifier: BSD-3-Clause
"""What is written about the CUDA module in several places is the same: its stub, its versions."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
EMULATION = {"configure", "pretend", "place", "take_notes", "allocations"}


def signatures() -> dict[str, list[str]]:
    tree = ast.parse((ROOT / "python/logloss/_cuda.pyi").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {f.name: [arg.arg for arg in (*f.args.args, *f.args.kwonlyargs)] for f in functions}


def test_the_stub_names_every_function_and_argument() -> None:
    module: Any = pytest.importorskip("logloss._cuda_emulated")
    stub = signatures()
    functions = {
        name: function.__doc__
        for name, function in vars(module).items()
        if callable(function) and not isinstance(function, type) and name not in EMULATION
    }
    assert stub.keys() == functions.keys()
    for name, text in functions.items():
        head = text.partition(") -> ")[0].partition("(")[2]
        assert re.findall(r"(\w+):", head) == stub[name], name


def test_versions_agree() -> None:
    """Those of both distributions, and what each says of the other."""
    main = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    other = tomllib.loads((ROOT / "csrc/cuda/distribution/pyproject.toml").read_text())["project"]
    version = main["version"]
    assert other["version"] == version
    assert other["dependencies"] == [f"logloss=={version}"]
    assert main["optional-dependencies"]["cuda13"] == [f"{other['name']}=={version}"]
