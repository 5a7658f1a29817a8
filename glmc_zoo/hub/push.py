"""An exported folder on the Hub, in one commit."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

from glmc_zoo.errors import UserError
from glmc_zoo.hub._folder import CARD_FILE, one_line
from glmc_zoo.hub.retry import http_status, is_transient
from glmc_zoo.hub.source import open_folder
from glmc_zoo.hub.upload import PushResult, Upload, check_token
from glmc_zoo.hub.validate import check_card, check_ref, check_repo_id, exported_files, is_converted, read_card

__all__ = ["PushResult", "check_login", "check_push", "push_command", "push_folder"]

_DEFAULT_MESSAGE = "Upload model"


def check_push(
    repo_id: str,
    *,
    revision: str | None = None,
    pull_request: bool = False,
    tag: str | None = None,
    collection: str | None = None,
) -> None:
    """Refuse, before any work is done, a push that cannot succeed; asks nothing of the network.

    Args:
        repo_id: as of `push_folder`, like the others.
        revision: branch to commit to.
        pull_request: whether a pull request is to be opened.
        tag: to set on the commit.
        collection: slug or title.

    Raises:
        UserError: a name cannot be one, options exclude one another, or nobody is logged in.
    """
    from huggingface_hub import get_token

    check_repo_id(repo_id)
    _check_options(revision, pull_request, tag, collection)
    token = get_token()
    if token is None:
        raise UserError(f"Nobody is logged in to push to {repo_id}: run `hf auth login`, or set HF_TOKEN.")
    if not re.fullmatch(r"[!-~]+", token):
        # An HTTP library would complain about the header, and show it.
        raise UserError("The token has characters that no token has: run `hf auth login` again, or set HF_TOKEN anew.")


def check_login() -> None:
    """Ask the Hub whether the login may write; silent where it cannot be asked now, since later it may.

    Raises:
        UserError: the token is not accepted, or may only read.
    """
    from huggingface_hub import HfApi

    try:
        check_token(HfApi(library_name="glmc_zoo"))
    except UserError:
        raise
    except Exception as error:  # the client raises its HTTP library's errors too
        if http_status(error) == 401:
            raise UserError(_reason(error, "")) from error


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    pull_request: bool = False,
    tag: str | None = None,
    collection: str | None = None,
    overwrite: bool = False,
    commit_message: str = _DEFAULT_MESSAGE,
    card: str | None = None,
    attempts: int = 4,
    first_wait: float = 1.0,
    api: Any = None,
) -> PushResult:
    """Put an exported folder on the Hub, as one commit, with the login that ``hf auth login`` or ``HF_TOKEN`` gave.

    Everything is checked before the first change on the Hub. Files of an earlier export that are no more are deleted in
    the same commit. Broken connections, 429 and 5xx are tried again, without ever making a second commit. Pushing what
    is there already changes nothing.

    Args:
        folder: an exported model; files whose name starts with a dot stay behind.
        repo_id: ``ORG/NAME``; made when it does not exist.
        private: whether a repository made here is private.
        revision: branch to commit to, made from main when missing; main by default.
        pull_request: open a pull request against main in place of a commit to it.
        tag: to set on the commit.
        collection: to add the repository to: a slug, or the title of one of the same owner, made when missing.
        overwrite: push even where another architecture, other classes or no timm model lies.
        commit_message: first line of the commit.
        card: text to push as ``README.md`` in place of the folder's.
        attempts: how often each request is tried.
        first_wait: seconds before the second attempt; each later wait is twice the one before.
        api: a ``huggingface_hub.HfApi`` to use in place of a fresh one.

    Returns:
        The repository's address and the commit.

    Raises:
        UserError: the folder, its card, a name or a combination of options is wrong; or the Hub refused or could not be
            reached, with the command that pushes later. Nothing local changes.
    """
    from huggingface_hub import HfApi

    folder = Path(folder)
    check_repo_id(repo_id)
    _check_options(revision, pull_request, tag, collection)
    if not commit_message.strip():
        raise UserError(f"The commit message {commit_message!r} is empty: say what is pushed.")
    files: dict[str, bytes | Path] = {**exported_files(folder)}
    open_folder(str(folder), folder)  # whole, and with the weights that its results speak of
    if card is None:
        card = read_card(folder)
    check_card(card, scored=not is_converted(folder))
    files[CARD_FILE] = card.encode()
    upload = Upload(
        api if api is not None else HfApi(library_name="glmc_zoo"),
        repo_id,
        files,
        branch=revision or "main",
        pull_request=pull_request,
        tag=tag,
        collection=collection,
        attempts=attempts,
        first_wait=first_wait,
    )
    try:
        if api is None:
            check_push(repo_id)
        remote = upload.look(private=private, overwrite=overwrite)
        return upload.send(remote, commit_message, private=private)
    except Exception as error:
        # The clients raise their HTTP library's, the xet library's and their own errors; a finished run outlives each.
        options = {"private": private, "revision": revision, "pull_request": pull_request, "tag": tag}
        options |= {"collection": collection, "overwrite": overwrite, "message": commit_message}
        failed = f"Pushing to {repo_id} failed"
        if upload.committed:
            failed = f"The model is at {upload.url}, and what was to follow failed"
        raise UserError(
            f"{failed}, the local results in {folder} are untouched: {_reason(error, repo_id)} Push later with"
            f" `{push_command(folder, repo_id, **options)}`."
        ) from error


def push_command(folder: str | Path, repo_id: str, **options: Any) -> str:
    """The command that pushes a folder with the same options; nothing of the login is in it."""
    installed = sys.argv[0].startswith("glmc-zoo ")
    words = ["glmc-zoo", "push"] if installed else ["python", "recipes/push.py"]
    words += ["--model", str(folder), "--repo", repo_id]
    for name, value in options.items():
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value not in (None, False) and (name, value) != ("message", _DEFAULT_MESSAGE):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _check_options(revision: str | None, pull_request: bool, tag: str | None, collection: str | None) -> None:
    if revision is not None:
        check_ref(revision, "branch")
    if tag is not None:
        check_ref(tag, "tag")
    if collection is not None and not collection.strip():
        raise UserError(f"The collection {collection!r} has no title: give its slug or a title.")
    if pull_request and (revision is not None or tag is not None):
        other = "revision" if revision is not None else "tag"
        raise UserError(f"A pull request is opened against main and takes no {other}: give one of the two.")


def _reason(error: Exception, repo_id: str) -> str:
    """One sentence on why the Hub did not do it."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    if isinstance(error, UserError):
        return error.sentence
    status = http_status(error)
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so that the Hub is not asked: unset it."
    if isinstance(error, GatedRepoError):
        return f"{repo_id} is gated and this login was not let in: ask for access on its page."
    if status == 401 and not isinstance(error, RepositoryNotFoundError):
        return "The Hub does not accept the token: run `hf auth login` again, or set HF_TOKEN to one that is valid."
    if status in (401, 403, 404):
        said = one_line(Exception(getattr(error, "server_message", None) or f"status {status}"))
        return f"This login may not write to {repo_id}, or cannot see it ({said[:-1]}): check the name and the login."
    if is_transient(error):
        return f"The Hub could not be reached or is out of order ({_without_address(error)})."
    token = get_token()
    text = one_line(error)
    return text.replace(token, "TOKEN") if token else text


def _without_address(error: BaseException) -> str:
    status = http_status(error)
    return f"status {status}" if status is not None else one_line(error)[:-1]
