"""One training run: configuration, loop, checkpoints, resumption, and what it leaves behind."""

from __future__ import annotations

__all__: list[str] = []
