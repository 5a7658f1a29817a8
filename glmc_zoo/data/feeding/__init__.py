"""Feeding: from a split to augmented batches on the device."""
