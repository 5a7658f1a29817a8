"""The shot groups of an evaluation, and the training images that they follow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from glmc_zoo.errors import UserError
from glmc_zoo.hub import ModelSource
from glmc_zoo.metrics import ScoreCounts, tercile_thresholds
from glmc_zoo.options.images import THRESHOLDS, EvaluationShotOptions, ShotOptions, check_order
from glmc_zoo.results import Thresholds
from glmc_zoo.scoring.report import group_sizes, one_group_note


@dataclass(frozen=True)
class ShotGroups:
    """The shot groups of a data set's classes. They are the same for all models, so that scores can be compared."""

    class_names: Sequence[str]
    class_counts: list[int] | None = None
    """Training images of each class; ``None`` where they are not known and there are no groups."""
    source: str | None = None
    """Where the counts come from: ``data``, or the short name of a model."""
    thresholds: Thresholds | None = None
    notes: list[str] = field(default_factory=list)
    """A sentence for each decision."""

    @property
    def sizes(self) -> dict[str, int] | None:
        """Number of classes in each group; ``None`` without groups."""
        if self.class_counts is None or self.thresholds is None:
            return None
        return group_sizes(self.class_counts, self.thresholds)

    def empty_counts(self) -> ScoreCounts:
        """Counts with these groups and no image."""
        if self.class_counts is None or self.thresholds is None:
            return ScoreCounts.without_groups(len(self.class_names))
        return ScoreCounts.empty(self.class_counts, many=self.thresholds.many, few=self.thresholds.few)


def shot_groups(
    options: EvaluationShotOptions,
    class_names: Sequence[str],
    data_counts: Sequence[int] | None,
    models: Mapping[str, ModelSource],
) -> ShotGroups:
    """The shot groups by the training images of the first model whose counts are known, else by those of the data.

    A threshold that is not given is that of the training of this model.

    Args:
        options: Thresholds, or terciles.
        class_names: Classes of the data.
        data_counts: Training images of each class in the data; ``None`` without a training split.
        models: The models by their short names.

    Raises:
        UserError: A given threshold does not fit to one of the model.
    """
    known_counts = [(name, counts) for name, model in models.items() if (counts := trained_counts(model, class_names))]
    if known_counts:
        name, counts = known_counts[0]
        notes = _notes(
            name,
            counts,
            data_counts,
            [other_name for other_name, other_counts in known_counts[1:] if other_counts != counts],
        )
    elif data_counts is not None:
        name, counts, notes = "data", list(data_counts), []
    else:
        return ShotGroups(
            class_names,
            notes=[
                "There are no shot groups, as neither the data nor a model gives the training images of each class."
            ],
        )
    if options.groups == "terciles":
        many, few = tercile_thresholds(counts)
        return ShotGroups(class_names, counts, name, Thresholds(many=many, few=few), notes)
    trained = _trained_thresholds(models)
    values, threshold_notes = _thresholds(options, name if known_counts else None, trained)
    many, few = (values[option] for option in THRESHOLDS)
    notes += [*threshold_notes, *one_group_note(counts, ShotOptions(many_threshold=many, few_threshold=few))]
    return ShotGroups(class_names, counts, name, Thresholds(many=many, few=few), notes)


def _trained_thresholds(models: Mapping[str, ModelSource]) -> dict[str, dict[str, int]]:
    """The thresholds of the training of each model that has them, by the name of their option."""
    return {
        name: {"many_threshold": model.results.thresholds.many, "few_threshold": model.results.thresholds.few}
        for name, model in models.items()
        if model.results is not None and model.results.thresholds is not None
    }


def _thresholds(
    options: EvaluationShotOptions, name: str | None, trained: Mapping[str, Mapping[str, int]]
) -> tuple[dict[str, int], list[str]]:
    """The thresholds by the name of their option, and notes on those that are not given.

    Args:
        options: The thresholds that are given.
        name: Short name of the model whose training decides the others; ``None``, and where its thresholds are not
            known: the defaults do.
        trained: What `_trained_thresholds` returns.
    """
    defaults = {option: int(getattr(ShotOptions, option)) for option in THRESHOLDS}
    given = {option: value for option in THRESHOLDS if (value := getattr(options, option)) is not None}
    own = None if name is None else trained.get(name)
    rest = {option: value for option, value in (own or defaults).items() if option not in given}
    origin = "the default" if own is None else f"that of {name}'s training"
    values = given | rest
    check_order(values["many_threshold"], values["few_threshold"], dict.fromkeys(rest, origin))
    if own is None or not rest:
        return values, []
    sentence = f"The shot groups have {' and '.join(f'{option}={value}' for option, value in rest.items())}"
    unlike = [model for model, thresholds in trained.items() if not rest.items() <= thresholds.items()]
    if unlike:
        return values, [f"{sentence} of {name}'s training for all models, though {', '.join(unlike)} had others."]
    return values, [] if rest.items() <= defaults.items() else [f"{sentence}, as in {name}'s training."]


def _notes(name: str, counts: list[int], data_counts: Sequence[int] | None, others: list[str]) -> list[str]:
    notes = []
    if data_counts is None:
        notes.append(f"The class counts are those that {name} was trained on, as the data does not give any.")
    elif list(data_counts) != counts:
        notes.append(
            f"The shot groups follow the images that {name} was trained on; the training split of the data has other "
            "class counts."
        )
    if others:
        notes.append(
            f"The shot groups of all models follow the images that {name} was trained on, though {', '.join(others)} "
            "had other class counts."
        )
    return notes


def trained_counts(source: ModelSource, class_names: Sequence[str]) -> list[int] | None:
    """Training images of a model for each of these classes, matched by name; ``None`` where they are not known."""
    results = source.results
    if results is None or results.class_counts is None:
        return None
    by_name = dict(zip(results.class_names, results.class_counts, strict=True))
    return [by_name[name] for name in class_names] if by_name.keys() >= set(class_names) else None


def adjustment_counts(
    class_names: Sequence[str], data_counts: Sequence[int] | None, source: ModelSource, *, required: bool
) -> list[int]:
    """The class counts for a logit adjustment: those of the data, else those that the model was trained on.

    Raises:
        UserError: The counts are ``required`` and not known.
    """
    counts = data_counts if data_counts is not None else trained_counts(source, class_names)
    if counts is None and required:
        raise UserError(
            f"logit_adjustment= needs the training images of each class, and neither the data nor {source.name} gives "
            "them: leave it out."
        )
    return [1] * len(class_names) if counts is None else list(counts)
