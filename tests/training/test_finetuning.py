"""Fine-tuning: the source, the classes, the part that is trained, and the plain timm model that results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

import glmc_zoo
from glmc_zoo.options.defaults import FINETUNE_RECIPE

Recipe = Callable[..., Any]
# In the first epoch of GLMC the re-balanced classifier, the exported one, learns nothing yet.
SHORT = ["--epochs", 2, "--batch-size", 8, "--warmup-epochs", 0, "--views", "mixup_cutmix"]


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the digits, trained for an epoch, with the heads of GLMC beside it."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    tail = {"max_count": 10, "imbalance_factor": 2, "batch_size": 16, "views": "mixup_cutmix"}
    glmc_zoo.train(epochs=1, output_dir=folder, **tail)
    return folder / "model"


def loaded(folder: Path, **options: Any) -> Any:
    return timm.create_model(f"local-dir:{folder}", pretrained=True, **options).eval()


def test_other_classes_get_a_fresh_classifier_on_the_trained_encoder(
    finetune: Recipe, lab: Any, digits: Path, tmp_path: Path
) -> None:
    images = lab.images(tmp_path / "animals")
    outcome = finetune("--model", digits, "--data", images, *SHORT, "--lr", 1e-9, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    assert "keeps its projector, predictor" in outcome.out
    tuned, source = loaded(tmp_path / "run" / "model"), loaded(digits)
    assert tuned.num_classes == 3 and tuned.pretrained_cfg["label_names"] == ["ant", "bee", "cat"]
    assert torch.allclose(tuned.conv1.weight, source.conv1.weight, atol=1e-6)  # hardly moved from there
    results = lab.results(tmp_path / "run")
    assert results["finetune"]["kept"] == ["projector", "predictor"]
    assert results["model"]["input_size"] == [3, 16, 16]  # the source's, not that of the images
    assert results["model"]["mean"] == pytest.approx([0.3053] * 3)


def test_other_classes_of_the_same_number_get_a_fresh_classifier(
    finetune: Recipe, lab: Any, digits: Path, tmp_path: Path
) -> None:
    images = lab.images(tmp_path / "ten", {f"species {i}": 4 for i in range(10)}, test=1)
    outcome = finetune("--model", digits, "--data", images, *SHORT, "--lr", 1e-9, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    assert not torch.allclose(loaded(tmp_path / "run" / "model").fc.weight, loaded(digits).fc.weight, atol=1e-2)


def test_the_same_classes_go_on_with_classifier_and_heads(
    finetune: Recipe, lab: Any, digits: Path, tmp_path: Path
) -> None:
    options = [*lab.tiny, "--epochs", 1, "--lr", 1e-9, "--warmup-epochs", 0]
    outcome = finetune("--model", digits, *options, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    kept = lab.results(tmp_path / "run")["finetune"]["kept"]
    assert kept == ["classifier", "projector", "predictor", "conventional_classifier"]
    assert torch.allclose(loaded(tmp_path / "run" / "model").fc.weight, loaded(digits).fc.weight, atol=1e-6)
    from safetensors.torch import load_file

    before = load_file(digits / "glmc_heads.safetensors")
    after = load_file(tmp_path / "run" / "model" / "glmc_heads.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[key], after[key], atol=1e-6) for key in before)


def changed(folder: Path, source: Path) -> set[str]:
    """Names of the tensors of a tuned model that are not those of its source."""
    tuned, start = loaded(folder).state_dict(), loaded(source).state_dict()
    return {name for name in tuned if not torch.equal(tuned[name], start[name])}


def test_a_linear_probe_leaves_the_encoder_as_it_was(finetune: Recipe, lab: Any, digits: Path, tmp_path: Path) -> None:
    for method in ("glmc", "ce"):
        run = tmp_path / method
        outcome = finetune(
            "--model", digits, *lab.few, "--epochs", 2, "--tune", "head", "--method", method, "--output-dir", run
        )
        assert outcome.status == 0, outcome.err
        assert changed(run / "model", digits) == {"fc.weight", "fc.bias"}  # statistics of batch-norm included


def test_the_last_blocks_are_the_last(finetune: Recipe, lab: Any, digits: Path, tmp_path: Path) -> None:
    options = [*lab.tiny, "--epochs", 2, "--tune", "blocks", "--last-blocks", 2]
    outcome = finetune("--model", digits, *options, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    moved = {name.rpartition(".")[0].removesuffix(".conv1").removesuffix(".bn1").removesuffix(".conv2")
             .removesuffix(".bn2") for name in changed(tmp_path / "run" / "model", digits)}  # fmt: skip
    assert moved == {"layer3.1", "layer3.2", "fc"}


def test_adapters_are_merged_into_a_plain_timm_model(finetune: Recipe, lab: Any, digits: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="needs the extra peft")
    options = [*lab.tiny, "--epochs", 2, "--tune", "lora", "--lora-rank", 2, "--val-fraction", 0.2, "--select", "best"]
    outcome = finetune("--model", digits, *options, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    folder = tmp_path / "run" / "model"
    tuned, start = loaded(folder).state_dict(), loaded(digits).state_dict()
    assert tuned.keys() == start.keys()
    update = (tuned["layer2.0.conv2.weight"] - start["layer2.0.conv2.weight"]).flatten(1)
    assert torch.linalg.matrix_rank(update, rtol=1e-3) <= 2 * 9 and update.abs().max() > 0
    assert torch.equal(tuned["bn1.running_mean"], start["bn1.running_mean"])
    # What was scored is what is exported.
    run = outcome.run
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(folder)(x), run.timm_model.eval()(x))


def test_layer_decay_scales_the_learning_rates(finetune: Recipe, lab: Any, digits: Path, tmp_path: Path) -> None:
    options = [*lab.tiny, "--epochs", 1, "--warmup-epochs", 0, "--layer-decay", 0.5, "--lr", 0.08]
    outcome = finetune("--model", digits, *options, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    run = outcome.run
    rate = {id(p): group["lr"] for group in run.optimizer.param_groups for p in group["params"]}
    model = run.timm_model
    top = [rate[id(p)] for p in (model.fc.weight, run.task.trainable_module.projector.weight)]
    assert top == pytest.approx([0.08, 0.08])
    blocks = [rate[id(block.conv1.weight)] for block in (model.layer3[2], model.layer3[1], model.layer1[0])]
    assert blocks == pytest.approx([0.08 * 0.5, 0.08 * 0.25, 0.08 * 0.5**9])
    assert rate[id(model.conv1.weight)] == pytest.approx(0.08 * 0.5**10)
    assert all(group["weight_decay"] == FINETUNE_RECIPE["weight_decay"] for group in run.optimizer.param_groups)


@pytest.mark.processes
def test_two_processes(lab: Any, digits: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="needs the extra peft")
    script = lab.root / "recipes" / "finetune.py"
    for tune in ("head", "lora"):
        options = [
            "--model",
            digits,
            *lab.few,
            "--epochs",
            1,
            "--method",
            "ce",
            "--tune",
            tune,
            "--output-dir",
            tmp_path / tune,
        ]
        outcome = lab.torchrun(script, *options, cwd=tmp_path)
        assert outcome.status == 0, outcome.err
        assert lab.results(tmp_path / tune)["processes"] == 2
    assert changed(tmp_path / "head" / "model", digits) == {"fc.weight", "fc.bias"}


def test_a_transformer_by_adapters_and_by_its_last_block(finetune: Recipe, lab: Any, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="needs the extra peft")
    from glmc_zoo.hub import ExportInfo, export_model

    source = export_model(
        timm.create_model("test_vit", num_classes=4, img_size=32),
        tmp_path / "vit",
        ExportInfo(class_names=list("wxyz"), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(3, 32, 32), tag="made_up"),
    )
    images = lab.images(tmp_path / "animals")
    for tune in (["lora"], ["blocks", "--layer-decay", 0.5]):
        run = tmp_path / tune[0]
        outcome = finetune("--model", source, "--data", images, *SHORT, "--tune", *tune, "--output-dir", run)
        assert outcome.status == 0, outcome.err
        tuned, start = loaded(run / "model").state_dict(), loaded(source).state_dict()
        moved = {name for name in start if not name.startswith("head.") and not torch.equal(tuned[name], start[name])}
        blocks = {name.split(".")[1] for name in moved if name.startswith("blocks.")}
        assert blocks == ({"0", "1", "2", "3", "4", "5"} if tune[0] == "lora" else {"5"})
        assert json.loads((run / "model" / "config.json").read_text())["architecture"] == "test_vit"


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--model", "resnet5O"], ["Unknown model 'resnet5O'", "resnet50"]),
        (["--model", "org/name"], ["Folder org/name does not exist", "hf-hub:org/name"]),
        (["--model", "empty_folder"], ["empty_folder is not an exported model", "config.json"]),
        (["--model", "hf_hub:org/name"], ["hf_hub:org/name is not in the local cache", "HF_HUB_OFFLINE"]),
        (["--model", "x", "--tune", "all"], ["--tune all", "full, head, blocks, lora"]),
        (["--model", "x", "--last-blocks", 2], ["--last-blocks belongs to --tune blocks"]),
        (["--model", "x", "--lora-rank", 2], ["--lora-rank is for --tune lora or"]),
        (["--model", "x", "--tune", "head", "--layer-decay", 0.5], ["--layer-decay", "--tune head"]),
        (["--model", "x", "--layer-decay", 1.5], ["--layer-decay 1.5"]),
        (["--model", "x", "--backbone", "resnet50"], ["Unknown option --backbone"]),
        (["--model", "DIGITS", "--tune", "blocks", "--last-blocks", 40], ["--last-blocks 40", "at most"]),
        (["--model", "x", "--push-private"], ["--push-private", "--push-to-hub"]),
    ],
)
def test_one_sentence(
    finetune: Recipe, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[Any], parts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty_folder").mkdir()
    sentence = finetune(*(digits if arg == "DIGITS" else arg for arg in args)).sentence
    for part in parts:
        assert part in sentence
    assert not (tmp_path / "runs").exists()


def test_a_source_whose_weights_are_damaged_is_refused(finetune: Recipe, digits: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(digits, broken)
    weights = broken / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-5] ^= 1
    weights.write_bytes(raw)
    assert "model.safetensors of" in (sentence := finetune("--model", broken).sentence) and "SHA-256" in sentence
    (broken / "results.json").unlink()
    weights.write_bytes(bytes(raw[: len(raw) // 2]))
    assert "cannot be read" in (sentence := finetune("--model", broken).sentence) or "cannot be built" in sentence


def test_groups_by_terciles_are_stored_with_the_scores(
    finetune: Recipe, lab: Any, digits: Path, tmp_path: Path
) -> None:
    images = lab.images(tmp_path / "animals", {"ant": 12, "bee": 8, "cat": 4})
    run = tmp_path / "run"
    plain = finetune("--model", digits, "--data", images, *SHORT, "--output-dir", tmp_path / "plain")
    assert "--groups terciles" in plain.out and lab.results(tmp_path / "plain")["groups"]["few"] == 3
    outcome = finetune("--model", digits, "--data", images, *SHORT, "--groups", "terciles", "--output-dir", run)
    results = lab.results(run)
    assert outcome.status == 0 and results["groups"] == {"many": 1, "medium": 1, "few": 1}
    assert results["thresholds"] == {"many": 8, "few": 8}
    recalls = results["class_recalls"]
    assert results["test"]["many"] == recalls[0] and results["test"]["few"] == recalls[2]


def test_create_model_builds_what_was_exported(digits: Path) -> None:
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = loaded(digits)(x)
        for name in (str(digits), f"local-dir:{digits}"):
            assert torch.equal(glmc_zoo.create_model(name).eval()(x), expected)
        assert glmc_zoo.create_model(str(digits), num_classes=0).eval()(x).shape == (2, 64)
        fresh = glmc_zoo.create_model(str(digits), pretrained=False).eval()(x)
    assert not np.allclose(fresh, expected)


def test_the_licence_is_that_of_the_source(finetune: Recipe, lab: Any, digits: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(digits, tmp_path / "source"))
    described = json.loads((source / "config.json").read_text())
    described["pretrained_cfg"]["license"] = "cc-by-nc-4.0"
    (source / "config.json").write_text(json.dumps(described))
    short = [*lab.few, "--epochs", 1, "--method", "ce"]
    for options, expected in (([], "cc-by-nc-4.0"), (["--license", "mit"], "mit")):
        run = tmp_path / expected
        outcome = finetune("--model", source, *short, *options, "--output-dir", run)
        assert outcome.status == 0, outcome.err
        assert json.loads((run / "model" / "config.json").read_text())["pretrained_cfg"]["license"] == expected
        assert f"license: {expected}\n" in (run / "model" / "README.md").read_text()


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [("animals", [], "unknown"), ("animals", ["--license", "mit"], "mit"), ("digits_lt", [], "apache-2.0")],
)
def test_only_the_user_licenses_weights_of_own_images(
    train: Recipe, lab: Any, tmp_path: Path, data: str, options: list[str], expected: str
) -> None:
    source = lab.images(tmp_path / "animals") if data == "animals" else data
    run = tmp_path / "run"
    short = ["--backbone", "resnet20_cifar", "--image-size", 16, "--epochs", 1, "--batch-size", 8, "--method", "ce"]
    outcome = train("--data", source, *short, *options, "--output-dir", run)
    assert outcome.status == 0, outcome.err
    assert json.loads((run / "model" / "config.json").read_text())["pretrained_cfg"]["license"] == expected
    assert f"license: {expected}\n" in (run / "model" / "README.md").read_text()


def test_only_defaults_that_nobody_gave_are_printed(finetune: Recipe, lab: Any, digits: Path, tmp_path: Path) -> None:
    options = [*lab.tiny, "--epochs", 1, "--lr", 0.01]
    outcome = finetune("--model", digits, *options, "--output-dir", tmp_path / "run")
    defaults = next(line for line in outcome.out.splitlines() if line.startswith("defaults: "))
    assert "--weight-decay 0.0005" in defaults and "--lr" not in defaults and "--epochs" not in defaults
    note = "does not train the re-balanced classifier"
    assert note in outcome.out
    options += ["--views", "alternate", "--constant-alpha", 0.3]
    assert note not in finetune("--model", digits, *options, "--output-dir", tmp_path / "constant").out


def test_the_folder_of_a_run_is_named_after_the_model(
    finetune: Recipe, lab: Any, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = Path(shutil.copytree(digits, tmp_path / "numbers" / "model"))
    outcome = finetune("--model", named, *lab.few, "--epochs", 1, "--method", "ce")
    assert outcome.status == 0, outcome.err
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["numbers.finetuned.ce_digits_lt.seed0"]
