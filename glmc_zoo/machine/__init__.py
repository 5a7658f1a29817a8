"""Processes, device, precision, threads, folder locks, signals and timing of a run."""
