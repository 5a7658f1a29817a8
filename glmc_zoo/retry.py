"""Retries when the Hub is busy or the connection breaks, whichever HTTP library its client is built on.

All attempts of one operation share a `Budget` of time. The client's own retries are kept out of the way by
`glmc_zoo.client_limits`, since retries within retries take minutes.
"""

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from glmc_zoo.client_limits import ABANDONED, limit_requests

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

ANSWER_SECONDS = 15.0
"""How long a request is waited for that carries no large file."""
# Base classes of broken connections and timeouts in requests (huggingface_hub 0.x), httpx (1.x), httpx2 (2.x), Python.
_TRANSPORT = {"ConnectionError", "Timeout", "ChunkedEncodingError", "TransportError", "TimeoutError"}


class Budget:
    """Seconds that the failed attempts of one operation may take together, the waits between them included."""

    def __init__(self, seconds: float = 40.0) -> None:
        self.seconds_left = seconds


def http_status(error: BaseException) -> int | None:
    """HTTP status of the response that an error stands for, if any."""
    return getattr(getattr(error, "response", None), "status_code", None)


def retry_after(error: BaseException) -> float | None:
    """Seconds that the server asks to wait, in the header ``Retry-After`` (RFC 9110, section 10.2.3), if it does."""
    cause: BaseException | None = error
    while cause is not None:
        headers: Any = getattr(getattr(cause, "response", None), "headers", None) or {}
        value = str(headers.get("Retry-After", headers.get("retry-after", ""))).strip()
        if value.isdecimal() and len(value) < 10:
            return float(value)
        if value:
            try:
                moment = parsedate_to_datetime(value)
            except (TypeError, ValueError, OverflowError):
                return None
            moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
            return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())
        cause = cause.__cause__
    return None


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


def call_with_retries(
    call: Callable[[], _T],
    *,
    attempts: int,
    first_wait: float,
    recover_result: Callable[[], _T | None] | None = None,
    budget: Budget | None = None,
    long: bool = False,
    max_failures: int = 2,
) -> _T:
    """The result of ``call``, tried up to ``attempts`` times while its failures are transient.

    ``first_wait`` is in seconds, before the second attempt; each later wait is twice as long, and no shorter than the
    server asks for. ``recover_result`` is called before each retry: it returns the result if the previous attempt did
    succeed on the server and only its response was lost, else ``None``. Its own failure counts as an attempt. The last
    failure is raised as soon as the next wait does not fit the ``budget``. A call that may take ``long``, since it
    carries large files, is waited for as long as something arrives; any other gets `ANSWER_SECONDS`. ``max_failures``
    is that of `limit_requests`.
    """
    budget = Budget() if budget is None else budget
    for attempt in range(attempts):
        start = time.monotonic()
        seconds = min(ANSWER_SECONDS, max(budget.seconds_left, 1.0))
        try:
            with limit_requests(max_failures):
                recovered = (
                    call_with_timeout(seconds, recover_result) if attempt and recover_result is not None else None
                )
                if recovered is not None:
                    return recovered
                return call() if long else call_with_timeout(seconds, call)
        except Exception as error:
            elapsed = time.monotonic() - start
            # A transfer may have gone well for hours before it broke.
            budget.seconds_left -= min(elapsed, ANSWER_SECONDS) if long else elapsed
            wait = max(first_wait * 2**attempt, retry_after(error) or 0.0)
            if not is_transient(error) or attempt == attempts - 1 or wait >= budget.seconds_left:
                raise
            _log.warning("The Hub cannot be reached or is busy; trying again in %g s", wait)
            budget.seconds_left -= wait
            time.sleep(wait)
    raise ValueError(f"attempts must be at least 1, not {attempts}")


def call_with_timeout(seconds: float, call: Callable[[], _T]) -> _T:
    """The result of ``call``, or a ``TimeoutError`` after so many seconds, whatever it is waiting for.

    The call runs in a thread of its own, since neither a look-up of a name nor an answer that trickles in obeys the
    time-out of a request. A thread that is given up sends no further request.
    """
    results: list[_T] = []
    errors: list[BaseException] = []
    abandoned = threading.Event()

    def run() -> None:
        ABANDONED.set(abandoned)
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    # In the caller's context, so that what it set for this thread holds in the other one.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        abandoned.set()
        raise TimeoutError(f"no answer in {seconds:.0f} s")
    return results[0]


def unexpected_answer(error: BaseException) -> str | None:
    """A sentence for an answer that the Hub itself would not send, or for its wish to be asked later; else ``None``."""
    wait = retry_after(error)
    if is_transient(error) and wait:
        return f"The Hub is busy and asks to wait {wait:.0f} s: try again then."
    names = {kind.__name__ for kind in type(error).__mro__}
    if "TooManyRedirects" in names:
        return "The Hub's address leads from one redirect to the next without end: check HF_ENDPOINT and the proxy."
    if names & {"JSONDecodeError", "DecodingError"} or isinstance(error, KeyError | TypeError | AttributeError):
        return (
            "The answer is not one that the Hub sends, such as the page of a proxy or of a network's login: open a page"
            " in a browser, or check HF_ENDPOINT and the proxy."
        )
    return None
