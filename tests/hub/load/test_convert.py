"""Published checkpoints, made here by plain PyTorch networks in the published layout, against these networks."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from published_layout import CifarNet, Heads, TorchvisionNet, randomize_batch_norm, tiny
from safetensors.torch import load_file
from torch import Tensor

import glmc_zoo
from glmc_zoo.conversion import convert
from glmc_zoo.errors import UserError
from glmc_zoo.hub.load.convert import CONVERTIBLE, convert_state_dict, read_checkpoint
from glmc_zoo.method import GLMCModel
from glmc_zoo.options.commands import ConvertOptions
from glmc_zoo.options.resolve import fill

ROOT = Path(__file__).resolve().parents[3]


CASES: dict[str, tuple[Callable[[], Heads], int]] = {
    "resnet20_cifar": (lambda: CifarNet(3, 16, 4), 32),
    "resnet32x4_cifar": (lambda: CifarNet(5, 64, 10, sequential=True), 32),
    "resnext50_32x4d": (lambda: TorchvisionNet("resnext50_32x4d"), 64),
    "resnet18": (lambda: TorchvisionNet("resnet18"), 64),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "prefix"), [*((name, "") for name in CASES), ("resnet20_cifar", "module.")])
def test_a_converted_model_is_the_reference(tmp_path: Path, name: str, prefix: str) -> None:
    build, size = CASES[name]
    torch.manual_seed(0)
    reference = randomize_batch_norm(build())
    state = {f"{prefix}{key}": value for key, value in reference.state_dict().items()}
    whole: dict[str, Any] = {"epoch": 7, "best_acc1": torch.tensor(1.0), "state_dict": state}
    torch.save(whole if prefix else state, tmp_path / "published.pth.tar")

    converted = convert_state_dict(read_checkpoint(tmp_path / "published.pth.tar"))
    assert converted.backbone == name
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference.all_heads(x)
        assert torch.allclose(converted.timm_model(x), expected["balanced_logits"], rtol=1e-5, atol=1e-5)

    # All four heads, in the model that goes on training with them.
    dim = len(converted.heads["projector.weight"])
    ours = GLMCModel(converted.timm_model, len(reference.fc.weight), projection_dim=dim, image_size=size)
    assert converted.heads.keys() == ours.training_heads().keys()
    loaded = ours.load_state_dict(converted.heads, strict=False)
    assert not loaded.unexpected_keys
    assert all(key.startswith("timm_model.") for key in loaded.missing_keys)
    ours.eval()
    with torch.no_grad():
        for output in ours.forward_views(x, x):
            for head, value in expected.items():
                assert torch.allclose(getattr(output, head), value, rtol=1e-5, atol=1e-5), head


def test_every_backbone_that_is_looked_for_exists() -> None:
    assert all(timm.is_model(name) for name in CONVERTIBLE)


def test_under_model_and_in_half_precision(tmp_path: Path) -> None:
    network = tiny()
    torch.save({"model": {key: value.half() for key, value in network.state_dict().items()}}, tmp_path / "c.pth")
    converted: Any = convert_state_dict(read_checkpoint(tmp_path / "c.pth")).timm_model
    assert converted.fc.weight.dtype == torch.float32
    assert torch.equal(converted.fc.weight, network.state_dict()["fc_cb.weight"].half().float())


def without(state: dict[str, Tensor], *keys: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key not in keys}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: without(s, "layer2.1.conv1.weight", "bn1.bias"),
            r"resnet20_cifar: 2 missing \(bn1.bias, layer2.1.conv1.weight\)\.",
        ),
        (lambda s: {**s, "layer4.0.conv1.weight": torch.zeros(1)}, r"1 left over \(layer4\.0\.conv1\.weight\)"),
        (lambda s: {**s, "module.fc.weight": torch.zeros(1)}, r"1 left over \(module\.fc\.weight\)"),
        (
            lambda s: {**s, "layer1.0.conv1.weight": torch.zeros(16, 16, 1, 1)},
            r"1 of another shape \(layer1\.0\.conv1\.weight \(16, 16, 1, 1\) instead of \(16, 16, 3, 3\)\)",
        ),
        (
            lambda s: {**s, "layer2.0.downsample.0.weight": torch.zeros(1)},
            r"1 left over \(layer2\.0\.downsample\.0\.weight\)",
        ),
        (lambda s: {f"encoder.{k}": v for k, v in s.items()}, r"has no fc_cb, fc, projection_head, contrast_head"),
        (lambda s: without(s, "fc_cb.weight", "fc_cb.bias"), r"has no fc_cb"),
        (lambda s: without(s, "fc_cb.bias"), r"'fc_cb' has no bias, as cosine and normalised classifiers"),
        (lambda s: without(s, "fc.weight"), r"'fc\.weight' is missing"),
        (lambda s: {**s, "fc_cb.scale": torch.zeros(1)}, r"'fc_cb\.scale' is left over"),
        (lambda s: {**s, "projection_head.2.weight": torch.zeros(1)}, r"'projection_head\.2\.weight' is left over"),
        (lambda s: {**s, "projection_head.0.weight": torch.zeros(1)}, r"'projection_head\.0\.weight' is left over"),
        (
            lambda s: {**s, "fc.bias": torch.zeros(9)},
            r"'fc' has a weight of shape \(3, 64\) and a bias of shape \(9,\)",
        ),
        (
            lambda s: {**s, "fc.weight": torch.zeros(4, 64), "fc.bias": torch.zeros(4)},
            r"'fc\.weight' has shape \(4, 64\) where \(3, 64\) fits its other heads",
        ),
        (
            lambda s: {**s, "contrast_head.weight": torch.zeros(128, 64)},
            r"'contrast_head\.weight' has shape \(128, 64\) where \(128, 128\) fits its other heads",
        ),
    ],
)
def test_every_tensor_must_be_used(change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        convert_state_dict(change(tiny().state_dict()), "resnet20_cifar")


def test_a_missing_key_is_named_without_a_backbone_too() -> None:
    state = tiny().state_dict()
    del state["layer2.0.conv1.weight"]
    with pytest.raises(UserError, match=r"fit resnet20_cifar, the nearest .*1 missing \(layer2\.0\.conv1\.weight\)"):
        convert_state_dict(state)


def test_weights_that_are_not_finite_are_refused() -> None:
    state = tiny().state_dict()
    state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"] * float("nan")
    with pytest.raises(UserError, match=r"'layer1\.0\.conv1\.weight' holds values that are not finite"):
        convert_state_dict(state)


def test_another_backbone_is_named() -> None:
    with pytest.raises(UserError, match=r"do not fit resnet32x4_cifar: .*missing.*; they fit resnet20_cifar\."):
        convert_state_dict(tiny().state_dict(), "resnet32x4_cifar")
    with pytest.raises(UserError, match="backbone='resnet_of_mine' cannot be built"):
        convert_state_dict(tiny().state_dict(), "resnet_of_mine")
    with pytest.raises(
        UserError, match=r"fit resnet20_cifar, the nearest of the backbones that were tried: .* of another shape"
    ):
        convert_state_dict(randomize_batch_norm(CifarNet(2, 8, 3)).state_dict())


class Payload:
    """What a pickle can do: leave a mark when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"Checkpoint c\.pth is not a regular file"):
        read_checkpoint(tmp_path / "c.pth")


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    torch.save({"state_dict": tiny().state_dict(), "extra": Payload(mark)}, tmp_path / "zip.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Payload(mark)))
    for name in ("zip.pth", "old.pth"):
        with pytest.raises(UserError, match=rf"Checkpoint {name} holds more than tensors.*save its state_dict alone"):
            read_checkpoint(tmp_path / name)
    assert not mark.exists()


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    for content in (None, b"", b"no checkpoint", b"PK\x03\x04 cut off"):
        if content is not None:
            (tmp_path / "c.pth").write_bytes(content)
        with pytest.raises(UserError, match=r"Checkpoint c\.pth (cannot be read|holds more|holds no)") as caught:
            read_checkpoint(tmp_path / "c.pth")
        assert "\n" not in str(caught.value)


def test_a_file_without_a_state_dict(tmp_path: Path) -> None:
    contents: list[Any] = [[1, 2], {"state_dict": {}}, {"epoch": 3}, {"a": torch.zeros(1), "b": 3}]
    for content in contents:
        torch.save(content, tmp_path / "c.pth")
        with pytest.raises(UserError, match="holds no state dict"):
            read_checkpoint(tmp_path / "c.pth")


# ------------------------------------------------------------------ the recipe's own steps
@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save(tiny(10).state_dict(), tmp_path / "published.pth.tar")
    return tmp_path / "published.pth.tar"


def test_a_catalogue_set_gives_names_and_statistics(tmp_path: Path, checkpoint: Path) -> None:
    from huggingface_hub import ModelCard

    options = ConvertOptions(checkpoint=str(checkpoint), data="digits_lt", output_dir=str(tmp_path / "out"))
    folder = convert(options, "python recipes/convert.py")
    assert sorted(path.name for path in folder.iterdir()) == [
        *("README.md", "config.json", "glmc_heads.safetensors", "model.safetensors", "results.json"),
    ]
    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(model(x), tiny(10).all_heads(x)["balanced_logits"], rtol=1e-5, atol=1e-5)
    entry = glmc_zoo.list_data()["digits_lt"]
    cfg = model.pretrained_cfg
    assert list(cfg["label_names"]) == [str(digit) for digit in range(10)]
    assert (tuple(cfg["mean"]), tuple(cfg["std"]), tuple(cfg["input_size"])) == (entry.mean, entry.std, (3, 16, 16))
    assert (cfg["license"], cfg["tag"], cfg["crop_pct"]) == ("unknown", "glmc_digits_lt", 1.0)
    assert set(load_file(folder / "glmc_heads.safetensors")) == {
        f"{head}.{part}"
        for head in ("conventional_classifier", "projector", "predictor")
        for part in ("weight", "bias")
    }
    results = json.loads((folder / "results.json").read_text())
    assert results["test"] is None
    assert results["converted"] == {
        "file": "published.pth.tar",
        "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
    }
    assert str(tmp_path) not in (folder / "results.json").read_text() + (folder / "README.md").read_text()
    card: Any = ModelCard.load(folder / "README.md")
    assert card.data.eval_results is None and card.data.license == "unknown"
    assert "was not evaluated, so this card has no scores" in card.text


@pytest.mark.parametrize(
    ("data", "interpolation"), [("inat18", "bilinear"), ("places_lt", "bicubic"), (None, "bicubic")]
)
def test_images_are_resized_as_the_data_set_is_trained(
    tmp_path: Path, checkpoint: Path, data: str | None, interpolation: str
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join("abcdefghij"))
    given = {"checkpoint": str(checkpoint), "data": data, "class_names": str(names), "image_size": 64}
    folder = convert(ConvertOptions(**given, output_dir=str(tmp_path / "out")), "python recipes/convert.py")  # type: ignore[arg-type]
    cfg = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    assert cfg["interpolation"] == interpolation
    if data is not None:
        entry = glmc_zoo.list_data()[data]
        assert (tuple(cfg["mean"]), tuple(cfg["std"])) == (entry.mean, entry.std)


@pytest.mark.processes
def test_the_recipe_with_a_file_of_names(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "names.txt").write_text("".join(f"class {index}\n" for index in range(10)))
    out = tmp_path / "out"
    command = [sys.executable, str(ROOT / "recipes/convert.py")]
    command += ["--checkpoint", str(checkpoint), "--output-dir", str(out)]
    named = [*command, "--class-names", str(tmp_path / "names.txt")]
    done = subprocess.run(named, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert f'glmc_zoo.create_model("{out}")' in done.stdout
    config = json.loads((out / "config.json").read_text())
    assert config["label_names"][9] == "class 9"
    assert config["architecture"] == "resnet20_cifar"
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32]

    refused = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert refused.returncode == 2 and refused.stdout == ""
    assert refused.stderr == (
        "convert.py: error: The class names are missing: give --class-names FILE, or --data NAME.\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": None}, "checkpoint= is missing"),
        ({"output_dir": None}, "output_dir= is missing"),
        ({"data": "digits"}, r"data='digits' is not in the catalogue.*digits_lt"),
        ({"data": "imagenet_lt"}, "data='imagenet_lt' needs a copy of its images to name its classes"),
        ({"data": "digits_lt", "class_names": "few"}, "2 class names for a classifier of 10 classes"),
        ({"class_names": "twice"}, "names 'a' twice"),
        ({"class_names": "gap"}, "has no name on line 2"),
        ({"class_names": "absent"}, "cannot be read: No such file"),
        ({"class_names": "few", "data_dir": "x"}, "data_dir= is a local copy of data=, which is missing"),
        ({"data": "digits_lt", "image_size": 0}, "image_size=0 is too small"),
        ({"data": "digits_lt", "backbone": "resnet32_cifar"}, "do not fit resnet32_cifar"),
    ],
)
def test_bad_options(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("few", "a\nb\n"), ("twice", "a\na\n"), ("gap", "a\n\nb\n")):
        Path(name).write_text(text)
    with pytest.raises(UserError, match=message):
        given = {"checkpoint": str(checkpoint), "output_dir": "out", **options}
        convert(fill(ConvertOptions, {name: value for name, value in given.items() if value is not None}), "")
    assert not Path("out").exists()
