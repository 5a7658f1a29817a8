"""Counting what is left out."""

from __future__ import annotations

from glmc_zoo.data.reading.inventory import MOST_EXAMPLES, LeftOut, name_few
from glmc_zoo.facts import LeftOutFacts
from glmc_zoo.text import escaped, printable


def test_reasons_numbers_and_examples() -> None:
    left_out = LeftOut()
    for index in range(7):
        left_out.add("hidden", f".{index}.png")
    left_out.add("not an image", "caf\udce9/", 3)
    left_out.add("nothing", "x", 0)
    assert left_out.files == 10 and left_out.count("hidden") == 7 and left_out.count("other") == 0
    assert left_out.facts() == [
        LeftOutFacts(reason="hidden", files=7, examples=[f".{index}.png" for index in range(5)]),
        LeftOutFacts(reason="not an image", files=3, examples=["caf\\xe9/"]),
    ]


def test_counts_of_another_reading_are_added() -> None:
    one, other = LeftOut(), LeftOut()
    one.add("hidden", ".a")
    other.add("hidden", ".b")
    other.add("empty", "c", 2)
    one.update(other, below="inner")
    assert [(facts.reason, facts.files, facts.examples) for facts in one.facts()] == [
        ("empty", 2, ["inner/c"]),
        ("hidden", 2, [".a", "inner/.b"]),
    ]


def test_a_file_that_is_used_after_all() -> None:
    left_out = LeftOut()
    for name in ("a.csv", "b.csv"):
        left_out.add("not an image", name)
    left_out.discard("not an image", "a.csv")
    assert left_out.facts() == [LeftOutFacts(reason="not an image", files=1, examples=["b.csv"])]
    left_out.discard("not an image", "b.csv")
    assert left_out.facts() == [] and left_out.files == 0
    names = [f"{index}.parquet" for index in range(MOST_EXAMPLES)]
    for name in [*names, "z.txt"]:
        left_out.add("not an image", name)
    for name in names:
        left_out.discard("not an image", name)
    assert left_out.text == "1 not an image"  # its name is not among the examples


def test_names_that_are_not_utf8() -> None:
    assert [escaped(name) for name in ("caf\udce9", "café", "a\\b")] == ["caf\\xe9", "café", "a\\b"]


def test_no_terminal_takes_a_name_for_a_command() -> None:
    assert printable("a\x1b[31m\n\u2028 ü 猫 \x7f") == "a\\x1b[31m\\n\\u2028 ü 猫 \\x7f"
    assert printable("caf\udce9") == "caf\\xe9" and printable("\ud800") == "\\ud800"


def test_a_few_names() -> None:
    assert name_few([]) == "" and name_few(list("abcd")) == "a, b, c, d"
    assert name_few(list("abcdef")) == "a, b, c, d and 2 more" and name_few(list("abc"), 1) == "a and 2 more"
