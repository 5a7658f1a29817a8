"""Exports a corrected model: the corrections of an evaluation are folded into its classifier."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from glmc_zoo.errors import UserError
from glmc_zoo.files import check_folder
from glmc_zoo.hub import ModelSource, export_run
from glmc_zoo.hub.folder import OPTIONS_FILE
from glmc_zoo.machine.command import shorten_path
from glmc_zoo.method import UnsuitableClassifier, fold_corrections, linear_classifier
from glmc_zoo.options.commands import EvaluateOptions
from glmc_zoo.results import (
    CalibrationFacts,
    CorrectionFacts,
    DataFacts,
    EvaluationResults,
    Reliability,
    RunResults,
    Scores,
)
from glmc_zoo.scoring.corrections import Corrections
from glmc_zoo.scoring.model import Classifier
from glmc_zoo.scoring.report import model_facts


def check_saving(options: EvaluateOptions, source: ModelSource, data: DataFacts, class_names: list[str]) -> None:
    """Check before anything is scored that ``save=`` can write the model with its results and card.

    Raises:
        UserError: The folder holds files, or the model has no results of a training, was trained on other data, or was
            corrected before.
    """
    folder = Path(str(options.evaluation.save))
    check_folder(folder, "choose another folder", option="save")
    results = source.results
    if results is None or results.class_counts is None:
        raise UserError(
            f"save= writes a model with the results of its training, and {source.name} has none: give a model that "
            "was trained with glmc_zoo, or leave save= out."
        )
    if results.data.name != data.name:
        raise UserError(
            f"save= writes a model with its scores on {results.data.name}, which it was trained on, and data= names "
            f"{data.name}: give the data that the model was trained on, or leave save= out."
        )
    if source.class_names != class_names:
        raise UserError(
            f"save= needs data with the classes of {source.name} in the same order, and this data has others: leave "
            "save= out."
        )
    # The results hold one correction, from which predictions for other class frequencies take the prior.
    source.check_uncorrected("save=", fix=", with all corrections at once, or leave save= out")
    if options.inference.image_size is not None:
        raise UserError("save= writes the model for its own image size: leave image_size= or save= out.")


def check_foldable(options: EvaluateOptions, source: ModelSource, classifier: Classifier) -> None:
    """Check before anything is scored that the classifier can hold the corrections.

    Raises:
        UserError: The logits are not one linear layer on the features, or the layer has no bias for a logit adjustment.
    """
    network: Any = classifier.network
    try:
        layer = linear_classifier(network, classifier.data_config["input_size"][-1])
    except UnsuitableClassifier as error:
        raise UserError(
            f"save= needs a model whose logits are one linear layer on its features, and {source.name} is not one: "
            "leave save= out."
        ) from error
    if layer.bias is None and options.evaluation.logit_adjustment is not None:
        raise UserError(
            f"save= needs a bias to fold logit_adjustment= into, and the classifier of {source.name} has none: leave "
            "one of them out."
        )


def save_corrected(
    options: EvaluateOptions,
    source: ModelSource,
    classifier: Classifier,
    corrections: Corrections,
    evaluated: EvaluationResults,
    thresholds: dict[str, list[float | None]] | None,
) -> Path:
    """Fold the corrections into the classifier, and export the model with the scores of the corrected model.

    `decorate_export` adds plots and card later.

    Args:
        options: Options of the evaluation; ``save`` is the folder.
        source: The model before the correction.
        classifier: The same model, built; its classifier is changed in place.
        corrections: The corrections with their final values.
        evaluated: The results of the corrected model.
        thresholds: Thresholds from held-out images, see `precision_thresholds`; ``None`` without held-out images.

    Returns:
        The exported folder.
    """
    network: Any = classifier.network
    layer = linear_classifier(network, classifier.data_config["input_size"][-1])
    values = {name: getattr(corrections, name) for name in ("tau_norm", "logit_adjustment", "temperature")}
    counts = corrections.class_counts.tolist()
    fold_corrections(layer, class_counts=counts, **values)
    training_results = source.results
    assert training_results is not None
    posthoc = evaluated.posthoc or {}
    search = posthoc.get("search", {})
    facts = CorrectionFacts(
        source=shorten_path(source.name),
        source_sha256=model_facts(evaluated.model.name, source, classifier).sha256,
        class_counts=counts if values["logit_adjustment"] is not None else None,
        searched=[name for name in values if getattr(options.evaluation, name) == "search"],
        search_images=search.get("images"),
        held_out_of_training=search.get("held_out_of_training"),
        command=options.command or None,
        **values,
    )
    results = replace(
        _corrected_results(training_results, evaluated),
        correction=facts,
        calibration=_calibration_facts(evaluated, thresholds),
    )
    config = None if source.folder is None else source.folder / OPTIONS_FILE
    return export_run(
        str(options.evaluation.save),
        network,
        results,
        heads=source.training_heads(),
        config_yaml=config if config is not None and config.is_file() else None,
        half=training_results.weights is not None and training_results.weights.dtype == "float16",
        card=False,
    )


def _corrected_results(training_results: RunResults, evaluated: EvaluationResults) -> RunResults:
    """The results of the training with the name of the corrected model and the scores of the evaluation."""
    tag = f"{training_results.model.tag}_corrected"
    return replace(
        training_results,
        model=replace(training_results.model, tag=tag, name=f"{training_results.model.name.partition('.')[0]}.{tag}"),
        data=replace(training_results.data, test_images=evaluated.data.test_images),
        thresholds=evaluated.thresholds,
        groups=evaluated.groups,
        test=evaluated.test,
        validation=None,
        intervals={"test": evaluated.intervals.get("test", {})},
        group_support=evaluated.group_support,
        class_recalls=evaluated.class_recalls,
        class_support=evaluated.class_support,
        group_confusion=evaluated.group_confusion,
    )


def _calibration_facts(
    evaluated: EvaluationResults, thresholds: dict[str, list[float | None]] | None
) -> CalibrationFacts | None:
    posthoc = evaluated.posthoc or {}
    if thresholds is None or evaluated.test is None or evaluated.test_plain is None:
        return None
    temperature = posthoc.get("temperature") or {}
    reason = temperature.get("reason")
    if not temperature:
        reason = "The evaluation that corrected the model did not fit a temperature."
    elif "weighting" not in temperature:  # only a fitted temperature has one
        reason = f"The temperature {temperature['value']:g} was given, and not fitted on held-out images."
    return CalibrationFacts(
        images=posthoc["search"]["images"],
        temperature=temperature["value"] if reason is None else None,
        reason=reason,
        weighting=temperature.get("weighting", "none"),
        before={"test": _reliability(evaluated.test_plain)},
        after={"test": _reliability(evaluated.test)},
        thresholds=thresholds,
    )


def _reliability(scores: Scores) -> Reliability:
    return Reliability(ece=scores.ece or 0.0, nll=scores.nll or 0.0)
