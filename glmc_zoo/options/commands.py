"""Options of the commands that train nothing: evaluation, inspection, prediction, push, export and conversion."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glmc_zoo.data.options import DataOptions
from glmc_zoo.errors import UserError
from glmc_zoo.fields import MOST_PROCESSES, OptionGroup, option
from glmc_zoo.options.images import InferenceOptions, ShotOptions

SEARCH_FRACTION = 0.1
"""Share of each training class that a search holds out where ``val_fraction`` does not say it."""

_MODEL_EXAMPLE = "what to evaluate, such as an exported folder, hf_hub:ORG/NAME or a pretrained timm model"


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(OptionGroup):
    """Which models are scored, on which split, corrected how."""

    model: list[str] = option(
        "one or more of: zoo name, exported folder, hf_hub:ORG/NAME, pretrained timm model", example=_MODEL_EXAMPLE
    )
    split: Literal["test", "validation"] = option("images to score; validation needs --val-fraction", default="test")
    logit_adjustment: float | Literal["search"] | None = option(
        "subtract this times the log class frequencies from the logits, or search it on held-out training images",
        default=None,
    )
    tau_norm: float | Literal["search"] | None = option(
        "divide the classifier's rows by their norm to this power, or search it on held-out training images",
        default=None,
    )
    temperature: float | Literal["search"] | None = option(
        "divide the logits by this, or fit it on held-out training images; no prediction changes", default=None
    )
    save: str | None = option(
        "fresh folder for the model with these corrections folded into its classifier", default=None
    )
    streaming: bool = option("read the images as they come, without downloading the data set", default=False)
    output_dir: str | None = option("fresh folder for the results", default=None, decided_by="one below runs/")
    report: bool = option(
        "write report.html, a page with scores, classes, confusions and images, and answers.json, which it is made of",
        default=True,
    )
    quote_formulas: bool = option(
        "write an apostrophe before text in CSV files that a spreadsheet would take for a formula; lists are read back "
        "without it",
        default=True,
    )

    def check(self) -> None:
        """Refuse values out of range, and a search on the images that are scored."""
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
                "split='validation' is what a search chooses on, so its scores would flatter: give split='test', or a "
                "number instead of search."
            )

    @property
    def searches(self) -> bool:
        """Whether a correction is to be searched."""
        return "search" in (self.logit_adjustment, self.tau_norm, self.temperature)

    def _check_save(self, folder: str) -> None:
        """Refuse to save what is not one corrected model with test scores."""
        if (self.logit_adjustment, self.tau_norm, self.temperature) == (None, None, None):
            raise UserError(
                f"save={folder!r} needs a correction to fold into the model: give logit_adjustment=, tau_norm= or "
                "temperature=."
            )
        if len(self.model) > 1:
            raise UserError(f"save={folder!r} takes one model, and model= names {len(self.model)}: give one.")
        if self.split == "validation":
            raise UserError("save= writes a model with its test scores: give split='test', or leave save= out.")
        if self.output_dir is not None and Path(self.output_dir).absolute() == Path(folder).absolute():
            raise UserError(f"save={folder!r} is output_dir= too, which holds the scores: give another folder.")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Every option of an evaluation."""

    evaluation: EvaluationOptions
    data: DataOptions
    inference: InferenceOptions
    shots: ShotOptions
    implied_holdout: bool
    """Whether images are held out for the search alone, without ``val_fraction`` or ``official_val``."""
    command: str


def check_streaming(evaluation: EvaluationOptions, data: DataOptions) -> None:
    """Refuse what a stream of the test split cannot give."""
    held_out = {
        "split='validation'": evaluation.split == "validation",
        "val_fraction=": data.val_fraction,
        "official_val=True": data.official_val,
        "logit_adjustment='search'": evaluation.logit_adjustment == "search",
        "tau_norm='search'": evaluation.tau_norm == "search",
        "temperature='search'": evaluation.temperature == "search",
        "save=": evaluation.save,
    }
    if wanted := next((name for name, given in held_out.items() if given), None):
        raise UserError(
            f"{wanted} needs images held out of the training split, and streaming=True reads the test split alone: "
            "leave streaming= out to download the set once."
        )
    data.check_stream()


@dataclass(frozen=True, kw_only=True)
class InspectionOptions(OptionGroup):
    """Where the page of an inspection goes, and what it shows."""

    output: str = option("HTML file for the page, or a folder for inspection.html", default="inspection.html")
    overwrite: bool = option("replace the page where it exists", default=False)
    examples: int = option("images of each class on the page", default=4, at_least=0)
    near_duplicates: int | None = option(
        "also find images that look alike: perceptual hashes that differ in at most so many of 64 bits, for instance 4",
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
        "what classifies: zoo name, exported folder, hf_hub:ORG/NAME or pretrained timm model",
        example="for instance model=runs/NAME/model",
    )
    images: list[str] = option(
        "image files, folders that are searched at any depth, CSV files that list images, and quoted patterns",
        example="for instance images=path/to/images",
    )
    top: int = option("classes to give for each image, the most probable first", default=5, at_least=1)
    prior: str | None = option(
        "class frequencies where the model is used: a CSV file with the columns class and count, or estimate, from the "
        "images at hand",
        default=None,
    )
    model_prior: Literal["auto", "uniform", "training"] = option(
        "class frequencies that the model's probabilities are for; auto: by the method of its training", default="auto"
    )
    classes: list[str] = option(
        "classes that can occur, with commas between them; the others are ruled out", default=[]
    )
    min_probability: float | None = option(
        "the label is unsure where the most probable class has less than this", default=None, above=0, below=1
    )
    precision: float | None = option(
        "the label is unsure below the probability from which on its class had this precision on held-out images, for "
        "instance 0.95",
        default=None,
        above=0,
        below=1,
    )
    rank_for_labelling: bool = option(
        "put the images first whose labels would help rare classes most; adds the columns rank, uncertainty, rarity "
        "and cluster",
        default=False,
    )
    batch_size: int = option("images per step and process", default=64, at_least=1)
    workers: int | None = option(
        "processes that load images; 0: none",
        default=None,
        decided_by="the machine",
        at_least=0,
        below=MOST_PROCESSES,
    )
    image_size: int | None = option(
        "side of the images in pixels", default=None, decided_by="the model", at_least=1, below=4097
    )
    output: str | None = option(
        "CSV file with a row for each image; NAME.problems.csv beside it names the files that cannot be read",
        default="predictions.csv",
    )
    overwrite: bool = option("replace the output file where it exists", default=False)
    quote_formulas: bool = option(
        "write an apostrophe before text in CSV files that a spreadsheet would take for a formula; lists are read back "
        "without it",
        default=True,
    )
    skip_bad_images: bool = option(
        "leave files that cannot be read out of results and CSV files; the screen still names and counts them",
        default=False,
    )
    follow_links: bool = option("search folders and files outside that links lead to as well", default=False)

    def check(self) -> None:
        """Refuse an empty list of images, and options that exclude one another."""
        if not self.images:
            raise UserError("images= is missing: give for instance images=path/to/images.")
        if self.model_prior != "auto" and self.prior is None:
            raise UserError(f"model_prior={self.model_prior!r} has no effect without prior=: leave it out.")
        if self.precision is not None and self.min_probability is not None:
            raise UserError("precision= and min_probability= both say when a label is unsure: leave one out.")
        if self.precision is not None and (self.prior is not None or self.classes):
            raise UserError(
                f"precision={self.precision:g} holds for the model's own probabilities, which "
                f"{'prior=' if self.prior is not None else 'classes='} changes: give min_probability= instead."
            )


@dataclass(frozen=True, kw_only=True)
class ReportOptions(OptionGroup):
    """What `recipes/report.py` makes plots, cards and a page of."""

    run: list[str] = option(
        "folder of a finished run or of an evaluation, such as runs/NAME; further ones are compared with it in "
        "report.html, and nothing is written to them",
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
        "what to export: zoo name, exported folder, hf_hub:ORG/NAME or pretrained timm model",
        example="for instance model=runs/NAME/model",
    )
    format: Literal["onnx", "torch_export"] = option(
        "onnx: for ONNX Runtime and others, NAME.onnx; torch_export: torch's own, NAME.pt2", default="onnx"
    )
    output: str = option("the file, or a folder for model.onnx or model.pt2", default=".")
    check_data: str | None = option(
        "data set whose test images are given to both, the model and its export, beside random images; as --data of an "
        "evaluation",
        default=None,
    )
    data_dir: str | None = option("folder with a local copy of a catalogue data set for --check-data", default=None)
    int8: bool = option(
        "also write NAME-int8.onnx: weights and activations of 8 bits by images of --check-data; without images the "
        "weights of matrix products alone",
        default=False,
    )
    image_size: int | None = option(
        "side of the images in pixels", default=None, decided_by="the model", at_least=1, below=4097
    )
    overwrite: bool = option("replace files that exist", default=False)

    def check(self) -> None:
        """Refuse a file whose name is of another format, and what has no effect."""
        suffix = Path(self.output).suffix
        known = {".onnx": "onnx", ".pt2": "torch_export"}
        if known.get(suffix, self.format) != self.format:
            raise UserError(
                f"output={self.output!r} is a file of format={known[suffix]!r}, and format={self.format!r} is to be "
                "written: give a file or folder that fits it."
            )
        if self.int8 and self.format != "onnx":
            raise UserError(
                f"int8=True writes an ONNX file, and format={self.format!r} another: leave one of them out."
            )
        if self.data_dir is not None and self.check_data is None:
            raise UserError("data_dir= is the folder of check_data=, which is missing: give both, or leave it out.")


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(OptionGroup):
    """Every option of a conversion."""

    checkpoint: str = option(
        "torch file with a state dict in the layout that GLMC's authors published",
        example="one, such as path/to/model.pth.tar",
    )
    output_dir: str = option("folder for the converted model", example="one, such as path/to/folder")
    backbone: str | None = option("timm model of the tensors", default=None, decided_by="their shapes")
    data: str | None = option("catalogue name: its image size, normalisation and names of classes", default=None)
    data_dir: str | None = option("local copy of --data, to read the names of its classes from", default=None)
    class_names: str | None = option("text file with a class on each line, in the order of the logits", default=None)
    image_size: int | None = option(
        "side of the images in pixels", default=None, decided_by="--data or the backbone", at_least=1, below=4097
    )
    license: str = option("licence of the weights, as the Hub spells it", default="unknown")

    def check(self) -> None:
        """Refuse a conversion without names of the classes."""
        if self.data is None and self.class_names is None:
            raise UserError("The names of the classes are missing: give class_names=FILE, or data=NAME.")
        if self.data_dir is not None and (self.data is None or self.class_names is not None):
            raise UserError("data_dir= gives the names of the classes of data=, and has no effect here; leave it out.")
