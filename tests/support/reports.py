"""An evaluation on images of noise, to make reports from, and a parser of HTML pages."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from glmc_zoo.data import ImageSplit
from glmc_zoo.data.reading.images import ArrayImages
from glmc_zoo.metrics import ScoreCounts, score_intervals
from glmc_zoo.results import DataFacts, EvaluatedModel, EvaluationResults, Origin, Scores, Thresholds
from glmc_zoo.scoring.answers import AnswerCollector
from glmc_zoo.scoring.page.answer_file import ANSWERS_FILE, lowest_recall_first, make_answer_file
from glmc_zoo.scoring.page.subject import Subject
from glmc_zoo.scoring.report import class_recalls, group_sizes, group_support

VOID = {"meta", "link", "br", "img", "input"}


def evaluation(
    folder: Path, classes: int, images: int, *, seed: int = 0, name: str = "model", side: int = 16, **changes: Any
) -> Subject:
    """Write the folder of an evaluation on images of noise, and load it.

    Args:
        folder: Where the files go.
        classes: Number of classes. Class 0 has the most training images, the last class the fewest.
        images: Number of images.
        seed: Seed of the logits.
        name: Name of the model.
        side: Side of an image in pixels.
        **changes: Fields of the results to replace.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    logits = 2 * rng.normal(size=(images, classes)) + 4 * np.eye(classes)[labels]
    counts = np.geomspace(300, 3, classes).astype(int).tolist()
    scored = ScoreCounts.empty(counts)
    rows = scored.update(labels, logits=logits)
    names = [f"class {label}" for label in range(classes)]
    model = EvaluatedModel(
        name=name, given_as="m", source="folder", parameters=1, classes=classes, input_size=[3, 32, 32],
        mean=[0.5] * 3, std=[0.5] * 3, interpolation="bicubic", crop_pct=1.0, crop_mode="center",
    )  # fmt: skip
    thresholds = Thresholds(many=100, few=20)
    values: dict[str, Any] = {
        "model": model, "data": DataFacts(name="noise", train_images=sum(counts), test_images=images),
        "split": "test", "class_names": names, "class_counts": counts, "thresholds": thresholds,
        "groups": group_sizes(counts, thresholds), "batch_size": 64, "test": Scores.from_dict(scored.scores()),
        "intervals": {"test": score_intervals(rows, scored.groups, resamples=20)},
        "group_support": group_support(scored), "class_recalls": class_recalls(scored),
        "group_confusion": scored.group_confusion.tolist(), "wall_time_s": 1.0,
        "origin": Origin(command="glmc-zoo evaluate --model m", versions={"torch": "2"}),
    }  # fmt: skip
    results = EvaluationResults(**{**values, **changes})
    folder.mkdir(parents=True, exist_ok=True)
    results.save(folder / "results.json")
    collector = AnswerCollector(classes)
    collector.update(np.arange(images), rows)
    pixels = rng.integers(256, size=(images, side, side, 3), dtype=np.uint8)
    split = ImageSplit(ArrayImages(pixels, "test"), np.arange(images), labels, names)
    answers = collector.gather()
    order = lowest_recall_first(class_recalls(scored), counts)
    make_answer_file("test", answers, split, order).save(folder / ANSWERS_FILE)
    return Subject.load(folder)


class Element:
    """An element of a page: tag, attributes, and children, which are elements or text."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag, self.attributes = tag, attributes
        self.children: list[Element | str] = []

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """The elements below this one with this tag and these attributes (``class_`` is one of the classes)."""
        matches = []
        for child in self.children:
            if isinstance(child, Element):
                matching = all(
                    value in child.attributes.get("class", "").split()
                    if key == "class_"
                    else child.attributes.get(key) == value
                    for key, value in attributes.items()
                )
                if child.tag == tag and matching:
                    matches.append(child)
                matches += child.all(tag, **attributes)
        return matches

    @property
    def text(self) -> str:
        """All text in the element, with a single blank between words."""
        parts = [child if isinstance(child, str) else child.text for child in self.children]
        return " ".join(" ".join(parts).split())


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> ends <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parsed(page: str) -> Element:
    """Parse a page, and assert that each tag is closed where it must be."""
    reader = _Reader()
    reader.feed(page)
    assert len(reader.open) == 1, f"<{reader.open[-1].tag}> is not closed"
    return reader.open[0]
