"""A Space on the Hub, in one commit, as a model is pushed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from glmc_zoo.hub.push.checks import check_repo_id
from glmc_zoo.hub.push.push import PushResult, Upload
from glmc_zoo.hub.push.remote import Remote, space_difference
from glmc_zoo.hub.push.target import PushTarget


class _SpaceUpload(Upload):
    """One push of a Space."""

    kind: ClassVar[str] = "space"
    create_options: ClassVar[dict[str, Any]] = {"space_sdk": "gradio"}

    def difference(self, remote: Remote) -> str | None:
        return self._request(lambda: space_difference(self._api, self._target.repo, remote))


def push_space(files: Mapping[str, bytes | Path], target: PushTarget, *, model: str, retry_command: str) -> PushResult:
    """Make a Space of these files, or bring an earlier one up to date; retried and checked as `push_folder` is.

    Args:
        files: Contents or paths by their path in the Space; ``README.md`` is among them.
        target: The Space, and how the commit is made.
        model: What the Space shows, for errors.
        retry_command: The command that pushes it later.

    Raises:
        UserError: The Hub refuses or cannot be reached, or the Space holds something else.
    """
    check_repo_id(target.repo, "space")
    return _SpaceUpload(target, files).run(model, retry_command)
