"""Adapts probabilities to other class frequencies: given ones, estimated ones, or with some classes ruled out.

Source: Saerens et al., Adjusting the Outputs of a Classifier to New a Priori Probabilities: A Simple Procedure, Neural
Computation 14, 2002: equations 2.4 (a known prior) and 2.9 (the EM algorithm).
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.errors import UserError, did_you_mean
from glmc_zoo.files import text_table
from glmc_zoo.scoring.classes import quote_few
from glmc_zoo.scoring.model_prior import Floats, normalise
from glmc_zoo.text import counted, unquoted_formula

_MAX_ITERATIONS = 10_000
_CHANGE = 1e-9
_MAX_SHOWN = 50


def estimate_log_prior(logits: Floats, model_log_prior: Floats) -> Floats:
    """Estimate the class frequencies of images from a model's logits, by maximum likelihood with EM.

    Args:
        logits: Logits of the images, float64 ``(N, C)``; ``-inf`` for a class that cannot occur.
        model_log_prior: Logarithm of the class frequencies that the model's probabilities are for, ``(C,)``.

    Returns:
        Logarithm of the estimated class frequencies, ``(C,)``.
    """
    likelihood = logits - model_log_prior
    likelihood = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    prior = np.exp(normalise(np.where(np.isneginf(logits).all(axis=0), -np.inf, model_log_prior)))
    for _ in range(_MAX_ITERATIONS):
        joint = likelihood * prior
        next_prior = (joint / joint.sum(axis=1, keepdims=True)).mean(axis=0)
        change = np.abs(next_prior - prior).max()
        prior = next_prior
        if change < _CHANGE:
            break
    with np.errstate(divide="ignore"):
        result: Floats = np.log(prior)
    return result


def read_prior(path: str, class_names: Sequence[str]) -> Floats:
    """Logarithm of the class frequencies, ``(C,)``, from a CSV file with the columns ``class`` and ``count``.

    Raises:
        UserError: The file cannot be read, a class is unknown, missing or named twice, or a count is not a number of 0
            or more.
    """
    name, counts = f"prior={path!r}", dict[str, float]()
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            columns, rows = reader.fieldnames or [], list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "it is not a CSV file in UTF-8"
        raise UserError(f"{name} cannot be read ({reason}): give a CSV file, or prior='estimate'.") from error
    if not {"class", "count"} <= set(columns):
        columns_text = f"the columns {', '.join(columns)}" if columns else "no columns"
        raise UserError(f"{name} has {columns_text}: give a CSV file with the columns class and count.")
    for row in rows:
        label, text = unquoted_formula(row["class"]), row["count"]
        check_class(f"{name} has the class", label, class_names)
        if label in counts:
            raise UserError(f"{name} has the class {label!r} twice: give each class one row.")
        counts[label] = _count(name, label, text)
    missing = [label for label in class_names if label not in counts]
    if missing:
        raise UserError(
            f"{name} lacks {quote_few(missing)}: give each class of the model a row, with the count 0 if it cannot "
            "occur."
        )
    if sum(counts.values()) <= 0:
        raise UserError(f"{name} has no count above 0: give the counts of the classes that occur.")
    with np.errstate(divide="ignore"):
        return normalise(np.log(np.array([counts[label] for label in class_names])))


def _count(name: str, label: str, text: str) -> float:
    try:
        count = float(text)
    except ValueError:
        count = math.nan
    if not 0 <= count < math.inf:
        raise UserError(f"{name} has the count {text!r} for {label!r}: it must be a number of 0 or more.")
    return count


def check_class(subject: str, label: str, class_names: Sequence[str]) -> None:
    """Raise a `UserError` for a class that the model does not have; ``subject`` begins the sentence."""
    if label not in class_names:
        raise UserError(
            f"{subject} {label!r}, which the model does not have: its classes are {quote_few(class_names)}."
            f"{did_you_mean(label, list(class_names))}"
        )


def read_classes(values: Sequence[str], class_names: Sequence[str]) -> NDArray[np.bool_]:
    """Which classes can occur, bool ``(C,)``, by the values of ``classes=``.

    A value is a name, or several names with commas between them. A name that contains a comma must be a value by
    itself, or be quoted.

    Raises:
        UserError: A class is unknown, or fewer than two classes are named.
    """
    names = list[str]()
    for value in values:
        names += [value] if value in class_names else next(csv.reader([value], skipinitialspace=True), [])
    for name in names:
        check_class("classes= has", name, class_names)
    if len(set(names)) < 2:
        raise UserError(f"classes={', '.join(names)!r} names fewer than two classes: give at least two.")
    return np.isin(np.array(class_names, dtype=object), names)


def prior_table(class_names: Sequence[str], model_prior: Floats, estimate: Floats, images: int) -> str:
    """The table for the screen: the model's prior and the estimated share of each class, the largest share first."""
    rows = [("class", "model's prior", "estimated", "images")]
    order = np.argsort(-estimate, kind="stable")
    for label in order[:_MAX_SHOWN]:
        share = math.exp(estimate[label])
        rows.append(
            (class_names[label], _percent(model_prior[label]), _percent(estimate[label]), f"{share * images:.1f}")
        )
    remaining = len(order) - _MAX_SHOWN
    return text_table(rows) + (f"\n... {counted(remaining, 'more class')}" if remaining > 0 else "")


def _percent(log_share: float) -> str:
    return f"{100 * math.exp(log_share):.1f} %"
