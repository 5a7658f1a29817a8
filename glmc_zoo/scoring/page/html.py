"""Renders HTML pages. Text is escaped, and a page loads nothing from other files or servers."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from glmc_zoo.text import counted, printable

if TYPE_CHECKING:
    import jinja2


def html_environment(package: str = "glmc_zoo.scoring.page") -> jinja2.Environment:
    """Jinja's environment for the templates of a package; it escapes values, as anybody may name classes and files."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters |= {"grouped": "{:,}".format, "counted": counted}
    return environment


def script_hash(script: str) -> str:
    """The hash by which a content security policy allows this script and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}"


def whole_percent(probability: float) -> str:
    """A probability in whole percent; one below 1 is never shown as 100 %."""
    percent = round(100 * probability)
    return "> 99\N{NO-BREAK SPACE}%" if percent == 100 and probability < 1 else f"{percent}\N{NO-BREAK SPACE}%"
