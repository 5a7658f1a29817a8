"""The second stage as a run: the classifier alone, on a class-balanced loss, its rows within a ball."""

from __future__ import annotations

from typing import Any

import torch
from timm.task import ClassificationTask, TrainingTask
from timm.utils import unwrap_model
from torch import Tensor, nn

from glmc_zoo.engine.config import TrainConfig
from glmc_zoo.engine.finetune_run import FinetuneRun
from glmc_zoo.engine.provenance import slug
from glmc_zoo.engine.report import percent
from glmc_zoo.engine.run import TrainingRun
from glmc_zoo.engine.second_stage import SecondStageConfig, differing_options, trained_with
from glmc_zoo.errors import UserError
from glmc_zoo.method import ClassBalancedLoss, MaxNorm

__all__ = ["ClassifierBall", "SecondStageRun"]


class ClassifierBall:
    """`MaxNorm` of a classifier after every step of its optimiser; the radius is saved with every checkpoint.

    A checkpoint holds rows that were shrunk already, so that a radius out of them would be another one.

    Args:
        weight: Of the classifier, ``(C, D)``, as it is at the start of the stage.
        threshold: See `MaxNorm`.
        optimizer: torch's own, not Accelerate's around it: that one is asked to step after every accumulated batch.
    """

    def __init__(self, weight: Tensor, threshold: float, optimizer: torch.optim.Optimizer) -> None:
        self.constraint = MaxNorm(weight, threshold)
        optimizer.register_step_post_hook(self._project)

    @property
    def limit(self) -> float:
        """Radius of the ball."""
        return float(self.constraint.limit)

    def _project(self, optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        # A fused optimiser is called also for a step that the gradient scaler of fp16 skips, and told so by this.
        skipped = getattr(optimizer, "found_inf", None)
        if skipped is None or not skipped.item():
            self.constraint.project_()

    def state_dict(self) -> dict[str, float]:
        """The radius."""
        return {"limit": self.limit}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take over what `state_dict` gave."""
        self.constraint.limit.fill_(state["limit"])


class SecondStageRun(FinetuneRun):
    """The second stage of a trained model, built from a resolved configuration; `recipes/second_stage.py` shows it.

    All but the classifier rests, statistics and dropout included. Source: Alshammari et al., Long-Tailed Recognition
    via Weight Balancing, CVPR 2022, sections 4.2 and 5; loss: Cui et al., CVPR 2019.

    Raises:
        UserError: Model, data, options or output folder do not fit; nothing already on disk is touched.
    """

    config: SecondStageConfig

    def __init__(self, config: SecondStageConfig) -> None:
        super().__init__(config)
        trained: Any = unwrap_model(self.task.get_trainable_module())
        # The model as a whole: a dropout before the classifier holds no parameters to tell that it rests.
        self.frozen: list[nn.Module] = [trained]
        self.ball: ClassifierBall | None = None
        if config.maxnorm:
            assert config.maxnorm_threshold is not None
            inner = self.optimizer.optimizer
            self.ball = ClassifierBall(trained.get_classifier().weight, config.maxnorm_threshold, inner)
            self.accelerator.register_for_checkpointing(self.ball)

    def _make_task(self, config: TrainConfig) -> TrainingTask:
        assert isinstance(config, SecondStageConfig)
        self._check_classes()
        task = super()._make_task(config)
        assert isinstance(task, ClassificationTask)
        task.criterion = ClassBalancedLoss(self.data.class_counts, config.class_balanced_beta)
        return task

    def _check_classes(self) -> None:
        name, theirs, ours = self.source.name, self.source.class_names, self.data.class_names
        if theirs == ours:
            return
        if theirs is None:
            what = "names no classes"
        elif sorted(theirs) == sorted(ours):
            what = "has the classes of the data in another order"
        else:
            what = f"has {len(theirs)} classes and the data {len(ours)}, not all of one name"
        raise UserError(
            f"{name} {what}, and the second stage goes on with the classifier that is there: give the data that it was "
            "trained on, or fine-tune it on yours (recipes/finetune.py)."
        )

    def _training_heads(self) -> dict[str, Tensor]:
        # They read the features of the encoder, which is the first stage's to the bit.
        return self.source.training_heads() or {}

    # ------------------------------------------------------------- what it says
    def _describe_results(self, results: dict[str, Any]) -> None:
        config, first = self.config, self.source.results or {}
        model, theirs = results["model"], first.get("model") or {}
        kind = config.method if self.ball is None else "maxnorm"
        tag = f"{theirs.get('tag') or slug(self.data.name)}_{kind}"
        architecture = model["name"].partition(".")[0]
        model |= {"tag": tag, "name": f"{architecture}.{tag}", "pretrained_from": theirs.get("pretrained_from")}
        base = self._public_source() or theirs.get("base_model")
        model |= {"base_model": base} if base else {}
        # It is the first stage that learnt the features, and by whose name this model is found and compared.
        results |= {"method": first.get("method") or "glmc", "preset": first.get("preset")}
        if "finetune" in first:
            results["finetune"] = first["finetune"]
        results["second_stage"] = {
            "kind": kind,
            "threshold": config.maxnorm_threshold,
            "beta": config.class_balanced_beta,
            "limit": None if self.ball is None else self.ball.limit,
            "source": results["config"]["model"],
            "source_commit": self.source.commit,
            "source_test_top1": _top1(first),
            "source_command": first.get("command"),
            "source_config": first.get("config"),
            "source_seeds": first.get("seeds"),
        }

    def _public_source(self) -> str | None:
        """Hub id of the first stage's model, where it comes from the Hub."""
        if self.source.kind != "hub":
            return None
        return self.source.name.partition(":")[2].partition("@")[0]

    def describe(self) -> None:
        """Say what is about to be trained, what it takes over from the first stage, and where it differs from it."""
        TrainingRun.describe(self)
        config, first = self.config, self.source.results or {}
        trained, total = self._trained()
        ball = "no bound on its rows"
        if self.ball is not None:
            ball = f"rows within {self.ball.limit:.4g} (MaxNorm, threshold {config.maxnorm_threshold})"
        self.say(
            f"second stage of {config.model} (test top-1 {percent(_top1(first))} %): its classifier alone, {trained:,} "
            f"of {total:,} parameters; class-balanced loss, beta {config.class_balanced_beta}; {ball}"
        )
        defaults = TrainConfig()
        taken = [n for n in config.inherited if n == "data" or getattr(config, n) != getattr(defaults, n)]
        if taken:
            shown = " ".join(f"--{name.replace('_', '-')} {getattr(config, name)}" for name in taken)
            self.say(f"from its first stage: {shown}")
        differing = differing_options(config, trained_with(self.source))
        if differing:
            self.say(
                f"note: This is not what the first stage was trained with ({'; '.join(differing)}): images that it "
                "did not see, or saw in another role, train the classifier or test it."
            )


def _top1(results: dict[str, Any]) -> float | None:
    score = (results.get("test") or {}).get("top1")
    return None if score is None else float(score)
