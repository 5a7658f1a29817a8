"""The choice among classifiers on features: by images that did not train them, and exported as one linear layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from glmc_zoo.training import head_search
from glmc_zoo.training.head_search import ADJUSTMENTS, LOSSES, WEIGHT_DECAYS, count_folds, search_head

COUNTS = [60, 24, 8]


@pytest.fixture
def images() -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), COUNTS)
    features = rng.normal(size=(len(labels), 6)) + 2 * np.eye(3, 6)[labels] + 5
    return torch.from_numpy(features[None]).float(), labels, np.arange(len(labels)) % 5


def search(images: tuple[Any, Any, Any], **changes: Any) -> Any:
    features, labels, fold = images
    given: dict[str, Any] = {"init": "fresh", "device": torch.device("cpu"), **changes}
    return search_head(given.pop("features", features), labels, given.pop("fold", fold), COUNTS, **given)


def test_the_trial_is_the_score_of_scikit_learn_on_the_held_out_images(
    images: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_search, "WEIGHT_DECAYS", (0.01,))
    features, labels, fold = images
    choice = search(images)
    flat = features[0].numpy().astype(np.float64)
    scaled = (flat - flat.mean(axis=0)) / np.sqrt(((flat - flat.mean(axis=0)) ** 2).sum(axis=1).mean())
    logits = np.zeros((len(labels), 3))
    for number in range(5):
        train = fold != number
        model = LogisticRegression(C=1 / (train.sum() * 0.01), tol=1e-10, max_iter=5000)
        logits[~train] = model.fit(scaled[train], labels[train]).decision_function(scaled[~train])
    prior, scores = np.log(np.asarray(COUNTS) / sum(COUNTS)), []
    for adjustment in ADJUSTMENTS["cross-entropy"]:
        right = (logits - adjustment * prior).argmax(axis=1) == labels
        scores.append(np.mean([right[labels == label].mean() for label in range(3)]))
    trial = next(one for one in choice.trials if one.loss == "cross-entropy")
    assert trial.balanced_accuracy == pytest.approx(max(scores), abs=0.02)
    best = max(choice.trials, key=lambda one: (one.balanced_accuracy, one.top1, one.weight_decay))
    assert choice.chosen == best and len(choice.trials) == len(LOSSES)
    (alone,) = search(images, loss="ce").trials
    assert (alone.loss, alone.logit_adjustment) == ("cross-entropy", 0.0)
    assert alone.balanced_accuracy == pytest.approx(scores[0], abs=0.02)


def test_logits_are_made_for_held_out_images_of_one_setting_at_a_time(
    images: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of all settings and images of iNaturalist take 171 GB."""
    monkeypatch.setattr(head_search, "ONE_FOLD_WORK", 0)
    whole = head_search._Search.best_adjustment
    sizes: list[int] = []

    def best_adjustment(self: Any, logits: torch.Tensor, *args: Any) -> Any:
        sizes.append(logits.untyped_storage().nbytes() // 4)
        return whole(self, logits, *args)

    monkeypatch.setattr(head_search._Search, "best_adjustment", best_adjustment)
    held_out = int((images[2] == 0).sum())
    assert search(images).held_out_logits.shape == (held_out, 3)
    assert sizes == [held_out * 3] * len(LOSSES) * len(WEIGHT_DECAYS)


def test_one_loss_alone(images: tuple[Any, Any, Any]) -> None:
    choice = search(images, loss="balanced_softmax")
    assert [(one.loss, one.weight_decay) for one in choice.trials] == [("balanced softmax", w) for w in WEIGHT_DECAYS]
    assert {one.logit_adjustment for one in choice.trials} == {0.0}
    assert set(head_search.NAMED_LOSSES.values()) == set(LOSSES)


@pytest.mark.parametrize("init", ["mean", "fresh"])
def test_one_linear_layer_for_features_as_they_come(images: tuple[Any, Any, Any], init: str) -> None:
    features, labels, _ = images
    choice = search(images, init=init)
    assert choice.weight.shape == (3, 6) and choice.bias.shape == (3,) and choice.weight.dtype == torch.float32
    predicted = (features[0] @ choice.weight.T + choice.bias).argmax(dim=1).numpy()
    recalls = [(predicted[labels == label] == label).mean() for label in range(3)]
    assert np.mean(recalls) > 0.75
    assert len(choice.trials) == len(LOSSES) * len(WEIGHT_DECAYS)
    assert choice.held_out_logits.shape == (sum(COUNTS), 3)
    hits = choice.held_out_logits.argmax(dim=1) == choice.held_out_labels
    held = [hits[choice.held_out_labels == label].double().mean().item() for label in range(3)]
    assert np.mean(held) == pytest.approx(choice.chosen.balanced_accuracy)


def test_shift_and_scale_of_the_features_do_not_matter(images: tuple[Any, Any, Any]) -> None:
    features = images[0]
    one, other = search(images, init="mean"), search(images, init="mean", features=features * 40 - 7)
    assert one.chosen.weight_decay == other.chosen.weight_decay
    logits = features[0] @ one.weight.T + one.bias
    assert torch.allclose(logits, (features[0] * 40 - 7) @ other.weight.T + other.bias, atol=0.05)


def test_a_cosine_classifier_does_not_see_how_long_features_are(
    images: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_search, "WEIGHT_DECAYS", (0.01,))
    monkeypatch.setattr(head_search, "ADJUSTMENTS", dict.fromkeys(LOSSES, (0.0,)))
    features = images[0]
    lengths = torch.linalg.vector_norm(features, dim=2, keepdim=True)
    even = features * (lengths.mean() / lengths)
    factors = torch.linspace(0.5, 1.5, features.shape[1])[None, :, None]
    cosine, linear = search(images, features=even * factors, cosine=True), search(images, features=even)
    assert torch.allclose(cosine.weight * factors.mean(), linear.weight, atol=2e-2)
    assert not torch.allclose(search(images, features=even * factors).weight * factors.mean(), linear.weight, atol=0.1)
    # What is chosen and scored is the linear layer, for features as long as they are.
    same = search(images, features=even, cosine=True).held_out_logits
    assert torch.allclose(same, linear.held_out_logits, atol=1e-4)
    assert not torch.allclose(cosine.held_out_logits, linear.held_out_logits, atol=0.1)


def test_images_that_always_train_are_not_scored(images: tuple[Any, Any, Any]) -> None:
    fold = images[2].copy()
    fold[:10] = -1
    assert len(search(images, fold=fold).held_out_labels) == sum(COUNTS) - 10


def test_views_train_and_the_first_one_is_scored(images: tuple[Any, Any, Any]) -> None:
    features = images[0]
    twice = search(images, features=torch.cat([features, features]), init="mean")
    once = search(images, init="mean")
    assert torch.allclose(twice.weight, once.weight, atol=2e-2)
    assert [one.balanced_accuracy for one in twice.trials] == pytest.approx(
        [one.balanced_accuracy for one in once.trials], abs=0.02
    )


def test_a_large_set_holds_out_one_fold(images: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_folds(4404, 1280, 17) == 5 and count_folds(437_513, 2048, 8142) == 1
    monkeypatch.setattr(head_search, "ONE_FOLD_WORK", 1)
    choice = search(images)
    assert choice.folds == 1 and len(choice.held_out_labels) == (images[2] == 0).sum()
