"""Limits on the requests of the Hub's client, which by default waits for ever and retries by itself.

All code of the process shares one client, so the limits apply only while one of our attempts runs. A time-out that we
set stays. Clients built on requests (huggingface_hub 0.x) have no such hooks: there only the limit of
`glmc_zoo.retry.call_with_timeout` applies.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

REQUEST_SECONDS = 30.0
"""How long one request waits for a connection, and for each next part of an answer."""

ABANDONED: ContextVar[threading.Event | None] = ContextVar("whether the attempt was given up", default=None)


class HubBusy(Exception):
    """The server answered 429 or 5xx; raised so that `call_with_retries` decides what follows, and not the client."""

    def __init__(self, response: Any) -> None:
        super().__init__(f"the server answered with status {response.status_code}")
        self.response = response


class _Attempt(threading.local):
    """Requests of one attempt that have no answer yet, in each of its threads.

    Args:
        max_failures: Requests in a row, in one thread, that may have no answer. A new thread calls this again.
    """

    failures = 0

    def __init__(self, max_failures: int) -> None:
        self.max_failures = max_failures


_attempt: _Attempt | None = None


@contextmanager
def limit_requests(max_failures: int) -> Iterator[None]:
    """Limit the requests of the client, in whichever thread, until the block ends.

    Args:
        max_failures: Requests in a row, in one thread, that may stay without an answer.
    """
    global _attempt
    previous, _attempt = _attempt, _Attempt(max_failures)
    try:
        _limit_client()
        yield
    finally:
        _attempt = previous


def _limit_client() -> None:
    from huggingface_hub import utils

    client: Any = utils.get_session()  # type: ignore[attr-defined]  # which does not mark it as exported
    hooks = getattr(client, "event_hooks", None)
    if hooks is None:
        return
    if client.timeout.read is None:
        client.timeout = REQUEST_SECONDS
    if _before_request not in hooks["request"]:
        client.event_hooks = {
            "request": [*hooks["request"], _before_request],
            "response": [*hooks["response"], _after_response],
        }


def _before_request(_request: Any) -> None:
    abandoned, attempt = ABANDONED.get(), _attempt
    if abandoned is not None and abandoned.is_set():
        raise TimeoutError("no answer in time")
    if attempt is None:
        return
    if attempt.failures >= attempt.max_failures:
        raise TimeoutError("no answer to several requests in a row")
    attempt.failures += 1


def _after_response(response: Any) -> None:
    attempt = _attempt
    if attempt is None:
        return
    attempt.failures = 0
    if response.status_code == 429 or response.status_code >= 500:
        raise HubBusy(response)
