"""Options of the commands that train nothing: evaluation, inspection, prediction, push, export and conversion."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glmc_zoo.data.options import DataOptions
from glmc_zoo.errors import UserError
from glmc_zoo.fields import MAX_PROCESSES, OptionGroup, option
from glmc_zoo.options.images import BACKBONE_PLUGIN, EvaluationShotOptions, InferenceOptions, ShotOptions

SEARCH_FRACTION = 0.1
"""Share of each training class that a search holds out unless ``val_fraction`` is given."""

_MODEL_EXAMPLE = "what to evaluate, such as an exported folder, hf-hub:ORG/NAME or a pretrained timm model"


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(OptionGroup):
    """Which models are scored, on which split, and with which corrections of their logits."""

    model: list[str] = option(
        "models to score: published model, exported folder, hf-hub:ORG/NAME or pretrained timm model",
        example=_MODEL_EXAMPLE,
    )
    split: Literal["test", "validation"] = option(
        "images to score; validation needs --val-fraction or --official-val", default="test"
    )
    logit_adjustment: float | Literal["search"] | None = option(
        "subtract this times the log class frequencies from the logits; search: choose it on held-out training images",
        default=None,
    )
    tau_norm: float | Literal["search"] | None = option(
        "divide the classifier's rows by their norm to this power; search: choose it on held-out training images",
        default=None,
    )
    temperature: float | Literal["search"] | None = option(
        "divide the logits by this, which changes probabilities alone; search: fit it on held-out training images",
        default=None,
    )
    save: str | None = option(
        "new folder for the model with these corrections folded into its classifier", default=None
    )
    streaming: bool = option("score the test images while they are downloaded, and store none of them", default=False)
    output_dir: str | None = option("new folder for the results", default=None, decided_by="one below runs/")
    report: bool = option(
        "write report.html, a page with scores, classes, confusions and images, and its data, answers.json",
        default=True,
    )
    quote_formulas: bool = option(
        "in CSV files, put an apostrophe before text that a spreadsheet would run as a formula; commands that read "
        "the files ignore it",
        default=True,
    )

    def check(self) -> None:
        """Refuse values out of range, a search on the images that are scored, and ``save`` where it cannot work."""
        if not self.model:
            raise UserError(f"model= is missing: give {_MODEL_EXAMPLE}.")
        for name in ("logit_adjustment", "tau_norm"):
            value = getattr(self, name)
            if isinstance(value, float | int) and not 0 <= value < math.inf:
                raise UserError(f"{name}={value} must be a number of 0 or more, or search.")
        if isinstance(self.temperature, float | int) and not 0 < self.temperature < math.inf:
            raise UserError(f"temperature={self.temperature} must be a number above 0, or search.")
        if self.save is not None:
            self._check_save(self.save)
        if self.split == "validation" and self.searches:
            raise UserError(
                "split='validation' cannot be scored after a search, which chooses on the same images: give "
                "split='test', or a number instead of search."
            )

    @property
    def searches(self) -> bool:
        """Whether a correction is to be searched."""
        return "search" in (self.logit_adjustment, self.tau_norm, self.temperature)

    def _check_save(self, folder: str) -> None:
        """Refuse ``save`` without a correction, for several models, or without test scores."""
        if (self.logit_adjustment, self.tau_norm, self.temperature) == (None, None, None):
            raise UserError(
                f"save={folder!r} needs a correction to fold into the model: give logit_adjustment=, tau_norm= or "
                "temperature=."
            )
        if len(self.model) > 1:
            raise UserError(f"save={folder!r} saves one model, and model= names {len(self.model)}: give one model.")
        if self.split == "validation":
            raise UserError("save= writes a model with its test scores: give split='test', or leave save= out.")
        if self.output_dir is not None and Path(self.output_dir).absolute() == Path(folder).absolute():
            raise UserError(f"save= and output_dir= are the same folder, {folder!r}: give two folders.")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Every option of an evaluation."""

    evaluation: EvaluationOptions
    data: DataOptions
    inference: InferenceOptions
    shots: EvaluationShotOptions
    implied_holdout: bool
    """Whether images are held out for the search alone, as neither ``val_fraction`` nor ``official_val`` is given."""
    command: str
    """The command, or the Python call, that was given."""


def check_streaming(evaluation: EvaluationOptions, data: DataOptions) -> None:
    """Refuse options that need training images, which a stream of the test split does not have."""
    training_images = {
        "split='validation'": evaluation.split == "validation",
        "val_fraction=": data.val_fraction,
        "official_val=True": data.official_val,
        "logit_adjustment='search'": evaluation.logit_adjustment == "search",
        "tau_norm='search'": evaluation.tau_norm == "search",
        "temperature='search'": evaluation.temperature == "search",
        "save=": evaluation.save,
    }
    if unusable := next((name for name, value in training_images.items() if value), None):
        raise UserError(
            f"{unusable} needs images of the training split, and streaming=True reads only the test split: leave "
            "streaming= out, and the data set is downloaded once."
        )
    data.check_stream()


@dataclass(frozen=True, kw_only=True)
class InspectionOptions(OptionGroup):
    """Where the page of an inspection goes, and what it shows."""

    output: str | None = option(
        "HTML file for the page, or a folder for inspection.html",
        default=None,
        decided_by="inspection.html, or inspection-2.html and so on where that exists",
    )
    overwrite: bool = option("replace the page where it exists", default=False)
    examples: int = option("images of each class on the page", default=4, at_least=0)
    near_duplicates: int | None = option(
        "also list images that look alike: their perceptual hashes differ in at most this many of 64 bits, e.g. 4",
        default=None,
        at_least=0,
        below=65,
    )


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """Every option of an inspection."""

    inspection: InspectionOptions
    data: DataOptions
    shots: ShotOptions


@dataclass(frozen=True, kw_only=True)
class PredictOptions(OptionGroup):
    """Every option of a prediction."""

    model: str = option(
        "model that classifies: published model, exported folder, hf-hub:ORG/NAME or pretrained timm model",
        example="for instance model=runs/NAME/model",
    )
    plugin: list[str] = option(BACKBONE_PLUGIN, default=[])
    images: list[str] = option(
        "image files, folders (with all folders in them), CSV files that list images, and quoted patterns",
        example="for instance images=path/to/images",
    )
    top: int = option("classes to give for each image, the most probable first", default=5, at_least=1)
    prior: str | None = option(
        "class frequencies where the model is used: a CSV file with the columns class and count, or estimate, to "
        "estimate them from the images",
        default=None,
    )
    model_prior: Literal["auto", "uniform", "training"] = option(
        "class frequencies that the model's probabilities assume; auto: known from its training method", default="auto"
    )
    classes: list[str] = option(
        "classes that can occur, with commas between them; the others are ruled out", default=[]
    )
    min_probability: float | None = option(
        "mark a label as unsure if its probability is below this", default=None, above=0, below=1
    )
    precision: float | None = option(
        "mark a label as unsure if its probability is below the threshold at which its class reached this precision on "
        "held-out images, e.g. 0.95",
        default=None,
        above=0,
        below=1,
    )
    rank_for_labelling: bool = option(
        "sort the images by how much their labels would help rare classes; adds the columns rank, uncertainty, rarity "
        "and cluster",
        default=False,
    )
    batch_size: int = option("images per step and process", default=64, at_least=1)
    workers: int | None = option(
        "processes that load images; 0: the main process loads them",
        default=None,
        decided_by="the machine",
        at_least=0,
        below=MAX_PROCESSES,
    )
    image_size: int | None = option(
        "side of the images in pixels", default=None, decided_by="the model", at_least=1, below=4097
    )
    output: str | None = option(
        "CSV file with a row for each image; NAME.problems.csv beside it lists the files that cannot be read",
        default="predictions.csv",
    )
    overwrite: bool = option("replace the output file where it exists", default=False)
    quote_formulas: bool = option(
        "in CSV files, put an apostrophe before text that a spreadsheet would run as a formula; commands that read "
        "the files ignore it",
        default=True,
    )
    skip_bad_images: bool = option(
        "leave files that cannot be read out of results and CSV files; they are still counted and named on the screen",
        default=False,
    )
    follow_links: bool = option("also follow links that lead out of the given folders", default=False)

    def check(self) -> None:
        """Refuse an empty list of images, and options that exclude one another."""
        if not self.images:
            raise UserError("images= is missing: give for instance images=path/to/images.")
        if self.model_prior != "auto" and self.prior is None:
            raise UserError(f"model_prior={self.model_prior!r} has no effect without prior=: leave it out.")
        if self.precision is not None and self.min_probability is not None:
            raise UserError("precision= and min_probability= both decide when a label is unsure: leave one out.")
        if self.precision is not None and (self.prior is not None or self.classes):
            raise UserError(
                f"precision={self.precision:g} holds for the model's own probabilities, which "
                f"{'prior=' if self.prior is not None else 'classes='} changes: give min_probability= instead."
            )


@dataclass(frozen=True, kw_only=True)
class ReportOptions(OptionGroup):
    """The runs that `recipes/report.py` makes plots, cards and a page for."""

    run: list[str] = option(
        "folder of a finished run or evaluation, such as runs/NAME; report.html compares it with further folders, "
        "which are only read",
        example="runs/NAME",
    )
    repo: str | None = option("ORG/NAME on the Hub, for the snippets of the card", default=None)

    def check(self) -> None:
        """Refuse an empty list of folders."""
        if not self.run:
            raise UserError("run= is missing: give runs/NAME.")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(OptionGroup):
    """Every option of an export for other runtimes."""

    model: str = option(
        "model to export: published model, exported folder, hf-hub:ORG/NAME or pretrained timm model",
        example="for instance model=runs/NAME/model",
    )
    plugin: list[str] = option(BACKBONE_PLUGIN, default=[])
    format: Literal["onnx", "torch_export"] = option(
        "onnx: NAME.onnx, for ONNX Runtime and others; torch_export: NAME.pt2, for PyTorch", default="onnx"
    )
    output: str = option("file to write, or a folder for model.onnx or model.pt2", default=".")
    check_data: str | None = option(
        "data set whose test images, besides random ones, are used to compare the export with the model; as --data of "
        "evaluate",
        default=None,
    )
    data_dir: str | None = option("folder with a local copy of a catalogue data set for --check-data", default=None)
    int8: bool = option(
        "also write NAME-int8.onnx, with 8-bit weights and activations, calibrated on images of --check-data; without "
        "it, only weights of matrix products have 8 bits",
        default=False,
    )
    image_size: int | None = option(
        "side of the images in pixels", default=None, decided_by="the model", at_least=1, below=4097
    )
    overwrite: bool = option("replace files that exist", default=False)

    def check(self) -> None:
        """Refuse a file name that ends like another format, and options that have no effect."""
        formats = {".onnx": "onnx", ".pt2": "torch_export"}
        suffixes = {format_name: suffix for suffix, format_name in formats.items()}
        format_of_name = formats.get(Path(self.output).suffix, self.format)
        if format_of_name != self.format:
            raise UserError(
                f"output={self.output!r} is a file name of format={format_of_name!r}, and format={self.format!r} is "
                f"written: give a folder, or a file name that ends in {suffixes[self.format]}."
            )
        if self.int8 and self.format != "onnx":
            raise UserError(
                f"int8=True writes an ONNX file and has no effect with format={self.format!r}: leave one of them out."
            )
        if self.data_dir is not None and self.check_data is None:
            raise UserError("data_dir= is the folder of check_data=, which is missing: give both, or neither.")


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(OptionGroup):
    """Every option of a conversion."""

    checkpoint: str = option(
        "torch file with a state dict in the layout that GLMC's authors published",
        example="one, such as path/to/model.pth.tar",
    )
    output_dir: str = option("folder for the converted model", example="one, such as path/to/folder")
    backbone: str | None = option("timm model that the tensors belong to", default=None, decided_by="their shapes")
    data: str | None = option(
        "catalogue data set whose image size, normalisation and class names the model gets", default=None
    )
    data_dir: str | None = option("local copy of --data, to read its class names from", default=None)
    class_names: str | None = option("text file with a class on each line, in the order of the logits", default=None)
    image_size: int | None = option(
        "side of the images in pixels", default=None, decided_by="--data or the backbone", at_least=1, below=4097
    )
    license: str = option("licence of the weights, as the Hub spells it", default="unknown")

    def check(self) -> None:
        """Refuse a conversion without class names, and a ``data_dir`` that has no effect."""
        if self.data is None and self.class_names is None:
            raise UserError("The class names are missing: give class_names=FILE, or data=NAME.")
        if self.data_dir is not None and self.data is None:
            raise UserError("data_dir= is a local copy of data=, which is missing: give both, or leave data_dir= out.")
        if self.data_dir is not None and self.class_names is not None:
            raise UserError("data_dir= and class_names= both give the class names: leave one of them out.")
