# SPDX-License-Identifier: BSD-3-Clause
"""
The CUDA kernels beside torch and a plain copy, as shares of the bandwidth of the GPU's memory.

For a machine with a GPU, torch with CUDA, and `logloss._cuda` (-DLOGLOSS_CUDA=ON)::

    python -m bench.cuda [--peak BYTES_PER_SECOND] [--json FILE]

Each line is one operation and shape: the bytes that it must move, over the median time of calls
whose order is shuffled in each round, in per cent of the peak. Without ``--peak`` the peak is that
of the device's data sheet where it is known, else of the copy.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Call = Callable[[], object]

PEAKS = {"H100 PCIe": 2.04e12, "H100": 3.35e12, "H200": 4.8e12, "A100": 2.04e12, "B200": 8.0e12}
CODES = {"float16": 0, "bfloat16": 1, "float32": 2, "float64": 3}
SHAPES = (
    (1 << 23, 10),
    (1 << 20, 128),
    (32768, 1000),
    (16384, 4096),
    (8192, 32000),
    (2048, 128256),
    # Few rows, which must keep the whole GPU busy all the same.
    (8, 1 << 22),
    (1, 50_000_000),
)
ELEMENTS = 1 << 26
ROUNDS = 20


@dataclass(frozen=True)
class Case:
    """Two calls of one operation, and the bytes that it must move."""

    name: str
    bytes: int
    ours: Call
    torch: Call


def row_cases(torch: Any, cuda: Any, rows: int, classes: int, dtype: str) -> list[Case]:
    """Losses and softmax of (rows, classes)."""
    x = 3 * torch.randn(rows, classes, device="cuda", dtype=getattr(torch, dtype))
    y = torch.randint(0, classes, (rows,), device="cuda")
    out, trained = torch.empty_like(x), x.clone().requires_grad_()
    loss = torch.empty(
        rows, device="cuda", dtype=torch.float64 if dtype == "float64" else torch.float32
    )
    code, shape, size = CODES[dtype], (rows, classes, 1), x.numel() * x.element_size()
    stream = torch.cuda.current_stream().cuda_stream
    functional = torch.nn.functional

    def cross_entropy(grad: int) -> Call:
        return lambda: cuda.cross_entropy(
            code,
            shape,
            x.data_ptr(),
            target=y.data_ptr(),
            loss=loss.data_ptr(),
            grad=grad,
            stream=stream,
        )

    def with_gradient() -> None:
        trained.grad = None
        functional.cross_entropy(trained, y, reduction="sum").backward()

    def softmax(function: Callable[..., None]) -> Call:
        return lambda: function(code, shape, x.data_ptr(), out.data_ptr(), stream=stream)

    label = f"{rows} x {classes} {dtype}"
    return [
        Case(
            f"cross_entropy {label}",
            size,
            cross_entropy(0),
            lambda: functional.cross_entropy(x, y, reduction="none"),
        ),
        Case(
            f"cross_entropy + gradient {label}",
            2 * size,
            cross_entropy(out.data_ptr()),
            with_gradient,
        ),
        Case(
            f"log_softmax {label}",
            2 * size,
            softmax(cuda.log_softmax),
            lambda: functional.log_softmax(x, 1),
        ),
        Case(f"softmax {label}", 2 * size, softmax(cuda.softmax), lambda: functional.softmax(x, 1)),
    ]


def element_cases(torch: Any, cuda: Any, n: int, dtype: str) -> list[Case]:
    """Element-wise functions; losses, summed, with gradient."""
    x = 3 * torch.randn(n, device="cuda", dtype=getattr(torch, dtype))
    y = torch.rand(n, device="cuda").to(x.dtype)
    grad, trained = torch.empty_like(x), x.clone().requires_grad_()
    total = torch.zeros(cuda.SUM_STATE_BYTES // 8, device="cuda", dtype=torch.int64)
    stream, size = torch.cuda.current_stream().cuda_stream, n * x.element_size()
    functional = torch.nn.functional

    def summed(function: Callable[..., None], out: int) -> Call:
        return lambda: function(
            CODES[dtype],
            n,
            x.data_ptr(),
            y.data_ptr(),
            sum=total.data_ptr(),
            grad=out,
            stream=stream,
        )

    def trained_with(function: Callable[..., Any]) -> Call:
        def call() -> None:
            trained.grad = None
            function(trained, y, reduction="sum").backward()

        return call

    cases = [
        Case(
            f"{name} {n} {dtype}",
            2 * size,
            lambda f=ours: f(CODES[dtype], n, x.data_ptr(), grad.data_ptr(), stream=stream),
            lambda f=theirs: f(x),
        )
        for name, ours, theirs in (
            ("sigmoid", cuda.sigmoid, functional.sigmoid),
            ("log_sigmoid", cuda.log_sigmoid, functional.logsigmoid),
        )
    ]
    for name, theirs in (
        ("binary_cross_entropy_with_logits", functional.binary_cross_entropy_with_logits),
        ("kl_div", functional.kl_div),
    ):
        function = getattr(cuda, name)
        label = f"{n} {dtype}"
        cases += [
            Case(
                f"{name} {label}",
                2 * size,
                summed(function, 0),
                lambda f=theirs: f(x, y, reduction="sum"),
            ),
            Case(
                f"{name} + gradient {label}",
                3 * size,
                summed(function, grad.data_ptr()),
                trained_with(theirs),
            ),
        ]
    return cases


def seconds(torch: Any, calls: list[Call]) -> list[float]:
    """Median time of each call; all of them in each round, in a new order."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for i in random.sample(range(len(calls)), len(calls)):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            calls[i]()
            end.record()
            end.synchronize()
            times[i].append(start.elapsed_time(end) / 1e3)
    return [statistics.median(series[2:]) for series in times]


def copy_bandwidth(torch: Any) -> float:
    """Bytes per second that a plain copy reads and writes."""
    a = torch.empty(1 << 28, device="cuda")
    b = torch.empty_like(a)
    return 2 * a.numel() * a.element_size() / seconds(torch, [lambda: b.copy_(a)])[0]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peak", type=float, help="bytes per second of the GPU's memory")
    parser.add_argument("--json", type=Path, help="where the numbers go too")
    options = parser.parse_args()
    try:
        import torch

        from logloss import _cuda as cuda

        torch.cuda.init()
    except (ImportError, RuntimeError, AssertionError) as error:
        print(
            f"bench.cuda needs a GPU, torch with CUDA and logloss._cuda: {error}", file=sys.stderr
        )
        return 1
    device = cuda.device_name(torch.cuda.current_device())
    copy = copy_bandwidth(torch)
    peak = options.peak or next((rate for name, rate in PEAKS.items() if name in device), copy)
    print(f"{device}: peak {peak / 1e12:.2f} TB/s, copy {100 * copy / peak:.0f} % of it")
    print(f"{'':56}{'ms':>9}{'% of peak':>11}{'torch ms':>10}{'ratio':>7}")
    table = []
    for dtype in ("float32", "bfloat16"):
        cases = [c for shape in SHAPES for c in row_cases(torch, cuda, *shape, dtype)]
        for case in cases + element_cases(torch, cuda, ELEMENTS, dtype):
            ours, theirs = seconds(torch, [case.ours, case.torch])
            share = 100 * case.bytes / ours / peak
            times = f"{1e3 * theirs:10.3f}{theirs / ours:7.1f}"
            print(f"{case.name:56}{1e3 * ours:9.3f}{share:11.1f}{times}")
            table.append({"case": case.name, "seconds": ours, "share": share, "torch": theirs})
    if options.json:
        result = {"device": device, "peak": peak, "copy": copy, "cases": table}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
