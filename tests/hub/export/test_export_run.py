"""All that a run publishes in one folder: whole or not at all, in half precision, without the classifier."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from card_results import changed, minimal_results
from safetensors.torch import load_file

from glmc_zoo.errors import UserError
from glmc_zoo.hub import GLMC_PAPER, export_run, render_card
from glmc_zoo.hub.export.decoration import decorate_export
from glmc_zoo.hub.plain_files import exported_files
from glmc_zoo.results import RunResults, WeightsFacts

RESULTS = changed(
    minimal_results("test_resnet", classes=["one", "two", "three"]),
    data={"description": "Three classes."},
    test={"top1": 0.75, "few": 0.5},
    model={"interpolation": "bilinear", "crop_pct": 0.9},
)


@pytest.fixture(scope="module")
def model() -> Any:
    """A classifier whose batch-norm statistics and logits are not trivial; not to be changed."""
    torch.manual_seed(0)
    made: Any = timm.create_model("test_resnet", num_classes=3)
    for name, buffer in made.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return made.eval()


@pytest.fixture
def plots(tmp_path: Path) -> Path:
    folder = tmp_path / "plots"
    folder.mkdir()
    for name in ("training.png", "class_accuracy.png"):
        (folder / name).write_bytes(name.encode())
    return folder


def load(folder: Path, **arguments: Any) -> Any:
    return timm.create_model(f"local-dir:{folder}", pretrained=True, **arguments).eval()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@torch.no_grad()
def put_out(model: Any) -> Any:
    return model(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)))


def test_everything_goes_into_one_folder(tmp_path: Path, model: Any, plots: Path) -> None:
    heads = {"projector.weight": torch.arange(6.0).reshape(2, 3)}
    before = copy.deepcopy(RESULTS)
    folder = export_run(
        tmp_path / "model", model, RESULTS, heads=heads, plots=plots, config_yaml="epochs: 3\n", repo_id="org/name"
    )
    assert before == RESULTS
    held = files(folder)
    assert sorted(held) == [
        *("README.md", "config.json", "config.yaml", "glmc_heads.safetensors", "model.safetensors"),
        *("plots/class_accuracy.png", "plots/training.png", "results.json"),
    ]
    assert held["config.yaml"] == b"epochs: 3\n" and held["plots/training.png"] == b"training.png"
    assert torch.equal(load_file(folder / "glmc_heads.safetensors")["projector.weight"], heads["projector.weight"])
    assert torch.equal(put_out(load(folder)), put_out(model))

    results = RunResults.load(folder / "results.json")
    assert results == changed(
        RESULTS,
        plots=["class_accuracy.png", "training.png"],
        weights=WeightsFacts(
            file="model.safetensors",
            sha256=hashlib.sha256(held["model.safetensors"]).hexdigest(),
            dtype="float32",
            bytes=len(held["model.safetensors"]),
            heads_sha256=hashlib.sha256(held["glmc_heads.safetensors"]).hexdigest(),
        ),
    )
    assert held["README.md"].decode() == render_card(results, repo_id="org/name")
    assert "plots/group_confusion.png" not in held["README.md"].decode()

    cfg = json.loads(held["config.json"])
    said = cfg["pretrained_cfg"]
    assert cfg["label_names"] == RESULTS.class_names
    assert (said["tag"], said["crop_pct"], said["interpolation"]) == ("glmc_mine", 0.9, "bilinear")
    assert (said["description"], said["paper_ids"]) == ("Three classes.", GLMC_PAPER["paper_ids"])


def test_options_may_come_from_a_file(tmp_path: Path, model: Any) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    folder = export_run(tmp_path / "model", model, changed(RESULTS, method="ce"), config_yaml=tmp_path / "config.yaml")
    assert (folder / "config.yaml").read_text() == "seed: 1\n"
    assert "paper_ids" not in (folder / "config.json").read_text()


def test_a_failure_at_any_point_leaves_the_earlier_export(tmp_path: Path, model: Any, plots: Path) -> None:
    target = tmp_path / "out" / "model"
    export_run(target, model, RESULTS, plots=plots)
    before = files(target)
    big = copy.deepcopy(model)
    with torch.no_grad():
        big.layer1[0].conv1.weight[0, 0, 0, 0] = 70000.0
    other: Any = copy.deepcopy(model)
    other.extra = torch.nn.Linear(2, 2)
    newer = changed(RESULTS, method="ce")
    failing: list[tuple[type[Exception], Any, RunResults, dict[str, Any]]] = [
        (UserError, model, changed(newer, class_names=["one"]), {}),  # the arguments
        (UserError, other, newer, {}),  # loading what was written
        (UserError, big, newer, {"half": True}),  # half precision
        (RuntimeError, model, newer, {"heads": {"projector.weight": torch.empty(1, device="meta")}}),  # the heads
        (OSError, model, newer, {"plots": tmp_path / "absent"}),  # the plots
        (UserError, model, newer, {"config_yaml": tmp_path / "absent.yaml"}),  # the options
        (TypeError, model, changed(newer, config={"odd": {1, 2}}), {}),  # the results
        (UserError, model, changed(newer, test=None), {}),  # the card
    ]
    for kind, failing_model, results, options in failing:
        with pytest.raises((kind, NotImplementedError) if kind is RuntimeError else kind):
            export_run(target, failing_model, results, **options)
        assert files(target) == before
        assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_an_interruption_while_moving_leaves_the_earlier_export(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out" / "model"
    export_run(target, model, RESULTS)
    before = files(target)
    original = Path.rename

    def interrupted(self: Path, to: Path) -> Path:
        if self.name.endswith(".new"):
            raise KeyboardInterrupt
        return original(self, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export_run(target, model, changed(RESULTS, method="ce"))
    assert files(target) == before
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_half_precision(tmp_path: Path, model: Any) -> None:
    single = export_run(tmp_path / "single", model, RESULTS)
    half = export_run(tmp_path / "half", model, RESULTS, half=True)
    stored = load_file(half / "model.safetensors")
    parameters = {name for name, _ in model.named_parameters()}
    for name, value in model.state_dict().items():
        if name in parameters:
            assert stored[name].dtype == torch.float16
            assert torch.equal(stored[name], value.to(torch.float16))
        else:  # a variance below what float16 holds, for one
            assert stored[name].dtype == value.dtype
            assert torch.equal(stored[name], value)

    loaded = load(half)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = float((loaded(images) - model(images)).abs().max())
    weights = json.loads((half / "results.json").read_text())["weights"]
    assert weights["dtype"] == "float16"
    assert weights["bytes"] == (half / "model.safetensors").stat().st_size
    assert weights["bytes"] < 0.51 * (single / "model.safetensors").stat().st_size
    assert weights["sha256"] == hashlib.sha256((half / "model.safetensors").read_bytes()).hexdigest()
    assert weights["max_logit_difference"] == pytest.approx(difference, rel=1e-3)
    assert 0 < difference < 0.02
    card = (half / "README.md").read_text()
    assert "weights stored in half precision" in card and f"differ by at most {difference:.2g}" in card
    assert "half precision" not in (single / "README.md").read_text()


@pytest.mark.parametrize("value", [70000.0, float("inf")])
def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path, model: Any, value: float) -> None:
    model = copy.deepcopy(model)
    with torch.no_grad():
        model.layer2[0].bn1.weight[3] = -value
    with pytest.raises(UserError, match=r"'layer2\.0\.bn1\.weight' reaches .*beyond the 65504 that half precision"):
        export_run(tmp_path / "model", model, RESULTS, half=True)


@pytest.mark.parametrize("half", [False, True], ids=["single", "half"])
def test_encoder_only(tmp_path: Path, model: Any, plots: Path, half: bool) -> None:
    full = export_run(tmp_path / "full", model, RESULTS, half=half)
    folder = export_run(tmp_path / "encoder", model, RESULTS, plots=plots, encoder_only=True, half=half)
    encoder = load(folder)
    assert encoder.num_classes == 0
    assert torch.equal(put_out(encoder), put_out(load(full, num_classes=0)))
    assert put_out(encoder).shape == (2, model.num_features)
    assert put_out(load(folder, num_classes=7)).shape == (2, 7)
    assert not [name for name in load_file(folder / "model.safetensors") if name.startswith("fc.")]
    config = json.loads((folder / "config.json").read_text())
    assert config["num_classes"] == config["pretrained_cfg"]["num_classes"] == 0
    assert "label_names" not in config
    assert config["pretrained_cfg"]["tag"] == "glmc_mine_encoder"

    results = RunResults.load(folder / "results.json")
    assert results.encoder_only is True
    assert results.model.name == "test_resnet.glmc_mine_encoder"
    assert results.model.parameters == sum(weight.numel() for weight in encoder.parameters())
    assert results.class_names == RESULTS.class_names and results.test == RESULTS.test
    assert results.weights is not None and results.weights.max_logit_difference is None
    assert (results.weights.max_feature_difference is not None) is half
    assert "pipeline_tag: image-feature-extraction" in (folder / "README.md").read_text()


def test_the_encoder_of_a_backbone_with_several_classifiers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    deit: Any = timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, depth=2, num_classes=3).eval()
    full = export_run(tmp_path / "full", deit, RESULTS)
    folder = export_run(tmp_path / "encoder", deit, RESULTS, encoder_only=True)
    assert torch.equal(put_out(load(folder)), put_out(load(full, num_classes=0)))
    assert put_out(load(folder, num_classes=7)).shape == (2, 7)


@pytest.mark.parametrize(
    ("changes", "base_model"),
    [
        ({"pretrained_from": "resnet18"}, "timm/resnet18.a1_in1k"),
        ({"pretrained_from": "resnet18.a1_in1k"}, "timm/resnet18.a1_in1k"),
        ({"pretrained_from": "local-dir:path/to/model"}, None),
        ({"pretrained_from": None}, None),
    ],
)
def test_the_base_model_is_named_in_full(
    tmp_path: Path, model: Any, changes: dict[str, Any], base_model: str | None
) -> None:
    folder = export_run(tmp_path / "model", model, changed(RESULTS, model=changes))
    from huggingface_hub import ModelCard

    card: Any = ModelCard.load(folder / "README.md")
    assert card.data.base_model == base_model


def test_an_earlier_export_is_replaced_whole(tmp_path: Path, model: Any, plots: Path) -> None:
    folder = export_run(tmp_path / "model", model, RESULTS, plots=plots, config_yaml="seed: 0\n")
    shutil.rmtree(plots)
    export_run(folder, model, RESULTS)
    assert sorted(files(folder)) == ["README.md", "config.json", "model.safetensors", "results.json"]


# Exports twice into a folder, in a process that SIGKILL ends at one moment of the second export; then mends it.
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
import timm, torch
from glmc_zoo.hub.export import run
from glmc_zoo.hub.export.model import ExportInfo

moment, folder = sys.argv[1], Path(sys.argv[2]) / "model"
model = timm.create_model("test_resnet", num_classes=2)
def info(tag):
    return ExportInfo(class_names=["a", "b"], input_size=(3, 32, 32), mean=(0.5,) * 3, std=(0.2,) * 3, tag=tag)
if moment != "first export":
    run.export_model(model, folder, info("old"))
rename, rmtree, write = Path.rename, shutil.rmtree, run.write_model

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def killed_rename(self, target):
    if moment == "before the first rename" and self.name == "model":
        die()
    if moment in ("between the renames", "first export") and self.name.endswith(".new"):
        die()
    return rename(self, target)

def killed_rmtree(path, **options):
    if moment == "after the renames":
        die()
    rmtree(path, **options)

def killed_write(model, info, folder, **options):
    write(model, info, folder, **options)
    if moment == "while writing":
        die()

if os.fork() == 0:
    Path.rename, shutil.rmtree, run.write_model = killed_rename, killed_rmtree, killed_write
    run.export_model(model, folder, info("new"))
    os._exit(1)
assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGKILL
print(sorted(path.name.split(".")[-1] for path in folder.parent.iterdir()))
(folder.parent / ".model.notes.old").mkdir()
run.repair_exports(folder.parent)
print(sorted(path.name for path in folder.parent.iterdir()))
print(run.load_exported(folder).pretrained_cfg["tag"] if folder.exists() else None)
"""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("moment", "left", "tag"),
    [
        ("while writing", ["model", "new"], "old"),
        ("before the first rename", ["model", "new"], "old"),
        ("between the renames", ["new", "old"], "new"),
        ("after the renames", ["model", "old"], "new"),
        ("first export", ["new"], None),
    ],
)
def test_a_killed_export_is_mended(lab: Any, tmp_path: Path, moment: str, left: list[str], tag: str | None) -> None:
    outcome = lab.run_python("-c", KILLED, moment, tmp_path, cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    names = [".model.notes.old", *(["model"] if tag else [])]
    assert outcome.out.splitlines() == [str(left), str(names), str(tag)]


def test_a_sample_image_comes_with_its_card_and_goes_again(tmp_path: Path, model: Any, plots: Path) -> None:
    folder = export_run(tmp_path / "model", model, changed(RESULTS, sample_image="one"))
    assert RunResults.load(folder / "results.json").sample_image is None  # there is no image in the folder
    image = tmp_path / "sample.jpg"
    image.write_bytes(b"an image")
    decorate_export(folder, plots, [], sample=(image, "two"))
    assert (folder / "sample.jpg").read_bytes() == b"an image"
    assert "shows the class two" in files(folder)["README.md"].decode()
    assert RunResults.load(folder / "results.json").sample_image == "two"
    assert exported_files(folder)["sample.jpg"] == b"an image"
    decorate_export(folder, plots, [])
    assert not (folder / "sample.jpg").exists() and "sample.jpg" not in files(folder)["README.md"].decode()
