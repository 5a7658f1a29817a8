"""The command ``glmc-zoo export``: writes a trained model for other runtimes, and compares it with torch."""
