"""The exported folder, read by a process that knows timm and has never heard of this package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from glmc_zoo.errors import UserError
from glmc_zoo.hub import GLMC_PAPER, ExportInfo, export_model, write_heads

NAMES = [f"class {index}" for index in range(5)]
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)

# Name of the case: the architecture, what it is built with, the size it sees.
CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "resnet18": ("resnet18", {}, 32),
    "resnet18_channels_last": ("resnet18", {}, 32),
    "resnet18_no_pool": ("resnet18", {"global_pool": "max"}, 40),
    "convnext_atto": ("convnext_atto", {"drop_path_rate": 0.1}, 64),
    "vit_img_size": ("vit_tiny_patch16_224", {"img_size": 64}, 64),
    "vit_bf16": ("vit_tiny_patch16_224", {"img_size": 32, "depth": 2}, 32),
    "deit": ("deit_tiny_patch16_224", {"img_size": 32}, 32),
    "deit_distilled": ("deit_tiny_distilled_patch16_224", {"img_size": 32}, 32),
    "mobilenetv3": ("mobilenetv3_small_050", {}, 64),
    "efficientnet": ("efficientnet_b0", {}, 64),
    "mixer": ("mixer_s32_224", {}, 224),
}

LOADER = """
import json, sys
import timm, torch
root, cases = sys.argv[1], json.loads(sys.argv[2])
out = {}
with torch.inference_mode():
    for case in cases:
        images = torch.load(f"{root}/{case}.pt")
        model = timm.create_model(f"local-dir:{root}/{case}", pretrained=True).eval()
        encoder = timm.create_model(f"local-dir:{root}/{case}", pretrained=True, num_classes=0).eval()
        seven = timm.create_model(f"local-dir:{root}/{case}", pretrained=True, num_classes=7).eval()
        cfg = {key: value for key, value in model.pretrained_cfg.items() if key != "file"}
        out[case] = {"logits": model(images), "features": encoder(images), "seven": seven(images), "cfg": cfg}
assert "glmc_zoo" not in sys.modules
torch.save(out, f"{root}/loaded.pt")
"""


def build(name: str, **arguments: Any) -> Any:
    """An untrained model whose batch-norm statistics and logits are not trivial."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=len(NAMES), **arguments)
    for buffer_name, buffer in model.named_buffers():
        if buffer_name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return model.eval()


def export(model: nn.Module, folder: Path, *, size: int = 32, **changes: Any) -> Path:
    arguments: dict[str, Any] = {
        "class_names": NAMES,
        "mean": MEAN,
        "std": STD,
        "input_size": (3, size, size),
        "tag": "glmc_tiny_lt",
    }
    return export_model(model, folder, ExportInfo(**{**arguments, **changes}))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Every case exported here and loaded in one child process, with the logits and features of both sides."""
    root = tmp_path_factory.mktemp("exported")
    expected = {}
    for case, (name, arguments, size) in CASES.items():
        model = build(name, **arguments)
        if case == "vit_bf16":
            model = model.to(torch.bfloat16)
        images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
        to_export = model.to(memory_format=torch.channels_last) if case.endswith("channels_last") else model
        export(to_export, root / case, size=size, description="Five classes.", **GLMC_PAPER)
        model = model.to(torch.float32, memory_format=torch.contiguous_format)
        with torch.inference_mode():
            logits = model(images)
            features = model.forward_head(model.forward_features(images), pre_logits=True)
        expected[case] = {"logits": logits, "features": features}
        torch.save(images, root / f"{case}.pt")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", LOADER, str(root), json.dumps(list(CASES))]
    child = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    return SimpleNamespace(root=root, expected=expected, loaded=torch.load(root / "loaded.pt"))


@pytest.mark.processes
def test_timm_alone_gives_the_same_numbers(exported: SimpleNamespace) -> None:
    for case, expected in exported.expected.items():
        loaded = exported.loaded[case]
        assert torch.equal(loaded["logits"], expected["logits"]), case
        assert loaded["seven"].shape == (2, 7), case
        if case != "deit_distilled":  # its classifiers see two tokens, which forward_head only averages without them
            assert torch.equal(loaded["features"], expected["features"]), case


@pytest.mark.processes
def test_the_metadata_is_ours_alone(exported: SimpleNamespace) -> None:
    inherited = {"url", "hf_hub_id", "hf_hub_filename", "origin_url", "notes", "label_offset", "label_descriptions"}
    for case, (_, _, size) in CASES.items():
        cfg = {key: value for key, value in exported.loaded[case]["cfg"].items() if value is not None}
        assert not inherited & cfg.keys() and not [key for key in cfg if key.startswith("test_")], case
        assert (cfg["tag"], cfg["license"], cfg["paper_ids"]) == ("glmc_tiny_lt", "apache-2.0", "arXiv:2305.08661")
        assert cfg["description"] == "Five classes."
        assert tuple(cfg["input_size"]) == (3, size, size)
        assert (tuple(cfg["mean"]), tuple(cfg["std"])) == (MEAN, STD)
        assert (cfg["crop_pct"], cfg["crop_mode"], cfg["interpolation"]) == (1.0, "center", "bicubic")
        assert cfg["num_classes"] == 5 and list(cfg["label_names"]) == NAMES


def test_nothing_of_a_pretrained_entry_stays(tmp_path: Path) -> None:
    model = build("resnet18")
    model.pretrained_cfg = {**model.pretrained_cfg, "notes": ["theirs"], "label_offset": 1, "mean": (0.1, 0.1, 0.1)}
    before = dict(model.pretrained_cfg)
    export(model, tmp_path / "model")
    text = (tmp_path / "model/config.json").read_text()
    for theirs in ("a1_in1k", "2110.00476", "288", "timm/", "github.com", "theirs", "label_offset", "paper"):
        assert theirs not in text
    assert model.pretrained_cfg == before


@pytest.mark.processes
def test_the_folder_holds_exactly_the_model(exported: SimpleNamespace) -> None:
    folder = exported.root / "resnet18_channels_last"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    weights = load_file(folder / "model.safetensors")
    assert set(weights) == set(build("resnet18").state_dict())
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.processes
def test_weights_are_as_readable_as_the_rest(exported: SimpleNamespace) -> None:
    folder = exported.root / next(iter(CASES))
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode


@pytest.mark.processes
def test_num_classes_is_no_model_argument(exported: SimpleNamespace) -> None:
    """Transformers passes num_classes beside model_args, and Python refuses an argument given twice."""
    config = json.loads((exported.root / "vit_img_size/config.json").read_text())
    assert "num_classes" not in config["model_args"]
    assert config["num_classes"] == 5
    assert config["label_names"] == NAMES
    assert config["model_args"]["img_size"] == [64, 64]


@pytest.mark.processes
def test_low_precision_is_stored_as_float32(exported: SimpleNamespace) -> None:
    weights = load_file(exported.root / "vit_bf16/model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_compiled_and_wrapped_models_are_unwrapped(tmp_path: Path) -> None:
    model = build("resnet18")
    compiled: Any = torch.compile(model, backend="eager")
    model.layer1 = torch.compile(model.layer1, backend="eager")
    export(compiled, tmp_path / "compiled")
    assert set(load_file(tmp_path / "compiled/model.safetensors")) == set(build("resnet18").state_dict())


def test_grey_images(tmp_path: Path) -> None:
    folder = export(build("resnet18", in_chans=1), tmp_path / "m", input_size=(1, 28, 28), mean=(0.5,), std=(0.5,))
    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert model.conv1.weight.shape[1] == 1
    assert tuple(model.pretrained_cfg["input_size"]) == (1, 28, 28)


def test_a_failure_leaves_the_older_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export(build("resnet18"), tmp_path / "model")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        export(build("resnet18"), folder, tag="second")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_second_export_replaces_the_first(tmp_path: Path) -> None:
    folder = export(build("resnet18"), tmp_path / "model")
    (folder / "README.md").write_text("of the first")
    export(build("resnet18"), folder, tag="second")
    assert json.loads((folder / "config.json").read_text())["pretrained_cfg"]["tag"] == "second"
    assert not (folder / "README.md").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_other_peoples_files_are_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="thesis\\.tex"):
        export(build("resnet18"), tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_random_numbers_of_the_run_go_on_as_before(tmp_path: Path) -> None:
    model = build("resnet18")
    state = torch.get_rng_state()
    export(model, tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_changed_network_is_refused(tmp_path: Path) -> None:
    model = build("resnet18")
    model.extra = nn.Linear(2, 2)
    with pytest.raises(UserError, match="cannot rebuild"):
        export(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_arguments_that_do_not_fit(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"class_names": NAMES[:3]}, "3 class names for a model of 5"),
        ({"mean": (0.5,)}, "mean= has 1 value for 3 channels"),
        ({"std": (0.2, 0.0, 0.2)}, "must be positive"),
        ({"input_size": (32, 32)}, "input_size"),
        ({"input_size": (1, 32, 32), "mean": (0.5,), "std": (0.5,)}, "cannot be exported with input_size="),
        ({"tag": "a.b"}, "tag='a.b' must be"),
        ({"interpolation": "cubic"}, "interpolation='cubic' must be one of"),
        ({"crop_pct": 1.2}, "crop_pct=1.2"),
    ]
    model = build("resnet18")
    for changes, message in cases:
        with pytest.raises(UserError, match=message):
            export(model, tmp_path / "model", **changes)
        assert list(tmp_path.iterdir()) == []


def test_what_is_no_timm_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Linear is not a timm model"):
        export(nn.Linear(2, 2), tmp_path / "model")


def test_heads_lie_beside_the_model_and_timm_ignores_them(tmp_path: Path) -> None:
    model = build("resnet18")
    folder = export(model, tmp_path / "model")
    heads = {"projector.weight": torch.arange(6.0).reshape(2, 3).t(), "steps": torch.tensor(3)}
    path = write_heads(heads, folder)
    stored = load_file(path)
    assert path.name == "glmc_heads.safetensors"
    assert torch.equal(stored["projector.weight"], heads["projector.weight"])
    assert stored["steps"].item() == 3
    again: Any = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert torch.equal(again.fc.weight, model.fc.weight)
    assert sorted(entry.name for entry in folder.iterdir()) == ["config.json", path.name, "model.safetensors"]


def test_heads_need_a_folder_and_tensors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent' does not exist"):
        write_heads({"a": torch.zeros(1)}, tmp_path / "absent")
    with pytest.raises(UserError, match="no tensors"):
        write_heads({}, tmp_path)
