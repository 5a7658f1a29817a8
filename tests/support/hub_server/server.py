"""The server that a test holds in its hand."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path

from hub_server.faults import Fault, Faults, Request
from hub_server.http import Handler
from hub_server.store import Account, Repo, Store


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # connections that wait while the machine is busy; above it the system drops them


class HubServer:
    """A running Hub on loopback. Use as a context manager; ``url`` is what ``HF_ENDPOINT`` must be."""

    def __init__(self) -> None:
        self.store, self.faults, self.lock = Store(), Faults(), threading.RLock()
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self.errors: list[str] = []
        """Tracebacks of the server's own failures; leaving the context raises when there is one."""
        self._http = _Server(("127.0.0.1", 0), Handler)
        self._http.hub = self  # type: ignore[attr-defined]  # how a handler finds its hub
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        if self.errors:
            raise RuntimeError("\n".join(self.errors))

    def environment(self, home: Path, token: str | None = None, **more: str) -> dict[str, str]:
        """For a child process whose clients are to use this Hub, with their cache in ``home``."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        root = str(Path(__file__).resolve().parents[3])
        ours |= {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",  # this Hub speaks LFS
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        }
        return {**ours, **({"HF_TOKEN": token} if token else {}), **more}

    # ------------------------------------------------------------ state
    def token(self, role: str = "write") -> str:
        """A fresh token of a user of the organisation ``org``; ``role`` is ``write`` or ``read``."""
        token = f"hf_{secrets.token_hex(16)}"
        self.store.tokens[token] = Account("ada", ("org",), role)
        return token

    def repo(
        self,
        repo_id: str,
        *,
        repo_type: str = "model",
        private: bool = False,
        gated: bool = False,
        files: Mapping[str, bytes] | Path | None = None,
    ) -> Repo:
        """Make a repository, with ``files`` (content by path, or a folder) in a first commit."""
        repo = self.store.repos[repo_type, repo_id] = Repo(repo_id, private, gated)
        if isinstance(files, Path):
            found = sorted(path for path in files.rglob("*") if path.is_file())
            files = {path.relative_to(files).as_posix(): path.read_bytes() for path in found}
        if files:
            repo.put(files)
        return repo

    def find(self, repo_id: str, repo_type: str = "model") -> Repo | None:
        """A repository that was made by the test or by a client."""
        return self.store.repos.get((repo_type, repo_id))

    # ------------------------------------------------------------ faults
    def fail(
        self,
        method: str,
        pattern: str,
        *,
        status: int = 503,
        times: int | None = 1,
        retry_after: str | None = None,
    ) -> None:
        """Answer ``status`` to the next ``times`` requests (None: to all) whose path matches the expression.

        ``method`` may be ``*``; ``retry_after`` is the header of that name.
        """
        fault = Fault("status", method, pattern, times, status=status, retry_after=retry_after)
        self.faults.waiting.append(fault)

    def answer_page(self, method: str, pattern: str) -> None:
        """Answer with the page of a network's login, status 200, as a captive portal does."""
        self.faults.waiting.append(Fault("page", method, pattern, None))

    def redirect_in_a_circle(self, method: str, pattern: str) -> None:
        """Answer with a redirect to the same address."""
        self.faults.waiting.append(Fault("circle", method, pattern, None))

    def stay_silent(self, method: str, pattern: str) -> None:
        """Take the request and never answer, until the test ends."""
        self.faults.waiting.append(Fault("silent", method, pattern, None))

    def cut_upload(self, pattern: str, *, method: str = "PUT", after: int, times: int | None = 1) -> None:
        """Break the connection once ``after`` bytes of the request's body have come in."""
        self.faults.waiting.append(Fault("cut", method, pattern, times, after=after))

    def lose_answer(self, method: str, pattern: str) -> None:
        """Do what is asked once, then break the connection in place of an answer."""
        self.faults.waiting.append(Fault("lose", method, pattern))

    def flip_byte(self, pattern: str, *, times: int | None = None) -> None:
        """Serve the matching file with its last byte changed, its headers as they were."""
        self.faults.waiting.append(Fault("flip", "GET", pattern, times))

    def on(self, method: str, pattern: str, action: Callable[[], object]) -> None:
        """Do something when the next matching request comes, before it is answered."""
        self.faults.waiting.append(Fault("call", method, pattern, action=action))

    def heal(self) -> None:
        """Forget all faults still to come."""
        self.faults.waiting.clear()

    # ------------------------------------------------------------ record
    def asked(self, method: str, part: str) -> list[Request]:
        """Requests so far with this method and ``part`` in the path."""
        return [request for request in self.requests if request.method == method and part in request.path]
