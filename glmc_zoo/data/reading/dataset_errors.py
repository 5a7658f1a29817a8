"""Errors of the library ``datasets`` as sentences for users."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glmc_zoo.data.reading.decoding import one_line
from glmc_zoo.data.reading.missing import suggest_paths
from glmc_zoo.errors import UserError
from glmc_zoo.retry import is_transient, unexpected_answer


@contextmanager
def errors_as_sentence(source: Path | str) -> Iterator[None]:
    """Raise the errors of the library ``datasets`` as a `UserError` of one sentence.

    Args:
        source: What is read: a ``Path`` for a folder, or the id of a data set on the Hub.

    Raises:
        UserError: The block raised an error of files, values or ``datasets``; for a data set of the Hub also an error
            of the connection, or an answer that is not the Hub's. Other errors pass unchanged.
    """
    from datasets.exceptions import DatasetGenerationError, DatasetsError

    try:
        yield
    except UserError:
        raise
    except Exception as error:
        known = isinstance(error, OSError | ValueError | RuntimeError | DatasetsError)
        answer_problem = unexpected_answer(error) if isinstance(source, str) else None
        of_the_hub = isinstance(source, str) and (answer_problem is not None or is_transient(error))
        if not known and not of_the_hub:
            raise
        # A `DatasetGenerationError` says only that something failed; its cause says what.
        cause = error.__cause__ if isinstance(error, DatasetGenerationError) else None
        reason = one_line(cause or error)
        if isinstance(source, Path):
            raise UserError(f"The data folder {source} cannot be read: {reason}.") from error
        if answer_problem is not None:
            raise UserError(
                f"The data set {source} cannot be read from the Hugging Face Hub: {answer_problem}"
            ) from error
        raise UserError(
            f"The data set {source} cannot be read from the Hugging Face Hub ({reason}): check the name and "
            "the network, or give a local copy (data_dir=FOLDER for a data set of glmc-zoo list, else data=FOLDER)."
            f"{suggest_paths(source) if os.path.isdir(Path(source).parent) else ''}"
        ) from error
