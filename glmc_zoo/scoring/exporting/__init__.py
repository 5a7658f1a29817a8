"""A trained model for other runtimes, ``glmc-zoo export``: written, compared with torch, and timed."""
