"""Options of the machine, of the run folder, and of the push to the Hub."""

from dataclasses import dataclass
from typing import Literal

from glmc_zoo.errors import UserError
from glmc_zoo.fields import MAX_PROCESSES, OptionGroup, option, values_of


@dataclass(frozen=True, kw_only=True)
class MachineOptions(OptionGroup):
    """Precision, compilation, threads, and where the training images stay; the first two change only the rounding."""

    mixed_precision: Literal["no", "fp16", "bf16", "auto"] | None = option(
        "precision of autocast; auto: bf16 if the device supports it", default=None, decided_by="`accelerate config`"
    )
    compile: bool = option("compile the training step with torch.compile", default=False)
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] = option(
        "mode of --compile; reduce-overhead replays the step as CUDA graphs", default="default"
    )
    threads: int | None = option(
        "threads of one training process",
        default=None,
        decided_by="on a CPU, its share of the cores",
        at_least=1,
        below=MAX_PROCESSES,
    )
    resident: bool | None = option(
        "keep small training images on the device", default=None, decided_by="on if they fit in 1/4 of its free memory"
    )
    profile: bool = option("write a trace of a few steps and print where the time went, by stage", default=False)

    def check(self) -> None:
        """Refuse a compile mode without compilation."""
        if self.compile_mode != "default" and not self.compile:
            raise UserError(f"compile_mode={self.compile_mode!r} has no effect without compile=True: give that too.")


@dataclass(frozen=True, kw_only=True)
class OutputOptions(OptionGroup):
    """Run folder, checkpoints, the epoch that is reported, and the exported model."""

    output_dir: str | None = option("run folder", default=None, decided_by="a new one below runs/")
    resume: str | None = option(
        "checkpoint to go on from: auto (the newest of --output-dir that can be read), or its folder", default=None
    )
    accept_new_data: bool = option("resume although the images changed; the classes must be the same", default=False)
    dry_run: bool = option(
        "stop before training: print what was read, the options, and an estimate of time and memory", default=False
    )
    checkpoint_every: int = option("epochs between checkpoints", default=1, at_least=1)
    checkpoint_steps: int = option("steps between checkpoints within an epoch; 0: none", default=0, at_least=0)
    checkpoint_minutes: float = option(
        "minutes between checkpoints within an epoch; 0: none", default=10.0, at_least=0,
    )  # fmt: skip
    preempt_signal: Literal["USR1", "USR2", "HUP", "XCPU"] | None = option(
        "further signal that stops the run with a checkpoint, as SIGTERM and Ctrl-C do; for Slurm and spot machines",
        default=None,
    )
    keep_checkpoints: int = option("newest checkpoints to keep", default=2, at_least=1)
    eval_every: int = option("epochs between evaluations; the last epoch always has one", default=1, at_least=1)
    select: Literal["last", "best"] = option(
        "epoch to report: the last, or the best on the held-out images (never on test)", default="last"
    )
    calibrate: Literal["auto", "always", "never"] = option(
        "fold a temperature, fitted on held-out images, into the exported classifier; auto: if images are held out "
        "anyway; always: hold out a tenth if none are",
        default="auto",
    )
    license: str | None = option(
        "licence of the exported weights, as the Hub spells it",
        default=None,
        decided_by="that of the weights at start; from scratch unknown, or apache-2.0 for a set of the catalogue",
    )
    export_half: bool = option("store the exported weights in half precision", default=False)
    export_encoder: bool = option("also export the model without its classifier, to encoder/", default=False)
    sample_image: bool | None = option(
        "put a test image, reduced to 384 pixels, into the exported model, for its card; --push-to-hub publishes it",
        default=None,
        decided_by="the data: only a set of the catalogue whose licence lets everybody publish its images",
    )
    report: bool = option(
        "write report.html, a page with scores, curves, classes, confusions and images, and its data, answers.json",
        default=True,
    )
    tracker: str | None = option("tracker of Accelerate, e.g. tensorboard, wandb, trackio", default=None)

    def check(self) -> None:
        """Refuse to accept new data for a run that is not resumed, and to resume a run that is not trained."""
        if self.dry_run and self.resume is not None:
            raise UserError(f"dry_run=True trains nothing, so resume={self.resume!r} has no effect: leave one out.")
        if self.accept_new_data and self.resume is None:
            raise UserError("accept_new_data=True has no effect without resume=: give resume='auto' as well.")


@dataclass(frozen=True, kw_only=True)
class PushOptions(OptionGroup):
    """Where the finished model goes on the Hub, and how."""

    push_to_hub: str | None = option("ORG/NAME of the repository that the finished model goes to", default=None)
    push_private: bool = option("make the repository private if this push creates it", default=False)
    push_revision: str | None = option("branch of the repository to push to; created if missing", default=None)
    push_pull_request: bool = option("open a pull request instead of committing directly", default=False)
    push_tag: str | None = option("tag to set on the pushed commit", default=None)
    push_collection: str | None = option("collection to add the model to: its slug, or a title", default=None)
    push_overwrite: bool = option("push even over a model of another architecture or other classes", default=False)

    def check(self) -> None:
        """Refuse options of a push without ``push_to_hub``."""
        names = [name for name, value in values_of(self).items() if value not in (None, False)]
        if names and self.push_to_hub is None:
            raise UserError(f"{names[0]}= has no effect without push_to_hub=: give push_to_hub=ORG/NAME as well.")
