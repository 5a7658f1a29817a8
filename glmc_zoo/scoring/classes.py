"""Which logits of a model belong to which class of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from glmc_zoo.errors import UserError


@dataclass(frozen=True)
class ClassMatch:
    """Which of a model's logits belong to the classes of a data set."""

    columns: list[int] | None = None
    """Logit of each class of the data; ``None`` where they are the same, in the same order."""
    note: str | None = None
    """One sentence, where something was decided."""

    def select(self, logits: Tensor) -> Tensor:
        """Logits (B, C) of the data's classes, in their order."""
        return logits if self.columns is None else logits[:, self.columns]


def match_classes(
    name: str, model_names: Sequence[str] | None, num_classes: int, data_names: Sequence[str]
) -> ClassMatch:
    """Match the classes of the model ``name`` by name; by position where it names none and the numbers are equal.

    Raises:
        UserError: A class of the data is not among the model's.
    """
    advice = "fine-tune the model on this data first (recipes/finetune.py)."
    if model_names is None:
        if num_classes != len(data_names):
            raise UserError(
                f"Classes that do not match: {name} has {num_classes} classes without names and the data "
                f"{len(data_names)} ({_few(data_names)}): {advice}"
            )
        return ClassMatch(None, f"{name} names no classes: its logits are matched to the data's classes by position.")
    if list(model_names) == list(data_names):
        return ClassMatch()
    position = {label: index for index, label in enumerate(model_names)}
    missing = [label for label in data_names if label not in position]
    if missing or len(position) < len(model_names):
        what = f"lacks {_few(missing)}" if missing else "gives several classes one name"
        raise UserError(
            f"Classes that do not match: {name} {what} (its classes: {_few(model_names)}; the data's: "
            f"{_few(data_names)}): {advice}"
        )
    note = f"{name} has the data's classes in another order: its logits were re-ordered by name."
    if len(model_names) > len(data_names):
        note = (
            f"{name} has {len(model_names)} classes: only the logits of the data's {len(data_names)} are used, so "
            "scores are higher than with all."
        )
    return ClassMatch([position[label] for label in data_names], note)


def _few(names: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
