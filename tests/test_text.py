"""Names from files of others: on a terminal, in Markdown and in a spreadsheet."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmc_zoo.errors import UserError, for_screen
from glmc_zoo.files import csv_text, text_table
from glmc_zoo.text import (
    agree,
    counted,
    markdown,
    markdown_block,
    markdown_code,
    printable,
    printable_lines,
    quoted_formula,
    unquoted_formula,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a cat", "a cat"),
        ("naïve ☃ 猫 👩\u200d🔬", "naïve ☃ 猫 👩\u200d🔬"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("two\nlines\r\n", r"two\nlines\r\n"),
        ("tab\there", r"tab\there"),
        ("\x9b31m", r"\x9b31m"),
        ("fdp.\u202egpj", r"fdp.\u202egpj"),
        ("line\u2028end", r"line\u2028end"),
        ("caf\udce9", r"caf\xe9"),
    ],
)
def test_a_name_has_no_control_characters_on_a_terminal(text: str, expected: str) -> None:
    assert printable(text) == expected == printable(printable(text))
    assert printable_lines(f"{text.replace(chr(10), '')}\nb").split("\n")[-1] == "b"
    assert str(UserError(f"The class {text} is unknown.")) == f"The class {expected} is unknown."
    assert UserError(f"The class {text} is unknown.").sentence.startswith("The class ")
    assert for_screen(text) == expected
    assert text_table([("class", "images"), (text, "1")], left=(0, 1)).split("\n")[1] == f"{expected.ljust(5)}  1"


def test_an_error_of_a_worker_keeps_a_value_with_a_line_break() -> None:
    inside = UserError("Image a\nb.png cannot be read: it is empty.")
    text = "Caught UserError in DataLoader worker process 1.\nOriginal Traceback (most recent call last):\n"
    text += f"  File\nglmc_zoo.errors.UserError: {inside}\n"
    assert UserError(text).sentence == r"Image a\nb.png cannot be read: it is empty."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cifar100_lt", "cifar100_lt"),
        ("[0.5, 0.5]", "[0.5, 0.5]"),
        ("a | b", r"a \| b"),
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("![x](https://e.org/a.png)", r"![x\](https&#58;//e.org/a.png)"),
        ("**bold** _it_ `code`", r"\*\*bold\*\* \_it\_ \`code\`"),
        ("# heading\n\n- list", r"\# heading - list"),
        ("1. first", "&#49;. first"),
        ("- first", r"\- first"),
        ("-1.5", "-1.5"),
        ("3.11.7", "3.11.7"),
        ("&lt;b&gt;", "&amp;lt;b&amp;gt;"),
        ("www.e.org", "www&#46;e.org"),
    ],
)
def test_a_name_is_no_markup(text: str, expected: str) -> None:
    assert markdown(text) == expected


def test_a_name_does_not_end_a_code_block() -> None:
    assert markdown_code("a`b|c\n") == r"a'b\|c\n"
    assert markdown_block("a\n```\n<b>") == "a\n'''\n<b>"


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-x", "="])
def test_a_cell_is_no_formula(text: str) -> None:
    quoted = quoted_formula(text)
    assert quoted == f"'{text}" and unquoted_formula(quoted) == text
    assert next(csv.reader(io.StringIO(csv_text([[text]], quote_formulas=True), newline=""))) == [quoted]
    assert next(csv.reader(io.StringIO(csv_text([[text]]), newline=""))) == [text]


@pytest.mark.parametrize("text", ["-1.5", "+3", "-1e-5", ".5", "cat", "'s-Hertogenbosch", "", "a=b", "1-2"])
def test_numbers_and_other_text_are_unchanged(text: str) -> None:
    assert quoted_formula(text) == text == unquoted_formula(text)
    assert csv_text([[text, -1.5]], quote_formulas=True) == csv_text([[text, -1.5]])


@given(st.text(alphabet="'=+-@\t\ra1.", max_size=6))
def test_every_cell_is_read_as_it_was_written(text: str) -> None:
    assert unquoted_formula(quoted_formula(text)) == text
    assert quoted_formula(text) == text or quoted_formula(text)[0] == "'"


@pytest.mark.parametrize(
    ("number", "noun", "expected"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (2000, "image", "2,000 images"),
        (1, "class", "1 class"),
        (3, "class", "3 classes"),
        (2, "batch", "2 batches"),
        (2, "epoch", "2 epochs"),
        (2, "suffix", "2 suffixes"),
    ],
)
def test_numbers_agree_with_their_nouns(number: int, noun: str, expected: str) -> None:
    assert counted(number, noun) == expected
    assert agree(number, "is", "are") == ("is" if number == 1 else "are")
