"""An exported folder on the Hub, in one commit: first everything that can be checked, then the changes."""

import dataclasses
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from glmc_zoo.documents import parse_json, read_text
from glmc_zoo.errors import UserError
from glmc_zoo.hub.config import check_config
from glmc_zoo.hub.export.card import render_card
from glmc_zoo.hub.folder import CARD_FILE, CONFIG_FILE, SAMPLE_FILE, read_results
from glmc_zoo.hub.load.source import open_folder
from glmc_zoo.hub.plain_files import exported_files
from glmc_zoo.hub.push.checks import check_card, check_repo_id, check_token, check_token_set, failure_reason
from glmc_zoo.hub.push.remote import Remote, difference, read_remote
from glmc_zoo.hub.push.target import PushTarget
from glmc_zoo.results import RunResults
from glmc_zoo.retry import Budget, call_with_retries, http_status

_T = TypeVar("_T")
_Commit = tuple[str, str | None]  # hash of the commit, address of the pull request


@dataclass(frozen=True)
class PushResult:
    """Addresses of the repository and, when one was opened, of the pull request; and the hash of the commit."""

    url: str
    commit: str
    pull_request_url: str | None = None


def check_push(target: PushTarget) -> None:
    """Refuse, before any work is done, a push that cannot succeed; does not use the network."""
    check_repo_id(target.repo)
    check_token_set(target.repo)


def push_model(folder: str | Path, target: PushTarget) -> PushResult:
    """Push an exported folder, its card rendered anew so that the snippets name the repository.

    A folder without results of glmc_zoo is pushed with its own card. The local folder is only read. Errors are those of
    `push_folder`.
    """
    folder = Path(folder)
    results = read_results(folder)
    card = None if results is None else _render_card(folder, results, target.repo)
    return push_folder(folder, target, card=card)


def _render_card(folder: Path, results: RunResults, repo_id: str) -> str:
    """The card of a folder whose snippets name a repository; without a sample image that was deleted."""
    if not (folder / SAMPLE_FILE).is_file():
        results = replace(results, sample_image=None)
    return render_card(results, repo_id=repo_id)


def push_folder(
    folder: str | Path, target: PushTarget, *, card: str | None = None, attempts: int = 4, first_wait: float = 1.0
) -> PushResult:
    """Put an exported folder on the Hub, as one commit, with the login of ``hf auth login`` or ``HF_TOKEN``.

    Everything is checked before the first change on the Hub. The same commit deletes files of an earlier export that
    this one does not have. Broken connections, 429 and 5xx are retried as `call_with_retries` does, without ever making
    a second commit. Pushing the same folder again changes nothing. Files whose name starts with a dot are not pushed.
    ``card`` is a text to push as ``README.md`` instead of the folder's card.

    A wrong folder, card or name raises a `UserError`, and so does a Hub that refuses or cannot be reached: the sentence
    then holds the command that pushes later. No local file changes.
    """
    folder = Path(folder)
    check_repo_id(target.repo)
    results = open_folder(str(folder), folder).results  # also compares the weights with their SHA-256
    files = exported_files(folder)
    if card is None:
        card = read_text(folder / CARD_FILE, f"{folder / CARD_FILE}, the model card,", fix="Export the run again.")
    check_card(card, scored=results is None or results.test is not None)
    upload = Upload(target, {**files, CARD_FILE: card.encode()}, attempts, first_wait)
    return upload.run(folder, push_command(folder, target))


def model_files(folder: Path, repo_id: str) -> dict[str, bytes | Path]:
    """What a push of an exported folder would send, by path in the repository; errors are those of `push_folder`."""
    results = open_folder(str(folder), folder).results
    files = exported_files(folder)
    return files if results is None else {**files, CARD_FILE: _render_card(folder, results, repo_id).encode()}


def push_command(
    folder: str | Path, target: PushTarget, extra: Mapping[str, Any] | None = None, *, repo: bool = True
) -> str:
    """The command that pushes a folder with the same options, and with ``extra``; it holds nothing of the login.

    Without ``repo``, the target is that of a demo alone, which ``extra`` names.
    """
    installed = sys.argv[0].startswith("glmc-zoo ")
    words = ["glmc-zoo", "push"] if installed else ["python", "recipes/push.py"]
    words += ["--model", str(folder)]
    fields = [field for field in dataclasses.fields(target) if repo or field.name in ("private", "overwrite")]
    values = {field.name: value for field in fields if (value := getattr(target, field.name)) != field.default}
    for name, value in {**values, **(extra or {})}.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)


class Upload:
    """One push: `check_remote` asks the Hub, `send` changes it; each request is retried while that may help."""

    kind: ClassVar[str] = "model"
    """Kind of the repository, as the Hub calls it."""
    create_options: ClassVar[dict[str, Any]] = {}
    """More about a repository that is made."""

    def __init__(
        self, target: PushTarget, files: Mapping[str, bytes | Path], attempts: int = 4, first_wait: float = 1.0
    ) -> None:
        from huggingface_hub import HfApi

        self._api: Any = HfApi(library_name="glmc_zoo")
        self._target, self._files = target, files
        self._attempts, self._first_wait, self._budget = attempts, first_wait, Budget()
        self._branch = target.revision or "main"
        self.url = f"{self._api.endpoint}/{self.address}{target.repo}"
        self.committed = False  # whether the files themselves are on the Hub

    @property
    def address(self) -> str:
        """What stands before the name of the repository in its address."""
        return "" if self.kind == "model" else f"{self.kind}s/"

    def _text(self, name: str) -> str:
        content = self._files[name]
        return (content if isinstance(content, bytes) else content.read_bytes()).decode("utf-8")

    def _request(
        self, call: Callable[[], _T], recover_result: Callable[[], _T | None] | None = None, *, long: bool = False
    ) -> _T:
        return call_with_retries(
            call,
            attempts=self._attempts,
            first_wait=self._first_wait,
            recover_result=recover_result,
            budget=self._budget,
            long=long,
        )

    def _read_remote(self) -> Remote | None:
        return read_remote(self._api, self._target.repo, self._branch, self.kind)

    def difference(self, remote: Remote) -> str | None:
        """How what the repository holds differs from what is pushed: the end of a sentence about the repository."""
        config = check_config(parse_json(self._text(CONFIG_FILE), CONFIG_FILE), CONFIG_FILE)
        return self._request(lambda: difference(self._api, self._target.repo, remote, config))

    def run(self, folder: str | Path, retry_command: str) -> PushResult:
        """Check the Hub, then send; a `UserError` names the local ``folder`` and the command that pushes it later."""
        repo_id = self._target.repo
        try:
            check_token_set(repo_id)
            return self.send(self.check_remote())
        except Exception as error:
            # The clients raise errors of their own, of their HTTP library and of xet; a finished run must outlive each.
            failure = f"Pushing to {repo_id} failed"
            if self.committed:
                failure = f"The {self.kind} is at {self.url}, and what was to follow failed"
            reason = failure_reason(error, repo_id)
            raise UserError(
                f"{failure}, the local results in {folder} are untouched: {reason} Push later with `{retry_command}`."
            ) from error

    def check_remote(self) -> Remote | None:
        """Check all that can be checked; returns what the repository holds, ``None`` when it does not exist yet."""
        target = self._target
        self._request(lambda: check_token(self._api))
        self._request(self._check_card)
        if target.collection is not None and _is_slug(target.collection):
            try:
                self._request(lambda: self._api.get_collection(target.collection))
            except Exception as error:
                if http_status(error) != 404:
                    raise
                failure = f"There is no collection {target.collection} that this login can see"
                raise UserError(f"{failure}: give the end of its address after collections/, or a title.") from error
        remote = self._request(self._read_remote)
        if remote is None:
            return None
        if target.private and not remote.private:
            fix = "change that in its settings on the Hub, or leave private=True out"
            raise UserError(f"{target.repo} exists and is public, so the {self.kind} would not be private: {fix}.")
        if not target.overwrite:
            difference = self.difference(remote)
            if difference is not None:
                raise UserError(f"The repository {difference}: give another name, or overwrite=True to replace it.")
        tagged_commit = self._tagged_commit()
        if tagged_commit is not None and not (tagged_commit == remote.commit and remote.contains(self._files)):
            raise UserError(f"tag={target.tag!r} exists already, on another commit: give another one.")
        return remote

    def _check_card(self) -> None:
        """Let the Hub check the card before anything is created; ``huggingface_hub`` would ask only when it commits."""
        from huggingface_hub import utils

        client: Any = utils  # `Any`, because huggingface_hub does not list these functions as public
        response = client.get_session().post(
            f"{self._api.endpoint}/api/validate-yaml",
            json={"repoType": self.kind, "content": self._text(CARD_FILE)},
            headers=client.build_hf_headers(library_name="glmc_zoo"),
        )
        if response.status_code == 400:
            errors = "; ".join(str(error.get("message")) for error in response.json().get("errors", []))
            raise UserError(
                f"The Hub refuses the front matter of {CARD_FILE} ({errors}): correct results.json, which the card is "
                f"rendered from, or {CARD_FILE} itself in a folder without results.json."
            )
        client.hf_raise_for_status(response)

    def _tagged_commit(self) -> str | None:
        """The commit that the target's tag is on already."""
        if self._target.tag is None:
            return None
        refs = self._request(lambda: self._api.list_repo_refs(self._target.repo, repo_type=self.kind))
        return next((ref.target_commit for ref in refs.tags if ref.name == self._target.tag), None)

    def send(self, remote: Remote | None) -> PushResult:
        """Make the repository or branch if it is missing, then commit, tag and add to the collection."""
        target, api = self._target, self._api
        if remote is None:
            options = {"private": target.private, "exist_ok": True, "repo_type": self.kind, **self.create_options}
            self._request(lambda: api.create_repo(target.repo, **options))
            remote = self._request(self._read_remote)
        if remote is not None and not remote.branch_exists:
            start = remote.commit
            branch_options = {"branch": self._branch, "revision": start, "exist_ok": True, "repo_type": self.kind}
            self._request(lambda: api.create_branch(target.repo, **branch_options))
            remote = self._request(self._read_remote)
        if remote is None or not remote.branch_exists:
            raise UserError("The repository was made but cannot be read: look at its page on the Hub.")
        commit, pull_request_url = self._commit(remote)
        self.committed = True
        if target.tag is not None and self._tagged_commit() != commit:
            tag_options = {"tag": target.tag, "revision": commit, "exist_ok": True, "repo_type": self.kind}
            self._request(lambda: api.create_tag(target.repo, **tag_options))
        if target.collection is not None:
            slug = title = target.collection
            if not _is_slug(title):
                options = {"namespace": target.repo.split("/")[0], "private": target.private, "exists_ok": True}
                slug = self._request(lambda: api.create_collection(title, **options)).slug
            self._request(lambda: api.add_collection_item(slug, target.repo, self.kind, exists_ok=True))
        return PushResult(self.url, commit, pull_request_url)

    def _commit(self, remote: Remote) -> _Commit:
        if remote.contains(self._files):
            return remote.commit, None
        known_requests = self._request(self._pull_requests) if self._target.pull_request else {}

        def call() -> _Commit:
            from huggingface_hub import CommitOperationAdd, CommitOperationDelete

            # New operations for each attempt: the client marks them as used.
            added = [CommitOperationAdd(name, content) for name, content in self._files.items()]
            deleted = [CommitOperationDelete(name) for name in remote.outdated_files(self._files)]
            try:
                commit_info = self._api.create_commit(
                    self._target.repo,
                    operations=[*added, *deleted],
                    commit_message=self._target.message,
                    parent_commit=remote.commit,  # the Hub refuses when the branch has moved
                    revision=self._branch,
                    create_pr=self._target.pull_request,
                    repo_type=self.kind,
                )
            except Exception as error:
                commit = find_commit() if http_status(error) == 412 else None
                if commit is None:
                    raise
                return commit
            return commit_info.oid, commit_info.pr_url

        def find_commit() -> _Commit | None:
            if self._target.pull_request:
                return self._find_pull_request(known_requests)
            remote_now = self._read_remote()
            if remote_now is None or remote_now.commit == remote.commit:
                return None
            if not remote_now.contains(self._files):
                raise UserError("Somebody else pushed to it at the same time.")
            return remote_now.commit, None

        return self._request(call, find_commit, long=True)

    def _pull_requests(self) -> dict[str, str]:
        refs = self._api.list_repo_refs(self._target.repo, include_pull_requests=True, repo_type=self.kind)
        return {ref.ref: ref.target_commit for ref in refs.pull_requests or []}

    def _find_pull_request(self, known_requests: Mapping[str, str]) -> _Commit | None:
        """The new pull request, not in ``known_requests``, that holds what is pushed."""
        for ref, commit in self._pull_requests().items():
            if ref not in known_requests:
                pull_request = read_remote(self._api, self._target.repo, ref, self.kind)
                if pull_request is not None and pull_request.contains(self._files):
                    return commit, f"{self.url}/discussions/{ref.rpartition('/')[2]}"
        return None


def _is_slug(collection: str) -> bool:
    """Whether this is ``OWNER/words-of-the-title-0123456789abcdef01234567``; anything else is a title."""
    return re.fullmatch(r"[\w.-]+/[\w-]*[0-9a-f]{16,}", collection, flags=re.ASCII) is not None
