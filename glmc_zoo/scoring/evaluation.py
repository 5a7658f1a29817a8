"""The command ``glmc-zoo evaluate``, step by step: data, models, classes, corrections, scores, comparison."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from glmc_zoo.data import (
    EvaluationData,
    ImageSplit,
    StreamedData,
    StreamSplit,
    eval_loader,
    inventory_lines,
    load_evaluation_data,
    load_stream_data,
)
from glmc_zoo.data.splits import support_notes
from glmc_zoo.disk import disk_errors
from glmc_zoo.errors import for_screen
from glmc_zoo.hub import ModelSource, open_model
from glmc_zoo.machine.accelerator import make_accelerator
from glmc_zoo.machine.command import shorten_path
from glmc_zoo.machine.hardware import loading_workers
from glmc_zoo.machine.processes import main_process_first, on_main_process
from glmc_zoo.machine.provenance import collect_origin
from glmc_zoo.options.commands import EvaluateOptions
from glmc_zoo.results import EvaluationResults, Scores
from glmc_zoo.scoring import report
from glmc_zoo.scoring.calibration import Floats, Labels, calibration_temperature, split_logits
from glmc_zoo.scoring.classes import ClassMatch, match_classes
from glmc_zoo.scoring.corrections import Corrections, make_corrections, search_corrections, was_held_out
from glmc_zoo.scoring.intensity import with_trained_intensity
from glmc_zoo.scoring.loop import ScoredSplit, score_split
from glmc_zoo.scoring.model import Classifier, load_classifier
from glmc_zoo.scoring.output import EvaluationFolder
from glmc_zoo.scoring.page.render import REPORT_FILE
from glmc_zoo.scoring.saving import check_foldable, check_saving, save_corrected
from glmc_zoo.scoring.shots import adjustment_counts, shot_groups
from glmc_zoo.scoring.thresholds import precision_thresholds
from glmc_zoo.screen import say
from glmc_zoo.text import counted, printable


class EvaluationRun:
    """Scores models on one data set; `recipes/evaluate.py` shows its use.

    The shot groups follow the training images of the first model whose results state them. Otherwise they follow the
    training split of the data: without the images that ``val_fraction`` holds out, but with those that a search holds
    out where ``val_fraction`` is not given.

    Raises:
        UserError: Data, models, options or output folder do not fit; nothing already on disk is touched.
    """

    def __init__(self, options: EvaluateOptions) -> None:
        self.options, evaluation, shots = options, options.evaluation, options.shots
        self.accelerator = make_accelerator(mixed_precision=options.inference.mixed_precision)
        self.sources = [self._open_model(name) for name in evaluation.model]
        self.data = main_process_first(self.accelerator, lambda: _open_data(options, self.sources))
        self.val = None if isinstance(self.data, StreamedData) else self.data.val
        self.split, self.num_images = self.data.test, self.data.facts.test_images
        if evaluation.split == "validation" and self.val is not None:
            self.split, self.num_images = self.val, len(self.val)
        self.data_counts = self.data.class_counts
        if options.implied_holdout and self.val is not None and self.data_counts is not None:
            self.data_counts = [sum(pair) for pair in zip(self.data_counts, self.val.class_counts, strict=True)]
        for source in self.sources:
            self._check_classes(source)
        if evaluation.save is not None:
            facts, names = self.data.facts, self.data.class_names
            on_main_process(self.accelerator, lambda: check_saving(options, self.sources[0], facts, names))
        self.held_out_thresholds: dict[str, list[float | None]] | None = None
        self.names = report.short_names(self.sources)
        models = dict(zip(self.names, self.sources, strict=True))
        self.shots = shot_groups(shots, self.data.class_names, self.data_counts, models)
        self.notes = [*self.data.notes, *self.shots.notes]
        if evaluation.split == "validation" and self.val is not None:
            self.notes += support_notes(self.data.class_names, self.val.class_counts, "validation")
        self.output = EvaluationFolder()
        self.folder = on_main_process(self.accelerator, lambda: self.output.claim(evaluation.output_dir, self.names))
        self.results: list[EvaluationResults] = []

    def _open_model(self, name: str) -> ModelSource:
        return main_process_first(self.accelerator, lambda: open_model(name))

    def _check_classes(self, source: ModelSource) -> None:
        """Refuse a model of other classes before anything is scored, if the number is known without the network."""
        num_classes = len(source.class_names) if source.class_names else None
        num_classes = source.config.get("num_classes") if source.kind == "timm" else num_classes
        if num_classes is not None:
            match_classes(source.name, source.class_names, num_classes, self.data.class_names)
        self._adjustment_counts(source)

    def _adjustment_counts(self, source: ModelSource) -> list[int]:
        adjusted = self.options.evaluation.logit_adjustment is not None
        return adjustment_counts(self.data.class_names, self.data_counts, source, required=adjusted)

    def describe(self) -> None:
        """Print the data set and its notes."""
        counts = self.shots.class_counts
        trained = "" if counts is None else f"; {max(counts)} to {min(counts)} training images each"
        split = f"{self.options.evaluation.split} image"
        images = counted(self.num_images, split) if self.num_images else f"streamed {split}s"
        heading = (
            f"{self.options.data.data}: {images} in "
            f"{len(self.data.class_names)} classes{trained}; results in {self.folder}"
        )
        say(printable(heading), main_process=self.accelerator.is_local_main_process)
        inventory = self.data.facts.inventory
        lines = [] if inventory is None else inventory_lines(inventory)
        for line in [*lines, *(f"note: {for_screen(note)}" for note in self.notes)]:
            say(line, main_process=self.accelerator.is_local_main_process)

    def models(self) -> Iterator[tuple[str, Classifier]]:
        """Short name and classifier of each model; a model is loaded when it is reached."""
        for name, source in zip(self.names, self.sources, strict=True):
            yield name, load_classifier(source, self.accelerator.device, image_size=self.options.inference.image_size)

    def score(self, name: str, classifier: Classifier) -> EvaluationResults:
        """Search the corrections, score the split once, and write the files of one model.

        Args:
            name: Short name of the model, as `models` gives it.
            classifier: The model.

        Raises:
            UserError: The model does not fit the data or the options, or the files cannot be written.
        """
        start_time, data = time.perf_counter(), self.data
        source = self.sources[self.names.index(name)]
        match = match_classes(source.name, source.class_names, classifier.num_classes, data.class_names)
        if self.options.evaluation.save is not None:
            check_foldable(self.options, source, classifier)
        corrections, posthoc, notes = self._corrections(source, classifier, match)
        images, scaling = with_trained_intensity(self.split, source, self.options.data)
        notes = [*notes, *scaling]
        for note in notes:
            say(f"note: {for_screen(note)}", main_process=self.accelerator.is_local_main_process)
        # Results may be published, so they do not tell where a model lies on this machine.
        notes = [note.replace(source.name, shorten_path(source.name)) for note in notes]
        scored = score_split(
            classifier,
            self._loader(classifier, images),
            self.shots.empty_counts(),
            self.accelerator,
            total=self.num_images,
            select=match.select,
            correct=corrections,
            keep_predictions=True,
            intervals=True,
            answers=report.answer_storage(images, len(data.class_names)) if self.options.evaluation.report else "none",
        )
        if isinstance(data, StreamedData):
            for note in (few_images := support_notes(data.class_names, scored.counts.support.tolist())):
                say(f"note: {for_screen(note)}", main_process=self.accelerator.is_local_main_process)
            notes = [*notes, *few_images]
        results = self._results(name, source, classifier, scored, posthoc, [*self.notes, *notes], start_time)
        results = on_main_process(
            self.accelerator, lambda: self._write(name, source, classifier, scored, corrections, results, images)
        )
        for warning in results.warnings:
            self.accelerator.print(f"warning: {for_screen(warning)}")
        self.results.append(results)
        return results

    def _write(
        self,
        name: str,
        source: ModelSource,
        classifier: Classifier,
        scored: ScoredSplit,
        corrections: Corrections | None,
        results: EvaluationResults,
        images: ImageSplit | StreamSplit,
    ) -> EvaluationResults:
        """Write the files of one model: scores and predictions first, then plots, page and card."""
        subfolder = name if len(self.sources) > 1 else None
        folder, saved = self.folder / (subfolder or ""), None
        paths = self.split.paths() if isinstance(self.split, ImageSplit) else None
        with disk_errors(folder):
            if self.options.evaluation.save is not None and corrections is not None:
                held_out = self.held_out_thresholds
                saved = save_corrected(self.options, source, classifier, corrections, results, held_out)
            evaluation = self.options.evaluation
            with self.output.staging_folder(subfolder) as staging:
                results = report.write_evaluation(
                    staging, results, scored, paths, quote_formulas=evaluation.quote_formulas,
                    images=images if evaluation.report else None,
                )  # fmt: skip
            if saved is not None:
                results = report.decorate_saved_model(saved, folder, results)
                print(printable(f"saved    {saved}"))
        return replace(results, folder=folder)

    def _results(
        self,
        name: str,
        source: ModelSource,
        classifier: Classifier,
        scored: ScoredSplit,
        posthoc: dict[str, Any] | None,
        notes: list[str],
        start_time: float,
    ) -> EvaluationResults:
        split: str = self.options.evaluation.split
        scores: dict[str, Any] = {split: Scores.from_dict(scored.counts.scores())}
        intervals = {split: scored.intervals}
        if scored.plain is not None:
            scores[f"{split}_plain"] = Scores.from_dict(scored.plain.scores())
            intervals[f"{split}_plain"] = scored.plain_intervals
        return EvaluationResults(
            model=report.model_facts(name, source, classifier),
            data=self.data.facts,
            split=split,
            class_names=self.data.class_names,
            class_counts=self.shots.class_counts,
            class_counts_from=self.shots.source,
            thresholds=self.shots.thresholds,
            groups=self.shots.sizes,
            batch_size=self.options.inference.batch_size,
            **scores,
            intervals=intervals,
            group_support=report.group_support(scored.counts),
            class_recalls=report.class_recalls(scored.counts),
            class_support=scored.counts.support.tolist(),
            group_confusion=scored.counts.group_confusion.tolist(),
            posthoc=posthoc,
            notes=notes,
            wall_time_s=round(time.perf_counter() - start_time, 1),
            origin=collect_origin(self.accelerator, self.options.command),
        )

    def _loader(self, classifier: Classifier, split: ImageSplit | StreamSplit) -> Any:
        # By default a stream is read without workers, as each of them would open its own connections.
        in_memory = not isinstance(split, ImageSplit) or split.pixels is not None
        inference, accelerator = self.options.inference, self.accelerator
        workers = loading_workers(inference.workers, in_memory, accelerator.device)
        share = {"rank": accelerator.process_index, "world_size": accelerator.num_processes}
        return eval_loader(split, classifier.preprocessing, batch_size=inference.batch_size, workers=workers, **share)

    def _corrections(
        self, source: ModelSource, classifier: Classifier, match: ClassMatch
    ) -> tuple[Corrections | None, dict[str, Any] | None, list[str]]:
        """The corrections with their final values, their description for results.json, and notes on the model."""
        evaluation, notes = self.options.evaluation, [match.note] if match.note else []
        corrections = make_corrections(evaluation, source.name, classifier, match, self._adjustment_counts(source))
        if corrections is None:
            return None, None, notes
        trained_counts = None if source.results is None else source.results.class_counts
        if evaluation.logit_adjustment is not None and trained_counts not in (
            None,
            self.data_counts,
            self.data.class_counts,
        ):
            notes.append(
                f"{source.name} was trained with other class counts than this data has; its logits are adjusted for "
                "the class counts of the data."
            )
        if not evaluation.searches or self.val is None:
            return corrections, corrections.describe(), notes
        images = with_trained_intensity(self.val, source, self.options.data)[0]
        posthoc, scores = corrections.describe(), list[list[float]]()
        if "search" in (evaluation.logit_adjustment, evaluation.tau_norm):
            loader = self._loader(classifier, images)
            corrections, posthoc, scores = search_corrections(
                evaluation, corrections, classifier, match, loader, self.accelerator
            )
        if evaluation.temperature == "search" or evaluation.save is not None:
            loader = self._loader(classifier, images)
            logits, labels = split_logits(classifier, loader, self.accelerator, select=match.select)
            if evaluation.temperature == "search":
                corrections, posthoc["temperature"], fit_problem = self._temperature(corrections, logits, labels)
                notes += [fit_problem] if fit_problem else []
            self.held_out_thresholds = precision_thresholds(corrections(torch.from_numpy(logits)).numpy(), labels)
        held_out, reason = was_held_out(source.results, self.data)
        if not held_out:
            notes.append(
                f"{source.name} may have been trained on the held-out images that the search used ({reason}); then the "
                "chosen values are too small."
            )
        posthoc["search"] = {
            "score": "balanced_accuracy",
            "images": len(self.val),
            "val_fraction": self.options.data.val_fraction,
            "data_seed": self.options.data.data_seed,
            "held_out_of_training": held_out,
            "why": reason,
            "scores": scores,
        }
        return corrections, posthoc, notes

    def _temperature(
        self, corrections: Corrections, logits: Floats, labels: Labels
    ) -> tuple[Corrections, dict[str, Any], str | None]:
        """The corrections with a fitted temperature, its description, and the reason where it could not be fitted."""
        corrected = corrections(torch.from_numpy(logits)).numpy()
        counts = self.split.class_counts if isinstance(self.split, ImageSplit) else None
        temperature, weighting, reason = calibration_temperature(corrected, labels, counts)
        value = 1.0 if temperature is None else temperature
        description = {"value": value, "weighting": weighting} | ({} if reason is None else {"reason": reason})
        return replace(corrections, temperature=value), description, reason

    def finish(self) -> list[EvaluationResults]:
        """Write the comparison of several models, print the table, and return the results of all models."""
        if self.accelerator.is_main_process:
            if len(self.results) > 1:
                with self.output.staging_folder() as folder, disk_errors(self.folder):
                    quote = self.options.evaluation.quote_formulas
                    warnings = report.write_comparison(folder, self.results, quote_formulas=quote)
                    if self.options.evaluation.report:
                        warnings += report.write_joint_report(folder, [self.folder / name for name in self.names])
                print(*(f"warning: {for_screen(warning)}\n" for warning in warnings), sep="", end="")
            print(report.score_table(self.results))
            print(printable(f"results  {self.folder}"))
            if (page := self.folder / REPORT_FILE).is_file():
                print(printable(f"report   {page}"))
            self.output.release()
        self.accelerator.wait_for_everyone()
        return self.results


def evaluate_models(options: EvaluateOptions) -> list[EvaluationResults]:
    """Run a whole `EvaluationRun`: describe, score each model, compare."""
    run = EvaluationRun(options)
    run.describe()
    for name, classifier in run.models():
        run.score(name, classifier)
    return run.finish()


def _open_data(options: EvaluateOptions, sources: list[ModelSource]) -> EvaluationData | StreamedData:
    if options.evaluation.streaming:
        return load_stream_data(options.data)
    trained = [source.results.data for source in sources if source.results is not None]
    return load_evaluation_data(options.data, trained=trained)
