"""What of a push needs no Hub; the rest is in test_push_server.py."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.hub import PushTarget, check_push, push_command, push_folder, push_model

ROOT = Path(__file__).resolve().parents[3]
TARGET = PushTarget(repo="org/name")


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str | None], None]:
    """Log in with a token, or out; what this machine is logged in with is not looked at."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)

    def set_token(token: str | None) -> None:
        if token is None:
            monkeypatch.delenv("HF_TOKEN", raising=False)
        else:
            monkeypatch.setenv("HF_TOKEN", token)

    return set_token


def test_what_cannot_succeed_is_refused_before_any_work(login: Callable[[str | None], None]) -> None:
    login(None)
    with pytest.raises(UserError, match="Nobody is logged in to push to org/name"):
        check_push(PushTarget(repo="org/name"))
    login("hf_x")
    check_push(PushTarget(repo="org/name"))
    for name in ("org/na me", "name"):
        with pytest.raises(UserError, match=f"repo={name!r} is not a repository"):
            check_push(PushTarget(repo=name))
    login("hf_x\u00e9")
    with pytest.raises(UserError, match="characters that no token has") as caught:
        check_push(PushTarget(repo="org/name"))
    assert "hf_x" not in str(caught.value)


def test_options_are_checked_first() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"revision": "a b"}, "revision='a b' is not a valid name"),
        ({"tag": "v1..2"}, "tag='v1..2' is not a valid name"),
        ({"pull_request": True, "tag": "v1"}, "takes no tag"),
        ({"pull_request": True, "revision": "dev"}, "takes no revision"),
        ({"collection": " "}, "collection=' ' is empty"),
        ({"message": ""}, "message='' is empty"),
    ]
    for options, expected in cases:
        with pytest.raises(UserError, match=expected):
            PushTarget(repo="org/name", **options)


def test_offline_says_so(exported: Path, login: Callable[[str | None], None]) -> None:
    from huggingface_hub import constants

    assert constants.HF_HUB_OFFLINE  # of all tests in this process
    login("hf_abc")
    with pytest.raises(UserError, match=r"org/name failed.*untouched: HF_HUB_OFFLINE is set.*Push later") as caught:
        push_folder(exported, TARGET)
    assert "\n" not in str(caught.value) and "hf_abc" not in str(caught.value)


def test_an_export_is_wanted(tmp_path: Path, exported: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json and model\.safetensors are missing"):
        push_folder(tmp_path, TARGET)
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    (folder / "README.md").unlink()
    with pytest.raises(UserError, match=r"README\.md, the model card, cannot be read"):
        push_folder(folder, TARGET)


def test_the_command_to_push_later_reads_back(tmp_path: Path) -> None:
    target = PushTarget(
        repo="org/name", private=True, tag="v1", collection="Long tails; all of them", overwrite=True,
        message="It's mine",
    )  # fmt: skip
    command = push_command(tmp_path / "my run" / "model", target)
    python, recipe, *argv = shlex.split(command)
    assert (python, recipe) == ("python", "recipes/push.py")
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    for name, action in {"model": "store", **{f.name: "store" for f in dataclasses.fields(PushTarget)}}.items():
        action = "store_true" if name in ("private", "pull_request", "overwrite") else action
        parser.add_argument(f"--{name.replace('_', '-')}", action=action)
    options = vars(parser.parse_args(argv))
    assert options.pop("model") == str(tmp_path / "my run" / "model")
    assert PushTarget(**options) == target


def test_a_damaged_export_is_not_pushed(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"model\.safetensors of .*(SHA-256|cannot be read)"):
        push_folder(folder, TARGET)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json of .* cannot be read"):
        push_folder(folder, TARGET)


def test_the_later_command_is_that_of_the_installed_package_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["glmc-zoo train"])
    command = push_command("m", PushTarget(repo="org/name", private=True))
    assert command == "glmc-zoo push --model m --repo org/name --private"


def test_a_push_renders_the_card_for_its_repository(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards: list[str | None] = []
    monkeypatch.setattr("glmc_zoo.hub.push.push.push_folder", lambda *_, card: cards.append(card))
    push_model(exported, TARGET)
    assert cards[0] is not None and 'create_model("hf-hub:org/name"' in cards[0]
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    for foreign in ('{"top1": 0.5}', "[]"):
        (folder / "results.json").write_text(foreign)
        push_model(folder, TARGET)
    (folder / "results.json").unlink()
    push_model(folder, TARGET)
    assert cards[1:] == [None] * 3
    (folder / "results.json").write_text("{")
    with pytest.raises(UserError, match=r"results\.json of .* cannot be read"):
        push_model(folder, TARGET)


@pytest.mark.processes
def test_the_target_is_light() -> None:
    code = "import sys, glmc_zoo.hub.push.target; print(*{'huggingface_hub', 'torch', 'timm'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
