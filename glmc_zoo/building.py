"""Why a network could not be built or tried: memory, a missing package or a failed download, and not the network.

timm raises errors of all kinds when a network does not take an image size or an argument. The same kinds of errors come
from the machine, so code that blames the network goes through `outside_failures` first.
"""

import errno
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from traceback import walk_tb
from typing import Any

from glmc_zoo.disk import disk_error, file_failure
from glmc_zoo.errors import UserError
from glmc_zoo.retry import ANSWER_SECONDS, Budget, call_with_retries, http_status, is_transient, unexpected_answer

# torch has its own error for a full accelerator, and for a full main memory only a text, which differs by system.
_FULL_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|not enough memory|bad_alloc|ALLOC_FAILED",
    re.IGNORECASE,
)
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors")
_OTHER_WEIGHTS = {"cache_dir", "pretrained_cfg", "pretrained_cfg_overlay"}  # may name a file on this machine
_DOWNLOADERS = {"huggingface_hub", "urllib"}  # timm downloads with both


@contextmanager
def outside_failures(subject: str, *, smaller: str, weights_of: str = "", without_weights: str = "") -> Iterator[None]:
    """Turn failures that are not the network's own into one sentence; all other errors pass unchanged.

    Args:
        subject: What is built or tried, as a sentence begins: ``"Backbone 'resnet18'"``.
        smaller: What to give where the memory is too small: ``"a smaller network"``.
        weights_of: Name of the model whose pretrained weights the block may download.
        without_weights: A way to do without these weights, as the end of a list: ``"give pretrained=False"``.

    Raises:
        UserError: The memory is full, a package is missing, or the weights could not be downloaded.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        sentence = None
        if is_full_memory(error):
            sentence = f"{subject} needs more memory than is free: free some memory, or give {smaller}."
        elif isinstance(error, ImportError):
            sentence = f"{subject} {_missing_package(error)}"
        elif disk_error(error) is None and _is_download(error):
            sentence = _failed_download(error, weights_of or subject, without_weights)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def reach_weights(config: Mapping[str, Any], timm_kwargs: Mapping[str, Any]) -> None:
    """Check that the Hub answers before timm downloads pretrained weights; see `reach_hub`.

    Args:
        config: timm's pretrained configuration, of which ``hf_hub_id`` and ``hf_hub_filename`` are read.
        timm_kwargs: Further arguments of ``timm.create_model``. Nothing is asked where they say where the weights are.
    """
    if not (config.get("file") or config.get("state_dict") or _OTHER_WEIGHTS & timm_kwargs.keys()):
        names = [name for name in (config.get("hf_hub_filename"), *_WEIGHT_FILES) if name]
        reach_hub(str(config.get("hf_hub_id") or ""), names)


def reach_hub(reference: str, files: Sequence[str]) -> None:
    """Check in about `ANSWER_SECONDS` that the Hub answers, unless one of the files is in its cache.

    timm asks for a file under several names, and the client repeats each failed request for about 20 s.

    Args:
        reference: ``ORG/NAME`` or ``ORG/NAME@REVISION``; nothing is asked for an empty text.
        files: Names of files in the repository.

    Raises:
        Exception: See `ask_hub`.
    """
    repo, _, revision = reference.partition("@")
    if not repo or any(_cached(repo, file, revision or None) for file in files):
        return  # a file of the cache is read after one request whether it is the newest one
    call_with_retries(partial(ask_hub, repo, files[0]), attempts=3, first_wait=0.5, budget=Budget(ANSWER_SECONDS))


def ask_hub(repo: str, file: str, *, timeout: float = ANSWER_SECONDS) -> None:
    """Ask the Hub once for a file, without downloading it; the answer may also be a refusal, such as 404.

    Raises:
        Exception: There is no answer in ``timeout`` seconds, or HF_HUB_OFFLINE is set; an error of the client.
    """
    from huggingface_hub import get_session, hf_hub_url

    get_session().head(hf_hub_url(repo, file), timeout=timeout)


def _cached(repo: str, file: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repo, file, revision=revision), str)


def _chain(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def is_full_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the machine or of the accelerator is full."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    names_memory = isinstance(error, RuntimeError) or type(error).__name__ == "SafetensorError"
    return isinstance(error, MemoryError) or (names_memory and _FULL_MEMORY.search(str(error)) is not None)


def _missing_package(error: ImportError) -> str:
    package = (error.name or "").partition(".")[0]
    # An installed package of another version may lack a module too.
    if isinstance(error, ModuleNotFoundError) and package and package not in sys.modules and not find_spec(package):
        return f"needs the package {package}, which is not installed: install it with pip."
    reason = " ".join(str(error).split()).rstrip(".")
    return f"needs a package that cannot be imported ({reason}): install or update it with pip."


def _is_download(error: Exception) -> bool:
    """Whether the error is that of a request, or was raised inside of a library that downloads."""
    from huggingface_hub.errors import HFValidationError

    if isinstance(error, HFValidationError):  # a name that the client did not even ask for
        return False
    if any(http_status(cause) is not None for cause in _chain(error)) or is_transient(error):
        return True
    modules = (str(frame.f_globals.get("__name__", "")) for frame, _ in walk_tb(error.__traceback__))
    return any(module.partition(".")[0] in _DOWNLOADERS for module in modules)


def _failed_download(error: Exception, name: str, without_weights: str) -> str:
    """The sentence about weights that could not be downloaded: why, and how to bring them."""
    from huggingface_hub import constants, errors

    status = next((found for cause in _chain(error) if (found := http_status(cause)) is not None), None)
    unreachable = is_transient(error) or isinstance(error, errors.LocalEntryNotFoundError)
    fix = "connect to a network"
    if (failure := file_failure(error)) is not None:
        reason, fix = failure, "set HF_HOME to a folder that you may write to"
    elif constants.HF_HUB_OFFLINE:
        reason, fix = "HF_HUB_OFFLINE is set, and they are not in the Hub's cache", "unset it"
    elif (answer := unexpected_answer(error)) is not None:
        reason, _, fix = answer.rstrip(".").partition(": ")
        reason = reason[0].lower() + reason[1:]
    elif isinstance(error, errors.RepositoryNotFoundError) and not isinstance(error, errors.GatedRepoError):
        reason, fix = "they do not exist on the Hub, or are private", "check the name, log in with `hf auth login`"
    elif status in (401, 403):
        reason, fix = f"the Hub refuses them to this login, HTTP {status}", "log in with `hf auth login`"
    elif status == 404:
        reason, fix = "the Hub does not have them", "check the name"
    elif status is not None:
        reason, fix = f"the Hub answered with HTTP {status}", "try again later"
    elif unreachable or type(error).__name__ == "URLError":
        reason = f"the Hub, {constants.ENDPOINT}, cannot be reached"
    else:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    ways = [
        fix,
        "give a folder with the model (local-dir:FOLDER)",
        "copy the Hub's cache from a machine that has the weights and set HF_HUB_OFFLINE=1",
        *([without_weights] if without_weights else []),
    ]
    return f"The weights of {name} could not be downloaded ({reason}): {', '.join(ways[:-1])}, or {ways[-1]}."
