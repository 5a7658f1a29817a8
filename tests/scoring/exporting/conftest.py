"""Small models of three families, each exported once; timings are short."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch

import glmc_zoo
from glmc_zoo.hub import ExportInfo, export_model
from glmc_zoo.scoring.exporting import check, formats
from glmc_zoo.scoring.exporting.run import ExportedFile

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
SIZES = {"test_vit": 160, "test_convnext": 64, "resnet20_cifar": 32}
LABELS = ["lynx", "roe deer", "Fuchs, rot", "Ökotop"]


@dataclass
class Made:
    """An exported folder, what was made of it, and the rows of the table."""

    model: Path
    file: Path
    rows: list[ExportedFile]


def make_model(folder: Path, backbone: str, *, half: bool = False, **info: Any) -> Path:
    """A model with fresh weights that is sure of its answers, so that an error in its logits shows."""
    torch.manual_seed(0)
    model: Any = timm.create_model(backbone, num_classes=len(LABELS)).eval()
    size = (3, SIZES[backbone], SIZES[backbone])
    with torch.no_grad():
        model.get_classifier().weight.mul_(5 / model(torch.randn(4, *size)).std())
    given: dict[str, Any] = {"mean": MEAN, "std": STD, "input_size": size, "crop_pct": 0.9, **info}
    return export_model(model, folder, ExportInfo(class_names=LABELS, tag="t", **given), half=half)


@pytest.fixture(scope="session", autouse=True)
def short_timings() -> Iterator[None]:
    """A round suffices where the times do not matter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "_ROUNDS", (1, 1))
        yield


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    """``made("test_vit", "onnx")``: the export of that family in that format; made once."""
    done: dict[Any, Made] = {}

    def make(backbone: str, kind: str = "onnx", *, half: bool = False) -> Made:
        if (backbone, kind, half) not in done:
            folder = tmp_path_factory.mktemp(backbone)
            model = make_model(folder / "model", backbone, half=half)
            suffix = {"onnx": ".onnx", "torch_export": ".pt2"}[kind]
            rows = glmc_zoo.export(model=model, format=kind, output=folder / f"file{suffix}")
            done[backbone, kind, half] = Made(model, folder / f"file{suffix}", rows)
        return done[backbone, kind, half]

    return make


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """In place of ONNX a format that is written at once and runs the graph itself; ``shift`` moves the answers."""
    options = SimpleNamespace(shift=0)

    def open_file(path: Path) -> Any:
        graph: Any = torch.load(path, weights_only=False)
        return torch.inference_mode()(lambda images: graph(images)[0].roll(options.shift, dims=1))

    changed = replace(
        formats.FORMATS["onnx"], write=lambda graph, _images, _metadata, path: torch.save(graph, path), open=open_file
    )
    monkeypatch.setitem(formats.FORMATS, "onnx", changed)
    return options


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds as its last entry, which a test moves on."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[-1])
    return now
