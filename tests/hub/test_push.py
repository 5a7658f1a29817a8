"""What is asked of the Hub, through a stub of its client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.hub.push import check_push, push_folder


class StubApi:
    """Keeps what it was asked; ``error`` is raised by the upload."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error = error

    def create_repo(self, repo_id: str, **options: Any) -> Any:
        from huggingface_hub import RepoUrl

        self.calls.append(("create_repo", {"repo_id": repo_id, **options}))
        return RepoUrl(f"https://huggingface.co/{repo_id}", endpoint="https://huggingface.co")

    def upload_folder(self, **options: Any) -> None:
        self.calls.append(("upload_folder", options))
        if self.error:
            raise self.error


def model_folder(tmp_path: Path) -> Path:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes(b"{}")
    return tmp_path


def test_push_makes_the_repository_and_one_commit(tmp_path: Path) -> None:
    api = StubApi()
    url = push_folder(model_folder(tmp_path), "org/resnet18.glmc", private=True, commit_message="First", api=api)
    assert url == "https://huggingface.co/org/resnet18.glmc"
    assert [name for name, _ in api.calls] == ["create_repo", "upload_folder"]
    created, uploaded = (options for _, options in api.calls)
    assert (created["repo_id"], created["private"], created["exist_ok"]) == ("org/resnet18.glmc", True, True)
    assert (uploaded["folder_path"], uploaded["commit_message"]) == (str(tmp_path), "First")
    assert not any("token" in options for _, options in api.calls)


@pytest.mark.parametrize("error", [OSError("no\nroute"), RuntimeError("no\nroute"), ValueError("no\nroute")])
def test_push_turns_errors_into_one_sentence(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(UserError, match=r"'org/name' failed.*untouched: no route\.") as caught:
        push_folder(model_folder(tmp_path), "org/name", api=StubApi(error))
    assert caught.value.__cause__ is error
    assert "\n" not in str(caught.value)


def test_push_refuses_a_bad_name_before_it_asks_the_hub(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Pushing to 'not a name' failed.*untouched"):
        push_folder(model_folder(tmp_path), "not a name")


def test_push_wants_an_exported_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json and model\.safetensors is missing"):
        push_folder(tmp_path, "org/name", api=StubApi())


def test_what_cannot_succeed_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(UserError, match="Nobody is logged in to push to org/name"):
        check_push("org/name")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "x")
    check_push("org/name")
    with pytest.raises(UserError, match="'org/na me' is no repository"):
        check_push("org/na me")
