"""Options: as they are given, as they are resolved, and the command line that shows them."""

from __future__ import annotations
