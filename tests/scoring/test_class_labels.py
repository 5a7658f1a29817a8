"""Names of the classes of a prediction, and its table on the screen."""

from __future__ import annotations

import pytest
import timm

from glmc_zoo.hub import open_model
from glmc_zoo.scoring.prediction import class_labels, prediction_table
from glmc_zoo.scoring.prediction_files import Prediction


def test_the_table_on_the_screen_ends() -> None:
    one = Prediction("a.png", ["ant", "bee"], [0.75, 0.25])
    assert prediction_table([one]).splitlines() == [
        "file   label  probability  runners-up",
        "a.png  ant         75.0 %  bee 25.0 %",
    ]
    shown = prediction_table([one] * 60).splitlines()
    assert len(shown) == 52 and shown[-1] == "... 10 more in the CSV"


@pytest.mark.parametrize(("classes", "first"), [(1000, "tench, Tinca tinca"), (7, "class 0")])
def test_class_names_that_a_model_of_timm_does_not_hold(classes: int, first: str) -> None:
    network = timm.create_model("resnet18", num_classes=classes)
    labels = class_labels(open_model("resnet18"), network, classes)
    assert labels[0] == first and len(labels) == classes
