"""Where an exported model is pushed to: the options of a push. Nothing heavy is imported here."""

import re
from dataclasses import dataclass

from glmc_zoo.errors import UserError
from glmc_zoo.fields import OptionGroup, option


@dataclass(frozen=True, kw_only=True)
class PushTarget(OptionGroup):
    """A repository on the Hub, and how the commit to it is made."""

    repo: str = option("ORG/NAME of the repository on the Hub; created if missing", example="ORG/NAME")
    private: bool = option("make the repository private if this push creates it", default=False)
    revision: str | None = option(
        "branch to push to; created from main if missing", default=None, decided_by="the Hub: main"
    )
    pull_request: bool = option("open a pull request instead of a direct commit", default=False)
    tag: str | None = option("tag to set on the pushed commit, such as v1.0", default=None)
    collection: str | None = option(
        "collection to add the model to: its slug, or a title (created if missing)", default=None
    )
    overwrite: bool = option("push even over a model of another architecture or other classes", default=False)
    message: str = option("first line of the commit", default="Upload model")

    def check(self) -> None:
        """Refuse names that git or the Hub does not accept, and options that exclude each other."""
        _check_ref("revision", self.revision)
        _check_ref("tag", self.tag)
        if self.collection is not None and not self.collection.strip():
            raise UserError(f"collection={self.collection!r} is empty: give the slug of a collection, or a title.")
        if not self.message.strip():
            raise UserError(f"message={self.message!r} is empty: say what is pushed.")
        if self.pull_request and (self.revision is not None or self.tag is not None):
            other = "revision" if self.revision is not None else "tag"
            raise UserError(f"pull_request=True opens a pull request on main and takes no {other}: leave {other}= out.")


def _check_ref(option_name: str, name: str | None) -> None:
    """Refuse what git does not accept as the name of a branch or tag (``git check-ref-format``)."""
    if name is None:
        return
    is_malformed = not name or re.search(r"[\s~^:?*\[\\\x00-\x1f\x7f]|\.\.|//|@\{|/\.|\.lock(/|$)", name)
    if is_malformed or name[0] in "-./" or name[-1] in "./":
        allowed = "letters, digits, '-', '_', '.' and '/', such as v1.0"
        raise UserError(f"{option_name}={name!r} is not a valid name: use {allowed}.")
