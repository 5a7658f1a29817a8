"""A training run that starts from a trained model, on its classes or on others."""

from __future__ import annotations

from typing import Any

from timm.task import TrainingTask

from glmc_zoo.engine.config import TrainConfig
from glmc_zoo.engine.finetune import FinetuneConfig
from glmc_zoo.engine.run import TrainingRun
from glmc_zoo.engine.tuning import add_adapters, layer_decay_groups, merge_adapters, train_head, train_last_blocks
from glmc_zoo.errors import UserError
from glmc_zoo.hub import ModelSource, open_model
from glmc_zoo.method import GLMCModel

__all__ = ["FinetuneRun"]


class FinetuneRun(TrainingRun):
    """A fine-tuning run, built from a resolved configuration; `recipes/finetune.py` shows its use.

    The classifier is fresh unless the classes are those of the source, by name and in the same order; GLMC's other
    heads go on from the source's where it has them.

    Raises:
        UserError: Model, data, options or output folder do not fit; nothing already on disk is touched.
    """

    config: FinetuneConfig
    source: ModelSource

    def __init__(self, config: FinetuneConfig) -> None:
        self.kept: list[str] = []
        super().__init__(config)

    def _open_source(self, config: TrainConfig) -> ModelSource:
        assert isinstance(config, FinetuneConfig) and config.model is not None
        return open_model(config.model)

    def _make_task(self, config: TrainConfig) -> TrainingTask:
        assert isinstance(config, FinetuneConfig)
        channels = (self.source.config.get("input_size") or (3,))[0]
        if channels != 3:
            raise UserError(
                f"--model {config.model} takes images of {channels} channels, and images are read in colour: give a "
                "model of three."
            )
        task = super()._make_task(config)
        wrapped: Any = task.trainable_module
        model: Any = getattr(wrapped, "timm_model", wrapped)
        same = self.source.class_names == self.data.class_names
        if same:
            self.kept.append("classifier")
        else:
            # timm keeps the old classifier where the number of classes is the same, whatever the classes are.
            model.reset_classifier(len(self.data.class_names))
            init_head = getattr(model, "init_head", None)
            if init_head is not None:
                init_head(model.get_classifier())
        heads = self.source.training_heads()
        if heads is not None and isinstance(wrapped, GLMCModel):
            self.kept += wrapped.load_training_heads(heads, same_classes=same)
        if config.tune == "head":
            train_head(model)
        elif config.tune == "blocks":
            train_last_blocks(model, config.last_blocks or 1)
        elif config.tune == "lora":
            rank = config.lora_rank or 8
            add_adapters(model, rank=rank, alpha=config.lora_alpha or 2.0 * rank, image_size=self.spec.size)
        return task

    def _parameter_groups(self) -> list[dict[str, Any]] | None:
        config = self.config
        if config.layer_decay in (None, 1):
            return None
        assert config.weight_decay is not None and config.layer_decay is not None
        return layer_decay_groups(
            self.task, self.timm_model, weight_decay=config.weight_decay, decay=config.layer_decay
        )

    def _before_export(self) -> None:
        merge_adapters(self.timm_model)

    def _trained(self) -> tuple[int, int]:
        parameters = list(self.task.parameters())
        return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)

    def _describe_results(self, results: dict[str, Any]) -> None:
        config, source = self.config, self.source
        name = results["config"]["model"]
        results["model"]["pretrained_from"] = name
        results["finetune"] = {
            "model": name,
            "kind": source.kind,
            "commit": source.commit,
            "tune": config.tune,
            "kept": self.kept,
            "source_classes": len(source.class_names or []) or None,
        }

    def describe(self) -> None:
        """Say what is about to be tuned, from what, and which settings were nobody's choice."""
        super().describe()
        config = self.config
        trained, total = self._trained()
        kept = f"; goes on with its {', '.join(self.kept)}" if self.kept else "; a fresh classifier"
        self.say(
            f"fine-tuning {config.model}, --tune {config.tune}: {trained / 1e6:.2f} of {total / 1e6:.2f} M parameters"
            f" are trained{kept}"
        )
        if config.defaults:
            shown = " ".join(f"--{name.replace('_', '-')} {getattr(config, name)}" for name in config.defaults)
            self.say(f"defaults: {shown} (chosen with sgd on a small network, see benchmarks/README.md)")
