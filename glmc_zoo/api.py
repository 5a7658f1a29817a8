"""The front door in Python: what the recipes do, with the options' names as keyword arguments.

Each function checks its options like the command line, writes the same files, prints the same lines, and returns typed
results. They work in a notebook and in a script, without a launcher.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from glmc_zoo.options.keywords import options_of
from glmc_zoo.options.sections import (
    DEMO,
    EVALUATE,
    EXPORT,
    FINETUNE,
    INSPECT,
    PREDICT,
    PUSH,
    REPORT,
    SECOND_STAGE,
    TRAIN,
    Command,
)

if TYPE_CHECKING:
    from glmc_zoo.hub import PushResult
    from glmc_zoo.options.run import RunOptions
    from glmc_zoo.options.user_options import UserOptions
    from glmc_zoo.results import EvaluationResults, RunResults
    from glmc_zoo.scoring.demo.app import Demo
    from glmc_zoo.scoring.exporting.run import ExportedFile
    from glmc_zoo.scoring.inspection import Inspection
    from glmc_zoo.scoring.prediction_files import Prediction
    from glmc_zoo.training.dry_run import DryRun


@overload
def train(*, dry_run: Literal[True], **options: Any) -> DryRun: ...
@overload
def train(*, dry_run: Literal[False] = ..., **options: Any) -> RunResults: ...
@options_of(TRAIN)
def train(**options: Any) -> RunResults | DryRun:
    """Train a backbone on long-tailed images; the options are those of ``glmc-zoo train --help``.

    >>> import glmc_zoo
    >>> results = glmc_zoo.train(data="digits_lt", backbone="resnet20_cifar", epochs=40)  # doctest: +SKIP
    >>> results.test.balanced_accuracy  # doctest: +SKIP
    0.945

    With ``dry_run=True`` nothing is trained: a `DryRun` says how long it would take and how much memory it needs.

    Args:
        options: By name, with ``_`` for ``-``; ``config="FILE"`` reads the rest from a file. ``help(glmc_zoo.train)``
            lists all of them, as for the other commands.

    Raises:
        UserError: An option is unknown or its value is not allowed, or data, model or output folder do not fit.
    """
    from glmc_zoo.options.resolve import training_options

    return _run(training_options(_user_options(TRAIN, "train", options)))


@overload
def finetune(*, dry_run: Literal[True], **options: Any) -> DryRun: ...
@overload
def finetune(*, dry_run: Literal[False] = ..., **options: Any) -> RunResults: ...
@options_of(FINETUNE)
def finetune(**options: Any) -> RunResults | DryRun:
    """Fine-tune a trained model on imbalanced images; the options are those of ``glmc-zoo finetune --help``.

    >>> results = glmc_zoo.finetune(model="resnet50.a1_in1k", data="my_images")  # doctest: +SKIP
    """
    from glmc_zoo.options.resolve import finetuning_options

    return _run(finetuning_options(_user_options(FINETUNE, "finetune", options)))


@overload
def second_stage(*, dry_run: Literal[True], **options: Any) -> DryRun: ...
@overload
def second_stage(*, dry_run: Literal[False] = ..., **options: Any) -> RunResults: ...
@options_of(SECOND_STAGE)
def second_stage(**options: Any) -> RunResults | DryRun:
    """Train the classifier of a model again; the options are those of ``glmc-zoo second-stage --help``."""
    from glmc_zoo.options.resolve import second_stage_options
    from glmc_zoo.training.first_stage import first_stage_options

    user_options = _user_options(SECOND_STAGE, "second_stage", options)
    return _run(second_stage_options(user_options, first_stage_options(user_options)))


@options_of(EVALUATE)
def evaluate(**options: Any) -> list[EvaluationResults]:
    """Score trained models on a data set; the options are those of ``glmc-zoo evaluate --help``.

    ``model`` is one model or a list of models; the results come in that order.

    >>> (results,) = glmc_zoo.evaluate(model="runs/NAME/model", data="my_images")  # doctest: +SKIP
    >>> results.scores.few  # doctest: +SKIP
    """
    from glmc_zoo.options.resolve import evaluation_options
    from glmc_zoo.scoring.evaluation import evaluate_models

    return evaluate_models(evaluation_options(_user_options(EVALUATE, "evaluate", options)))


@options_of(INSPECT, {"output": "no page is written"})
def inspect(**options: Any) -> Inspection:
    """Show what a data set holds; the options are those of ``glmc-zoo inspect --help``.

    With ``output=`` it is also written as a page with images; without it no file is written.

    >>> inspection = glmc_zoo.inspect(data="my_images", output="my_images.html")  # doctest: +SKIP
    >>> inspection.class_counts["train"], inspection.inventory.files_left_out  # doctest: +SKIP
    """
    from glmc_zoo.options.resolve import inspection_options
    from glmc_zoo.scoring.inspection import inspect_data

    user_options = _user_options(INSPECT, "inspect", options)
    resolved = inspection_options(user_options)
    output = _output_file(user_options, "overwrite", "examples")
    return inspect_data(resolved, write=output is not None)


@options_of(PREDICT, {"output": "no file is written"})
def predict(**options: Any) -> list[Prediction]:
    """Classify images with a trained model; the options are those of ``glmc-zoo predict --help``.

    Returns the most probable classes of each image, in order. A file that cannot be read has no labels, and the reason
    as its ``problem``; ``skip_bad_images=True`` leaves it out. With ``output=`` the predictions are also written as a
    CSV file; without it no file is written. ``rank_for_labelling=True`` returns the images by rank, with ``rank``,
    ``uncertainty``, ``rarity`` and ``cluster``.

    >>> predictions = glmc_zoo.predict(model="runs/NAME/model", images="new_photos")  # doctest: +SKIP
    >>> [(prediction.file, prediction.label) for prediction in predictions]  # doctest: +SKIP
    """
    from dataclasses import replace

    from glmc_zoo.options.resolve import prediction_options
    from glmc_zoo.scoring.prediction import predict_images

    user_options = _user_options(PREDICT, "predict", options)
    output = _output_file(user_options, "overwrite", "quote_formulas")
    return predict_images(replace(prediction_options(user_options), output=output))


@options_of(REPORT)
def report(**options: Any) -> RunResults | list[EvaluationResults]:
    """Make plots, cards, page and table of a finished run or evaluation again; see ``glmc-zoo report``.

    ``run`` is its folder, or a list of folders: the page compares the first one with the others. Scores and weights are
    not touched, nor the folders of the others.

    >>> results = glmc_zoo.report(run="runs/NAME")  # doctest: +SKIP
    >>> results.warnings  # doctest: +SKIP
    []
    """
    from glmc_zoo.options.resolve import report_options
    from glmc_zoo.training.reporting import report_folder

    return report_folder(report_options(_user_options(REPORT, "report", options)))


@options_of(DEMO)
def demo(**options: Any) -> Demo:
    """Show a trained model in the browser; the options are those of ``glmc-zoo demo --help``.

    Returns the demo while it is being shown: ``wait()`` keeps a script alive until Ctrl-C, ``close()`` ends it.

    >>> shown = glmc_zoo.demo(model="runs/NAME/model", data="my_images")  # doctest: +SKIP
    >>> shown.url  # doctest: +SKIP
    'http://127.0.0.1:7860'
    """
    from glmc_zoo.options.resolve import demo_options
    from glmc_zoo.scoring.demo.app import open_demo

    return open_demo(demo_options(_user_options(DEMO, "demo", options)))


@options_of(EXPORT)
def export(**options: Any) -> list[ExportedFile]:
    """Write a trained model for other runtimes; the options are those of ``glmc-zoo export --help``.

    Returns a row of the table for each file: with ``int8=True`` there are two.

    >>> (exported,) = glmc_zoo.export(model="runs/NAME/model", format="onnx", output="cats.onnx")  # doctest: +SKIP
    >>> exported.max_difference, exported.top1_agreement  # doctest: +SKIP
    """
    from glmc_zoo.options.resolve import export_options
    from glmc_zoo.scoring.exporting.run import export_classifier

    return export_classifier(export_options(_user_options(EXPORT, "export", options)))


@options_of(PUSH)
def push(**options: Any) -> list[PushResult]:
    """Push a model, its demo (as a Space), or both to the Hub; the options are those of ``glmc-zoo push --help``.

    Returns a `PushResult` for each repository that was pushed: the model, then the Space. With ``dry_run=True`` nothing
    is pushed and the list is empty; ``space_folder=`` writes the Space to a folder, which has no `PushResult`.

    >>> pushed = glmc_zoo.push(model="runs/NAME/model", repo="ORG/NAME", space="ORG/DEMO")  # doctest: +SKIP
    >>> pushed[1].url  # doctest: +SKIP
    'https://huggingface.co/spaces/ORG/DEMO'

    Raises:
        UserError: An option is not allowed, the model or what the demo needs cannot be read, or the Hub refuses the
            push.
    """
    from glmc_zoo.options.resolve import push_options
    from glmc_zoo.scoring.pushing import PushRun

    return PushRun(push_options(_user_options(PUSH, "push", options))).push()


def _run(options: RunOptions) -> RunResults | DryRun:
    from glmc_zoo.options.run import HeadStage
    from glmc_zoo.training.dry_run import dry_run
    from glmc_zoo.training.head_run import run_head
    from glmc_zoo.training.run import run_training
    from glmc_zoo.training.search import search_settings

    if options.output.dry_run:
        return dry_run(options)
    return run_head(options) if isinstance(options.stage, HeadStage) else run_training(*search_settings(options))


def _output_file(user_options: UserOptions, *needs_output: str) -> str | None:
    """The file that a call asks for, by ``output=`` or in its ``config`` file; ``None`` if it asks for none.

    On the command line the file has a default name, because the result would be lost without it. A call returns its
    result, so it writes no file unasked. Keywords that ``needs_output`` names are refused without a file.
    """
    from glmc_zoo.errors import UserError

    output: str | None = user_options.get("output")
    if output is None and (unused := next((name for name in needs_output if name in user_options.explicit), None)):
        raise UserError(f"{unused}= has no effect without output=: give output= as well, or leave {unused}= out.")
    return output


def _user_options(command: Command, name: str, options: dict[str, Any]) -> UserOptions:
    from glmc_zoo.machine.command import python_call
    from glmc_zoo.options.user_options import parse_options

    values = {key: os.fspath(value) if isinstance(value, Path) else value for key, value in options.items()}
    return parse_options(command, values, python_call(name, values))
