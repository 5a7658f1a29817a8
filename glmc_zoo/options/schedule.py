"""How long and how fast the network learns."""

from dataclasses import dataclass, replace

from glmc_zoo.errors import UserError
from glmc_zoo.fields import OptionGroup, option


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions(OptionGroup):
    """Epochs, batches and learning rate."""

    epochs: int = option("epochs to train", decided_by="the recipe", at_least=1)
    passes: int | None = option(
        "in place of --epochs: how often the network sees the set; two views or SAM take more of it an epoch",
        default=None,
        at_least=1,
    )
    batch_size: int = option(
        "images per step and process, of each of the two batches", decided_by="the recipe", at_least=1
    )
    lr: float = option(
        "learning rate at its highest",
        decided_by="the recipe; in fine-tuning 0.01 for sgd, else 3e-4, 5e-5 for layer norm or 1e-3 for adapters",
        above=0,
    )
    weight_decay: float = option(
        "weight decay, on every parameter",
        decided_by="the recipe; in fine-tuning 0.05 for adamw and layer norm, else 5e-4",
        at_least=0,
    )
    warmup_epochs: int = option(
        "epochs of linear warm-up, counted within --epochs",
        decided_by="the recipe, at most a tenth of the epochs",
        at_least=0,
    )
    momentum: float = option("momentum, of optimisers that have one", default=0.9, at_least=0, below=1)
    sched: str = option("learning-rate schedule, by timm's name", default="cosine")
    min_lr: float = option("learning rate that the schedule ends on", default=0.0, at_least=0)
    lr_base_size: int | None = option(
        "scale --lr and --min-lr linearly by the images of a step over this", default=None, at_least=1
    )
    grad_accum_steps: int = option("batches whose gradients make one optimiser step", default=1, at_least=1)
    clip_grad: float | None = option(
        "clip the gradient's norm to this",
        default=None,
        decided_by="none; 2 for SGD where a fine-tuning starts from a classifier with long weights",
        above=0,
    )
    sam_rho: float | None = option(
        "sharpness-aware minimisation within this radius, e.g. 0.05; two passes a step", default=None, above=0
    )
    sam_every: int = option("one step in so many uses SAM; the others are plain", default=1, at_least=1)
    seed: int = option("seed of weights, order, augmentation and mixing", default=0, at_least=0, below=2**32)

    def check(self) -> None:
        """Refuse a warm-up longer than the training, and an interval of SAM without SAM."""
        if self.warmup_epochs > self.epochs:
            raise UserError(
                f"warmup_epochs={self.warmup_epochs} must not exceed epochs={self.epochs}: lower one, or raise the "
                "other."
            )

        if self.sam_every > 1 and self.sam_rho is None:
            raise UserError(f"sam_every={self.sam_every} has no effect without SAM: give sam_rho=, e.g. 0.05.")

    def images_per_step(self, processes: int) -> int:
        """Images that one step of the optimiser sees: over all processes and accumulated batches."""
        return self.batch_size * processes * self.grad_accum_steps

    def scaled(self, processes: int) -> "ScheduleOptions":
        """The options with the learning rates that ``lr_base_size`` makes of them; unchanged without it.

        ``lr`` and ``min_lr`` are multiplied alike, so that the schedule keeps its shape. Source: Goyal et al., 2017,
        Accurate, Large Minibatch SGD, section 2.1.
        """
        if self.lr_base_size is None:
            return self
        factor = self.images_per_step(processes) / self.lr_base_size
        return replace(self, lr=self.lr * factor, min_lr=self.min_lr * factor, lr_base_size=None)


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions(OptionGroup):
    """Optimiser and regularisation of a training of whole networks; the second stage has its own."""

    opt: str = option(
        "optimiser, by timm's name; sgd is the published one (no Nesterov)",
        default="sgd",
        decided_by="sgd; in fine-tuning of networks with layer norm, unless --lr is given, adamw",
    )
    ema_decay: float | None = option(
        "export an exponential moving average of the weights, e.g. 0.999", default=None, above=0, below=1
    )
    drop_rate: float = option("dropout before the classifiers", default=0.0, at_least=0, below=1)
    drop_path_rate: float | None = option(
        "stochastic depth", default=None, decided_by="the backbone", at_least=0, below=1
    )
