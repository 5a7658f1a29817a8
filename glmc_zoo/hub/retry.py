"""Retries when the Hub is busy or the connection breaks, whichever HTTP library its client is built on."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

# Base classes of broken connections and timeouts in requests (huggingface_hub 0.x), httpx (1.x), httpx2 (2.x), Python.
_TRANSPORT = {"ConnectionError", "Timeout", "ChunkedEncodingError", "TransportError", "TimeoutError"}


def http_status(error: BaseException) -> int | None:
    """HTTP status of the response that an error stands for, if any."""
    return getattr(getattr(error, "response", None), "status_code", None)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later: after 429, 5xx, a broken connection or a timeout."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    cause: BaseException | None = error
    while cause is not None:  # uploads and downloads wrap the original error
        status = http_status(cause)
        if status is not None:
            return status == 429 or status >= 500
        if isinstance(cause, OfflineModeIsEnabled):
            return False
        if any(kind.__name__ in _TRANSPORT for kind in type(cause).__mro__):
            return True
        cause = cause.__cause__
    return False


def retrying(
    call: Callable[[], _T], *, attempts: int, first_wait: float, done: Callable[[], _T | None] | None = None
) -> _T:
    """The result of ``call``, tried up to ``attempts`` times while its failures are transient.

    ``first_wait`` is in seconds, before the second attempt; each later wait is twice as long. ``done`` is called before
    each retry: it returns the result if the previous attempt did succeed on the server and only its response was lost,
    else ``None``. Its own failure counts as an attempt.
    """
    for attempt in range(attempts):
        try:
            earlier = done() if attempt and done is not None else None
            return call() if earlier is None else earlier
        except Exception as error:
            if not is_transient(error) or attempt == attempts - 1:
                raise
            wait = first_wait * 2**attempt
            _log.warning("The Hub cannot be reached or is busy; trying again in %g s", wait)
            time.sleep(wait)
    raise ValueError(f"attempts must be at least 1, not {attempts}")
