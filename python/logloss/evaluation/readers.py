# SPDX-License-Identifier: BSD-3-Clause
"""
Stored logits and labels: ``.npy`` files, opened by memory map, alone or in shards.

Everything that can be wrong with the files is found here, from their headers, before a single
logit is read.
"""

from __future__ import annotations

import ast
import errno
import glob
import math
import mmap
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from typing import BinaryIO

    from numpy.typing import NDArray

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1 << 16
_HEADER_KEYS = {"descr", "fortran_order", "shape"}
BFLOAT16 = "bfloat16"


class DataError(ValueError):
    """The content of a file is unusable: damaged, of a wrong dtype or shape, or a bad label."""


@dataclass(frozen=True)
class NpyFile:
    """
    A ``.npy`` file whose header has been read and found good.

    ``dtype`` is that of the stored values. NumPy stores bfloat16 as raw values of two bytes,
    which say nothing about their meaning; ``bfloat16`` is True where the caller gave them that
    meaning, and ``dtype`` is uint16 then.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    offset: int
    bfloat16: bool = False

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> NpyFile:
        """
        Read the header of a file.

        Raises
        ------
        OSError
            If the file is missing or cannot be read.
        DataError
            If it is not a ``.npy`` file, is cut short, or holds Python objects.
        """
        path = Path(path)
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: not a regular file, which a memory map needs")
        with path.open("rb") as file:
            shape, dtype, fortran_order = _read_header(path, file)
            offset = file.tell()
            available = os.fstat(file.fileno()).st_size - offset
        expected = math.prod(shape) * dtype.itemsize
        if available < expected:
            raise DataError(f"{path}: truncated, has {available} of {expected} bytes of data")
        return cls(path, shape, dtype, fortran_order, offset)

    @property
    def dtype_name(self) -> str:
        """The name of the dtype as users know it, without the byte order."""
        return BFLOAT16 if self.bfloat16 else self.dtype.newbyteorder("=").name

    @property
    def nbytes(self) -> int:
        """The size of the data in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def as_logits(self, dtype: str | None = None) -> NpyFile:
        """
        Return the file with its values understood as logits, or raise DataError.

        ``dtype="bfloat16"`` reads two-byte raw or integer values as bfloat16.
        """
        if dtype == BFLOAT16:
            if self.dtype.kind not in "Viu" or self.dtype.itemsize != 2:
                raise DataError(
                    f"{self.path}: bfloat16 needs raw values of two bytes, holds {self.dtype}"
                )
            raw = np.dtype(self.dtype.str[0].replace("|", "<") + "u2")
            return NpyFile(self.path, self.shape, raw, self.fortran_order, self.offset, True)
        if self.dtype.kind == "V" and self.dtype.itemsize == 2 and self.dtype.names is None:
            raise DataError(
                f"{self.path}: holds raw values of two bytes; if they are bfloat16, "
                "say so with --dtype bfloat16 (in Python: dtype='bfloat16')"
            )
        if self.dtype.kind != "f" or self.dtype.itemsize not in (2, 4, 8):
            raise DataError(
                f"{self.path}: logits must be float16, bfloat16, float32 or float64, "
                f"holds {self.dtype}"
            )
        return self

    def as_labels(self) -> NpyFile:
        """Return the file itself if it can hold labels, or raise DataError."""
        if self.dtype.kind not in "iu":
            raise DataError(f"{self.path}: labels must be integers, holds {self.dtype}")
        return self

    def map(self) -> MappedArray:
        """Map the data into memory, read-only."""
        return MappedArray(self)


class MappedArray:
    """
    The values of a `NpyFile`, mapped into memory.

    Pages that have been read count towards the resident size of the process until they are
    released; they stay in the page cache of the system all the same. The hints are no-ops where
    the system has none.
    """

    def __init__(self, file: NpyFile) -> None:
        self.file = file
        with file.path.open("rb") as handle:
            try:
                self._map = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(file.path)) from error
        if len(self._map) < file.offset + file.nbytes:
            raise DataError(f"{file.path}: was cut short while in use")
        self.array: NDArray[Any] = np.ndarray(
            file.shape,
            file.dtype,
            buffer=self._map,
            offset=file.offset,
            order="F" if file.fortran_order else "C",
        )
        self._address = np.lib.array_utils.byte_bounds(self.array)[0] - file.offset

    def will_need(self, view: NDArray[Any]) -> None:
        """Ask the system to read ahead the part of the file under a view that is one piece."""
        start, stop = self._span(view)
        if stop - start == view.nbytes:
            self._advise("MADV_WILLNEED", start, stop)

    def release(self, view: NDArray[Any]) -> None:
        """
        Drop the pages under a view from the resident size; they can be read again.

        An array that lies elsewhere, a copy, is left alone.
        """
        start, stop = self._span(view)
        if start >= 0 and stop <= len(self._map):
            self._advise("MADV_DONTNEED", start, stop)

    def _span(self, view: NDArray[Any]) -> tuple[int, int]:
        """Return the first and the last byte of a view, counted from the start of the file."""
        start, stop = np.lib.array_utils.byte_bounds(view)
        return start - self._address, stop - self._address

    def _advise(self, name: str, start: int, stop: int) -> None:
        advice = getattr(mmap, name, None)
        start -= start % mmap.PAGESIZE
        if advice is not None and start < stop:
            self._map.madvise(advice, start, stop - start)


@dataclass(frozen=True)
class Shard:
    """
    One file of logits with its labels.

    ``axis`` is the class axis, counted from the front. The labels are ``labels``' entries from
    ``first_label`` on, in C order, as many as the logits have samples.
    """

    logits: NpyFile
    labels: NpyFile
    axis: int
    first_label: int = 0

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.logits.shape[self.axis]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of the logits without the class axis."""
        return self.logits.shape[: self.axis] + self.logits.shape[self.axis + 1 :]

    @property
    def samples(self) -> int:
        """The number of samples, ignored ones included."""
        return math.prod(self.sample_shape)

    def select_labels(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Cut this shard's labels out of all labels of its file, in the shape of the samples."""
        if labels.shape == self.sample_shape:
            return labels
        flat = labels.reshape(-1)[self.first_label : self.first_label + self.samples]
        return flat.reshape(self.sample_shape)


def expand(path: str | os.PathLike[str]) -> list[Path]:
    """
    Return the files that a path names: itself, a directory's ``.npy`` files, or a glob's.

    Files are in natural order, ``part-2`` before ``part-10``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    text = os.fspath(path)
    if Path(text).is_dir():
        files = [entry for entry in Path(text).glob("*.npy") if not entry.name.startswith(".")]
        if not files:
            raise FileNotFoundError(errno.ENOENT, "the directory holds no .npy files", text)
    elif os.path.lexists(text):
        files = [Path(text)]
    else:
        files = [Path(match) for match in glob.glob(text, recursive=True)]  # noqa: PTH207
        if not files:
            reason = "no file matches" if glob.has_magic(text) else os.strerror(errno.ENOENT)
            raise FileNotFoundError(errno.ENOENT, reason, text)
    return sorted(files, key=_natural_key)


def open_shards(
    logits: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    *,
    axis: int = -1,
    dtype: str | None = None,
) -> list[Shard]:
    """
    Open files of logits and labels and pair them, checking every shape.

    Parameters
    ----------
    logits, labels : path
        A ``.npy`` file, a directory of them, or a glob pattern. As many files of labels as of
        logits are paired in natural order of their names; a single file of labels may also
        serve several files of logits, one after the other.
    axis : int, default -1
        The class axis of the logits.
    dtype : {"bfloat16"}, optional
        Reads raw values of two bytes as bfloat16.

    Raises
    ------
    OSError
        If a file is missing or cannot be read.
    DataError
        If a file is damaged or the files do not fit each other.
    """
    logits_files = [NpyFile.open(path).as_logits(dtype) for path in expand(logits)]
    label_files = [NpyFile.open(path).as_labels() for path in expand(labels)]
    axes = [_class_axis(file, axis) for file in logits_files]
    if len(label_files) == 1 and len(logits_files) > 1:
        shards = _split_labels(logits_files, axes, label_files[0])
    elif len(label_files) == len(logits_files):
        shards = [Shard(*trio) for trio in zip(logits_files, label_files, axes, strict=True)]
        for shard in shards:
            _check_shapes(shard)
    else:
        raise DataError(
            f"{len(logits_files)} files of logits in {os.fspath(logits)} but "
            f"{len(label_files)} files of labels in {os.fspath(labels)}"
        )
    _check_classes(shards)
    return shards


def load_weight(path: str | os.PathLike[str], classes: int) -> NDArray[np.float64]:
    """
    Read class weights from a ``.npy`` file, one value per class.

    Raises
    ------
    OSError
        If the file is missing or cannot be read.
    DataError
        If it does not hold one number per class.
    """
    file = NpyFile.open(path)
    if file.dtype.kind not in "fiu":
        raise DataError(f"{file.path}: class weights must be numbers, holds {file.dtype}")
    if file.shape != (classes,):
        raise DataError(
            f"{file.path}: class weights of shape {file.shape}, expected ({classes},), "
            "one per class of the logits"
        )
    return file.map().array.astype(np.float64)


def _read_header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Read a ``.npy`` header; the file is left at the first byte of the data."""
    start = file.read(len(_MAGIC) + 2)
    if start[: len(_MAGIC)] != _MAGIC:
        hint = " (an .npz archive: save its arrays one by one)" if start[:2] == b"PK" else ""
        raise DataError(f"{path}: not a .npy file{hint}")
    if len(start) < len(_MAGIC) + 2:
        raise DataError(f"{path}: truncated within its header")
    major = start[len(_MAGIC)]
    if major not in (1, 2, 3):
        raise DataError(f"{path}: .npy format version {major} is unknown")
    size_bytes = 2 if major == 1 else 4
    size = int.from_bytes(file.read(size_bytes), "little")
    if size > _MAX_HEADER:
        raise DataError(f"{path}: damaged, its header claims {size} bytes")
    header = file.read(size)
    if len(header) < size:
        raise DataError(f"{path}: truncated within its header")
    return _parse_header(path, header.decode("utf-8" if major == 3 else "latin-1", "replace"))


def _parse_header(path: Path, header: str) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    try:
        fields = ast.literal_eval(header.strip())
        if set(fields) != _HEADER_KEYS:
            raise ValueError("unexpected keys")
        shape, fortran_order = fields["shape"], fields["fortran_order"]
        dtype = np.lib.format.descr_to_dtype(fields["descr"])
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(f"{path}: damaged, its header cannot be understood") from error
    sizes_good = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not sizes_good or not isinstance(fortran_order, bool):
        raise DataError(f"{path}: damaged, its header cannot be understood")
    if dtype.hasobject:
        raise DataError(f"{path}: holds Python objects, which cannot be memory-mapped")
    return shape, dtype, fortran_order


def _class_axis(file: NpyFile, axis: int) -> int:
    """Return the class axis counted from the front, or raise DataError."""
    ndim = len(file.shape)
    if ndim < 2:
        raise DataError(f"{file.path}: logits need two axes or more, has shape {file.shape}")
    if not -ndim <= axis < ndim:
        raise DataError(f"{file.path}: no axis {axis} in logits of shape {file.shape}")
    return axis % ndim


def _check_shapes(shard: Shard) -> None:
    """Check that the labels have the samples' shape, or as many entries with one of both flat."""
    samples, labels = shard.sample_shape, shard.labels.shape
    flat = len(labels) == 1 or len(samples) == 1
    if labels != samples and not (flat and math.prod(labels) == shard.samples):
        raise DataError(
            f"{shard.labels.path}: labels of shape {labels} do not fit {shard.logits.path} of "
            f"shape {shard.logits.shape} with the classes along axis {shard.axis}; "
            f"expected {samples}"
        )


def _split_labels(files: list[NpyFile], axes: list[int], labels: NpyFile) -> list[Shard]:
    """Give each file of logits its part of one file of labels."""
    shards: list[Shard] = []
    first_label = 0
    for file, axis in zip(files, axes, strict=True):
        shards.append(Shard(file, labels, axis, first_label))
        first_label += shards[-1].samples
    if math.prod(labels.shape) != first_label:
        raise DataError(
            f"{labels.path}: {math.prod(labels.shape)} labels for {first_label} samples "
            f"in {len(files)} files of logits"
        )
    inner_shapes = {shard.sample_shape[1:] for shard in shards}
    if len(labels.shape) != 1 and inner_shapes not in ({()}, {labels.shape[1:]}):
        raise DataError(
            f"{labels.path}: labels of shape {labels.shape} do not fit samples of shape "
            f"{shards[0].sample_shape} in {shards[0].logits.path}"
        )
    return shards


def _check_classes(shards: list[Shard]) -> None:
    first = shards[0]
    for shard in shards:
        if shard.classes != first.classes:
            raise DataError(
                f"{shard.logits.path}: {shard.classes} classes, "
                f"but {first.logits.path} has {first.classes}"
            )
        if shard.classes == 0:
            raise DataError(
                f"{shard.logits.path}: no classes in logits of shape {shard.logits.shape}"
            )


def _natural_key(path: Path) -> list[str | int]:
    """Compare numbers within a name by value; text and numbers alternate, so they never meet."""
    parts = re.split(r"(\d+)", str(path))
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]
