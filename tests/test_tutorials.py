# SPDX-License-Identifier: BSD-3-Clause
"""Numbers that tutorials on torch print, from the inputs that they print, to half a unit of the
last digit printed.

Each loss is called in its four forms: as a function and as a class, alone and with its gradient.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pytest

import logloss
import reference as ref
from grid import promised
from ulp import Array, assert_ulp, ulp

FUNCTIONS = {
    "CrossEntropyLoss": "cross_entropy",
    "NLLLoss": "nll_loss",
    "BCELoss": "binary_cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "KLDivLoss": "kl_div",
    "CosineEmbeddingLoss": "cosine_embedding_loss",
}

# loss("NLLLoss", input, target, reduction="sum")
Loss = Callable[..., Any]


@pytest.fixture(params=("function", "function_value_and_grad", "class", "class_value_and_grad"))
def loss(request: pytest.FixtureRequest) -> Loss:
    """The value of a loss, named by its class, in each of the forms."""

    def call(name: str, *arrays: Any, **options: Any) -> Any:
        if request.param == "function":
            return getattr(logloss, FUNCTIONS[name])(*arrays, **options)
        if request.param == "function_value_and_grad":
            return getattr(logloss, f"{FUNCTIONS[name]}_value_and_grad")(*arrays, **options)[0]
        criterion = getattr(logloss, name)(**options)
        if request.param == "class":
            return criterion(*arrays)
        return criterion.value_and_grad(*arrays)[0]

    return call


def softmaxes(input: Array, axis: int) -> list[Array]:
    """By the function and by the class."""
    return [logloss.softmax(input, axis), logloss.Softmax(dim=axis)(input)]


def check_printed(actual: Any, printed: str, slope: float = 0.0) -> None:
    """All numbers of `actual`, in order, are the printed ones; nan and the sign of zero count.

    Logits of random numbers were rounded when they were printed, to the same digits as the results:
    where they move together by up to half a unit, a result moves by up to `slope` times that.
    """
    found, texts = np.ravel(actual).astype(np.float64), printed.split()
    assert found.size == len(texts)
    for number, text in zip(found.tolist(), texts, strict=True):
        exact = Decimal(text)
        if exact.is_nan() or exact.is_zero():
            assert str(number) == str(float(text))
            continue
        half = Decimal(1).scaleb(exact.as_tuple().exponent) / 2
        off = abs(Decimal(number) - exact)
        assert off <= half * (1 + Decimal(slope)), f"{number!r} is not {text}"


class Row(NamedTuple):
    """A call, what the tutorial prints for it, and the slope for `check_printed`."""

    call: Callable[[Loss], Any]
    printed: str
    slope: float = 0.0


def table(rows: dict[str, Row]) -> Any:
    """A test of each row."""
    return pytest.mark.parametrize("row", rows.values(), ids=rows.keys())


# ----------------------------------------- CrossEntropyLoss, BCELoss and BCEWithLogitsLoss in steps

LOGITS = np.float32(
    [
        [-0.6722, 0.0933, -0.7828, -0.5380, -0.3814],
        [-1.0644, -0.0649, 0.6899, -0.5077, -0.4502],
        [-1.7857, -0.0663, 0.4620, 0.8843, -0.4773],
    ]
)
LABELS = np.array([1, 0, 1])
SCORES, NEGATIVE = np.float32([0.2211, 0.8756, 2.4896]), np.zeros(3, np.float32)
OTHER_SCORES, BINARY = np.float32([0.5454, 0.9473, -0.5845]), np.float32([1, 0, 0])

IN_STEPS = {
    "cross entropies": Row(
        lambda loss: loss("CrossEntropyLoss", LOGITS, LABELS, reduction="none"),
        "1.1104 2.5718 1.8125",
        2,
    ),
    "cross entropy": Row(lambda loss: loss("CrossEntropyLoss", LOGITS, LABELS), "1.8316", 2),
    "softmax": Row(
        lambda loss: softmaxes(LOGITS, 1),
        2
        * """
        0.1532 0.3294 0.1372 0.1752 0.2049
        0.0764 0.2076 0.4415 0.1333 0.1412
        0.0293 0.1632 0.2769 0.4224 0.1082
        """,
        0.5,
    ),
    "-log(softmax)": Row(lambda loss: -np.log(logloss.softmax(LOGITS, 1))[0, 1], "1.1104", 2),
    "-log_softmax": Row(lambda loss: -logloss.log_softmax(LOGITS, 1)[0, 1], "1.1104", 2),
    "nll_loss of the first": Row(
        lambda loss: loss("NLLLoss", logloss.log_softmax(LOGITS, 1), LABELS, reduction="none")[0],
        "1.1104",
        2,
    ),
    "nll_losses": Row(
        lambda loss: loss("NLLLoss", logloss.LogSoftmax(dim=1)(LOGITS), LABELS, reduction="none"),
        "1.1104 2.5718 1.8125",
        2,
    ),
    "nll_loss": Row(
        lambda loss: loss("NLLLoss", logloss.log_softmax(LOGITS, 1), LABELS), "1.8316", 2
    ),
    "BCELosses": Row(
        lambda loss: loss("BCELoss", logloss.sigmoid(SCORES), NEGATIVE, reduction="none"),
        "0.8098 1.2238 2.5693",
        1,
    ),
    "BCELoss": Row(lambda loss: loss("BCELoss", logloss.sigmoid(SCORES), NEGATIVE), "1.5343", 1),
    "sigmoid": Row(lambda loss: logloss.sigmoid(SCORES), "0.5551 0.7059 0.9234", 0.25),
    "-log(sigmoid)": Row(
        lambda loss: [-np.log(logloss.sigmoid(SCORES)), -logloss.log_sigmoid(SCORES)],
        2 * "0.5887 0.3483 0.0797 ",
        1,
    ),
    "-log(1 - sigmoid)": Row(
        lambda loss: [-np.log(1 - logloss.sigmoid(SCORES)), -logloss.log_sigmoid(-SCORES)],
        2 * "0.8098 1.2238 2.5693 ",
        1,
    ),
    "BCEWithLogitsLosses": Row(
        lambda loss: loss("BCEWithLogitsLoss", OTHER_SCORES, BINARY, reduction="none"),
        "0.4572 1.2750 0.4430",
        1,
    ),
    "BCEWithLogitsLoss": Row(
        lambda loss: loss("BCEWithLogitsLoss", OTHER_SCORES, BINARY), "0.7251", 1
    ),
    "BCEWithLogitsLoss of the sum": Row(
        lambda loss: loss("BCEWithLogitsLoss", OTHER_SCORES, BINARY, reduction="sum") / 3,
        "0.7251",
        1,
    ),
}


@table(IN_STEPS)
def test_losses_in_steps(row: Row, loss: Loss) -> None:
    check_printed(row.call(loss), row.printed, row.slope)


# ------------------------------------------------------- the formula of CrossEntropyLoss, by trial

EQUAL_ROWS = np.tile(np.float32([0.1234, 0.5555, 0.3211]), (3, 1))
EACH_CLASS = np.array([0, 1, 2])

BY_TRIAL = {
    "cross entropy": Row(lambda loss: loss("CrossEntropyLoss", EQUAL_ROWS, EACH_CLASS), "1.1142"),
    # The wrong formula: the input as probabilities, and each loss three times.
    "without the softmax": Row(
        lambda loss: loss("NLLLoss", 3 * np.log(EQUAL_ROWS), EACH_CLASS), "3.8162"
    ),
    "-input + log(sum(exp))": Row(
        lambda loss: np.mean(logloss.logsumexp(EQUAL_ROWS, 1) - EQUAL_ROWS[EACH_CLASS, EACH_CLASS]),
        "1.1142",
    ),
    "LogSoftmax and NLLLoss": Row(
        lambda loss: loss("NLLLoss", logloss.LogSoftmax()(EQUAL_ROWS), EACH_CLASS), "1.1142"
    ),
}


@table(BY_TRIAL)
def test_formula_by_trial(row: Row, loss: Loss) -> None:
    check_printed(row.call(loss), row.printed)


# ------------------------------------------------------- three functions, checked with a calculator

PAIR = np.array([[1.0, 2], [1, 4]])
POINT_8, POINT_4 = np.ones((3, 2), np.float32) * 0.8, np.ones((3, 2), np.float32) * 0.4

BY_CALCULATOR = {
    "cross_entropy": Row(lambda loss: loss("CrossEntropyLoss", PAIR, np.array([0, 1])), "0.6809"),
    "binary_cross_entropy": Row(lambda loss: loss("BCELoss", POINT_8, POINT_4), "1.0549"),
    "binary_cross_entropy_with_logits": Row(
        lambda loss: loss("BCEWithLogitsLoss", POINT_8, POINT_4, reduction="sum"), "5.1066"
    ),
}


@table(BY_CALCULATOR)
def test_functions_by_calculator(row: Row, loss: Loss) -> None:
    result = row.call(loss)
    check_printed(result, row.printed)
    assert isinstance(result, float)  # whatever the dtype of the input


# -------------------------------------------------------------- every option of CrossEntropyLoss

FOUR = np.float32([[7.4, 2.8, -0.6, 6.3], [-1.9, 4.2, 3.9, 5.1], [9.3, -5.3, 7.2, -8.4]])
INDICES = np.array([3, 0, 2])
THREE = np.float32([[7.4, 2.8, -0.6], [6.3, -1.9, 4.2]])
TARGET_LOGITS = np.float32([[3.9, 5.1, 9.3], [-5.3, 7.2, -8.4]])
ROUNDED_Q = np.array([0.98972, 0.0099485, 0.00033201, 0.89069, 0.10907])
ROUNDED_P = np.array([0.0044301, 0.014709, 0.98086, 0.0000037266, 0.00000016788])
NOTHING = np.zeros(0, np.float32)

DEFAULTS: dict[str, Any] = {
    "weight": None,
    "ignore_index": -100,
    "reduction": "mean",
    "label_smoothing": 0.0,
}


def of_indices(**options: Any) -> Callable[[Loss], Any]:
    return lambda loss: loss("CrossEntropyLoss", FOUR, INDICES, **options)


def of_probabilities(**options: Any) -> Callable[[Loss], Any]:
    def call(loss: Loss) -> list[Any]:
        found = [loss("CrossEntropyLoss", THREE, p, **options) for p in softmaxes(TARGET_LOGITS, 1)]
        np.testing.assert_array_equal(*found)
        return found[0]

    return call


def of_nothing(reduction: str) -> Callable[[Loss], Any]:
    def call(loss: Loss) -> Any:
        return loss("CrossEntropyLoss", NOTHING, logloss.softmax(NOTHING, 0), reduction=reduction)

    return call


EVERY_OPTION = {
    "softmax": Row(
        lambda loss: softmaxes(FOUR, 1),
        2
        * """
        0.74446 0.0074832 0.00024974 0.24781
        0.00053368 0.23794 0.17627 0.58525
        0.8909 0.00000040657 0.1091 0.000000018315
        """,
    ),
    "indices": Row(of_indices(), "3.7154"),
    "indices, defaults": Row(of_indices(**DEFAULTS), "3.7154"),
    "indices, sum": Row(of_indices(reduction="sum"), "11.1463"),
    "indices, none": Row(of_indices(reduction="none"), "1.3951 7.5357 2.2155"),
    "indices, weight": Row(of_indices(weight=np.float32([0, 1, 2, 3])), "1.7233"),
    "indices, ignore_index": Row(of_indices(ignore_index=2), "4.4654"),
    "indices, label_smoothing": Row(of_indices(label_smoothing=0.8), "4.8088"),
    "softmax of the input": Row(
        lambda loss: softmaxes(THREE, 1),
        2 * " 0.98972 0.0099485 0.00033201 0.89069 0.00024463 0.10907",
    ),
    "softmax of the target": Row(
        lambda loss: softmaxes(TARGET_LOGITS, 1),
        2 * " 0.0044301 0.014709 0.98086 0.0000037266 1.0 0.00000016788",
    ),
    # log(q) p from the factors as they are printed, by binary cross-entropies of 1 with weights;
    # but the second row's second, which the tutorial has from the factors before rounding.
    "terms": Row(
        lambda loss: -loss("BCELoss", ROUNDED_Q, np.ones(5), weight=ROUNDED_P, reduction="none"),
        "-0.00004578 -0.0678 -7.857 -0.00000043139 -0.00000037198",
    ),
    "term": Row(
        lambda loss: logloss.log_softmax(THREE, 1)[1, 1] * logloss.softmax(TARGET_LOGITS, 1)[1, 1],
        "-8.3157",
    ),
    "probabilities": Row(of_probabilities(), "8.1203"),
    "probabilities, defaults": Row(of_probabilities(**DEFAULTS), "8.1203"),
    "probabilities, sum": Row(of_probabilities(reduction="sum"), "16.2406"),
    "probabilities, none": Row(of_probabilities(reduction="none"), "7.9249 8.3157"),
    "probabilities, weight": Row(of_probabilities(weight=np.float32([0, 1, 2])), "12.0488"),
    "probabilities, label_smoothing": Row(of_probabilities(label_smoothing=0.8), "4.7278"),
    "nothing": Row(of_nothing("mean"), "nan"),
    "nothing, sum": Row(of_nothing("sum"), "-0."),
    "nothing, none": Row(of_nothing("none"), "-0."),
}


@table(EVERY_OPTION)
def test_every_option(row: Row, loss: Loss) -> None:
    check_printed(row.call(loss), row.printed)


@pytest.mark.parametrize("shape", ((0,), (0, 3), (0, 3, 2), (2, 3, 0)), ids=str)
def test_empty_input_of_more_axes(shape: tuple[int, ...], loss: Loss) -> None:
    """For "none" only input of one axis has a loss; of more it has none, in torch too."""
    nothing = np.zeros(shape, np.float32)
    check_printed(loss("CrossEntropyLoss", nothing, nothing), "nan")
    check_printed(loss("CrossEntropyLoss", nothing, nothing, reduction="sum"), "-0.")
    each = loss("CrossEntropyLoss", nothing, nothing, reduction="none")
    check_printed(each, "-0." if shape == (0,) else "")


def test_the_class_and_its_attributes() -> None:
    for criterion in (logloss.CrossEntropyLoss(), logloss.CrossEntropyLoss(**DEFAULTS)):
        assert repr(criterion) == "CrossEntropyLoss()"
        assert {name: getattr(criterion, name) for name in DEFAULTS} == DEFAULTS
        check_printed(criterion(input=FOUR, target=INDICES), "3.7154")
        check_printed(criterion(input=THREE, target=logloss.softmax(TARGET_LOGITS, 1)), "8.1203")


# ------------------------------------------------------- the losses, and how they are related

# This tutorial prints no inputs, so inputs of its shapes are compared with torch.

SEEDS = range(10)


def random_inputs(seed: int) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    normal = generator.standard_normal
    return {
        "logits": normal((2, 4), np.float32),
        "indices": generator.integers(0, 4, 2),
        "target_logits": normal((2, 4), np.float32),
        "scores": normal(2, np.float32),
        "binary": generator.integers(0, 2, 2),
        "v1": normal((2, 512), np.float32),
        "v2": normal((2, 512), np.float32),
        "signs": generator.integers(0, 2, 2) * 2 - 1,
    }


def calls(seed: int) -> list[tuple[str, Array, ...]]:
    """The tutorial's calls: a class, and what it is called with."""
    given = random_inputs(seed)
    log_q = logloss.log_softmax(given["logits"], -1)
    p = logloss.softmax(given["target_logits"], -1)
    return [
        ("CrossEntropyLoss", given["logits"], given["indices"]),
        ("CrossEntropyLoss", given["logits"], p),
        ("NLLLoss", log_q, given["indices"]),
        ("KLDivLoss", log_q, p),
        ("BCELoss", logloss.sigmoid(given["scores"]), given["binary"].astype(np.float32)),
        ("CosineEmbeddingLoss", given["v1"], given["v2"], given["signs"]),
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_losses_of_random_inputs(seed: int, loss: Loss) -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")

    def in_torch(name: str, *arrays: Array, **options: Any) -> Array:
        """In double from the same numbers."""
        wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "reduction: 'mean' divides")
            return getattr(torch.nn, name)(**options)(*map(torch.tensor, wide)).numpy()

    for name, *arrays in calls(seed):
        right = in_torch(name, *arrays, reduction="none")
        limit = promised(2, np.float32) * ulp(right, np.float32)
        if name == "KLDivLoss":  # where p and q nearly agree, within half an ulp of p
            limit = limit + 2.0**-24 * arrays[1]
        each = loss(name, *arrays, reduction="none")
        assert each.dtype == np.float32 and (np.abs(each - right) <= limit).all()
        assert abs(loss(name, *arrays) - in_torch(name, *arrays)) <= limit.mean()


@pytest.mark.parametrize("seed", SEEDS)
def test_entropy_of_random_inputs(seed: int) -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    t = random_inputs(seed)["target_logits"]
    p = logloss.softmax(t, -1)
    # torch makes probabilities sum to 1 first, so p in double does not do for a comparison in ulps.
    with_logits = torch.distributions.Categorical(logits=torch.tensor(t.astype(np.float64)))
    assert_ulp(logloss.entropy_with_logits(t), with_logits.entropy().numpy(), promised(2, t.dtype))
    assert_ulp(logloss.entropy(p), ref.entropy(p), promised(2, t.dtype))
    of_p = torch.distributions.Categorical(probs=torch.tensor(p)).entropy().numpy()
    np.testing.assert_allclose(logloss.entropy(p), of_p, rtol=8 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("seed", SEEDS)
def test_relations_of_random_inputs(seed: int, loss: Loss) -> None:
    """What the tutorial prints as True, in its own words."""
    given = random_inputs(seed)
    logits, indices = given["logits"], given["indices"]
    log_q, p = np.log(logloss.softmax(logits, -1)), logloss.softmax(given["target_logits"], -1)

    assert np.allclose(loss("CrossEntropyLoss", logits, indices), loss("NLLLoss", log_q, indices))
    divergence = loss("KLDivLoss", log_q, p, reduction="none").sum(-1)
    each = loss("CrossEntropyLoss", logits, p, reduction="none")
    assert np.allclose(each, divergence + logloss.entropy(p))
    # "mean" divides by the batch and by the classes, "batchmean" by the batch alone.
    assert np.allclose(loss("KLDivLoss", log_q, p), divergence.sum() / 8)
    assert np.allclose(loss("KLDivLoss", log_q, p, reduction="batchmean"), divergence.mean())

    prob_1 = logloss.sigmoid(given["scores"])
    prob = np.stack([1 - prob_1, prob_1], axis=-1)
    binary = loss("NLLLoss", np.log(prob), given["binary"])
    assert np.allclose(loss("BCELoss", prob_1, given["binary"].astype(np.float32)), binary)
    assert np.allclose(loss("BCELoss", prob_1, given["binary"]), binary)
