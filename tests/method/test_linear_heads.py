"""Linear classifiers that are trained together: against scikit-learn, L-BFGS in float64, and each alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import cross_entropy

from glmc_zoo.method.linear_heads import (
    HeadProblems,
    PrincipalAxes,
    class_means,
    fit_heads,
    mean_anchor,
)

IMAGES, FEATURES, CLASSES = 120, 7, 4


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    """Features of very different variance, far from 0, and the classes of a long tail."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(IMAGES).remainder(15).clamp(max=CLASSES - 1)
    features = torch.randn(IMAGES, FEATURES, generator=generator, dtype=torch.float64)
    features = features @ torch.randn(FEATURES, FEATURES, generator=generator, dtype=torch.float64) + 3
    features[torch.arange(IMAGES), labels] += 1.5
    return features, labels


def problems(heads: int, decay: list[float], **changes: Tensor) -> HeadProblems:
    values = {
        "margins": torch.zeros(heads, CLASSES, dtype=torch.float64),
        "weight_decay": torch.tensor(decay, dtype=torch.float64),
        "anchor": torch.zeros(heads, CLASSES, FEATURES, dtype=torch.float64),
        "image_weights": torch.ones(heads, IMAGES, dtype=torch.float64),
    }
    return HeadProblems(**{**values, **changes})


def centred(logits: Tensor) -> Tensor:
    """A constant added to all logits of an image changes nothing."""
    return logits - logits.mean(dim=-1, keepdim=True)


def test_it_is_the_logistic_regression_of_scikit_learn(images: tuple[Tensor, Tensor]) -> None:
    features, labels = images
    decays = [0.5, 0.05, 0.005]
    heads = fit_heads(features, labels, problems(3, decays), tolerance=1e-9, max_steps=5000)
    for index, decay in enumerate(decays):
        reference = LogisticRegression(C=1 / (IMAGES * decay), tol=1e-12, max_iter=20_000)
        reference.fit(features.numpy(), labels.numpy())
        expected = torch.from_numpy(reference.decision_function(features.numpy()))
        assert torch.allclose(centred(heads.logits(features)[index]), centred(expected), atol=1e-4)


def test_margins_anchor_and_weights_are_those_of_the_loss_in_words(images: tuple[Tensor, Tensor]) -> None:
    features, labels = images
    generator = torch.Generator().manual_seed(1)
    margins = torch.randn(1, CLASSES, generator=generator, dtype=torch.float64)
    anchor = torch.randn(1, CLASSES, FEATURES, generator=generator, dtype=torch.float64)
    rows = torch.rand(1, IMAGES, generator=generator, dtype=torch.float64)
    rows[0, ::4] = 0
    problem = problems(1, [0.03], margins=margins, anchor=anchor, image_weights=rows)
    heads = fit_heads(features, labels, problem, tolerance=1e-9, max_steps=5000)

    weight, bias = anchor[0].clone().requires_grad_(), torch.zeros(CLASSES, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=2000, tolerance_grad=1e-11, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        each = cross_entropy(features @ weight.T + bias + margins[0], labels, reduction="none")
        value = (rows[0] * each).sum() / rows[0].sum() + 0.03 / 2 * (weight - anchor[0]).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    expected = features @ weight.detach().T + bias.detach()
    assert torch.allclose(centred(heads.logits(features)[0]), centred(expected), atol=1e-4)


def test_trained_together_they_are_what_each_is_alone(images: tuple[Tensor, Tensor]) -> None:
    features, labels = images[0].float(), images[1]
    generator = torch.Generator().manual_seed(2)
    together = problems(
        6,
        [1.0, 0.1, 0.01, 1.0, 0.1, 0.01],
        margins=torch.randn(6, CLASSES, generator=generator),
        anchor=torch.randn(6, CLASSES, FEATURES, generator=generator),
        image_weights=(torch.rand(6, IMAGES, generator=generator) < 0.8).float(),
    )
    together = HeadProblems(together.margins, together.weight_decay.float(), together.anchor, together.image_weights)
    principal_axes, done = PrincipalAxes.from_features(features), []
    heads = fit_heads(features, labels, together, principal_axes=principal_axes, progress=done.append)
    for index in range(6):
        alone = fit_heads(features, labels, together.select(torch.tensor([index])), principal_axes=principal_axes)
        assert torch.allclose(heads.weight[index], alone.weight[0], atol=1e-3)
        assert torch.allclose(heads.logits(features)[index], alone.logits(features)[0], atol=2e-3)
    assert done == sorted(done) and done[-1] == 1


def test_a_strong_pull_leaves_the_anchor(images: tuple[Tensor, Tensor]) -> None:
    features, labels = images
    anchor = mean_anchor(class_means(features, labels, CLASSES, torch.ones(IMAGES)), 2.0)[None]
    heads = fit_heads(features, labels, problems(1, [1e6], anchor=anchor))
    assert torch.allclose(heads.weight, anchor, atol=1e-4)


def test_an_axis_without_variance_does_no_harm(images: tuple[Tensor, Tensor]) -> None:
    features, labels = images
    doubled = torch.cat([features, features[:, :1]], dim=1).float()
    anchor = torch.zeros(1, CLASSES, FEATURES + 1)
    problem = HeadProblems(torch.zeros(1, CLASSES), torch.zeros(1), anchor, torch.ones(1, IMAGES))
    heads = fit_heads(doubled, labels, problem, max_steps=100)
    assert heads.weight.isfinite().all()
    assert torch.allclose(heads.weight[0, :, 0], heads.weight[0, :, -1], atol=1e-2)


def test_axes_are_found_where_single_precision_does_not_converge(
    images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = images[0].float()
    eigh = torch.linalg.eigh

    def only_double(matrix: Tensor) -> tuple[Tensor, Tensor]:
        if matrix.dtype != torch.float64:
            raise torch.linalg.LinAlgError("The algorithm failed to converge")
        return eigh(matrix)  # type: ignore[no-any-return]

    monkeypatch.setattr(torch.linalg, "eigh", only_double)
    axes = PrincipalAxes.from_features(features)
    expected = np.linalg.eigvalsh(np.cov(features.double().numpy(), rowvar=False, bias=True))
    np.testing.assert_allclose(axes.variance.double().numpy(), expected, atol=1e-5 * expected.max())
    assert axes.axes.dtype == axes.rotated.dtype == torch.float32
    np.testing.assert_allclose(axes.rotated.var(dim=0, correction=0), axes.variance, rtol=1e-3, atol=1e-6)


def test_class_means(images: tuple[Tensor, Tensor]) -> None:
    features, labels = images
    rows = (torch.arange(IMAGES) % 2).double()
    means = class_means(features, labels, CLASSES + 1, rows)
    for label in range(CLASSES):
        chosen = (labels == label).numpy() & (rows > 0).numpy()
        assert np.allclose(means[label], features.numpy()[chosen].mean(axis=0))
    assert not means[CLASSES].any()
    anchor = mean_anchor(means[:CLASSES], 3.0)
    assert torch.allclose(anchor.norm(dim=1), torch.full((CLASSES,), 3.0, dtype=torch.float64))
