# SPDX-License-Identifier: BSD-3-Clause
"""Device arrays given and returned: capsules, streams, devices, and what is refused."""

from __future__ import annotations

import inspect
import sys
import threading
from typing import Any

import numpy as np
import pytest

import logloss
from fake_device import (
    KINDS,
    MANAGED,
    Array,
    Copying,
    Interface,
    Lender,
    OldLender,
    Refusing,
    Stream,
    capsule_name,
    tensor_of,
)
from logloss._device import DeviceArray
from logloss._device.module import cuda
from refusals import wrong

X = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
TARGET = np.array([0, 3, 1])


def notes(emulated: Any, *kinds: str) -> list[tuple[Any, ...]]:
    """(what, current device, stream, stream waited for) of those kinds, in order."""
    return [note for note in emulated.take_notes() if note[0] in kinds]


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


# --------------------------------------------------------------------------------------- streams


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


# --------------------------------------------------------------------------------------- devices


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


# --------------------------------------------------------------------- arguments that are refused


D, T = Interface(X), Interface(TARGET)
WRONG = {
    "host target": (
        "cross_entropy",
        wrong(TypeError, "target | ndarray in host memory", D, TARGET),
    ),
    "list": ("cross_entropy", wrong(TypeError, "target | list in host memory", D, [0, 1, 2])),
    "host input": ("cross_entropy", wrong(TypeError, "input | ndarray in host memory", X, T)),
    "none": ("cross_entropy", wrong(TypeError, "target | None", D, None)),
    "host weight": (
        "cross_entropy",
        wrong(TypeError, "weight | ndarray in host memory", D, T, weight=np.ones(4)),
    ),
    "weight shape": (
        "cross_entropy",
        wrong(ValueError, "weight | (3,) | (4,)", D, T, weight=Interface(np.ones(3))),
    ),
    "weight dtype": (
        "cross_entropy",
        wrong(TypeError, "weight | complex128", D, T, weight=Interface(np.ones(4) * 1j)),
    ),
    "target shape": ("cross_entropy", wrong(ValueError, "target | (3,) | (4,)", D.array.T, T)),
    "float target": ("nll_loss", wrong(TypeError, "target | float32", D, D)),
    "probabilities": (
        "cross_entropy",
        wrong(ValueError, "ignore_index | 3 | negative", D, D, ignore_index=3),
    ),
    "reduction": ("cross_entropy", wrong(ValueError, "reduction | 'max'", D, T, reduction="max")),
    "smoothing": ("cross_entropy", wrong(ValueError, "2.0", D, T, label_smoothing=2.0)),
    "number": (
        "cross_entropy",
        wrong(ValueError, "input | () | axis", Interface(np.array(1.0)), T),
    ),
    "axis": ("softmax", wrong(np.exceptions.AxisError, "axis 2", D, 2)),
    "integers": ("softmax", wrong(TypeError, "input | int64", T)),
    "grad_output shape": (
        "softmax_backward",
        wrong(ValueError, "grad_output | (3,) | (3, 4)", Interface(np.ones(3)), D),
    ),
    "host grad_output": (
        "softmax_backward",
        wrong(TypeError, "grad_output | ndarray in host memory", X, D),
    ),
    "host grad_output of losses": (
        "cross_entropy_backward",
        wrong(TypeError, "grad_output | ndarray in host memory", np.ones(3), D, T),
    ),
    "grad_output of a mean": (
        "cross_entropy_backward",
        wrong(ValueError, "grad_output | (3,) | ()", Interface(np.ones(3)), D, T),
    ),
    "broadcast": (
        "binary_cross_entropy",
        wrong(ValueError, "weight | (5,) | (3, 4)", D, D, weight=Interface(np.ones(5))),
    ),
    "larger weight": (
        "binary_cross_entropy",
        wrong(ValueError, "weight | (2, 3, 4)", D, D, weight=Interface(np.ones((2, 3, 4)))),
    ),
    "two shapes": ("kl_div_with_logits", wrong(ValueError, "target | (4,)", D, Interface(X[0]))),
    "pair": (
        "cosine_embedding_loss_value_and_grad",
        wrong(TypeError, "out | Interface | pair", D, D, T, out=D),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments(emulated: Any, case: str) -> None:
    from refusals import refuse

    name, call = WRONG[case]
    if case == "target shape":
        call = call._replace(args=(Interface(np.ones((4, 3), np.float32)), T))
    refuse(getattr(logloss, name), call)


REDUCTION = {"reduction": "none"}
P, WEIGHT = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4), np.ones(4)
ARRAYS: dict[str, Array] = {
    "grad_output": np.ones((3, 4)),
    "input": P,
    "input1": X,
    "input2": X,
    "probs": P,
    "target": P,
    "weight": WEIGHT,
    "pos_weight": WEIGHT,
    "out": np.empty_like(X),
}


def arrays_of(name: str) -> dict[str, Any]:
    """An array, or a pair of them, for each argument of a function that may be one."""
    taken = inspect.signature(getattr(logloss, name)).parameters
    arrays: dict[str, Any] = {arg: array for arg, array in ARRAYS.items() if arg in taken}
    if name.startswith(("cross_entropy", "nll_loss")):
        arrays["target"] = TARGET
    elif name.startswith("cosine"):
        arrays["target"] = np.ones(3)
        if "out" in arrays:
            arrays["out"] = (np.empty_like(X), np.empty_like(X))
    by_row = ("cross_entropy", "nll_loss", "cosine", "kl_div_with", "entropy", "logsumexp")
    if name.startswith(by_row) and "grad_output" in arrays:
        arrays["grad_output"] = np.ones(3)
    return arrays


EVERY_ARRAY = [(name, arg) for name in logloss.functional.__all__ for arg in arrays_of(name)]
HERE = "(ndarray|tuple) in host memory, expected an array on the device of the others"
THERE = r"\w+ on a CUDA device, expected an array in host memory as the others"


@pytest.mark.parametrize("kind", (Interface, Lender, Copying, Refusing))
@pytest.mark.parametrize(("name", "arg"), EVERY_ARRAY)
def test_one_array_elsewhere(emulated: Any, name: str, arg: str, kind: Any) -> None:
    """It is named, or where it is the one that decides, the next one."""

    def there(value: Any) -> Any:
        return tuple(map(kind, value)) if isinstance(value, tuple) else kind(value)

    function, on_host = getattr(logloss, name), arrays_of(name)
    options = {} if "reduction" not in inspect.signature(function).parameters else REDUCTION
    elsewhere = {other: there(array) for other, array in on_host.items()}
    function(**on_host, **options)
    function(**elsewhere, **options)
    if len(on_host) == 1:
        return
    decisive = arg in ("input", "probs", "input1", "input2")
    decisive |= arg == "target" and not name.startswith("cosine")
    for arrays, one in ((elsewhere, on_host[arg]), (on_host, elsewhere[arg])):
        named = r"\w+" if decisive else arg
        with pytest.raises(TypeError, match=f"^{named}: got ({HERE}|{THERE})$"):
            function(**(arrays | {arg: one}), **options)


@pytest.mark.parametrize("kind", (Interface, Copying))
def test_a_number_on_a_device(emulated: Any, kind: Any) -> None:
    margin = kind(np.array(0.5))
    with pytest.raises(TypeError, match=r"margin: got .* on a CUDA device, expected an array in"):
        logloss.cosine_embedding_loss(X, X, np.ones(3), margin=margin)
    with pytest.raises(TypeError, match=r"margin: got .* on a CUDA device, expected a number in"):
        logloss.cosine_embedding_loss(D, D, Interface(np.ones(3)), margin=margin)


def test_a_stream_for_host_arrays() -> None:
    for name in logloss.functional.__all__:
        pair = (X, X, np.ones(3)) if name.startswith("cosine") else (X,)
        pair = (X, X) if "loss" in name or "entropy" in name or "kl_div" in name else pair
        with pytest.raises((ValueError, TypeError), match=r"stream: got 7|missing|positional"):
            getattr(logloss, name)(*pair, stream=7)
    with pytest.raises(ValueError, match="stream: got 7, expected None for arrays in host memory"):
        logloss.cross_entropy(X, [0, 1, 2], stream=7)


OUTS = {
    "host": (TypeError, "out: got ndarray in host memory", np.empty_like(X)),
    "shape": (ValueError, r"out: got shape \(4, 3\), expected \(3, 4\)", X.T.copy()),
    "dtype": (TypeError, "out: got dtype float64, expected float32", X.astype(float)),
}


@pytest.mark.parametrize("case", OUTS)
def test_outs_that_are_refused(emulated: Any, case: str) -> None:
    error, message, array = OUTS[case]
    out = array if case == "host" else Interface(array)
    with pytest.raises(error, match=message):
        logloss.softmax(Interface(X), out=out)
    with pytest.raises(error, match=message):
        logloss.cross_entropy_value_and_grad(Interface(X), Interface(TARGET), out=out)


def test_outs_that_are_read_only(emulated: Any) -> None:
    for out in (Interface(X.copy(), read_only=True), Lender(X.copy(), read_only=True)):
        with pytest.raises(ValueError, match="out: got a read-only array"):
            logloss.softmax(Interface(X), out=out)
        assert logloss.softmax(out).shape == (3, 4)


def test_outs_that_overlap(emulated: Any) -> None:
    room = np.zeros(40, np.float32)
    x, out = room[:12].reshape(3, 4), room[4:16].reshape(3, 4)
    with pytest.raises(ValueError, match="out: got an array that overlaps an argument in part"):
        logloss.softmax(Interface(x), out=Interface(out))
    with pytest.raises(ValueError, match="out: got an array that overlaps another argument"):
        logloss.binary_cross_entropy_value_and_grad(Interface(X), Interface(x), out=Interface(out))
    with pytest.raises(ValueError, match="overlaps another argument"):
        logloss.kl_div_with_logits_value_and_grad(
            Interface(X),
            Interface(x),
            target_grad=True,
            out=(Interface(out), Interface(np.empty_like(X))),
        )
    with pytest.raises(ValueError, match="overlaps another argument"):
        logloss.binary_cross_entropy_value_and_grad(
            Interface(X), Interface(X.copy()), weight=Interface(x[:1]), out=Interface(x)
        )
