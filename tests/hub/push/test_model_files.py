"""The files of a model that a push sends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from glmc_zoo.hub.push.push import model_files


def test_a_sample_image_that_was_deleted_is_not_in_the_card(export: Callable[..., Path]) -> None:
    folder = export("shown")
    results = folder / "results.json"
    results.write_text(json.dumps(json.loads(results.read_text()) | {"sample_image": "a"}))
    for deleted in (False, True):
        if deleted:
            (folder / "sample.jpg").unlink()
        else:
            Image.new("RGB", (8, 8), "red").save(folder / "sample.jpg")
        files = model_files(folder, "org/shown")
        card = files["README.md"]
        assert isinstance(card, bytes) and (b'src="sample.jpg"' in card) == ("sample.jpg" in files) == (not deleted)
