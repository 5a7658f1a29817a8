"""Inference with trained models: preprocessing, scoring, corrections, evaluation, prediction and export."""

from __future__ import annotations
