"""A data set to evaluate models on: its test split, or all its images if it names no splits."""

from collections.abc import Sequence
from dataclasses import dataclass

from glmc_zoo.data.catalogue import DataEntry, list_data
from glmc_zoo.data.duplicates import DUPLICATE
from glmc_zoo.data.inventory import make_inventory
from glmc_zoo.data.load import LongTailData, scale_deep_images, split_source
from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.split import ImageSplit, RawData, decode_small
from glmc_zoo.data.sources import check_options, open_source, source_facts
from glmc_zoo.data.splits import check_several_classes, skip_unreadable, support_notes, whole_as_test
from glmc_zoo.errors import UserError
from glmc_zoo.results import DataFacts
from glmc_zoo.text import agree, counted

_CACHE_BYTES = 1 << 30  # for images that are decoded into memory, as in `load_data`


@dataclass(frozen=True)
class EvaluationData:
    """A data set as `load_evaluation_data` returns it."""

    test: ImageSplit
    val: ImageSplit | None
    """Held out of the training split; ``None`` without ``val_fraction`` and ``official_val``."""
    class_names: list[str]
    class_counts: list[int] | None
    """Training images of each class, without those in ``val``; ``None`` without a training split."""
    facts: DataFacts
    """What an evaluation stores with its results."""

    @classmethod
    def of(cls, data: LongTailData) -> "EvaluationData":
        """The test and validation images of a data set with a training split."""
        return cls(data.test, data.val, data.class_names, data.class_counts, data.facts)

    @property
    def name(self) -> str:
        """Catalogue name, Hub id, or the last part of the folder's path."""
        return self.facts.name

    @property
    def notes(self) -> list[str]:
        """Decisions taken on the user's behalf, one sentence each."""
        return list(self.facts.notes)


def load_evaluation_data(options: DataOptions, *, trained: Sequence[DataFacts] = ()) -> EvaluationData:
    """The images of a data set that models are scored on.

    A data set with a training split is split as for training. If it names no splits, or has only test images, all its
    images are the test split: nothing is thinned or set aside. There is one exception. If a model was trained on the
    same images without splits, only the images that its training set aside are scored, and a note says so.

    Args:
        options: Where the images are and how they are read.
        trained: The data sets that the models were trained on, as far as they are known.

    Raises:
        UserError: As for `load_data`, or an option needs a training split and there is none.
    """
    entry = list_data().get(options.data)
    check_options(options, entry)
    raw = open_source(options, entry)
    if raw.alone is not None:
        name = source_facts(options, entry, raw.license)["name"]
        same = [facts for facts in trained if _same_images(facts, name, len(raw.train.rows))]
        if any(not facts.no_test for facts in same):
            raw.notes.append(
                f"A model was trained on {name}: only the images that its training set aside are scored. To score "
                "other images, put them below a folder test/ or into a folder of another name."
            )
            return _as_in_training(raw, options, entry, trained)
        if same:
            raw.notes.append(f"A model was trained on all images of {name}: its scores are higher than on new images.")
        whole_as_test(raw)
    if len(raw.train.rows):
        return _as_in_training(raw, options, entry, trained)
    return _whole(raw, options)


def _as_in_training(
    raw: RawData, options: DataOptions, entry: DataEntry | None, trained: Sequence[DataFacts]
) -> EvaluationData:
    """The splits that a training makes, with a note if a model was trained with other test images."""
    sets_aside = raw.test is None
    data = EvaluationData.of(split_source(raw, options, entry, cache_bytes=_CACHE_BYTES))
    others = [facts for facts in trained if facts.name == data.name and not facts.no_test]
    if sets_aside and any(facts.split_rule != data.facts.split_rule for facts in others):
        data.facts.notes.append(
            f"A model's training on {data.name} chose its test images in another way: some that are scored here may be "
            "among its training images, and its scores higher than on new images."
        )
    return data


def _same_images(facts: DataFacts, name: str, images: int) -> bool:
    """Whether a training read the same folder: the name is equal, and so is the number of images.

    The number is not compared if the training thinned its images.
    """
    used = (facts.train_images or 0) + (facts.test_images or 0) + facts.val_images + facts.skipped_images
    used += (
        sum(reason.files for reason in facts.inventory.left_out if reason.reason == DUPLICATE) if facts.inventory else 0
    )
    return not facts.in_catalogue and facts.name == name and (facts.imbalance_factor is not None or used == images)


def _whole(raw: RawData, options: DataOptions) -> EvaluationData:
    """Data without a training split."""
    facts = source_facts(options, None, raw.license)
    assert raw.test is not None
    if options.val_fraction or options.official_val:
        raise UserError(
            f"The data set {facts['name']} has no training split to hold images out of: leave val_fraction=, "
            "split='validation' and searches of corrections out, or give a data set with a training split."
        )
    if options.imbalance_factor is not None:
        raise UserError(
            f"imbalance_factor={options.imbalance_factor!r} thins a training split, and {facts['name']} has none: "
            "leave it out."
        )
    scale_deep_images(raw, options)
    skipped = raw.missing + (skip_unreadable(raw) if options.skip_bad_images else 0)
    check_several_classes(raw.class_names)
    test = raw.test.images(raw.class_names)
    raw.notes.append(
        f"There is no training split: {counted(len(test), 'image')} {agree(len(test), 'is', 'are')} scored."
    )
    raw.notes += support_notes(raw.class_names, test.class_counts)
    if test.pixels is None:
        decode_small([test], _CACHE_BYTES)
    described = DataFacts(
        **facts,
        test_images=len(test),
        skipped_images=skipped,
        image_format=test.image_format(),
        inventory=make_inventory(raw, {"test": test}),
        **({} if raw.intensity is None else raw.intensity.facts()),
        notes=raw.notes,
    )
    return EvaluationData(test, None, raw.class_names, None, described)
