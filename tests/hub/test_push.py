"""What of a push needs no Hub; the rest is in test_push_server.py."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.hub import check_push, push_command, push_folder


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
        check_push("org/name")
    login("hf_x")
    check_push("org/name")
    for name in ("org/na me", "name"):
        with pytest.raises(UserError, match=f"{name!r} is no repository"):
            check_push(name)
    login("hf_x\u00e9")
    with pytest.raises(UserError, match="characters that no token has") as caught:
        check_push("org/name")
    assert "hf_x" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"revision": "a b"}, "'a b' is no name of a branch"),
        ({"tag": "v1..2"}, "'v1..2' is no name of a tag"),
        ({"pull_request": True, "tag": "v1"}, "takes no tag"),
        ({"pull_request": True, "revision": "dev"}, "takes no revision"),
        ({"collection": " "}, "has no title"),
        ({"commit_message": ""}, "is empty"),
    ],
)
def test_options_are_checked_first(tmp_path: Path, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        push_folder(tmp_path, "org/name", **options)


def test_offline_says_so(exported: Path, login: Callable[[str | None], None]) -> None:
    from huggingface_hub import constants

    assert constants.HF_HUB_OFFLINE  # of all tests in this process
    login("hf_abc")
    with pytest.raises(UserError, match=r"org/name failed.*untouched: HF_HUB_OFFLINE is set.*Push later") as caught:
        push_folder(exported, "org/name")
    assert "\n" not in str(caught.value) and "hf_abc" not in str(caught.value)


def test_an_export_is_wanted(tmp_path: Path, exported: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json and model\.safetensors is missing"):
        push_folder(tmp_path, "org/name")
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    (folder / "README.md").unlink()
    with pytest.raises(UserError, match=r"README\.md, the model card, cannot be read"):
        push_folder(folder, "org/name")


def test_the_command_to_push_later_reads_back(tmp_path: Path) -> None:
    from glmc_zoo.engine.cli import parse_options
    from glmc_zoo.engine.push import PushConfig

    command = push_command(
        tmp_path / "my run" / "model", "org/name", private=True, revision=None, pull_request=False, tag="v1",
        collection="Long tails; all of them", overwrite=True, message="It's mine",
    )  # fmt: skip
    python, recipe, *argv = shlex.split(command)
    assert (python, recipe) == ("python", "recipes/push.py")
    assert parse_options(PushConfig, argv, description="Push.") == PushConfig(
        model=str(tmp_path / "my run" / "model"), repo="org/name", private=True, tag="v1",
        collection="Long tails; all of them", overwrite=True, message="It's mine",
    )  # fmt: skip


def test_a_damaged_export_is_not_pushed(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"model\.safetensors of .*(SHA-256|cannot be read)"):
        push_folder(folder, "org/name")
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json of .* cannot be read"):
        push_folder(folder, "org/name")


def test_the_later_command_is_that_of_the_installed_package_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["glmc-zoo train"])
    assert push_command("m", "org/name", private=True) == "glmc-zoo push --model m --repo org/name --private"
