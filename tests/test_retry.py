"""What is tried again, and how often."""

from __future__ import annotations

import importlib

import pytest
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from glmc_zoo.retry import call_with_retries, is_transient


class Answered(Exception):
    """Has what a client's error about an answer has."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.response = type("Response", (), {"status_code": status})()


def test_busy_is_transient_and_refused_is_not() -> None:
    for status in (429, 500, 502, 503, 504):
        assert is_transient(Answered(status)), status
        wrapped = RuntimeError("Error while uploading")
        wrapped.__cause__ = Answered(status)
        assert is_transient(wrapped), status
    for status in (400, 401, 403, 404, 409, 412):
        assert not is_transient(Answered(status)), status


@pytest.mark.parametrize("library", ["requests", "httpx", "httpx2"])
def test_broken_connections_of_every_http_library(library: str) -> None:
    """Errors of requests (huggingface_hub 0.x), httpx (1.x) and httpx2 (2.x), as far as they are installed."""
    module = pytest.importorskip(library)
    names = ["ConnectError", "ReadTimeout", "RemoteProtocolError", "WriteError", "ConnectTimeout", "ReadError"]
    if library == "requests":
        module = importlib.import_module("requests.exceptions")
        names = ["ConnectionError", "ReadTimeout", "ConnectTimeout", "ChunkedEncodingError"]
    for name in names:
        assert is_transient(getattr(module, name)("broken")), name
    assert not is_transient(module.InvalidURL("no"))


def test_the_installed_client_is_one_of_them() -> None:
    base = HfHubHTTPError.__mro__[1].__module__.split(".")[0]
    assert base in ("requests", "httpx", "httpx2")


def test_others_are_not_transient() -> None:
    assert is_transient(ConnectionResetError()) and is_transient(TimeoutError())
    for error in (ValueError("x"), OSError("x"), OfflineModeIsEnabled("offline"), KeyError("x")):
        assert not is_transient(error)


def test_as_often_as_asked_and_no_more() -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise Answered(503)

    with pytest.raises(Answered):
        call_with_retries(fail, attempts=3, first_wait=0)
    assert len(calls) == 3
    with pytest.raises(ValueError, match="at least 1"):
        call_with_retries(fail, attempts=0, first_wait=0)
    assert len(calls) == 3


def test_what_had_its_effect_is_not_done_again() -> None:
    calls, state = [], []

    def lose_the_answer() -> str:
        calls.append(1)
        state.append("done")
        raise ConnectionResetError

    assert (
        call_with_retries(
            lose_the_answer, attempts=3, first_wait=0, recover_result=lambda: state[-1] if state else None
        )
        == "done"
    )
    assert len(calls) == 1


def test_looking_may_fail_too() -> None:
    """While nobody knows whether the first call had its effect, there is no second one."""
    order: list[str] = []

    def call() -> str:
        order.append("call")
        raise Answered(503)

    def look() -> str | None:
        order.append("look")
        if order.count("look") == 1:
            raise Answered(503)
        return "found"

    assert call_with_retries(call, attempts=3, first_wait=0, recover_result=look) == "found"
    assert order == ["call", "look", "look"]
