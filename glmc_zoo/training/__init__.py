"""A run: what is trained from what, the loop, checkpoints, the run folder, and what it leaves."""

from __future__ import annotations
