"""The command ``glmc-zoo push``: prepares and checks all files, then pushes the model, and last its demo."""

from collections.abc import Mapping
from pathlib import Path

from glmc_zoo.files import text_table
from glmc_zoo.hub import PushResult, model_files, push_model
from glmc_zoo.hub.push.checks import check_repo_id
from glmc_zoo.hub.push.remote import APP_FILE
from glmc_zoo.options.push import PushRequest
from glmc_zoo.scoring.demo.space import make_space
from glmc_zoo.text import printable


class PushRun:
    """A model pushed to the Hub, its demo, or both; `recipes/push.py` shows its use.

    Raises:
        UserError: The model cannot be read, or what the demo needs is missing; nothing was sent.
    """

    def __init__(self, request: PushRequest) -> None:
        self.request = request
        self.space = make_space(request) if request.space.is_requested else None

    def push(self) -> list[PushResult]:
        """Push the model, the Space or both, as requested, and print their addresses.

        With ``dry_run`` the files are listed and nothing is sent; with ``space_folder`` the Space is written there.

        Raises:
            UserError: As for `push_folder` and `push_space`.
        """
        source, target, options = self.request.source, self.request.target, self.request.space
        if source.dry_run:
            self._list_files()
            return []
        results = [] if target is None else [_print_result(push_model(source.model, target))]
        if self.space is not None and options.space_folder is not None:
            self.space.write(Path(options.space_folder))
            print(printable(f"written {options.space_folder}: its {APP_FILE} starts the demo"))
        elif self.space is not None:
            results.append(_print_result(self.space.push(self.request)))
            if target is not None and target.private:
                print("note    the Space reads a private model: give it a token as the secret HF_TOKEN in its settings")
        return results

    def _list_files(self) -> None:
        source, target, options = self.request.source, self.request.target, self.request.space
        if target is not None:
            check_repo_id(target.repo)
            _print_files(target.repo, model_files(Path(source.model), target.repo))
        if self.space is not None:
            _print_files(f"Space {options.space or options.space_folder}", self.space.files)


def _print_result(result: PushResult) -> PushResult:
    print(printable(f"pushed  {result.pull_request_url or result.url}"))
    print(printable(f"commit  {result.commit}"))
    return result


def _print_files(heading: str, files: Mapping[str, bytes | Path]) -> None:
    rows = [
        (printable(name), f"{len(content) if isinstance(content, bytes) else content.stat().st_size:,}")
        for name, content in sorted(files.items())
    ]
    print(text_table([(printable(heading), "bytes"), *rows]))
