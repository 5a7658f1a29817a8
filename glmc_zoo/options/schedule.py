"""Options of the schedule and of the optimiser."""

from dataclasses import dataclass, replace

from glmc_zoo.errors import UserError
from glmc_zoo.fields import OptionGroup, option
from glmc_zoo.options.defaults import recipe_text


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions(OptionGroup):
    """Epochs, batch size and learning rate."""

    epochs: int = option("epochs to train", decided_by=recipe_text("epochs"), at_least=1)
    passes: int | None = option(
        "length in passes of the training set through the network, instead of --epochs; two views or SAM double the "
        "passes of an epoch",
        default=None,
        at_least=1,
    )
    batch_size: int = option(
        "images per step and process; the re-balanced batch has as many again",
        decided_by=recipe_text("batch_size"),
        at_least=1,
    )
    lr: float = option("highest learning rate", decided_by=recipe_text("lr"), above=0)
    weight_decay: float = option(
        "weight decay, for every parameter", decided_by=recipe_text("weight_decay"), at_least=0
    )
    warmup_epochs: int = option(
        "epochs of linear warm-up, included in --epochs",
        decided_by=recipe_text("warmup_epochs"),
        at_least=0,
    )
    momentum: float = option("momentum, for optimisers that have one", default=0.9, at_least=0, below=1)
    sched: str = option("learning-rate schedule, by timm's name", default="cosine")
    min_lr: float = option("learning rate at the end of the schedule", default=0.0, at_least=0)
    lr_base_size: int | None = option(
        "images per step that --lr and --min-lr are meant for; both are scaled linearly to the actual number",
        default=None,
        at_least=1,
    )
    grad_accum_steps: int = option("batches whose gradients are averaged for one optimiser step", default=1, at_least=1)
    clip_grad: float | None = option("clip the norm of the gradient to this", default=None, above=0)
    sam_rho: float | None = option(
        "radius of sharpness-aware minimisation (SAM), e.g. 0.05; its steps take two passes", default=None, above=0
    )
    sam_every: int = option("use SAM in one of this many steps", default=1, at_least=1)
    seed: int = option("seed of weights, order, augmentation and mixing", default=0, at_least=0, below=2**32)

    def check(self) -> None:
        """Refuse a warm-up longer than the training, and ``sam_every`` without SAM."""
        if self.warmup_epochs > self.epochs:
            raise UserError(
                f"warmup_epochs={self.warmup_epochs} must not exceed epochs={self.epochs}: lower one, or raise the "
                "other."
            )

        if self.sam_every > 1 and self.sam_rho is None:
            raise UserError(f"sam_every={self.sam_every} has no effect without SAM: give sam_rho=, e.g. 0.05.")

    def images_per_step(self, processes: int) -> int:
        """Images of one optimiser step, over all processes and accumulated batches."""
        return self.batch_size * processes * self.grad_accum_steps

    def scale_rates(self, processes: int) -> "ScheduleOptions":
        """The options with learning rates scaled by ``lr_base_size``; unchanged without it.

        ``lr`` and ``min_lr`` are multiplied alike, so that the schedule keeps its shape. Source: Goyal et al., 2017,
        Accurate, Large Minibatch SGD, section 2.1.
        """
        if self.lr_base_size is None:
            return self
        factor = self.images_per_step(processes) / self.lr_base_size
        return replace(self, lr=self.lr * factor, min_lr=self.min_lr * factor, lr_base_size=None)


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions(OptionGroup):
    """Optimiser and regularisation of a training or fine-tuning; the second stage always uses SGD."""

    opt: str = option("optimiser, by timm's name; sgd, without Nesterov momentum, is the published one", default="sgd")
    ema_decay: float | None = option(
        "export an exponential moving average of the weights, e.g. 0.999", default=None, above=0, below=1
    )
    drop_rate: float = option("dropout before the classifiers", default=0.0, at_least=0, below=1)
    drop_path_rate: float | None = option(
        "stochastic depth", default=None, decided_by="the backbone", at_least=0, below=1
    )
