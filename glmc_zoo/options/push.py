"""Options of a push: which model, and the Space with its demo; where the model goes is in `PushTarget`."""

from dataclasses import dataclass

from glmc_zoo.errors import UserError
from glmc_zoo.fields import OptionGroup, option
from glmc_zoo.hub.push.target import PushTarget


@dataclass(frozen=True, kw_only=True)
class PushSource(OptionGroup):
    """What `recipes/push.py` pushes."""

    model: str = option("exported model, such as runs/NAME/model; its card is rendered anew", example="runs/NAME/model")
    dry_run: bool = option("check the files and list them; nothing is sent", default=False)


@dataclass(frozen=True, kw_only=True)
class SpaceOptions(OptionGroup):
    """A Space on the Hub that shows the demo of the model."""

    space: str | None = option(
        "ORG/NAME of a Space with the demo of the model; without --repo the model's files lie in the Space",
        default=None,
    )
    space_folder: str | None = option("new folder for the files of the Space, which are then not pushed", default=None)
    space_images: int = option(
        "small training images of each rare class to put into the Space, where everybody can see them; they are those "
        "of the model's run",
        default=0,
        at_least=0,
        below=101,
    )

    @property
    def is_requested(self) -> bool:
        """Whether a Space is asked for."""
        return self.space is not None or self.space_folder is not None

    def check(self) -> None:
        """Refuse images for a Space that nobody asked for."""
        if self.space_images and not self.is_requested:
            raise UserError("space_images= has no effect without space=: give space=ORG/NAME as well.")


@dataclass(frozen=True, kw_only=True)
class PushRequest:
    """The options of a push: the model, the Space, and the repositories that they go to."""

    source: PushSource
    target: PushTarget | None
    """Where the model goes; ``None`` where only its demo is pushed."""
    space: SpaceOptions
    space_target: PushTarget | None
    """Where the demo goes; ``None`` without one, or where a folder is written."""
