# SPDX-License-Identifier: BSD-3-Clause
"""Print how far losses are from the exact value: ``python -m bench.accuracy``.

Every figure is the largest error in ulp over float32 rows of random logits, the target's logit
raised above the others by the margin; the exact value is a long double without cancellation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

import logloss

CLASSES = 1000
ROWS = 512
DEVIATION = 3.0
MARGINS = (None, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0)

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


def largest_error(loss: Loss, margin: float | None) -> float:
    """Return the largest error in float32 ulps."""
    logits, target = rows(margin)
    exact = exact_loss(logits, target)
    ulp = np.spacing(exact.astype(np.float32)).astype(np.longdouble)
    return float((np.abs(loss(logits, target) - exact) / ulp).max())


def losses() -> Iterator[tuple[str, Loss]]:
    """Yield logloss, then the peers that are installed."""
    yield "logloss", lambda x, y: np.asarray(logloss.cross_entropy(x, y, reduction="none"))
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


def main() -> None:
    """Print the table."""
    columns = list(losses())
    print(f"cross-entropy, float32, C = {CLASSES}, largest error of {ROWS} rows in ulp")
    print("margin    " + "".join(f"{name:>12}" for name, _ in columns))
    for margin in MARGINS:
        errors = (largest_error(loss, margin) for _, loss in columns)
        label = "none" if margin is None else f"{margin:g}"
        print(f"{label:<10}" + "".join(f"{error:>12.3g}" for error in errors))


if __name__ == "__main__":
    main()
