"""The pretrained model that fine-tuning starts from where nobody names one."""

from glmc_zoo.building import ask_hub
from glmc_zoo.errors import UserError
from glmc_zoo.hub.load.download import is_hub_error
from glmc_zoo.hub.load.packaged import INSTALL, PACKAGED_MODEL, packaged_file

DEFAULT_MODEL = "tf_efficientnet_lite0.in1k"
"""A pretrained timm model of 4.7 M parameters that is fast on a CPU."""
_PATIENCE = 5.0
"""Seconds to wait for an answer of the Hub."""
_REASONS = {
    DEFAULT_MODEL: "a small network with ImageNet weights from the Hub that is quick on a CPU",
    PACKAGED_MODEL: f"the ImageNet weights of {DEFAULT_MODEL.partition('.')[0]} in an installed package, as the Hub "
    "cannot be reached",
}


def choose_default() -> str:
    """`DEFAULT_MODEL` where its weights are in the Hub's cache or can be downloaded, else the installed package.

    Raises:
        UserError: There is neither.
    """
    if _hub_has_weights():
        return DEFAULT_MODEL
    if packaged_file() is not None:
        return PACKAGED_MODEL
    raise UserError(
        f"model= was not given, and the weights of the default, {DEFAULT_MODEL}, cannot be downloaded from the Hub: "
        f"run {INSTALL}, which brings weights, give an exported folder as model=, or connect to a network."
    )


def default_note(name: str) -> str:
    """Which model is used where none was given, and why; the same for a run and its resumption."""
    reason = _REASONS.get(name, "the model of the resumed run")
    return f"model= was not given: fine-tuning starts from {name}, {reason}."


def _hub_has_weights() -> bool:
    """Whether timm will find the weights of the default; it downloads them into the cache that timm reads."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    repo, file = f"timm/{DEFAULT_MODEL}", "model.safetensors"
    if isinstance(try_to_load_from_cache(repo, file), str):
        return True
    try:
        # The client of the Hub tries for half a minute to reach a host that is not there; this asks once.
        ask_hub(repo, file, timeout=_PATIENCE)
        hf_hub_download(repo, file)
    except Exception as error:
        if not is_hub_error(error):
            raise
        return False
    return True
