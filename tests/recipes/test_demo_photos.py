"""The demo on images of clothes, on a tiny network and other images: what it leaves, and the figure made of it."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

import glmc_zoo
from glmc_zoo.hub import ExportInfo, export_model
from glmc_zoo.results import RunResults

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.usefixtures("own_cache")
def test_three_classifiers_a_table_a_page_and_a_figure(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    info = ExportInfo(class_names=list("wxyz"), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(3, 32, 32), tag="made_up")
    source = export_model(timm.create_model("test_resnet", num_classes=4), tmp_path / "source", info)
    animals = lab.images(tmp_path / "animals")
    lab.leave_plots_empty(monkeypatch)
    demo = runpy.run_path(str(ROOT / "recipes" / "demo_photos.py"))
    demo["SHARED"].update(model=source, data=animals, image_size=32)
    folder = tmp_path / "demo"
    monkeypatch.setattr(sys, "argv", ["demo_photos.py", str(folder)])
    demo["main"]()

    out = capsys.readouterr().out
    assert all(f"| {name} " in out for name in demo["ROWS"]) and "few (3 cl.)" in out
    closing = out.split("\nWhat to look at:\n")[1]
    assert (
        f"  {folder / 'evaluation' / 'report.html'} in a browser" in closing and "the columns many and few" in closing
    )
    assert closing.endswith("\n  glmc-zoo finetune --data my_images --tune head\n")
    heads = {name: RunResults.load(folder / name / "results.json").head for name in demo["ROWS"]}
    losses = {name: {trial.loss for trial in head.trials} for name, head in heads.items() if head is not None}
    assert losses["cross-entropy"] == {"cross-entropy"} and losses["balanced-softmax"] == {"balanced softmax"}
    assert len(losses["default"]) == 2
    assert [head.init for head in heads.values() if head is not None] == ["fresh", "fresh", "mean"]
    assert len(list((folder / "features").iterdir())) == 1  # all three share them
    page = (folder / "evaluation" / "report.html").read_text(encoding="utf-8")
    test = glmc_zoo.load_data(animals).test
    assert page.count('class="other"') == 2 * page.count("<img ") > 0  # the answers of both others on each image

    figure = runpy.run_path(str(ROOT / "docs" / "photos_figure.py"))
    answers = [figure["ModelPredictions"].read(folder / "evaluation" / name) for name in figure["NAMES"]]
    drawn = []
    for _ in range(2):
        canvas = FigureCanvasAgg(figure["draw"](answers, test))
        canvas.draw()
        drawn.append(bytes(canvas.buffer_rgba()))
    assert drawn[0] == drawn[1]

    monkeypatch.setattr(sys, "argv", ["demo_photos.py", str(folder)])
    with pytest.raises(glmc_zoo.errors.UserError, match=r"^Folder .*demo exists already: give a new one\.$"):
        demo["main"]()
    for words in ([str(folder), "more"], ["--quick"]):
        monkeypatch.setattr(sys, "argv", ["demo_photos.py", *words])
        with pytest.raises(SystemExit) as stop:
            demo["main"]()
        assert stop.value.code == 2 and words[-1] in capsys.readouterr().err
