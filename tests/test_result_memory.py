# SPDX-License-Identifier: BSD-3-Clause
"""The memory of large results: kept for the next one, bounded, and otherwise like any array's."""

from __future__ import annotations

import ctypes
import os
import pickle
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import logloss
from logloss import _core, _memory
from logloss._memory import LARGE
from programs import logits, python
from ulp import Array

MIB = 2**20

pytestmark = pytest.mark.skipif(_core.kept_limit() == 0, reason="nothing is kept here")


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """Every test begins without kept memory, and with room for 64 MiB of it."""
    before = _core.kept_limit()
    _core.set_kept_limit(0)
    _core.set_kept_limit(64 * MIB)
    yield
    _core.set_kept_limit(before)


def address(array: Array) -> int:
    return int(array.ctypes.data)


def block(size: int) -> Array:
    return _memory.empty((size,), np.dtype(np.uint8))


@pytest.fixture(scope="module")
def x() -> Array:
    """Logits of a little more than the least size."""
    x = logits(1100, 1000)
    assert x.nbytes > LARGE
    return x


# Reuse


def test_the_next_result_takes_the_place_of_a_dead_one(x: Array) -> None:
    first = logloss.softmax(x)
    place = address(first)
    second = logloss.softmax(x)
    assert address(second) != place
    del first
    assert _core.kept_bytes() >= x.nbytes
    third = logloss.log_softmax(x)
    assert address(third) == place
    assert _core.kept_bytes() == 0


def test_a_large_result_begins_at_a_huge_page(x: Array) -> None:
    results = [logloss.softmax(x) for _ in range(3)] + [block(LARGE + 1), block(40 * MIB)]
    assert [address(result) % (2 * MIB) for result in results] == [0] * 5


FRESH: dict[str, Callable[[Array, Array], Any]] = {
    "log_softmax": lambda x, y: logloss.log_softmax(x),
    "log_softmax, backward": lambda x, y: logloss.log_softmax_backward(x, x),
    "sigmoid": lambda x, y: logloss.sigmoid(x),
    "gradient": lambda x, y: logloss.cross_entropy_value_and_grad(x, y)[1],
    "gradient alone": lambda x, y: logloss.cross_entropy_backward(2.0, x, y),
    "gradient, inner axis": lambda x, y: logloss.cross_entropy_value_and_grad(x.T, y, axis=0)[1],
    "promoted gradient": lambda x, y: logloss.cross_entropy_value_and_grad(
        x, np.full(x.shape, 1e-3)
    )[1],
    "losses": lambda x, y: logloss.kl_div(x, x, reduction="none", log_target=True),
    "broadcast losses": lambda x, y: logloss.binary_cross_entropy_with_logits(
        np.broadcast_to(x[0], x.shape), x, reduction="none"
    ),
    "broadcast gradient": lambda x, y: logloss.kl_div_value_and_grad(x[:1], x)[1],
    "two gradients": lambda x, y: logloss.cosine_embedding_loss_value_and_grad(
        x[:1], x, np.ones(len(x))
    )[1][1],
}


@pytest.mark.parametrize("name", FRESH)
def test_a_result_never_shows_what_was_there_before(name: str, x: Array) -> None:
    y = np.arange(len(x)) % x.shape[1]
    right = FRESH[name](x, y).copy()
    filled = [block(size) for size in (x.nbytes, x.nbytes, 2 * x.nbytes)]
    for array in filled:
        array.fill(255)
    del array, filled
    kept = _core.kept_bytes()
    again = FRESH[name](x, y)
    assert _core.kept_bytes() < kept or again.nbytes < LARGE  # the result is one of them
    assert again.tobytes() == right.tobytes()


@pytest.mark.parametrize("dtype", ("float16", "bfloat16", "float32", "float64"))
def test_every_dtype_and_layout_is_as_numpy_makes_it(dtype: str) -> None:
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    x = np.zeros((2100, 1050), dtype)
    for array in (x, x.T, np.moveaxis(x.reshape(21, 100, 1050), 1, 0), x[:, ::-1]):
        result, like = logloss.softmax(array), np.empty_like(array)
        assert (result.dtype, result.shape) == (like.dtype, like.shape)
        assert result.strides == like.strides
        assert result.flags.owndata and result.flags.writeable and result.base is None


def test_results_of_subclasses_are_plain_arrays(x: Array, tmp_path: Path) -> None:
    file = tmp_path / "logits.npy"
    np.save(file, x)
    given = np.load(file, mmap_mode="r")
    assert type(logloss.softmax(given)) is type(logloss.softmax(given[:1])) is np.ndarray


# Bounds


def test_small_results_are_not_kept() -> None:
    x = np.zeros((LARGE // 4 // 1024 - 1, 1024), np.float32)
    result = logloss.softmax(x)
    del result
    assert _core.kept_bytes() == 0


def test_no_more_bytes_are_kept_than_the_limit() -> None:
    blocks = [block(12 * MIB) for _ in range(7)]
    while blocks:
        blocks.pop()
        assert _core.kept_bytes() == min(5, 7 - len(blocks)) * 12 * MIB
    del blocks
    _core.set_kept_limit(30 * MIB)
    assert _core.kept_bytes() == 24 * MIB


def test_what_alone_exceeds_the_limit_is_not_kept() -> None:
    large = block(66 * MIB)
    del large
    assert _core.kept_bytes() == 0


def test_no_more_than_eight_blocks_are_kept() -> None:
    blocks = [block(LARGE) for _ in range(12)]
    del blocks
    assert _core.kept_bytes() == 8 * LARGE


def test_a_block_more_than_twice_as_large_is_left_to_others() -> None:
    large = block(20 * MIB)
    del large
    small = block(8 * MIB)
    assert _core.kept_bytes() == 20 * MIB
    fitting = block(10 * MIB)
    assert _core.kept_bytes() == 0
    del small, fitting


def test_the_smallest_block_that_fits_is_taken() -> None:
    sizes = (20, 12, 14, 8)
    blocks = {size: block(size * MIB) for size in sizes}
    places = {size: address(array) for size, array in blocks.items()}
    blocks.clear()
    assert address(block(11 * MIB)) == places[12]


def test_the_oldest_kept_block_makes_room_for_a_new_result() -> None:
    oldest, newest = block(40 * MIB), block(16 * MIB)
    del oldest
    del newest
    large = block(48 * MIB)
    assert _core.kept_bytes() == 16 * MIB
    del large


SCRIPT = """
import numpy as np, logloss
from logloss import _core, _memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

x = np.zeros((4096, 4096), np.float32)
logloss.softmax(x[:9])
before = resident()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's account of Linux")
def test_memory_is_given_back() -> None:
    script = """
for _ in range(5):
    results = [logloss.softmax(x) for _ in range(3)]
    del results
assert 150 < resident() - before < 210
_core.set_kept_limit(64 * 2**20)
assert 50 < resident() - before < 80
_core.set_kept_limit(0)
assert resident() - before < 10
"""
    python(SCRIPT + script)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's account of Linux")
def test_the_system_may_take_what_is_kept() -> None:
    """As it does when memory is short; here it is asked to (MADV_PAGEOUT)."""
    script = """
import ctypes
result = logloss.softmax(x)
right, place, size = result[0].tobytes(), result.ctypes.data, result.nbytes
del result
if ctypes.CDLL(None).madvise(ctypes.c_void_p(place), ctypes.c_size_t(size), 21) == 0:
    assert resident() - before < 10
assert _core.kept_bytes() == size
again = logloss.softmax(x)
assert again.ctypes.data == place and all(row.tobytes() == right for row in again)
"""
    python(SCRIPT + script)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's account of Linux")
def test_nothing_is_kept_where_it_is_switched_off() -> None:
    script = """
result = logloss.softmax(x)
assert resident() - before > 50
del result
assert resident() - before < 10
assert _core.kept_bytes() == 0 and logloss.config()["keep_mib"] == 0
"""
    python(SCRIPT + script, LOGLOSS_KEEP_MIB="0")


def test_the_limit_is_that_of_the_environment() -> None:
    script = "import logloss; print(logloss.config()['keep_mib'])"
    assert python(script, LOGLOSS_KEEP_MIB=" 48 ") == "48"
    assert int(python(script, LOGLOSS_KEEP_MIB="")) > 48
    for bad in ("-1", "1.5", "much"):
        with pytest.raises(AssertionError, match=f"LOGLOSS_KEEP_MIB: got '{bad}', expected an"):
            python(script, LOGLOSS_KEEP_MIB=bad)


# Manners of an array


def test_an_array_may_be_resized() -> None:
    array = block(6 * MIB)
    array[:] = np.arange(len(array), dtype=np.uint64).astype(np.uint8)
    right = array.copy()
    for size in (20 * MIB, 7 * MIB, 100, 5 * MIB):
        array.resize(size, refcheck=False)
        both = min(size, len(right))
        assert np.array_equal(array[:both], right[:both])
        assert not array[both:].any()
        right = array.copy()


def test_arrays_are_copied_and_pickled(x: Array) -> None:
    result = logloss.softmax(x)
    for other in (result.copy(), np.copy(result), pickle.loads(pickle.dumps(result))):
        assert other.tobytes() == result.tobytes()


def test_a_view_keeps_the_memory(x: Array) -> None:
    right = logloss.softmax(x)[5:9].copy()
    view = logloss.softmax(x)[5:9]
    others = [logloss.log_softmax(x) for _ in range(3)]
    assert view.tobytes() == right.tobytes()
    del others


def test_tracemalloc_sees_them(x: Array) -> None:
    tracemalloc.start()
    try:
        for _ in range(2):
            before = tracemalloc.get_traced_memory()[0]
            result = logloss.softmax(x)
            assert tracemalloc.get_traced_memory()[0] - before >= x.nbytes
            del result
            assert tracemalloc.get_traced_memory()[0] - before < 10_000
    finally:
        tracemalloc.stop()


def test_no_memory_raises_and_leaves_numpy_as_it_was() -> None:
    kept = block(LARGE)
    del kept
    with pytest.raises(MemoryError):
        _memory.empty((2**58,), np.dtype(np.float64))
    assert _core.kept_bytes() == 0
    array = np.empty(LARGE, np.uint8)
    del array
    assert _core.kept_bytes() == 0


def test_an_allocator_that_the_program_has_chosen_stays(x: Array) -> None:
    """NEP 49: one that differs from NumPy's own only by its name."""
    from numpy._core import _multiarray_umath as multiarray  # where NumPy's C API is

    python_api = ctypes.pythonapi
    python_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python_api.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
    python_api.PyCapsule_New.restype = ctypes.py_object
    python_api.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    table = ctypes.cast(
        python_api.PyCapsule_GetPointer(multiarray._ARRAY_API, None),
        ctypes.POINTER(ctypes.c_void_p),
    )
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[304] or 0)
    get_handler = ctypes.PYFUNCTYPE(ctypes.py_object)(table[305] or 0)
    numpys = python_api.PyCapsule_GetPointer(get_handler(), b"mem_handler")
    chosen = ctypes.create_string_buffer(ctypes.string_at(numpys, 127 + 1 + 5 * 8), 127 + 1 + 5 * 8)
    chosen[:6] = b"chosen"
    previous = set_handler(python_api.PyCapsule_New(ctypes.addressof(chosen), b"mem_handler", None))
    try:
        result = logloss.softmax(x)
        assert multiarray.get_handler_name(result).startswith("chosen")
        del result
    finally:
        set_handler(previous)
    assert _core.kept_bytes() == 0
    assert multiarray.get_handler_name(logloss.softmax(x)) == "logloss"
    assert multiarray.get_handler_name(np.empty(3)) == "default_allocator"


# Threads and processes


def test_arrays_die_in_other_threads(x: Array) -> None:
    right = logloss.softmax(x).tobytes()
    dying: list[Array] = []
    seen: list[bool] = []

    def compute() -> None:
        for _ in range(20):
            result = logloss.softmax(x)
            seen.append(result.tobytes() == right)
            dying.append(result)

    def bury() -> None:
        while not done.is_set() or dying:
            if dying:
                dying.pop()

    done = threading.Event()
    undertaker = threading.Thread(target=bury)
    undertaker.start()
    with ThreadPoolExecutor(3) as pool:
        for each in [pool.submit(compute) for _ in range(3)]:
            each.result()
    done.set()
    undertaker.join()
    assert len(seen) == 60 and all(seen)
    assert 0 < _core.kept_bytes() <= 64 * MIB


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork() -> None:
    """Nothing is kept across a fork, whatever the other threads are doing; both sides go on."""
    script = """
import os, signal, threading
right = logloss.softmax(x).tobytes()

def works():
    for _ in range(2):
        if logloss.softmax(x).tobytes() != right:
            return False
    return _core.kept_bytes() >= x.nbytes

def busy():
    while not done.is_set():
        logloss.softmax(x[:1050])

done = threading.Event()
others = [threading.Thread(target=busy) for _ in range(2)]
for other in others:
    other.start()
for _ in range(5):
    assert works()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        os._exit(0 if _core.kept_bytes() == 0 and works() else 1)
    assert os.waitpid(child, 0)[1] == 0
done.set()
for other in others:
    other.join()
"""
    python(SCRIPT.replace("4096, 4096", "1100, 1024") + script)
