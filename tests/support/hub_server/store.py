"""What the Hub holds: accounts, and repositories whose commits never change once they are made."""

from __future__ import annotations

import fnmatch
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

LFS_PATTERNS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.pkl", "*.parquet", "*.arrow", "*.png", "*.jpg", "*.zip")


class HubError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str, code: str | None = None, **body: object) -> None:
        super().__init__(message)
        self.status, self.code, self.body = status, code, {"error": message, **body}


@dataclass(frozen=True)
class Account:
    """Whom a token stands for, and what it may do."""

    name: str
    orgs: tuple[str, ...]
    role: str  # "write" or "read"

    def owns(self, namespace: str) -> bool:
        return namespace in (self.name, *self.orgs)


@dataclass(frozen=True)
class File:
    data: bytes = field(repr=False)
    lfs: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def blob_id(self) -> str:
        """Git's name of the blob; of an LFS file, that of its pointer."""
        data = self.data
        if self.lfs:
            data = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(data)}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.blob_id


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    tree: Mapping[str, File] = field(repr=False)

    @property
    def files(self) -> dict[str, bytes]:
        """Content of every file, without the ``.gitattributes`` that the Hub itself puts there."""
        return {path: file.data for path, file in self.tree.items() if path != ".gitattributes"}


@dataclass(eq=False)
class Repo:
    """One repository. ``branches``, ``tags`` and ``pull_requests`` name commits by their hash."""

    repo_id: str
    private: bool = False
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pull_requests: dict[str, str] = field(default_factory=dict)
    granted: set[str] = field(default_factory=set)
    """Accounts that were let into a gated repository."""

    def __post_init__(self) -> None:
        self.branches["main"] = self.add(None, {".gitattributes": File(b"")}, "initial commit").oid

    @property
    def namespace(self) -> str:
        return self.repo_id.split("/")[0]

    @property
    def head(self) -> Commit:
        """Newest commit of ``main``."""
        return self.commits[self.branches["main"]]

    @property
    def history(self) -> list[Commit]:
        """Commits of ``main``, oldest first, without the empty one that a repository starts with."""
        found, oid = [], self.head.parent and self.head.oid
        while oid and self.commits[oid].parent:
            found.append(self.commits[oid])
            oid = self.commits[oid].parent
        return found[::-1]

    def add(self, parent: str | None, tree: Mapping[str, File], title: str) -> Commit:
        commit = Commit(secrets.token_hex(20), parent, title, MappingProxyType(dict(sorted(tree.items()))))
        self.commits[commit.oid] = commit
        return commit

    def put(self, files: Mapping[str, bytes], title: str = "Put by the test", branch: str = "main") -> Commit:
        """Commit ``files`` on top of a branch, as if somebody else had."""
        tree = dict(self.commits[self.branches[branch]].tree)
        tree.update({path: File(bytes(data), is_lfs(path, len(data))) for path, data in files.items()})
        commit = self.add(self.branches[branch], tree, title)
        self.branches[branch] = commit.oid
        return commit

    def at(self, revision: str) -> Commit:
        """The commit that a branch, tag, reference or hash names."""
        heads, pulls = {f"refs/heads/{k}": v for k, v in self.branches.items()}, self.pull_requests
        oid = {**self.tags, **heads, **pulls, **self.branches}.get(revision)
        if oid is None and len(revision) >= 7:
            oid = next((known for known in self.commits if known.startswith(revision)), None)
        if oid is None:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def move(self, revision: str, oid: str) -> None:
        """Point a branch or the reference of a pull request to another commit."""
        refs = self.pull_requests if revision in self.pull_requests else self.branches
        refs[revision] = oid


@dataclass
class Collection:
    slug: str
    title: str
    owner: str
    private: bool = False
    items: list[tuple[str, str]] = field(default_factory=list)
    """Type and id of each item."""


@dataclass
class Store:
    """Everything together; a lock outside of it keeps requests apart."""

    tokens: dict[str, Account] = field(default_factory=dict)
    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    """LFS objects that were uploaded, by SHA-256."""
    collections: dict[str, Collection] = field(default_factory=dict)

    def readable(self, repo_type: str, repo_id: str, account: Account | None, *, content: bool = False) -> Repo:
        """The repository, when the account may see it (or, with ``content``, read files of it)."""
        repo = self.repos.get((repo_type, repo_id))
        member = repo is not None and account is not None and account.owns(repo.namespace)
        if repo is None or (repo.private and not member):
            # Not being there and not being for you look the same, and without a login are 401.
            raise (
                HubError(404, "Repository not found", "RepoNotFound")
                if account
                else HubError(401, "Invalid username or password.", "RepoNotFound")
            )
        if content and repo.gated and not member and (account is None or account.name not in repo.granted):
            who = "Please log in." if account is None else "Visit its page to ask for access."
            status = 401 if account is None else 403
            raise HubError(status, f"Access to model {repo_id} is restricted. {who}", "GatedRepo")
        return repo

    def writable(self, repo_type: str, repo_id: str, account: Account | None, *, pull_request: bool = False) -> Repo:
        """The repository, when the account may change it; anybody who can write somewhere may open a pull request."""
        repo = self.readable(repo_type, repo_id, account)
        if account is None:
            raise HubError(401, "Invalid username or password.")
        if account.role != "write" or not (pull_request or account.owns(repo.namespace)):
            raise HubError(403, f"Forbidden: you need write access to {repo_id} (token of role {account.role})")
        return repo


def is_lfs(path: str, size: int) -> bool:
    """Whether the Hub keeps a file outside of git."""
    return size > 10 * 1024 * 1024 or any(fnmatch.fnmatch(path, pattern) for pattern in LFS_PATTERNS)
