"""The suites of equal time: their row of the preset `tuned` has the settings that the preset decides."""

from __future__ import annotations

import re

import _rows
import pytest

from glmc_zoo.fields import field_names
from glmc_zoo.method.switches import GLMCSwitches
from glmc_zoo.options.length import resolve_method
from glmc_zoo.options.parser import read_command_line
from glmc_zoo.options.resolve import training_options
from glmc_zoo.options.run import flatten_options
from glmc_zoo.options.sections import TRAIN

PASSES = [name for name in _rows.suites() if re.search(r"cifar.*_resnet\d+_\d+_passes$", name)]
IMAGES = {"cifar10_lt": 12_406, "cifar100_lt": 10_847, "digits_lt": 335}


@pytest.mark.parametrize("suite", [*PASSES, "digits_lt"])
def test_the_row_of_the_preset_tuned_has_its_settings(suite: str) -> None:
    """The row has the same settings as ``--preset tuned``, with the images and passes of the suite."""
    rows = _rows.suite_rows(suite).values()
    (row,) = [row for row in rows if row.label.endswith("the preset tuned")]
    method = next(index for index, word in enumerate(row.options) if word in ("--method", "--preset"))
    common = [*row.options[:method], "--preset", "tuned"]
    decided, expected = (
        flatten_options(
            resolve_method(training_options(read_command_line(TRAIN, "", "", list(words))), IMAGES[row.data]).options
        )
        for words in (common, row.options)
    )
    idle = {"preset", *field_names(GLMCSwitches)} - {"views"} if expected["method"] != "glmc" else set()
    assert {name: value for name, value in decided.items() if name not in idle} == {
        name: value for name, value in expected.items() if name not in idle
    }
    if expected["method"] != "glmc":
        assert (decided["prior_tau"], decided["mix_off_epochs"]) == (1.0, 0)
