"""Every method and variant: it trains, resumes bit for bit, exports, and timm alone loads what was exported.

A new method, loss, preset or example plug-in needs a case here; `test_every_registered_name_has_a_case` says which.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, get_args

import pytest
import timm
import torch
from torch import Tensor

import glmc_zoo
from glmc_zoo import register_sampler
from glmc_zoo.method.registry import _BUILT_IN as BUILT_IN
from glmc_zoo.method.switches import Preset

PLUGINS = Path(__file__).resolve().parents[2] / "recipes" / "plugins"
FOCAL, LDAM = {"plugin": [str(PLUGINS / "focal.py")]}, {"plugin": [str(PLUGINS / "ldam_drw.py")]}

# 34 training images: 5 batches of 8, of which the last has 2. A network of timm, with batch-norm.
TINY = {"max_count": 5, "imbalance_factor": 2, "batch_size": 8, "threads": 1}
LOSSES = {"loss", "conventional", "rebalanced", "consistency"}
NETWORK = {"backbone": "test_resnet"}
# The published two views: left to itself, the preset tuned trains so short a run without mixing.
GLMC = {"views": "mixup_cutmix"}

TRAIN: dict[str, dict[str, Any]] = {
    **{f"glmc-{preset}": {"preset": preset} for preset in get_args(Preset)},
    "glmc-auto": {"method": "glmc"},  # of the views that the length decides
    "ce": {"method": "ce"},
    "balanced_softmax": {"method": "balanced_softmax"},
    "focal": {"method": "focal", **FOCAL},
    # Re-weighted from 80 % of the epochs on.
    "ldam_drw": {"method": "ldam_drw", **LDAM, "epochs": 5, "eval_every": 5},
    "focal-rebalanced": {"rebalanced_loss": "focal", **FOCAL},
    "ldam_drw-rebalanced": {"rebalanced_loss": "ldam_drw", **LDAM, "epochs": 5, "eval_every": 5},
    "alternate": {"views": "alternate"},
    "alternate-focal-mix_off": {"views": "alternate", "rebalanced_loss": "focal", **FOCAL, "mix_off_epochs": 1},
    "alternate-unmixed_share": {"views": "alternate", "unmixed_share": 0.5},
    "ce-mixed": {"method": "ce", "views": "alternate"},
    "balanced_softmax-mixed": {"method": "balanced_softmax", "views": "alternate", "mix_off_epochs": 1},
    "focal-mixup": {"method": "focal", **FOCAL, "views": "mixup", "unmixed_share": 0.5},
    "ldam_drw-mixed": {"method": "ldam_drw", **LDAM, "views": "cutmix", "epochs": 5, "eval_every": 5},
    "sam": {"sam_rho": 0.1, **GLMC},
    "sam_every": {"sam_rho": 0.1, "sam_every": 3, **GLMC},
    "ema": {"ema_decay": 0.9, **GLMC},
    "sam-ema": {"sam_rho": 0.1, "ema_decay": 0.9, **GLMC},
    "mix_off": {"mix_off_epochs": 1, **GLMC},
    "joint_views": {"joint_views": True, **GLMC},
    "constant_alpha": {"constant_alpha": 0.5, **GLMC},
    "mixup": {"views": "mixup"},
    "cutmix": {"views": "cutmix", "correct_lam": True},
    "sampler": {"sampler": "rarest_half"},
    "accumulation": {"grad_accum_steps": 2, **GLMC},
    "accumulation-sam-clip": {"grad_accum_steps": 2, "sam_rho": 0.1, "sam_every": 2, "clip_grad": 1.0, **GLMC},
    "adamw-dropout": {"opt": "adamw", "lr": 1e-3, "drop_rate": 0.3, "drop_path_rate": 0.2, **GLMC},
    "best": {"select": "best", "eval_every": 1, "val_fraction": 0.2, "ema_decay": 0.9, **GLMC},
    "large": {"augment": "large", **GLMC},
    "large-alternate": {"augment": "large", "views": "alternate"},
    "large-mixed": {"augment": "large", "method": "ce", "views": "alternate"},
}
FINETUNE: dict[str, dict[str, Any]] = {
    "full-layer_decay": {"layer_decay": 0.5, **GLMC},
    "full-alternate": {"views": "alternate"},
    "auto": {},
    "head": {"tune": "head", **GLMC},
    "head-ce": {"tune": "head", "method": "ce"},
    "blocks-layer_decay": {"tune": "blocks", "last_blocks": 1, "layer_decay": 0.5, **GLMC},
    "lora": {"tune": "lora", "lora_rank": 2, **GLMC},
}
SECOND: dict[str, dict[str, Any]] = {
    "maxnorm": {},
    "no-maxnorm": {"maxnorm": False},
    "maxnorm-accumulation": {"grad_accum_steps": 2, "sam_rho": 0.1},
}
CASES = [
    *(pytest.param("train", {**NETWORK, **case}, id=f"train-{name}") for name, case in TRAIN.items()),
    *(pytest.param("finetune", case, id=f"finetune-{name}") for name, case in FINETUNE.items()),
    *(pytest.param("second_stage", case, id=f"second_stage-{name}") for name, case in SECOND.items()),
]


@pytest.fixture(autouse=True)
def rarest_half(own_registry: None) -> None:
    """A sampler that draws partners from the rarer half of the classes alone."""

    @register_sampler("rarest_half")
    def weights(labels: Tensor, class_counts: list[int]) -> Tensor:
        counts = torch.tensor(class_counts)
        return (counts <= counts.median())[labels].double()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The exported model of a first stage, from which fine-tuning and the second stage start."""
    folder = tmp_path_factory.mktemp("source") / "run"
    glmc_zoo.train(**NETWORK, **TINY, **GLMC, epochs=2, output_dir=folder)
    yield folder / "model"


@pytest.mark.slow
@pytest.mark.parametrize(("command", "case"), CASES)
def test_trains_resumes_and_exports(
    command: str,
    case: dict[str, Any],
    finished: Callable[..., Any],
    interrupted_at: Callable[[int], AbstractContextManager[None]],
    lab: Any,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if case.get("tune") == "lora":
        pytest.importorskip("peft", reason="needs the extra peft")
    options = {**TINY, "epochs": 2, "eval_every": 2, "warmup_epochs": 0, "checkpoint_steps": 2, **case}
    if command != "train":
        options["model"] = request.getfixturevalue("source")
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"

    # It trains: every loss is finite, and the classifier moves.
    run = finished(command, **options, output_dir=whole)
    rows = lab.rows(whole)
    assert [row["epoch"] for row in rows] == list(range(1, options["epochs"] + 1))
    assert all(math.isfinite(row[name]) for row in rows for name in LOSSES & row.keys())
    assert not torch.equal(run.timm_model.get_classifier().weight, run.start)

    # Interrupted within its last epoch, a batch or two after the last checkpoint, it ends with the same bits.
    batches, last = len(run.loader), options["epochs"]
    with interrupted_at(batches * (last - 1) + 3):
        finished(command, **options, output_dir=resumed)
    assert not (resumed / "results.json").exists()
    capsys.readouterr()
    again = finished(command, **options, output_dir=resumed, resume="auto")
    assert re.search(rf"^Resumed from .*: epoch {last}, batch [23] is next\.$", capsys.readouterr().out, re.MULTILINE)
    assert lab.same_weights(lab.weights(whole), lab.weights(resumed))
    assert untimed(lab.rows(resumed)) == untimed(rows)
    assert again.progress.step == run.progress.step == batches * options["epochs"]
    assert heads(resumed) == heads(whole)

    # timm loads the export, without this package's networks, and computes what was scored.
    exported = timm.create_model(f"local-dir:{resumed / 'model'}", pretrained=True).eval()
    assert not lab.results(resumed)["model"]["needs_glmc_zoo"]
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(exported(images), again.timm_model.eval()(images))


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of ``metrics.jsonl`` without their speed."""
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in rows]


def heads(folder: Path) -> bytes | None:
    """The exported heads that only training needs."""
    path = folder / "model" / "glmc_heads.safetensors"
    return path.read_bytes() if path.exists() else None


def test_every_registered_name_has_a_case() -> None:
    """The registry itself also holds what other tests registered: the built-in names and the example plug-ins count."""
    methods = {case.get("method", "glmc") for case in TRAIN.values()}
    plugins = {path.stem for path in PLUGINS.glob("*.py")}
    assert methods == {*(name for kind, name in BUILT_IN if kind != "sampler"), *plugins}
    assert {case.get("preset") for case in TRAIN.values()} >= set(get_args(Preset))
    rebalanced = {case.get("rebalanced_loss") for case in TRAIN.values()}
    assert rebalanced >= plugins
