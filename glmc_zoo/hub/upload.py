"""The requests of one push: first everything that can be checked, then the changes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from glmc_zoo.errors import UserError
from glmc_zoo.hub._folder import CARD_FILE, CONFIG_FILE
from glmc_zoo.hub.remote import Remote, difference, read_remote
from glmc_zoo.hub.retry import http_status, retrying

__all__ = ["PushResult", "Upload", "check_token"]

_T = TypeVar("_T")
_Done = tuple[str, "str | None"]  # hash of the commit, address of the pull request


@dataclass(frozen=True)
class PushResult:
    """Where a pushed model is."""

    url: str
    """Address of the repository."""
    commit: str
    """Hash of the commit that holds the model."""
    pull_request_url: str | None = None
    """Address of the pull request, when one was opened."""


@dataclass
class Upload:
    """One push under way: `look` asks the Hub, `send` changes it, each request tried again while that may help."""

    api: Any
    repo_id: str
    files: Mapping[str, bytes | Path]
    branch: str
    pull_request: bool
    tag: str | None
    collection: str | None
    attempts: int
    first_wait: float
    committed: bool = False
    """Whether the model itself is on the Hub."""

    @property
    def url(self) -> str:
        """Address of the repository."""
        return f"{self.api.endpoint}/{self.repo_id}"

    def _text(self, name: str) -> str:
        content = self.files[name]
        return (content if isinstance(content, bytes) else content.read_bytes()).decode("utf-8")

    def _ask(self, call: Callable[[], _T], done: Callable[[], _T | None] | None = None) -> _T:
        return retrying(call, attempts=self.attempts, first_wait=self.first_wait, done=done)

    def _remote(self) -> Remote | None:
        return read_remote(self.api, self.repo_id, self.branch)

    # ------------------------------------------------------------- asking
    def look(self, *, private: bool, overwrite: bool) -> Remote | None:
        """Check all that can be checked, and return what the repository holds; None when it is still to be made."""
        self._ask(self._check_login)
        self._ask(self._check_card)
        if self.collection is not None and _is_slug(self.collection):
            self._ask(self._check_collection)
        remote = self._ask(self._remote)
        if remote is None:
            return None
        if private and not remote.private:
            raise UserError(
                f"{self.repo_id} is there and public, so the model would not be private: change that in its settings on"
                " the Hub, or push without --private."
            )
        if not overwrite:
            config = json.loads(self._text(CONFIG_FILE))
            other = self._ask(lambda: difference(self.api, self.repo_id, remote, config))
            if other is not None:
                raise UserError(f"The repository {other}: give another name, or --overwrite to replace it.")
        if self.tag is not None:
            self._check_tag(remote)
        return remote

    def _check_login(self) -> None:
        check_token(self.api)

    def _check_card(self) -> None:
        """By the Hub itself, which the client asks only after the repository was made."""
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        response = get_session().post(
            f"{self.api.endpoint}/api/validate-yaml",
            json={"repoType": "model", "content": self._text(CARD_FILE)},
            headers=build_hf_headers(token=self.api.token, library_name="glmc_zoo"),
        )
        if response.status_code == 400:
            errors = "; ".join(str(error.get("message")) for error in response.json().get("errors", []))
            raise UserError(f"The Hub refuses the model card's front matter ({errors}): correct it in the results.")
        hf_raise_for_status(response)

    def _check_collection(self) -> None:
        try:
            self.api.get_collection(self.collection)
        except Exception as error:
            if http_status(error) != 404:
                raise
            raise UserError(
                f"There is no collection {self.collection} that this login can see: give the end of its address after"
                " collections/, or a title."
            ) from error

    def _check_tag(self, remote: Remote) -> None:
        """A tag may be there already when it is on what would be pushed."""
        target = self._tags().get(str(self.tag))
        if target is not None and not (target == remote.commit and remote.holds(self.files)):
            raise UserError(f"The tag {self.tag} is there already, on another commit: give another --tag.")

    def _tags(self) -> dict[str, str]:
        refs = self._ask(lambda: self.api.list_repo_refs(self.repo_id))
        return {ref.name: ref.target_commit for ref in refs.tags}

    # ----------------------------------------------------------- changing
    def send(self, remote: Remote | None, message: str, *, private: bool) -> PushResult:
        """Make what is missing, commit, tag and collect."""
        if remote is None:
            self._ask(lambda: self.api.create_repo(self.repo_id, private=private, exist_ok=True, repo_type="model"))
            remote = self._ask(self._remote)
        if remote is not None and not remote.branch_is_there:
            start = remote.commit
            self._ask(lambda: self.api.create_branch(self.repo_id, branch=self.branch, revision=start, exist_ok=True))
            remote = self._ask(self._remote)
        if remote is None or not remote.branch_is_there:
            raise UserError("The repository was made and is not to be found: look at its page on the Hub.")
        commit, pull_request_url = self._commit(remote, message)
        self.committed = True
        if self.tag is not None and self._tags().get(self.tag) != commit:
            self._ask(lambda: self.api.create_tag(self.repo_id, tag=self.tag, revision=commit, exist_ok=True))
        if self.collection is not None:
            self._collect(self.collection, private=private)
        return PushResult(self.url, commit, pull_request_url)

    def _commit(self, remote: Remote, message: str) -> _Done:
        if remote.holds(self.files):
            return remote.commit, None
        before = self._ask(self._pull_requests) if self.pull_request else {}

        def call() -> _Done:
            from huggingface_hub import CommitOperationAdd, CommitOperationDelete

            # New ones each time: the client marks them.
            added = [CommitOperationAdd(name, content) for name, content in self.files.items()]
            deleted = [CommitOperationDelete(name) for name in remote.stale(self.files)]
            try:
                made = self.api.create_commit(
                    self.repo_id,
                    operations=[*added, *deleted],
                    commit_message=message,
                    parent_commit=remote.commit,  # the Hub refuses when the branch has moved
                    revision=self.branch,
                    create_pr=self.pull_request,
                )
            except Exception as error:
                moved = done() if http_status(error) == 412 else None
                if moved is None:
                    raise
                return moved
            return made.oid, made.pr_url

        def done() -> _Done | None:
            if self.pull_request:
                return self._opened(before)
            now = self._remote()
            if now is None or now.commit == remote.commit:
                return None
            if not now.holds(self.files):
                raise UserError("Somebody else pushed to it at the same time.")
            return now.commit, None

        return self._ask(call, done)

    def _pull_requests(self) -> dict[str, str]:
        refs = self.api.list_repo_refs(self.repo_id, include_pull_requests=True)
        return {ref.ref: ref.target_commit for ref in refs.pull_requests or []}

    def _opened(self, before: Mapping[str, str]) -> _Done | None:
        """A pull request opened since ``before`` that holds what is pushed."""
        for ref, commit in self._pull_requests().items():
            if ref not in before:
                held = read_remote(self.api, self.repo_id, ref)
                if held is not None and held.holds(self.files):
                    return commit, f"{self.url}/discussions/{ref.rpartition('/')[2]}"
        return None

    def _collect(self, collection: str, *, private: bool) -> None:
        slug = collection
        if not _is_slug(collection):
            owner = self.repo_id.split("/")[0]
            made = self._ask(
                lambda: self.api.create_collection(collection, namespace=owner, private=private, exists_ok=True)
            )
            slug = made.slug
        self._ask(lambda: self.api.add_collection_item(slug, self.repo_id, "model", exists_ok=True))


def check_token(api: Any) -> None:
    """Ask the Hub whom the token stands for.

    Raises:
        UserError: the token may only read; and what the client raises when the Hub refuses it or cannot be asked.
    """
    who = api.whoami()
    access = (who.get("auth") or {}).get("accessToken") or {}
    if access.get("role") == "read":
        raise UserError(
            "The token may only read: make one that may write at https://huggingface.co/settings/tokens, then run"
            " `hf auth login` again or set HF_TOKEN."
        )


def _is_slug(collection: str) -> bool:
    """``OWNER/words-of-the-title-0123456789abcdef01234567``; anything else is a title."""
    return re.fullmatch(r"[\w.-]+/[\w-]*[0-9a-f]{16,}", collection, flags=re.ASCII) is not None
