"""The one exception for mistakes that a user can correct."""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from glmc_zoo.text import printable

# How torch begins the text of an error that it hands on from a worker.
_FROM_WORKER = re.compile(r"Caught \w+ in .*\.\nOriginal Traceback")
_OPTIONS: ContextVar[frozenset[str]] = ContextVar("options of the command line", default=frozenset())


class UserError(ValueError):
    """Bad input. The message is one sentence: the value, what is allowed, and the fix.

    A sentence names an option as Python does (``lr=-1``); `as_command_line` turns that into ``--lr -1``. Recipes print
    the sentence and exit with status 2; library callers see an ordinary ``ValueError``.

    The message is always one line: control characters and line ends in a value are shown escaped. A ``DataLoader``
    worker hands an error on with its traceback, of which the sentence alone is kept.

    Attributes:
        in_one_process: Whether only one process of several can meet this error, so that it must report it itself.
    """

    in_one_process = False

    def __init__(self, message: str) -> None:
        if _FROM_WORKER.match(message):
            name = f"{type(self).__module__}.{type(self).__qualname__}: "
            message = message.rstrip().splitlines()[-1].removeprefix(name)
        super().__init__(printable(message))

    @property
    def sentence(self) -> str:
        """The message with a capital and a full stop."""
        text = str(self).rstrip()
        if text.split(" ")[0].isalpha():  # a word, and not the name of a data set or an option
            text = text[0].upper() + text[1:]
        return text if text.endswith((".", "?")) else f"{text}."


def did_you_mean(name: str, names: Collection[str]) -> str:
    """``" Did you mean a, b?"`` for the names nearest to ``name``, or an empty string when none is near."""
    from difflib import get_close_matches

    suggestions = get_close_matches(name, names)
    return f" Did you mean {', '.join(suggestions)}?" if suggestions else ""


def missing_packages(subject: str, packages: Sequence[str], *, extra: str) -> UserError:
    """The error for a feature whose packages are not installed.

    Args:
        subject: What needs them, as the sentence begins: ``"A demo"``, ``"tune='lora'"``.
        packages: Names of the packages on PyPI.
        extra: The extra of this package that installs them.
    """
    verb = "is" if len(packages) == 1 else "are"
    return UserError(
        f"{subject} needs {', '.join(packages)}, which {verb} not installed: pip install 'glmc_zoo[{extra}]'."
    )


_VALUE = r"True\b|False\b|'[^']*'|\"[^\"]*\"|\[[^\]]*\]|-?\d[\w.+-]*\w|-?\d|-?(?:nan|inf)\b|\w+(?:/\w+)+|[A-Z]\w*"


def as_command_line(sentence: str, names: Collection[str]) -> str:
    """The sentence with options spelled as on the command line.

    ``lr=-1`` becomes ``--lr -1``, ``pretrained=True`` becomes ``--pretrained``, ``maxnorm=False`` becomes
    ``--no-maxnorm``, and ``split_file=`` by itself becomes ``--split-file``.

    Args:
        sentence: Sentence of a `UserError`.
        names: Names of options; other words before an equals sign stay as they are.
    """

    def spell(match: re.Match[str]) -> str:
        option, value = match[1].replace("_", "-"), match[2] or ""
        if value in ("", "True", "False"):
            return f"--no-{option}" if value == "False" else f"--{option}"
        return f"--{option} {value.strip(chr(39) + chr(34))}"

    alternatives = "|".join(sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![\w-])({alternatives})=({_VALUE})?", spell, sentence)


@contextmanager
def on_command_line(names: Collection[str]) -> Iterator[None]:
    """Have `for_screen` spell these options as on the command line."""
    token = _OPTIONS.set(frozenset(names))
    try:
        yield
    finally:
        _OPTIONS.reset(token)


def for_screen(sentence: str) -> str:
    """A note for the screen, on one line: as it is, or with options as on the command line where a command is run."""
    names = _OPTIONS.get()
    return printable(as_command_line(sentence, names) if names else sentence)
