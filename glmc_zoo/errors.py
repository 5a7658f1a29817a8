"""The one exception for mistakes that a user can correct."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_OPTIONS: ContextVar[frozenset[str]] = ContextVar("options of the command line", default=frozenset())


class UserError(ValueError):
    """Bad input. The message is one sentence: the value, what is allowed, and the fix.

    A sentence names an option as Python does (``lr=-1``); `as_command_line` turns that into ``--lr -1``. Recipes print
    the sentence and exit with status 2; library callers see an ordinary ``ValueError``.

    Attributes:
        in_one_process: Whether only one process of several can meet this error, so that it must report it itself.
    """

    in_one_process = False

    @property
    def sentence(self) -> str:
        """The message as one line with a capital and a full stop, without the traceback of a ``DataLoader`` worker."""
        last = str(self).rstrip().splitlines()[-1]
        text = last.removeprefix(f"{type(self).__module__}.{type(self).__qualname__}: ")
        if text.split(" ")[0].isalpha():  # a word, and not the name of a data set or an option
            text = text[0].upper() + text[1:]
        return text if text.endswith((".", "?")) else f"{text}."


def did_you_mean(name: str, known: Collection[str], *, most: int = 3) -> str:
    """``" Did you mean a, b?"`` for the names nearest to ``name``, or an empty string when none is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=most, cutoff=0.6)
    return f" Did you mean {', '.join(near)}?" if near else ""


_VALUE = r"True\b|False\b|'[^']*'|\"[^\"]*\"|\[[^\]]*\]|-?\d[\w.+-]*\w|-?\d|-?(?:nan|inf)\b|\w+(?:/\w+)+|[A-Z]\w*"


def as_command_line(sentence: str, names: Collection[str]) -> str:
    """The sentence with options spelled as on the command line.

    ``lr=-1`` becomes ``--lr -1``, ``pretrained=True`` becomes ``--pretrained``, ``maxnorm=False`` becomes
    ``--no-maxnorm``, and ``split_file=`` by itself becomes ``--split-file``.

    Args:
        sentence: Of a `UserError`.
        names: Names of options; other words before an equals sign stay as they are.
    """

    def spelled(match: re.Match[str]) -> str:
        option, value = match[1].replace("_", "-"), match[2] or ""
        if value in ("", "True", "False"):
            return f"--no-{option}" if value == "False" else f"--{option}"
        return f"--{option} {value.strip(chr(39) + chr(34))}"

    known = "|".join(sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![\w-])({known})=({_VALUE})?", spelled, sentence)


@contextmanager
def on_command_line(names: Collection[str]) -> Iterator[None]:
    """Have `as_shown` spell these options as on the command line."""
    token = _OPTIONS.set(frozenset(names))
    try:
        yield
    finally:
        _OPTIONS.reset(token)


def as_shown(sentence: str) -> str:
    """A note for the screen: as it is, or with options as on the command line where a command is run."""
    names = _OPTIONS.get()
    return as_command_line(sentence, names) if names else sentence
