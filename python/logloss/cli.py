# SPDX-License-Identifier: BSD-3-Clause
"""The ``logloss`` command: arguments in, a report and an exit code out."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import logloss
from logloss.evaluation import CrossEntropyState, DataError, Evaluation, evaluate
from logloss.evaluation.progress import ProgressBar
from logloss.evaluation.readers import load_weight, open_shards
from logloss.evaluation.report import (
    evaluation_table,
    evaluation_values,
    result_lines,
    state_values,
    table,
    to_json,
)
from logloss.evaluation.state import MAGIC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from _typeshed import SupportsWrite

OK, USAGE, BAD_DATA, INTERRUPTED = 0, 2, 3, 130

_EPILOG = """\
exit codes:
  0    done
  2    wrong usage, or a file that is missing or cannot be read or written
  3    bad data: a damaged or truncated file, a wrong dtype or shape, a label out of range
  130  interrupted

--json prints numbers in full precision; nan is null, infinities are "inf" and "-inf".
"""

_EVAL_DESCRIPTION = """\
Score stored logits against stored labels: mean cross-entropy, perplexity, bits, top-1 accuracy.

LOGITS and LABELS are .npy files, directories of .npy files, or glob patterns in quotes. Files are
memory-mapped and read once, so they may be larger than memory. Shards are paired in natural order
of their names (part-2 before part-10); one file of labels may serve several files of logits.
"""

_EVAL_EPILOG = """\
examples:
  logloss eval logits.npy labels.npy
  logloss eval 'run/logits-*.npy' 'run/labels-*.npy' --json
  logloss eval shard7.npy labels7.npy --save-state shard7.state

An error after +- is a standard error. With --weight the mean is sum(weight * loss) / sum(weight).
"""

_MERGE_DESCRIPTION = """\
Merge states that 'logloss eval --save-state' has saved, and report on all of them together. The
result has the same bits as one evaluation of all samples, in whatever order.
"""


class UsageError(Exception):
    """The command line asks for something that cannot be done."""


class _Parser(argparse.ArgumentParser):
    """Reports an error on one line, as every other error of the command."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"logloss: error: {message} (see '{self.prog} --help')\n")

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:  # noqa: ARG002
        """Print the help as all output is printed: argparse would pass over a full disk."""
        _print(self.format_help().rstrip("\n"))


class _Version(argparse.Action):
    """Prints the version and ends, as all output is printed."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        _print(f"logloss {logloss.__version__}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 2 (usage), 3 (bad data) or 130 (interrupted)."""
    try:
        return _run(argv)
    except BrokenPipeError:
        _discard_stdout()  # whoever read our output has had enough
        return OK
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, "interrupted")
    except DataError as error:
        return _fail(BAD_DATA, str(error))
    except UsageError as error:
        return _fail(USAGE, str(error))
    except OSError as error:
        return _fail(USAGE, _os_error_text(error))


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has said everything already
        return stop.code if isinstance(stop.code, int) else OK
    arguments.run(arguments)
    return OK


def _parser() -> _Parser:
    parser = _Parser(
        prog="logloss",
        description="Evaluate stored logits at the speed of memory.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    _add_eval(commands)
    _add_merge(commands)
    demo = commands.add_parser(
        "demo",
        help="evaluate the digits that come with logloss",
        description="Evaluate the logits of a small classifier of handwritten digits.",
        allow_abbrev=False,
    )
    demo.set_defaults(run=_run_demo)
    info = commands.add_parser(
        "info",
        help="say how logloss runs on this machine",
        description="Print the version, the instruction sets and the number of threads.",
        allow_abbrev=False,
    )
    info.add_argument("--json", action="store_true", help="print JSON")
    info.set_defaults(run=_run_info)
    return parser


def _add_eval(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "eval",
        help="score stored logits against stored labels",
        description=_EVAL_DESCRIPTION,
        epilog=_EVAL_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("logits", metavar="LOGITS", help="logits: .npy, directory or glob")
    parser.add_argument("labels", metavar="LABELS", help="integer labels: .npy, directory or glob")
    parser.add_argument(
        "--axis", type=int, default=-1, metavar="N", help="class axis of the logits (default: last)"
    )
    parser.add_argument(
        "--ignore-index",
        type=_int64,
        default=-100,
        metavar="N",
        help="leave out samples with this label (default: -100)",
    )
    parser.add_argument("--weight", metavar="FILE", help="class weights: a 1-D .npy file")
    parser.add_argument(
        "--label-smoothing",
        type=_share,
        default=0.0,
        metavar="E",
        help="spread a share E of the target over all classes (default: 0)",
    )
    parser.add_argument(
        "--threads", type=_positive, metavar="N", help="threads to use (default: all that we may)"
    )
    parser.add_argument(
        "--dtype",
        choices=["bfloat16"],
        help="what raw values of two bytes are, as NumPy stores bfloat16",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--no-progress", action="store_true", help="no progress bar, not even on a terminal"
    )
    parser.add_argument(
        "--save-state", metavar="FILE", help="save the exact sums for 'logloss merge'"
    )
    parser.set_defaults(run=_run_eval)


def _add_merge(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "merge",
        help="merge states saved by eval, without rounding",
        description=_MERGE_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("states", nargs="+", metavar="STATE", help="a file from --save-state")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--save-state", metavar="FILE", help="save the merged state")
    parser.set_defaults(run=_run_merge)


def _run_eval(arguments: argparse.Namespace) -> None:
    if arguments.save_state is not None:
        _check_state_path(Path(arguments.save_state))
    with _num_threads(arguments.threads) as threads:
        evaluation = _evaluate(arguments)
    if arguments.save_state is not None:
        _save_state(evaluation.state, Path(arguments.save_state))
    if arguments.json:
        _print(to_json(evaluation_values(evaluation, threads)))
    else:
        _print(evaluation_table(evaluation, threads))


def _evaluate(arguments: argparse.Namespace) -> Evaluation:
    options = {"axis": arguments.axis, "dtype": arguments.dtype}
    weight = None
    if arguments.weight is not None:
        shards = open_shards(arguments.logits, arguments.labels, **options)
        weight = load_weight(arguments.weight, shards[0].classes)
    with ProgressBar(sys.stderr, enabled=not arguments.no_progress) as bar:
        return evaluate(
            arguments.logits,
            arguments.labels,
            **options,
            weight=weight,
            ignore_index=arguments.ignore_index,
            label_smoothing=arguments.label_smoothing,
            progress=bar,
        )


def _run_merge(arguments: argparse.Namespace) -> None:
    if arguments.save_state is not None:
        _check_state_path(Path(arguments.save_state))
    paths = [Path(text) for text in arguments.states]
    _check_distinct(paths)
    state, *others = [_load_state(path) for path in paths]
    for path, other in zip(paths[1:], others, strict=True):
        try:
            state.merge(other)
        except ValueError as error:
            raise DataError(f"{paths[0]}, {path}: {error}") from error
    if arguments.save_state is not None:
        _save_state(state, Path(arguments.save_state))
    if arguments.json:
        _print(to_json({**state_values(state), "states": [str(path) for path in paths]}))
    else:
        _print(table([("states", str(len(paths))), *result_lines(state.result())]))


def _run_demo(_: argparse.Namespace) -> None:
    data = resources.files("logloss") / "data"
    with (
        resources.as_file(data / "digits_logits.npy") as logits,
        resources.as_file(data / "digits_labels.npy") as labels,
    ):
        command = ["eval", str(logits), str(labels)]
        _print("Handwritten digits, scored by a logistic regression that has not seen them:\n")
        _print(f"$ logloss {shlex.join(command)}")
        evaluation = evaluate(logits, labels)
        _print(evaluation_table(evaluation, logloss.get_num_threads()))
    _print(
        "\nNext:\n"
        "  logloss eval LOGITS.npy LABELS.npy    score your own, saved with numpy.save\n"
        "  logloss eval --help                   shards, class axis, weights, JSON\n"
        "  python -c 'import logloss; help(logloss.cross_entropy)'"
    )


def _run_info(arguments: argparse.Namespace) -> None:
    config = logloss.config()
    if arguments.json:
        _print(to_json(config))
    else:
        _print(table([(key.replace("_", " "), _plain(value)) for key, value in config.items()]))


def _load_state(path: Path) -> CrossEntropyState:
    data = path.read_bytes()
    try:
        return CrossEntropyState.from_bytes(data)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _save_state(state: CrossEntropyState, path: Path) -> None:
    """Write a state so that the file is either complete or not there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(state.to_bytes())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _check_state_path(path: Path) -> None:
    """Find out before a long run, not after it, that its state could not be saved."""
    if not path.parent.is_dir():
        raise UsageError(f"cannot save {path}: no directory {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"cannot save {path}: no permission to write to {path.parent}")
    if path.exists():
        if not path.is_file():
            raise UsageError(f"cannot save {path}: not a regular file")
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise UsageError(f"cannot save {path}: it exists and is not a saved state")


def _check_distinct(paths: list[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise UsageError(f"{path} is given twice, its samples would count twice")
        seen.add(path.resolve())


def _int64(text: str) -> int:
    return int(_between(text, int, -(2**63), 2**63 - 1, "a 64-bit integer"))


def _positive(text: str) -> int:
    return int(_between(text, int, 1, 2**31 - 1, "a positive integer"))


def _share(text: str) -> float:
    return _between(text, float, 0.0, 1.0, "a number between 0 and 1")


def _between(
    text: str, kind: Callable[[str], float], low: float, high: float, expected: str
) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return value


@contextmanager
def _num_threads(threads: int | None) -> Iterator[int]:
    """Use so many threads, or as many as before for None; gives the number in use."""
    before = logloss.get_num_threads()
    try:
        if threads is not None:
            logloss.set_num_threads(threads)
        yield logloss.get_num_threads()
    finally:
        if threads is not None:
            logloss.set_num_threads(before)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def _os_error_text(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


def _print(text: str) -> None:
    """Print whatever characters the names of files hold, and see to it that it has arrived."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_stdout()
        raise UsageError(f"cannot write the output: {error.strerror}") from error


def _fail(code: int, message: str) -> int:
    print(f"logloss: error: {message}", file=sys.stderr)
    return code


def _discard_stdout() -> None:
    """Point stdout nowhere, so that its flush at exit does not fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
