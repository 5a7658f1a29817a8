"""The parts of the demo's page that say what a model answered, as HTML."""

import re
from functools import cache
from importlib.resources import files
from typing import Any

from glmc_zoo.scoring.demo.answering import Answer, DemoModel
from glmc_zoo.scoring.page.html import html_environment

_PACKAGE = "glmc_zoo.scoring.demo"


def heading_html(model: DemoModel) -> str:
    """The heading: the model, its classes and what it was trained on."""
    _, height, width = model.classifier.data_config["input_size"]
    counts = model.counts
    return _render(
        "heading",
        parts=re.findall(r"[^._/-]*[._/-]?", model.name),  # a narrow screen may break the line after each
        classes=len(model.labels),
        size=f"{height} x {width}",
        train_images=None if counts is None else sum(counts),
        smallest_class=None if counts is None else min(counts),
        public=model.options.share,
        largest_class=None if counts is None else max(counts),
    )


def answer_html(answer: Answer | None, threshold: float) -> str:
    """The most probable classes; ``not sure`` where the first of them has less than the threshold, from 0 to 1."""
    return _render("answer", answer=answer, threshold=threshold)


def similar_html(answer: Answer | None, model: DemoModel) -> str:
    """Similar training images of rare classes, or what to give to see some."""
    compared = None if model.rare_images is None else len(model.rare_images)
    return _render("similar", answer=answer, compared=compared, missing=model.rare_images_hint)


def style() -> str:
    """The style sheet of these parts."""
    return files(_PACKAGE).joinpath("templates/demo.css").read_text(encoding="utf-8")


def _render(template: str, **values: Any) -> str:
    text: str = _environment().get_template(f"{template}.html.jinja").render(**values)
    return text


@cache
def _environment() -> Any:
    environment = html_environment(_PACKAGE)
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
    return environment
