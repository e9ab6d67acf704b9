# SPDX-License-Identifier: BSD-3-Clause
"""Readers of the evaluation package: files, directories and globs of logits and labels."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logloss.evaluation import CrossEntropyState, DataError, evaluate
from logloss.evaluation.readers import NpyFile, expand, load_weight, open_shards

CLASSES = 7

SaveFn = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> SaveFn:
    def save_array(name: str, array: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
        return path

    return save_array


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8", "|u1", ">i4"])
def test_maps_what_numpy_saves(
    tmp_path: Path, version: tuple[int, int], order: Any, dtype: str, rng: np.random.Generator
) -> None:
    array = np.asarray(rng.integers(0, 100, (3, 4, 5)), dtype=dtype, order=order)
    path = tmp_path / "a.npy"
    with path.open("wb") as handle:
        np.lib.format.write_array(handle, array, version=version)
    file = NpyFile.open(path)
    mapped = file.map().array
    assert mapped.dtype == array.dtype
    assert not mapped.flags.writeable
    assert np.array_equal(mapped, array)
    assert mapped.flags.f_contiguous == (order == "F")
    assert (file.nbytes, file.dtype_name) == (array.nbytes, array.dtype.name)


@pytest.mark.parametrize("spaces", range(4))
def test_data_at_any_offset(
    save: SaveFn, tmp_path: Path, spaces: int, rng: np.random.Generator
) -> None:
    """NumPy pads its headers to 64 bytes, other writers may not: values lie unaligned then."""
    logits = rng.normal(size=(20, CLASSES)).astype(np.float32)
    target = rng.integers(0, CLASSES, 20)
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {logits.shape}}}" + " " * spaces
    path = tmp_path / "x.npy"
    path.write_bytes(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + logits.tobytes()
    )
    state = CrossEntropyState().update(logits, target)
    assert evaluate(path, save("y.npy", target)).state == state


@pytest.mark.parametrize("shape", [(), (0,), (0, 5), (5, 0)])
def test_maps_empty_and_scalar_files(save: SaveFn, shape: tuple[int, ...]) -> None:
    mapped = NpyFile.open(save("a.npy", np.zeros(shape))).map().array
    assert mapped.shape == shape
    assert mapped.sum() == 0.0


def test_unusable_files_are_named_with_the_reason(save: SaveFn, tmp_path: Path) -> None:
    good = save("good.npy", np.zeros((10, 4), np.float32)).read_bytes()
    header = good[: good.index(b"\n") + 1]
    objects = np.array([{}], dtype=object)
    np.savez(tmp_path / "archive.npz", a=np.zeros(3))
    cases = [
        (b"", "not a .npy file"),
        (b"1.0,2.0\n3.0,4.0\n", "not a .npy file"),
        ((tmp_path / "archive.npz").read_bytes(), "not a .npy file .an .npz archive"),
        (good[:7], "truncated within its header"),
        (good[:9], "truncated within its header"),
        (good[:60], "truncated within its header"),
        (good[:6] + b"\x09" + good[7:], "format version 9 is unknown"),
        (good[:8] + b"\xff\xff" + good[10:], "truncated within its header"),
        (good[:6] + b"\x02\x00\xff\xff\xff\xff" + good[12:], "header claims"),
        (good[:-1], "truncated, has 159 of 160 bytes of data"),
        (header, "truncated, has 0 of 160 bytes of data"),
        (good.replace(b"'shape'", b"'shapf'"), "header cannot be understood"),
        (good.replace(b"(10, 4)", b"(-1, 4)"), "header cannot be understood"),
        (good.replace(b"(10, 4)", b"(1., 4)"), "header cannot be understood"),
        (good.replace(b"'<f4'", b"'<q4'"), "header cannot be understood"),
        (good.replace(b"{", b"["), "header cannot be understood"),
        (good.replace(b"False", b"    0"), "header cannot be understood"),
        (save("objects.npy", objects).read_bytes(), "Python objects"),
    ]
    path = tmp_path / "bad.npy"
    for content, reason in cases:
        path.write_bytes(content)
        with pytest.raises(DataError, match=reason) as caught:
            NpyFile.open(path)
        assert str(caught.value).startswith(f"{path}: ")


def test_missing_files_are_os_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        NpyFile.open(tmp_path / "none.npy")
    with pytest.raises(FileNotFoundError, match="No such file"):
        expand(tmp_path / "none.npy")
    with pytest.raises(FileNotFoundError, match="no file matches"):
        expand(tmp_path / "none-*.npy")
    with pytest.raises(FileNotFoundError, match=r"holds no \.npy files"):
        expand(tmp_path)
    with pytest.raises(DataError, match="not a regular file"):
        NpyFile.open(tmp_path)


def test_a_file_cut_short_after_it_was_opened(save: SaveFn) -> None:
    path = save("a.npy", np.zeros(1000))
    file = NpyFile.open(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="cut short while in use"):
        file.map()


def test_expand_sorts_numbers_by_value(tmp_path: Path) -> None:
    names = ["part-1.npy", "part-2.npy", "part-10.npy", "part-010b.npy", "rest.npy"]
    for name in [*names, ".hidden.npy", "notes.txt"]:
        (tmp_path / name).touch()
    (tmp_path / "[x].npy").touch()
    assert [path.name for path in expand(tmp_path)] == ["[x].npy", *names]
    assert [path.name for path in expand(f"{tmp_path}/part-*.npy")] == names[:4]
    assert expand(tmp_path / "[x].npy") == [tmp_path / "[x].npy"]  # a name before it is a pattern


def test_dtypes_of_logits_and_labels(save: SaveFn) -> None:
    for bad in (np.int32, np.complex64, np.bool_, "U3", "V4", [("a", "<u2")], np.uint16):
        with pytest.raises(DataError, match="logits must be float16, bfloat16, float32 or float64"):
            NpyFile.open(save("a.npy", np.zeros((2, 2), bad))).as_logits()
    for bad in (np.float32, np.bool_, "V2", "S1"):
        with pytest.raises(DataError, match="labels must be integers"):
            NpyFile.open(save("a.npy", np.zeros(2, bad))).as_labels()


def test_raw_values_are_bfloat16_only_if_told(save: SaveFn) -> None:
    raw = np.array([[0x3F80, 0xC000], [0x0000, 0x4040]], np.uint16)  # 1, -2, 0, 3
    expected = CrossEntropyState().update(np.float32([[1, -2], [0, 3]]), [0, 1])
    labels = save("labels.npy", np.array([0, 1]))
    logits = save("logits.npy", raw.view("V2"))
    with pytest.raises(DataError, match="--dtype bfloat16"):
        evaluate(logits, labels)
    stored = [raw.view("V2"), raw, raw.view(np.int16), raw.astype(">u2"), np.asfortranarray(raw)]
    for array in stored:
        evaluation = evaluate(save("logits.npy", array), labels, dtype="bfloat16")
        assert evaluation.state == expected
        assert evaluation.shards[0].logits.dtype_name == "bfloat16"
    for other in (np.float32([[1, -2]]), np.float16([[1, -2]]), np.zeros((1, 2), "V4")):
        with pytest.raises(DataError, match="bfloat16 needs raw values of two bytes"):
            evaluate(save("logits.npy", other), labels, dtype="bfloat16")
    with pytest.raises(ValueError, match="dtype must be None or 'bfloat16'"):
        evaluate(logits, labels, dtype="float32")


def test_saved_ml_dtypes_arrays_are_read_back(save: SaveFn, rng: np.random.Generator) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    logits = rng.normal(size=(50, CLASSES)).astype(ml_dtypes.bfloat16)
    target = rng.integers(0, CLASSES, 50)
    files = save("x.npy", logits), save("y.npy", target)
    assert evaluate(*files, dtype="bfloat16").state == CrossEntropyState().update(logits, target)


def test_shards_are_paired_and_checked(save: SaveFn, tmp_path: Path) -> None:
    for index, samples in enumerate((3, 4, 5)):
        save(f"logits/part-{index * 5}.npy", np.zeros((samples, 2), np.float32))
        save(f"labels/y{index * 5}.npy", np.zeros(samples, np.uint8))
    shards = open_shards(tmp_path / "logits", tmp_path / "labels")
    assert [shard.logits.path.name for shard in shards] == [
        "part-0.npy",
        "part-5.npy",
        "part-10.npy",
    ]
    assert [shard.labels.path.name for shard in shards] == ["y0.npy", "y5.npy", "y10.npy"]
    assert [shard.samples for shard in shards] == [3, 4, 5]

    save("labels/y5.npy", np.zeros(5, np.uint8))
    with pytest.raises(DataError, match=r"y5.npy: labels of shape \(5,\) do not fit .*part-5.npy"):
        open_shards(tmp_path / "logits", tmp_path / "labels")
    (tmp_path / "labels" / "y5.npy").unlink()
    with pytest.raises(DataError, match=r"3 files of logits in .* but 2 files of labels in"):
        open_shards(tmp_path / "logits", tmp_path / "labels")
    save("labels/y5.npy", np.zeros(4, np.uint8))
    save("logits/part-10.npy", np.zeros((5, 3), np.float32))
    with pytest.raises(DataError, match=r"part-10.npy: 3 classes, but .*part-0.npy has 2"):
        open_shards(tmp_path / "logits", f"{tmp_path}/labels/*.npy")


def test_one_file_of_labels_serves_many_files_of_logits(
    save: SaveFn, tmp_path: Path, rng: np.random.Generator
) -> None:
    logits = rng.normal(size=(12, 3, CLASSES)).astype(np.float32)
    target = rng.integers(0, CLASSES, (12, 3))
    for index, rows in enumerate(np.split(logits, [2, 2, 7])):
        save(f"logits/{index}.npy", rows)
    whole = CrossEntropyState().update(logits, target)
    for labels in (target, target.ravel(), np.asfortranarray(target)):
        path = save("labels.npy", labels)
        assert evaluate(tmp_path / "logits", path).state == whole
    with pytest.raises(DataError, match="33 labels for 36 samples in 4 files"):
        evaluate(tmp_path / "logits", save("labels.npy", target[:11]))
    with pytest.raises(DataError, match=r"labels of shape \(3, 12\) do not fit"):
        evaluate(tmp_path / "logits", save("labels.npy", target.T.copy()))
    target[5, 1] = 99
    with pytest.raises(DataError, match=r"row 16 \(position \(3, 1\) in 2.npy\) is 99"):
        evaluate(tmp_path / "logits", save("labels.npy", target))


def test_shapes_that_do_not_fit(save: SaveFn) -> None:
    logits = save("x.npy", np.zeros((6, 4, 5), np.float32))
    for shape in ((6, 4), (24,)):
        assert open_shards(logits, save("y.npy", np.zeros(shape, int)))[0].samples == 24
    for shape in ((6,), (4, 6), (25,), (6, 4, 1), (6, 5), ()):
        with pytest.raises(DataError, match="do not fit"):
            open_shards(logits, save("y.npy", np.zeros(shape, int)))
    labels = save("y.npy", np.zeros((6, 5), int))
    assert open_shards(logits, labels, axis=1)[0].classes == 4
    assert open_shards(logits, labels, axis=-2)[0].axis == 1
    for axis in (3, -4):
        with pytest.raises(DataError, match=f"no axis {axis} in logits of shape"):
            open_shards(logits, labels, axis=axis)
    flat = save("x.npy", np.zeros((24, 5), np.float32))
    assert open_shards(flat, save("y.npy", np.zeros((4, 6), int)))[0].samples == 24
    with pytest.raises(DataError, match="two axes or more"):
        open_shards(save("x.npy", np.zeros(5, np.float32)), labels)
    with pytest.raises(DataError, match="no classes"):
        open_shards(save("x.npy", np.zeros((4, 0), np.float32)), save("y.npy", np.zeros(4, int)))


def test_class_weights_from_a_file(save: SaveFn) -> None:
    assert load_weight(save("w.npy", np.arange(3)), 3).tolist() == [0.0, 1.0, 2.0]
    assert load_weight(save("w.npy", np.ones(2, ">f4")), 2).dtype == np.float64
    with pytest.raises(DataError, match=r"shape \(3,\), expected \(4,\)"):
        load_weight(save("w.npy", np.ones(3)), 4)
    with pytest.raises(DataError, match="must be numbers"):
        load_weight(save("w.npy", np.array(["a", "b"])), 2)
    logits, labels = save("x.npy", np.zeros((2, 5))), save("y.npy", np.zeros(2, int))
    with pytest.raises(DataError, match="3 class weights for 5 classes"):
        evaluate(logits, labels, weight=[1.0, 2.0, 3.0])
