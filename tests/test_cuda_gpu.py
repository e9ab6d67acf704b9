# SPDX-License-Identifier: BSD-3-Clause
"""The public functions over arrays on a GPU, of torch and CuPy: run by hand, `pytest -m gpu`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import logloss
from logloss._device import DeviceArray
from logloss._device.module import device_count

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not device_count(), reason="no GPU")]

Array = np.ndarray[Any, np.dtype[Any]]
Put = Callable[[Array], Any]


@pytest.fixture(params=("torch", "cupy"))
def put(request: pytest.FixtureRequest) -> Put:
    """To the GPU, as an array of either library."""
    module: Any = pytest.importorskip(request.param)
    if request.param == "torch":
        return lambda array: module.from_numpy(array).cuda()
    return module.asarray  # type: ignore[no-any-return]


def same(actual: Any, expected: Any) -> None:
    if isinstance(expected, tuple):
        for pair in zip(actual, expected, strict=True):
            same(*pair)
        return
    assert isinstance(actual, DeviceArray)
    assert actual.numpy().tobytes() == np.asarray(expected).tobytes()


@pytest.mark.parametrize("classes", (3, 17, 1000, 4097, 32000, 128256))
@pytest.mark.parametrize("dtype", ("float16", "float32", "float64"))
def test_bits_of_the_host(put: Put, dtype: str, classes: int, rng: np.random.Generator) -> None:
    x, other, g = (rng.normal(0, 3, (16, classes)).astype(dtype) for _ in range(3))
    p = rng.random((16, classes)).astype(dtype)
    target, weight = rng.integers(0, classes, 16), rng.random(classes)
    target[0] = -100
    signs = rng.choice([-1, 1], 16)
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("softmax", (x,), {}),
        ("log_softmax_backward", (g, x), {}),
        ("logsumexp", (x,), {}),
        ("entropy_with_logits_backward", (0.5, x), {}),
        ("sigmoid", (x,), {}),
        ("log_sigmoid_backward", (g, x), {}),
    ]
    for reduction in ("none", "mean", "sum"):
        options = {"reduction": reduction}
        calls += [
            ("cross_entropy", (x, target), options),
            ("cross_entropy_value_and_grad", (x, target), options | {"weight": weight}),
            ("cross_entropy_backward", (0.37, x, p), options | {"label_smoothing": 0.1}),
            ("nll_loss_value_and_grad", (x, target), options),
            ("binary_cross_entropy_value_and_grad", (p, p[::-1].copy()), options),
            ("binary_cross_entropy_with_logits_value_and_grad", (x, p), options),
            ("kl_div_value_and_grad", (x, p), options),
            ("kl_div_with_logits_value_and_grad", (x, other), options),
            ("cosine_embedding_loss_value_and_grad", (x, other, signs), options),
        ]
    for name, args, options in calls:
        function = getattr(logloss, name)
        there = [put(a) if isinstance(a, np.ndarray) else a for a in args]
        more = {k: put(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        same(function(*there, **more), function(*args, **options))


def test_out_and_in_place(put: Put, rng: np.random.Generator) -> None:
    x = rng.normal(size=(64, 1000)).astype(np.float32)
    logits = put(x)
    assert logloss.softmax(logits, out=logits) is logits
    again = logloss.sigmoid(logits).numpy()
    assert again.tobytes() == logloss.sigmoid(logloss.softmax(x)).tobytes()


def test_a_bad_target(put: Put) -> None:
    loss = logloss.cross_entropy(put(np.zeros((3, 4))), put(np.array([0, 9, 1])))
    with pytest.raises(IndexError, match="target: got 9 at position 1"):
        loss.item()


def test_torch_streams(rng: np.random.Generator) -> None:
    """Work of a stream of torch is waited for, and torch waits for ours."""
    torch: Any = pytest.importorskip("torch")
    x = rng.normal(size=(4096, 1024)).astype(np.float32)
    here, there = torch.cuda.Stream(), torch.cuda.Stream()
    expected = logloss.softmax(x)
    for _ in range(20):
        with torch.cuda.stream(here):
            logits = torch.from_numpy(x).pin_memory().cuda(non_blocking=True) * 1.0
            result = logloss.softmax(logits, stream=there)
            back = torch.from_dlpack(result) + 0.0
        here.synchronize()
        assert back.cpu().numpy().tobytes() == expected.tobytes()


def test_memory_does_not_grow(rng: np.random.Generator) -> None:
    torch: Any = pytest.importorskip("torch")
    x = torch.from_numpy(rng.normal(size=(1024, 1024)).astype(np.float32)).cuda()
    free = []
    for _ in range(3):
        for _ in range(200):
            torch.from_dlpack(logloss.softmax(x))
        torch.cuda.synchronize()
        free.append(torch.cuda.mem_get_info()[0])
    assert free[2] >= free[1] - 2**26


def test_two_devices(put: Put) -> None:
    torch: Any = pytest.importorskip("torch")
    if (device_count() or 0) < 2:
        pytest.skip("one GPU")
    x = torch.ones(2, 3, device="cuda:1")
    assert logloss.softmax(x).device == 1
    assert torch.cuda.current_device() == 0
    with pytest.raises(ValueError, match="device"):
        logloss.cross_entropy(x, torch.zeros(2, dtype=torch.int64, device="cuda:0"))
