"""Which function answers which address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hub_server import reading, writing
from hub_server.calls import Call

_TYPE = r"(?P<type>models|datasets|spaces)"
_REPO = r"(?P<repo>[^/]+/[^/]+)"
_API = rf"/api/{_TYPE}/{_REPO}"
_REV = r"(?P<revision>[^/]+)"
_PREFIX = r"/(?P<prefix>(?P<type>datasets|spaces)/)?"
ROUTES: list[tuple[str, str, Callable[[Call], Any]]] = [
    ("GET", "/api/whoami-v2", reading.whoami),
    ("POST", "/api/repos/create", writing.create_repo),
    ("POST", "/api/validate-yaml", reading.validate_yaml),
    ("GET", _API, reading.repo_info),
    ("GET", rf"{_API}/revision/{_REV}", reading.repo_info),
    ("GET", rf"{_API}/tree/{_REV}(?:/(?P<path>.*))?", reading.tree),
    ("POST", rf"{_API}/paths-info/{_REV}", reading.paths_info),
    ("GET", rf"{_API}/refs", reading.refs),
    ("GET", rf"{_API}/commits/{_REV}", reading.commits),
    ("POST", rf"{_API}/preupload/{_REV}", writing.preupload),
    ("POST", rf"{_API}/commit/{_REV}", writing.make_commit),
    ("POST", rf"{_API}/branch/(?P<name>[^/]+)", writing.create_branch),
    ("DELETE", rf"{_API}/branch/(?P<name>[^/]+)", writing.delete_branch),
    ("POST", rf"{_API}/tag/(?P<name>[^/]+)", writing.create_tag),
    ("DELETE", rf"{_API}/tag/(?P<name>[^/]+)", writing.delete_tag),
    ("GET", "/api/collections", writing.list_collections),
    ("POST", "/api/collections", writing.create_collection),
    ("GET", r"/api/collections/(?P<slug>[^/]+/[^/]+)", writing.get_collection),
    ("POST", r"/api/collections/(?P<slug>[^/]+/[^/]+)/items", writing.add_item),
    ("POST", rf"{_PREFIX}(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", writing.lfs_batch),
    ("POST", rf"{_PREFIX}(?P<repo>[^/]+/[^/]+)\.git/info/lfs/verify", writing.lfs_verify),
    ("PUT", r"/lfs-objects/(?P<oid>[0-9a-f]{64})", writing.lfs_put),
    ("GET HEAD", rf"{_PREFIX}{_REPO}/resolve/{_REV}/(?P<path>.+)", reading.resolve),
]
