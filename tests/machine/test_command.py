"""The command as results have it, without any folder of this machine."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from glmc_zoo.machine.command import command_line, python_call, resume_command, shorten_path, slug


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--data", "--data"),
        ("cifar10_lt", "cifar10_lt"),
        ("runs/here", "runs/here"),
        ("/home/me/images", "path/to/images"),
        ("--data=/home/me/images", "--data=path/to/images"),
        ("local-dir:/home/me/model", "local-dir:path/to/model"),
        ("--backbone=local-dir:/home/me/model", "--backbone=local-dir:path/to/model"),
        ("hf-hub:org/name", "hf-hub:org/name"),
        ("caf\udce9", "caf\\udce9"),  # a name that is not UTF-8
    ],
)
def test_no_folder_of_this_machine_is_named(argument: str, expected: str) -> None:
    assert shorten_path(argument) == expected


LAUNCHED = {"ACCELERATE_MIXED_PRECISION": "no", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("environment", "script", "expected"),
    [
        ({}, "/home/me/recipes/train.py", "python recipes/train.py"),
        ({}, "glmc-zoo train", "glmc-zoo train"),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, "train.py", "accelerate launch --num_processes 1 recipes/train.py"),
        (LAUNCHED, "train.py", "accelerate launch --num_processes 2 recipes/train.py"),
        (LAUNCHED, "glmc-zoo train", "accelerate launch --num_processes 2 -m glmc_zoo train"),
        ({"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, "train.py",
         "torchrun --nproc_per_node 2 --standalone recipes/train.py"),
        ({"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, "train.py",
         "torchrun --nproc_per_node 2 --nnodes 2 recipes/train.py"),
    ],
)  # fmt: skip
def test_the_command_is_the_one_that_was_given(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], script: str, expected: str
) -> None:
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", [script, "--data", "/home/me/My Beasts", "--lr", "0.1"])
    assert command_line() == f"{expected} --data 'path/to/My Beasts' --lr 0.1"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "glmc_zoo.train()"),
        ({"epochs": 2, "compile": False}, "glmc_zoo.train(epochs=2, compile=False)"),
        ({"data": "/home/me/images"}, "glmc_zoo.train(data='path/to/images')"),
        ({"data": Path("/home/me/images")}, "glmc_zoo.train(data='path/to/images')"),
        ({"model": ["/home/me/a", Path("/home/me/b"), "c"]}, "glmc_zoo.train(model=['path/to/a', 'path/to/b', 'c'])"),
        ({"images": ("/home/me/a",)}, "glmc_zoo.train(images=['path/to/a'])"),
    ],
)
def test_a_python_call(options: dict[str, Any], expected: str) -> None:
    assert python_call("train", options) == expected


def test_a_tag_is_made_of_what_a_tag_may_hold() -> None:
    assert slug("My Beasts (2024)") == "my_beasts__2024"
    assert slug("données") == "donn_es"
    assert slug("数据") == "data"
    assert slug("org/name") == "name"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([], []),
        (["--data", "/home/me/My Beasts"], ["--data", "/home/me/My Beasts"]),
        (["--output-dir", "old", "--lr", "0.1"], ["--lr", "0.1"]),
        (["--lr=0.1", "--resume=auto", "--output-dir=old"], ["--lr=0.1"]),
        (["--resume", "runs/a/checkpoints/step-1", "--compile"], ["--compile"]),
        (["--compile", "--resume"], ["--compile"]),
    ],
)
def test_a_run_goes_on_by_its_own_command(monkeypatch: pytest.MonkeyPatch, given: list[str], kept: list[str]) -> None:
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["/home/me/recipes/train.py", *given])
    words = shlex.split(resume_command(Path("/my runs/a"), "python recipes/train.py"))
    assert words == ["python", "/home/me/recipes/train.py", *kept, "--output-dir", "/my runs/a", "--resume", "auto"]
    call = resume_command(Path("a"), "glmc_zoo.train(epochs=2)")
    assert call == "the same call with output_dir='a', resume='auto'"


def test_a_launcher_is_named_as_it_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    class Launcher:
        words: ClassVar[list[str]] = ["accelerate", "launch", "--config_file", "a.yaml", "train.py", "--lr", "1"]

        def parent(self) -> Launcher:
            return self

        def cmdline(self) -> list[str]:
            return self.words

    monkeypatch.setattr(psutil, "Process", Launcher)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "1"])
    end = ["--lr", "1", "--output-dir", "a", "--resume", "auto"]
    assert shlex.split(resume_command(Path("a"), "")) == [*Launcher.words[:5], *end]
    Launcher.words.append("--other")  # something else that started this process
    assert shlex.split(resume_command(Path("a"), ""))[:2] == [
        "accelerate",
        "launch",
    ] and "a.yaml" not in resume_command(Path(), "")
