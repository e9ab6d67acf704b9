# SPDX-License-Identifier: BSD-3-Clause
"""logloss._cuda where it is built: on a machine without a GPU, and on one with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from logloss import _core

cuda: Any = pytest.importorskip("logloss._cuda", reason="a build with -DLOGLOSS_CUDA=ON")


def devices() -> int:
    try:
        return int(cuda.device_count())
    except RuntimeError:
        return 0


@pytest.mark.skipif(devices() > 0, reason="there is a GPU")
def test_without_a_gpu_a_call_says_so() -> None:
    x = np.zeros(3, np.float32)
    with pytest.raises(RuntimeError, match="CUDA"):
        cuda.softmax(2, (1, 3, 1), x.ctypes.data, x.ctypes.data)


@pytest.mark.gpu
@pytest.mark.skipif(devices() == 0, reason="no GPU")
@pytest.mark.parametrize("classes", (1, 10, 17, 128, 1000, 1025, 4097, 20000, 32000, 128256))
@pytest.mark.parametrize("dtype", ("float16", "float32", "float64"))
def test_bits_of_the_cpu(classes: int, dtype: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = rng.normal(0, 5, (64, classes)).astype(dtype)
    target = rng.integers(0, classes, 64)
    wide = np.float64 if dtype == "float64" else np.float32
    loss, grad = np.empty(64, wide), np.empty_like(x)
    _core.cross_entropy(x, 1, target, loss=loss, grad=grad)
    on_gpu = {name: torch.from_numpy(a).cuda() for name, a in (("x", x), ("target", target))}
    losses = torch.empty(64, dtype=getattr(torch, np.dtype(wide).name), device="cuda")
    gradient = torch.empty_like(on_gpu["x"])
    cuda.cross_entropy(
        {"float16": 0, "float32": 2, "float64": 3}[dtype],
        (64, classes, 1),
        on_gpu["x"].data_ptr(),
        target=on_gpu["target"].data_ptr(),
        loss=losses.data_ptr(),
        grad=gradient.data_ptr(),
        stream=torch.cuda.current_stream().cuda_stream,
    )
    assert losses.cpu().numpy().tobytes() == loss.tobytes()
    assert gradient.cpu().numpy().tobytes() == grad.tobytes()
