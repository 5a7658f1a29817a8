"""The configuration of a training run: one dataclass, filled from preset, data recipe, file and command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from glmc_zoo.engine.options import DataOptions, GroupOptions, PushOptions, check_minimum, option, saved_options
from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from glmc_zoo.data import DataEntry

__all__ = [
    "GENERIC_RECIPE",
    "TrainConfig",
    "differing_fields",
    "images_per_step",
    "published_recipe",
    "resolve",
    "save_config",
    "with_scaled_lr",
]


@dataclass(kw_only=True)
class TrainConfig(PushOptions, GroupOptions, DataOptions):
    """Every option of a run; ``None`` means: taken from preset, recipe or backbone when the run is resolved."""

    # ---- images
    augment: Literal["crop_flip", "shift", "large"] | None = option(None, "augmentation: crop_flip, shift or large")
    image_size: int | None = option(None, "side of the training and test images in pixels")
    workers: int | None = option(
        None,
        "processes that load images, per training process; 0: it loads them itself; as many as pay by default",
    )
    images_in_memory: bool = option(False, "keep the encoded training images in RAM, read once at the start")
    # ---- model and method
    backbone: str | None = option(None, "any timm model, with or without a pretrained tag")
    pretrained: bool = option(False, "start from timm's pretrained weights")
    drop_rate: float = option(0.0, "dropout before the classifiers")
    drop_path_rate: float | None = option(None, "stochastic depth; not passed to the backbone by default")
    method: Literal["glmc", "ce", "balanced_softmax"] = option("glmc", "glmc, or a baseline: ce, balanced_softmax")
    preset: Literal["official", "paper", "tuned"] | None = option(
        None, "switches of GLMC at once: official (published recipes), paper (its text), tuned (other data)"
    )
    rebalanced_loss: Literal["reweighted", "balanced_softmax"] | None = option(
        None, "re-balanced branch of GLMC: reweighted or balanced_softmax"
    )
    prior_tau: float | None = option(
        None, "of balanced softmax: 1 as published, more for a wider margin of rare classes"
    )
    sampler_power: float | None = option(None, "q: images of the second loader drawn with weight n ** -q")
    class_weight_power: float | None = option(None, "k: re-weighted labels use class weights n ** -k")
    cumulative_power: float | None = option(None, "re-balanced loss takes over as (epoch / epochs) ** this")
    constant_alpha: float | None = option(
        None, "share of the conventional loss in every epoch, 0 to 1, in place of the cumulative schedule"
    )
    consistency_weight: float | None = option(None, "gamma: weight of the consistency loss")
    beta: float | None = option(None, "both parameters of the Beta distribution of the mixing share")
    correct_lam: bool | None = option(None, "label the CutMix view by the area really pasted")
    reduction: Literal["sum", "mean"] | None = option(None, "cross-entropies of the two views: sum, or mean (halved)")
    views: Literal["mixup_cutmix", "mixup", "cutmix"] = option(
        "mixup_cutmix", "what makes the global and the local view: the published pair, or one kind for both"
    )
    projection_dim: int | None = option(None, "width of projection and prediction; 128 for CIFAR networks, else 256")
    joint_views: bool = option(False, "both views in one batch through the encoder (another batch-norm, see docs)")
    # ---- schedule
    epochs: int | None = option(None, "epochs to train")
    batch_size: int | None = option(None, "images per step and process, of each of the two batches")
    lr: float | None = option(None, "learning rate at its highest")
    lr_base_size: int | None = option(
        None, "scale --lr and --min-lr linearly by the images of a step, in all processes, over this"
    )
    opt: str = option("sgd", "optimiser, by timm's name; sgd is the published one (no Nesterov)")
    momentum: float = option(0.9, "momentum, of optimisers that have one")
    weight_decay: float | None = option(None, "weight decay, on every parameter")
    sched: str = option("cosine", "learning-rate schedule, by timm's name")
    warmup_epochs: int | None = option(None, "epochs of linear warm-up, counted within --epochs")
    min_lr: float = option(0.0, "learning rate that the schedule ends on")
    clip_grad: float | None = option(None, "clip the gradient's norm to this")
    sam_rho: float | None = option(
        None, "sharpness-aware minimisation within this radius, e.g. 0.05; two passes a step"
    )
    ema_decay: float | None = option(None, "keep an exponential moving average of the weights, and export that")
    # ---- execution
    seed: int = option(0, "seed of weights, order, augmentation and mixing")
    mixed_precision: Literal["no", "fp16", "bf16", "auto"] | None = option(
        None, "no, fp16, bf16, or auto: bf16 where the device has it; what `accelerate config` says by default"
    )
    grad_accum_steps: int = option(1, "batches whose gradients are added before each optimiser step")
    compile: bool = option(False, "compile the training step with torch.compile")
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] = option(
        "default", "of --compile; reduce-overhead replays the step as CUDA graphs"
    )
    threads: int | None = option(None, "threads of one training process; on a CPU its share of the cores by default")
    resident: bool | None = option(
        None, "keep small training images on the device; by default when they take at most 1/4 of its free memory"
    )
    output_dir: str | None = option(None, "folder of the run; a fresh one below runs/ by default")
    resume: str | None = option(None, "auto (newest readable checkpoint of --output-dir) or a checkpoint folder")
    checkpoint_every: int = option(1, "epochs between checkpoints")
    checkpoint_steps: int = option(0, "also write a checkpoint every so many steps within an epoch; 0: never")
    keep_checkpoints: int = option(2, "newest checkpoints to keep")
    eval_every: int = option(1, "epochs between evaluations; the last epoch is always evaluated")
    select: Literal["last", "best"] = option("last", "epoch to report: last, or best on --val-fraction (never on test)")
    license: str | None = option(
        None, "licence of the exported weights, as the Hub spells it; by default that of what they start from"
    )
    export_half: bool = option(False, "store the exported weights in half precision")
    export_encoder: bool = option(False, "also export the model without its classifier, to encoder/")
    tracker: str | None = option(None, "tracker of Accelerate, e.g. tensorboard, wandb, trackio")
    profile: bool = option(False, "write a trace of a few steps and print where the time went, by stage")

    def __post_init__(self) -> None:
        for owner in (DataOptions, GroupOptions, PushOptions):
            owner.__post_init__(self)
        check_minimum(self, _AT_LEAST)
        for name in ("lr", "beta", "clip_grad", "cumulative_power", "sam_rho"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"--{name.replace('_', '-')} {value} must be above 0.")
        if self.constant_alpha is not None and not 0 <= self.constant_alpha <= 1:
            raise UserError(f"--constant-alpha {self.constant_alpha} must lie in 0 to 1.")
        for name in ("drop_rate", "drop_path_rate", "momentum"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise UserError(f"--{name.replace('_', '-')} {value} must lie in 0 to 1, 1 excluded.")
        if self.seed >= 2**32:
            raise UserError(f"--seed {self.seed} is too large: it must be below 2 ** 32.")
        if self.compile_mode != "default" and not self.compile:
            raise UserError(f"--compile-mode {self.compile_mode} has no effect without --compile: give that too.")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise UserError(f"--ema-decay {self.ema_decay} must lie between 0 and 1, for instance 0.999.")
        if self.warmup_epochs and self.epochs and self.warmup_epochs > self.epochs:
            raise UserError(f"--warmup-epochs {self.warmup_epochs} must not exceed --epochs {self.epochs}.")
        if self.select == "best" and not (self.val_fraction or self.official_val):
            raise UserError(
                "--select best needs images to choose on that are not test images: give --val-fraction, e.g. 0.1, or "
                "--official-val where the set has a list of its own."
            )


_AT_LEAST: dict[str, float] = {
    **dict.fromkeys(
        ("batch_size", "image_size", "grad_accum_steps", "checkpoint_every", "keep_checkpoints", "eval_every"), 1
    ),
    **dict.fromkeys(("epochs", "projection_dim", "lr_base_size", "threads"), 1),
    **dict.fromkeys(("workers", "warmup_epochs", "checkpoint_steps", "seed", "weight_decay"), 0),
    **dict.fromkeys(("min_lr", "consistency_weight", "class_weight_power", "sampler_power", "prior_tau"), 0),
}

# Data sets without a recipe of their own: the usual schedule for large images from scratch, at a modest length.
GENERIC_RECIPE: dict[str, Any] = {
    "backbone": "resnet50",
    "epochs": 100,
    "batch_size": 64,
    "lr": 0.05,
    "weight_decay": 5e-4,
    "warmup_epochs": 5,
}

# What may differ between a run and its resumption without changing what is computed.
_FREE_ON_RESUME = frozenset(
    {
        *("output_dir", "resume", "workers", "data_dir", "tracker", "threads", "resident", "profile"),
        "images_in_memory",
        *("keep_checkpoints", "checkpoint_every", "checkpoint_steps", "license", "export_half", "export_encoder"),
    }
)


_C = TypeVar("_C", bound=TrainConfig)


def published_recipe(entry: DataEntry | None, imbalance_factor: float | None) -> dict[str, Any]:
    """Options for training from scratch: the data set's own recipe over the generic one."""
    return GENERIC_RECIPE | ({} if entry is None else entry.recipe(imbalance_factor))


def resolve(
    command_line: dict[str, Any],
    from_file: dict[str, Any] | None = None,
    *,
    config_class: type[_C] = TrainConfig,  # type: ignore[assignment]  # the bound itself
    recipe_of: Callable[[DataEntry | None, float | None], dict[str, Any]] = published_recipe,
) -> _C:
    """Fill what was not said: preset first, then the data set's recipe, then the file, then the command line.

    A published recipe's own method switches count for the ``official`` preset only; its schedule always does. A preset
    on the command line takes the place of the switches in the file, which belong to the preset there. A warm-up that
    nobody asked for takes at most a tenth of the epochs.

    Args:
        command_line: options that were given, by field name.
        from_file: likewise, of a file that the command line overrides.
        config_class: what to make.
        recipe_of: options for a catalogue entry (``None`` for other data) and an imbalance factor.

    Raises:
        UserError: A value is out of its range, or has no effect on the method chosen.
    """
    from glmc_zoo.data import list_data
    from glmc_zoo.method.presets import METHOD_SWITCHES, PRESETS

    filed = dict(from_file or {})
    # The ablations' switches have one value in every preset.
    switched = METHOD_SWITCHES | {"constant_alpha", "views"}
    if command_line.get("preset") is not None:
        filed = {key: value for key, value in filed.items() if key not in switched}
    explicit = filed | command_line
    switches = switched | {"preset", "projection_dim", "joint_views"}
    method = explicit.get("method", TrainConfig.method)
    if method == "balanced_softmax":
        switches -= {"prior_tau"}
    idle = [key for key, value in command_line.items() if key in switches and value is not None]
    if idle and method != "glmc":
        raise UserError(
            f"--{idle[0].replace('_', '-')} belongs to --method glmc and has no effect on --method {method}; "
            "leave it out."
        )
    if command_line.get("correct_lam") and explicit.get("views") == "mixup":
        raise UserError("--correct-lam is about CutMix and has no effect with --views mixup: leave one of them out.")
    if explicit.get("constant_alpha") is not None and command_line.get("cumulative_power") is not None:
        raise UserError(
            f"--cumulative-power {command_line['cumulative_power']} has no effect where --constant-alpha "
            f"{explicit['constant_alpha']} holds the share of the conventional loss: give one of them."
        )
    entry = list_data().get(explicit.get("data", TrainConfig.data))
    factor = explicit.get("imbalance_factor")
    if entry is not None:
        factor = factor if factor is not None else entry.default_imbalance_factor
    recipe = recipe_of(entry, factor)
    published = bool(METHOD_SWITCHES & recipe.keys())
    preset = explicit.get("preset") or ("official" if published else "tuned")
    if preset != "official":
        recipe = {key: value for key, value in recipe.items() if key not in METHOD_SWITCHES}
    said = {key: value for key, value in explicit.items() if value is not None}
    epochs = said.get("epochs", recipe["epochs"])
    recipe["warmup_epochs"] = min(recipe["warmup_epochs"], max(epochs // 10, 0))
    values = PRESETS[preset] | recipe | {"preset": preset, "imbalance_factor": factor} | said
    if method != "glmc":  # whose preset, or file, has a value for its own branch
        own = filed.get("method") == method
        tau = (said if own else command_line).get("prior_tau")
        values["prior_tau"] = 1.0 if tau is None else tau
    elif command_line.get("prior_tau") is not None and values["rebalanced_loss"] != "balanced_softmax":
        raise UserError(
            f"--prior-tau {command_line['prior_tau']} is of balanced softmax and has no effect on the re-weighted "
            "branch: give --rebalanced-loss balanced_softmax as well, or leave it out."
        )
    return config_class(**values)


def images_per_step(config: TrainConfig, processes: int) -> int:
    """Images that one step of the optimiser sees: over all processes and accumulated batches."""
    assert config.batch_size is not None
    return config.batch_size * processes * config.grad_accum_steps


def with_scaled_lr(config: _C, processes: int) -> _C:
    """The options with the learning rates that ``lr_base_size`` makes of them; as they are without it.

    ``lr`` and ``min_lr`` are multiplied alike, so that the schedule, warm-up included, keeps its shape. Source: Goyal
    et al., Accurate, Large Minibatch SGD, 2017, section 2.1.
    """
    if config.lr_base_size is None:
        return config
    assert config.lr is not None
    factor = images_per_step(config, processes) / config.lr_base_size
    return dataclasses.replace(config, lr=config.lr * factor, min_lr=config.min_lr * factor, lr_base_size=None)


def save_config(config: TrainConfig, path: Path) -> None:
    """Write the resolved options but those of the push, one a line; reading them back repeats the run."""
    import yaml

    scrap = path.with_name(f".writing-{path.name}")
    scrap.write_text(yaml.safe_dump(saved_options(config), sort_keys=False), encoding="utf-8")
    scrap.replace(path)


def differing_fields(before: dict[str, Any], now: TrainConfig) -> list[str]:
    """``name: before -> now`` for each option that changes what a resumed run computes.

    An option that a run of an earlier version does not name had its default then, or what was done before it was one.
    """
    defaults = {f.name: f.default for f in dataclasses.fields(now)} | {"prior_tau": 1.0}
    return [
        f"{name}: {before.get(name, defaults[name])} -> {value}"
        for name, value in saved_options(now).items()
        if name not in _FREE_ON_RESUME and before.get(name, defaults[name]) != value
    ]
