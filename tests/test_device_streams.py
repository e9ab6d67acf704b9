# SPDX-License-Identifier: BSD-3-Clause
"""The streams of calls on device arrays: who waits for whom, and for how long they live."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest

import logloss
from fake_device import TARGET, Interface, Lender, Stream, X, notes, tensor_of


def test_everything_runs_on_the_stream(emulated: Any) -> None:
    loss, _ = logloss.cross_entropy_value_and_grad(
        Interface(X), Interface(TARGET), weight=Interface(np.ones(4)), stream=77
    )
    asked = notes(emulated, "run", "allocate", "release", "wait")
    assert {note[2] for note in asked} == {77}
    assert not [note for note in asked if note[0] == "wait"]
    assert loss.stream == 77
    loss.item()
    assert {note[2] for note in notes(emulated, "fetch")} == {77}


def test_nothing_waits_on_the_host_before_the_result_is_asked_for(emulated: Any) -> None:
    x, target = Interface(X), Interface(TARGET)
    for reduction in ("none", "mean", "sum"):
        logloss.cross_entropy_value_and_grad(x, target, reduction=reduction)
    logloss.binary_cross_entropy(Interface(X * 0 + 0.5), Interface(X * 0 + 0.5))
    assert not notes(emulated, "fetch")


@pytest.mark.parametrize("stream", (None, 1, 77))
def test_the_default_stream_of_dlpack(emulated: Any, stream: Any) -> None:
    x = Lender(X)
    result = logloss.softmax(x, stream=stream)
    assert x.streams == [stream or 1]
    assert result.stream == (stream or 1)
    assert not notes(emulated, "wait")


def test_the_stream_that_an_interface_names(emulated: Any) -> None:
    assert logloss.softmax(Interface(X, stream=55)).stream == 55
    assert not notes(emulated, "wait")
    assert logloss.softmax(Interface(X, stream=None)).stream == 1
    assert not notes(emulated, "wait")
    assert logloss.softmax(Interface(X, stream=55), stream=77).stream == 77
    asked = notes(emulated, "wait", "run")
    assert asked == [("wait", 0, 77, 55), ("run", 0, 77, 0), ("wait", 0, 55, 77)]


def test_arguments_of_several_streams(emulated: Any) -> None:
    """The call waits for each, and each for the call."""
    logloss.cross_entropy(
        Interface(X, stream=55),
        Interface(TARGET, stream=56),
        weight=Interface(np.ones(4), stream=57),
        stream=58,
    )
    before, after = [("wait", 0, 58, n) for n in (55, 56, 57)], ("run", 0, 58, 0)
    asked = notes(emulated, "wait", "run")
    assert [note for note in asked if note[2] == 58 and note[0] == "wait"] == before
    assert asked[-4:] == [after, *(("wait", 0, n, 58) for n in (55, 56, 57))]


def test_arguments_of_one_stream_wait_once(emulated: Any) -> None:
    logloss.cross_entropy(Interface(X, stream=55), Interface(TARGET, stream=55), stream=77)
    waits = notes(emulated, "wait")
    assert waits[-1] == ("wait", 0, 55, 77)
    assert waits.count(waits[-1]) == 1


def test_a_lender_that_names_its_stream(emulated: Any) -> None:
    """As CuPy: DLPack lets the call wait, the stream of the interface waits for the call."""

    class Naming(Lender):
        @property
        def __cuda_array_interface__(self) -> Any:
            return Interface(self.array, stream=55).__cuda_array_interface__

    x = Naming(X)
    logloss.softmax(x, stream=77)
    assert x.streams == [77]
    assert notes(emulated, "wait", "run") == [("run", 0, 77, 0), ("wait", 0, 55, 77)]
    logloss.softmax(x)
    assert not notes(emulated, "wait")


def test_streams_wait_for_a_call_that_fails(emulated: Any) -> None:
    """Some of it may run already."""
    with pytest.raises(TypeError, match="weight"):
        logloss.cross_entropy(
            Interface(X, stream=55), Interface(TARGET), weight=np.ones(4), stream=77
        )
    assert notes(emulated, "wait") == [("wait", 0, 77, 55), ("wait", 0, 55, 77)]


def test_a_given_out_is_ready_for_its_own_stream(emulated: Any) -> None:
    out = Interface(np.empty_like(X), stream=55)
    logloss.softmax(Interface(X), out=out, stream=77)
    assert notes(emulated, "wait", "run") == [
        ("wait", 0, 77, 55),
        ("run", 0, 77, 0),
        ("wait", 0, 55, 77),
    ]


def test_a_result_on_another_stream(emulated: Any) -> None:
    """Who borrows waits for the call, and the memory is freed after the borrower's work."""
    result = logloss.softmax(Interface(X), stream=77)
    emulated.take_notes()
    capsule = result.__dlpack__(stream=88)
    assert notes(emulated, "wait") == [("wait", 0, 88, 77)]
    result.__dlpack__(stream=77)
    result.__dlpack__(stream=-1)
    assert not notes(emulated, "wait")
    del result
    assert not notes(emulated, "release")
    tensor_of(capsule)
    assert notes(emulated, "wait", "release") == [("wait", 0, 77, 88), ("release", 0, 77, 0)]


def test_a_result_as_an_argument_on_another_stream(emulated: Any) -> None:
    first = logloss.log_softmax(Interface(X), stream=77)
    emulated.take_notes()
    logloss.nll_loss(first, Interface(TARGET), stream=88)
    assert notes(emulated, "wait") == [("wait", 0, 88, 77), ("wait", 0, 77, 88)]
    assert logloss.nll_loss(first, Interface(TARGET)).stream == 77


def test_the_default_stream_of_a_thread(emulated: Any) -> None:
    """Other threads could not name it: memory and results are in the legacy stream's order."""
    result = logloss.softmax(Interface(X), stream=2)
    asked = notes(emulated, "run", "allocate")
    assert {(note[0], note[2]) for note in asked} == {("allocate", 1), ("run", 2)}
    assert result.stream == 1


@pytest.mark.parametrize("kind", ("cuda", "torch", "cupy"))
def test_streams_of_other_libraries(emulated: Any, kind: str) -> None:
    assert logloss.softmax(Interface(X), stream=Stream(kind, 99)).stream == 99
    # What libraries call 0 is the legacy stream.
    assert logloss.softmax(Interface(X), stream=Stream(kind, 0)).stream == 1


@pytest.mark.parametrize(
    ("stream", "error", "message"),
    (
        (0, ValueError, r"stream: got 0, expected 1 \(legacy default stream\), 2"),
        (-1, ValueError, "stream: got -1"),
        ("1", TypeError, "stream: got str, expected a handle or an object with __cuda_stream__"),
        (True, TypeError, "stream: got bool"),
        (1.0, TypeError, "stream: got float"),
        (object(), TypeError, "stream: got object"),
    ),
)
def test_streams_that_are_refused(emulated: Any, stream: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        logloss.softmax(Interface(X), stream=stream)


def test_a_stream_object_lives_as_long_as_memory_of_it(emulated: Any) -> None:
    stream = Stream("cupy", 99)
    count = sys.getrefcount(stream)
    result = logloss.softmax(Interface(X), stream=stream)
    assert sys.getrefcount(stream) > count
    del result
    assert sys.getrefcount(stream) == count


def test_memory_is_freed_by_another_thread(emulated: Any) -> None:
    capsules = [logloss.softmax(Interface(X)).__dlpack__(stream=1)]
    thread = threading.Thread(target=lambda: tensor_of(capsules.pop()))
    thread.start()
    thread.join()
