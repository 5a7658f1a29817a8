"""The sentences of errors and notes, as users see them."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path

import pytest

from glmc_zoo.errors import UserError, as_command_line, did_you_mean, for_screen, missing_packages, on_command_line
from glmc_zoo.options.sections import option_names


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("no image: give one", "No image: give one."),
        ("imagenet_lt needs more", "imagenet_lt needs more."),
        ("No image; give one.", "No image; give one."),
        ("Unknown. Did you mean a?", "Unknown. Did you mean a?"),
        ("lr=-1 must be above 0", "lr=-1 must be above 0."),
        # The traceback of a worker is left out.
        ("Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
            "  a\nglmc_zoo.errors.UserError: image 3 is broken\n",
         "Image 3 is broken."),
    ],
)  # fmt: skip
def test_a_sentence_has_a_capital_and_one_full_stop(message: str, sentence: str) -> None:
    assert UserError(message).sentence == sentence


def test_similar_names_are_suggested() -> None:
    assert did_you_mean("resnet19", ["resnet18", "vit"]) == " Did you mean resnet18?"
    assert did_you_mean("zzz", ["resnet18", "vit"]) == ""


@pytest.mark.parametrize(
    ("sentence", "printed"),
    [
        ("lr=-1 must be above 0.", "--lr -1 must be above 0."),
        ("lr=nan must be above 0, min_lr=-inf too.", "--lr nan must be above 0, --min-lr -inf too."),
        ("lr=1e-05 is low.", "--lr 1e-05 is low."),
        ("pretrained=True has no effect.", "--pretrained has no effect."),
        ("maxnorm_threshold= has no effect with maxnorm=False; leave one out.",
         "--maxnorm-threshold has no effect with --no-maxnorm; leave one out."),
        ("split_file='my lists' cannot be read: give split_file=.",
         "--split-file my lists cannot be read: give --split-file."),
        ("model=['a', 'b'] is not accepted.", "--model ['a', 'b'] is not accepted."),
        ("give push_to_hub=ORG/NAME as well.", "give --push-to-hub ORG/NAME as well."),
        ("images= is missing: give for instance images=path/to/images.",
         "--images is missing: give for instance --images path/to/images."),
        ("model= is missing: give model=runs/NAME/model, or data=FOLDER.",
         "--model is missing: give --model runs/NAME/model, or --data FOLDER."),
        # Arguments of other functions, and text within words.
        ("n=3 and HTTP lr_x=4, xlr=5", "n=3 and HTTP lr_x=4, xlr=5"),
        ("data_seed=3 and seed=4.", "--data-seed 3 and --seed 4."),
    ],
)  # fmt: skip
def test_arguments_become_options(sentence: str, printed: str) -> None:
    assert as_command_line(sentence, option_names()) == printed


def test_notes_name_options_only_on_the_command_line() -> None:
    note = "The test split is not used, as no_test=True asks for."
    assert for_screen(note) == note
    with on_command_line(["no_test"]):
        assert for_screen(note) == "The test split is not used, as --no-test asks for."
    assert for_screen(note) == note


def test_a_missing_package_comes_with_its_extra() -> None:
    error = missing_packages("tune='lora'", ["peft"], extra="peft")
    assert str(error) == "tune='lora' needs peft, which is not installed: pip install 'glmc_zoo[peft]'."
    several = missing_packages("format='onnx'", ["onnx", "onnxruntime"], extra="onnx")
    assert "onnx, onnxruntime, which are not installed" in str(several)


def test_every_extra_that_the_code_names_exists() -> None:
    root = Path(__file__).parents[1]
    extras = metadata("glmc_zoo").get_all("Provides-Extra") or []
    named = set()
    for path in (root / "glmc_zoo").rglob("*.py"):
        text = path.read_text()
        named |= set(re.findall(r"glmc_zoo\[(\w+)\]", text)) | set(re.findall(r'extra="(\w+)"', text))
    assert {"demo", "heic", "inspect", "onnx", "peft", "photos", "trackers"} <= named <= set(extras)
