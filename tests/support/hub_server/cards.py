"""What the Hub demands of a card's front matter."""

from __future__ import annotations

import re
from typing import Any

import yaml

# Some of what the Hub lists; it refuses any other.
LICENSES = {"apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0", "other", "unknown"}


def front_matter(text: str) -> dict[str, Any]:
    """The metadata of a card; empty when there is none or it cannot be read."""
    match = re.match(r"---\r?\n(.*?)\r?\n---", text, flags=re.DOTALL)
    try:
        data = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError:
        return {}
    return data if isinstance(data, dict) else {}


def card_errors(text: str) -> list[str]:
    """What the Hub objects to; an empty list for a card that it takes."""
    match = re.match(r"---\r?\n(.*?)\r?\n---", text, flags=re.DOTALL)
    if not match:
        return []
    try:
        data = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        return [f"YAML cannot be read: {' '.join(str(error).split())}"]
    if not isinstance(data, dict):
        return ["The metadata must be keys and values"]
    errors = []
    licenses = data.get("license", [])
    for name in licenses if isinstance(licenses, list) else [licenses]:
        if name not in LICENSES:
            errors.append(f'"license" must be one of [{", ".join(sorted(LICENSES))}]')
    for entry in data.get("model-index") or []:
        if not isinstance(entry, dict) or "name" not in entry or "results" not in entry:
            errors.append('"model-index[0].name" is required')
    return errors
