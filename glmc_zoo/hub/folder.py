"""The exported folder: the names of its files, and functions that export, push and load share."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glmc_zoo.documents import read_json
from glmc_zoo.errors import UserError
from glmc_zoo.files import cards_folder as cards_folder
from glmc_zoo.results import RunResults

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
HEADS_FILE = "glmc_heads.safetensors"
CARD_FILE = "README.md"
RESULTS_FILE = "results.json"
OPTIONS_FILE = "config.yaml"
SAMPLE_FILE = "sample.jpg"
PLOTS_FOLDER = "plots"
EXPORTED_FILES = frozenset({CONFIG_FILE, WEIGHTS_FILE, HEADS_FILE, CARD_FILE, RESULTS_FILE, OPTIONS_FILE, SAMPLE_FILE})
"""Files of an export at its top level; the plots lie in their folder."""


def read_results(folder: Path, name: str | None = None) -> RunResults | None:
    """The results in an exported folder; ``None`` without a ``results.json``, or where another tool wrote it.

    A file that is damaged or of a newer schema raises a `UserError`, which calls the model ``name``.
    """
    path, name = folder / RESULTS_FILE, name or str(folder)
    if not path.exists():
        return None
    values = read_json(path, f"{RESULTS_FILE} of {name}")
    if not isinstance(values, dict) or "schema" not in values:
        return None
    return RunResults.from_dict(values, f"{RESULTS_FILE} of {name}")


def backbone_plugin(results: RunResults | None, architecture: str) -> str | None:
    """Name of the plug-in's file that registered this architecture with timm in the run; ``None`` where none did."""
    plugins = [] if results is None else results.plugins
    return next((plugin.file for plugin in plugins if f"backbone {architecture}" in plugin.registered), None)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def as_user_error(failure: str, *kinds: type[Exception], fix: str = "") -> Iterator[None]:
    """Turn errors of these kinds into a `UserError`: the failure, the error's own text, and the fix.

    A `UserError` passes as it is, since it says already what is wrong.
    """
    try:
        yield
    except UserError:
        raise
    except kinds as error:
        raise UserError(f"{failure}: {one_line(error)} {fix}".rstrip()) from error


def one_line(error: BaseException) -> str:
    """Text of an error as the end of a sentence: one line of at most 300 characters, with a full stop."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = text if len(text) <= 300 else text[:297] + "..."
    return text if text.endswith((".", "!", "?")) else f"{text}."
