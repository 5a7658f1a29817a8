r"""Text from elsewhere as text: names of files and classes for terminals, tables, Markdown and spreadsheets.

Anybody may have written a name. Here it loses the power to command a terminal, to break a line or a table, to become
markup, or to become a formula.
"""

import re
import unicodedata

_CONTROLS = ("Cc", "Zl", "Zp")
# Marks that turn the order of the letters after them: a name could show another suffix than it has.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# What begins markup wherever it stands; an underscore between letters or digits and a lone bracket do not.
_MARKUP = re.compile(r"[\\`*<|]|~(?=~)|\](?=[\[(:])|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")
# What begins a heading, a list, a quotation or a rule.
_START = re.compile(r"^(#(?=#{0,5}(?:\s|$))|[+-](?=\s|$|-)|=(?==*$)|>|\d+(?=[.)](?:\s|$)))")
_LINK = re.compile(r"(?i)(https?|ftp)://|\bwww\.")

# A leading apostrophe tells a spreadsheet that a cell is text. Cells that have one before such a sign get another, so
# that taking one away always gives the text as it was.
_FORMULA = re.compile("'*[=+\\-@\t\r]")
_QUOTED = re.compile("'+[=+\\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def escaped(path: str) -> str:
    r"""A path as text that every file and terminal takes: a byte that is not UTF-8 becomes ``\xe9``."""
    try:
        encoded = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a pair of surrogates, which JSON can hold
        encoded = path.encode("utf-8", "backslashreplace")
    return encoded.decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    r"""Text on one line that no terminal takes for a command: control characters become ``\x1b``; see `escaped`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if _is_control(character) else character
        for character in escaped(text)
    )


def _is_control(character: str) -> bool:
    return character in _BIDI_CONTROLS or unicodedata.category(character) in _CONTROLS


def printable_lines(text: str) -> str:
    """`printable` for text of several lines, whose line ends stay."""
    return "\n".join(map(printable, text.split("\n")))


def markdown(text: object) -> str:
    """Text as it is in Markdown, on one line: no heading, link, emphasis, cell of a table or HTML tag."""
    escaped_text = _MARKUP.sub(_entity, printable(" ".join(str(text).split())))
    escaped_text = _LINK.sub(lambda match: match[0].replace(":", "&#58;").replace(".", "&#46;"), escaped_text)
    return _START.sub(_entity, escaped_text)


def _entity(match: re.Match[str]) -> str:
    sign = match[0]
    if sign.isdecimal():
        return "".join(f"&#{ord(digit)};" for digit in sign)
    return {"<": "&lt;", "&": "&amp;"}.get(sign, f"\\{sign}")


def markdown_code(text: object) -> str:
    """Text for a code span between single backquotes, which it cannot end; a bar does not end a cell of a table."""
    return printable(str(text)).replace("`", "'").replace("|", "\\|")


def markdown_block(text: object) -> str:
    """Text of several lines for a fenced block of code, which it cannot end."""
    return printable_lines(str(text)).replace("```", "'''")


def quoted_formula(cell: str) -> str:
    """A cell of text that no spreadsheet takes for a formula: ``=1+1`` becomes ``'=1+1``; a number such as -1.5 stays.

    Source: OWASP, CSV Injection. `unquoted_formula` gives the text back.
    """
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def unquoted_formula(cell: str) -> str:
    """The text that `quoted_formula` was given."""
    return cell[1:] if _QUOTED.match(cell) else cell


def counted(number: int, noun: str) -> str:
    """``1 file``, ``2,000 files``, ``3 classes``."""
    ending = "es" if noun.endswith(("s", "x", "tch", "sh")) else "s"
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}{ending}"


def agree(number: int, singular: str, plural: str) -> str:
    """The words that agree with a number, such as ``is`` or ``are``."""
    return singular if number == 1 else plural
