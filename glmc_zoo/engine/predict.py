"""The configuration of predictions: which model, which images, and where the table goes."""

from __future__ import annotations

from dataclasses import dataclass

from glmc_zoo.engine.options import check_minimum, option
from glmc_zoo.errors import UserError

__all__ = ["PredictConfig"]


@dataclass(kw_only=True)
class PredictConfig:
    """Every option of a prediction."""

    model: str | None = option(
        None, "what classifies: zoo name, exported folder, hf_hub:ORG/NAME or pretrained timm model"
    )
    images: list[str] | None = option(  # noqa: RUF009  # makes a field
        None, "image files, and folders that are searched for images at any depth"
    )
    top: int = option(5, "classes to give for each image, the most probable first")
    batch_size: int = option(64, "images per step and process")
    workers: int | None = option(
        None, "processes that load images, per process; 0: it loads them itself; as many as pay by default"
    )
    image_size: int | None = option(None, "side of the images in pixels; the model's own by default")
    output: str = option("predictions.csv", "CSV file with a line for each image")
    overwrite: bool = option(False, "replace the output file where it exists")
    skip_bad_images: bool = option(False, "leave out images that cannot be read, name and count them")

    def __post_init__(self) -> None:
        for name, example in (("model", "runs/NAME/model"), ("images", "path/to/images")):
            if not getattr(self, name):
                raise UserError(f"--{name} is missing: give for instance --{name} {example}.")
        check_minimum(self, {"top": 1, "batch_size": 1, "image_size": 1, "workers": 0})
