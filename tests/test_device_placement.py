# SPDX-License-Identifier: BSD-3-Clause
"""Where device arrays lie: the device of a call, the driver, the module of the kernels."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import logloss
from fake_device import KINDS, TARGET, Array, Interface, Lender, X, notes
from logloss._device import DeviceArray
from logloss._device.module import cuda


def on(emulated: Any, device: int, *arrays: Array) -> tuple[Interface, ...]:
    for array in arrays:
        emulated.place(array.ctypes.data, array.nbytes, device)
    return tuple(map(Interface, arrays))


def test_the_device_of_the_arrays_is_current_for_the_call(emulated: Any) -> None:
    x, target = on(emulated, 1, X.copy(), TARGET.copy())
    loss = logloss.cross_entropy(x, target)
    assert loss.device == 1
    assert loss.__dlpack_device__() == (2, 1)
    assert {note[1] for note in notes(emulated, "run", "allocate")} == {1}
    assert emulated.current_device() == 0
    assert loss.item() == logloss.cross_entropy(X, TARGET)
    assert emulated.current_device() == 0


def test_the_device_is_restored_after_an_error(emulated: Any) -> None:
    x, target = on(emulated, 1, np.zeros((2, 30000, 2)), np.zeros((2, 2), np.int64))
    with pytest.raises(ValueError, match="must be the last one"):
        logloss.cross_entropy(x, target)
    assert emulated.current_device() == 0


def test_the_driver_is_asked_once_for_an_array(emulated: Any) -> None:
    """DLPack says where it lies."""
    emulated.take_notes()
    target, weight = Interface(TARGET), Interface(np.ones(4))
    loss, _ = logloss.cross_entropy_value_and_grad(Interface(X), target, weight=weight)
    loss.numpy()
    assert len(notes(emulated, "ask")) == 3
    logloss.cross_entropy(Lender(X), Lender(TARGET)).numpy()
    assert not notes(emulated, "ask")


def test_arrays_on_two_devices(emulated: Any) -> None:
    (x,) = on(emulated, 1, X.copy())
    message = "target: got an array on CUDA device 0, expected one on device 1, as input"
    with pytest.raises(ValueError, match=message):
        logloss.cross_entropy(x, Interface(TARGET))
    with pytest.raises(ValueError, match="out: got an array on CUDA device 1"):
        logloss.softmax(Lender(X), out=x)


def test_host_memory_that_claims_to_be_a_devices(emulated: Any) -> None:
    (x,) = on(emulated, -1, X.copy())
    with pytest.raises(ValueError, match="input: got host memory"):
        logloss.softmax(x)


def test_without_a_driver(emulated: Any) -> None:
    emulated.pretend(devices=0)
    for kind in KINDS.values():
        with pytest.raises(RuntimeError, match="CUDA: no CUDA-capable device"):
            logloss.softmax(kind(X))
    assert logloss.config()["cuda_devices"] == 0
    emulated.pretend()
    assert (logloss.config()["cuda"], logloss.config()["cuda_devices"]) == (True, 2)


def test_without_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("logloss._cuda", "logloss_cuda13"):
        monkeypatch.setitem(sys.modules, name, None)
    cuda.cache_clear()
    with pytest.raises(ImportError, match="pip install logloss-cuda13"):
        logloss.softmax(Interface(X))
    assert (logloss.config()["cuda"], logloss.config()["cuda_devices"]) == (False, 0)
    cuda.cache_clear()


def test_the_module_of_the_other_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("logloss._cuda_emulated")
    monkeypatch.setitem(sys.modules, "logloss._cuda", None)
    monkeypatch.setitem(sys.modules, "logloss_cuda13", type(sys)("logloss_cuda13"))
    monkeypatch.setitem(sys.modules, "logloss_cuda13._cuda", module)
    cuda.cache_clear()
    assert isinstance(logloss.softmax(Interface(X)), DeviceArray)
    cuda.cache_clear()
