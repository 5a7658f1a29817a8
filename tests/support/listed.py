"""The content of a file listing, for comparisons."""

from __future__ import annotations

from glmc_zoo.data.reading.listing import FileListing


def rows(listing: FileListing) -> dict[str, dict[str, str]]:
    """The label of each path of a listing, by split."""
    return {name: dict(zip(part.paths, part.labels, strict=True)) for name, part in listing.splits.items()}
