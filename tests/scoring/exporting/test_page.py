"""What docs/export.md shows works as written, on an image that lies on its side and is not square."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import glmc_zoo

from .conftest import LABELS, Made

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

PAGE = Path(__file__).parents[3] / "docs" / "export.md"
ONNX, TORCH = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def photo(folder: Path) -> Path:
    """A JPEG file of 131 x 90 pixels with a camera's orientation."""
    coarse = np.random.default_rng(2).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image, exif = Image.fromarray(coarse).resize((131, 90), Image.Resampling.BICUBIC), Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "photo.jpg", exif=exif)
    return folder / "photo.jpg"


def test_onnx_runtime_gives_what_predict_gives(
    made: Callable[..., Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, image = made("test_convnext"), photo(tmp_path)
    (tmp_path / "wildlife.onnx").symlink_to(one.file)
    (expected,) = glmc_zoo.predict(model=one.model, images=image, output=None)
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    exec(ONNX, names := {})  # type: ignore[var-annotated]
    label, probability = capsys.readouterr().out.rsplit(maxsplit=1)
    assert label == expected.labels[0] and float(probability) == pytest.approx(expected.probabilities[0], abs=1e-5)
    order = sorted(range(len(LABELS)), key=lambda i: -names["probabilities"][0][i])
    assert [LABELS[i] for i in order] == expected.labels


def test_the_pt2_is_run_as_shown(
    made: Callable[..., Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wildlife.pt2").symlink_to(made("test_convnext", "torch_export").file)
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    exec(TORCH, {})
    assert capsys.readouterr().out.strip() in LABELS


def test_every_command_of_the_page_is_accepted() -> None:
    from glmc_zoo.options.parser import read_command_line
    from glmc_zoo.options.resolve import export_options
    from glmc_zoo.options.sections import EXPORT

    commands = re.findall(r"^glmc-zoo export (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        assert export_options(read_command_line(EXPORT, "", "", command.split())).model == "runs/wildlife/model"
