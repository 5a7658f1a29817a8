"""Training runs: the stages, the training loop, checkpoints, the run folder, and the results."""

from __future__ import annotations
