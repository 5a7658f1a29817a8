"""An evaluation, step by step: data, models, classes matched, corrections searched, scores, comparison."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from glmc_zoo.data import ImageSplit, LongTailData, StreamedData, StreamSplit, eval_loader
from glmc_zoo.engine.build import load_run_data, make_accelerator
from glmc_zoo.engine.config import TrainConfig
from glmc_zoo.engine.evaluate import EvaluateConfig
from glmc_zoo.engine.evaluate_report import (
    Predictions,
    describe_evaluation,
    score_table,
    short_names,
    write_comparison,
    write_evaluation,
)
from glmc_zoo.engine.evaluate_stream import check_support, load_run_stream, with_known_counts
from glmc_zoo.engine.evaluation import sum_counts
from glmc_zoo.engine.hardware import loading_workers
from glmc_zoo.engine.inference import ClassMatch, InferenceModel, load_model, logit_batches, match_classes
from glmc_zoo.engine.output import main_process_first, on_main_process
from glmc_zoo.engine.posthoc import PostHoc, make_posthoc, search_posthoc, was_held_out
from glmc_zoo.errors import UserError
from glmc_zoo.hub import ModelSource, open_model
from glmc_zoo.metrics import ScoreCounts, group_of_classes, tercile_thresholds

__all__ = ["EvaluationRun", "Scored", "score_split"]


class EvaluationRun:
    """Models scored on one data set; `recipes/evaluate.py` shows its use.

    The groups follow the training images of the data set, without those that ``--val-fraction`` holds out, as in
    training; what a search holds out by itself does not move a class to another group.

    Raises:
        UserError: Data, models, options or output folder do not fit; nothing already on disk is touched.
    """

    def __init__(self, config: EvaluateConfig) -> None:
        self.accelerator = make_accelerator(TrainConfig(mixed_precision=config.mixed_precision))
        self.data: LongTailData | StreamedData
        if config.streaming:
            self.data = load_run_stream(config, self.accelerator)
            self.sources = [self._open(name) for name in config.model or []]
            self.data = with_known_counts(self.data, self.sources)
        else:
            self.data = load_run_data(config, self.accelerator)
            self.sources = [self._open(name) for name in config.model or []]
        assert self.data.class_counts is not None
        self.class_counts = self.data.class_counts
        if config.implied_holdout:
            assert isinstance(self.data, LongTailData) and self.data.val is not None
            held = np.bincount(self.data.val.labels, minlength=len(self.class_counts))
            self.class_counts = (held + self.class_counts).tolist()
        if config.groups == "terciles":
            many, few = tercile_thresholds(self.class_counts)
            config = replace(config, many_threshold=many, few_threshold=few)
        self.config = config
        self.thresholds: dict[str, Any] = {
            "many": config.many_threshold,
            "few": config.few_threshold,
            "few_inclusive": False,
        }
        self.names = short_names(self.sources)
        self.folder = Path(on_main_process(self.accelerator, lambda: str(_claim(config.output_dir, self.names))))
        self.results: list[dict[str, Any]] = []

    def _open(self, name: str) -> ModelSource:
        source = main_process_first(self.accelerator, lambda: open_model(name))
        # Before anything is scored, where the number of logits is known without the network itself.
        known = len(source.class_names) if source.class_names else None
        if known is None and source.kind == "timm":
            known = source.config.get("num_classes")
        if known is not None:
            match_classes(source.name, source.class_names, known, self.data.class_names)
        return source

    @property
    def split(self) -> ImageSplit | StreamSplit:
        """The images that are scored."""
        if self.config.split == "test":
            return self.data.test
        assert isinstance(self.data, LongTailData) and self.data.val is not None
        return self.data.val

    @property
    def num_images(self) -> int | None:
        """How many these are, where it is known beforehand."""
        return self.split.num_images if isinstance(self.split, StreamSplit) else len(self.split)

    def say(self, text: str) -> None:
        """One line on the screen, once."""
        self.accelerator.print(text)

    def describe(self) -> None:
        """Say what is about to be scored on what."""
        counts = self.class_counts
        self.say(
            f"{self.config.data}: {self.num_images or 'streamed'} {self.config.split} images in {len(counts)} classes; "
            f"{max(counts)} to {min(counts)} training images each; results in {self.folder}"
        )
        for note in self.notes():
            self.say(f"note: {note}")

    def notes(self) -> list[str]:
        """What was decided about data and groups, one sentence each."""
        groups = group_of_classes(self.class_counts, **self.thresholds)
        one = len(set(groups.tolist())) == 1
        advice = "." if self.config.groups == "terciles" else "; --groups terciles makes three groups of a third each."
        return [*self.data.notes, *([f"All classes fall into one group{advice}"] if one else [])]

    def models(self) -> Iterator[tuple[str, InferenceModel]]:
        """Short name and model of each, loaded when its turn comes."""
        for name, source in zip(self.names, self.sources, strict=True):
            yield name, load_model(source, self.accelerator, image_size=self.config.image_size)

    def score(self, name: str, model: InferenceModel) -> dict[str, Any]:
        """Search the corrections, score the split once, and write what belongs to one model.

        Raises:
            UserError: The classes do not match, or a correction or the image size does not fit the model.
        """
        start, config, data = time.perf_counter(), self.config, self.data
        source = model.source
        match = match_classes(source.name, source.class_names, model.num_classes, data.class_names)
        notes = [*self.notes(), *([match.note] if match.note else [])]
        posthoc = make_posthoc(config, model, match, self.class_counts)
        said: dict[str, Any] | None = None
        if posthoc is not None:
            posthoc, said, warnings = self._settle(posthoc, model, match)
            notes += warnings
        for note in notes[len(self.notes()) :]:
            self.say(f"note: {note}")
        empty = ScoreCounts.empty(self.class_counts, **self.thresholds)
        scored = score_split(
            model, match, posthoc, self._loader(model, self.split), empty, self.accelerator, self.num_images
        )
        if config.streaming:
            check_support(scored.counts.support.tolist(), data.class_names)
        results = describe_evaluation(config, data, self.class_counts, self.thresholds, name, model, self.accelerator)
        results |= {"posthoc": said, "notes": notes, config.split: scored.counts.scores()}
        if scored.plain is not None:
            results[f"{config.split}_plain"] = scored.plain.scores()
        results["wall_time_s"] = round(time.perf_counter() - start, 1)
        if self.accelerator.is_main_process:
            folder = self.folder / name if len(self.sources) > 1 else self.folder
            write_evaluation(folder, results, scored.counts, scored.predictions, self.split)
        self.results.append(results)
        return results

    def _loader(self, model: InferenceModel, split: ImageSplit | StreamSplit) -> Any:
        return eval_loader(
            split,
            model.transform,
            batch_size=self.config.batch_size,
            # A stream is read in the process itself unless asked: each worker would open connections of its own.
            workers=loading_workers(
                self.config.workers, isinstance(split, StreamSplit) or split.pixels is not None, self.accelerator.device
            ),
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )

    def _settle(
        self, posthoc: PostHoc, model: InferenceModel, match: ClassMatch
    ) -> tuple[PostHoc, dict[str, Any], list[str]]:
        """The corrections with their final values, what results.json says of them, and sentences to print."""
        config, warnings = self.config, []
        trained = (model.source.results or {}).get("class_counts")
        if config.logit_adjustment is not None and trained not in (None, self.class_counts, self.data.class_counts):
            warnings.append(
                f"{model.source.name} was trained with other numbers of images in each class than this data has; its "
                "logits are adjusted for those of the data."
            )
        wanted = ("logit_adjustment", "tau_norm")
        if not config.searches:
            return posthoc, _said(posthoc, wanted), warnings
        assert isinstance(self.data, LongTailData)
        val = self.data.val
        assert val is not None
        outcome = search_posthoc(config, posthoc, model, match, self._loader(model, val), self.accelerator)
        held_out, why = was_held_out(model.source.results, self.data)
        if not held_out:
            warnings.append(
                f"{model.source.name} may have been trained on the held-out images that the search used ({why}), which "
                "draws the values chosen towards 0."
            )
        said = _said(outcome.posthoc, wanted)
        for name in wanted:
            if getattr(config, name) == "search":
                said[name] |= outcome.describe(name)
        said["search"] = {
            "score": "balanced_accuracy",
            "images": len(val),
            "val_fraction": config.val_fraction,
            "data_seed": config.data_seed,
            "held_out_of_training": held_out,
            "why": why,
            "scores": outcome.scores.tolist(),
        }
        return outcome.posthoc, said, warnings

    def finish(self) -> list[dict[str, Any]]:
        """Write the comparison of several models, and print the table."""
        if self.accelerator.is_main_process:
            if len(self.results) > 1:
                write_comparison(self.folder, self.results)
            print(score_table(self.results))
            print(f"results  {self.folder}")
        self.accelerator.wait_for_everyone()
        return self.results


def _said(posthoc: PostHoc, names: tuple[str, ...]) -> dict[str, Any]:
    taus = {name: getattr(posthoc, name) for name in names}
    return {name: None if tau is None else {"tau": tau} for name, tau in taus.items()}


@dataclass(frozen=True)
class Scored:
    """What one pass over a split gave, the same in every process."""

    counts: ScoreCounts
    plain: ScoreCounts | None
    """Without corrections, where there are any."""
    predictions: Predictions


@torch.inference_mode()
def score_split(
    model: InferenceModel,
    match: ClassMatch,
    posthoc: PostHoc | None,
    loader: Any,
    empty: ScoreCounts,
    accelerator: Accelerator,
    total: int | None,
) -> Scored:
    """Counts and predictions of a whole split, each image once over all processes.

    Args:
        model: what is scored.
        match: its logits of the data's classes.
        posthoc: corrections of the logits.
        loader: this process's share, batches of (uint8 images, classes, positions).
        empty: counts of no image, with classes and groups.
        accelerator: for device, precision, and the sums over processes.
        total: images in the split, where it is known; counts and predictions must come out as this.

    Raises:
        RuntimeError: An image was missed or counted twice.
    """
    counts, plain, rows = empty + empty, empty + empty, []
    for logits, labels, positions in logit_batches(model, loader, accelerator):
        own = match.select(logits)
        final = own if posthoc is None else posthoc(own)
        counts.update(labels.numpy(), logits=final.cpu().numpy())
        if posthoc is not None:
            plain.update(labels.numpy(), logits=own.cpu().numpy())
        rows.append(Predictions.of(positions, labels, final))
    gathered = Predictions.joined(gather_object(rows))
    number = len(gathered.index)
    # The positions of a stream read by several processes have gaps.
    if len(np.unique(gathered.index)) != number or number != (number if total is None else total):
        raise RuntimeError(f"The evaluation gave {number} predictions for a split of {total} images.")
    gathered = replace(gathered, index=np.arange(number))
    return Scored(
        sum_counts(counts, accelerator, number),
        None if posthoc is None else sum_counts(plain, accelerator, number),
        gathered,
    )


def _claim(output_dir: str | None, names: list[str]) -> Path:
    """The folder for the results, made and empty."""
    if output_dir is None:
        base = Path("runs") / f"eval-{names[0] if len(names) == 1 else f'{len(names)}-models'}"
        tries = (base, *(base.with_name(f"{base.name}-{i}") for i in range(2, 10_000)))
        folder = next(path for path in tries if not path.exists())
    else:
        folder = Path(output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        holds = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise UserError(f"--output-dir {str(folder)!r} cannot be written: {error.strerror or error}.") from error
    if holds:
        raise UserError(
            f"--output-dir {str(folder)!r} already holds files ({', '.join(holds[:3])}{', ...' if holds[3:] else ''}); "
            "choose another folder."
        )
    return folder
