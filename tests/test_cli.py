# SPDX-License-Identifier: BSD-3-Clause
"""The ``logloss`` command: every option, every error, and its manners at a terminal."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import logloss
from logloss import cli
from logloss.evaluation import CrossEntropyState, Evaluation
from logloss.evaluation.progress import ProgressBar
from logloss.evaluation.report import result_lines

Array = np.ndarray[Any, np.dtype[Any]]
Files = Callable[..., tuple[str, str]]

SAMPLES, CLASSES = 500, 6
COMMAND = (sys.executable, "-m", "logloss")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Save logits and labels and give their paths."""

    def save(logits: Array, labels: Array, stem: str = "") -> tuple[str, str]:
        paths = str(tmp_path / f"x{stem}.npy"), str(tmp_path / f"y{stem}.npy")
        np.save(paths[0], logits)
        np.save(paths[1], labels)
        return paths

    return save


@pytest.fixture
def logits(rng: np.random.Generator) -> Array:
    return (3 * rng.normal(size=(SAMPLES, CLASSES))).astype(np.float32)


@pytest.fixture
def labels(rng: np.random.Generator) -> Array:
    return rng.integers(0, CLASSES, SAMPLES)


class Outcome:
    """What a call of the command in this process returned and printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...]) -> None:
        self.code = cli.main([str(argument) for argument in arguments])
        self.out, self.err = capsys.readouterr()

    @property
    def json(self) -> dict[str, Any]:
        assert (self.code, self.err) == (0, "")
        values = json.loads(self.out, parse_constant=pytest.fail)
        assert isinstance(values, dict)
        return values

    @property
    def table(self) -> dict[str, str]:
        assert (self.code, self.err) == (0, "")
        lines = [line.split("  ", 1) for line in self.out.splitlines()]
        return {name: text.strip() for name, text in lines}

    def assert_error(self, code: int, *parts: str) -> None:
        assert (self.code, self.out) == (code, "")
        assert self.err.startswith("logloss: error: ")
        assert self.err.count("\n") == 1
        for part in parts:
            assert part in self.err


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *arguments: Outcome(capsys, arguments)


def execute(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


# eval


def expected_json(state: CrossEntropyState) -> dict[str, Any]:
    result = state.result()
    names = ("samples", "ignored", "loss", "standard_error", "perplexity", "bits", "accuracy")
    names += ("hits", "total_loss", "total_weight")
    return {name: getattr(result, name) for name in names}


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], {}),
        (["--ignore-index", "2"], {"ignore_index": 2}),
        (["--ignore-index=-1"], {"ignore_index": -1}),
        (["--label-smoothing", "0.1"], {"label_smoothing": 0.1}),
        (["--weight"], {"weight": [0.5, 1.0, 2.0, 0.0, 1.5, 0.25]}),
        (["--threads", "1", "--no-progress"], {}),
    ],
)
def test_json_of_eval(
    run: Run,
    files: Files,
    logits: Array,
    labels: Array,
    tmp_path: Path,
    arguments: list[str],
    options: dict[str, Any],
) -> None:
    x, y = files(logits, labels)
    if "weight" in options:
        np.save(tmp_path / "w.npy", options["weight"])
        arguments = [*arguments, str(tmp_path / "w.npy")]
    values = run("eval", x, y, "--json", *arguments).json
    state = CrossEntropyState(**options).update(logits, labels)
    expected = expected_json(state)
    assert {name: values[name] for name in expected} == expected  # in full precision
    assert values["options"] == {
        "weight": None,
        "ignore_index": -100,
        "label_smoothing": 0.0,
        **options,
    }
    assert (values["logits"], values["labels"]) == ([x], [y])
    assert (values["classes"], values["dtype"], values["schema_version"]) == (CLASSES, "float32", 1)
    assert values["bytes_read"] == logits.nbytes
    assert values["gigabytes_per_second"] == values["bytes_read"] / values["seconds"] / 1e9
    assert values["threads"] == (1 if "--threads" in arguments else logloss.get_num_threads())
    assert set(values) == {
        *expected,
        "options",
        "logits",
        "labels",
        "classes",
        "dtype",
        "schema_version",
        "bytes_read",
        "seconds",
        "gigabytes_per_second",
        "threads",
    }


def test_table_of_eval(run: Run, files: Files) -> None:
    """Two classes: half of the samples lose log(2), the others log(4) and are no hits."""
    x = np.array([[0.0, 0.0]] * 50 + [[np.log(3.0), 0.0]] * 50 + [[9.0, 9.0]] * 3)
    y = np.array([0] * 50 + [1] * 50 + [-100] * 3)
    lines = run("eval", *files(x, y)).table
    error = math.log(2) / 2 / math.sqrt(99)
    assert lines["samples"] == "100"
    assert lines["ignored"] == "3"
    assert lines["mean loss"] == f"{1.5 * math.log(2):.3f} +- {error:.3f} nats"
    assert lines["perplexity"] == f"{2**1.5:.3f} +- {2**1.5 * error:.3f}"
    assert lines["bits"] == f"1.500 +- {error / math.log(2):.3f}"
    assert lines["top-1 accuracy"] == "50.00 % (50 of 100)"
    assert lines["logits"].endswith("x.npy (103 x 2), float64")
    assert lines["labels"].endswith("y.npy (103)")
    assert "GB/s (1.65 kB in " in lines["throughput"]
    assert f"threads: {logloss.get_num_threads()}" in lines["throughput"]
    assert "total weight" not in lines


def test_columns_are_aligned(run: Run, files: Files, logits: Array, labels: Array) -> None:
    out = run("eval", *files(logits, labels)).out
    starts = {len(line) - len(line.split("  ", 1)[1].lstrip()) for line in out.splitlines()}
    assert starts == {len("top-1 accuracy") + 2}


def test_axis(run: Run, files: Files, rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, CLASSES, 5)).astype(np.float16)
    y = rng.integers(0, CLASSES, (4, 5))
    expected = expected_json(CrossEntropyState().update(x, y, axis=1))
    paths = files(x, y)
    for axis in ("1", "-2"):
        values = run("eval", *paths, "--axis", axis, "--json").json
        assert {name: values[name] for name in expected} == expected
        assert values["dtype"] == "float16"


def test_bfloat16(run: Run, files: Files) -> None:
    raw = np.array([[0x3F80, 0xC000], [0x0000, 0x4040]], np.uint16).view("V2")
    paths = files(raw, np.array([0, 1]))
    run("eval", *paths).assert_error(3, "x.npy", "--dtype bfloat16")
    expected = CrossEntropyState().update(np.float32([[1, -2], [0, 3]]), [0, 1]).result()
    values = run("eval", *paths, "--dtype", "bfloat16", "--json").json
    assert (values["loss"], values["dtype"]) == (expected.loss, "bfloat16")


def test_shards(run: Run, files: Files, logits: Array, labels: Array, tmp_path: Path) -> None:
    expected = expected_json(CrossEntropyState().update(logits, labels))
    np.save(tmp_path / "all.npy", labels)
    for index, rows in enumerate(np.array_split(np.arange(SAMPLES), 11)):
        files(logits[rows], labels[rows], f"-{index}")
    for y in (f"{tmp_path}/y-*.npy", f"{tmp_path}/all.npy"):
        values = run("eval", f"{tmp_path}/x-*.npy", y, "--json").json
        assert {name: values[name] for name in expected} == expected
        assert [Path(path).stem for path in values["logits"]] == [f"x-{i}" for i in range(11)]
    lines = run("eval", f"{tmp_path}/x-*.npy", f"{tmp_path}/y-*.npy").table
    assert lines["logits"].endswith("x-0.npy ... x-10.npy (11 files), float32")
    assert lines["labels"].endswith("y-0.npy ... y-10.npy (11 files)")


def test_total_weight_is_shown_if_it_differs(run: Run, files: Files, tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", [0.5, 2.0])
    paths = files(np.zeros((4, 2), np.float32), np.array([0, 0, 0, 1]))
    assert run("eval", *paths, "--weight", tmp_path / "w.npy").table["total weight"] == "3.5"


def test_a_file_larger_than_a_block(
    run: Run, files: Files, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is that of one call, and the command does read it in several blocks."""
    x = rng.normal(size=(70_000, 256)).astype(np.float32)  # 72 MB, blocks are of 64 MiB
    y = rng.integers(0, 256, 70_000).astype(np.uint8)
    blocks = []
    monkeypatch.setattr(ProgressBar, "__call__", lambda self, progress: blocks.append(progress))
    values = run("eval", *files(x, y), "--json").json
    expected = expected_json(CrossEntropyState().update(x, y))
    assert {name: values[name] for name in expected} == expected
    assert len(blocks) == 2


def test_nan_and_inf_in_json_and_table(run: Run, files: Files) -> None:
    paths = files(np.array([[0.0, -np.inf]]), np.array([1]))
    values = run("eval", *paths, "--json").json
    assert (values["loss"], values["standard_error"]) == ("inf", None)
    assert run("eval", *paths).table["mean loss"] == "inf nats"
    paths = files(np.zeros((0, 3)), np.zeros(0, int))
    values = run("eval", *paths, "--json").json
    assert (values["samples"], values["loss"], values["gigabytes_per_second"]) == (0, None, None)
    lines = run("eval", *paths).table
    assert (lines["mean loss"], lines["top-1 accuracy"]) == ("nan nats", "nan")
    assert lines["throughput"].startswith("n/a ")


def test_threads_are_put_back(run: Run, files: Files, logits: Array, labels: Array) -> None:
    before = logloss.get_num_threads()
    assert run("eval", *files(logits, labels), "--threads", "3", "--json").json["threads"] == 3
    assert logloss.get_num_threads() == before


def test_names_that_the_terminal_cannot_show(
    files: Files, logits: Array, labels: Array, tmp_path: Path
) -> None:
    x, y = files(logits, labels)
    odd = tmp_path / "l\u00f6gits.npy"
    Path(x).rename(odd)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = execute("eval", odd, y, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "l\\xf6gits.npy" in done.stdout


# Errors


def test_missing_files_exit_with_2(run: Run, files: Files, tmp_path: Path) -> None:
    x, y = files(np.zeros((2, 3)), np.zeros(2, int))
    none = tmp_path / "none.npy"
    run("eval", none, y).assert_error(2, f"{none}: No such file or directory")
    run("eval", x, none).assert_error(2, f"{none}: No such file or directory")
    run("eval", x, y, "--weight", none).assert_error(2, f"{none}: No such file or directory")
    run("eval", f"{tmp_path}/z*", y).assert_error(2, f"{tmp_path}/z*: no file matches")
    (tmp_path / "empty").mkdir()
    run("eval", tmp_path / "empty", y).assert_error(2, "empty: the directory holds no .npy files")
    run("merge", none).assert_error(2, f"{none}: No such file or directory")
    run("merge", tmp_path).assert_error(2, f"{tmp_path}: Is a directory")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_unreadable_files_exit_with_2(run: Run, files: Files) -> None:
    x, y = files(np.zeros((2, 3)), np.zeros(2, int))
    Path(x).chmod(0)
    run("eval", x, y).assert_error(2, f"{x}: Permission denied")


@pytest.mark.parametrize(
    ("logits", "labels", "parts"),
    [
        (np.zeros((4, 3)), np.zeros(5, int), ("y.npy: labels of shape (5,) do not fit", "(4,)")),
        (np.zeros((4, 3)), np.array([0, 1, 3, 9]), ("y.npy: the label in row 2 is 3", "[0, 3)")),
        (np.zeros((4, 3)), np.array([0, -1, 0, 0]), ("the label in row 1 is -1",)),
        (np.zeros((4, 3)), np.zeros(4, np.uint64) + 2**63, (f"row 0 is {2**63}",)),
        (np.zeros((4, 3)), np.zeros(4), ("y.npy: labels must be integers, holds float64",)),
        (np.zeros((4, 3), int), np.zeros(4, int), ("x.npy: logits must be", "holds int64")),
        (np.zeros((4, 3), complex), np.zeros(4, int), ("holds complex128",)),
        (np.zeros(4), np.zeros(4, int), ("x.npy: logits need two axes or more",)),
        (np.zeros((4, 0)), np.zeros(4, int), ("x.npy: no classes",)),
    ],
)
def test_bad_data_exits_with_3(
    run: Run, files: Files, logits: Array, labels: Array, parts: tuple[str, ...]
) -> None:
    run("eval", *files(logits, labels)).assert_error(3, *parts)


def test_damaged_files_exit_with_3(run: Run, files: Files, tmp_path: Path) -> None:
    x, y = files(np.zeros((4, 3)), np.zeros(4, int))
    run("eval", x, y, "--axis", "2").assert_error(3, "no axis 2 in logits of shape (4, 3)")
    run("eval", x, y, "--weight", y).assert_error(3, "shape (4,), expected (3,)")
    run("eval", x, y, "--dtype", "bfloat16").assert_error(3, "holds float64")
    os.truncate(x, Path(x).stat().st_size - 1)
    run("eval", x, y).assert_error(3, f"{x}: truncated, has 95 of 96 bytes of data")
    Path(x).write_text("0.1,0.2,0.7\n")
    run("eval", x, y).assert_error(3, f"{x}: not a .npy file")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "required: COMMAND (see 'logloss --help')"),
        (["compare"], "invalid choice: 'compare'"),
        (["eval", "x.npy"], "required: LABELS (see 'logloss eval --help')"),
        (["eval", "x", "y", "z"], "unrecognized arguments: z"),
        (["eval", "x", "y", "--jso"], "unrecognized arguments: --jso"),
        (["eval", "x", "y", "--axis", "last"], "argument --axis: invalid int value: 'last'"),
        (["eval", "x", "y", "--ignore-index", "0.5"], "'0.5' is not a 64-bit integer"),
        (["eval", "x", "y", "--ignore-index", str(2**63)], "is not a 64-bit integer"),
        (["eval", "x", "y", "--label-smoothing", "1.1"], "'1.1' is not a number between 0 and 1"),
        (["eval", "x", "y", "--label-smoothing", "nan"], "'nan' is not a number between 0 and 1"),
        (["eval", "x", "y", "--threads", "0"], "'0' is not a positive integer"),
        (["eval", "x", "y", "--threads", "many"], "'many' is not a positive integer"),
        (["eval", "x", "y", "--dtype", "float16"], "argument --dtype: invalid choice"),
        (["merge"], "required: STATE"),
        (["demo", "now"], "unrecognized arguments: now"),
        (["info", "--xml"], "unrecognized arguments: --xml"),
    ],
)
def test_wrong_usage_exits_with_2(run: Run, arguments: list[str], part: str) -> None:
    run(*arguments).assert_error(2, part)


def test_errors_of_the_real_command_are_one_line(files: Files) -> None:
    x, y = files(np.zeros((4, 3)), np.array([0, 1, 2, 3]))
    bad = execute("eval", x, y)
    assert (bad.returncode, bad.stdout) == (3, "")
    assert bad.stderr == (
        f"logloss: error: {y}: the label in row 3 is 3, outside [0, 3) "
        "and not the ignore index -100\n"
    )
    missing = execute("eval", x, "nowhere.npy")
    assert missing.returncode == 2
    assert missing.stderr == "logloss: error: nowhere.npy: No such file or directory\n"


# Saved states


def test_merged_states_have_the_bits_of_one_run(
    run: Run, files: Files, logits: Array, labels: Array, tmp_path: Path
) -> None:
    states = [str(tmp_path / f"{index}.state") for index in range(3)]
    for index, rows in enumerate(np.array_split(np.arange(SAMPLES), 3)):
        paths = files(logits[rows], labels[rows], f"-{index}")
        assert execute("eval", *paths, "--save-state", states[index]).returncode == 0
    whole = CrossEntropyState().update(logits, labels)
    merged = tmp_path / "merged"
    values = run("merge", *reversed(states), "--json", "--save-state", merged).json
    assert merged.read_bytes() == whole.to_bytes()
    assert values == {
        "schema_version": 1,
        **expected_json(whole),
        "options": {"weight": None, "ignore_index": -100, "label_smoothing": 0.0},
        "states": states[::-1],
    }
    assert run("merge", *states).table == {"states": "3", **dict(result_lines(whole.result()))}
    assert run("merge", merged, "--json").json["loss"] == whole.result().loss
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".npy") == [
        "0.state",
        "1.state",
        "2.state",
        "merged",
    ]


def test_states_that_cannot_be_merged(
    run: Run, files: Files, logits: Array, labels: Array, tmp_path: Path
) -> None:
    paths = files(logits, labels)
    plain, smooth = tmp_path / "plain", tmp_path / "smooth"
    assert run("eval", *paths, "--save-state", plain).code == 0
    assert run("eval", *paths, "--save-state", smooth, "--label-smoothing", "0.1").code == 0
    run("merge", plain, smooth).assert_error(3, "plain", "smooth: cannot merge", "label_smoothing")
    run("merge", plain, tmp_path / "." / "plain").assert_error(2, "is given twice")
    run("merge", plain, paths[0]).assert_error(3, f"{paths[0]}: not a saved logloss state")
    smooth.write_bytes(smooth.read_bytes()[:-7])
    run("merge", smooth).assert_error(3, "smooth: the saved state is cut short")


def test_a_state_is_saved_where_it_does_no_harm(
    run: Run, files: Files, logits: Array, labels: Array, tmp_path: Path
) -> None:
    x, y = files(logits, labels)
    before = Path(x).read_bytes()
    run("eval", x, y, "--save-state", x).assert_error(2, "exists and is not a saved state")
    run("eval", x, y, "--save-state", tmp_path).assert_error(2, "not a regular file")
    run("eval", x, y, "--save-state", tmp_path / "no" / "s").assert_error(2, "no directory")
    assert Path(x).read_bytes() == before
    state = tmp_path / "s"
    assert run("eval", x, y, "--save-state", state).code == 0
    assert run("eval", x, y, "--save-state", state, "--ignore-index", "1").code == 0  # its own kind
    assert CrossEntropyState.from_bytes(state.read_bytes()).ignore_index == 1
    run("merge", state, "--save-state", y).assert_error(2, "exists and is not a saved state")
    files(logits, labels + CLASSES)
    kept = state.read_bytes()
    assert run("eval", x, y, "--save-state", state).code == 3
    assert state.read_bytes() == kept


# demo, info, help


def test_demo_shows_a_command_that_works(run: Run) -> None:
    outcome = run("demo")
    assert (outcome.code, outcome.err) == (0, "")
    (command,) = [line[2:] for line in outcome.out.splitlines() if line.startswith("$ ")]
    assert command.startswith("logloss eval ")
    values = run(*command.split()[1:], "--json").json
    assert (values["samples"], values["classes"]) == (899, 10)
    assert values["accuracy"] > 0.95
    assert 0.15 < values["loss"] < 0.25
    shown = run(*command.split()[1:]).table
    for name in ("samples", "mean loss", "perplexity", "top-1 accuracy"):
        assert f"{name:<14}  {shown[name]}\n" in outcome.out
    assert "logloss eval LOGITS.npy LABELS.npy" in outcome.out


def test_demo_data_is_what_its_script_makes(tmp_path: Path) -> None:
    """Another version of scikit-learn may stop a little elsewhere: the optimum, not the bits."""
    pytest.importorskip("sklearn")
    data = Path(cli.__file__).parent / "data"
    subprocess.run([sys.executable, data / "make_digits.py", tmp_path], check=True)
    kept, made = np.load(data / "digits_logits.npy"), np.load(tmp_path / "digits_logits.npy")
    assert kept.dtype == made.dtype == np.float32
    np.testing.assert_allclose(made, kept, rtol=0, atol=1e-3)
    made_labels = np.load(tmp_path / "digits_labels.npy")
    assert made_labels.dtype == np.uint8
    assert np.array_equal(made_labels, np.load(data / "digits_labels.npy"))
    assert sum(path.stat().st_size for path in data.glob("*.npy")) < 50_000


def test_info(run: Run) -> None:
    assert run("info", "--json").json == json.loads(json.dumps(logloss.config()))
    lines = run("info").table
    assert lines["version"] == logloss.__version__
    assert len(lines) == len(logloss.config())


def test_version_and_help(run: Run) -> None:
    version = run("--version")
    assert (version.code, version.out) == (0, f"logloss {logloss.__version__}\n")
    overview = run("--help")
    assert overview.code == 0
    for command in ("eval", "merge", "demo", "info"):
        assert f"\n    {command}" in overview.out
        outcome = run(command, "--help")
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.startswith(f"usage: logloss {command}")
    for part in ("\n  0 ", "\n  2 ", "\n  3 ", "\n  130 ", 'nan is null, infinities are "inf"'):
        assert part in overview.out


def test_both_ways_to_start_it() -> None:
    module = execute("--version")
    assert (module.returncode, module.stdout) == (0, f"logloss {logloss.__version__}\n")
    script = Path(sys.executable).parent / "logloss"
    if not script.exists():
        pytest.skip("logloss is not installed beside this Python")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == module.stdout


# Manners


def test_a_reader_that_leaves_is_no_error() -> None:
    """As `logloss demo | head -1`, and also for text that argparse prints."""
    for arguments in (["demo"], ["eval", "--help"]):
        process = subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0
        process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error() -> None:
    for arguments in (["info"], ["--help"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True
            )
        assert done.returncode == 2
        assert done.stderr == ("logloss: error: cannot write the output: No space left on device\n")


def test_interrupted(
    run: Run, files: Files, logits: Array, labels: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **options: object) -> Evaluation:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "evaluate", interrupted)
    run("eval", *files(logits, labels)).assert_error(130, "interrupted")


def read_all(terminal: int) -> bytes:
    """Everything written to a pseudo-terminal whose other end has been closed."""
    chunks = []
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # Linux reports the closed end so
            chunk = b""
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)


def start_on_terminal(*arguments: object) -> tuple[subprocess.Popen[str], int]:
    """Start the command with a pseudo-terminal for stderr; give it and our end of the terminal."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *(str(argument) for argument in arguments)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    return process, ours


def test_progress_is_drawn_on_a_terminal_and_wiped(
    files: Files, logits: Array, labels: Array
) -> None:
    paths = files(logits, labels)
    for option, drawn in (((), True), (("--no-progress",), False)):
        process, terminal = start_on_terminal("eval", *paths, "--json", *option)
        out, _ = process.communicate(timeout=60)
        text = read_all(terminal)
        os.close(terminal)
        assert process.returncode == 0
        assert json.loads(out)["samples"] == SAMPLES
        if drawn:
            assert text.startswith(b"\r[####")
            assert b" 100 % of 12 kB" in text
            assert text.endswith(b"\r\x1b[K")
            assert b"\n" not in text
        else:
            assert text == b""


@pytest.mark.skipif(sys.platform != "linux", reason="needs sparse files")
def test_ctrl_c_in_the_middle_of_a_run(tmp_path: Path) -> None:
    """A file of 16 GiB, all holes, is interrupted as soon as its first block is done."""
    samples, classes = 2**17, 2**16
    header = {"descr": "<f2", "fortran_order": False, "shape": (samples, classes)}
    with (tmp_path / "x.npy").open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, header)
        handle.truncate(handle.tell() + samples * classes * 2)
    np.save(tmp_path / "y.npy", np.zeros(samples, np.uint8))
    state = tmp_path / "state"
    process, terminal = start_on_terminal(
        "eval", tmp_path / "x.npy", tmp_path / "y.npy", "--save-state", state
    )
    seen = os.read(terminal, 5)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    seen += read_all(terminal)
    os.close(terminal)
    assert (process.returncode, out) == (130, "")
    assert seen.startswith(b"\r[")
    assert seen.endswith(b"\r\x1b[Klogloss: error: interrupted\r\n")
    assert not state.exists()
