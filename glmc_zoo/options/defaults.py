"""Default values of a training, a fine-tuning and a second stage, and how ``--help`` names them."""

from typing import Any

GENERIC_RECIPE: dict[str, Any] = {
    "backbone": "resnet50",
    "epochs": 100,
    "batch_size": 64,
    "lr": 0.05,
    "weight_decay": 5e-4,
    "warmup_epochs": 5,
}
"""For data sets without a recipe: the usual schedule for large images from scratch, at a modest length."""

FINETUNE_RECIPE: dict[str, Any] = {
    "epochs": 40,
    "batch_size": 32,
    "lr": 0.01,
    "weight_decay": 5e-4,
    "warmup_epochs": 1,
}
"""Chosen on held-out images of small training sets, see docs/settings.md."""

HEAD_RECIPE: dict[str, Any] = FINETUNE_RECIPE | {"batch_size": 128}
"""The classifier alone, on features: the batches have no gradients, so larger ones fit."""

FINETUNE_DEFAULTS: dict[str, Any] = {"preset": "tuned", "sampler_power": 1.5}
"""Overrides the preset ``tuned`` where GLMC is asked for. With pretrained features a few epochs suffice, so rare
classes can be sampled more often than when training from scratch."""

SECOND_STAGE_RECIPE: dict[str, Any] = {
    "epochs": 10,
    "batch_size": 64,
    "lr": 0.01,
    "weight_decay": 0.1,
    "warmup_epochs": 0,
}
"""The recipe of Alshammari et al., CVPR 2022; the batch size is the first stage's where it is known."""

_TENTH = "at most a tenth of the epochs"
FINETUNE_TEXTS: dict[str, str] = {
    "preset": FINETUNE_DEFAULTS["preset"],
    "epochs": f"{FINETUNE_RECIPE['epochs']}",
    "batch_size": f"{FINETUNE_RECIPE['batch_size']}; {HEAD_RECIPE['batch_size']} for --tune head",
    "lr": f"{FINETUNE_RECIPE['lr']} for sgd, else 3e-4, 5e-5 for layer norm or 1e-3 for adapters",
    "weight_decay": f"{FINETUNE_RECIPE['weight_decay']}; 0.05 for adamw and layer norm, without adapters",
    "warmup_epochs": f"{FINETUNE_RECIPE['warmup_epochs']}, {_TENTH}",
    "clip_grad": "none; 2 for SGD where the training starts from a classifier with long weights",
    "opt": "sgd; adamw for all layers or the last blocks of a network with layer norm, unless --lr is given",
    "sampler_power": f"{FINETUNE_DEFAULTS['sampler_power']}; with --preset that of the preset",
}
"""Defaults of a fine-tuning for ``--help``, where they are not those of a training from scratch."""

SECOND_STAGE_TEXTS: dict[str, str] = {
    name: str(SECOND_STAGE_RECIPE[name]) for name in ("epochs", "lr", "weight_decay", "warmup_epochs")
}
"""Defaults of a second stage for ``--help``, where they are not those of a training from scratch."""


def recipe_text(name: str) -> str:
    """The default of an option of a training from scratch, for ``--help``."""
    text = f"the data set's recipe, else {GENERIC_RECIPE[name]}"
    return f"{text}; {_TENTH}" if name == "warmup_epochs" else text
