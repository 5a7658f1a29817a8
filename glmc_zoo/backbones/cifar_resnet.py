"""ResNets for CIFAR: narrow (16, 32 and 64 channels), and four times as wide.

Paper: `Deep Residual Learning for Image Recognition` - https://arxiv.org/abs/1512.03385, section 4.2

These networks are for 32 x 32 images. They have a 3 x 3 stem that keeps the resolution, three stages of basic blocks,
and shortcuts without parameters ("option A"). The published CIFAR results of GLMC (https://arxiv.org/abs/2305.08661)
are from ``resnet32x4_cifar``, which has 7.4 M parameters. The ResNet-32 of most long-tail papers has 0.46 M. Their
results are not comparable, so the width is part of the name.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from timm.layers.classifier import create_classifier
from timm.layers.create_act import get_act_layer
from timm.layers.create_norm import get_norm_layer
from timm.layers.typing import LayerType
from timm.models import build_model_with_cfg, checkpoint_seq, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from timm.models.resnet import BasicBlock
from torch import nn

from glmc_zoo.backbones.published import published_cfgs
from glmc_zoo.errors import UserError

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)

_F = TypeVar("_F", bound=Callable[..., Any])
_ignored_by_torchscript: Callable[[_F], _F] = torch.jit.ignore  # torch gives it no type


class PadShortcut(nn.Module):
    """Shortcut without parameters: it keeps every ``stride``-th pixel and adds zero channels, half on each side.

    Option A of He et al. (2016), section 4.1.
    """

    def __init__(self, in_chs: int, out_chs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.pad_before = (out_chs - in_chs) // 2
        self.pad_after = out_chs - in_chs - self.pad_before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, in_chs, H, W) to (B, out_chs, ceil(H / stride), ceil(W / stride))."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad_before, self.pad_after))

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"stride={self.stride}, pad=({self.pad_before}, {self.pad_after})"


class CifarResNet(nn.Module):
    """ResNet for small images (He et al. 2016, section 4.2), with timm's model interface.

    Args:
        depth: Number of weighted layers, 6n + 2 for n blocks in each of the three stages.
        width: Channels of the stem and the first stage; the second and third stage have two and four times as many.
        num_classes, in_chans, drop_rate, act_layer, norm_layer: As in timm; with 0 classes there is no classifier.
        global_pool: Pooling before the classifier, as in timm: 'avg', 'max', 'avgmax', 'catavgmax' or '' for none.
        dd: ``device`` and ``dtype`` of the parameters, as in timm.

    Raises:
        UserError: ``depth`` is not 6n + 2 with n >= 1, or ``width`` is below 1.
    """

    def __init__(
        self,
        depth: int = 32,
        width: int = 16,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        act_layer: LayerType = nn.ReLU,
        norm_layer: LayerType = nn.BatchNorm2d,
        drop_rate: float = 0.0,
        **dd: Any,
    ) -> None:
        super().__init__()
        unknown = next((name for name in dd if name not in ("device", "dtype")), None)
        if unknown is not None:  # else a layer would raise it, and name itself in the error
            raise TypeError(f"CifarResNet.__init__() got an unexpected keyword argument {unknown!r}")
        num_blocks, remainder = divmod(depth - 2, 6)
        if remainder or num_blocks < 1:
            raise UserError(f"depth={depth} does not fit a CIFAR ResNet: give 6n + 2, such as 20, 32, 44, 56 or 110.")
        if width < 1:
            raise UserError(f"width={width} does not fit a CIFAR ResNet: give 1 or more channels, such as 16 or 64.")
        layers = {"act_layer": get_act_layer(act_layer), "norm_layer": get_norm_layer(norm_layer)}
        self.num_classes, self.in_chans, self.drop_rate = num_classes, in_chans, drop_rate
        self.grad_checkpointing = False

        self.conv1 = nn.Conv2d(in_chans, width, 3, padding=1, bias=False, **dd)
        self.bn1 = layers["norm_layer"](width, **dd)
        self.act1 = layers["act_layer"](inplace=True)
        self.layer1 = _make_stage(num_blocks, width, width, stride=1, **layers, **dd)
        self.layer2 = _make_stage(num_blocks, width, 2 * width, stride=2, **layers, **dd)
        self.layer3 = _make_stage(num_blocks, 2 * width, 4 * width, stride=2, **layers, **dd)
        self.feature_info: Any = [
            {"num_chs": width, "reduction": 1, "module": "act1"},
            {"num_chs": width, "reduction": 1, "module": "layer1"},
            {"num_chs": 2 * width, "reduction": 2, "module": "layer2"},
            {"num_chs": 4 * width, "reduction": 4, "module": "layer3"},
        ]

        self.num_features = 4 * width
        self.global_pool, self.head_drop, self.fc = create_classifier(
            self.num_features, num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd
        )
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()
        self.init_weights()

    @_ignored_by_torchscript
    def init_weights(self) -> None:
        """Initialise every convolution and the classifier with Kaiming-normal weights (fan in, gain sqrt 2)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        self.init_head(self.fc)

    @_ignored_by_torchscript
    def init_head(self, module: nn.Module) -> None:
        """Initialise each ``nn.Linear`` of ``module`` like the classifier: Kaiming-normal weights, biases of 0."""
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    @_ignored_by_torchscript
    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return regular expressions that group parameters by stage if ``coarse``, else by block."""
        return {"stem": r"^(?:conv1|bn1)", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}

    @_ignored_by_torchscript
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Switch gradient checkpointing of the blocks on or off."""
        self.grad_checkpointing = enable

    @_ignored_by_torchscript
    def get_classifier(self, name_only: bool = False) -> str | nn.Module:
        """Return the classifier, or its name."""
        return "fc" if name_only else self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a newly initialised one. ``global_pool=None`` keeps the pooling."""
        self.num_classes = num_classes
        self.global_pool, self.fc = create_classifier(
            self.num_features,
            num_classes,
            pool_type=self.global_pool.pool_type if global_pool is None else global_pool,
            device=self.conv1.weight.device,
            dtype=self.conv1.weight.dtype,
        )
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()
        self.init_head(self.fc)
        self.global_pool.train(self.training)
        self.fc.train(self.training)

    @_ignored_by_torchscript
    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """Run the network without its head and return the outputs of the stem (0) and of the stages (1 to 3).

        The arguments are those of timm. ``indices`` selects the outputs: the last n if it is an int, all if it is None.
        ``norm`` has no effect, because each output is normalised already.

        Returns:
            The final features (B, num_features, H / 4, W / 4) and the list of outputs, or only that list.

        Raises:
            UserError: ``output_fmt`` is not 'NCHW'.
        """
        if output_fmt != "NCHW":
            raise UserError(f"output_fmt={output_fmt!r} is not available for a CIFAR ResNet: use 'NCHW'.")
        take_indices, max_index = feature_take_indices(len(self.feature_info), indices)
        intermediates = []
        x = self.act1(self.bn1(self.conv1(x)))
        if 0 in take_indices:
            intermediates.append(x)
        for index, stage in enumerate((self.layer1, self.layer2, self.layer3), start=1):
            if stop_early and index > max_index:
                break
            x = checkpoint_seq(stage, x) if self.grad_checkpointing else stage(x)
            if index in take_indices:
                intermediates.append(x)
        return intermediates if intermediates_only else (x, intermediates)

    @_ignored_by_torchscript
    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages that ``forward_intermediates`` with these ``indices`` does not need.

        ``prune_head`` removes the head, too. If a stage is removed, the head is removed in any case, because it no
        longer fits. ``prune_norm`` has no effect. Returns the indices of the outputs, counted from the front.
        """
        take_indices, max_index = feature_take_indices(len(self.feature_info), indices)
        for info in self.feature_info[max_index + 1 :]:
            setattr(self, info["module"], nn.Sequential())
        self.num_features = self.feature_info[max_index]["num_chs"]
        if prune_head or max_index + 1 < len(self.feature_info):
            self.reset_classifier(0, "")
        return take_indices

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Map images (B, in_chans, H, W) to features (B, num_features, ceil(H / 4), ceil(W / 4))."""
        x = self.act1(self.bn1(self.conv1(x)))
        if self.grad_checkpointing and not torch.jit.is_scripting():
            return checkpoint_seq([self.layer1, self.layer2, self.layer3], x, flatten=True)  # type: ignore[no-any-return]
        return self.layer3(self.layer2(self.layer1(x)))  # type: ignore[no-any-return]

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Map features to logits (B, num_classes), or to the classifier's input (B, head_hidden_size)."""
        x = self.head_drop(self.global_pool(x))
        return x if pre_logits else self.fc(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images (B, in_chans, H, W) to logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


def _make_stage(num_blocks: int, in_chs: int, out_chs: int, stride: int, **kwargs: Any) -> nn.Sequential:
    shortcut = PadShortcut(in_chs, out_chs, stride) if stride > 1 else None
    first = BasicBlock(in_chs, out_chs, stride, shortcut, **kwargs)
    return nn.Sequential(first, *(BasicBlock(out_chs, out_chs, **kwargs) for _ in range(num_blocks - 1)))


_CFG: dict[str, Any] = {
    "num_classes": 10,
    "input_size": (3, 32, 32),
    "pool_size": (8, 8),
    "crop_pct": 1.0,
    "interpolation": "bicubic",
    "mean": CIFAR10_MEAN,
    "std": CIFAR10_STD,
    "first_conv": "conv1",
    "classifier": "fc",
    "license": "apache-2.0",
}
default_cfgs = generate_default_cfgs(
    {name: dict(_CFG) for name in ("resnet20_cifar", "resnet32_cifar", "resnet56_cifar", "resnet32x4_cifar")}
)
# Added afterwards, so that a name without a tag has no weights. Otherwise it would mean one of these models.
for _name, _tag, _cfg in published_cfgs():
    if _name in default_cfgs:
        default_cfgs[_name].tags.append(_tag)
        default_cfgs[_name].cfgs[_tag] = _cfg


def _create_cifar_resnet(variant: str, pretrained: bool, **kwargs: Any) -> CifarResNet:
    return build_model_with_cfg(CifarResNet, variant, pretrained, feature_cfg={"out_indices": (0, 1, 2, 3)}, **kwargs)


@register_model
def resnet20_cifar(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-20 for CIFAR, 0.27 M parameters."""
    return _create_cifar_resnet("resnet20_cifar", pretrained, **{"depth": 20, "width": 16, **kwargs})


@register_model
def resnet32_cifar(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-32 for CIFAR, 0.46 M parameters."""
    return _create_cifar_resnet("resnet32_cifar", pretrained, **{"depth": 32, "width": 16, **kwargs})


@register_model
def resnet56_cifar(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-56 for CIFAR, 0.85 M parameters."""
    return _create_cifar_resnet("resnet56_cifar", pretrained, **{"depth": 56, "width": 16, **kwargs})


@register_model
def resnet32x4_cifar(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-32 for CIFAR, four times as wide, 7.4 M parameters."""
    return _create_cifar_resnet("resnet32x4_cifar", pretrained, **{"depth": 32, "width": 64, **kwargs})
