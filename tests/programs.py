# SPDX-License-Identifier: BSD-3-Clause
"""Logits that look random but are not, and scripts that run in an interpreter of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from ulp import Array


def logits(rows: int, classes: int) -> Array:
    values = np.arange(rows * classes, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return ((values >> np.uint64(40)).astype(np.float32) * 2.0**-20).reshape(rows, classes)


def python(script: str, **environment: str) -> str:
    """Run a script in a fresh interpreter, return what it prints; a hang is an error."""
    kept = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(
        command, env=kept | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
    return done.stdout.strip()
