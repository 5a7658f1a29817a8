"""Any timm model with GLMC's training heads around it (GLMC, section 3.2)."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm
import torch
from timm.models import get_model_input_config
from timm.models._hub import load_model_config_from_hf, load_model_config_from_path
from torch import Tensor, nn

from glmc_zoo.building import outside_failures, reach_hub, reach_weights
from glmc_zoo.errors import UserError, did_you_mean
from glmc_zoo.method.losses import GLMCOutput
from glmc_zoo.text import counted


class UnsuitableClassifier(UserError):
    """The logits of a model are not one linear layer on its features."""


def backbone_config(backbone: str) -> dict[str, Any]:
    """timm's configuration of a model name: ``input_size``, ``mean``, ``std``, ``interpolation`` and so on.

    For a name with a source prefix (``hf-hub:org/name``, ``local-dir:folder``) the ``config.json`` there is read. What
    it leaves out has timm's default, as in a model that timm builds from it.

    Raises:
        UserError: timm does not know the name or its tag, or the prefixed source cannot be read.
    """
    try:
        source, name = timm.models.parse_model_name(backbone)
    except ValueError as error:
        raise UserError(f"Backbone {backbone!r} is not a model name of timm: {error}") from error
    if source is not None:
        try:
            if source == "local-dir":
                return _with_defaults(load_model_config_from_path(name)[0])
            with outside_failures(f"Backbone {backbone!r}", smaller="another", weights_of=repr(backbone)):
                reach_hub(name, ["config.json"])
                return _with_defaults(load_model_config_from_hf(name)[0])
        except UserError:
            raise
        except (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"Backbone {backbone!r} cannot be read: {reason}; check the name and network.") from error
    if not timm.is_model(backbone):
        suggestion = did_you_mean(backbone, timm.list_models())
        raise UserError(f"Unknown backbone {backbone!r}: it must be one of timm.list_models().{suggestion}")
    try:
        config = timm.models.get_pretrained_cfg(backbone, allow_unregistered=False)
        return _with_defaults({} if config is None else config.to_dict())
    except RuntimeError as error:
        architecture, _, tag = backbone.partition(".")
        if not tag:
            raise UserError(
                f"Backbone {backbone!r} has no configuration in timm: define default_cfgs with timm's "
                "generate_default_cfgs in the file that registers it, above the function."
            ) from error
        raise UserError(
            f"Backbone {backbone!r} has an unknown pretrained tag {tag!r}; leave it out, or give one of "
            f"timm.list_pretrained({architecture + '*'!r})."
        ) from error


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with timm's defaults for values that are missing or null."""
    given = {name: value for name, value in config.items() if value is not None}
    return dict(timm.models.PretrainedCfg().to_dict()) | given


def native_size(model: Any) -> int:
    """Side in pixels of the images that timm's configuration of a built model names."""
    return int(_with_defaults(model.default_cfg)["input_size"][-1])


def create_backbone(
    backbone: str,
    num_classes: int,
    *,
    pretrained: bool = False,
    image_size: int | None = None,
    **timm_kwargs: Any,
) -> nn.Module:
    """A timm model with a fresh classifier, built for square images of ``image_size`` pixels.

    Models whose weights depend on the image size (transformers, mixers) get timm's ``img_size``; the others take images
    of any size. Names with a source prefix (``hf-hub:org/name``, ``local-dir:folder``) go to timm unchanged.

    Raises:
        UserError: The name is unknown, pretrained weights do not exist or cannot be downloaded, the memory is full, a
            package is missing, or the model refuses the size or an option.
    """
    config = backbone_config(backbone)
    if config.get("fixed_input_size") and image_size is not None:
        timm_kwargs.setdefault("img_size", image_size)
    subject, random_weights = f"Backbone {backbone!r}", "start from random weights with pretrained=False"
    try:
        with outside_failures(
            subject, smaller="a smaller network", weights_of=repr(backbone), without_weights=random_weights
        ):
            if pretrained:
                reach_weights(config, timm_kwargs)
            return timm.create_model(backbone, pretrained=pretrained, num_classes=num_classes, **timm_kwargs)
    except UserError:
        raise
    except TypeError as error:
        if "img_size" in str(error) and timm_kwargs.pop("img_size", None) is not None:
            return create_backbone(backbone, num_classes, pretrained=pretrained, **timm_kwargs)
        if "unexpected keyword argument" not in str(error):
            raise _not_built(backbone, timm_kwargs.get("img_size"), error) from error
        raise UserError(
            f"Backbone {backbone!r} does not take one of these arguments ({error}): leave it out."
        ) from error
    except (ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RuntimeError, ValueError) as error:
        raise _not_built(backbone, timm_kwargs.get("img_size"), error) from error


def _not_built(backbone: str, image_size: int | None, error: Exception) -> UserError:
    """The error of a network that timm refuses to build; ``image_size`` where timm was given one."""
    reason = " ".join(str(error).split()) or type(error).__name__
    size = f" for images of {image_size} pixels" if image_size else ""
    return UserError(f"Backbone {backbone!r} cannot be built{size}: {reason}")


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a block; afterwards each of its modules has the mode that it had before.

    ``model.train(mode)`` would give all modules one mode, also those that the user had frozen by ``eval()``.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def check_backbone(model: Any, image_size: int) -> None:
    """Refuse a model that is not timm's or that cannot have GLMC's heads, before any training.

    The heads read ``forward_head(forward_features(x), pre_logits=True)``. The model's own classifier must be one linear
    layer that turns these features into the model's output. Otherwise the exported timm model, whose ``forward`` stays
    as it is, would not use the trained classifier. The training mode of each module and the random number generators
    are left as they were.

    Raises:
        UnsuitableClassifier: The model cannot have GLMC's heads.
        UserError: The model is not timm's or refuses square images of ``image_size`` pixels, or the memory is full.
    """
    if not hasattr(model, "default_cfg"):
        raise UserError(
            f"Backbone {type(model).__name__!r} is not a timm model: give one that timm.create_model made, or a name."
        )
    name = model.default_cfg.get("architecture", type(model).__name__)
    classifier = model.get_classifier()
    if not isinstance(classifier, nn.Linear):
        head, alternative = type(classifier).__name__, ""
        if isinstance(classifier, tuple):
            head, alternative = f"{len(classifier)} classifiers", "a variant without distillation or "
        raise UnsuitableClassifier(
            f"Backbone {name!r} cannot carry the heads of GLMC: get_classifier() gives {head} where one linear layer "
            f"is needed; choose {alternative}another family."
        )
    subject = f"Backbone {name!r} for images of {image_size} x {image_size} pixels"
    try:
        with evaluation_mode(model), outside_failures(subject, smaller="a smaller image_size="):
            matches = _logits_are_linear(model, classifier, image_size)
    except UserError:
        raise
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        # timm's registered size. The model's own configuration holds ``image_size``, which has just failed.
        size = native_size(model)
        example = "" if size == image_size else f", such as its native {size}"
        raise UserError(
            f"Backbone {name!r} refuses images of {image_size} x {image_size} pixels ({reason}): "
            f"give an image_size= that it accepts{example}."
        ) from error
    if not matches:
        raise UnsuitableClassifier(
            f"Backbone {name!r} cannot carry the heads of GLMC: its classifier on forward_head(..., pre_logits=True) "
            "does not give the output of the model, so the exported model would not use the trained classifier; choose "
            "another family."
        )


def _logits_are_linear(model: Any, classifier: nn.Linear, image_size: int) -> bool:
    """Whether the classifier, applied to the features of two artificial images, gives the output of the model."""
    channels = get_model_input_config(model)["input_size"][0]
    # A fixed pattern rather than random numbers: the check must not advance the global generator.
    images = torch.linspace(-1, 1, 2 * channels * image_size**2).reshape(2, channels, image_size, image_size)
    images = images.to(next(model.parameters()))
    expected = model(images)
    pre_logits = model.forward_head(model.forward_features(images), pre_logits=True)
    return (
        pre_logits.ndim == 2
        and pre_logits.shape[1] == classifier.in_features
        and torch.allclose(classifier(pre_logits), expected, rtol=1e-4, atol=1e-5)
    )


class GLMCModel(nn.Module):
    """A whole timm model with the three heads that GLMC adds for training.

    timm's own classifier is the re-balanced one, the only one used at inference, so `timm_model` is exported as it is.
    The wrapper adds the conventional classifier, the projection ``Linear(d, p)`` and the prediction ``Linear(p, p)``
    (biases, no norm, no activation).

    Args:
        backbone: Name of a timm model, or a timm model with a classifier.
        num_classes: Number of classes ``C``.
        projection_dim: ``p``; by default 128 for networks for images of up to 32 pixels, else 256.
        consistency: Whether to add projection and prediction; without them only `forward_view` can be called.
        pretrained: Start from timm's pretrained weights, with a new classifier.
        image_size: Side of the square images in pixels; by default the backbone's native size.
        timm_kwargs: Passed to ``timm.create_model``.

    Raises:
        UserError: See `create_backbone` and `check_backbone`; or the backbone has another number of classes.
    """

    timm_model: Any

    def __init__(
        self,
        backbone: str | nn.Module,
        num_classes: int,
        *,
        projection_dim: int | None = None,
        consistency: bool = True,
        pretrained: bool = False,
        image_size: int | None = None,
        **timm_kwargs: Any,
    ) -> None:
        super().__init__()
        if isinstance(backbone, str):
            image_size = image_size if image_size is not None else timm_kwargs.get("img_size")
            backbone = create_backbone(
                backbone, num_classes, pretrained=pretrained, image_size=image_size, **timm_kwargs
            )
        elif timm_kwargs or pretrained:
            warnings.warn("A model that is already built takes no pretrained or timm arguments.", stacklevel=2)
        model: Any = backbone  # to a type checker every attribute of a module may be a tensor
        classes = getattr(model, "num_classes", num_classes)
        if classes != num_classes:
            raise UserError(
                f"The backbone has {counted(classes, 'class')}, not num_classes={num_classes}; "
                f"call reset_classifier({num_classes}) on it first."
            )
        check_backbone(model, image_size or get_model_input_config(model)["input_size"][-1])
        self.timm_model = model
        self.num_classes = num_classes
        width = model.get_classifier().in_features
        dim = projection_dim or (128 if native_size(model) <= 32 else 256)
        self.conventional_classifier = nn.Linear(width, num_classes)
        if consistency:
            self.projector = nn.Linear(width, dim)
            self.predictor = nn.Linear(dim, dim)
        # A backbone with its own initialisation of linear layers has init_head, and the heads get the same.
        if (init_head := getattr(model, "init_head", None)) is not None:
            for name in ("conventional_classifier", "projector", "predictor"):
                if hasattr(self, name):
                    init_head(getattr(self, name))

    def forward(self, x: Tensor) -> Tensor:
        """Re-balanced logits ``(B, C)`` of images ``(B, channels, H, W)``."""
        logits: Tensor = self.timm_model(x)
        return logits

    def _pre_logits(self, x: Tensor) -> Tensor:
        """The input of the classifier, ``(B, D)``: timm's ``forward_head`` with ``pre_logits=True``."""
        features: Tensor = self.timm_model.forward_head(self.timm_model.forward_features(x), pre_logits=True)
        return features

    def forward_view(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Conventional and re-balanced logits, ``(B, C)`` each, of one view ``(B, channels, H, W)``."""
        features = self._pre_logits(x)
        return self.conventional_classifier(features), self.timm_model.get_classifier()(features)

    def forward_views(self, x_global: Tensor, x_local: Tensor, *, joint: bool = False) -> tuple[GLMCOutput, GLMCOutput]:
        """Outputs of all heads for the global and the local view; each input is ``(B, channels, H, W)``.

        It needs a model with ``consistency=True``.

        ``joint`` sends both through the encoder in one batch. That is faster, but batch-norm then sees the views
        together, which is not the published algorithm.
        """
        if joint:
            features = self._pre_logits(torch.cat((x_global, x_local)))
        else:
            features = torch.cat((self._pre_logits(x_global), self._pre_logits(x_local)))
        # The heads are linear, so one call gives the same result as two. One call reads the weights and accumulates
        # their gradients once, which saves much of a step with thousands of classes.
        projection, classifier = self.projector(features), self.timm_model.get_classifier()
        outputs = (self.conventional_classifier(features), classifier(features), projection, self.predictor(projection))
        view_outputs = [output.chunk(2) for output in outputs]
        return GLMCOutput(*(views[0] for views in view_outputs)), GLMCOutput(*(views[1] for views in view_outputs))

    def training_heads(self) -> dict[str, Tensor]:
        """Tensors of the three added heads by name; the exported timm model lacks them, further training needs them."""
        return {key: value for key, value in self.state_dict().items() if not key.startswith("timm_model.")}

    def load_training_heads(self, heads: dict[str, Tensor], *, same_classes: bool) -> list[str]:
        """Load heads that `training_heads` gave: projection and prediction, and with ``same_classes`` the classifier.

        A head of another shape, for instance with another ``projection_dim``, stays as it is. Returns the names of the
        modules that were loaded.
        """
        loaded = []
        for name in ("projector", "predictor", *(["conventional_classifier"] if same_classes else [])):
            module: Any = getattr(self, name, None)
            if module is None:
                continue
            state = {key: heads.get(f"{name}.{key}") for key in module.state_dict()}
            if all(value is not None and value.shape == getattr(module, key).shape for key, value in state.items()):
                module.load_state_dict(state)
                loaded.append(name)
        return loaded
