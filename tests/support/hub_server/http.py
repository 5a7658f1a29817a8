"""From a request on the socket to a route, and back."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import traceback
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_server.calls import Call
from hub_server.faults import Request
from hub_server.routes import ROUTES
from hub_server.store import Account, HubError

if TYPE_CHECKING:
    from hub_server.server import HubServer


class Handler(BaseHTTPRequestHandler):
    """One connection. Answers go out whole, with their length."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def hub(self) -> HubServer:
        return self.server.hub  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed: the record is ``HubServer.requests``."""

    def do_GET(self) -> None:
        self._handle()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _handle(self) -> None:
        hub, method = self.hub, self.command
        if cut := hub.faults.take("cut", method, self.path):
            self._read_body(limit=cut.after)
            self._record(b"")
            return self._break_off()
        body = self._read_body()
        self._record(body)
        if failure := hub.faults.take("status", method, self.path):
            headers = {"Retry-After": failure.retry_after} if failure.retry_after is not None else {}
            return self._answer_error(HubError(failure.status, "Failed on purpose"), headers)
        if hub.faults.take("silent", method, self.path):
            hub.closing.wait(120)
            return self._break_off()
        if hub.faults.take("page", method, self.path):
            return self._answer(200, {"Content-Type": "text/html"}, b"<html>Please log in to this network</html>")
        if hub.faults.take("circle", method, self.path):
            return self._answer(302, {"Location": self.path}, b"")
        try:
            with hub.lock:
                if (event := hub.faults.take("call", method, self.path)) and event.action is not None:
                    event.action()
                answer = self._route(body)
        except HubError as error:
            return self._answer_error(error)
        except Exception:  # a fault of this server: no client may take it for an answer of the Hub
            hub.errors.append(traceback.format_exc())
            return self._answer_error(HubError(501, "The test server failed"))
        if hub.faults.take("lose", method, self.path):
            return self._break_off()
        self._answer(*answer)

    def _record(self, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append(Request(self.command, self.path, headers, body))

    def _read_body(self, limit: int | None = None) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._read_chunks(limit)
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length if limit is None else min(limit, length))

    def _read_chunks(self, limit: int | None) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
            if limit is not None and len(body) >= limit:
                return body
        self.rfile.readline()
        return body

    def _route(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        for method, pattern, function in ROUTES:
            match = re.fullmatch(pattern, parts.path)
            if match and self.command in method.split():
                named = {key: unquote(value) for key, value in match.groupdict().items() if value is not None}
                call = Call(self.hub, self._account(), named, query, body, self.headers)
                return _as_answer(function(call))
        raise HubError(404, f"This Hub has no {self.command} {parts.path}")

    def _account(self) -> Account | None:
        header = self.headers.get("Authorization")
        if header is None:
            return None
        account = self.hub.store.tokens.get(header.removeprefix("Bearer "))
        if account is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return account

    def _answer_error(self, error: HubError, more: Mapping[str, str] | None = None) -> None:
        headers = {**(more or {}), "X-Error-Message": str(error), "Content-Type": "application/json"}
        if error.code:
            headers["X-Error-Code"] = error.code
        self._answer(error.status, headers, json.dumps(error.body).encode())

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        if self.command == "GET" and body and self.hub.faults.take("flip", "GET", self.path):
            body = body[:-1] + bytes([body[-1] ^ 1])
        with contextlib.suppress(ConnectionError):  # the client may have gone
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def _break_off(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def _as_answer(result: Any) -> tuple[int, Mapping[str, str], bytes]:
    """A route gives a JSON value, or status, headers and body."""
    if isinstance(result, tuple):
        return result
    return 200, {"Content-Type": "application/json"}, json.dumps(result).encode()
