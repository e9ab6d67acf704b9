# SPDX-License-Identifier: BSD-3-Clause
"""The evaluation package: values and algebra of states, saved states, the stream over files."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference as ref
from logloss._calls import score_rows
from logloss.evaluation import CrossEntropyState, DataError, Evaluation, Progress, evaluate
from logloss.evaluation.readers import Shard, open_shards
from logloss.evaluation.runner import stream

Array = np.ndarray[Any, np.dtype[Any]]

CLASSES = 7
WEIGHT = np.array([0.5, 1.0, 2.0, 0.25, 3.0, 0.1, 0.0])
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"ignore_index": 3},
    {"weight": WEIGHT},
    {"weight": WEIGHT, "ignore_index": 2, "label_smoothing": 0.1},
)


def batch(rng: np.random.Generator, samples: int, dtype: Any = np.float32) -> tuple[Array, Array]:
    """Logits of a wide range of magnitudes, and labels of which some are -100."""
    scale = np.exp(rng.uniform(-3, 3, (samples, 1)))
    logits = (rng.normal(size=(samples, CLASSES)) * scale).astype(dtype)
    target = rng.integers(0, CLASSES, samples)
    target[rng.random(samples) < 0.1] = -100
    return logits, target


def labels_for(target: Array, options: dict[str, Any]) -> Array:
    """The labels with the ignored ones under the name that the options give them."""
    return np.where(target == -100, options.get("ignore_index", -100), target)


# Values


@pytest.mark.parametrize("options", OPTIONS)
def test_sums_are_exact_and_the_results_rounded_once(
    options: dict[str, Any], dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    """Against rational arithmetic over the per-sample scores."""
    logits, target = batch(rng, 200, dtype)
    target = labels_for(target, options)
    state = CrossEntropyState(**options).update(logits, target)
    result = state.result()
    rows = score_rows(logits, target, axis=-1, **options)
    valid = rows.valid.astype(bool)
    losses = [Fraction(float(v)) for v in rows.loss[valid]]
    weights = [Fraction(float(v)) for v in rows.weight[valid]]
    n = len(losses)
    mean = sum(losses) / sum(weights)
    squares = sum((a - mean * b) ** 2 for a, b in zip(losses, weights, strict=True))
    assert (result.samples, result.ignored) == (n, 200 - n)
    assert result.loss == float(mean)
    assert result.total_loss == float(sum(losses))
    assert result.total_weight == float(sum(weights))
    assert_is_sqrt(result.standard_error, Fraction(n, n - 1) * squares / sum(weights) ** 2)
    assert result.hits == int(rows.hit.sum())
    assert result.accuracy == result.hits / n
    assert result.perplexity == math.exp(result.loss)
    assert result.bits == result.loss / math.log(2.0)


def assert_is_sqrt(root: float, square: Fraction) -> None:
    """No float is closer to the square root than ``root``."""
    below, above = math.nextafter(root, 0.0), math.nextafter(root, math.inf)
    assert ((Fraction(below) + Fraction(root)) / 2) ** 2 <= square
    assert square <= ((Fraction(root) + Fraction(above)) / 2) ** 2


@pytest.mark.parametrize("options", OPTIONS)
def test_agrees_with_the_definition(options: dict[str, Any], rng: np.random.Generator) -> None:
    """Each float32 loss is within 2 ulp, so is their mean: a relative error of 2^-22."""
    logits, target = batch(rng, 300)
    target = labels_for(target, options)
    result = CrossEntropyState(**options).update(logits, target).result()
    expected = ref.cross_entropy(logits.astype(np.float64), target, **options)
    assert result.loss == pytest.approx(float(expected), rel=2.0**-22, abs=0)
    kept = target != options.get("ignore_index", -100)
    assert result.hits == int((logits.argmax(1) == target)[kept].sum())


def test_standard_error_does_not_cancel(rng: np.random.Generator) -> None:
    """Losses of about 1000 that differ by 1e-9: sum(l^2) - sum(l)^2 / n has no digit in float64."""
    x = np.zeros((4, 2))
    x[:, 1] = 1000.0 + np.array([0.0, 1.0, 2.0, 3.0]) * 2.0**-30
    result = CrossEntropyState().update(x, np.zeros(4, int)).result()
    assert result.standard_error == pytest.approx(2.0**-30 * math.sqrt(5 / 3 / 4), rel=1e-15)


def test_standard_error_without_weights_is_the_usual_one(rng: np.random.Generator) -> None:
    logits, target = batch(rng, 500)
    target[:] = np.abs(target) % CLASSES
    losses = score_rows(logits, target, axis=-1).loss.astype(np.float64)
    expected = losses.std(ddof=1) / math.sqrt(500)
    ones = CrossEntropyState(weight=np.ones(CLASSES)).update(logits, target).result()
    plain = CrossEntropyState().update(logits, target).result()
    assert plain.standard_error == pytest.approx(expected, rel=1e-12)
    assert plain == ones


def test_nothing_seen_is_nan() -> None:
    for weight in (None, WEIGHT):
        state = CrossEntropyState(weight=weight)
        assert_empty(state, 0)
        state.update(np.zeros((0, CLASSES), np.float32), np.zeros(0, int))
        assert_empty(state, 0)
        state.update(np.zeros((3, CLASSES), np.float32), [-100, -100, -100])
        assert_empty(state, 3)


def assert_empty(state: CrossEntropyState, ignored: int) -> None:
    result = state.result()
    assert (result.samples, result.ignored, result.hits) == (0, ignored, 0)
    assert (result.total_loss, result.total_weight) == (0.0, 0.0)
    for name in ("loss", "standard_error", "perplexity", "bits", "accuracy"):
        assert math.isnan(getattr(result, name))


def test_one_sample_has_no_standard_error() -> None:
    result = CrossEntropyState().update(np.zeros((1, 2), np.float32), [1]).result()
    assert math.isnan(result.standard_error)
    assert result.loss == float(np.float32(math.log(2)))
    assert result.accuracy == 0.0  # of equal logits the first is the prediction


def test_equal_losses_have_no_error() -> None:
    result = CrossEntropyState().update(np.zeros((5, 3), np.float32), [0, 1, 2, 0, 1]).result()
    assert result.standard_error == 0.0


def test_infinite_and_nan_losses() -> None:
    x = np.array([[0.0, -np.inf], [0.0, 0.0]], np.float32)
    result = CrossEntropyState().update(x, [1, 1]).result()
    assert result.loss == result.perplexity == result.bits == result.total_loss == math.inf
    assert math.isnan(result.standard_error)
    x[1, 0] = np.nan
    result = CrossEntropyState().update(x, [1, 1]).result()
    assert math.isnan(result.loss)
    assert math.isnan(result.perplexity)
    assert math.isnan(result.standard_error)
    assert result.samples == 2


def test_perplexity_overflows_to_inf() -> None:
    result = CrossEntropyState().update(np.array([[0.0, 1000.0]], np.float32), [0]).result()
    assert result.loss == 1000.0
    assert result.perplexity == math.inf


def test_ignored_rows_may_hold_anything() -> None:
    x = np.array([[np.nan, np.nan], [np.inf, np.inf], [0.0, 0.0]], np.float32)
    assert CrossEntropyState().update(x, [-100, -100, 0]).result().loss == float(
        np.float32(math.log(2))
    )


def test_no_weight_at_all_is_nan() -> None:
    state = CrossEntropyState(weight=np.zeros(2)).update(np.zeros((3, 2), np.float32), [0, 1, 1])
    assert state.result().samples == 3
    assert state.result().total_weight == 0.0
    assert math.isnan(state.result().loss)
    assert math.isnan(state.result().standard_error)


# Algebra


@pytest.mark.parametrize("options", OPTIONS)
def test_merge_is_associative_and_commutative(
    options: dict[str, Any], rng: np.random.Generator
) -> None:
    parts = []
    for samples in (1, 30, 200):
        logits, target = batch(rng, samples)
        parts.append(CrossEntropyState(**options).update(logits, labels_for(target, options)))
    saved = [part.to_bytes() for part in parts]
    load = CrossEntropyState.from_bytes
    whole = load(saved[0]).merge(load(saved[1]).merge(load(saved[2])))
    for a, b, c in itertools.permutations(saved):
        left = load(a).merge(load(b)).merge(load(c))
        assert left == whole
        assert left.to_bytes() == whole.to_bytes()
        assert left.result() == whole.result()
    assert load(saved[0]).merge(CrossEntropyState(**options)).to_bytes() == saved[0]
    assert [part.to_bytes() for part in parts] == saved


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_split_gives_the_same_bits(data: st.DataObject) -> None:
    """Samples shuffled, cut into calls, calls dealt to states, states merged in any order."""
    options = data.draw(st.sampled_from(OPTIONS))
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
    samples = data.draw(st.integers(0, 60))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    logits, target = batch(rng, samples, dtype)
    target = labels_for(target, options)
    whole = CrossEntropyState(**options).update(logits, target)
    order = rng.permutation(samples)
    cuts = sorted(data.draw(st.lists(st.integers(0, samples), max_size=8)))
    states = [CrossEntropyState(**options) for _ in range(data.draw(st.integers(1, 4)))]
    for rows in np.split(order, cuts):
        states[rng.integers(len(states))].update(logits[rows], target[rows])
    while len(states) > 1:
        other = states.pop(rng.integers(len(states)))
        states[rng.integers(len(states))].merge(other)
    assert states[0] == whole
    assert states[0].to_bytes() == whole.to_bytes()


def test_merging_with_itself_counts_twice(rng: np.random.Generator) -> None:
    logits, target = batch(rng, 50)
    state = CrossEntropyState(weight=WEIGHT).update(logits, target)
    twice = CrossEntropyState(weight=WEIGHT).update(logits, target).update(logits, target)
    assert state.merge(state) == twice


def test_layouts_of_one_batch_are_equal(rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, CLASSES, 5)).astype(np.float32)
    y = rng.integers(0, CLASSES, (4, 5))
    whole = CrossEntropyState().update(x, y, axis=1)
    assert CrossEntropyState().update(x.transpose(0, 2, 1), y) == whole
    assert CrossEntropyState().update(np.asfortranarray(x), y, axis=-2) == whole
    assert CrossEntropyState().update(x.astype(">f4"), y.astype(np.int8), axis=1) == whole


def test_merge_demands_the_same_options() -> None:
    pairs = [
        ({}, {"ignore_index": 0}, r"different ignore_index \(-100 and 0\)"),
        ({}, {"label_smoothing": 0.5}, r"different label_smoothing \(0.0 and 0.5\)"),
        ({}, {"weight": WEIGHT}, "different weight"),
        ({"weight": WEIGHT + 1}, {"weight": WEIGHT}, "different weight"),
    ]
    for mine, theirs, message in pairs:
        state = CrossEntropyState(**mine)
        before = state.to_bytes()
        with pytest.raises(ValueError, match=message):
            state.merge(CrossEntropyState(**theirs))
        assert state.to_bytes() == before
        assert state != CrossEntropyState(**theirs)
    with pytest.raises(TypeError, match="with int"):
        CrossEntropyState().merge(3)  # type: ignore[arg-type]
    assert CrossEntropyState() != 3


def test_a_failed_update_changes_nothing(rng: np.random.Generator) -> None:
    logits, target = batch(rng, 20)
    state = CrossEntropyState().update(logits, target)
    before = state.to_bytes()
    target[13] = CLASSES
    with pytest.raises(IndexError):
        state.update(logits, target)
    with pytest.raises(ValueError):
        state.update(logits, target[:5])
    with pytest.raises(TypeError):
        state.update(logits, target.astype(float))
    assert state.to_bytes() == before


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"label_smoothing": 1.5}, ValueError),
        ({"label_smoothing": -0.1}, ValueError),
        ({"label_smoothing": math.nan}, ValueError),
        ({"ignore_index": 2**63}, ValueError),
        ({"ignore_index": 1.0}, TypeError),
        ({"weight": [[1.0]]}, ValueError),
        ({"weight": ["a"]}, TypeError),
        ({"weight": [1j]}, TypeError),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        CrossEntropyState(**options)


def test_options_are_kept_and_copied() -> None:
    weight = np.ones(3)
    state = CrossEntropyState(weight=weight, ignore_index=-1, label_smoothing=0.25)
    weight[0] = 5.0
    assert state.weight is not None
    assert state.weight.tolist() == [1.0, 1.0, 1.0]
    assert not state.weight.flags.writeable
    assert (state.ignore_index, state.label_smoothing) == (-1, 0.25)
    assert repr(state) == "<CrossEntropyState: 0 samples, 0 ignored>"
    with pytest.raises(TypeError):
        hash(state)


# Saved states


@pytest.mark.parametrize("options", OPTIONS)
def test_bytes_round_trip(options: dict[str, Any], rng: np.random.Generator) -> None:
    logits, target = batch(rng, 100)
    state = CrossEntropyState(**options).update(logits, labels_for(target, options))
    for copy in (
        CrossEntropyState.from_bytes(state.to_bytes()),
        CrossEntropyState.from_bytes(bytearray(state.to_bytes())),
        pickle.loads(pickle.dumps(state)),
    ):
        assert copy == state
        assert copy.result() == state.result()
        assert copy.to_bytes() == state.to_bytes()
        copy.update(logits, labels_for(target, options))  # a live state, independent of the first
        assert copy != state


def test_every_cut_and_every_flipped_byte_is_noticed(rng: np.random.Generator) -> None:
    saved = CrossEntropyState(weight=WEIGHT).update(*batch(rng, 5)).to_bytes()
    for length in range(len(saved)):
        with pytest.raises(ValueError, match=r"not a saved|cut short"):
            CrossEntropyState.from_bytes(saved[:length])
    for index in range(len(saved)):
        damaged = bytearray(saved)
        damaged[index] ^= 0x10
        with pytest.raises(ValueError):
            CrossEntropyState.from_bytes(bytes(damaged))


def resealed(content: bytes) -> bytes:
    return content + struct.pack("<I", zlib.crc32(content))


def test_errors_of_from_bytes_say_what_is_wrong() -> None:
    saved = CrossEntropyState().to_bytes()
    content = saved[:-4]
    first_length = 20 + 48  # header and counts come before the first sum
    cases = [
        (b"", "not a saved logloss state"),
        (b"samples,loss\n1,2\n" * 20, "not a saved logloss state"),
        (saved[:12], "cut short: 12 bytes"),
        (saved[:-1], f"cut short: {len(saved) - 1} of {len(saved)} bytes"),
        (saved + b"\0\0", "2 bytes too many"),
        (saved[:8] + b"\x02" + saved[9:], "format version 2, expected 1"),
        (saved[:10] + b"\x07" + saved[11:], "of kind 7"),
        (saved[:30] + b"\x01" + saved[31:], "checksum"),
        (
            resealed(content[:first_length] + b"\xff\xff\xff\x7f" + content[first_length + 4 :]),
            "a length inside it is wrong",
        ),
        (
            resealed(
                content[:12] + struct.pack("<Q", len(content) - 20 + 5) + content[20:] + b"12345"
            ),
            "longer than its content",
        ),
    ]
    for data, message in cases:
        with pytest.raises(ValueError, match=message):
            CrossEntropyState.from_bytes(data)


# The stream

SaveFn = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> SaveFn:
    def save_array(name: str, array: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
        return path

    return save_array


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
@pytest.mark.parametrize("block_bytes", [1, 700, 2**26])
def test_blocks_of_any_size_along_any_axis(
    save: SaveFn, axis: int, order: Any, block_bytes: int, rng: np.random.Generator
) -> None:
    x = np.asarray(rng.normal(size=(3, 4, 5, 6)).astype(np.float32), order=order)
    samples = tuple(np.delete(x.shape, axis))
    y = rng.integers(-1, x.shape[axis], samples)
    files = save("x.npy", x), save("y.npy", y)
    evaluation = evaluate(*files, axis=axis, ignore_index=-1, block_bytes=block_bytes)
    whole = CrossEntropyState(ignore_index=-1).update(x, y, axis=axis)
    assert evaluation.state == whole
    assert evaluation.progress.samples == y.size
    assert evaluation.progress.bytes_read == x.nbytes


@pytest.mark.parametrize("block_bytes", [1, 150, 2**26])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_bad_label_is_found_at_its_place(
    save: SaveFn, axis: int, order: Any, block_bytes: int
) -> None:
    x = np.zeros((3, 4, 5), np.float32, order=order)
    y = np.zeros(tuple(np.delete(x.shape, axis)), np.int16)
    y[2, 3] = -7
    row = 2 * y.shape[1] + 3
    expected = rf"y.npy: the label in row {row} \(position \(2, 3\) in x.npy\) is -7, " + (
        rf"outside \[0, {x.shape[axis]}\) and not the ignore index -100"
    )
    files = save("x.npy", x), save("y.npy", y)
    with pytest.raises(DataError, match=expected):
        evaluate(*files, axis=axis, block_bytes=block_bytes)
    assert evaluate(*files, axis=axis, ignore_index=-7).result.ignored == 1


def test_progress_counts_every_block(save: SaveFn, rng: np.random.Generator) -> None:
    logits, target = batch(rng, 1000)
    seen: list[Progress] = []
    files = save("x.npy", logits), save("y.npy", target)
    evaluation = evaluate(*files, block_bytes=10_000, progress=seen.append)
    assert len(seen) == math.ceil(1000 / (10_000 // (4 * CLASSES + 32)))
    assert seen[-1] == evaluation.progress
    assert [p.samples for p in seen] == sorted({p.samples for p in seen})
    assert [p.seconds for p in seen] == sorted(p.seconds for p in seen)
    for p in seen:
        assert (p.total_samples, p.total_bytes) == (1000, logits.nbytes)
        assert p.bytes_read == p.samples * CLASSES * 4
        assert p.gigabytes_per_second == p.bytes_read / p.seconds / 1e9
    assert seen[-1].samples == 1000
    assert math.isnan(Progress(0, 0, 0, 0, 0.0).gigabytes_per_second)


def test_nothing_is_printed(
    save: SaveFn, rng: np.random.Generator, capfd: pytest.CaptureFixture[str]
) -> None:
    logits, target = batch(rng, 10)
    evaluate(save("x.npy", logits), save("y.npy", target))
    assert capfd.readouterr() == ("", "")


def test_empty_files_make_an_empty_result(save: SaveFn) -> None:
    files = save("x.npy", np.zeros((0, 5), np.float32)), save("y.npy", np.zeros(0, int))
    evaluation = evaluate(*files)
    assert evaluation.result.samples == 0
    assert math.isnan(evaluation.result.loss)
    assert evaluation.progress == Progress(0, 0, 0, 0, 0.0)


def test_stream_can_be_stopped_and_its_state_read(save: SaveFn, rng: np.random.Generator) -> None:
    logits, target = batch(rng, 100)
    shards = open_shards(save("x.npy", logits), save("y.npy", target))
    state = CrossEntropyState()
    done = next(stream(shards, state, block_bytes=1000))
    assert 0 < done.samples < 100
    assert state == CrossEntropyState().update(logits[: done.samples], target[: done.samples])


def test_processes_give_the_same_bits(
    save: SaveFn, tmp_path: Path, rng: np.random.Generator
) -> None:
    logits, target = batch(rng, 600)
    cuts = [50, 400]
    files = [
        (save(f"x/{i}.npy", x), save(f"y/{i}.npy", y))
        for i, (x, y) in enumerate(zip(np.split(logits, cuts), np.split(target, cuts), strict=True))
    ]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts: list[Evaluation] = list(pool.map(evaluate, *zip(*reversed(files), strict=True)))
    assert [type(part.shards[0]) for part in parts] == [Shard] * 3
    merged = CrossEntropyState()
    for part in parts:
        merged.merge(part.state)
    whole = CrossEntropyState().update(logits, target)
    assert merged.to_bytes() == whole.to_bytes()
    assert evaluate(tmp_path / "x", tmp_path / "y").state.to_bytes() == whole.to_bytes()


RESIDENT_SIZE = """
import resource, sys
from logloss.evaluation import evaluate
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
result = evaluate(sys.argv[1], sys.argv[2]).result
print(peak() - before, result.samples, result.hits, result.loss, result.standard_error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="sparse files and ru_maxrss in KiB")
def test_memory_is_bounded_whatever_the_size(tmp_path: Path) -> None:
    """A file of 1 GiB, all holes: the process must not grow by more than 300 MB."""
    samples, classes = 2**14, 2**15
    header = {"descr": "<f2", "fortran_order": False, "shape": (samples, classes)}
    with (tmp_path / "x.npy").open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, header)
        handle.truncate(handle.tell() + samples * classes * 2)
    np.save(tmp_path / "y.npy", np.zeros(samples, np.uint8))
    output = subprocess.run(
        [sys.executable, "-c", RESIDENT_SIZE, tmp_path / "x.npy", tmp_path / "y.npy"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    growth, *metrics = output.split()
    expected = float(np.float32(math.log(classes)))
    assert metrics == [str(samples), str(samples), str(expected), "0.0"]
    assert int(growth) * 1024 < 300e6
