"""The configuration of a fine-tuning run: that of training, started from a trained model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from glmc_zoo.engine.config import TrainConfig, resolve
from glmc_zoo.engine.options import check_minimum, hidden, option
from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from glmc_zoo.data import DataEntry

__all__ = ["FINETUNE_RECIPE", "FinetuneConfig", "resolve_finetune"]

# Chosen on held-out parts of small training sets, see benchmarks/README.md.
FINETUNE_RECIPE: dict[str, Any] = {
    "epochs": 40,
    "batch_size": 32,
    "lr": 0.01,
    "weight_decay": 5e-4,
    "warmup_epochs": 1,
}

# Of the preset `tuned`, unless a preset is asked for: few epochs on features that are there already are long enough to
# show rare classes more often than training from scratch does.
FINETUNE_SAMPLER_POWER = 1.5


@dataclass(kw_only=True)
class FinetuneConfig(TrainConfig):
    """Every option of a fine-tuning run; the backbone is that of the model it starts from."""

    backbone: str | None = hidden(None)
    pretrained: bool = hidden(True)
    defaults: tuple[str, ...] = hidden(())
    model: str | None = option(None, "start from: hf_hub:ORG/NAME, exported folder, zoo name or pretrained timm name")
    tune: Literal["full", "head", "blocks", "lora"] = option(
        "full", "train full, head (linear probe), blocks (the last --last-blocks) or lora (adapters, merged on export)"
    )
    last_blocks: int | None = option(None, "with --tune blocks: how many blocks are trained; 1 by default")
    layer_decay: float | None = option(None, "each layer's learning rate is this times that of the layer above")
    lora_rank: int | None = option(None, "with --tune lora: rank of the adapters; 8 by default")
    lora_alpha: float | None = option(None, "with --tune lora: scale of the adapters; twice the rank by default")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is None:
            raise UserError(
                "--model is missing: give what to start from, such as hf_hub:ORG/NAME, an exported folder or a "
                "pretrained timm model."
            )
        check_minimum(self, {"last_blocks": 1, "lora_rank": 1})
        for name, tune in (("last_blocks", "blocks"), ("lora_rank", "lora"), ("lora_alpha", "lora")):
            if getattr(self, name) is not None and self.tune != tune:
                raise UserError(
                    f"--{name.replace('_', '-')} belongs to --tune {tune} and has no effect with --tune {self.tune}; "
                    "leave it out."
                )
        if self.lora_alpha is not None and not self.lora_alpha > 0:
            raise UserError(f"--lora-alpha {self.lora_alpha} must be above 0.")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise UserError(f"--layer-decay {self.layer_decay} must be above 0 and at most 1, for instance 0.75.")
        if self.layer_decay is not None and self.tune in ("head", "lora"):
            raise UserError(
                f"--layer-decay is for --tune full or blocks and has no effect with --tune {self.tune}; leave it out."
            )


def resolve_finetune(command_line: dict[str, Any], from_file: dict[str, Any] | None = None) -> FinetuneConfig:
    """Fill what was not said: preset first, then the recipe for small sets, then the file, then the command line.

    Raises:
        UserError: A value is out of its range, has no effect, or ``model`` is missing.
    """
    filed = {"preset": "tuned", "sampler_power": FINETUNE_SAMPLER_POWER} | (from_file or {})
    config = resolve(command_line, filed, config_class=FinetuneConfig, recipe_of=_recipe)
    said = {name for name, value in (filed | command_line).items() if value is not None}
    return dataclasses.replace(config, defaults=tuple(name for name in FINETUNE_RECIPE if name not in said))


def _recipe(_entry: DataEntry | None, _imbalance_factor: float | None) -> dict[str, Any]:
    # A published recipe is for training from scratch: its learning rate and length do not fit here.
    return dict(FINETUNE_RECIPE)
