# SPDX-License-Identifier: BSD-3-Clause
"""Device arrays given and returned: what capsules and interfaces carry, and to whom they belong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import logloss
from fake_device import MANAGED, Interface, Lender, OldLender, X, capsule_name, tensor_of

# ------------------------------------------------------------------------------------- borrowing


@pytest.mark.parametrize("lender", (Lender, OldLender))
def test_a_capsule_is_used_once(emulated: Any, lender: type[Lender]) -> None:
    x = lender(X)
    result = logloss.softmax(x)
    assert [capsule_name(capsule).split("_")[0] for capsule in x.capsules] == ["used"]
    assert x.ended == [0]
    assert result.numpy().tolist() == logloss.softmax(X).tolist()


def test_a_capsule_without_a_version(emulated: Any) -> None:
    x = Lender(X, versioned=False)
    logloss.softmax(x)
    assert capsule_name(x.capsules[0]) == "used_dltensor"
    assert x.ended == [0]


def test_managed_memory_and_offsets(emulated: Any) -> None:
    for x in (Lender(X, device_type=MANAGED), Lender(X, offset=64)):
        assert logloss.softmax(x).numpy().tolist() == logloss.softmax(X).tolist()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    (
        (Lender(X.T), ValueError, r"input: got shape \(4, 3\) with strides \(1, 4\)"),
        (Interface(X.T), ValueError, r"input: got shape \(4, 3\) with strides \(4, 16\)"),
        (Interface(X[:, ::2]), ValueError, "strides .* expected a C-contiguous array"),
        (Lender(X.astype(np.int32)), TypeError, "input: got dtype int32, expected float16"),
        (Lender(X.astype(np.complex64)), TypeError, "input: got dtype complex64, expected float16"),
        (Lender(X, dtype=(2, 32, 2)), TypeError, "32 bits in 2 lanes"),
        (Lender(X, dtype=(9, 8, 1)), TypeError, "DLPack type 9 of 8 bits"),
        (Lender(X, major=2), BufferError, "expected DLPack version 1, got 2"),
        (Interface(X, version=1), ValueError, "__cuda_array_interface__ version 1, expected 3"),
        (Interface(X, mask=X), ValueError, "input: got a masked array"),
        (Interface(X, typestr=">f4"), TypeError, "input: got dtype >f4, expected native"),
        (Interface(X, stream=0), ValueError, r"'stream'\]: got 0, expected 1 \(legacy"),
        (Interface(X, stream="1"), TypeError, r"'stream'\]: got str, expected an integer"),
    ),
)
def test_arrays_that_are_refused(emulated: Any, x: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        logloss.softmax(x)
    if isinstance(x, Lender):  # borrowed and given back all the same
        assert x.ended == list(range(len(x.capsules)))


def test_axes_of_one_element_may_have_any_stride(emulated: Any) -> None:
    x = np.lib.stride_tricks.as_strided(X, (1, 3, 1, 4), (8, 16, 400, 4))
    assert logloss.softmax(Interface(x, strides=x.strides)).shape == (1, 3, 1, 4)


def test_a_capsule_that_has_been_used(emulated: Any) -> None:
    class Again(Lender):
        def __dlpack__(self, **options: Any) -> Any:
            capsule = super().__dlpack__(**options)
            emulated.Borrowed(capsule)
            return capsule

    with pytest.raises(TypeError, match="has not been used"):
        logloss.softmax(Again(X))


# --------------------------------------------------------------------------------------- lending


@pytest.mark.parametrize("version", (None, (0, 8), (1, 0), (1, 3)))
def test_lending(emulated: Any, version: Any, dtype: np.dtype[Any]) -> None:
    x = X.astype(dtype)
    result = logloss.softmax(Interface(x))
    assert result.__dlpack_device__() == (2, 0)
    capsule = result.__dlpack__(stream=1, max_version=version)
    expected = "dltensor_versioned" if version and version[0] >= 1 else "dltensor"
    assert capsule_name(capsule) == expected
    right = logloss.softmax(x)
    del result  # the capsule keeps the memory
    assert tensor_of(capsule).tobytes() == right.tobytes()


def test_a_capsule_that_nobody_uses(emulated: Any) -> None:
    result = logloss.softmax(Interface(X))
    for version in (None, (1, 0)):
        result.__dlpack__(stream=-1, max_version=version)  # the fixture counts what is left


def test_a_copy_is_lent(emulated: Any) -> None:
    result = logloss.softmax(Interface(X))
    capsule = result.__dlpack__(stream=1, max_version=(1, 0), copy=True)
    logloss.sigmoid(result, out=result)
    assert tensor_of(capsule).tolist() == logloss.softmax(X).tolist()


def test_lending_that_is_refused(emulated: Any) -> None:
    result = logloss.softmax(Interface(X))
    with pytest.raises(BufferError, match="device"):
        result.__dlpack__(dl_device=(1, 0))
    with pytest.raises(ValueError, match="stream: got 0"):
        result.__dlpack__(stream=0)
    assert result.__dlpack__(dl_device=(2, 0)) is not None


def test_the_interface_of_a_result(emulated: Any) -> None:
    result = logloss.softmax(Interface(X), stream=77)
    entries = result.__cuda_array_interface__
    assert {k: v for k, v in entries.items() if k != "data"} == {
        "shape": (3, 4),
        "typestr": "<f4",
        "strides": None,
        "version": 3,
        "stream": 77,
    }
    assert entries["data"][1] is False
