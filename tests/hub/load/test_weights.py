"""A stranger's weights and the network beside them: refused before anything of their size is allocated."""

from __future__ import annotations

import copy
import json
import math
import resource
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from card_results import minimal_results
from safetensors.torch import load_file, save_file

from glmc_zoo.errors import UserError
from glmc_zoo.hub import ExportInfo, export_model, export_run, open_model
from glmc_zoo.hub.load.weights import check_header


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=3)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, model: Any) -> Path:
    info = ExportInfo(
        class_names=["a", "b", "c"], mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(3, 32, 32), tag="glmc_test"
    )
    return export_model(model, tmp_path_factory.mktemp("weights") / "model", info)


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "model"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def refused(folder: Path, says: str) -> None:
    """Opening the folder ends in one sentence, at once and without memory."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=says) as caught:
        open_model(str(folder)).create()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert time.monotonic() - began < 120
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"channels": [50_000] * 4}, "asks for a network of [0-9,]+ numbers, its weights hold"),
        ({"layers": [100_000] * 4}, "asks for more than 15,000 layers"),
        ({"nonsense": 1}, "cannot be built"),
        ({"num_classes": 7}, "names 3 classes for a network of 7|cannot be built"),
        ({"layers": "abc"}, "cannot be built"),
        ({"block": 3}, "cannot be built"),
        ({"in_chans": -1}, "cannot be built"),
    ],
)
def test_a_network_that_does_not_belong_to_its_weights(folder: Path, arguments: dict[str, Any], says: str) -> None:
    rewrite(folder, lambda config: config["model_args"].update(arguments))
    refused(folder, says)


def test_classes_beyond_those_of_the_weights(folder: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config.pop("label_names")
        config["num_classes"] = config["pretrained_cfg"]["num_classes"] = 1_000_000

    rewrite(folder, change)
    refused(folder, "asks for a network of|cannot be built")


def test_an_architecture_of_other_names(folder: Path) -> None:
    rewrite(folder, lambda config: config.update(architecture="vit_giant_patch14_dinov2"))
    refused(folder, "asks for a network of 1,[0-9,]+ numbers")
    rewrite(folder, lambda config: config.update(architecture="no_such_model"))
    refused(folder, "cannot be built")


def test_random_weights_have_the_size_of_the_architecture(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    built = open_model(str(folder), weights=False).create(pretrained=False)
    assert built.num_classes == 3
    rewrite(folder, lambda config: config["model_args"].update(channels=[50_000] * 4))
    with pytest.raises(UserError, match=r"asks for a network of [0-9,]+ numbers, its architecture has"):
        open_model(str(folder), weights=False).create(pretrained=False)


def write(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_tensors_of_another_kind(folder: Path, good: Path) -> None:
    key = next(name for name, tensor in load_file(good / "model.safetensors").items() if tensor.ndim == 4)
    cases: list[tuple[Callable[[dict[str, Any]], object], str]] = [
        (lambda t: t.update({key: t[key].long()}), f"hold '{key}' as I64: it must be floating-point numbers"),
        (lambda t: t.update({key: t[key].to(torch.complex64)}), "holds numbers of type C64"),
        (lambda t: t.update({key: t[key].to(torch.float8_e4m3fn)}), "holds numbers of type F8_E4M3"),
        (lambda t: t.update({key: t[key].flatten()}), "cannot be built"),
        (lambda t: t.pop(key), "cannot be built"),
        (lambda t: t.update({key: t[key] * math.nan}), f"hold NaN or infinity, in '{key}'"),
        (lambda t: t.update({key: t[key] + math.inf}), f"hold NaN or infinity, in '{key}'"),
    ]
    for change, says in cases:
        shutil.copy(good / "model.safetensors", folder)
        write(folder, change)
        refused(folder, says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "model.safetensors of .* cannot be read"),
        (b"\xff" * 8, "its header claims 18,446,744,073,709,551,615 bytes"),
        (struct.pack("<Q", 4 << 30) + b"{}", "its header claims 4,294,967,296 bytes"),
        (struct.pack("<Q", 2) + b"{}", "cannot be read|cannot be built"),
        (struct.pack("<Q", 1000) + b"[" * 1000, "cannot be read"),
        (struct.pack("<Q", 2) + b"[]", "cannot be read"),
    ],
)  # fmt: skip
def test_headers(folder: Path, content: bytes, says: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    refused(folder, says)


def test_a_huge_header_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 64 << 20))
        file.truncate(80 << 20)
    with pytest.raises(UserError, match="its header claims 67,108,864 bytes"):
        check_header(path, "x")


def test_the_numbers_of_a_good_file(good: Path, model: Any) -> None:
    header = check_header(good / "model.safetensors", "x")
    state = model.state_dict()
    assert header.num_elements == sum(tensor.numel() for tensor in state.values())
    assert header.shapes == {key: tuple(tensor.shape) for key, tensor in state.items()}


def test_building_on_the_meta_device_leaves_random_numbers_alone(good: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    open_model(str(good))
    assert torch.equal(torch.rand(3), expected)


@pytest.fixture
def with_heads(tmp_path: Path, model: Any) -> Path:
    results = minimal_results("test_resnet", classes=["a", "b", "c"])
    heads = {"projector.weight": torch.arange(6.0).reshape(2, 3)}
    return export_run(tmp_path / "run", copy.deepcopy(model), results, heads=heads)


def test_other_heads_than_were_exported_are_refused(with_heads: Path) -> None:
    source = open_model(str(with_heads))
    heads = source.training_heads()
    assert heads is not None and heads["projector.weight"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    save_file({"projector.weight": torch.zeros(2, 3)}, with_heads / "glmc_heads.safetensors")
    with pytest.raises(UserError, match=r"glmc_heads\.safetensors of .* is damaged, its SHA-256 is not the one in res"):
        source.training_heads()
    with pytest.raises(UserError, match=r"glmc_heads\.safetensors of .* is damaged"):
        open_model(str(with_heads))


def test_heads_of_older_exports_have_no_hash_and_must_be_finite(with_heads: Path) -> None:
    results = json.loads((with_heads / "results.json").read_text())
    del results["weights"]["heads_sha256"]
    (with_heads / "results.json").write_text(json.dumps(results))
    save_file({"projector.weight": torch.full((2, 3), math.nan)}, with_heads / "glmc_heads.safetensors")
    with pytest.raises(UserError, match=r"hold NaN or infinity, in 'projector\.weight'"):
        open_model(str(with_heads)).training_heads()
