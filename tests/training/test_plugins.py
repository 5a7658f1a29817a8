"""Plug-ins in a run: a user's own loss, method and sampler train, and results and card say where they come from."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.task import TrainingTask
from torch import Tensor, nn
from torch.nn import functional as F

import glmc_zoo
from glmc_zoo import register_method, register_sampler
from glmc_zoo.errors import UserError
from glmc_zoo.method import MethodSetup

pytestmark = pytest.mark.usefixtures("own_registry")

PLUGINS = Path(__file__).resolve().parents[2] / "recipes" / "plugins"
OPTIONS: dict[str, Any] = {
    **{"max_count": 5, "imbalance_factor": 2, "batch_size": 8, "epochs": 2, "warmup_epochs": 0, "threads": 1},
    **{"backbone": "test_resnet", "eval_every": 2},
}
PLUGIN = """
import torch
from timm.task import ClassificationTask
from glmc_zoo import register_loss, register_method, register_sampler

@register_loss("unused", title="a loss that the run does not use")
def unused(class_counts):
    return torch.nn.CrossEntropyLoss()

@register_sampler("last_class", title="the last class alone")
def last_class(labels, class_counts):
    return (labels == len(class_counts) - 1).float()

@register_method("smooth", title="cross-entropy with smooth labels")
def smooth(setup):
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    return ClassificationTask(setup.make_backbone(), criterion=criterion, verbose=False)
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "my_plugin.py"
    path.write_text(PLUGIN)
    return path


def plugin_line(file: Path, registered: str) -> str:
    """What the card says of a plug-in."""
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return f"- **Plug-in:** `{file.name}`, SHA-256 `{sha256}`; it registered {registered}\n"


def check_origin(lab: Any, folder: Path, file: Path, registered: str) -> None:
    """Results and card name the file, its SHA-256 and what the run used of it, and no folder of this machine."""
    results, card = lab.results(folder), (folder / "model" / "README.md").read_text()
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert results["plugins"] == [{"file": file.name, "sha256": sha256, "registered": [registered]}]
    assert plugin_line(file, registered) in card
    assert results["config"]["plugin"] == [f"path/to/{file.name}"]
    for name in ("results.json", "README.md", "config.yaml"):
        assert str(file.parent) not in (folder / "model" / name).read_text(), name


@pytest.mark.parametrize(("name", "title"), [("focal", "focal loss"), ("ldam_drw", "LDAM with deferred re-weighting")])
@pytest.mark.parametrize("role", ["baseline", "rebalanced_loss"])
def test_an_example_plugin_is_named_with_its_digest(
    name: str, title: str, role: str, finished: Callable[..., Any], lab: Any, tmp_path: Path
) -> None:
    option = {"method": name} if role == "baseline" else {"rebalanced_loss": name}
    file = PLUGINS / f"{name}.py"
    finished("train", **OPTIONS, **option, plugin=[str(file)], output_dir=tmp_path / "run")
    check_origin(lab, tmp_path / "run", file, f"loss {name}")
    results, card = lab.results(tmp_path / "run"), (tmp_path / "run" / "model" / "README.md").read_text()
    if role == "baseline":
        assert (results["method"], results["method_title"]) == (name, title)
        assert title in card
    else:
        assert (results["method"], results["config"]["rebalanced_loss"]) == ("glmc", name)


def test_a_run_without_plugins_names_none(finished: Callable[..., Any], lab: Any, tmp_path: Path) -> None:
    finished("train", **OPTIONS, output_dir=tmp_path / "run")
    assert lab.results(tmp_path / "run")["plugins"] == []
    assert "Plug-in" not in (tmp_path / "run" / "model" / "README.md").read_text()


def test_a_sampler_of_a_file_draws_the_partners(
    plugin: Path, finished: Callable[..., Any], lab: Any, tmp_path: Path
) -> None:
    options = {**OPTIONS, "plugin": [str(plugin)], "sampler": "last_class"}
    run = finished("train", **options, output_dir=tmp_path / "run")
    check_origin(lab, tmp_path / "run", plugin, "sampler last_class")  # and not what the run did not use
    labels = run.data.train.labels
    pairs = list(run.loader.batch_sampler.sampler)
    assert {int(labels[pair.second]) for pair in pairs} == {9}
    assert len({int(labels[pair.first]) for pair in pairs}) == 10
    # The prior of balanced softmax counts the images of both loaders.
    counts = np.array(run.data.class_counts, dtype=float)
    both = counts / counts.sum() + np.eye(10)[9]
    np.testing.assert_allclose(run.task.log_prior.numpy(), np.log(both / both.sum()), rtol=1e-5)


def test_a_method_of_a_file_trains_by_its_task(
    plugin: Path, finished: Callable[..., Any], lab: Any, tmp_path: Path
) -> None:
    options = {**OPTIONS, "plugin": [str(plugin)], "method": "smooth"}
    run = finished("train", **options, output_dir=tmp_path / "run")
    check_origin(lab, tmp_path / "run", plugin, "method smooth")
    results = lab.results(tmp_path / "run")
    assert results["model"]["name"] == "test_resnet.smooth_digits_lt"
    assert (results["method"], results["method_title"], results["preset"]) == (
        "smooth", "cross-entropy with smooth labels", None,
    )  # fmt: skip
    assert "cross-entropy with smooth labels" in (tmp_path / "run" / "model" / "README.md").read_text()
    assert run.task.criterion.label_smoothing == 0.1
    assert lab.rows(tmp_path / "run")[0].keys() == {"epoch", "loss", "images_per_second", "lr"}


class TwoViews(TrainingTask):
    """A user's task with two views of each image and no partners: their logits are averaged."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(verbose=False)
        self.trainable_module = model
        self.epochs_begun: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs_begun.append(epoch)

    def forward(self, views: tuple[Tensor, Tensor], targets: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        output = (self.trainable_module(views[0]) + self.trainable_module(views[1])) / 2
        return {"loss": F.cross_entropy(output, targets), "output": output}


def test_a_method_registered_in_python(finished: Callable[..., Any], lab: Any, tmp_path: Path) -> None:
    @register_method("two_views", title="mean of two views", views=2)
    def build(setup: MethodSetup) -> TwoViews:
        assert setup.class_counts == run_counts and setup.epochs == 2
        return TwoViews(setup.make_backbone())

    run_counts = [int(5 * 2 ** (-c / 9) + 1e-9) for c in range(10)]
    run = finished("train", **OPTIONS, method="two_views", output_dir=tmp_path / "run")
    assert run.task.epochs_begun == [0, 1]
    assert [row["epoch"] for row in lab.rows(tmp_path / "run")] == [1, 2]
    results = lab.results(tmp_path / "run")
    assert (results["method"], results["method_title"]) == ("two_views", "mean of two views")
    (origin,) = results["plugins"]
    assert (origin["file"], origin["registered"]) == (Path(__file__).name, ["method two_views"])
    assert origin["sha256"] == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def test_a_sampler_of_equal_weights_is_the_power_of_zero(
    finished: Callable[..., Any], lab: Any, tmp_path: Path
) -> None:
    @register_sampler("equal")
    def equal(labels: Tensor, class_counts: list[int]) -> Tensor:
        return torch.ones(len(labels), dtype=torch.float64)

    for name, option in {"equal": {"sampler": "equal"}, "power": {"sampler_power": 0.0}}.items():
        finished("train", **OPTIONS, **option, preset="official", output_dir=tmp_path / name)
    assert lab.same_weights(lab.weights(tmp_path / "equal"), lab.weights(tmp_path / "power"))


def test_a_second_stage_names_the_plugin_of_its_first(finished: Callable[..., Any], lab: Any, tmp_path: Path) -> None:
    file = PLUGINS / "focal.py"
    finished("train", **OPTIONS, method="focal", plugin=[str(file)], output_dir=tmp_path / "first")
    first = lab.results(tmp_path / "first")
    finished("second_stage", model=tmp_path / "first" / "model", epochs=1, output_dir=tmp_path / "second")
    second = lab.results(tmp_path / "second")
    for name in ("plugins", "method", "method_title"):
        assert second[name] == first[name]
    assert plugin_line(file, "loss focal") in (tmp_path / "second" / "model" / "README.md").read_text()


def test_a_run_does_not_go_on_with_another_version_of_its_plugin(
    finished: Callable[..., Any], interrupted_at: Any, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text((PLUGINS / "focal.py").read_text().replace('"focal"', '"mine"'))
    options = {**OPTIONS, "method": "mine", "plugin": [str(file)], "output_dir": tmp_path / "run"}
    with interrupted_at(2):
        finished("train", **options, checkpoint_steps=1)
    file.write_text(file.read_text().replace("gamma: float = 2.0", "gamma: float = 3.0"))
    with pytest.raises(UserError, match=r"was written with plugins .*mine.py.* restore the files of the plug-ins"):
        finished("train", **options, checkpoint_steps=1, resume="auto")


@pytest.mark.parametrize("option", ["method", "rebalanced_loss"])
def test_a_loss_for_each_image_is_one_sentence(option: str, finished: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch, glmc_zoo\n\n"
        "@glmc_zoo.register_loss('mine')\n"
        "def mine(class_counts):\n"
        "    return torch.nn.CrossEntropyLoss(reduction='none')\n"
    )
    options = {**OPTIONS, option: "mine", "plugin": [str(file)], "output_dir": tmp_path / "run"}
    with pytest.raises(UserError) as caught:
        finished("train", **options)
    assert str(caught.value) == (
        "The loss 'mine' returned a tensor of shape (8,) for a batch, and training needs one number: return "
        "loss.mean()."
    )
    # The run goes on in its folder once the file is corrected.
    file.write_text(file.read_text().replace("reduction='none'", ""))
    finished("train", **options, resume="auto")
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


@pytest.mark.processes
def test_a_backbone_of_a_file_is_trained_and_named(
    finished: Callable[..., Any], lab: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = (PLUGINS.parents[1] / "docs" / "extending.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (code,) = [block for block in blocks if "register_model" in block]
    file = tmp_path / "narrow.py"
    file.write_text(code)
    options = {**OPTIONS, "backbone": "resnet10_narrow", "image_size": 32, "plugin": [str(file)]}
    run = finished("train", **options, output_dir=tmp_path / "run")
    assert run.timm_model.num_features == 256
    assert lab.results(tmp_path / "run")["model"]["backbone"] == "resnet10_narrow"
    check_origin(lab, tmp_path / "run", file, "backbone resnet10_narrow")
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "after `import narrow`, which registers the architecture" in card and "nothing but timm" not in card
    snippets = re.findall(r"^```python\n(.*?)^```", card, re.DOTALL | re.MULTILINE)
    assert snippets and all("import narrow  # registers resnet10_narrow with timm" in code for code in snippets)
    # Another process does not know the backbone until it gets the file.
    start, plugin = ["--model", tmp_path / "run" / "model", "--batch-size", 8], ["--plugin", file]
    for words, status in (
        (["evaluate", *start, "--output-dir", "eval"], 2),
        (["finetune", *start, "--tune", "head", "--output-dir", "head"], 2),
        (["second-stage", *start, "--output-dir", "refused"], 2),
        (["evaluate", *start, "--output-dir", "eval", *plugin], 0),
        (["second-stage", *start, "--output-dir", "second_process", "--epochs", 1, "--threads", 1, *plugin], 0),
    ):
        outcome = subprocess.run(
            [sys.executable, "-m", "glmc_zoo", *map(str, words)], capture_output=True, text=True, cwd=tmp_path,
            env=lab.environment(ACCELERATE_USE_CPU="true"),
        )  # fmt: skip
        assert outcome.returncode == status, outcome.stderr
        if status:
            assert "which the file narrow.py registers with timm: give --plugin narrow.py, with its" in outcome.stderr
    # A fine-tuning and a second stage name its file too.
    model = {"model": tmp_path / "run" / "model", "plugin": [str(file)]}
    small = {"max_count": 5, "imbalance_factor": 2, "epochs": 1, "batch_size": 8, "threads": 1}
    finetuned = finished("finetune", **model, **small, output_dir=tmp_path / "tuned")
    assert finetuned.timm_model.num_features == 256
    finished("second_stage", **model, epochs=1, threads=1, output_dir=tmp_path / "second")
    head = {"tune": "head", "max_count": 5, "imbalance_factor": 2, "feature_views": 1, "threads": 1}
    with monkeypatch.context() as patch:
        lab.leave_plots_empty(patch)
        glmc_zoo.finetune(**model, **head, output_dir=tmp_path / "head")
    for name in ("tuned", "second", "head"):
        assert lab.results(tmp_path / name)["plugins"] == lab.results(tmp_path / "run")["plugins"]
        assert lab.results(tmp_path / name)["config"]["plugin"] == ["path/to/narrow.py"]
    # A Space could not load it. A file that registers nothing is refused as before.
    with pytest.raises(UserError, match=r"^A Space cannot show .*, because it lacks the file narrow\.py, which"):
        glmc_zoo.push(model=tmp_path / "run" / "model", space_folder=tmp_path / "space")
    file.write_text("import timm\n")
    with pytest.raises(UserError, match=r"registers nothing: decorate .* or with register_model of timm"):
        glmc_zoo.train(plugin=[str(file)])


def test_a_classifier_on_features_takes_a_backbone_alone(plugin: Path) -> None:
    sentence = r"^plugin='\S*my_plugin\.py' registers no backbone, which is all that tune='head' uses of a plug-in: "
    with pytest.raises(UserError, match=sentence):
        glmc_zoo.finetune(tune="head", plugin=[str(plugin)])
