"""Trained models on images: one preprocessing, one scoring loop, corrections, evaluation and prediction."""

from __future__ import annotations
