"""Where models come from: the Hub with its weights checked, folders, the zoo; and what is said when there is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from card_results import changed, minimal_results
from huggingface_hub import constants

import glmc_zoo
from glmc_zoo.errors import UserError
from glmc_zoo.hub import ExportInfo, export_model, list_models, open_model
from glmc_zoo.method import create_backbone
from glmc_zoo.results import RunResults, WeightsFacts

STATISTICS: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 64, 64), "tag": "glmc_test"}
X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

# Opens each name in turn and prints, one JSON a line, what came of it.
CHILD = """
import json, sys, torch, glmc_zoo
from glmc_zoo.errors import UserError
x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
for name in sys.argv[1:]:
    try:
        with torch.no_grad():
            print(json.dumps(glmc_zoo.create_model(name).eval()(x).tolist()))
    except UserError as error:
        print(json.dumps(error.sentence))
"""


def results_of_other_weights() -> RunResults:
    weights = WeightsFacts(file="model.safetensors", sha256="0" * 64, dtype="float32", bytes=1)
    return changed(minimal_results(classes=["a", "b", "c"]), weights=weights)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3)
    info = ExportInfo(class_names=["a", "b", "c"], **STATISTICS)
    return export_model(model, tmp_path_factory.mktemp("source") / "model", info)


@pytest.fixture
def ask(hub_python: Callable[..., Any]) -> Callable[..., list[Any]]:
    def call(*names: str, **env: str) -> list[Any]:
        done = hub_python("-c", CHILD, *names, **env)
        assert done.returncode == 0, done.stderr
        assert env.get("token") is None or env["token"] not in done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return call


def logits(folder: Path) -> list[list[float]]:
    with torch.no_grad():
        return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()(X).tolist()


@pytest.mark.processes
def test_from_the_hub_bit_for_bit_and_offline_from_then_on(hub: Any, ask: Any, folder: Path, tmp_path: Path) -> None:
    hub.repo("org/small", files=folder)
    home = str(tmp_path / "home")
    assert ask("hf_hub:org/small", "hf-hub:org/small@main", HF_HOME=home) == [logits(folder)] * 2
    before = len(hub.requests)
    assert ask("hf_hub:org/small", HF_HOME=home, HF_HUB_OFFLINE="1") == [logits(folder)]
    assert len(hub.requests) == before


@pytest.mark.processes
def test_what_the_hub_refuses_is_one_sentence(hub: Any, ask: Any, folder: Path) -> None:
    hub.repo("org/private", private=True, files=folder)
    hub.repo("org/gated", gated=True, files=folder)
    hub.repo("org/small", files=folder)
    hub.repo("org/pickled", files={"config.json": (folder / "config.json").read_bytes(), "pytorch_model.bin": b"x"})
    hub.repo("org/other", files={"model.safetensors": b"nothing"})
    sentences = ask(
        "hf_hub:org/no_such", "hf_hub:org/private", "hf_hub:org/gated", "hf_hub:org/small@v9", "hf_hub:org/pickled",
        "hf_hub:org/other", "hf_hub:or g/x", "hf_hub:a/b/c",
    )  # fmt: skip
    absent, private, gated, revision, pickled, other, *bad = sentences
    for sentence in (absent, private):
        assert "does not exist, or is private and hidden from this login" in sentence
    nearest = [model.name for model in list_models()]
    assert not nearest or ("The nearest models of the zoo are" in absent and any(name in absent for name in nearest))
    assert "hf_hub:org/gated is gated" in gated and "hf auth login" in gated
    assert "has no revision 'v9'" in revision
    assert "pickled weights are not loaded" in pickled or "model.safetensors is missing" in pickled
    assert "org/other is not an exported model, config.json is missing: give a repository that glmc_zoo or" in other
    assert all("is not a repository" in sentence for sentence in bad)
    assert not any("\n" in sentence for sentence in sentences)
    token = hub.token("read")
    assert ask("hf_hub:org/private", "hf_hub:org/gated", token=token) == [logits(folder)] * 2


@pytest.mark.processes
def test_without_the_network(ask: Any, hub: Any) -> None:
    (offline,) = ask("hf_hub:org/small", HF_HUB_OFFLINE="1")
    assert "is not in the local cache and HF_HUB_OFFLINE is set" in offline
    (nobody,) = ask("hf_hub:org/small", HF_ENDPOINT="http://127.0.0.1:9")
    assert nobody.startswith("hf_hub:org/small cannot be read from the Hub") and "network" in nobody


def test_names_are_found_in_the_zoo_then_as_folders_then_in_timm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_model(str(folder)).kind == open_model(f"local-dir:{folder}").kind == "folder"
    source = open_model("resnet18.a1_in1k", weights=False)
    assert (source.kind, source.folder, source.config["input_size"]) == ("timm", None, (3, 224, 224))
    for model in list_models():
        assert (open_model(model.name).kind, open_model(model.name).folder) == ("zoo", model.folder)
    monkeypatch.chdir(folder.parent)
    assert open_model("model").folder == Path("model")


def test_weights_that_timm_is_told_to_find_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    file = str(folder / "model.safetensors")
    options: dict[str, Any] = {"num_classes": 3, "pretrained_cfg_overlay": {"file": file, "num_classes": 3}}
    for model in (
        glmc_zoo.create_model("test_resnet", **options),
        create_backbone("test_resnet", pretrained=True, **options),
    ):
        with torch.no_grad():
            assert model.eval()(X).tolist() == logits(folder)


def test_what_a_folder_says(folder: Path) -> None:
    source = open_model(str(folder))
    assert source.class_names == ["a", "b", "c"]
    assert source.config["architecture"] == "test_resnet" and source.config["input_size"] == [3, 64, 64]
    assert source.training_heads() is None
    with torch.no_grad():
        assert source.create().eval()(X).tolist() == logits(folder)
        assert source.create(num_classes=0).eval()(X).shape == (2, source.create().num_features)
        assert glmc_zoo.create_model(str(folder), num_classes=7).eval()(X).shape == (2, 7)


def test_a_folder_that_is_no_export(folder: Path, tmp_path: Path) -> None:
    cases: list[tuple[Callable[[Path], Any], str]] = [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "config.json").write_text("{"), "config.json of .* cannot be read"),
        (lambda f: (f / "config.json").write_text("{}"), "architecture is missing"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: (f / "model.safetensors").write_bytes(b"nonsense"), "model.safetensors of .* cannot be read"),
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-40]),
            "model.safetensors of .* cannot be read",
        ),
        (
            lambda f: results_of_other_weights().save(f / "results.json"),
            "its SHA-256 is not the one in results.json",
        ),
        (lambda f: (f / "results.json").write_text("{"), "results.json of .* cannot be read"),
        (lambda f: (f / "results.json").write_text('{"schema": 99}'), "results.json of .* has schema 99.*update"),
        (lambda f: (f / "results.json").write_text('{"schema": 1}'), "results.json of .* lacks model"),
    ]
    for number, (spoil, says) in enumerate(cases):
        copy = Path(shutil.copytree(folder, tmp_path / f"copy{number}"))
        spoil(copy)
        with pytest.raises(UserError, match=says) as caught:
            open_model(str(copy))
        assert "\n" not in str(caught.value)


def test_a_name_that_is_nothing() -> None:
    for name, says in (
        ("org/name", "Folder org/name does not exist: for a model on the Hub write hf-hub:org/name"),
        ("local-dir:nowhere", "Folder nowhere does not exist"),
        ("resnet5O", r"Unknown model 'resnet5O'.*Did you mean resnet50"),
        ("resnet50.nosuch", "unknown pretrained tag 'nosuch'"),
        ("resnet20_cifar", "'resnet20_cifar' has no pretrained weights"),
        ("resnet20_cifar.glmc_digits", r"tag 'glmc_digits'.*Did you mean resnet20_cifar\.glmc_digits_lt"),
    ):
        with pytest.raises(UserError, match=says):
            open_model(name)


def test_a_backbone_without_a_configuration_has_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm has none where the file that registers it defines no ``default_cfgs``."""
    entrypoints = timm.models._registry._model_entrypoints
    monkeypatch.setitem(entrypoints, "net_without_configuration", lambda pretrained=False, **kwargs: None)
    with pytest.raises(UserError, match="'net_without_configuration' has no pretrained weights"):
        open_model("net_without_configuration")


def test_a_run_folder_is_pointed_to_its_model(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run" / "model")
    with pytest.raises(UserError, match=r"its folder model/ is one"):
        open_model(str(tmp_path / "run"))


def test_a_results_file_of_somebody_else_is_no_hindrance(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    for text in ('{"top1": 0.7, "weights": "model.safetensors"}', '[{"metric": "acc"}]', '{"data": "x"}'):
        (copy / "results.json").write_text(text)
        assert open_model(str(copy)).results is None
