"""The configuration of a training run: one dataclass, filled from preset, data recipe, file and command line."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from glmc_zoo.errors import UserError, did_you_mean

__all__ = ["GENERIC_RECIPE", "TrainConfig", "differing_fields", "load_config_file", "resolve", "save_config"]


def option(default: Any, help: str) -> Any:
    """A dataclass field with the one line that ``--help`` shows for it."""
    return field(default=default, metadata={"help": help})


@dataclass(kw_only=True)
class TrainConfig:
    """Every option of a run; ``None`` means: taken from preset, recipe or backbone when the run is resolved."""

    # ---- data
    data: str = option("digits_lt", "catalogue name, Hub id, image folder, parquet folder or saved datasets folder")
    data_dir: str | None = option(None, "folder with a local copy of a catalogue data set")
    data_config: str | None = option(None, "configuration of a Hub data set or folder that has several")
    imbalance_factor: float | None = option(None, "thin the training part to largest class / smallest class = this")
    max_count: int | None = option(None, "images of the largest class when thinning; all it has by default")
    profile: Literal["exp", "step", "pareto"] = option("exp", "shape of the thinned class counts: exp, step or pareto")
    selection: Literal["ldam", "glmc", "first"] = option("ldam", "which images stay when thinning: ldam, glmc or first")
    data_seed: int = option(0, "seed of the long-tail subset and the held-out split, apart from --seed")
    val_fraction: float = option(0.0, "share of each training class held out for validation")
    image_column: str | None = option(None, "column with the images; detected by its type by default")
    label_column: str | None = option(None, "column with the classes; detected by its type by default")
    train_split: str | None = option(None, "name of the training split, where it is not the usual one")
    test_split: str | None = option(None, "name of the test split, where it is not the usual one")
    skip_bad_images: bool = option(False, "leave out images that cannot be read, and count them")
    augment: Literal["crop_flip", "shift", "large"] | None = option(None, "augmentation: crop_flip, shift or large")
    image_size: int | None = option(None, "side of the training and test images in pixels")
    workers: int = option(0, "processes that load images, per training process; 0 loads in the process itself")
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
    sampler_power: float | None = option(None, "q: images of the second loader drawn with weight n ** -q")
    class_weight_power: float | None = option(None, "k: re-weighted labels use class weights n ** -k")
    cumulative_power: float | None = option(None, "re-balanced loss takes over as (epoch / epochs) ** this")
    consistency_weight: float | None = option(None, "gamma: weight of the consistency loss")
    beta: float | None = option(None, "both parameters of the Beta distribution of the mixing share")
    correct_lam: bool | None = option(None, "label the CutMix view by the area really pasted")
    reduction: Literal["sum", "mean"] | None = option(None, "cross-entropies of the two views: sum, or mean (halved)")
    projection_dim: int | None = option(None, "width of projection and prediction; 128 for CIFAR networks, else 256")
    joint_views: bool = option(False, "both views in one batch through the encoder (another batch-norm, see docs)")
    # ---- schedule
    epochs: int | None = option(None, "epochs to train")
    batch_size: int | None = option(None, "images per step and process, of each of the two batches")
    lr: float | None = option(None, "learning rate at its highest")
    opt: str = option("sgd", "optimiser, by timm's name; sgd is the published one (no Nesterov)")
    momentum: float = option(0.9, "momentum, of optimisers that have one")
    weight_decay: float | None = option(None, "weight decay, on every parameter")
    sched: str = option("cosine", "learning-rate schedule, by timm's name")
    warmup_epochs: int | None = option(None, "epochs of linear warm-up, counted within --epochs")
    min_lr: float = option(0.0, "learning rate that the schedule ends on")
    clip_grad: float | None = option(None, "clip the gradient's norm to this")
    ema_decay: float | None = option(None, "keep an exponential moving average of the weights, and export that")
    # ---- execution
    seed: int = option(0, "seed of weights, order, augmentation and mixing")
    mixed_precision: Literal["no", "fp16", "bf16"] | None = option(
        None, "no, fp16 or bf16; what `accelerate config` says by default"
    )
    grad_accum_steps: int = option(1, "batches whose gradients are added before each optimiser step")
    compile: bool = option(False, "compile the training step with torch.compile")
    output_dir: str | None = option(None, "folder of the run; a fresh one below runs/ by default")
    resume: str | None = option(None, "auto (newest readable checkpoint of --output-dir) or a checkpoint folder")
    checkpoint_every: int = option(1, "epochs between checkpoints")
    checkpoint_steps: int = option(0, "also write a checkpoint every so many steps within an epoch; 0: never")
    keep_checkpoints: int = option(2, "newest checkpoints to keep")
    eval_every: int = option(1, "epochs between evaluations; the last epoch is always evaluated")
    select: Literal["last", "best"] = option("last", "epoch to report: last, or best on --val-fraction (never on test)")
    many_threshold: int = option(100, "classes with more training images than this are many-shot")
    few_threshold: int = option(20, "classes with fewer training images than this are few-shot")
    tracker: str | None = option(None, "tracker of Accelerate, e.g. tensorboard, wandb, trackio")
    push_to_hub: str | None = option(None, "ORG/NAME of the Hub repository that the finished model goes to")

    def __post_init__(self) -> None:
        for name, low in _AT_LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= low:
                raise UserError(f"--{name.replace('_', '-')} {value} is too small: it must be at least {low}.")
        for name in ("lr", "beta", "clip_grad", "cumulative_power"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"--{name.replace('_', '-')} {value} must be above 0.")
        if not 0 <= self.val_fraction < 1:
            raise UserError(f"--val-fraction {self.val_fraction} must lie in 0 to 1, 1 excluded.")
        for name in ("drop_rate", "drop_path_rate", "momentum"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise UserError(f"--{name.replace('_', '-')} {value} must lie in 0 to 1, 1 excluded.")
        for name in ("seed", "data_seed"):
            value = getattr(self, name)
            if value >= 2**32:
                raise UserError(f"--{name.replace('_', '-')} {value} is too large: it must be below 2 ** 32.")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise UserError(f"--ema-decay {self.ema_decay} must lie between 0 and 1, for instance 0.999.")
        if self.warmup_epochs and self.epochs and self.warmup_epochs > self.epochs:
            raise UserError(f"--warmup-epochs {self.warmup_epochs} must not exceed --epochs {self.epochs}.")
        if self.few_threshold > self.many_threshold:
            raise UserError(
                f"--few-threshold {self.few_threshold} must not exceed --many-threshold {self.many_threshold}."
            )
        if self.select == "best" and not self.val_fraction:
            raise UserError(
                "--select best needs images to choose on that are not test images: give --val-fraction, e.g. 0.1."
            )


_AT_LEAST: dict[str, float] = {
    **dict.fromkeys(
        ("batch_size", "image_size", "grad_accum_steps", "checkpoint_every", "keep_checkpoints", "eval_every"), 1
    ),
    **dict.fromkeys(("epochs", "projection_dim", "max_count", "imbalance_factor"), 1),
    **dict.fromkeys(("workers", "warmup_epochs", "checkpoint_steps", "data_seed", "seed", "weight_decay"), 0),
    **dict.fromkeys(("min_lr", "consistency_weight", "class_weight_power", "sampler_power"), 0),
    "few_threshold": 0,
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
        *("output_dir", "resume", "workers", "data_dir", "tracker", "push_to_hub"),
        *("keep_checkpoints", "checkpoint_every", "checkpoint_steps"),
    }
)


def resolve(command_line: dict[str, Any], from_file: dict[str, Any] | None = None) -> TrainConfig:
    """Fill what was not said: preset first, then the data set's recipe, then the file, then the command line.

    A published recipe's own method switches count for the ``official`` preset only; its schedule always does. A preset
    on the command line takes the place of the switches in the file, which belong to the preset there. A warm-up that
    nobody asked for takes at most a tenth of the epochs.

    Raises:
        UserError: A value is out of its range, or has no effect on the method chosen.
    """
    from glmc_zoo.data import list_data
    from glmc_zoo.method.presets import METHOD_SWITCHES, PRESETS

    filed = dict(from_file or {})
    if command_line.get("preset") is not None:
        filed = {key: value for key, value in filed.items() if key not in METHOD_SWITCHES}
    explicit = filed | command_line
    switches = {"preset", "projection_dim", "joint_views"} | METHOD_SWITCHES
    idle = [key for key, value in command_line.items() if key in switches and value is not None]
    if idle and (method := explicit.get("method", TrainConfig.method)) != "glmc":
        raise UserError(
            f"--{idle[0].replace('_', '-')} belongs to --method glmc and has no effect on --method {method}; "
            "leave it out."
        )
    entry = list_data().get(explicit.get("data", TrainConfig.data))
    recipe = dict(GENERIC_RECIPE)
    factor = explicit.get("imbalance_factor")
    if entry is not None:
        factor = factor if factor is not None else entry.default_imbalance_factor
        recipe |= entry.recipe(factor)
    published = bool(METHOD_SWITCHES & recipe.keys())
    preset = explicit.get("preset") or ("official" if published else "tuned")
    if preset != "official":
        recipe = {key: value for key, value in recipe.items() if key not in METHOD_SWITCHES}
    said = {key: value for key, value in explicit.items() if value is not None}
    epochs = said.get("epochs", recipe["epochs"])
    recipe["warmup_epochs"] = min(recipe["warmup_epochs"], max(epochs // 10, 0))
    values = PRESETS[preset] | recipe | {"preset": preset, "imbalance_factor": factor} | said
    return TrainConfig(**values)


def load_config_file(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of options, by field name.

    Raises:
        UserError: The file is missing, is no mapping, or has a key that is no option.
    """
    import yaml

    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Config file {str(path)!r} cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"Config file {str(path)!r} is not YAML: {' '.join(str(error).split())}.") from error
    if loaded is None:
        loaded = {}
    if not isinstance(loaded, dict):
        raise UserError(
            f"Config file {str(path)!r} must hold 'option: value' lines, but holds a {type(loaded).__name__}."
        )
    known = [f.name for f in dataclasses.fields(TrainConfig)]
    values = {str(key).replace("-", "_"): value for key, value in loaded.items()}
    for key in values:
        if key not in known:
            raise UserError(
                f"Config file {str(path)!r} has the unknown key {key!r}; allowed are the options of --help."
                f"{did_you_mean(key, known)}"
            )
    return values


def save_config(config: TrainConfig, path: Path) -> None:
    """Write the resolved options, one a line; reading them back repeats the run."""
    import yaml

    scrap = path.with_name(f".writing-{path.name}")
    scrap.write_text(yaml.safe_dump(dataclasses.asdict(config), sort_keys=False), encoding="utf-8")
    scrap.replace(path)


def differing_fields(before: dict[str, Any], now: TrainConfig) -> list[str]:
    """``name: before -> now`` for each option that changes what a resumed run computes."""
    return [
        f"{name}: {before.get(name)} -> {value}"
        for name, value in dataclasses.asdict(now).items()
        if name not in _FREE_ON_RESUME and before.get(name) != value
    ]
