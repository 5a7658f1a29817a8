"""The models that come with the package, as trained weights that timm knows by their tags."""

from collections.abc import Iterator
from dataclasses import fields

from timm.models import PretrainedCfg

from glmc_zoo.documents import read_json
from glmc_zoo.files import cards_folder

_FIELDS = {field.name for field in fields(PretrainedCfg)}


def published_cfgs() -> Iterator[tuple[str, str, PretrainedCfg]]:
    """Architecture, tag and configuration of each published model; the weights are read from its folder."""
    for path in sorted(cards_folder().glob("*/config.json")):
        config = read_json(path, str(path))
        architecture, _, tag = path.parent.name.partition(".")
        values = {"label_names": config.get("label_names"), **config["pretrained_cfg"], "tag": tag}
        known = {name: value for name, value in values.items() if name in _FIELDS}
        yield architecture, tag, PretrainedCfg(**known, file=str(path.with_name("model.safetensors")))
