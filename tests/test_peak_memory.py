# SPDX-License-Identifier: BSD-3-Clause
"""A result smaller than its input costs no memory of the input's size.

Each call is made in a fresh process, which asks the kernel how far it raises the peak of the
resident memory: that sees the allocations of Python, NumPy and C++ alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Calls whose result is one number, one per row, or written into `out`; x and p are large.
CALLS = {
    "logsumexp": "logsumexp(x, axis=1)",
    "logsumexp, inner axis": "logsumexp(inner, axis=1)",
    "cross_entropy": "cross_entropy(x, y)",
    "cross_entropy, inner axis": "cross_entropy(inner, inner_y)",
    "cross_entropy, class weights": "cross_entropy(x, y, weight=x[0] ** 2)",
    "cross_entropy, smoothed": "cross_entropy(x, y, label_smoothing=0.1)",
    "cross_entropy, per sample": 'cross_entropy(x, y, reduction="none")',
    "cross_entropy, sum": 'cross_entropy(x, y, reduction="sum")',
    "cross_entropy, probabilities": "cross_entropy(x, p)",
    "cross_entropy, gradient": "cross_entropy_value_and_grad(x, y, out=out)",
    "cross_entropy, inner gradient": "cross_entropy_value_and_grad(inner, inner_y, out=inner_out)",
    "cross_entropy, backward": "cross_entropy_backward(1.0, x, y, out=out)",
    "nll_loss": "nll_loss(x, y)",
    "nll_loss, inner axis": "nll_loss(inner, inner_y)",
    "binary_cross_entropy": "binary_cross_entropy(p, p)",
    "binary_cross_entropy, sum": 'binary_cross_entropy(p, p, reduction="sum")',
    "binary_cross_entropy, gradient": "binary_cross_entropy_value_and_grad(p, p, out=out)",
    "binary_cross_entropy_with_logits": "binary_cross_entropy_with_logits(x, p)",
    "binary_cross_entropy_with_logits, weights": (
        "binary_cross_entropy_with_logits(x, p, pos_weight=p[0], weight=p[:, :1])"
    ),
    "binary_cross_entropy_with_logits, gradient": (
        "binary_cross_entropy_with_logits_value_and_grad(x, p, out=out)"
    ),
    "kl_div": "kl_div(x, p)",
    "kl_div, batchmean": 'kl_div(x, x, reduction="batchmean", log_target=True)',
    "kl_div, gradient": "kl_div_value_and_grad(x, p, out=out)",
    "kl_div_with_logits": "kl_div_with_logits(x, p)",
    "kl_div_with_logits, inner axis": "kl_div_with_logits(inner, inner, axis=1)",
    "entropy": "entropy(p, axis=1)",
    "entropy, inner axis": "entropy(inner, axis=1)",
    "entropy_with_logits": "entropy_with_logits(x, axis=1)",
    "entropy_with_logits, inner axis": "entropy_with_logits(inner, axis=1)",
    "cosine_embedding_loss": "cosine_embedding_loss(x, p, signs)",
    "log_softmax": "log_softmax(x, axis=1, out=out)",
    "softmax, inner axis": "softmax(inner, axis=1, out=inner_out)",
    "softmax, in place": "softmax(out, axis=1, out=out)",
    "sigmoid": "sigmoid(x, out=out)",
}
# And two that must be seen to allocate as much as the input, or the measurement is worth nothing.
CONTROLS = {"log_softmax, fresh": "log_softmax(x, axis=1)", "a temporary": "(x * 2).max()"}

SCRIPT = """
import json, sys
import numpy as np
from logloss import *
from bench.machine import extra_memory

set_num_threads(2)
name, calls = json.load(sys.stdin)
if name == "bfloat16":
    import ml_dtypes
dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
rows, classes = 4096, 16 * 2**20 // dtype.itemsize // 4096
x, p = (np.full((rows, classes), value, dtype) for value in (-0.5, 0.5))
out = np.ones_like(x)
y, signs = np.zeros(rows, int), np.ones(rows, dtype)
inner, inner_out = (array.reshape(8, classes // 8, 64, 64) for array in (x, out))
inner_y = np.zeros((8, 64, 64), int)
used = {}
for label, call in calls.items():
    compiled = compile(call, label, "eval")
    eval(compiled)  # loads code, starts threads
    used[label] = extra_memory(lambda: eval(compiled)) / x.nbytes
print(json.dumps(used))
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's account of Linux")


@pytest.fixture(scope="module", params=("float32", "float64", "float16", "bfloat16"))
def used(request: pytest.FixtureRequest) -> dict[str, float]:
    """The extra memory of every call, as a share of the memory of its input."""
    if request.param == "bfloat16":
        pytest.importorskip("ml_dtypes")
    # Otherwise logloss and malloc keep freed memory for a later call, which then raises no peak.
    environment = os.environ | {
        "LOGLOSS_KEEP_MIB": "0",
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps([request.param, CALLS | CONTROLS]),
        cwd=Path(__file__).parent.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shares: dict[str, float] = json.loads(done.stdout)
    return shares


@linux
@pytest.mark.parametrize("call", CALLS)
def test_nothing_of_the_size_of_the_input(used: dict[str, float], call: str) -> None:
    assert used[call] < 0.1


@linux
@pytest.mark.parametrize("call", CONTROLS)
def test_an_allocation_is_seen(used: dict[str, float], call: str) -> None:
    assert used[call] > 0.9
