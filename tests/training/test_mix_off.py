"""``mix_off_epochs``: the last epochs train on unmixed images; the losses are computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

# One step an epoch over all 68 images; no batch-norm and no dropout, so that a step can be computed again.
OPTIONS: dict[str, Any] = {
    **{"max_count": 10, "imbalance_factor": 2, "batch_size": 68, "epochs": 3, "warmup_epochs": 0, "lr": 0.05},
    **{"backbone": "test_vit", "image_size": 32, "eval_every": 3, "views": "mixup_cutmix"},
}


@pytest.fixture
def start_of_epochs(monkeypatch: pytest.MonkeyPatch) -> dict[int, dict[str, Tensor]]:
    """Weights of the next run's task at the start of each epoch."""
    from glmc_zoo.training.run import TrainingRun

    states: dict[int, dict[str, Tensor]] = {}
    original = TrainingRun.train_epoch

    def train_epoch(self: TrainingRun) -> dict[str, float]:
        states[self.progress.epoch] = {key: value.clone() for key, value in self.task.state_dict().items()}
        return original(self)

    monkeypatch.setattr(TrainingRun, "train_epoch", train_epoch)
    return states


def unmixed_losses(run: Any, epoch: int) -> dict[str, float]:
    """Loss terms of the epoch's one step by the formulas of GLMC on the plainly shuffled images."""
    run.loader.set_epoch(epoch)
    (batch,) = list(run.loader)
    normalize = run.trainer.normalize
    params = batch.first_params or (None, None)
    views = [normalize(view, one) for view, one in zip(batch.first, params, strict=True)]
    labels, counts = batch.first_targets, torch.tensor(run.data.class_counts).double()
    switches = run.stage.switches
    run.task.train()
    with torch.no_grad():
        one, other = run.task.trainable_module.forward_views(*views)
    conventional = sum(F.cross_entropy(out.logits.double(), labels) for out in (one, other))
    balanced = [out.balanced_logits.double() for out in (one, other)]
    if switches.rebalanced_loss == "balanced_softmax":
        # Images are shuffled plainly and have no partners: the prior is that of the training images.
        prior = (counts / counts.sum()).log()
        rebalanced = sum(F.cross_entropy(logits + prior, labels) for logits in balanced)
    else:
        inverse = 1 / counts
        weights = inverse / inverse.sum() * len(counts)
        rebalanced = sum((weights[labels] * F.cross_entropy(x, labels, reduction="none")).mean() for x in balanced)
    consistency = sum(
        -F.cosine_similarity(x.prediction.double(), y.projection.double(), dim=1).mean()
        for x, y in ((one, other), (other, one))
    )
    alpha = 1 - (epoch / OPTIONS["epochs"]) ** switches.cumulative_power
    loss = alpha * conventional + (1 - alpha) * rebalanced + switches.consistency_weight * consistency
    terms = {"conventional": conventional, "rebalanced": rebalanced, "consistency": consistency, "loss": loss}
    return {name: float(value) for name, value in terms.items()}


@pytest.mark.parametrize("preset", ["official", "tuned"])
def test_the_last_epochs_train_on_unmixed_images(
    preset: str, finished: Callable[..., Any], start_of_epochs: dict[int, dict[str, Tensor]], lab: Any, tmp_path: Path
) -> None:
    run = finished("train", **OPTIONS, preset=preset, mix_off_epochs=2, output_dir=tmp_path / "run")
    rows = lab.rows(tmp_path / "run")
    for epoch in (1, 2):
        run.task.load_state_dict(start_of_epochs[epoch])
        for name, value in unmixed_losses(run, epoch).items():
            assert rows[epoch][name] == pytest.approx(value, rel=1e-4, abs=1e-5), (epoch, name)
    # The first epoch mixes: its images and labels are others.
    run.task.load_state_dict(start_of_epochs[0])
    assert abs(unmixed_losses(run, 0)["conventional"] - rows[0]["conventional"]) > 0.01


def test_off_by_default_and_without_effect_on_the_epochs_before(
    finished: Callable[..., Any], lab: Any, tmp_path: Path
) -> None:
    for name, more in {"default": {}, "zero": {"mix_off_epochs": 0}, "one": {"mix_off_epochs": 1}}.items():
        finished("train", **OPTIONS, **more, output_dir=tmp_path / name)
    default, zero, one = ([row["loss"] for row in lab.rows(tmp_path / name)] for name in ("default", "zero", "one"))
    assert zero == default and one[:2] == default[:2] and one[2] != default[2]
    weights = [lab.weights(tmp_path / name) for name in ("default", "zero", "one")]
    assert lab.same_weights(weights[0], weights[1]) and not lab.same_weights(weights[0], weights[2])
    assert lab.results(tmp_path / "one")["config"]["mix_off_epochs"] == 1
