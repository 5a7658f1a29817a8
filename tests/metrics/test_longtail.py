"""Scores against scikit-learn, formulas written out, and the numbers that the official GLMC evaluation gave."""

# mypy: disable-error-code="operator,arg-type"
# (a score may be None, which a test would notice)

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, top_k_accuracy_score

from glmc_zoo.errors import UserError
from glmc_zoo.metrics import GROUPS, ScoreCounts, group_of_classes, longtail_scores, recalls, tercile_thresholds

COUNTS = [500, 300, 101, 100, 60, 20, 19, 7]


def example(images: int = 400, classes: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of unequal frequency, and logits that are right more often than not; class 7 is never tested."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes - 1, images) * generator.integers(0, 2, images)
    logits = generator.normal(size=(images, classes)).astype(np.float32)
    logits[np.arange(images), labels] += 1.5
    return labels, logits


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def ece_by_loop(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Guo et al. (2017), equation 3, bin by bin."""
    confidence, guess, ece = probabilities.max(axis=1), probabilities.argmax(axis=1), 0.0
    for index in range(15):
        members = [i for i, p in enumerate(confidence) if index / 15 < p <= (index + 1) / 15]
        if members:
            accuracy = sum(guess[i] == labels[i] for i in members) / len(members)
            ece += len(members) / len(labels) * abs(accuracy - sum(confidence[members]) / len(members))
    return ece


def check_golden(golden, case: str) -> None:
    array = {name: golden[f"{case}_{name}"] for name in ("counts", "labels", "logits", "confusion", "class_acc")}
    top1, top5 = golden[f"{case}_top1_top5"]
    counts = ScoreCounts.empty(array["counts"], few=21)  # their few includes 20
    counts.update(array["labels"], logits=array["logits"])
    scores = counts.scores()
    np.testing.assert_array_equal(recalls(counts), array["class_acc"])
    assert 100 * scores["top1"] == pytest.approx(top1, abs=1e-5)
    assert 100 * scores["top5"] == pytest.approx(top5, abs=1e-5)
    sizes = golden[f"{case}_group_sizes"]
    np.testing.assert_array_equal(np.bincount(counts.groups, minlength=3), sizes)
    for name, percent, size in zip(GROUPS, golden[f"{case}_many_medium_few"], sizes, strict=True):
        if size:
            assert 100 * scores[name] == pytest.approx(percent, abs=1e-9)
        else:
            assert percent == 0 and scores[name] is None
    member = np.eye(3)[counts.groups]
    np.testing.assert_array_equal(counts.group_confusion, member.T @ array["confusion"] @ member)
    np.testing.assert_array_equal(counts.predicted, array["confusion"].sum(axis=0))


def test_official_numbers_of_case_c() -> None:
    with np.load(Path(__file__).parent / "golden_c.npz") as golden:
        check_golden(golden, "c")


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_official_numbers(shared: Path, case: str) -> None:
    with np.load(shared / "reference" / "metrics.npz") as golden:
        check_golden(golden, case)


def test_groups_at_the_borders() -> None:
    counts = [1000, 101, 100, 99, 21, 20, 19, 0]
    assert group_of_classes(counts).tolist() == [0, 0, 1, 1, 1, 1, 2, 2]
    assert group_of_classes(counts, few=21).tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    assert group_of_classes(counts, many=20, few=20).tolist() == [0, 0, 0, 0, 0, 1, 2, 2]
    assert group_of_classes(counts, many=21, few=21).tolist() == [0, 0, 0, 0, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        ([9, 8, 7, 6, 5, 4, 3, 2, 1], [3, 3, 3]),
        ([50, 3, 40], [1, 1, 1]),
        ([12, 11, 10, 9, 8, 7, 6, 5, 4, 3], [3, 4, 3]),
        ([90, 80], [0, 2, 0]),
        ([5, 5, 5, 5], [0, 4, 0]),
        ([9, 5, 5, 5, 5, 1], [1, 4, 1]),
        ([7], [0, 1, 0]),
    ],
)
def test_terciles_make_three_groups_of_what_there_is(counts: list[int], sizes: list[int]) -> None:
    many, few = tercile_thresholds(counts)
    groups = group_of_classes(counts, many=many, few=few)
    assert np.bincount(groups, minlength=3).tolist() == sizes


def test_against_scikit_learn() -> None:
    labels, logits = example()
    probabilities, guess = softmax(logits), logits.argmax(axis=1)
    scores = longtail_scores(guess, labels, COUNTS, probabilities=probabilities)
    assert scores["top1"] == pytest.approx(accuracy_score(labels, guess), abs=1e-12)
    assert scores["top5"] == pytest.approx(top_k_accuracy_score(labels, logits, k=5, labels=range(8)), abs=1e-12)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, guess), abs=1e-12)
    tested = f1_score(labels, guess, average="macro", labels=range(7))
    assert scores["macro_f1"] == pytest.approx(tested, abs=1e-12)
    assert scores["nll"] == pytest.approx(log_loss(labels, probabilities, labels=range(8)), abs=1e-12)
    assert scores["ece"] == pytest.approx(ece_by_loop(probabilities, labels), abs=1e-12)


def test_means_of_recalls_written_out() -> None:
    labels, logits = example()
    counts = ScoreCounts.empty(COUNTS)
    counts.update(labels, logits=logits)
    scores, guess = counts.scores(), logits.argmax(axis=1)
    recall = np.array([np.mean(guess[labels == c] == c) for c in range(7)])
    np.testing.assert_allclose(recalls(counts), [*recall, np.nan], atol=1e-15)
    assert scores["many"] == pytest.approx(recall[:3].mean())
    assert scores["medium"] == pytest.approx(recall[3:6].mean())
    assert scores["few"] == pytest.approx(recall[6])  # class 7 has no test image
    assert scores["hmean"] == pytest.approx(7 / sum(1 / recall))
    assert scores["gmean"] == pytest.approx(np.prod(recall) ** (1 / 7))
    assert scores["worst"] == recall.min() > 0


def test_one_class_never_found_makes_hmean_and_gmean_zero() -> None:
    scores = longtail_scores([0, 0, 0, 1], [0, 0, 2, 1], [200, 50, 5])
    assert (scores["hmean"], scores["gmean"], scores["worst"], scores["few"]) == (0.0, 0.0, 0.0, 0.0)


def test_keys_and_empty_group() -> None:
    without = longtail_scores([0, 1], [0, 1], [200, 150])
    always = ["balanced_accuracy", "many", "medium", "few", "hmean", "gmean", "worst", "macro_f1"]
    assert list(without) == ["top1", *always]
    assert without["many"] == 1.0 and without["medium"] is None and without["few"] is None
    with_probabilities = longtail_scores([0, 1], [0, 1], [200, 150], probabilities=np.eye(2))
    assert list(with_probabilities) == ["top1", "top5", *always, "ece", "nll"]
    assert with_probabilities["top5"] == 1.0  # of two classes, both are among the best five
    assert all(type(value) in (float, type(None)) for value in with_probabilities.values())


def test_a_group_whose_classes_are_not_tested_is_none() -> None:
    assert longtail_scores([0, 0], [0, 0], [200, 5])["few"] is None


def test_a_class_without_test_images_enters_no_mean() -> None:
    """The same scores as without the class, though an image is predicted as it."""
    guess, labels = [0, 0, 1, 3, 2, 2, 0], [0, 0, 1, 1, 2, 2, 2]
    counts = ScoreCounts.empty([200, 50, 5, 4])
    counts.update(labels, predictions=guess)
    scores = counts.scores()
    recall = [1.0, 1 / 2, 2 / 3]
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(recall))
    assert scores["macro_f1"] == pytest.approx(np.mean([4 / 5, 2 / 3, 4 / 5]))
    assert scores["hmean"] == pytest.approx(3 / (1 + 2 + 3 / 2)) and scores["worst"] == 0.5
    assert scores["few"] == pytest.approx(2 / 3) and scores["top1"] == pytest.approx(5 / 7)
    assert counts.group_support() == {
        "many": {"classes": 1, "images": 2},
        "medium": {"classes": 1, "images": 2},
        "few": {"classes": 1, "images": 3},
    }


def test_without_training_images_there_are_no_groups() -> None:
    labels, logits = example()
    grouped, plain = ScoreCounts.empty(COUNTS), ScoreCounts.without_groups(8)
    for counts in (grouped, plain):
        counts.update(labels, logits=logits)
    scores = (plain + ScoreCounts.without_groups(8)).scores()
    assert scores == grouped.scores() | dict.fromkeys(GROUPS)
    assert not plain.has_groups and plain.group_confusion.sum() == 0
    assert all(support == {"classes": 0, "images": 0} for support in plain.group_support().values())


def test_logits_and_their_softmax_agree() -> None:
    labels, logits = example()
    by_logits, by_probabilities = ScoreCounts.empty(COUNTS), ScoreCounts.empty(COUNTS)
    by_logits.update(labels, logits=logits)
    by_probabilities.update(labels, probabilities=softmax(logits))
    np.testing.assert_array_equal(by_logits.integers(), by_probabilities.integers())
    np.testing.assert_allclose(by_logits.floats(), by_probabilities.floats(), rtol=1e-12)


def test_logits_outside_the_range_of_exp() -> None:
    counts = ScoreCounts.empty([10, 10])
    counts.update([0], logits=[[1000.0, 1001.0]])
    assert counts.scores()["nll"] == pytest.approx(np.log(1 + np.e))


def test_parts_add_up_to_the_whole() -> None:
    labels, logits = example(images=9001)
    whole = ScoreCounts.empty(COUNTS)
    whole.update(labels, logits=logits)
    first, second = ScoreCounts.empty(COUNTS), ScoreCounts.empty(COUNTS)
    for rows in (slice(0, 7), slice(7, 7), slice(7, 5000)):
        first.update(labels[rows], logits=logits[rows])
    second.update(labels[5000:], logits=logits[5000:])
    reduced = ScoreCounts.empty(COUNTS).with_state(
        first.integers() + second.integers(), first.floats() + second.floats()
    )
    for total in (first + second, reduced):
        np.testing.assert_array_equal(total.integers(), whole.integers())
        np.testing.assert_allclose(total.floats(), whole.floats(), rtol=1e-12)
        assert total.scores() == pytest.approx(whole.scores(), rel=1e-12)
    assert whole.total == 9001 == whole.group_confusion.sum() == whole.bin_images.sum()


def test_state_is_small_and_a_copy() -> None:
    counts = ScoreCounts.empty(np.full(8142, 30))
    assert counts.integers().nbytes + counts.floats().nbytes < 500_000
    before = counts.integers()
    counts.with_state(before, counts.floats()).update([1], predictions=[1])
    assert counts.total == 0 and before.sum() == 0


def test_ties_go_to_the_lower_index_as_in_torch() -> None:
    torch = pytest.importorskip("torch")
    logits = np.zeros((8, 8), np.float32)
    counts = ScoreCounts.empty(COUNTS)
    counts.update(np.arange(8), logits=logits)
    np.testing.assert_array_equal(counts.predicted, np.bincount(torch.tensor(logits).argmax(1), minlength=8))
    assert counts.top5_correct.tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    labels, distinct = example()
    counts = ScoreCounts.empty(COUNTS)
    counts.update(labels, logits=distinct)
    best = torch.tensor(distinct).topk(5).indices.numpy()
    assert counts.top5_correct.sum() == (best == labels[:, None]).any(axis=1).sum()


@pytest.mark.parametrize(("confidence", "index"), [(1 / 15, 0), (0.0667, 1), (0.6, 8), (0.61, 9), (1.0, 14)])
def test_bins_are_closed_on_the_right(confidence: float, index: int) -> None:
    rest = (1 - confidence) / 15
    counts = ScoreCounts.empty([100] * 16)
    counts.update([0], predictions=[0], probabilities=[[confidence] + [rest] * 15])
    assert counts.bin_images.argmax() == index


def test_a_certain_miss_costs_a_finite_nll() -> None:
    counts = ScoreCounts.empty([10, 10])
    counts.update([1], logits=[[0.0, -np.inf]])
    assert counts.scores()["nll"] == pytest.approx(-np.log(np.finfo(np.float64).tiny))
    probabilities = np.array([[1.0, 0.0]], np.float32)
    assert longtail_scores([0], [1], [10, 10], probabilities=probabilities)["nll"] == pytest.approx(np.log(2**23))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: longtail_scores([0, 1], [0], [5, 5]), "predictions has 2 entries, references 1"),
        (lambda: longtail_scores([0, 2], [0, 1], [5, 5]), "predictions holds class 2 at position 1.*0 to 1"),
        (lambda: longtail_scores([0], [-1], [5, 5]), "references holds class -1"),
        (lambda: longtail_scores([0.5], [1], [5, 5]), "predictions has shape .* float64"),
        (lambda: longtail_scores([], [], [5, 5]), "no images to score"),
        (lambda: longtail_scores([0], [0], []), "class_counts has shape"),
        (lambda: longtail_scores([0], [0], [5, -5]), "class_counts holds -5"),
        (lambda: longtail_scores([0], [0], [5, 2.5]), "class_counts holds 2.5"),
        (lambda: longtail_scores([0], [0], ["5", "6"]), "class_counts holds '5'"),
        (lambda: longtail_scores([0], [0], [5, 5], many=10, few=20), "few=20 and many=10"),
        (lambda: longtail_scores([0], [0], [5, 5], probabilities=[[1, 0, 0]]), r"shape \(1, 3\).*\(1, 2\)"),
        (lambda: longtail_scores([0], [0], [5, 5], probabilities=[[2.5, -1.5]]), "softmax"),
        (lambda: ScoreCounts.empty([5, 5]).update([0], logits=[[np.nan, 0]]), "NaN"),
        (lambda: ScoreCounts.empty([5, 5]).update([0]), "references alone"),
        (lambda: ScoreCounts.empty([5, 5]).update([0], logits=[[1, 0]], probabilities=[[1, 0]]), "one of them"),
        (lambda: ScoreCounts.empty([5, 5]) + ScoreCounts.empty([5, 500]), "differ in classes or groups"),
        (lambda: ScoreCounts.empty([5, 5]).with_state(np.zeros(3), np.zeros(16)), "integers has shape"),
    ],
)
def test_errors_name_the_value(call, words: str) -> None:
    with pytest.raises(UserError, match=words):
        call()


def test_a_refused_batch_counts_nothing_and_partial_probabilities_are_refused() -> None:
    counts = ScoreCounts.empty([5, 5])
    with pytest.raises(UserError):
        counts.update([0, 1], predictions=[0, 1], probabilities=[[1, 0], [3, 3]])
    assert counts.integers().sum() == 0
    counts.update([0], predictions=[0])
    counts.update([1], logits=[[0.0, 1.0]])
    with pytest.raises(UserError, match="Only 1 of 2 images"):
        counts.scores()


def test_importing_the_room_is_quick() -> None:
    code = "import sys, glmc_zoo.metrics; print({'evaluate', 'matplotlib', 'torch'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
