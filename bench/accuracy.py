# SPDX-License-Identifier: BSD-3-Clause
"""Print how far losses are from the exact value: ``python -m bench.accuracy``.

Every figure is the largest error in ulp over float32 rows of random logits, the target's logit
raised above the others by the margin; the exact value is a long double without cancellation.
``--many`` looks for the rare large error of logloss alone, in millions of rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

import logloss

CLASSES = 1000
ROWS = 512
DEVIATION = 3.0
MARGINS = (None, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0)

PROMISED = 2.0
# Of --many: rows of so many classes, in batches of so many elements for each deviation of logits.
MANY_CLASSES = (2, 10, 32, 40, 64, 128, 256, 512, 1000)
MANY_DEVIATIONS = (1, 2, 3, 5, 10)
MANY_BATCHES = 8
MANY_ELEMENTS = 1 << 20

Logits = NDArray[np.float32]
Target = NDArray[np.int64]
Loss = Callable[[Logits, Target], NDArray[np.float32]]


def rows(margin: float | None) -> tuple[Logits, Target]:
    """Random logits and targets; with a margin, every target is the maximum by that much."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, DEVIATION, (ROWS, CLASSES)).astype(np.float32)
    target = rng.integers(0, CLASSES, ROWS)
    if margin is not None:
        logits[np.arange(ROWS), target] = logits.max(axis=1) + np.float32(margin)
    return logits, target


def exact_loss(logits: Logits, target: Target) -> NDArray[np.longdouble]:
    """Per-sample cross-entropy: the maximum is left out of the sum, nothing cancels."""
    x = logits.astype(np.longdouble)
    below = x.max(axis=1, keepdims=True) - x
    others = np.exp(-below)
    others[np.arange(len(x)), below.argmin(axis=1)] = 0
    return below[np.arange(len(x)), target] + np.log1p(others.sum(axis=1))


def errors(loss: Loss, logits: Logits, target: Target) -> NDArray[np.longdouble]:
    """Return the error of each row in float32 ulps."""
    exact = exact_loss(logits, target)
    ulp = np.spacing(exact.astype(np.float32)).astype(np.longdouble)
    return np.asarray(np.abs(loss(logits, target) - exact) / ulp)


def largest_error(loss: Loss, margin: float | None) -> float:
    """Return the largest error in float32 ulps."""
    return float(errors(loss, *rows(margin)).max())


def logloss_loss(logits: Logits, target: Target) -> NDArray[np.float32]:
    """Per-sample cross-entropy by logloss."""
    return np.asarray(logloss.cross_entropy(logits, target, reduction="none"))


def losses() -> Iterator[tuple[str, Loss]]:
    """Yield logloss, then the peers that are installed."""
    yield "logloss", logloss_loss
    try:
        import torch
    except ImportError:
        pass
    else:
        yield (
            "torch",
            lambda x, y: torch.nn.functional.cross_entropy(
                torch.from_numpy(x), torch.from_numpy(y), reduction="none"
            ).numpy(),
        )
    try:
        from scipy.special import log_softmax
    except ImportError:
        pass
    else:
        yield "scipy", lambda x, y: -log_softmax(x, axis=1)[np.arange(len(x)), y]


def print_largest_errors() -> None:
    """Print the largest error by margin, of logloss and its peers."""
    columns = list(losses())
    print(f"cross-entropy, float32, C = {CLASSES}, largest error of {ROWS} rows in ulp")
    print("margin    " + "".join(f"{name:>12}" for name, _ in columns))
    for margin in MARGINS:
        largest = (largest_error(loss, margin) for _, loss in columns)
        label = "none" if margin is None else f"{margin:g}"
        print(f"{label:<10}" + "".join(f"{error:>12.3g}" for error in largest))


def print_errors_of_many_rows() -> None:
    """Print the largest error by number of classes, and how often one is beyond the promise."""
    print("cross-entropy, float32, the most likely class as target, errors of logloss in ulp")
    print(f"classes        rows        mean     largest    beyond {PROMISED:g}")
    for classes in MANY_CLASSES:
        rng = np.random.default_rng(classes)
        found = []
        for deviation in MANY_DEVIATIONS * MANY_BATCHES:
            shape = (MANY_ELEMENTS // classes, classes)
            logits = rng.standard_normal(shape, np.float32) * np.float32(deviation)
            found.append(errors(logloss_loss, logits, logits.argmax(axis=1)).astype(np.float32))
        error = np.concatenate(found)
        beyond = np.count_nonzero(error > PROMISED)
        print(f"{classes:<7}{error.size:>12}{error.mean():>12.3f}{error.max():>12.2f}{beyond:>12}")


def main() -> None:
    """Print the one table or the other."""
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=main.__doc__)
    parser.add_argument("--many", action="store_true", help="errors of millions of confident rows")
    print_errors_of_many_rows() if parser.parse_args().many else print_largest_errors()


if __name__ == "__main__":
    main()
