"""Pushing an exported model to the Hub, from the command line and at the end of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glmc_zoo.engine.options import PushOptions, option
from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from glmc_zoo.hub import PushResult

__all__ = ["PushConfig", "check_push_run", "push_model", "push_run"]


@dataclass(kw_only=True)
class PushConfig:
    """Every option of a push."""

    model: str | None = option(None, "exported model, such as runs/NAME/model; its card is rendered anew")
    repo: str | None = option(None, "ORG/NAME of the repository on the Hub; made when it does not exist")
    private: bool = option(False, "make the repository private, when it is made by this push")
    revision: str | None = option(None, "branch to push to, made from main when missing; main by default")
    pull_request: bool = option(False, "open a pull request in place of a direct commit")
    tag: str | None = option(None, "tag to set on the pushed commit, such as v1.0")
    collection: str | None = option(None, "collection to add the model to: its slug, or a title (made when missing)")
    overwrite: bool = option(False, "push even over a model of another architecture or other classes")
    message: str = option("Upload model", "first line of the commit")

    def __post_init__(self) -> None:
        for name, example in (("model", "runs/NAME/model"), ("repo", "ORG/NAME")):
            if getattr(self, name) is None:
                raise UserError(f"--{name} is missing: give --{name} {example}.")


def push_model(config: PushConfig) -> PushResult:
    """Put an exported model on the Hub in one commit, its card rendered for that repository.

    The card is rendered anew from the ``results.json`` in the folder, so that its snippets name the repository; without
    one the folder's own card goes up. The local folder is only read.

    Raises:
        UserError: see `glmc_zoo.hub.push_folder`; or ``results.json`` is no JSON.
    """
    from glmc_zoo.hub import push_folder

    folder, repo_id = Path(str(config.model)), str(config.repo)
    return push_folder(
        folder,
        repo_id,
        private=config.private,
        revision=config.revision,
        pull_request=config.pull_request,
        tag=config.tag,
        collection=config.collection,
        overwrite=config.overwrite,
        commit_message=config.message,
        card=_card(folder, repo_id),
    )


def check_push_run(options: PushOptions) -> None:
    """Refuse, before a run starts, a push at its end that cannot succeed; nothing is checked without ``--push-to-hub``.

    Raises:
        UserError: a name cannot be one, options exclude one another, or nobody is logged in.
    """
    from glmc_zoo.hub import check_push

    if options.push_to_hub is not None:
        check_push(
            options.push_to_hub,
            revision=options.push_revision,
            pull_request=options.push_pull_request,
            tag=options.push_tag,
            collection=options.push_collection,
        )


def push_run(folder: Path, options: PushOptions) -> PushResult:
    """Push the model that a run has exported, as ``--push-to-hub`` and the options beside it say.

    Raises:
        UserError: as of `push_model`; the run's results stay as they are.
    """
    return push_model(
        PushConfig(
            model=str(folder),
            repo=options.push_to_hub,
            private=options.push_private,
            revision=options.push_revision,
            pull_request=options.push_pull_request,
            tag=options.push_tag,
            collection=options.push_collection,
            overwrite=options.push_overwrite,
        )
    )


def _card(folder: Path, repo_id: str) -> str | None:
    from glmc_zoo.hub import render_card

    path = folder / "results.json"
    if not path.is_file():
        return None
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is no JSON, so there is no card to render: export the run again.") from error
    if not isinstance(results, dict):
        raise UserError(f"{path} holds no JSON object, so there is no card to render: export the run again.")
    return render_card(results, repo_id=repo_id)
