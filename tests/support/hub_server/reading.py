"""Answers that change nothing: who is asking, whether a card is good, what a repository is and holds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from hub_server.calls import DATE, Call
from hub_server.cards import card_errors, front_matter
from hub_server.store import Commit, File, HubError


def whoami(call: Call) -> Any:
    me = call.logged_in()
    access = {"displayName": "a token", "role": me.role, "createdAt": DATE}
    orgs = [{"type": "org", "name": name, "roleInOrg": "admin"} for name in me.orgs]
    return {"type": "user", "name": me.name, "orgs": orgs, "auth": {"type": "access_token", "accessToken": access}}


def validate_yaml(call: Call) -> Any:
    errors = card_errors(call.json["content"])
    if errors:
        raise HubError(400, "Invalid metadata", errors=[{"message": error} for error in errors], warnings=[])
    return {"errors": [], "warnings": []}


def repo_info(call: Call) -> Any:
    repo = call.readable()
    commit = repo.at(call.named.get("revision", "main"))
    card = front_matter(commit.files.get("README.md", b"").decode())
    siblings: list[dict[str, Any]] = [{"rfilename": path} for path in commit.tree]
    if call.query.get("blobs", "").lower() in ("true", "1"):
        for entry, file in zip(siblings, commit.tree.values(), strict=True):
            entry.update(size=len(file.data), blobId=file.blob_id)
            if file.lfs:
                entry["lfs"] = {"sha256": file.sha256, "size": len(file.data), "pointerSize": 130}
    return {
        "_id": hashlib.sha1(repo.repo_id.encode()).hexdigest()[:24],
        "id": repo.repo_id,
        "modelId": repo.repo_id,
        "author": repo.namespace,
        "sha": commit.oid,
        "lastModified": DATE,
        "createdAt": DATE,
        "private": repo.private,
        "gated": "manual" if repo.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [tag for tag in card.get("tags") or [] if isinstance(tag, str)],
        "cardData": card or None,
        "siblings": siblings,
    }


# ---------------------------------------------------------------- files
def _entry(path: str, file: File) -> dict[str, Any]:
    entry = {"type": "file", "oid": file.blob_id, "size": len(file.data), "path": path}
    if file.lfs:
        entry["lfs"] = {"oid": file.sha256, "size": len(file.data), "pointerSize": 130}
    return entry


def _folders(commit: Commit) -> set[str]:
    return {path[: match.start()] for path in commit.tree for match in re.finditer("/", path)}


def _folder_entry(path: str) -> dict[str, Any]:
    return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}


def tree(call: Call) -> Any:
    commit = call.readable().at(call.named["revision"])
    folder = call.named.get("path", "").strip("/")
    folders = _folders(commit)
    if folder and folder not in folders:
        raise HubError(404, f"{folder} does not exist on {call.named['revision']!r}", "EntryNotFound")
    start = f"{folder}/" if folder else ""
    entries = [_folder_entry(path) for path in sorted(folders)]
    entries += [_entry(path, file) for path, file in commit.tree.items()]
    recursive = call.query.get("recursive", "").lower() in ("true", "1")
    inside = [entry for entry in entries if entry["path"].startswith(start)]
    return [entry for entry in inside if recursive or "/" not in entry["path"][len(start) :]]


def paths_info(call: Call) -> Any:
    commit = call.readable().at(call.named["revision"])
    if "json" in (call.headers.get("Content-Type") or ""):
        paths = call.json["paths"]
    else:
        paths = parse_qs(call.body.decode()).get("paths", [])
    folders, found = _folders(commit), []
    for path in paths:
        if path in commit.tree:
            found.append(_entry(path, commit.tree[path]))
        elif path in folders:
            found.append(_folder_entry(path))
    return found


def refs(call: Call) -> Any:
    repo = call.readable()

    def listed(kind: str, names: Mapping[str, str]) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"{kind}{name}", "targetCommit": oid} for name, oid in names.items()]

    answer = {
        "branches": listed("refs/heads/", repo.branches),
        "tags": listed("refs/tags/", repo.tags),
        "converts": [],
    }
    if call.query.get("include_prs"):
        answer["pullRequests"] = listed("", repo.pull_requests)
    return answer


def commits(call: Call) -> Any:
    repo = call.readable()
    found, oid = [], repo.at(call.named["revision"]).oid
    while oid:
        commit = repo.commits[oid]
        found.append({"id": oid, "title": commit.title, "message": "", "authors": [], "date": DATE})
        oid = commit.parent or ""
    return found


def resolve(call: Call) -> Any:
    commit = call.readable(content=True).at(call.named["revision"])
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
    file = commit.tree.get(call.named["path"])
    if file is None:
        raise HubError(404, "Entry not found", "EntryNotFound")
    headers.update({"ETag": f'"{file.etag}"', "Content-Type": "application/octet-stream"})
    if file.lfs:
        headers.update({"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.data))})
    size = len(file.data)
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", call.headers.get("Range") or "")
    if not asked or not any(asked.groups()):
        return 200, headers, file.data
    first, last = asked.groups()
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= size:
        return 416, {**headers, "Content-Range": f"bytes */{size}"}, b""
    return 206, {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}, file.data[start:stop]
