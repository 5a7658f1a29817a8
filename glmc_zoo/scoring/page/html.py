"""How pages of HTML are rendered: text of others is escaped, and nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from glmc_zoo.text import printable

if TYPE_CHECKING:
    import jinja2


def html_environment(package: str = "glmc_zoo.scoring.page") -> jinja2.Environment:
    """Renders the templates of a package; names of classes and files, which anybody may have given, are escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters["grouped"] = "{:,}".format
    return environment


def script_hash(script: str) -> str:
    """What a content security policy calls a script that may run, while any other may not."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}"


def whole_percent(probability: float) -> str:
    """A probability as a whole number of percent; never 100 % for what is less."""
    percent = round(100 * probability)
    return "> 99\N{NO-BREAK SPACE}%" if percent == 100 and probability < 1 else f"{percent}\N{NO-BREAK SPACE}%"
