"""Whether a run without checkpoints is complete, so that resuming it computes nothing again.

A training in the loop needs no such file: its last checkpoint says that all epochs are done.
"""

import contextlib
import hashlib
import json
from pathlib import Path

from glmc_zoo.data import LongTailData
from glmc_zoo.data.fingerprint import fingerprint
from glmc_zoo.errors import UserError
from glmc_zoo.files import write_json
from glmc_zoo.hub.folder import RESULTS_FILE, file_sha256
from glmc_zoo.options.run import RunOptions, option_defaults, saved_options
from glmc_zoo.results import RunResults
from glmc_zoo.screen import say
from glmc_zoo.training.folder import FINISHED_FILE, FREE_ON_RESUME
from glmc_zoo.training.state_files import read_plain_json

# These may differ in a resumed run and decide what is in its folder at the end. With others the run is done again.
_OUTPUT_OPTIONS = frozenset(
    {"calibrate", "export_encoder", "export_half", "license", "report", "sample_image", "skip_bad_images"}
)
_FORMAT = 1


def mark_finished(folder: Path, options: RunOptions, data: LongTailData) -> None:
    """Write the file that says that the run is complete. It is the last file of a run."""
    with contextlib.suppress(OSError):  # without the file the run is only repeated, and its results are safe
        values = {"format": _FORMAT, "images": _digest(data), "options": saved_options(options)}
        write_json(folder / FINISHED_FILE, values)


def finished_results(folder: Path, options: RunOptions, data: LongTailData) -> RunResults | None:
    """The results of the run in a folder if it is complete, else ``None``. Only the main process calls this.

    A run is complete if its model is there and its options and images are those of this call. With other options of the
    outputs the run is done again, and the options are named on the screen.

    Raises:
        UserError: The images are not those of the complete run.
    """
    try:
        finished = read_plain_json(folder / FINISHED_FILE)
        if finished["format"] != _FORMAT:
            return None
        # A run of an earlier version lacks newer options; the defaults of these change nothing.
        before, images = {**option_defaults(), **finished["options"]}, str(finished["images"])
        results = RunResults.load(folder / RESULTS_FILE)
        if results.weights is None or file_sha256(folder / "model" / results.weights.file) != results.weights.sha256:
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # a `UserError` is a `ValueError`
        return None
    if images != _digest(data):
        raise UserError(
            f"The data changed after the run in {str(folder)!r} was complete: restore it, or give another output_dir=."
        )
    current = json.loads(json.dumps(saved_options(options)))
    names = [name for name in current if name in _OUTPUT_OPTIONS or name not in FREE_ON_RESUME]
    changed = [name for name in names if before.get(name) != current[name]]
    if changed:
        changes = [f"{name}: {before.get(name)} -> {current[name]}" for name in changed]
        say(f"The run is done again, because its outputs have other options ({'; '.join(changes)}).")
        return None
    return results


def unmark_finished(folder: Path) -> None:
    """Remove the file of `mark_finished`, before a complete run is done again."""
    (folder / FINISHED_FILE).unlink(missing_ok=True)


def _digest(data: LongTailData) -> str:
    """SHA-256 of the classes and of the keys of all images."""
    return hashlib.sha256(json.dumps(fingerprint(data).to_json(), sort_keys=True).encode()).hexdigest()
