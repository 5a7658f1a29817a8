"""What was given, explicitly and in a file: checked, converted, and one sentence about anything else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.method.registry import _ENTRIES as ENTRIES
from glmc_zoo.method.registry import method_names
from glmc_zoo.options.resolve import training_options
from glmc_zoo.options.sections import COMMANDS, EVALUATE, TRAIN
from glmc_zoo.options.user_options import UserOptions, config_path, parse_options, read_config


def test_explicit_overrides_the_file_and_none_is_not_given(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    # YAML reads 1e-3 as text.
    path.write_text("lr: 1e-3\nepochs: '7'\nbatch-size: 8\ncompile: true\nseed: null\nabout: {title: x}\n")
    given = parse_options(TRAIN, {"config": str(path), "epochs": "9", "compile": False, "opt": None}, "the command")
    assert given.file == {"lr": 1e-3, "epochs": 7, "batch_size": 8, "compile": True}
    assert given.explicit == {"epochs": 9, "compile": False} and given.command == "the command"
    assert given.values == {"lr": 1e-3, "epochs": 9, "batch_size": 8, "compile": False}
    assert (given.get("lr"), given.get("epochs"), given.get("opt")) == (1e-3, 9, None)
    assert "lr" in given and "epochs" in given and "opt" not in given


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epoch: 3\n", "The key epoch= is unknown. Did you mean epochs"),
        ("images_in_memory: true\n", "images_in_memory= was removed"),
        ("lr: abc\n", "lr='abc' is not accepted: it must be a number."),
        ("epochs: 2.5\n", "epochs=2.5 is not accepted: it must be a whole number."),
        ("epochs: .inf\n", "epochs=inf is not accepted: it must be a whole number."),
        ("compile: 1\n", "compile=1 is not accepted: it must be true or false."),
        ("preset: x\n", "preset='x' is not accepted: it must be one of official, paper, tuned."),
        ("- a\n- b\n", "must hold 'option: value' lines, but holds a list."),
        ("a: [\n", "is not YAML"),
        ("\x00", "is not YAML"),
    ],
)
def test_one_sentence_about_a_file(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_config(path, TRAIN)
    assert sentence in caught.value.sentence and str(caught.value).startswith(f"config={str(path)!r} ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", "is empty: give a file"), ("# all of it is a remark\n", "is empty"), ("about: nothing\n", "holds no option")],
)
def test_a_file_without_options_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """It would train the data set of the defaults without a word."""
    (tmp_path / "empty.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"^config='.*empty.yaml' {sentence}"):
        read_config(tmp_path / "empty.yaml", TRAIN)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^config='.*nowhere.yaml' cannot be read: No such file"):
        read_config(tmp_path / "nowhere.yaml", TRAIN)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_an_unknown_option_is_named(command: Any) -> None:
    with pytest.raises(UserError, match=r"^The option mdoel= is unknown"):
        parse_options(command, {"mdoel": "x"}, "")
    assert parse_options(command, {}, "") == UserOptions()


@pytest.mark.parametrize("command", ["train", "finetune", "second_stage"])
@pytest.mark.parametrize("option", ["streaming", "images_in_memory"])
def test_an_option_of_elsewhere_or_of_before_is_explained(command: str, option: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_options(COMMANDS[command], {option: True}, "")
    assert str(caught.value).startswith(f"{option}= ") and "leave it out" in str(caught.value)
    assert COMMANDS[command].refusals[option] == str(caught.value)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("level", ["quiet", "verbose"])
def test_how_much_is_shown_is_not_an_option_in_python(tmp_path: Path, command: Any, level: str) -> None:
    """The command line reads --quiet before it comes here."""
    sentence = (
        f"{level}= is not an option here: call glmc_zoo.set_verbosity('{level}'), or give --{level} on the command"
    )
    with pytest.raises(UserError) as caught:
        parse_options(command, {level: True}, "")
    assert str(caught.value).startswith(sentence)
    (tmp_path / "c.yaml").write_text(f"{level}: true\n")
    with pytest.raises(UserError) as caught:
        parse_options(command, {"config": str(tmp_path / "c.yaml")}, "")
    assert str(caught.value).endswith(f" cannot be used: {sentence} line.")


def test_a_config_file_of_another_command_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("epochs: 3\n")
    with pytest.raises(UserError, match="The key epochs= is unknown"):
        parse_options(EVALUATE, {"config": str(tmp_path / "c.yaml")}, "")


PLUGIN = """
import torch.nn.functional as F
from glmc_zoo import register_loss

@register_loss("{name}")
class Loss:
    def __init__(self, class_counts): pass
    def __call__(self, logits, target): return F.cross_entropy(logits, target)
"""


@pytest.fixture
def registry() -> Iterator[None]:
    """What a test registers does not stay; a built-in one does, since its module registers it only once."""
    before = set(ENTRIES)
    yield
    for key in set(ENTRIES) - before:
        if not ENTRIES[key].function.__module__.startswith("glmc_zoo."):
            del ENTRIES[key]


@pytest.mark.parametrize("way", ["explicit", "file"])
def test_a_plugin_is_loaded_before_its_name_is_checked(tmp_path: Path, way: str, registry: None) -> None:
    name = f"loss_given_by_{way}"
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN.format(name=name))
    (tmp_path / "c.yaml").write_text(f"plugin: [{plugin}]\nmethod: {name}\n")
    assert name not in method_names()
    values = {"config": str(tmp_path / "c.yaml")} if way == "file" else {"plugin": str(plugin), "method": name}
    options = training_options(parse_options(TRAIN, values, ""))
    assert name in method_names()
    assert options.stage.method.method == name and options.stage.method.plugin == [str(plugin)]  # type: ignore[union-attr]


# ------------------------------------------------------------------------------------------------ recipe files
CONFIGS = Path(__file__).resolve().parents[2] / "recipes" / "configs"


def test_a_name_finds_its_recipe_file_and_a_path_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in CONFIGS.glob("*.yaml"):
        assert config_path(path.stem) == path
    assert config_path("mine.yaml") == Path("mine.yaml")  # whoever reads it reports that it is missing
    (tmp_path / "imagenet_lt").mkdir()  # a data folder of that name
    assert config_path("imagenet_lt") == CONFIGS / "imagenet_lt.yaml"
    (tmp_path / "inat18").write_text("epochs: 3\n")
    assert config_path("inat18") == Path("inat18")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cifar10_lt_if5", "config='cifar10_lt_if5' is neither a file nor one of the recipe files"),
        ("imagnet_lt", "Did you mean imagenet_lt"),
    ],
)
def test_a_name_that_no_recipe_file_has(name: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        config_path(name)
    assert sentence in str(caught.value)
