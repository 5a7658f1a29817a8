"""Answers that make something: repositories, uploads, commits, branches, tags, collections."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from typing import Any

from hub_server.calls import DATE, Call
from hub_server.cards import card_errors
from hub_server.store import Collection, Commit, File, HubError, is_lfs


# ---------------------------------------------------------------- repositories
def create_repo(call: Call) -> Any:
    me, wish = call.logged_in(), call.json
    namespace, repo_type = wish.get("organization") or me.name, wish.get("type") or "model"
    repo_id = f"{namespace}/{wish['name']}"
    if me.role != "write" or not me.owns(namespace):
        raise HubError(403, f'You don\'t have the rights to create a {repo_type} under the namespace "{namespace}"')
    url = f"{call.hub.url}/{'' if repo_type == 'model' else repo_type + 's/'}{repo_id}"
    if call.hub.find(repo_id, repo_type):
        raise HubError(409, f"You already created this {repo_type} repo", url=url)
    private = wish.get("private", False) or wish.get("visibility") == "private"
    call.hub.repo(repo_id, repo_type=repo_type, private=bool(private))
    return {"url": url, "name": repo_id, "id": secrets.token_hex(12)}


# ---------------------------------------------------------------- uploading
def preupload(call: Call) -> Any:
    repo = call.writable(pull_request="create_pr" in call.query)
    there = repo.at(call.named["revision"]).tree
    return {
        "files": [
            {
                "path": wish["path"],
                "uploadMode": "lfs" if is_lfs(wish["path"], wish["size"]) else "regular",
                "shouldIgnore": False,
                "oid": there[wish["path"]].etag if wish["path"] in there else None,
            }
            for wish in call.json["files"]
        ]
    }


def lfs_batch(call: Call) -> Any:
    call.hub.store.writable(*call.place, call.account, pull_request=True)
    answer = []
    for wish in call.json["objects"]:
        entry = dict(wish)
        if wish["oid"] not in call.hub.store.objects:
            verify = f"{call.hub.url}/{call.named.get('prefix', '')}{call.named['repo']}.git/info/lfs/verify"
            entry["actions"] = {
                "upload": {"href": f"{call.hub.url}/lfs-objects/{wish['oid']}", "header": {}},
                "verify": {"href": verify, "header": {}},
            }
        answer.append(entry)
    return {"transfer": "basic", "objects": answer}


def lfs_put(call: Call) -> Any:
    """As of a signed address: the token does not come along."""
    if hashlib.sha256(call.body).hexdigest() != call.named["oid"]:
        raise HubError(400, "The object is not what its hash says")
    call.hub.store.objects[call.named["oid"]] = call.body
    return 200, {"ETag": f'"{call.named["oid"]}"'}, b""


def lfs_verify(call: Call) -> Any:
    wish = call.json
    held = call.hub.store.objects.get(wish["oid"])
    if held is None or len(held) != wish["size"]:
        raise HubError(404, "No such object")
    return {}


def make_commit(call: Call) -> Any:
    pull_request = bool(call.query.get("create_pr"))
    repo, revision = call.writable(pull_request=pull_request), call.named["revision"]
    if revision not in repo.branches and revision not in repo.pull_requests:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    parent = repo.at(revision)
    lines = [json.loads(line) for line in call.body.splitlines() if line]
    header = lines[0]["value"]
    wanted = header.get("parentCommit")
    if wanted and pull_request:
        parent = repo.at(wanted)
    elif wanted and not parent.oid.startswith(wanted):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    files = _applied(call, parent, lines[1:])
    if errors := card_errors(files["README.md"].data.decode()) if "README.md" in files else []:
        raise HubError(400, f"Invalid metadata in README.md: {'; '.join(errors)}")
    commit = repo.add(parent.oid, files, header["summary"])
    web = f"{call.hub.url}/{call.named['type'] + '/' if call.named['type'] != 'models' else ''}{repo.repo_id}"
    answer = {"success": True, "commitOid": commit.oid, "commitUrl": f"{web}/commit/{commit.oid}", "hookOutput": ""}
    if pull_request:
        number = len(repo.pull_requests) + 1
        repo.pull_requests[f"refs/pr/{number}"] = commit.oid
        answer["pullRequestUrl"] = f"{web}/discussions/{number}"
    else:
        repo.move(revision, commit.oid)
    return answer


def _applied(call: Call, parent: Commit, lines: list[dict[str, Any]]) -> dict[str, File]:
    """The files after a commit; all of it or, by an error, none."""
    files = dict(parent.tree)
    for line in lines:
        kind, value = line["key"], line["value"]
        path = value["path"]
        if kind == "file":
            files[path] = File(base64.b64decode(value["content"]))
        elif kind == "lfsFile":
            if value["oid"] not in call.hub.store.objects:
                raise HubError(400, f"LFS object of {path} was not uploaded")
            files[path] = File(call.hub.store.objects[value["oid"]], lfs=True)
        elif kind == "deletedFile":
            if path not in files:
                raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            del files[path]
        elif kind == "deletedFolder":
            files = {name: file for name, file in files.items() if not name.startswith(path.rstrip("/") + "/")}
        else:
            raise HubError(400, f"Unknown operation {kind}")
    return files


# ---------------------------------------------------------------- branches, tags, collections
def create_branch(call: Call) -> Any:
    repo, name = call.writable(), call.named["name"]
    if name in repo.branches:
        raise HubError(409, f"Reference already exists: refs/heads/{name}")
    repo.branches[name] = repo.at(call.json.get("startingPoint") or "main").oid
    return {}


def delete_branch(call: Call) -> Any:
    if call.writable().branches.pop(call.named["name"], None) is None:
        raise HubError(404, "No such branch", "RevisionNotFound")
    return {}


def create_tag(call: Call) -> Any:
    repo, tag = call.writable(), call.json["tag"]
    if tag in repo.tags:
        raise HubError(409, f"Reference already exists: refs/tags/{tag}")
    repo.tags[tag] = repo.at(call.named["name"]).oid
    return {}


def delete_tag(call: Call) -> Any:
    if call.writable().tags.pop(call.named["name"], None) is None:
        raise HubError(404, "No such tag", "RevisionNotFound")
    return {}


def _shown(call: Call, collection: Collection) -> dict[str, Any]:
    items = [
        {"_id": hashlib.sha1(name.encode()).hexdigest()[:24], "id": name, "type": kind, "position": i}
        for i, (kind, name) in enumerate(collection.items)
    ]
    return {
        "slug": collection.slug,
        "title": collection.title,
        "owner": {"name": collection.owner},
        "items": items,
        "lastUpdated": DATE,
        "position": 0,
        "private": collection.private,
        "theme": "green",
        "upvotes": 0,
        "description": None,
    }


def list_collections(call: Call) -> Any:
    shown = [_shown(call, one) for one in call.hub.store.collections.values()]
    return [{k: v for k, v in one.items() if k != "position"} for one in shown
            if one["owner"]["name"] == call.query.get("owner", one["owner"]["name"])]  # fmt: skip


def create_collection(call: Call) -> Any:
    me, wish = call.logged_in(), call.json
    if me.role != "write" or not me.owns(wish["namespace"]):
        raise HubError(403, "You may not make collections there")
    for one in call.hub.store.collections.values():
        if (one.owner, one.title) == (wish["namespace"], wish["title"]):
            raise HubError(409, "There is a collection of this title", slug=one.slug)
    words = re.sub(r"[^a-z0-9]+", "-", wish["title"].lower()).strip("-")
    slug = f"{wish['namespace']}/{words}-{secrets.token_hex(12)}"
    made = Collection(slug, wish["title"], wish["namespace"], bool(wish.get("private")))
    call.hub.store.collections[slug] = made
    return _shown(call, made)


def _collection(call: Call) -> Collection:
    found = call.hub.store.collections.get(call.named["slug"])
    if found is None:
        raise HubError(404, "Collection not found")
    return found


def get_collection(call: Call) -> Any:
    return _shown(call, _collection(call))


def add_item(call: Call) -> Any:
    me, collection, item = call.logged_in(), _collection(call), call.json["item"]
    if me.role != "write" or not me.owns(collection.owner):
        raise HubError(403, "You may not change this collection")
    if (item["type"], item["id"]) in collection.items:
        raise HubError(409, "It is in the collection already")
    call.hub.store.readable(item["type"], item["id"], call.account)
    collection.items.append((item["type"], item["id"]))
    return _shown(call, collection)
