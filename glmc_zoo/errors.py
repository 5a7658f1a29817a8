"""The one exception for what a user can put right."""

from __future__ import annotations

__all__ = ["UserError", "did_you_mean"]


class UserError(ValueError):
    """Bad input. The message is one sentence: the value, what is allowed, and the fix.

    Recipes print the sentence and exit with status 2; library callers see an ordinary ``ValueError``.
    """

    @property
    def sentence(self) -> str:
        """The message as one line with a capital and a full stop, without the traceback of a ``DataLoader`` worker."""
        last = str(self).rstrip().splitlines()[-1]
        text = last.removeprefix(f"{type(self).__module__}.{type(self).__qualname__}: ")
        if text.split(" ")[0].isalpha():  # a word, and not the name of a data set or an option
            text = text[0].upper() + text[1:]
        return text if text.endswith((".", "?")) else f"{text}."


def did_you_mean(name: str, known: list[str], *, most: int = 3) -> str:
    """``" Did you mean a, b?"`` for the names nearest to ``name``, or an empty string when none is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=most, cutoff=0.6)
    return f" Did you mean {', '.join(near)}?" if near else ""
