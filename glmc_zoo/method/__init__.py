"""The algorithm as plain PyTorch on tensors; knows nothing of data sets, files or the Hub."""

from glmc_zoo.method.losses import BalancedSoftmaxLoss, ClassBalancedLoss, GLMCOutput, cumulative_alpha, glmc_loss
from glmc_zoo.method.maxnorm import MaxNorm, tau_normalize
from glmc_zoo.method.mixing import Mix, MixedViews, cut_box, draw_mix, mix_views
from glmc_zoo.method.model import GLMCModel, backbone_config, check_backbone, create_backbone
from glmc_zoo.method.posthoc import adjust_logits, tau_norm_logits
from glmc_zoo.method.sam import SAM
from glmc_zoo.method.task import GLMCTask
from glmc_zoo.method.weights import class_balanced_weights, class_weights, log_prior, sampling_weights

__all__ = [
    "SAM",
    "BalancedSoftmaxLoss",
    "ClassBalancedLoss",
    "GLMCModel",
    "GLMCOutput",
    "GLMCTask",
    "MaxNorm",
    "Mix",
    "MixedViews",
    "adjust_logits",
    "backbone_config",
    "check_backbone",
    "class_balanced_weights",
    "class_weights",
    "create_backbone",
    "cumulative_alpha",
    "cut_box",
    "draw_mix",
    "glmc_loss",
    "log_prior",
    "mix_views",
    "sampling_weights",
    "tau_norm_logits",
    "tau_normalize",
]
