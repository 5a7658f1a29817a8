"""The results of a run or an evaluation: the typed content of ``results.json``.

A run writes its results once, at the end; cards, comparisons, a second stage and the benchmarks read them through
these classes. Scores are fractions of 1 (``nll`` in nats); ``None`` stands for a group without a tested class.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from glmc_zoo.documents import read_json
from glmc_zoo.errors import UserError
from glmc_zoo.facts import CalibrationFacts as CalibrationFacts
from glmc_zoo.facts import ConvertedFacts as ConvertedFacts
from glmc_zoo.facts import CorrectionFacts as CorrectionFacts
from glmc_zoo.facts import FinetuneFacts as FinetuneFacts
from glmc_zoo.facts import GroupSupport as GroupSupport
from glmc_zoo.facts import HeadFacts as HeadFacts
from glmc_zoo.facts import HeadTrial as HeadTrial
from glmc_zoo.facts import Inventory, find_contradiction
from glmc_zoo.facts import PluginFacts as PluginFacts
from glmc_zoo.facts import Reliability as Reliability
from glmc_zoo.facts import ScheduleFacts as ScheduleFacts
from glmc_zoo.facts import SearchFacts as SearchFacts
from glmc_zoo.facts import SearchTrial as SearchTrial
from glmc_zoo.facts import SecondStageFacts as SecondStageFacts
from glmc_zoo.facts import Seeds as Seeds
from glmc_zoo.facts import Selection as Selection
from glmc_zoo.facts import StartFacts as StartFacts
from glmc_zoo.facts import Thresholds as Thresholds
from glmc_zoo.facts import WeightsFacts as WeightsFacts
from glmc_zoo.fields import from_json
from glmc_zoo.files import write_json

SCHEMA = 1
"""Version of the layout of ``results.json``; it rises when a key is renamed or changes its meaning."""
_R = TypeVar("_R", bound="_Results")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores on one split, by the names of `LongTailMetrics`; ``top5``, ``ece`` and ``nll`` need logits."""

    top1: float
    top5: float | None = None
    balanced_accuracy: float
    many: float | None = None
    medium: float | None = None
    few: float | None = None
    hmean: float
    gmean: float
    worst: float
    macro_f1: float
    ece: float | None = None
    nll: float | None = None

    @classmethod
    def from_dict(cls, scores: Mapping[str, Any]) -> "Scores":
        """The scores of `ScoreCounts.scores`."""
        return cls(**scores)


@dataclass(frozen=True, kw_only=True)
class BaselineFacts:
    """Another run on the same images, which the card of a published model shows beside it."""

    label: str
    test: Scores
    intervals: dict[str, list[float]] = field(default_factory=dict)
    """For the test scores."""
    wall_time_s: float | None = None


Intervals = dict[str, dict[str, list[float]]]
"""95 % interval ``[low, high]`` of each score, by the name of the scores (such as ``test``) and that of the score."""


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The data set, and how its splits were made."""

    name: str
    hub_id: str | None = None
    license: str = "unknown"
    description: str = ""
    in_catalogue: bool = False
    streamed: bool = False
    class_counts_from: str | None = None
    """For streamed data: ``training split``, ``formula`` or ``none``."""
    official_split: bool | None = None
    """Whether official lists made the splits, class by class; ``None`` for a set without official lists."""
    split_file: dict[str, str] | None = None
    """``name`` and ``sha256`` of the list that made the training split."""
    imbalance_factor: float | None = None
    effective_imbalance_factor: float | None = None
    imbalance_type: str | None = None
    selection: str | None = None
    data_seed: int | None = None
    split_rule: str | None = None
    """How images were set aside: ``content`` or ``groups by COLUMN``; ``None`` where none were, and in old results."""
    train_images: int | None = None
    """``None`` without a training split, and where a stream does not state it."""
    test_images: int | None = None
    no_test: bool = False
    """Whether a training left the test split out or set none aside."""
    val_images: int = 0
    skipped_images: int = 0
    image_format: str | None = None
    intensity_range: list[float] | None = None
    """The values that became black and white in images of more than 8 bits; ``None`` where there are none."""
    intensity_given: bool = False
    """Whether the user gave this range: values beyond it were cut off."""
    inventory: Inventory | None = None
    """Layout, splits and what was left out; ``None`` where a library or an official list decides all of it."""
    notes: list[str] = field(default_factory=list)
    """Decisions taken on the user's behalf, one sentence each."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """The exported model: its names, input and licence."""

    name: str
    tag: str
    backbone: str
    parameters: int
    gmacs: float | None = None  # for one image, see `glmc_zoo.backbones.complexity`
    mactivations: float | None = None
    feature_maps: bool = False  # whether timm builds it with ``features_only=True``
    input_size: list[int]
    """Channels, height, width."""
    mean: list[float]
    std: list[float]
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    pretrained_from: str | None = None
    base_model: str | None = None
    """Hub id of the weights that training started from, where it is known."""
    ema: float | None = None
    """Decay of the moving average of the weights, where one is exported."""
    license: str = "apache-2.0"
    needs_glmc_zoo: bool = False
    """Whether the architecture is registered by this package, and not by timm itself."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How results came about: command, versions and hardware."""

    command: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    """Commit of this package; ``-dirty`` is appended where files were changed since."""
    hardware: str | None = None
    precision: str | None = None
    processes: int | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """A model that was evaluated, and the preprocessing it was given."""

    name: str
    given_as: str
    source: str
    architecture: str | None = None
    hub_id: str | None = None
    commit: str | None = None
    sha256: str | None = None
    parameters: int
    classes: int
    input_size: list[int]
    mean: list[float]
    std: list[float]
    interpolation: str
    crop_pct: float
    crop_mode: str


@dataclass(frozen=True, kw_only=True)
class _Results:
    """What the results of a training and those of an evaluation share: reading and writing."""

    folder: Path | None = field(default=None, compare=False, repr=False)
    """Where they were written or read; not part of the file."""

    def _repr_html_(self) -> str:
        """What a notebook shows: the scores of each split, and the figures in the folder."""
        from glmc_zoo.notebook import results_html

        headings = {group: group_heading(cast(Any, self), group) for group in cast(Any, self).groups or ()}
        return results_html(self, headings)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types by name, ``schema`` first; `Origin` stands beside the rest, as in the file."""
        values = dataclasses.asdict(self)
        origin, _ = values.pop("origin"), values.pop("folder")
        return {"schema": SCHEMA, **values, **origin}

    @classmethod
    def from_dict(cls: type[_R], values: Any, source: str = "results.json") -> _R:
        """The results that `to_dict` gave; keys that this version does not know are left out.

        Raises:
            UserError: ``values`` is not an object, has another schema, lacks a key, or holds a value of a wrong type or
                values that contradict each other.
        """
        schema = values.get("schema") if isinstance(values, dict) else None
        if not isinstance(schema, int) or isinstance(schema, bool):
            raise UserError(f"{source} holds no results of glmc_zoo: give the results.json of a finished run.")
        if schema != SCHEMA:
            fix = "update glmc_zoo" if schema > SCHEMA else "export the run again"
            raise UserError(f"{source} has schema {schema}, and this version reads {SCHEMA}: {fix}.")
        class_name = "RunResults" if "method" in values else "EvaluationResults" if "split" in values else cls.__name__
        if class_name != cls.__name__:
            raise UserError(f"{source} holds results of another kind: read them with {class_name}.load.")
        names = {f.name for f in dataclasses.fields(Origin)}
        origin = {name: value for name, value in values.items() if name in names}
        results: _R = from_json(cls, {**values, "origin": origin, "folder": None}, source)
        fault = find_contradiction(results)
        if fault is not None:
            raise UserError(f"{source} is not valid, {fault}: export the run again.")
        return results

    @classmethod
    def load(cls: type[_R], path: str | Path) -> _R:
        """The results in a file; see `from_dict`."""
        values = read_json(Path(path), str(path), fix="Give the file that a finished run wrote.")
        return dataclasses.replace(cls.from_dict(values, str(path)), folder=Path(path).parent)

    def save(self, path: str | Path) -> None:
        """Write the results so that ``path`` holds the old text or the new one, never half of it."""
        write_json(Path(path), self.to_dict())


@dataclass(frozen=True, kw_only=True)
class RunResults(_Results):
    """The results of a training, a fine-tuning, a second stage, or a conversion (which has no scores)."""

    model: ModelFacts
    data: DataFacts
    method: str
    method_title: str | None = None
    """The method in words, for the card, where a plug-in registered it."""
    preset: str | None = None
    class_names: list[str]
    class_counts: list[int] | None = None
    thresholds: Thresholds | None = None
    groups: dict[str, int] | None = None
    """Classes in each shot group."""
    selection: Selection | None = None
    test: Scores | None = None
    """``None`` for a conversion, and for a training with ``no_test=True``."""
    validation: Scores | None = None
    intervals: Intervals = field(default_factory=dict)
    """For the ``test`` and ``validation`` scores; see `glmc_zoo.metrics.score_intervals`."""
    group_support: dict[str, GroupSupport] = field(default_factory=dict)
    """For the test scores, by shot group."""
    class_recalls: list[float | None] | None = None
    """``None`` for a class without a test image."""
    class_support: list[int] | None = None  # test images of each class
    group_confusion: list[list[int]] | None = None
    """Test images by true group (row) and group of the predicted class (column)."""
    seeds: Seeds | None = None
    schedule: ScheduleFacts | None = None
    config: dict[str, Any] = field(default_factory=dict)
    """The resolved options, without paths of the machine."""
    finetune: FinetuneFacts | None = None
    head: HeadFacts | None = None
    """How a classifier on features was chosen; ``None`` for other runs."""
    search: SearchFacts | None = None
    """How learning rate and epochs were chosen on held-out images; ``None`` without a search."""
    second_stage: SecondStageFacts | None = None
    converted: ConvertedFacts | None = None
    calibration: CalibrationFacts | None = None
    """``None`` where no images were held out, or ``calibrate='never'``."""
    correction: CorrectionFacts | None = None
    """What an evaluation with ``save=`` folded into the classifier afterwards."""
    baselines: list[BaselineFacts] = field(default_factory=list)
    plugins: list[PluginFacts] = field(default_factory=list)
    encoder_only: bool = False
    """Whether the export beside these results has no classifier; the scores are those of the classifier."""
    weights: WeightsFacts | None = None
    sample_image: str | None = None
    """Class of the ``sample.jpg`` beside the model, which did not train it; ``None`` where there is no such image."""
    plots: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What could not be made once the model was exported, such as a plot, one sentence each."""
    wall_time_s: float | None = None
    origin: Origin = field(default_factory=Origin)


@dataclass(frozen=True, kw_only=True)
class EvaluationResults(_Results):
    """The results of an evaluation of one model on one split."""

    model: EvaluatedModel
    data: DataFacts
    split: str
    """``test`` or ``validation``; the scores stand under that name."""
    class_names: list[str]
    class_counts: list[int] | None
    """Training images of each class, which the shot groups follow; ``None`` where they are not known."""
    class_counts_from: str | None = None
    """``data``, or the name of the model that was trained on them."""
    thresholds: Thresholds | None
    groups: dict[str, int] | None
    """Classes in each shot group."""
    batch_size: int
    test: Scores | None = None
    test_plain: Scores | None = None
    """Without the corrections, where there are any."""
    validation: Scores | None = None
    validation_plain: Scores | None = None
    intervals: Intervals = field(default_factory=dict)
    """For the scores above, by their name; see `glmc_zoo.metrics.score_intervals`."""
    group_support: dict[str, GroupSupport] = field(default_factory=dict)  # for the split, by shot group
    class_recalls: list[float | None] = field(default_factory=list)
    """``None`` for a class without an image in the split."""
    class_support: list[int] | None = None  # images of each class in the split
    group_confusion: list[list[int]] = field(default_factory=list)
    posthoc: dict[str, Any] | None = None
    """Corrections of the logits: ``logit_adjustment``, ``tau_norm``, ``temperature`` and how they were chosen."""
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What could not be made once the scores were written, such as a plot, one sentence each."""
    wall_time_s: float
    origin: Origin = field(default_factory=Origin)

    @property
    def scores(self) -> Scores:
        """Scores on the split."""
        return cast(Scores, getattr(self, self.split))

    @property
    def plain_scores(self) -> Scores | None:
        """Scores without the corrections; ``None`` where there are no corrections."""
        return cast(Scores | None, getattr(self, f"{self.split}_plain"))


def group_heading(results: RunResults | EvaluationResults, group: str) -> str:
    """A shot group with its number of classes: ``few (3 cl.)``, or ``few (2 of 3 cl., 14 img.)`` of tested ones."""
    if results.groups is None:
        return group
    classes, support = results.groups[group], results.group_support.get(group)
    if support is None or support.classes == classes:
        return f"{group} ({classes} cl.)"
    return f"{group} ({support.classes} of {classes} cl., {support.images} img.)"
