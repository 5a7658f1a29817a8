"""Matches the classes of a model to the classes of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from glmc_zoo.errors import UserError
from glmc_zoo.text import counted


@dataclass(frozen=True)
class ClassMatch:
    """The logits of a model that belong to the classes of a data set."""

    columns: list[int] | None = None
    """Index of the logit of each class of the data; ``None`` for the same classes in the same order."""
    note: str | None = None
    """One sentence on the match, where it is not the plain one."""

    def select(self, logits: Tensor) -> Tensor:
        """Logits (B, C) of the data's classes, in their order."""
        return logits if self.columns is None else logits[:, self.columns]


def match_classes(
    name: str, model_names: Sequence[str] | None, num_classes: int, data_names: Sequence[str]
) -> ClassMatch:
    """Find the logits of a model that belong to the classes of a data set.

    Classes are matched by their names. A model without class names must have as many classes as the data, and they are
    matched by position. A model may have more classes than the data.

    Args:
        name: Name of the model, for messages.
        model_names: Class names of the model in the order of its logits; ``None`` if it has none.
        num_classes: Number of the model's classes.
        data_names: Class names of the data, in the order of its labels.

    Returns:
        Which logits to select, with a note for the user if the classes are not simply the same.

    Raises:
        UserError: The model lacks a class of the data or has two classes of the same name; or it has no class names and
            not as many classes as the data.
    """
    advice = "fine-tune the model on this data first (glmc-zoo finetune)."
    if model_names is None:
        if num_classes != len(data_names):
            raise UserError(
                f"Classes that do not match: {name} has {counted(num_classes, 'unnamed class')}, and the data has "
                f"{len(data_names)} ({quote_few(data_names)}): {advice}"
            )
        return ClassMatch(None, f"{name} does not name its classes: they are matched to those of the data by position.")
    if list(model_names) == list(data_names):
        return ClassMatch()
    positions = {label: index for index, label in enumerate(model_names)}
    missing = [label for label in data_names if label not in positions]
    if missing or len(positions) < len(model_names):
        difference = f"lacks {quote_few(missing)}" if missing else "gives several classes the same name"
        raise UserError(
            f"Classes that do not match: {name} {difference} (its classes: {quote_few(model_names)}; the data's: "
            f"{quote_few(data_names)}): {advice}"
        )
    note = f"{name} has the data's classes in another order: its logits were re-ordered by name."
    if len(model_names) > len(data_names):
        note = (
            f"{name} has {counted(len(model_names), 'class')}: only the logits of the {len(data_names)} classes of "
            "the data are "
            "used. Scores are therefore higher than if the model could also answer with its other classes."
        )
    return ClassMatch([positions[label] for label in data_names], note)


def quote_few(names: Sequence[str]) -> str:
    """The first four names in quotation marks, and how many more there are."""
    listed = ", ".join(map(repr, names[:4]))
    return f"{listed} and {len(names) - 4} more" if len(names) > 4 else listed
