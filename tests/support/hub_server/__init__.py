"""A Hub on loopback for tests: the part of the REST API that unmodified clients use, with its state in memory.

Written after the requests that ``huggingface_hub`` (1.33 and 2.4), ``datasets`` and ``transformers`` send when
``HF_ENDPOINT`` names this server. It speaks LFS and not xet, so clients get ``HF_HUB_DISABLE_XET=1``.
"""

from __future__ import annotations

from hub_server.faults import Request
from hub_server.server import HubServer
from hub_server.store import Account, Collection, Commit, Repo

__all__ = ["Account", "Collection", "Commit", "HubServer", "Repo", "Request"]
