"""Options of the demo: a page on which a model classifies images that are uploaded."""

from dataclasses import dataclass
from typing import Literal

from glmc_zoo.errors import UserError
from glmc_zoo.fields import OptionGroup, option
from glmc_zoo.options.images import BACKBONE_PLUGIN


@dataclass(frozen=True, kw_only=True)
class DemoOptions(OptionGroup):
    """Every option of a demo."""

    model: str = option(
        "model that classifies: published model, exported folder, hf-hub:ORG/NAME or pretrained timm model",
        example="for instance model=runs/NAME/model",
    )
    plugin: list[str] = option(BACKBONE_PLUGIN, default=[])
    data: str | None = option(
        "data set whose training images of rare classes are shown where they are similar, as --data of a training",
        default=None,
        decided_by="the model's run, where its images are on this machine",
    )
    data_dir: str | None = option("folder with a local copy of a catalogue data set for --data", default=None)
    prior: str | None = option(
        "class frequencies where the model is used: a CSV file with the columns class and count", default=None
    )
    model_prior: Literal["auto", "uniform", "training"] = option(
        "class frequencies that the model's probabilities assume; auto: known from its training method", default="auto"
    )
    classes: list[str] = option(
        "classes that can occur, with commas between them; the others are ruled out", default=[]
    )
    min_probability: float = option(
        "where the slider begins: the answer is 'not sure' where the most probable class has less than this",
        default=0.5,
        at_least=0,
        below=1,
    )
    image_size: int | None = option(
        "side of the images in pixels", default=None, decided_by="the model", at_least=1, below=4097
    )
    host: str = option("address to listen on; 0.0.0.0: every network of this machine", default="127.0.0.1")
    port: int | None = option(
        "port to listen on", default=None, decided_by="the first free one from 7860", at_least=1, below=65536
    )
    share: bool = option(
        "also give the page a public address; images then travel through the servers of Gradio", default=False
    )

    def check(self) -> None:
        """Refuse what one image alone cannot give, and options that have no effect."""
        if self.prior == "estimate":
            raise UserError(
                "prior='estimate' needs many images, and a demo sees one at a time: give a CSV file, or leave it out."
            )
        if self.model_prior != "auto" and self.prior is None:
            raise UserError(f"model_prior={self.model_prior!r} has no effect without prior=: leave it out.")
        if self.data_dir is not None and self.data is None:
            raise UserError("data_dir= is the folder of data=, which is missing: give both, or leave it out.")
