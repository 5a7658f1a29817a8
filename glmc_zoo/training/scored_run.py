"""The part that all runs share: scores, results, the exported model, and the push to the Hub."""

from abc import ABC, abstractmethod
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from timm.utils import distribute_bn, unwrap_model
from torch import nn

from glmc_zoo.data import ImageSplit, LongTailData, eval_loader
from glmc_zoo.hub import push_model, source_license
from glmc_zoo.machine.clock import StageClock
from glmc_zoo.machine.command import resume_command
from glmc_zoo.machine.processes import on_main_process
from glmc_zoo.machine.signals import RunStopped, StopSignals
from glmc_zoo.metrics import ScoreCounts
from glmc_zoo.options.run import RunOptions
from glmc_zoo.results import CalibrationFacts, RunResults, Selection
from glmc_zoo.scoring.calibration import add_reliability, calibrate_classifier, split_logits
from glmc_zoo.scoring.decoration import Decorations, write_answer_file, write_sample_image
from glmc_zoo.scoring.loop import ScoredSplit, score_split
from glmc_zoo.scoring.model import Classifier
from glmc_zoo.scoring.sample_image import is_publishable
from glmc_zoo.screen import say
from glmc_zoo.text import printable, printable_lines
from glmc_zoo.training.assemble import push_target
from glmc_zoo.training.folder import RunFolder
from glmc_zoo.training.inputs import InputSpec
from glmc_zoo.training.report import describe_run, result_table, write_outputs
from glmc_zoo.training.stage import Stage


class ScoredRun(ABC):
    """A run that scores, exports and reports its trained model; subclasses add the training."""

    options: RunOptions
    accelerator: Accelerator
    data: LongTailData
    stage: Stage
    spec: InputSpec
    folder: RunFolder
    clock: StageClock
    signals: StopSignals
    workers: int
    """Number of processes that load images for scoring."""

    @property
    @abstractmethod
    def model(self) -> nn.Module:
        """The model that is scored and exported."""

    @property
    def timm_model(self) -> nn.Module:
        """The plain timm model inside `model`."""
        model: Any = unwrap_model(self.model)
        timm_model: nn.Module = getattr(model, "timm_model", model)
        return timm_model

    @property
    @abstractmethod
    def seconds(self) -> float:
        """Wall time of the run in seconds, without interruptions."""

    def evaluate(self, split: ImageSplit) -> ScoreCounts:
        """Score ``split``, each image once over all processes; the counts are the same in each process."""
        return self._score(split).counts

    def _inference(self, split: ImageSplit) -> tuple[Classifier, Any]:
        """The model ready for inference, and this process's share of ``split``."""
        accelerator = self.accelerator
        if accelerator.num_processes > 1:
            # Each process has its own batch-norm statistics. Those of the main process are exported, so all use them.
            distribute_bn(self.model, accelerator.num_processes, reduce=False)
        config = self.spec.data_config
        classifier = Classifier.from_network(self.model, len(self.data.class_names), config, accelerator.device)
        loader = eval_loader(
            split,
            classifier.preprocessing,
            batch_size=max(self.options.schedule.batch_size, 128),
            workers=self.workers,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
        )
        return classifier, loader

    def _score(self, split: ImageSplit, *, final: bool = False, temperature: float | None = None) -> ScoredSplit:
        """Score ``split``.

        Args:
            split: The images.
            final: Whether to compute intervals, and the answers that the report shows.
            temperature: The temperature that was folded into the classifier. With it, `ScoredSplit.plain` has the
                scores from before.
        """
        accelerator, shots = self.accelerator, self.options.shots
        classifier, loader = self._inference(split)
        empty = ScoreCounts.empty(self.data.class_counts, many=shots.many_threshold, few=shots.few_threshold)
        undo_temperature = None if temperature is None else partial(torch.mul, other=temperature)
        with self.clock.stage("evaluation"):
            scored = score_split(
                classifier, loader, empty, accelerator, total=len(split), intervals=final, correct=undo_temperature,
                answers="positions" if final and (self.options.output.report or self._shows_sample) else "none",
            )  # fmt: skip
        return scored if undo_temperature is None else scored.swap()

    def held_out_logits(self) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """Logits (n, C) and classes (n,) of held-out images; ``None`` where the run has none."""
        if not self.data.val:
            return None
        with self.clock.stage("evaluation"):
            return split_logits(*self._inference(self.data.val), self.accelerator)

    def _calibrate(self) -> CalibrationFacts | None:
        """Fit a temperature on the held-out images and fold it into the classifier; ``None`` where there are none."""
        if self.options.output.calibrate == "never":
            return None
        held_out = self.held_out_logits()
        if held_out is None:
            return None
        test_counts = self.data.test.class_counts if self.data.test else None
        return calibrate_classifier(self.timm_model, self.spec.size, *held_out, test_counts)

    def score_and_export(self, selection: Selection) -> RunResults:
        """Score the model on the test and validation splits, export it, and write the files of a finished run.

        Raises:
            RunStopped: A signal came. Everything that a resumed run needs is in the run folder already.
        """
        with self.signals.raise_on_signal(self._stop_text("{signal}", "the training is complete")):
            return self._score_and_export(selection)

    def _stop_text(self, name: str, state: str) -> str:
        return f"Stopped by {name}, {state}; to resume: {resume_command(self.folder.path, self.options.command)}"

    def _stop(self, state: str) -> NoReturn:
        """End the run in all processes, for the signal that came; ``state`` says what is on disk."""
        self.accelerator.end_training()
        self.folder.release()
        raise RunStopped(self._stop_text(self.signals.name, state), self.signals.number or 0)

    def _score_and_export(self, selection: Selection) -> RunResults:
        options = self.options
        self.stage.before_export(self.timm_model)
        # The exported model has this memory layout, and scores differ in their last bits between layouts.
        self.model.to(memory_format=torch.contiguous_format)
        splits = {name: split for name, split in (("test", self.data.test), ("validation", self.data.val)) if split}
        calibration = self._calibrate()
        temperature = None if calibration is None else calibration.temperature
        scored = {name: self._score(split, final=True, temperature=temperature) for name, split in splits.items()}
        results = replace(
            self._results(scored),
            selection=selection,
            calibration=add_reliability(calibration, scored),
            wall_time_s=round(self.seconds, 1),
        )
        heads = self.stage.training_heads(self.model)
        write_answers = None
        if splits:  # page and card show images of the test split, or of the validation split without one
            name = next(iter(splits))
            write_answers = partial(self._write_answers, name, splits[name], scored[name])
        exported = on_main_process(
            self.accelerator,
            lambda: write_outputs(self.folder, results, self.timm_model, heads, options, write_answers),
        )
        exported = replace(exported, folder=self.folder.path)
        if self.accelerator.is_main_process:  # not by `say`, which prints once on each machine
            print(printable_lines(result_table(exported, self.folder.path)))
            if options.machine.profile:
                print(self.clock.report())
        self.push()
        return exported

    @property
    def _shows_sample(self) -> bool:
        """Whether the exported model gets a sample image."""
        requested = self.options.output.sample_image
        return is_publishable(self.data.facts) if requested is None else requested

    def _write_answers(self, name: str, split: ImageSplit, scored: ScoredSplit, decorations: Decorations) -> str | None:
        path, counts = self.folder.path, self.data.class_counts
        if self.options.output.report:
            write_answer_file(decorations, path, name, scored, split, counts)
        return write_sample_image(decorations, path, scored, split, counts) if self._shows_sample else None

    def _results(self, scored: dict[str, ScoredSplit]) -> RunResults:
        results = describe_run(self.options, self.data, self.spec, self.timm_model, scored, self.accelerator)
        if self.options.output.license is None and self.stage.pretrained:
            # Fine-tuned weights keep the license of the weights that they started from.
            license_name = source_license(self.stage.source, self.stage.timm_name)
            results = replace(results, model=replace(results.model, license=license_name))
        return self.stage.add_facts(results)

    def push(self) -> None:
        """Push the exported model where the options name a repository, and end the work of all processes."""
        on_main_process(self.accelerator, self._push)
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()

    def _push(self) -> None:
        target = push_target(self.options.push)
        if target is not None:
            result = push_model(self.folder.path / "model", target)
            print(f"pushed  {printable(result.pull_request_url or result.url)}")

    def say(self, text: str) -> None:
        """Print one or more lines, once on each machine; see `printable_lines`."""
        say(text, main_process=self.accelerator.is_local_main_process)
