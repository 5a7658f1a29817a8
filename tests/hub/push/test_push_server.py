"""Pushing to a Hub on loopback, with the Hub's client as it is."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hub_server import Repo, Request

pytestmark = pytest.mark.processes


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def holds(repo: Repo | None, folder: Path) -> bool:
    """Whether main holds the files of the folder and nothing else."""
    return repo is not None and repo.head.files == contents(folder)


def changes(requests: list[Request]) -> list[str]:
    """Requests that could have changed something."""
    harmless = ("/validate-yaml", "/preupload/")
    return [r.path for r in requests if r.method not in ("GET", "HEAD") and not any(h in r.path for h in harmless)]


@pytest.fixture
def token(pusher: Any) -> str:
    return pusher.hub.token()


def test_one_commit_with_all_files(pusher: Any, exported: Path, token: str) -> None:
    result = pusher(exported, "org/first", token=token, private=True, message="My first")
    repo = pusher.hub.find("org/first")
    assert holds(repo, exported) and repo.private
    assert [commit.title for commit in repo.history] == ["My first"]
    assert result == {
        "url": f"{pusher.hub.url}/org/first",
        "commit": repo.head.oid,
        "pull_request_url": None,
    }
    assert repo.head.tree["model.safetensors"].lfs
    assert pusher(exported, "org/first", token=token)["commit"] == repo.head.oid  # nothing changes
    assert len(repo.history) == 1


def test_files_of_an_earlier_export_go_in_the_same_commit(
    pusher: Any, exported: Path, export: Callable[..., Path], token: str
) -> None:
    repo = pusher.hub.repo("org/again", files=exported)
    repo.put({"notes.txt": b"of the owner", "pytorch_model.bin": b"old weights"})
    slim = export("slim", plots=("training.png",), heads=False, seed=1)
    pusher(slim, "org/again", token=token)
    assert len(repo.history) == 3
    assert repo.head.files == {**contents(slim), "notes.txt": b"of the owner"}


def test_the_token_travels_in_its_header_alone(pusher: Any, exported: Path, token: str) -> None:
    pusher(exported, "org/quiet", token=token, tag="v1", collection="Quiet models")
    seen = pusher.hub.requests
    assert any(request.token == token for request in seen)
    for request in seen:
        others = {name: value for name, value in request.headers.items() if name != "authorization"}
        assert token not in request.path and token not in str(others) and token.encode() not in request.body


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"token": None}, "Nobody is logged in"),
        ({"token": "hf_unknown"}, "does not accept the token"),
        ({"token": "hf_x\u00e9"}, "characters that no token has"),
        ({"token": "read"}, "may only read"),
        ({"repo_id": "other/name"}, "may not write to other/name"),
        ({"repo_id": "other/private"}, "may not write to other/private"),
        ({"repo_id": "other/public"}, "may not write to other/public"),
        ({"repo_id": "other/gated"}, "gated and this login has no access"),
    ],
)
def test_who_may_not_push(pusher: Any, exported: Path, options: dict[str, str], expected: str) -> None:
    hub = pusher.hub
    tokens = {"write": hub.token(), "read": hub.token("read")}
    for name in ("private", "public", "gated"):
        repo = hub.repo(f"other/{name}", private=name == "private", gated=name == "gated", files=exported)
        repo.put({"README.md": b"an earlier card"})
    wanted = {"repo_id": "org/refused", "token": "write"} | options
    known, before = wanted["token"], contents(exported)
    heads = {key: repo.head for key, repo in hub.store.repos.items()}
    answer = pusher(exported, wanted["repo_id"], token=tokens.get(known, known))
    sentence = answer["sentence"]
    assert expected in sentence and "untouched" in sentence
    assert f"--repo {wanted['repo_id']}" in sentence
    assert known is None or tokens.get(known, known) not in answer["message"]
    assert heads == {key: repo.head for key, repo in hub.store.repos.items()}
    assert contents(exported) == before


def test_a_name_that_breaks_the_rules_is_refused_before_the_hub_is_asked(
    pusher: Any, exported: Path, token: str
) -> None:
    asked = len(pusher.hub.requests)
    for name in ("not a name", "org/na me", "a/b/c", "org/x--y", "org/.hidden", "nameonly"):
        assert f"repo={name!r} is not a repository" in pusher(exported, name, token=token)["sentence"]
    assert len(pusher.hub.requests) == asked


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("license: apache-2.0", "license: my-own", "The Hub refuses"),
        ("license: apache-2.0\n", "", "lacks license"),
        ("library_name: timm", "library_name: keras", "must be timm"),
        ("pipeline_tag: image-classification", "pipeline_tag: [", "not valid"),
    ],
)
def test_a_card_that_is_refused_changes_nothing(
    pusher: Any, exported: Path, token: str, tmp_path: Path, old: str, new: str, expected: str
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    card = folder / "README.md"
    assert old in card.read_text()
    card.write_text(card.read_text().replace(old, new, 1))
    asked = len(pusher.hub.requests)
    assert expected in pusher(folder, "org/card", token=token)["sentence"]
    assert pusher.hub.find("org/card") is None
    assert changes(pusher.hub.requests[asked:]) == []


def test_somebody_elses_model_stays_unless_told_otherwise(
    pusher: Any, exported: Path, export: Callable[..., Path], token: str
) -> None:
    hub = pusher.hub
    others = {
        "org/architecture": ({"backbone": "test_vit"}, "holds a test_vit, not a test_resnet"),
        "org/number": ({"classes": ["ant", "bee"]}, "holds a model of 2 classes, not of 5 classes"),
        "org/classes": ({"classes": ["ant", "bee", "cat", "dog", "owl"]}, "other classes ('owl' instead of 'emu')"),
    }
    for repo_id, (options, expected) in others.items():
        repo = hub.repo(repo_id, files=export(repo_id, **options))
        sentence = pusher(exported, repo_id, token=token)["sentence"]
        assert expected in sentence and "overwrite=True" in sentence
        assert len(repo.history) == 1
        assert "commit" in pusher(exported, repo_id, token=token, overwrite=True)
        assert holds(repo, exported) and len(repo.history) == 2
    book = hub.repo("org/book", files={"chapter.txt": b"Once", "config.json": b"{}"})
    assert (
        "holds files (chapter.txt, config.json) but no timm model"
        in pusher(exported, "org/book", token=token)["sentence"]
    )
    assert len(book.history) == 1
    weights = export("retrained", seed=5)  # the same architecture and classes: an update
    assert "commit" in pusher(weights, "org/classes", token=token)


def test_a_public_repository_is_not_taken_for_private(pusher: Any, exported: Path, token: str) -> None:
    repo = pusher.hub.repo("org/open")
    assert "exists and is public" in pusher(exported, "org/open", token=token, private=True)["sentence"]
    assert repo.history == []


def test_branch_tag_and_collection(pusher: Any, exported: Path, export: Callable[..., Path], token: str) -> None:
    hub, options = pusher.hub, {"revision": "dev/one", "tag": "v1.0", "collection": "Long tails"}
    first = pusher(exported, "org/parts", token=token, **options)
    repo = hub.find("org/parts")
    assert repo.history == [] and repo.branches["dev/one"] == first["commit"] == repo.tags["v1.0"]
    assert repo.commits[first["commit"]].files == contents(exported)
    assert pusher(exported, "org/parts", token=token, **options) == first  # all is there already

    (collection,) = [one for one in hub.store.collections.values() if one.title == "Long tails"]
    assert collection.owner == "org" and collection.items == [("model", "org/parts")]
    pusher(exported, "org/second", token=token, collection=collection.slug)
    assert collection.items == [("model", "org/parts"), ("model", "org/second")]

    other = export("other", seed=3)
    assert "tag='v1.0' exists already" in pusher(other, "org/parts", token=token, tag="v1.0")["sentence"]
    shelf = "org/nothing-0123456789abcdef01234567"
    assert f"no collection {shelf}" in pusher(other, "org/parts", token=token, collection=shelf)["sentence"]
    assert repo.history == []


def test_a_pull_request_leaves_main_alone(pusher: Any, exported: Path, export: Callable[..., Path], token: str) -> None:
    hub = pusher.hub
    repo = hub.repo("other/theirs", files=exported)  # of somebody else: a pull request may be opened all the same
    newer, head = export("newer", seed=2), repo.head
    result = pusher(newer, "other/theirs", token=token, pull_request=True)
    assert result["pull_request_url"] == f"{hub.url}/other/theirs/discussions/1"
    assert repo.head is head and repo.commits[repo.pull_requests["refs/pr/1"]].files == contents(newer)
    newest = export("newest", seed=3)
    hub.lose_answer("POST", "/commit/main")
    result = pusher(newest, "other/theirs", token=token, pull_request=True)
    assert result["pull_request_url"].endswith("/discussions/2") and len(repo.pull_requests) == 2
    sentence = pusher(newer, "other/theirs", token=token, pull_request=True, tag="v1")["sentence"]
    assert "takes no tag" in sentence


@pytest.mark.parametrize("status", [503, 500, 429])
def test_busy_twice_then_success(pusher: Any, exported: Path, token: str, status: int) -> None:
    repo_id = f"org/busy{status}"
    for method, path in (("POST", "/api/repos/create"), ("POST", f"{repo_id}/commit/main"), ("GET", "/whoami-v2")):
        pusher.hub.fail(method, path, status=status, times=2)
    pusher(exported, repo_id, token=token)
    repo = pusher.hub.find(repo_id)
    assert holds(repo, exported) and len(repo.history) == 1
    assert len(pusher.hub.asked("POST", f"{repo_id}/commit/main")) == 3


def test_a_refusal_is_not_tried_again(pusher: Any, exported: Path, token: str) -> None:
    pusher.hub.fail("POST", "org/stop/commit/main", status=403)
    assert "may not write" in pusher(exported, "org/stop", token=token)["sentence"]
    assert len(pusher.hub.asked("POST", "org/stop/commit/main")) == 1


def test_an_answer_that_is_lost_makes_no_second_commit(pusher: Any, exported: Path, token: str) -> None:
    pusher.hub.lose_answer("POST", "/api/repos/create")
    pusher.hub.lose_answer("POST", "org/lost/commit/main")
    result = pusher(exported, "org/lost", token=token, tag="v1")
    repo = pusher.hub.find("org/lost")
    assert [commit.oid for commit in repo.history] == [result["commit"]] == [repo.tags["v1"]]
    assert len(pusher.hub.asked("POST", "org/lost/commit/main")) == 1


def test_a_connection_cut_in_the_upload_leaves_the_old_head(
    pusher: Any, exported: Path, export: Callable[..., Path], token: str
) -> None:
    hub = pusher.hub
    repo = hub.repo("org/cut", files=exported)
    newer, old = export("newer", seed=4), repo.head
    oid = hashlib.sha256((newer / "model.safetensors").read_bytes()).hexdigest()
    hub.cut_upload(f"/lfs-objects/{oid}", after=1000)  # the client itself tries that again
    hub.cut_upload("org/cut/commit/main", method="POST", after=500, times=None)
    answer = pusher(newer, "org/cut", token=token, attempts=2)
    assert "could not be reached" in answer["sentence"]
    assert repo.head is old and list(repo.commits.values())[-1] is old
    assert len(hub.asked("PUT", oid)) == 2
    hub.heal()
    pusher(newer, "org/cut", token=token)
    assert holds(repo, newer) and repo.head.parent == old.oid


def test_two_who_push_at_once(pusher: Any, exported: Path, export: Callable[..., Path], token: str) -> None:
    """The head moves after it was looked at: the push is refused rather than put on top of what nobody has seen."""
    repo = pusher.hub.repo("org/race", files=exported)
    pusher.hub.on("POST", "org/race/preupload", lambda: repo.put({"README.md": b"edited on the site"}))
    answer = pusher(export("mine", seed=6), "org/race", token=token)
    assert "Somebody else pushed" in answer["sentence"]
    assert repo.head.files["README.md"] == b"edited on the site"


def test_out_of_order_for_good(pusher: Any, exported: Path, token: str) -> None:
    before = contents(exported)
    pusher.hub.fail("*", "", times=None)
    answer = pusher(exported, "org/down", token=token, tag="v1", private=True, collection="My zoo")
    assert answer["sentence"] == (
        f"Pushing to org/down failed, the local results in {exported} are untouched: The Hub could not be reached or is"
        f" out of order (status 503). Push later with `python recipes/push.py --model {exported} --repo org/down"
        " --private --tag v1 --collection 'My zoo'`."
    )
    assert contents(exported) == before and token not in json.dumps(answer)
    assert pusher.hub.find("org/down") is None
