# SPDX-License-Identifier: BSD-3-Clause
"""
Make the data of ``logloss demo``: logits of a digit classifier on images it has not seen.

Half of the 1797 images of handwritten digits that come with scikit-learn train a multinomial
logistic regression; its logits on the other half, and their labels, are written beside this file:

    digits_logits.npy    float32 (899, 10), the decision function
    digits_labels.npy    uint8   (899,)

The images are the test part of "Optical Recognition of Handwritten Digits", E. Alpaydin and
C. Kaynak, 1998, UCI Machine Learning Repository, CC BY 4.0,
https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits

Needs scikit-learn, which logloss itself does not: ``python make_digits.py [DIRECTORY]``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

if TYPE_CHECKING:
    from numpy.typing import NDArray


def make_digits() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the logits and the labels of the test half."""
    images, labels = load_digits(return_X_y=True)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images / 16.0, labels, test_size=0.5, random_state=0, stratify=labels
    )
    model = LogisticRegression(C=1.0, tol=1e-8, max_iter=10_000)
    model.fit(train_images, train_labels)
    return model.decision_function(test_images).astype(np.float32), test_labels.astype(np.uint8)


def main() -> None:
    """Write both files into the directory named on the command line, or beside this file."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    logits, labels = make_digits()
    np.save(directory / "digits_logits.npy", logits)
    np.save(directory / "digits_labels.npy", labels)


if __name__ == "__main__":
    main()
