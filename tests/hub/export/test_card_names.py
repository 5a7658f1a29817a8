"""Names in a card are text: whoever named a class or a file writes no markup into it."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from card_results import RESULTS

from glmc_zoo.hub import render_card

EVIL = "<img src=x onerror=alert(1)> | ![x](http://e.org/x.png) `code` **b**\n\n# Heading\n```\n\x1b[2J"


@pytest.mark.parametrize("place", ["class", "data", "description", "license", "command", "options"])
def test_a_name_is_text_in_the_card(place: str) -> None:
    results: Any = RESULTS
    plain = render_card(results)
    if place == "class":
        results = dataclasses.replace(results, class_names=[EVIL, *results.class_names[1:]])
    elif place == "command":
        results = dataclasses.replace(results, origin=dataclasses.replace(results.origin, command=EVIL))
    elif place in ("data", "description", "license"):
        field = "name" if place == "data" else place
        results = dataclasses.replace(results, data=dataclasses.replace(results.data, **{field: EVIL}))
    else:
        results = dataclasses.replace(results, config={"plugin": EVIL, EVIL: 1})
    card = render_card(results)
    body = card.split("---\n", 2)[2]
    assert "\x1b" not in card
    if place != "command":  # in a block of code, which it cannot end
        outside = re.sub(r"`[^`\n]*`", "", body)
        assert "<img" not in outside and "](http://e.org" not in outside
    assert body.count("```") == plain.split("---\n", 2)[2].count("```")
    assert "\n# Heading" not in body
