"""The configuration of the second stage: the classifier of a trained model, trained again on its own images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from glmc_zoo.engine.config import TrainConfig, resolve
from glmc_zoo.engine.finetune import FinetuneConfig
from glmc_zoo.engine.options import DataOptions, GroupOptions, hidden, option, with_present_names
from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from glmc_zoo.data import DataEntry
    from glmc_zoo.hub import ModelSource

__all__ = ["SECOND_STAGE_RECIPE", "SecondStageConfig", "differing_options", "resolve_second_stage", "trained_with"]

# Of Alshammari et al., CVPR 2022, whose second stage this is; the batch is the first stage's where it is known.
SECOND_STAGE_RECIPE: dict[str, Any] = {
    "epochs": 10,
    "batch_size": 64,
    "lr": 0.01,
    "weight_decay": 0.1,
    "warmup_epochs": 0,
}
_THRESHOLD = 0.1
_HIDDEN_PLACE = "path/to/"  # what stands in public results for the folder that something lay in

# What the second stage takes over from the first: the same images, read, augmented, batched and grouped the same way.
_OF_THE_FIRST_STAGE = (
    *(f.name for group in (DataOptions, GroupOptions) for f in dataclasses.fields(group)),
    *("augment", "image_size", "batch_size"),
)
# For what the first stage says nothing of.
_DEFAULTS = {
    f.name: f.default
    for f in dataclasses.fields(TrainConfig)
    if f.name in _OF_THE_FIRST_STAGE and f.default is not None
}
_DATA = frozenset(f.name for f in dataclasses.fields(DataOptions))
# Where images lie and how many make a step is not which images they are.
_NO_DIFFERENCE = frozenset({"data_dir", "batch_size"})


@dataclass(kw_only=True)
class SecondStageConfig(FinetuneConfig):
    """Every option of a second stage; what is hidden here is decided by the stage itself, or has no effect in it."""

    # ---- of these options training has a default; here it is what the first stage had
    data: str = option(None, "catalogue name, Hub id or folder; the first stage's by default")
    selection: Literal["ldam", "glmc", "first"] = option(
        None, "which images stay when thinning: ldam, glmc or first; as in the first stage by default"
    )
    many_threshold: int = option(None, "classes with more training images are many-shot; the first stage's by default")
    few_threshold: int = option(None, "classes with fewer training images are few-shot; the first stage's by default")
    groups: Literal["thresholds", "terciles"] = option(
        None, "many, medium, few by thresholds, or terciles: a third of the classes each; the first stage's by default"
    )
    batch_size: int | None = option(None, "images per step and process; the first stage's by default, or 64")
    # ---- part, loss and optimiser are the stage's own
    tune: Literal["full", "head", "blocks", "lora"] = hidden("head")
    last_blocks: int | None = hidden(None)
    layer_decay: float | None = hidden(None)
    lora_rank: int | None = hidden(None)
    lora_alpha: float | None = hidden(None)
    method: str = hidden("class_balanced")  # type: ignore[assignment]  # another loss than those of a training
    opt: str = hidden("sgd")
    # ---- everything but the classifier is as in evaluation
    drop_rate: float = hidden(0.0)
    drop_path_rate: float | None = hidden(None)
    # ---- an average holds something of the start, whose rows lie outside the ball
    ema_decay: float | None = hidden(None)
    # ---- switches of GLMC
    preset: Literal["official", "paper", "tuned"] | None = hidden(None)
    rebalanced_loss: Literal["reweighted", "balanced_softmax"] | None = hidden(None)
    prior_tau: float | None = hidden(None)
    sampler_power: float | None = hidden(None)
    class_weight_power: float | None = hidden(None)
    cumulative_power: float | None = hidden(None)
    constant_alpha: float | None = hidden(None)
    consistency_weight: float | None = hidden(None)
    beta: float | None = hidden(None)
    correct_lam: bool | None = hidden(None)
    reduction: Literal["sum", "mean"] | None = hidden(None)
    views: Literal["mixup_cutmix", "mixup", "cutmix"] = hidden("mixup_cutmix")
    projection_dim: int | None = hidden(None)
    joint_views: bool = hidden(False)
    # ---- what is there to choose
    model: str | None = option(None, "the first stage's model: hf_hub:ORG/NAME, exported folder or zoo name")
    class_balanced_beta: float = option(0.9999, "beta of the class-balanced loss; 0 weighs all classes alike")
    maxnorm: bool = option(True, "keep every row of the classifier within the ball of MaxNorm")
    maxnorm_threshold: float | None = option(
        None, "radius of the ball, from the smallest (0) to the largest (1) row norm at the start; 0.1 by default"
    )
    inherited: tuple[str, ...] = hidden(())

    def __post_init__(self) -> None:
        for name, default in _DEFAULTS.items():
            if getattr(self, name) is None:
                setattr(self, name, default)
        super().__post_init__()
        if not 0 <= self.class_balanced_beta < 1:
            raise UserError(f"--class-balanced-beta {self.class_balanced_beta} must lie in 0 to 1, 1 excluded.")
        if self.maxnorm_threshold is not None and not self.maxnorm:
            raise UserError("--maxnorm-threshold has no effect with --no-maxnorm; leave one of them out.")
        if self.maxnorm_threshold is not None and not 0 <= self.maxnorm_threshold <= 1:
            raise UserError(f"--maxnorm-threshold {self.maxnorm_threshold} must lie in 0 to 1.")


def resolve_second_stage(command_line: dict[str, Any], from_file: dict[str, Any] | None = None) -> SecondStageConfig:
    """Fill what was not said: the stage's recipe first, then the first stage's options, the file, the command line.

    Raises:
        UserError: A value is out of its range or has no effect, ``model`` is missing or cannot be read, or nothing
            says which images it was trained on.
    """
    from glmc_zoo.hub import open_model

    filed = dict(from_file or {})
    if command_line.get("maxnorm") is False:
        filed.pop("maxnorm_threshold", None)
    said = {name for name, value in (filed | command_line).items() if value is not None}
    model = command_line.get("model") or filed.get("model")
    if model is None:
        raise UserError(
            "--model is missing: give the first stage's model, such as runs/NAME/model, hf_hub:ORG/NAME or a published "
            "name."
        )
    first = trained_with(open_model(model, weights=False))
    given = (filed | command_line).get("data")
    inherited = {name: value for name, value in first.items() if value is not None and name not in said}
    if given is not None and not _same_set(given, first.get("data")):
        # How those images were thinned and split says nothing of these.
        inherited = {name: value for name, value in inherited.items() if name not in _DATA}
    elif given is None and first.get("data") is None:
        raise UserError(
            f"{model} does not say where the images lie that it was trained on: give them by --data, and --data-dir "
            "where it needs it."
        )
    config = resolve(command_line, inherited | filed, config_class=SecondStageConfig, recipe_of=_recipe)
    threshold = _THRESHOLD if config.maxnorm and config.maxnorm_threshold is None else config.maxnorm_threshold
    return dataclasses.replace(config, maxnorm_threshold=threshold, inherited=tuple(inherited))


def trained_with(source: ModelSource) -> dict[str, Any]:
    """The options that a model was trained with, as far as its second stage takes them over.

    The results that go with a model do not say where something lay on the machine of the training; the ``config.yaml``
    of its run does, beside a ``model/`` that is still where the run left it. A place that nothing says is left out.

    Raises:
        UserError: Nothing says how the model was trained, or its second stage is behind it already.
    """
    results = source.results
    if results is None:
        raise UserError(
            f"{source.name} has no results of a training, so there is no first stage to go on from: give a model that "
            "recipes/train.py or recipes/finetune.py left, or train its classifier by recipes/finetune.py --tune head."
        )
    if "second_stage" in results:
        raise UserError(
            f"{source.name} has its second stage behind it, and its rows are bounded already: give the model that it "
            f"started from, {results['second_stage']['source']}."
        )
    options = with_present_names(_with_places(results.get("config") or {}, source))
    return {
        name: value
        for name, value in options.items()
        if name in _OF_THE_FIRST_STAGE and not str(value).startswith(_HIDDEN_PLACE)
    }


def _with_places(public: dict[str, Any], source: ModelSource) -> dict[str, Any]:
    """Options of a run with their paths, out of the run's own file, where that file is the one of these options."""
    import yaml

    from glmc_zoo.engine.provenance import without_place

    folder = source.folder.resolve() if source.kind == "folder" and source.folder is not None else None
    if folder is None or folder.name != "model" or not (folder.parent / "config.yaml").is_file():
        return public
    own = yaml.safe_load((folder.parent / "config.yaml").read_text(encoding="utf-8"))
    places = {name: value for name, value in own.items() if isinstance(value, str)}
    return public | {name: value for name, value in places.items() if public.get(name) == without_place(value)}


def differing_options(config: SecondStageConfig, first: dict[str, Any]) -> list[str]:
    """``name: first stage's -> this stage's`` for each option that makes other images of them, or groups them anew."""
    return [
        f"{name.replace('_', ' ')} {value} -> {getattr(config, name)}"
        for name, value in first.items()
        if name not in _NO_DIFFERENCE
        and getattr(config, name) != value
        and not (name == "data" and _same_set(config.data, value))
    ]


def _same_set(one: str, other: str | None) -> bool:
    # The same folder may lie elsewhere, or be written from elsewhere.
    return other is not None and Path(one).name == Path(other).name


def _recipe(_entry: DataEntry | None, _imbalance_factor: float | None) -> dict[str, Any]:
    return dict(SECOND_STAGE_RECIPE)
