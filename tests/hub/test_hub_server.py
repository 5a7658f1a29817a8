"""The Hub on loopback, asked by the Hub's client as it is: what the other tests stand on."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Callable
from subprocess import CompletedProcess
from urllib.parse import urlsplit

import pytest
from hub_server import HubServer
from waiting import PATIENCE

CLIENT = """
import json
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

api, said = HfApi(), {}
said["role"] = api.whoami()["auth"]["accessToken"]["role"]
api.create_repo("org/x", private=True)
said["url"] = str(api.create_repo("org/x", exist_ok=True))
card = b"---\\nlicense: mit\\n---\\nHello"
files = {"README.md": card, "model.safetensors": b"1" * 5000, "plots/a.png": b"12"}
commit = api.create_commit(
    "org/x", [CommitOperationAdd(name, data) for name, data in files.items()], commit_message="First",
    parent_commit=api.model_info("org/x").sha,
)
said["oid"] = commit.oid
info = api.model_info("org/x", files_metadata=True)
said["blobs"] = {s.rfilename: [s.size, s.lfs and s.lfs.sha256] for s in info.siblings}
said["license"], said["private"] = info.card_data.license, info.private
said["tree"] = sorted(entry.path for entry in api.list_repo_tree("org/x", recursive=True))
said["top"] = sorted(entry.path for entry in api.list_repo_tree("org/x"))
said["paths"] = sorted(entry.path for entry in api.get_paths_info("org/x", ["plots", "README.md", "nothing"]))
said["download"] = open(hf_hub_download("org/x", "model.safetensors"), "rb").read() == files["model.safetensors"]
said["snapshot"] = open(snapshot_download("org/x") + "/plots/a.png").read()
api.create_tag("org/x", tag="v1")
api.create_branch("org/x", branch="dev/one")
change = [CommitOperationDelete("plots/a.png"), CommitOperationAdd("b.txt", b"3")]
pull = api.create_commit("org/x", change, commit_message="Second", create_pr=True)
said["pull"] = [pull.pr_url, sorted(api.list_repo_files("org/x", revision=pull.pr_revision))]
api.delete_tag("org/x", tag="v1")
refs = api.list_repo_refs("org/x", include_pull_requests=True)
said["refs"] = {ref.ref: ref.target_commit for ref in [*refs.branches, *refs.tags, *refs.pull_requests]}
for _ in range(2):
    shelf = api.create_collection("My models", namespace="org", exists_ok=True)
    shelf = api.add_collection_item(shelf.slug, "org/x", "model", exists_ok=True)
said["shelf"] = [[item.item_id for item in shelf.items], [one.slug == shelf.slug for one in api.list_collections()]]

def refused(call):
    try:
        call()
    except (HfHubHTTPError, ValueError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        return [type(error).__name__.removeprefix("Remote"), status]

one = [CommitOperationAdd("b.txt", b"3")]
bad = [CommitOperationAdd("README.md", b"---\\nlicense: mine\\n---")]
said["refused"] = {
    "moved": refused(lambda: api.create_commit("org/x", one, commit_message="x", parent_commit="0" * 40)),
    "card": refused(lambda: api.create_commit("org/x", bad, commit_message="x")),
    "revision": refused(lambda: hf_hub_download("org/x", "README.md", revision="nothing")),
    "entry": refused(lambda: hf_hub_download("org/x", "nothing")),
    "no token": refused(lambda: HfApi(token=False).model_info("org/x")),
    "wrong token": refused(lambda: HfApi(token="hf_no").model_info("org/x")),
    "not there": refused(lambda: api.model_info("org/y")),
    "gated": refused(lambda: hf_hub_download("other/gated", "a.txt")),
    "not mine": refused(lambda: api.create_repo("other/x")),
}
print(json.dumps(said))
"""


@pytest.mark.processes
def test_the_client_as_it_is(hub: HubServer, hub_python: Callable[..., CompletedProcess[str]]) -> None:
    hub.repo("other/gated", gated=True, files={"a.txt": b"a"})
    done = hub_python("-c", CLIENT, token=hub.token())
    assert done.returncode == 0, done.stderr
    said, repo = json.loads(done.stdout), hub.find("org/x")
    assert repo is not None and [commit.oid for commit in repo.history] == [said["oid"]]
    sha256 = hashlib.sha256(b"1" * 5000).hexdigest()
    assert said["role"] == "write" and said["url"] == f"{hub.url}/org/x"
    assert said["blobs"]["model.safetensors"] == [5000, sha256] and said["blobs"]["README.md"] == [26, None]
    assert (said["license"], said["private"]) == ("mit", True)
    assert said["tree"] == [".gitattributes", "README.md", "model.safetensors", "plots", "plots/a.png"]
    assert said["top"] == [".gitattributes", "README.md", "model.safetensors", "plots"]
    assert said["paths"] == ["README.md", "plots"]
    assert said["download"] and said["snapshot"] == "12"
    pull = f"{hub.url}/org/x/discussions/1"
    assert said["pull"] == [pull, [".gitattributes", "README.md", "b.txt", "model.safetensors"]]
    heads = dict.fromkeys(["refs/heads/main", "refs/heads/dev/one"], said["oid"])
    assert said["refs"] == {**heads, "refs/pr/1": repo.pull_requests["refs/pr/1"]}
    assert said["shelf"] == [["org/x"], [True]]
    assert said["refused"] == {
        "moved": ["HfHubHTTPError", 412],
        "card": ["ValueError", None],
        "revision": ["RevisionNotFoundError", 404],
        "entry": ["EntryNotFoundError", 404],
        "no token": ["RepositoryNotFoundError", 401],
        "wrong token": ["HfHubHTTPError", 401],
        "not there": ["RepositoryNotFoundError", 404],
        "gated": ["GatedRepoError", 403],
        "not mine": ["HfHubHTTPError", 403],
    }


def get(hub: HubServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(hub.url).netloc, timeout=PATIENCE)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def test_ranges_and_headers(hub: HubServer) -> None:
    repo = hub.repo("org/x", files={"model.safetensors": bytes(range(100)), "a.txt": b"hello"})
    path = f"/org/x/resolve/{repo.head.oid}/model.safetensors"
    status, headers, body = get(hub, path, "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "100", b"")
    assert headers["X-Repo-Commit"] == repo.head.oid and headers["X-Linked-Size"] == "100"
    assert headers["X-Linked-Etag"] == f'"{hashlib.sha256(bytes(range(100))).hexdigest()}"'
    for asked, start, stop in (("bytes=10-19", 10, 20), ("bytes=90-", 90, 100), ("bytes=-5", 95, 100)):
        status, headers, body = get(hub, path, Range=asked)
        assert (status, body) == (206, bytes(range(start, stop)))
        assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/100"
    assert get(hub, path, Range="bytes=100-")[0] == 416
    # Git's hash of the blob "hello".
    assert get(hub, "/org/x/resolve/main/a.txt")[1]["ETag"] == '"b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"'


def test_faults(hub: HubServer) -> None:
    hub.repo("org/x", files={"a.txt": b"hello"})
    path = "/org/x/resolve/main/a.txt"
    hub.fail("GET", r"a\.txt$", status=503, times=2)
    assert [get(hub, path)[0] for _ in range(3)] == [503, 503, 200]
    hub.flip_byte(r"a\.txt$")
    assert get(hub, path)[2] == b"helln"
    assert get(hub, path, "HEAD")[1]["ETag"] == '"b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"'
    hub.heal()
    hub.lose_answer("GET", r"a\.txt$")
    with pytest.raises(http.client.RemoteDisconnected):
        get(hub, path)
    assert get(hub, path)[2] == b"hello"
    assert len(hub.asked("GET", "a.txt")) == 6


def test_headers_of_a_record_are_not_printed(hub: HubServer) -> None:
    token = hub.token()
    get(hub, "/api/whoami-v2", Authorization=f"Bearer {token}")
    (request,) = hub.requests
    assert request.token == token and token not in repr(request)
