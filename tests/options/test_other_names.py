"""An unknown option that another training program has: the error names the option here."""

from __future__ import annotations

import pytest

import glmc_zoo
from glmc_zoo.errors import UserError
from glmc_zoo.options.other_names import OTHER_NAMES, similar_options
from glmc_zoo.options.parser import read_command_line
from glmc_zoo.options.sections import COMMANDS, EVALUATE, FINETUNE, PREDICT, TRAIN, Command


@pytest.mark.parametrize("name", sorted(OTHER_NAMES))
def test_a_command_has_what_is_suggested_and_lacks_the_other_name(name: str) -> None:
    def offers(command: Command) -> bool:
        return name not in command.types and any(option in command.types for option in OTHER_NAMES[name])

    assert any(offers(command) for command in COMMANDS.values())
    assert all(any(option in command.types for command in COMMANDS.values()) for option in OTHER_NAMES[name])


@pytest.mark.parametrize(
    ("command", "word", "suggestion"),
    [
        (TRAIN, "--learning-rate", "--lr"),
        (TRAIN, "--learning_rate", "--lr"),
        (TRAIN, "--num-train-epochs", "--epochs"),
        (TRAIN, "--img-size", "--image-size"),
        (TRAIN, "--model", "--backbone"),
        (TRAIN, "--mixup", "--views, --beta"),
        (TRAIN, "--output", "--output-dir"),
        (FINETUNE, "--model-name-or-path", "--model"),
        (PREDICT, "--out", "--output"),
        (EVALUATE, "--num-workers", "--workers"),
    ],
)
def test_on_the_command_line(command: Command, word: str, suggestion: str) -> None:
    with pytest.raises(UserError) as caught:
        read_command_line(command, "", "", [word, "1"])
    assert str(caught.value) == f"Unknown option {word}; --help lists every option. Did you mean {suggestion}?"


def test_in_python() -> None:
    with pytest.raises(UserError, match=r"^The option learning_rate= is unknown\. Did you mean lr\?$"):
        glmc_zoo.train(learning_rate=0.1)


def test_a_misspelt_name_is_compared_with_all_options() -> None:
    assert similar_options("batch_sise", TRAIN.types) == " Did you mean batch_size?"
    assert similar_options("lr0", ["epochs"]) == "" and similar_options("xyzzy", TRAIN.types) == ""
