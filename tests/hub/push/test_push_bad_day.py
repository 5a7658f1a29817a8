"""Pushing on a bad day: no answer, pages of others, waits that the Hub asks for, and what must not leave."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.processes


@pytest.fixture
def token(pusher: Any) -> str:
    return pusher.hub.token()


@pytest.fixture
def push(pusher: Any, exported: Path, token: str) -> Callable[..., tuple[str, float]]:
    """``push(repo_id)``: the sentence, and how many seconds it took."""

    def call(repo_id: str, folder: Path = exported, **options: Any) -> tuple[str, float]:
        began = time.monotonic()
        answer = pusher(folder, repo_id, token=token, **options)
        assert token not in json.dumps(answer)
        assert "\n" not in answer["sentence"]
        return answer["sentence"], time.monotonic() - began

    return call


@pytest.mark.slow
def test_a_hub_that_does_not_answer(pusher: Any, push: Any) -> None:
    pusher.hub.stay_silent("GET", "whoami")
    sentence, seconds = push("org/silent")
    assert "could not be reached or is out of order (no answer in" in sentence and seconds < 3000
    assert pusher.hub.find("org/silent") is None


@pytest.mark.parametrize("path", ["whoami", "/api/models/", "/commit/"])
def test_a_page_in_place_of_an_answer(pusher: Any, push: Any, path: str) -> None:
    pusher.hub.answer_page("*", path)
    sentence, seconds = push(f"org/page{len(path)}")
    assert "The answer is not one that the Hub sends, such as the page of a proxy" in sentence and seconds < 3000


def test_redirects_without_end(pusher: Any, push: Any) -> None:
    pusher.hub.redirect_in_a_circle("GET", "whoami")
    sentence, seconds = push("org/circle")
    assert "from one redirect to the next without end" in sentence and seconds < 3000


def test_the_wait_that_the_hub_asks_for(pusher: Any, exported: Path, push: Any, token: str) -> None:
    pusher.hub.fail("GET", "whoami", status=429, times=1, retry_after="2")
    began = time.monotonic()
    assert "commit" in pusher(exported, "org/wait", token=token)
    assert time.monotonic() - began >= 2
    pusher.hub.fail("POST", "/commit/", status=503, times=None, retry_after="1000")
    sentence, seconds = push("org/long_wait")
    assert "busy and asks to wait 1000 s: try again then" in sentence and seconds < 300
    assert len(pusher.hub.asked("POST", "org/long_wait/commit/")) == 1


def test_every_request_is_tried_again(pusher: Any, exported: Path, token: str) -> None:
    for method, path in (("GET", "/whoami-v2"), ("POST", "/validate-yaml"), ("GET", "/api/models/org/each"),
                         ("POST", "/repos/create"), ("POST", "/preupload/"), ("POST", "/lfs/objects/batch"),
                         ("PUT", "/lfs-objects/"), ("POST", "/each/commit/"), ("GET", "/each/refs"),
                         ("POST", "/each/tag/"), ("POST", "/api/collections")):  # fmt: skip
        pusher.hub.fail(method, path, status=503, times=1)
    answer = pusher(exported, "org/each", token=token, tag="v1", collection="Each")
    repo = pusher.hub.find("org/each")
    assert repo is not None and [commit.oid for commit in repo.history] == [answer["commit"]]


@pytest.mark.parametrize("link", ["file", "folder"])
def test_a_link_in_the_plots_is_not_followed(pusher: Any, exported: Path, push: Any, tmp_path: Path, link: str) -> None:
    secret = tmp_path / "keys"
    secret.mkdir()
    (secret / "key.png").write_bytes(b"-----BEGIN PRIVATE KEY-----")
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    (folder / "plots" / "more").symlink_to(secret if link == "folder" else secret / "key.png")
    asked = len(pusher.hub.requests)
    sentence, _ = push("org/link", folder)
    assert "holds plots/more, which is a link" in sentence
    assert len(pusher.hub.requests) == asked
