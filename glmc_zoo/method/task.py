"""GLMC and the baselines as training tasks of timm: one call of the wrapped module per step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from timm.task import ClassificationTask, TrainingTask
from torch import Tensor, nn

from glmc_zoo.errors import UserError
from glmc_zoo.method import weights
from glmc_zoo.method.losses import GLMCOutput, at_least_float32, check_loss, cumulative_alpha, glmc_loss, one_view_loss
from glmc_zoo.method.mixing import Mix, MixedBatch, MixedViews, draw_mix, mix_batch, mix_views, partner_share
from glmc_zoo.method.model import GLMCModel, check_backbone
from glmc_zoo.method.registry import get_loss, get_registered, get_sampler, loss_names, register_method
from glmc_zoo.method.switches import GLMCSwitches, MethodSetup

Criterion = Callable[[Tensor, Tensor], Tensor]


class LossTask(ClassificationTask):
    """timm's classification task with a registered loss, whose ``set_epoch`` is called; see `register_loss`."""

    def __init__(self, model: nn.Module, criterion: Criterion, epochs: int, *, name: str | None = None) -> None:
        super().__init__(model, criterion=criterion, verbose=False)
        self.epochs, self.loss_name = epochs, name or type(criterion).__name__

    def set_epoch(self, epoch: int) -> None:
        """Tell the loss which epoch, counted from 0, begins."""
        _begin_epoch(self.criterion, epoch, self.epochs)

    def forward(self, input: Tensor, target: Tensor) -> dict[str, Tensor]:
        """``loss``, computed in float32 at least, and ``output``, the logits ``(B, C)``."""
        output = self.trainable_module(input)
        loss = check_loss(f"The loss {self.loss_name!r}", self.criterion(at_least_float32(output), target))
        return {"loss": loss, "output": output}


class MixedLossTask(LossTask):
    """`LossTask` on one mixed view a step: the partners of a batch are its own images in reverse order.

    The partners keep the class frequencies of the batch, so a loss needs no other prior.
    """

    def __init__(
        self, model: nn.Module, criterion: Criterion, epochs: int, num_classes: int, switches: GLMCSwitches, *,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(model, criterion, epochs, name=name)
        self.num_classes, self.switches, self._unmixed = num_classes, switches, False
        _check_mixed_labels(criterion, num_classes, epochs, f"views={switches.views!r}", "leave views= out, or ")

    def set_epoch(self, epoch: int) -> None:
        """Tell loss and mixing which epoch, counted from 0, begins."""
        super().set_epoch(epoch)
        self._unmixed = _mixing_is_off(self.switches, epoch, self.epochs)

    def draw(
        self, height: int, width: int, generator: torch.Generator | None = None, *, step: int | None = None
    ) -> Mix:
        """The `Mix` of the training's batch number ``step``, counted from 0; see `GLMCTask.draw`."""
        return _draw(self.switches, (height, width), generator, step, unmixed=self._unmixed)

    def mix(
        self, first: tuple[Tensor], second: tuple[Tensor], targets: Tensor, second_targets: Tensor, *, mix: Mix
    ) -> MixedBatch:
        """Mix the batch with its partners; for the arguments see `mix_batch`."""
        return mix_batch(
            *first, *second, targets, second_targets, mix,
            num_classes=self.num_classes, correct_lam=self.switches.correct_lam,
        )  # fmt: skip

    def forward(self, input: MixedBatch) -> dict[str, Tensor]:  # type: ignore[override]  # the targets are inside
        """``loss`` and ``output``, the logits ``(B, C)``."""
        result: dict[str, Tensor] = super().forward(input.images, input.labels)
        return result


class GLMCTask(TrainingTask):
    """The views of a step through the model and the cumulative loss, in one ``forward``.

    A step has two views with a consistency loss between them, or one view if the switch ``views`` is ``alternate``.
    Accelerate or DDP wraps the task and sees one forward call a step. Mixing has no parameters; `mix` does it before.

    Args:
        model: With projection and prediction if there are two views.
        class_counts: Training images of each class, ``C`` numbers.
        epochs: Length of the cumulative schedule.
        switches: Switches of GLMC. ``views`` must be neither ``none`` nor ``auto``, which the options of a training
            resolve by its length.
        kwargs: Passed to `timm.task.TrainingTask`.

    Raises:
        ValueError: The class counts or ``views`` do not fit the model.
        UserError: The loss of the re-balanced branch refuses mixed labels.
    """

    class_weights: Tensor
    log_prior: Tensor
    alpha: Tensor
    criterion: Criterion | None

    def __init__(
        self, model: GLMCModel, *, class_counts: list[int], epochs: int, switches: GLMCSwitches, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if len(class_counts) != model.num_classes:
            raise ValueError(f"{len(class_counts)} class counts do not fit a model of {model.num_classes} classes.")
        if switches.views == "auto":
            raise ValueError(
                "views='auto' is decided by the length of a training: give views='alternate' for one view a step, or "
                "views='mixup_cutmix' for two."
            )
        if switches.views == "none" or (switches.two_views and not hasattr(model, "projector")):
            raise ValueError(f"A model without consistency=True and views={switches.views!r} do not make GLMC.")
        self.trainable_module = model
        self.epochs, self.switches = epochs, switches
        self.criterion = None
        if switches.rebalanced_loss not in ("reweighted", "balanced_softmax"):
            self.criterion = _make_criterion(switches.rebalanced_loss, class_counts, switches, switches.sampler_power)
            _check_mixed_labels(self.criterion, len(class_counts), epochs, "GLMC", "")
            if isinstance(self.criterion, nn.Module):
                self.criterion.to(self.device)
        self._unmixed = False
        self._mixed_prior = _mixed_prior(class_counts, switches)
        self._plain_prior = weights.log_prior(class_counts, tau=switches.prior_tau)
        alpha = 1.0 if switches.constant_alpha is None else switches.constant_alpha
        for name, value in (
            ("class_weights", weights.class_weights(class_counts, switches.class_weight_power)),
            ("log_prior", self._mixed_prior.clone()),
            # A buffer and not a number: a compiled step is then not recompiled when an epoch begins.
            ("alpha", torch.tensor(alpha)),
        ):
            self.register_buffer(name, value.to(self.device), persistent=False)

    def set_epoch(self, epoch: int) -> None:
        """Set alpha, mixing and its prior for ``epoch``, counted from 0."""
        self._unmixed = _mixing_is_off(self.switches, epoch, self.epochs)
        self.log_prior.copy_(self._plain_prior if self._unmixed else self._mixed_prior)
        if self.switches.constant_alpha is None:
            self.alpha.fill_(cumulative_alpha(epoch, self.epochs, power=self.switches.cumulative_power))
        _begin_epoch(self.criterion, epoch, self.epochs)

    def compile(self, backend: str = "inductor", mode: str | None = None, **kwargs: Any) -> nn.Module:  # type: ignore[override]
        """Compile what the step runs; keys of the state dict stay as they are."""
        model: GLMCModel = self.trainable_module
        name = "forward_views" if self.switches.two_views else "forward_view"
        setattr(model, name, torch.compile(getattr(model, name), backend=backend, mode=mode, **kwargs))
        return model

    def draw(
        self, height: int, width: int, generator: torch.Generator | None = None, *, step: int | None = None
    ) -> Mix:
        """The `Mix` of the training's batch number ``step``, counted from 0; see `draw_mix`.

        In the last ``mix_off_epochs`` it leaves the views unmixed.

        Raises:
            ValueError: ``views`` is ``alternate``, and ``step`` is missing, whose parity chooses MixUp or CutMix.
        """
        return _draw(self.switches, (height, width), generator, step, unmixed=self._unmixed)

    def mix(
        self,
        first: tuple[Tensor, ...],
        second: tuple[Tensor, ...],
        targets: Tensor,
        second_targets: Tensor,
        generator: torch.Generator | None = None,
        *,
        mix: Mix | None = None,
        step: int | None = None,
    ) -> MixedViews | MixedBatch:
        """Apply ``mix``, or one that `draw` makes for ``step``; for the arguments see `mix_views` and `mix_batch`."""
        mix = mix or self.draw(first[0].shape[-2], first[0].shape[-1], generator, step=step)
        settings: dict[str, Any] = {
            "num_classes": self.trainable_module.num_classes,
            "class_weights": self.class_weights,
            "correct_lam": self.switches.correct_lam,
        }
        if not self.switches.two_views:
            return mix_batch(first[0], second[0], targets, second_targets, mix, **settings)
        views: Any = self.switches.views
        batches = (first[0], first[1]), (second[0], second[1])
        return mix_views(*batches, targets, second_targets, mix, views=views, **settings)

    def forward(  # type: ignore[override]  # the targets are inside
        self, input: MixedViews | MixedBatch
    ) -> dict[str, Tensor]:
        """Results of `glmc_loss` or `one_view_loss`, and ``output``: the re-balanced logits ``(B, C)`` of a view.

        With two views they are those of the global one.
        """
        log_prior = self.log_prior if self.switches.rebalanced_loss == "balanced_softmax" else None
        criterion = None if self.criterion is None else self._checked_criterion
        if isinstance(input, MixedBatch):
            logits = self.trainable_module.forward_view(input.images)
            terms = one_view_loss(*logits, input, alpha=self.alpha, log_prior=log_prior, criterion=criterion)
            return {**terms, "output": logits[1]}
        outputs: tuple[GLMCOutput, GLMCOutput] = self.trainable_module.forward_views(
            input.global_images, input.local_images, joint=self.switches.joint_views
        )
        terms = glmc_loss(
            *outputs,
            input,
            alpha=self.alpha,
            consistency_weight=self.switches.consistency_weight,
            reduction=self.switches.reduction,
            log_prior=log_prior,
            criterion=criterion,
        )
        return {**terms, "output": outputs[0].balanced_logits}

    def _checked_criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        assert self.criterion is not None
        return check_loss(f"The loss {self.switches.rebalanced_loss!r}", self.criterion(logits, labels))


def _make_criterion(name: str, class_counts: list[int], switches: GLMCSwitches, sampler_power: float) -> Criterion:
    keywords = {"prior_tau": switches.prior_tau, "class_weight_power": switches.class_weight_power}
    requirement = f"The loss {name!r} must return a function of logits and target when it is called with class_counts"
    try:
        criterion = get_loss(name)(class_counts, sampler_power=sampler_power, **keywords)
    except TypeError as error:
        raise UserError(f"{requirement}, and the call fails ({error}): correct it.") from error
    if not callable(criterion):
        raise UserError(f"{requirement}, and it returns {type(criterion).__name__}: correct it.")
    return criterion


def _check_mixed_labels(criterion: Criterion, num_classes: int, epochs: int, mixed_by: str, other_way: str) -> None:
    """A `UserError` if the loss refuses class probabilities ``(B, C)``; ``mixed_by`` says what mixes the labels."""
    _begin_epoch(criterion, 0, epochs)  # a loss may need it before its first call
    try:
        criterion(torch.zeros(2, num_classes), torch.full((2, num_classes), 1 / num_classes))
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{mixed_by} mixes labels, and the loss refuses class probabilities ({error}): {other_way}let the loss "
            "accept probabilities (B, C) too."
        ) from error


def _mixing_is_off(switches: GLMCSwitches, epoch: int, epochs: int) -> bool:
    return epoch >= epochs - (switches.mix_off_epochs or 0)


def _draw(
    switches: GLMCSwitches, size: tuple[int, int], generator: torch.Generator | None, step: int | None, *, unmixed: bool
) -> Mix:
    cutmix = switches.views == "cutmix"
    if switches.views == "alternate":
        if step is None:
            raise ValueError("views='alternate' takes MixUp and CutMix in turn: give step=, the number of the batch.")
        cutmix = step % 2 == 1
    share = switches.unmixed_share
    # With a share of 0 no random number is used, so that the published settings keep their random numbers.
    if unmixed or (share > 0 and float(torch.rand((), generator=generator)) < share):
        return Mix(1.0, (0, 0, 0, 0), size)
    mix = draw_mix(*size, beta=switches.beta, generator=generator)
    return mix._replace(kind="cutmix") if cutmix else mix


def _begin_epoch(criterion: Any, epoch: int, epochs: int) -> None:
    if hasattr(criterion, "set_epoch"):
        criterion.set_epoch(epoch, epochs)


def _mixed_prior(class_counts: list[int], switches: GLMCSwitches) -> Tensor:
    """Log frequencies of the plainly shuffled images and of their partners together, ``(C,)``."""
    share = partner_share(
        switches.views, switches.beta, correct_lam=switches.correct_lam, unmixed_share=switches.unmixed_share
    )
    if switches.sampler == "power":
        return weights.log_prior(class_counts, switches.sampler_power, tau=switches.prior_tau, share=share)
    labels = torch.repeat_interleave(torch.arange(len(class_counts)), torch.tensor(class_counts))
    sample_weights = get_sampler(switches.sampler)(labels, class_counts, sampler_power=switches.sampler_power)
    sampled_counts = torch.bincount(labels, weights=sample_weights.double(), minlength=len(class_counts))
    return weights.log_prior(class_counts, tau=switches.prior_tau, sampled_counts=sampled_counts, share=share)


@register_method("glmc", views=2, partners=True)
def build_glmc(setup: MethodSetup) -> GLMCTask:
    """GLMC with the switches of ``setup``."""
    counts, switches, size = setup.class_counts, setup.switches, setup.image_size
    model = GLMCModel(
        setup.make_backbone(),
        len(counts),
        projection_dim=switches.projection_dim,
        consistency=switches.two_views,
        image_size=size,
    )
    return GLMCTask(model, class_counts=counts, epochs=setup.epochs, switches=switches, verbose=False)


def _build_baseline(loss: str, setup: MethodSetup) -> LossTask:
    """The backbone alone with the loss of this name."""
    model = setup.make_backbone()
    check_backbone(model, setup.image_size)
    switches = setup.switches
    criterion = _make_criterion(loss, setup.class_counts, switches, sampler_power=0.0)  # no re-balanced partners
    if switches.mixes_baseline:
        return MixedLossTask(model, criterion, setup.epochs, len(setup.class_counts), switches, name=loss)
    return LossTask(model, criterion, setup.epochs, name=loss)


@dataclass(frozen=True)
class Method:
    """A method by name; the fields are the arguments of `register_method`, and ``build`` makes the task."""

    name: str
    title: str | None
    build: Callable[[MethodSetup], TrainingTask]
    views: int = 1
    partners: bool = False

    def num_views(self, switches: GLMCSwitches) -> int:
        """Views of each image in a step; GLMC has two unless its switches ask for one."""
        return 1 if self.name == "glmc" and not switches.two_views else self.views


def get_method(name: str) -> Method:
    """The method, or the baseline of the loss, of this name; a `UserError` where it is unknown.

    Its ``build`` raises a `UserError` where the registered function does not return the task that was promised.
    """
    entry = get_registered(name)

    def build(setup: MethodSetup) -> TrainingTask:
        task = _build_baseline(name, setup) if name in loss_names() else entry.function(setup)
        if not isinstance(task, TrainingTask):
            raise UserError(f"method={name!r} built a {type(task).__name__}: return a timm.task.TrainingTask.")
        if entry.partners and not (hasattr(task, "draw") and hasattr(task, "mix")):
            raise UserError(f"method={name!r} asks for partners: give its task draw() and mix(), as GLMCTask has.")
        return task

    return Method(name, entry.title, build, entry.views, entry.partners)
