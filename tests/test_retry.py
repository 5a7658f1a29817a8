"""Which errors lead to another attempt, and how often."""

from __future__ import annotations

import importlib

import pytest
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from glmc_zoo.retry import call_with_retries, is_transient


class ResponseError(Exception):
    """Has the attributes of a client's error about a response."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.response = type("Response", (), {"status_code": status})()


def test_a_busy_server_is_transient_and_a_refusal_is_not() -> None:
    for status in (429, 500, 502, 503, 504):
        assert is_transient(ResponseError(status)), status
        wrapped = RuntimeError("Error while uploading")
        wrapped.__cause__ = ResponseError(status)
        assert is_transient(wrapped), status
    for status in (400, 401, 403, 404, 409, 412):
        assert not is_transient(ResponseError(status)), status


@pytest.mark.parametrize("library", ["requests", "httpx", "httpx2"])
def test_broken_connections_of_every_http_library(library: str) -> None:
    """Errors of requests (huggingface_hub 0.x), httpx (1.x) and httpx2 (2.x), if they are installed."""
    module = pytest.importorskip(library)
    names = ["ConnectError", "ReadTimeout", "RemoteProtocolError", "WriteError", "ConnectTimeout", "ReadError"]
    if library == "requests":
        module = importlib.import_module("requests.exceptions")
        names = ["ConnectionError", "ReadTimeout", "ConnectTimeout", "ChunkedEncodingError"]
    for name in names:
        assert is_transient(getattr(module, name)("broken")), name
    assert not is_transient(module.InvalidURL("no"))


def test_the_installed_client_uses_one_of_them() -> None:
    base = HfHubHTTPError.__mro__[1].__module__.split(".")[0]
    assert base in ("requests", "httpx", "httpx2")


def test_others_are_not_transient() -> None:
    assert is_transient(ConnectionResetError()) and is_transient(TimeoutError())
    for error in (ValueError("x"), OSError("x"), OfflineModeIsEnabled("offline"), KeyError("x")):
        assert not is_transient(error)


def test_the_number_of_attempts() -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise ResponseError(503)

    with pytest.raises(ResponseError):
        call_with_retries(fail, attempts=3, first_wait=0)
    assert len(calls) == 3
    with pytest.raises(ValueError, match="at least 1"):
        call_with_retries(fail, attempts=0, first_wait=0)
    assert len(calls) == 3


def test_a_call_that_had_its_effect_is_not_repeated() -> None:
    calls, state = [], []

    def lose_the_response() -> str:
        calls.append(1)
        state.append("done")
        raise ConnectionResetError

    assert (
        call_with_retries(
            lose_the_response, attempts=3, first_wait=0, recover_result=lambda: state[-1] if state else None
        )
        == "done"
    )
    assert len(calls) == 1


def test_the_check_for_an_effect_may_fail_too() -> None:
    """There is no second call until it is known whether the first one had its effect."""
    order: list[str] = []

    def call() -> str:
        order.append("call")
        raise ResponseError(503)

    def check() -> str | None:
        order.append("check")
        if order.count("check") == 1:
            raise ResponseError(503)
        return "result"

    assert call_with_retries(call, attempts=3, first_wait=0, recover_result=check) == "result"
    assert order == ["call", "check", "check"]
