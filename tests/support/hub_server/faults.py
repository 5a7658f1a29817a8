"""What goes wrong on purpose, and a record of what was asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """One request as it came in; headers are kept for the tests and never printed."""

    method: str
    path: str  # with the query
    headers: dict[str, str] = field(repr=False)
    """Names in lower case."""
    body: bytes = field(repr=False)

    @property
    def token(self) -> str | None:
        """The token of the Authorization header."""
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        return token if kind == "Bearer" and token else None


@dataclass
class Fault:
    """Happens to the next ``times`` requests that match; for ever when ``times`` is None."""

    kind: str  # "status", "cut", "lose", "flip", "call", "page", "circle" or "silent"
    method: str
    pattern: str
    times: int | None = 1
    status: int = 503
    after: int = 0
    retry_after: str | None = None
    action: Callable[[], object] | None = None


class Faults:
    """The faults still to come."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def take(self, kind: str, method: str, path: str) -> Fault | None:
        """The first fault of a kind for this request, counted down."""
        for fault in self.waiting:
            if fault.kind == kind and fault.method in (method, "*") and re.search(fault.pattern, path):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self.waiting.remove(fault)
                return fault
        return None
