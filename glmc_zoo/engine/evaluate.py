"""The configuration of an evaluation: which models, on which images, corrected how."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from glmc_zoo.engine.options import DataOptions, GroupOptions, check_minimum, hidden, option
from glmc_zoo.errors import UserError

__all__ = ["SEARCH_FRACTION", "EvaluateConfig"]

SEARCH_FRACTION = 0.1
"""Share of each training class that a search holds out where ``--val-fraction`` does not say it."""


@dataclass(kw_only=True)
class EvaluateConfig(GroupOptions, DataOptions):
    """Every option of an evaluation."""

    model: list[str] | None = option(  # noqa: RUF009  # makes a field
        None, "one or more of: zoo name, exported folder, hf_hub:ORG/NAME, pretrained timm model"
    )
    split: Literal["test", "validation"] = option("test", "images to score: test, or validation (see --val-fraction)")
    batch_size: int = option(128, "images per step and process")
    workers: int | None = option(
        None, "processes that load images, per process; 0: it loads them itself; as many as pay by default"
    )
    image_size: int | None = option(None, "side of the images in pixels; the model's own by default")
    mixed_precision: Literal["no", "fp16", "bf16"] | None = option(
        None, "no, fp16 or bf16; what `accelerate config` says by default"
    )
    logit_adjustment: float | Literal["search"] | None = option(
        None, "subtract this times the log class frequencies from the logits, or search it on held-out training images"
    )
    tau_norm: float | Literal["search"] | None = option(
        None, "divide the classifier's rows by their norm to this power, or search it on held-out training images"
    )
    streaming: bool = option(False, "read the images as they come, without downloading or holding the data set")
    output_dir: str | None = option(None, "fresh folder for the results; one below runs/ by default")
    implied_holdout: bool = hidden(False)
    """Whether the held-out part is there for the search alone, and was not asked for by ``--val-fraction``."""

    def __post_init__(self) -> None:
        for owner in (DataOptions, GroupOptions):
            owner.__post_init__(self)
        if not self.model:
            raise UserError(
                "--model is missing: give what to evaluate, such as an exported folder, hf_hub:ORG/NAME or a "
                "pretrained timm model."
            )
        check_minimum(self, {"batch_size": 1, "image_size": 1, "workers": 0})
        for name in ("logit_adjustment", "tau_norm"):
            value = getattr(self, name)
            if isinstance(value, float | int) and not 0 <= value < math.inf:
                raise UserError(f"--{name.replace('_', '-')} {value} must be a number of 0 or more, or search.")
        if self.streaming:
            self._refuse_with_streaming()
        if self.split == "validation" and self.searches:
            raise UserError(
                "--split validation is what a search chooses on, so its scores would flatter: give --split test, or a "
                "number in place of search."
            )
        held_out = self.val_fraction or self.official_val
        if self.split == "validation" and not held_out:
            raise UserError("--split validation needs held-out images: give --val-fraction, e.g. 0.1.")
        if self.searches and not held_out:
            self.val_fraction, self.implied_holdout = SEARCH_FRACTION, True

    def _refuse_with_streaming(self) -> None:
        wanted = {
            "--split validation": self.split == "validation",
            "--val-fraction": self.val_fraction,
            "--official-val": self.official_val,
            "--logit-adjustment search": self.logit_adjustment == "search",
            "--tau-norm search": self.tau_norm == "search",
        }
        if held_out := next((name for name, given in wanted.items() if given), None):
            raise UserError(
                f"{held_out} needs images held out of the training part, and --streaming reads the test part alone: "
                "leave --streaming out to download the set once."
            )
        idle = {"split_file": None, "skip_bad_images": False, "selection": "ldam", "data_seed": 0}
        for name, default in idle.items():
            if getattr(self, name) != default:
                raise UserError(
                    f"--{name.replace('_', '-')} has no effect with --streaming, which reads the test split as it is: "
                    "leave one of them out."
                )

    @property
    def searches(self) -> bool:
        """Whether a correction is to be searched."""
        return "search" in (self.logit_adjustment, self.tau_norm)
