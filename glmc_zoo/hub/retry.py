"""Trying again when the Hub is busy or the connection breaks, whichever HTTP library its client is built on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

__all__ = ["http_status", "is_transient", "retrying"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

# Base classes of broken connections and timeouts, by name: requests (huggingface_hub 0.x), httpx (1.x), httpx2 (2.x),
# and Python's own.
_TRANSPORT = {"ConnectionError", "Timeout", "ChunkedEncodingError", "TransportError", "TimeoutError"}


def http_status(error: BaseException) -> int | None:
    """Status of the Hub's answer, when the error comes of one."""
    return getattr(getattr(error, "response", None), "status_code", None)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well succeed later: 429, 5xx, a broken connection or a timeout."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    for link in _causes(error):
        status = http_status(link)
        if status is not None:
            return status == 429 or status >= 500
        if isinstance(link, OfflineModeIsEnabled):
            return False
        if any(kind.__name__ in _TRANSPORT for kind in type(link).__mro__):
            return True
    return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from; uploads and downloads wrap what really happened."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def retrying(
    call: Callable[[], _T], *, attempts: int, first_wait: float, done: Callable[[], _T | None] | None = None
) -> _T:
    """The result of ``call``, tried up to ``attempts`` times while its failures are transient.

    Args:
        call: what to do.
        attempts: at most so many times.
        first_wait: seconds before the second attempt; each later wait is twice the one before.
        done: asked before each further attempt whether the failed one had its effect after all, the answer alone being
            lost. Gives the result then, and None otherwise. When it fails itself, that counts as an attempt.

    Raises:
        Exception: the last failure, or the first one that is not transient.
    """
    for attempt in range(attempts):
        try:
            found = done() if attempt and done is not None else None
            return call() if found is None else found
        except Exception as error:
            if not is_transient(error) or attempt == attempts - 1:
                raise
            wait = first_wait * 2**attempt
            _log.warning("The Hub cannot be reached or is busy; trying again in %g s", wait)
            time.sleep(wait)
    raise ValueError(f"attempts must be at least 1, not {attempts}")
