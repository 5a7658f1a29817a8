"""Pretrained weights that come with the package, for timm's tags such as ``resnet20_cifar.glmc_digits_lt``."""

from collections.abc import Iterator
from dataclasses import fields

from timm.models import PretrainedCfg

from glmc_zoo.documents import read_json
from glmc_zoo.files import cards_folder

_FIELDS = {field.name for field in fields(PretrainedCfg)}


def published_cfgs() -> Iterator[tuple[str, str, PretrainedCfg]]:
    """Yield architecture, tag and configuration of each published model. Its weights are in its folder."""
    for path in sorted(cards_folder().glob("*/config.json")):
        config = read_json(path, str(path))
        architecture, _, tag = path.parent.name.partition(".")
        values = {"label_names": config.get("label_names"), **config["pretrained_cfg"], "tag": tag}
        cfg = {name: value for name, value in values.items() if name in _FIELDS}
        yield architecture, tag, PretrainedCfg(**cfg, file=str(path.with_name("model.safetensors")))
