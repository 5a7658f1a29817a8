"""Parts of the results of a run: facts about its data, its start and its export."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

FEW_TEST_IMAGES = 4  # a recall on so many images or fewer moves in steps of 25 points or more


@dataclass(frozen=True, kw_only=True)
class GroupSupport:
    """What the score of a shot group rests on: its classes with a test image, and their test images."""

    classes: int
    images: int


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Shot groups: more than ``many`` training images make a class many-shot, fewer than ``few`` make it few-shot."""

    many: int
    few: int


@dataclass(frozen=True, kw_only=True)
class LeftOutFacts:
    """Files of a data set that are not used, for one reason."""

    reason: str
    files: int
    examples: list[str] = field(default_factory=list)
    """Up to five, relative to the data set's folder; bytes that are not UTF-8 are escaped."""


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """One split of a data set, and how it was decided."""

    name: str  # ``train``, ``test`` or ``validation``
    source: str
    """The folder, table or column value that the images come from."""
    images: int
    how: str
    """One phrase, such as ``the folder is called test_set``."""


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What reading a source gave: layout, splits, classes, groups, and what was left out."""

    layout: str
    """Such as ``class folders below split folders`` or ``CSV file``."""
    splits: list[SplitFacts] = field(default_factory=list)
    classes: int = 0
    groups: int | None = None
    """Different values of the column or pattern that keeps images together; ``None`` without one."""
    grouped_by: str | None = None
    left_out: list[LeftOutFacts] = field(default_factory=list)
    duplicates: int | None = None
    """Training images that are the same as a test image; ``None`` where they were not compared."""
    duplicates_by: str | None = None  # ``bytes`` or ``pixels``
    duplicate_examples: list[str] = field(default_factory=list)
    """Up to five, as ``training file = test file``."""
    intensity: str | None = None
    """How images of more than 8 bits are scaled; ``None`` where there are none."""

    @property
    def files_left_out(self) -> int:
        """Files left out for any reason."""
        return sum(facts.files for facts in self.left_out)


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Seed of the training, and seed of the long-tailed subset and the held-out images."""

    seed: int
    data_seed: int


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which epoch was taken (counted from 1; ``None`` where there are no epochs), and how it was chosen."""

    epoch: int | None
    how: str


@dataclass(frozen=True, kw_only=True)
class ScheduleFacts:
    """Images of one optimiser step over all processes, and the learning rates that follow from them."""

    images_per_step: int
    lr: float
    min_lr: float


@dataclass(frozen=True, kw_only=True)
class HeadTrial:
    """One setting of a classifier on features, and its scores on training images that were held out of its training."""

    loss: str
    """``cross-entropy`` or ``balanced softmax``."""
    weight_decay: float
    """Strength of the pull to the start, for features scaled to a mean squared length of 1."""
    logit_adjustment: float
    """Factor of the logarithm of the class frequencies that was subtracted from the logits afterwards."""
    balanced_accuracy: float
    top1: float


@dataclass(frozen=True, kw_only=True)
class HeldOutFacts:
    """Training images that were held out of a training to choose settings by."""

    held_out_images: int
    """Their number, each counted once; the choice is by their classes."""
    grouped_by: str | None = None
    """What kept images together on one side: a column, or a pattern on the path."""

    @property
    def group_phrase(self) -> str:
        """The end of a phrase about them that says so; empty without groups."""
        return f", kept together by {self.grouped_by}" if self.grouped_by else ""


@dataclass(frozen=True, kw_only=True)
class HeadFacts(HeldOutFacts):
    """How a classifier was trained on features that were computed once."""

    init: str
    """What the classifiers started from and were pulled to: ``mean``, the class means, or ``fresh``, zeros."""
    kind: str
    """``linear``, or ``cosine``: trained on features of one length."""
    views: int
    """Views of each training image."""
    features: int
    """Features of each view."""
    folds: int
    always_trained: int = 0
    """Training images that were never held out: their class, or one of their group, would have had no image left."""
    trials: list[HeadTrial] = field(default_factory=list)
    """For each loss and weight decay the best logit adjustment."""
    chosen: HeadTrial
    feature_seconds: float
    search_seconds: float


@dataclass(frozen=True, kw_only=True)
class StartFacts:
    """What the classifier of a training in the loop started from."""

    init: str
    """``mean``, the class means of frozen features, or ``head``, the best classifier on them."""
    views: int
    """Views of each training image whose features were used."""
    reason: str | None = None
    """Why ``mean`` was used instead of ``head``, in one sentence."""
    head: HeadFacts | None = None
    """How that classifier was chosen; ``None`` for the class means."""
    relative_length: float | None = None
    """Length of its weights, mean over the classes, divided by that of the classifier that it replaces."""


@dataclass(frozen=True, kw_only=True)
class FinetuneFacts:
    """What a fine-tuning run started from."""

    model: str
    kind: str
    commit: str | None = None
    tune: str
    kept: list[str] = field(default_factory=list)
    """Heads that were loaded; if the classifier is not among them, training began with a new classifier."""
    source_classes: int | None = None
    adapter: str | None = None
    """Kind of adapter, where one was trained that is not LoRA."""
    start: StartFacts | None = None
    """What the classifier started from; ``None`` where it was a fresh one or the source's."""


@dataclass(frozen=True, kw_only=True)
class SearchTrial:
    """A short training with one setting, and its scores on training images that were held out of it."""

    lr: float
    weight_decay: float
    layer_decay: float | None = None
    epochs: int
    images: int
    """Training images of the trial."""
    balanced_accuracy: float
    top1: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class SearchFacts(HeldOutFacts):
    """How learning rate and epochs were chosen, by short trainings on part of the training images."""

    minutes: float
    """Time that was allowed."""
    seconds: float
    """Time that the search took, interruptions left out."""
    planned: int
    """Trials that were planned; fewer were run where the time ended before."""
    trials: list[SearchTrial] = field(default_factory=list)
    chosen: SearchTrial


@dataclass(frozen=True, kw_only=True)
class SecondStageFacts:
    """What the classifier went through after the rest of the model was finished."""

    kind: str  # ``maxnorm`` or ``class_balanced``
    threshold: float | None = None
    beta: float
    limit: float | None = None
    """Radius of the ball of MaxNorm; ``None`` without it."""
    source: str
    source_commit: str | None = None
    source_test_top1: float | None = None
    source_command: str | None = None
    source_config: dict[str, Any] = field(default_factory=dict)
    source_seeds: Seeds | None = None


@dataclass(frozen=True, kw_only=True)
class PluginFacts:
    """A file of the user's that registered methods, losses or samplers."""

    file: str
    sha256: str
    registered: list[str]
    """Such as ``loss focal``."""


@dataclass(frozen=True, kw_only=True)
class ConvertedFacts:
    """The checkpoint that a converted model comes from."""

    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class WeightsFacts:
    """The exported weights: their SHA-256 is how a load notices a damaged file."""

    file: str
    sha256: str
    dtype: str
    bytes: int
    max_logit_difference: float | None = None
    """Between half and single precision, over four images of noise; likewise for the features of an encoder."""
    max_feature_difference: float | None = None
    heads_sha256: str | None = None
    """SHA-256 of the file with the heads that only training needs; ``None`` without one, and in older exports."""


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Calibration error as a fraction of 1, that of perfect probabilities (`metrics.chance_ece`), and NLL in nats."""

    ece: float
    nll: float
    chance_ece: float | None = None


@dataclass(frozen=True, kw_only=True)
class CalibrationFacts:
    """What was learnt on held-out images about the probabilities of a model."""

    images: int
    """Held-out images."""
    temperature: float | None = None
    """Weight and bias of the exported classifier were divided by this; ``None`` where they are as trained."""
    reason: str | None = None
    """Why there is no temperature, one sentence."""
    weighting: str = "none"
    """``test``: the images weigh as much as their classes do in the test split; ``none``: each counts once."""
    before: dict[str, Reliability] = field(default_factory=dict)
    """Before the temperature, by split: ``test``, ``validation``."""
    after: dict[str, Reliability] = field(default_factory=dict)
    thresholds: dict[str, list[float | None]] = field(default_factory=dict)
    """By precision, such as ``0.95``: the lowest probability of each class that reached it on the held-out images."""


@dataclass(frozen=True, kw_only=True)
class CorrectionFacts:
    """What was folded into the classifier of a trained model, in this order, and how it was chosen."""

    source: str
    """The model before, without its folder."""
    source_sha256: str | None = None
    tau_norm: float | None = None
    logit_adjustment: float | None = None
    temperature: float | None = None
    class_counts: list[int] | None = None
    """Those that the logits were adjusted for."""
    searched: list[str] = field(default_factory=list)
    """Those of the three that were chosen on held-out images; the others were given."""
    search_images: int | None = None
    held_out_of_training: bool | None = None
    """Whether the source's training held out the images of the search; ``None`` without one."""
    command: str | None = None


def find_contradiction(results: Any) -> str | None:
    """What does not fit together in results that were read from a file, as the end of a sentence.

    ``None`` where all fits. The types are right already; these rules say what code that reads results relies on.
    """
    names, model = len(results.class_names), results.model
    for list_name, values in _per_class(results):
        if values and len(values) != names:
            return f"it names {names} classes, and its {list_name} has the length {len(values)}"
    if len(model.input_size) != 3 or not len(model.mean) == len(model.std) == model.input_size[0]:
        return "input_size, mean and std of its model are not for one number of channels"
    if results.class_counts is not None and not sum(results.class_counts):
        return "its class_counts hold no image"
    if results.groups is not None and set(results.groups) != {"many", "medium", "few"}:
        return "its groups are not many, medium and few"
    for split in ("test", "test_plain", "validation", "validation_plain"):
        scores = getattr(results, split, None)
        for name, score in vars(scores).items() if scores else ():
            if score is not None and not 0 <= score <= (math.inf if name == "nll" else 1):
                return f"its {split} score {name} is {score}"
    for intervals in results.intervals.values():
        if any(len(interval) != 2 for interval in intervals.values()):
            return "an interval of its scores is not two numbers"
    calibration, stage = getattr(results, "calibration", None), getattr(results, "second_stage", None)
    if calibration is not None and calibration.temperature is not None and not calibration.temperature > 0:
        return f"its temperature {calibration.temperature} is not positive"
    if stage is not None and not 0 <= stage.beta < 1:
        return f"its class-balanced beta {stage.beta} is not from 0 to 1"
    return None


def _per_class(results: Any) -> Iterator[tuple[str, list[Any] | None]]:
    """Lists of the results that have one value for each class, with their name."""
    yield "class_counts", results.class_counts
    yield "class_recalls", results.class_recalls
    yield "class_support", results.class_support
    correction, calibration = getattr(results, "correction", None), getattr(results, "calibration", None)
    yield "class_counts of its correction", None if correction is None else correction.class_counts
    for precision, thresholds in calibration.thresholds.items() if calibration is not None else ():
        yield f"thresholds for precision {precision[:20]}", thresholds
