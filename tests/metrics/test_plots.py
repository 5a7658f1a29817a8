"""What the plots draw, read back from the figures."""

# mypy: disable-error-code="union-attr,arg-type,index,assignment"
# (matplotlib declares what artists hold far wider than what was drawn)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.metrics import plot_class_accuracy, plot_class_confusion, plot_group_confusion, plot_training

PNG = b"\x89PNG\r\n\x1a\n"


def glmc_rows() -> list[dict]:
    rows = []
    for epoch in range(6):
        row = {"epoch": epoch, "loss": -epoch, "conventional": 2.0, "rebalanced": 3.0, "consistency": -1.5, "lr": 0.1}
        if epoch % 2:
            scores = {"top1": 0.1 * epoch, "balanced_accuracy": 0.05 * epoch, "many": 0.8, "medium": 0.5, "few": None}
            row["test"] = scores
        rows.append(row)
    return rows


def test_training_curves(tmp_path: Path) -> None:
    path = tmp_path / "new" / "training.png"
    figure = plot_training(glmc_rows(), path, title="GLMC, resnet on digits_lt")
    assert path.read_bytes().startswith(PNG)
    loss, score, rate = figure.axes
    assert figure.get_suptitle() == "GLMC, resnet on digits_lt"
    assert [text.get_text().split("  ")[0] for text in loss.get_legend().get_texts()] == [
        "total",
        "conventional",
        "re-balanced",
        "consistency",
    ]
    labels = [text.get_text() for text in score.get_legend().get_texts()]
    assert labels == ["top-1  50.0", "balanced accuracy  25.0", "many  80.0", "medium  50.0"]  # no line for None
    np.testing.assert_allclose(score.lines[0].get_xydata(), [[1, 10], [3, 30], [5, 50]])
    assert "test" in score.get_title()
    np.testing.assert_allclose(rate.lines[0].get_ydata(), 0.1)


def test_baseline_with_validation_and_equal_scores(tmp_path: Path) -> None:
    rows = [{"epoch": e, "loss": 1.0, "validation": {"top1": 0.5, "balanced_accuracy": 0.5}} for e in range(2)]
    loss, score = plot_training(rows, tmp_path / "t.png", title="CE").axes
    assert len(loss.lines) == 1
    assert [line.get_label() for line in score.lines] == ["top-1 = balanced  50.0"]
    assert "validation" in score.get_title()


@pytest.mark.parametrize("rows", [[], [{"epoch": 0}]])
def test_nothing_to_draw(tmp_path: Path, rows: list[dict]) -> None:
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        plot_training(rows, tmp_path / "t.png", title="")


def test_class_accuracy_is_sorted_by_training_images(tmp_path: Path) -> None:
    path = tmp_path / "classes.png"
    names = ["rare", "common", "middle", "untested"]
    figure = plot_class_accuracy([5, 500, 50, 60], [0.2, 0.9, 0.5, np.nan], path, class_names=names, title="t")
    axis, twin = figure.axes
    assert path.read_bytes().startswith(PNG)
    assert [label.get_text() for label in axis.get_xticklabels()] == ["common", "untested", "middle", "rare"]
    assert [bar.get_height() for bar in axis.containers[0]] == [90, 0, 50, 20]
    assert {"many: 90.0 %", "medium: 50.0 %", "few: 20.0 %"} <= {text.get_text() for text in axis.texts}
    assert [text.get_text() for text in axis.texts].count("not tested") == 1
    np.testing.assert_array_equal(twin.lines[0].get_ydata(), [500, 60, 50, 5])
    assert twin.get_yscale() == "log"


def test_long_class_names_leave_room_for_the_bars(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    names = [
        "great white shark, white shark, man-eater, Carcharodon carcharias",
        "Donaudampfschiffahrtskapitaen",
        "ant",
        "7",
    ]
    counts, recalls = [300, 50, 5, 4], [0.9, 0.5, 0.1, 0.2]
    figure = plot_class_accuracy(counts, recalls, tmp_path / "c.png", class_names=names, title="t")
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert shown == ["great white shark, …", "Donaudampfschiffahrtska…", "ant", "7"]
    assert not [warning for warning in recwarn if "constrained_layout" in str(warning.message)]


@pytest.mark.parametrize("classes", [100, 1000, 8142])
def test_many_classes_are_dots_without_names(tmp_path: Path, classes: int) -> None:
    counts = np.linspace(300, 0, classes).astype(int)  # some classes have no training image
    recalls = np.linspace(1, 0, classes)
    names = [f"class {index}" for index in range(classes)]
    axis, _ = plot_class_accuracy(counts, recalls, tmp_path / "c.png", class_names=names, title="t").axes
    np.testing.assert_allclose(axis.collections[-2].get_offsets()[:, 1], 100 * recalls)
    assert not any("class" in label.get_text() for label in axis.get_xticklabels())
    headings = [text.get_text() for text in axis.texts if "%" in text.get_text()]
    means = [100 * recalls[part].mean() for part in (counts > 100, (counts >= 20) & (counts <= 100), counts < 20)]
    assert headings == [f"{name}: {mean:.1f} %" for name, mean in zip(("many", "medium", "few"), means, strict=True)]


def test_thresholds_are_in_the_labels(tmp_path: Path) -> None:
    axis, _ = plot_class_accuracy([20, 50], [0.5, 1], tmp_path / "c.png", many=40, few=21, title="t").axes
    assert {"1 class of > 40 images", "1 class of < 21 images"} <= {text.get_text() for text in axis.texts}


@pytest.mark.parametrize(
    ("recalls", "names", "words"),
    [([0.5], None, "class_recalls has 1"), ([0.5, 1], ["a"], "class_names has 1"), ([50, 1], None, "holds 50")],
)
def test_class_accuracy_errors(tmp_path: Path, recalls: list[float], names: list[str] | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        plot_class_accuracy([5, 6], recalls, tmp_path / "c.png", class_names=names, title="t")


def test_group_confusion_shows_row_shares_and_drops_empty_groups(tmp_path: Path) -> None:
    path = tmp_path / "confusion.png"
    figure = plot_group_confusion([[1500, 500, 0], [250, 750, 0], [0, 0, 0]], path, title="t")
    (axis,) = figure.axes
    assert path.read_bytes().startswith(PNG)
    np.testing.assert_allclose(axis.images[0].get_array(), [[75, 25], [25, 75]])
    assert [text.get_text() for text in axis.texts[:4]] == ["75.0 %", "1,500", "25.0 %", "500"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["many", "medium"]


def test_untested_group_keeps_its_column_when_predicted(tmp_path: Path) -> None:
    (axis,) = plot_group_confusion([[8, 0, 2], [0, 0, 0], [0, 0, 0]], tmp_path / "c.png", title="t").axes
    np.testing.assert_allclose(axis.images[0].get_array(), [[80, 20]])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["many", "few"]


@pytest.mark.parametrize("confusion", [np.zeros((3, 3), int), np.ones((2, 2), int)])
def test_group_confusion_errors(tmp_path: Path, confusion: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"\(3, 3\)"):
        plot_group_confusion(confusion, tmp_path / "c.png", title="t")


def test_classes_without_test_images_are_named(tmp_path: Path) -> None:
    recalls = [0.5, np.nan, 1.0, np.nan]
    figure = plot_class_accuracy([200, 150, 50, 5], recalls, tmp_path / "a.png", title="")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"many: 50.0 %", "2 classes of > 100 images, 1 tested", "medium: 100.0 %", "few: not tested"} <= set(texts)
    assert texts.count("not tested") == 2 and "1 class of < 20 images" in texts


def test_few_classes_are_a_heat_map_of_shares_with_the_largest_class_first(tmp_path: Path) -> None:
    pairs, names = [[0, 0, 6], [0, 2, 2], [1, 1, 4], [2, 0, 1], [2, 2, 3]], ["rare", "$x$", "common"]
    figure = plot_class_confusion(pairs, tmp_path / "c.png", class_names=names, class_counts=[3, 20, 90], title="t")
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["common", r"\$x\$", "rare"]
    shares = axis.images[0].get_array()
    np.testing.assert_array_equal(np.ma.filled(shares, -1), [[-1, 0, 25], [0, -1, 0], [25, 0, -1]])
    assert {text.get_text() for text in axis.texts} == {"75", "25", "100"}
    assert (tmp_path / "c.png").read_bytes().startswith(PNG)


def test_of_many_classes_the_worst_pairs_are_bars(tmp_path: Path) -> None:
    pairs = [[label, label, 10] for label in range(31)] + [[4, 7, 10], [30, 0, 30]]
    names = [f"class {label}" for label in range(31)]
    (axis,) = plot_class_confusion(pairs, tmp_path / "c.png", class_names=names, title="t").axes
    assert [bar.get_width() for bar in axis.patches] == [30, 10]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["class 30 as class 0", "class 4 as class 7"]
    assert [text.get_text().strip() for text in axis.texts] == ["30 (75 %)", "10 (50 %)"]
    (axis,) = plot_class_confusion(pairs[:31], tmp_path / "c.png", class_names=names, title="t").axes
    assert [text.get_text() for text in axis.texts] == ["no mistakes"]


@pytest.mark.parametrize(
    ("pairs", "counts", "words"),
    [
        ([[0, 1]], None, "pairs has shape"),
        ([[0, 1, 0]], None, "pairs has shape"),
        ([[0, 2, 1]], None, "pairs names class 2 of 2"),
        ([[0, 1, 1]], [1, 2, 3], "class_counts has 3 entries"),
    ],
)
def test_class_confusion_errors(pairs: list[list[int]], counts: list[int] | None, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{words}"):
        plot_class_confusion(pairs, tmp_path / "c.png", class_names=["a", "b"], class_counts=counts, title="t")
