"""One request, taken apart for the function that answers it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub_server.store import Account, HubError, Repo

if TYPE_CHECKING:
    from hub_server.server import HubServer

DATE = "2024-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class Call:
    """One request, taken apart."""

    hub: HubServer
    account: Account | None
    named: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"{}")

    @property
    def place(self) -> tuple[str, str]:
        """Type and id of the repository."""
        return (self.named.get("type") or "models").removesuffix("s"), self.named["repo"]

    def readable(self, *, content: bool = False) -> Repo:
        return self.hub.store.readable(*self.place, self.account, content=content)

    def writable(self, *, pull_request: bool = False) -> Repo:
        return self.hub.store.writable(*self.place, self.account, pull_request=pull_request)

    def logged_in(self) -> Account:
        if self.account is None:
            raise HubError(401, "Invalid username or password.")
        return self.account
