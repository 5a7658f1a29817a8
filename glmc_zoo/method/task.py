"""GLMC as a training task of timm: one call of the wrapped module per step."""

from __future__ import annotations

from typing import Any, Literal

import torch
from timm.task import TrainingTask
from torch import Tensor, nn

from glmc_zoo.method import weights
from glmc_zoo.method.losses import GLMCOutput, Reduction, cumulative_alpha, glmc_loss
from glmc_zoo.method.mixing import Mix, MixedViews, Views, draw_mix, mix_views
from glmc_zoo.method.model import GLMCModel

__all__ = ["GLMCTask", "RebalancedLoss"]

RebalancedLoss = Literal["reweighted", "balanced_softmax"]


class GLMCTask(TrainingTask):
    """Both views through the model and the cumulative loss, in one ``forward``.

    What Accelerate or DDP wraps is the task, so they see a single forward per step. Mixing has no parameters and is
    done before, by `mix`.

    Args:
        model: The model with its heads.
        class_counts: Training images of each class, ``(C,)``.
        epochs: Length ``T`` of the cumulative schedule.
        consistency_weight: gamma of the paper.
        class_weight_power: k in ``n_c ** -k``, the weights of the re-balanced labels.
        rebalanced_loss: ``"reweighted"`` is the published branch, ``"balanced_softmax"`` puts balanced softmax there.
        prior_tau: Of that balanced softmax, see `log_prior`.
        reduction: Cross-entropies of the two views summed (``"sum"``) or halved (``"mean"``).
        beta: Both parameters of the Beta distribution of ``lam``.
        correct_lam: Label the local view by the pasted area in place of the nominal ``lam``.
        sampler_power: q of the sampler that the partners are drawn with; balanced softmax accounts for it.
        cumulative_power: Power of the cumulative schedule; the published one is 2, see `cumulative_alpha`.
        constant_alpha: Share of the conventional loss in every epoch, in place of the cumulative schedule.
        views: What the two views are made by, see `mix_views`.
        joint_views: Both views in one batch through the encoder; another algorithm where there is batch-norm.
        kwargs: ``device``, ``dtype``, ``verbose`` of `timm.task.TrainingTask`.
    """

    class_weights: Tensor
    log_prior: Tensor
    alpha: Tensor

    def __init__(
        self,
        model: GLMCModel,
        *,
        class_counts: list[int],
        epochs: int,
        consistency_weight: float,
        class_weight_power: float = 1.0,
        rebalanced_loss: RebalancedLoss = "reweighted",
        prior_tau: float = 1.0,
        reduction: Reduction = "sum",
        beta: float = 1.0,
        correct_lam: bool = False,
        sampler_power: float = 0.0,
        cumulative_power: float = 2.0,
        constant_alpha: float | None = None,
        views: Views = "mixup_cutmix",
        joint_views: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if len(class_counts) != model.num_classes:
            raise ValueError(f"{len(class_counts)} class counts do not fit a model of {model.num_classes} classes.")
        self.trainable_module = model
        self.epochs, self.cumulative_power, self.constant_alpha = epochs, cumulative_power, constant_alpha
        self.consistency_weight = consistency_weight
        self.rebalanced_loss = rebalanced_loss
        self.reduction: Reduction = reduction
        self.beta, self.correct_lam, self.views, self.joint_views = beta, correct_lam, views, joint_views
        for name, value in (
            ("class_weights", weights.class_weights(class_counts, class_weight_power)),
            ("log_prior", weights.log_prior(class_counts, sampler_power, tau=prior_tau)),
            # A buffer and not a number: a compiled step is then not recompiled when an epoch begins.
            ("alpha", torch.tensor(1.0 if constant_alpha is None else constant_alpha)),
        ):
            self.register_buffer(name, value.to(self.device), persistent=False)

    def set_epoch(self, epoch: int) -> None:
        """Set alpha for ``epoch``, counted from 0; a constant one stays."""
        if self.constant_alpha is not None:
            return
        self.alpha.fill_(cumulative_alpha(epoch, self.epochs, power=self.cumulative_power))

    def compile(  # type: ignore[override]  # the signature is timm's
        self, backend: str = "inductor", mode: str | None = None, **compile_kwargs: Any
    ) -> nn.Module:
        """Compile what the step runs; keys of the state dict stay as they are."""
        model: Any = self.trainable_module
        model.forward_views = torch.compile(model.forward_views, backend=backend, mode=mode, **compile_kwargs)
        return model

    def draw(self, height: int, width: int, generator: torch.Generator | None = None) -> Mix:
        """The `Mix` of one batch; arguments as of `draw_mix`."""
        return draw_mix(height, width, beta=self.beta, generator=generator)

    def mix(
        self,
        first: tuple[Tensor, Tensor],
        second: tuple[Tensor, Tensor],
        targets: Tensor,
        second_targets: Tensor,
        generator: torch.Generator | None = None,
        *,
        mix: Mix | None = None,
    ) -> MixedViews:
        """Apply ``mix`` to the batch, or one that is drawn for it; arguments as of `mix_views`."""
        if mix is None:
            height, width = first[0].shape[-2:]
            mix = self.draw(height, width, generator)
        return mix_views(
            first,
            second,
            targets,
            second_targets,
            mix,
            num_classes=self.trainable_module.num_classes,
            class_weights=self.class_weights,
            correct_lam=self.correct_lam,
            views=self.views,
        )

    def forward(self, input: MixedViews) -> dict[str, Tensor]:  # type: ignore[override]  # the targets are inside
        """Loss of one step.

        Returns:
            ``loss`` and its terms ``conventional``, ``rebalanced``, ``consistency`` (0-d), and ``output``, the
            re-balanced logits of the global view ``(B, C)``.
        """
        outputs: tuple[GLMCOutput, GLMCOutput] = self.trainable_module.forward_views(
            input.global_images, input.local_images, joint=self.joint_views
        )
        terms = glmc_loss(
            *outputs,
            input,
            alpha=self.alpha,
            consistency_weight=self.consistency_weight,
            reduction=self.reduction,
            log_prior=self.log_prior if self.rebalanced_loss == "balanced_softmax" else None,
        )
        return {**terms, "output": outputs[0].balanced_logits}
