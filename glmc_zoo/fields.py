"""Options as dataclass fields: one line of help, the values allowed, and who decides when nobody gives a value."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from glmc_zoo.errors import UserError

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def option(
    help: str,
    *,
    default: Any = dataclasses.MISSING,
    decided_by: str | None = None,
    choices: Callable[[], Iterable[str]] | None = None,
) -> Any:
    """A dataclass field that is an option.

    Args:
        help: One line for ``--help``, without the choices and the default, which are added from the field itself.
        default: Value when nobody gives one. Without a default the field is required of whoever builds the group.
        decided_by: Who fills the value in, for ``--help``; for instance "the data set's recipe".
        choices: Gives the names allowed where they are not fixed (a registry); else the type says what is allowed.
    """
    metadata = {"help": help, "decided_by": decided_by, "choices": choices}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class OptionGroup:
    """Base of the dataclasses that hold a group of options: converts and checks every value when one is made.

    Subclasses are frozen, keyword-only dataclasses; their `check` holds what goes beyond the types.
    """

    def __post_init__(self) -> None:
        hints = type_hints(type(self))
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            value = convert(field.name, getattr(self, field.name), hints[field.name])
            choices = field.metadata.get("choices")
            if choices is not None and value is not None and value not in (allowed := list(choices())):
                raise _refusal(field.name, value, f"one of {', '.join(allowed)}")
            object.__setattr__(self, field.name, value)
        self.check()

    def check(self) -> None:
        """Refuse values that the types allow and the meaning does not.

        Raises:
            UserError: A value is out of range, or has no effect beside another one.
        """

    def at_least(self, low: float, *names: str) -> None:
        """Refuse the first of these fields that is below ``low``; ``None`` passes."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not value >= low:
                raise UserError(f"{name}={value!r} is too small: it must be at least {low}.")

    def above_zero(self, *names: str) -> None:
        """Refuse the first of these fields that is not above 0; ``None`` passes."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name}={value!r} must be above 0.")

    def below_one(self, *names: str) -> None:
        """Refuse the first of these fields that does not lie in 0 to 1, 1 excluded; ``None`` passes."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise UserError(f"{name}={value!r} must lie in 0 to 1, 1 excluded.")


@cache
def type_hints(group: type) -> dict[str, Any]:
    """Types of a group's fields, by name."""
    return get_type_hints(group)


def field_names(*groups: type) -> list[str]:
    """Names of the options of these groups, in order."""
    return [field.name for group in groups for field in dataclasses.fields(group)]


def values_of(group: Any) -> dict[str, Any]:
    """The options of a group, by name."""
    return {field.name: getattr(group, field.name) for field in dataclasses.fields(group)}


def convert(name: str, value: Any, kind: Any) -> Any:
    """``value`` as the type of an option asks for; text that spells a number becomes the number.

    Args:
        name: Of the option, for the message.
        value: From a command line, a YAML file or Python.
        kind: Type of the option: a plain type, a ``Literal``, a list of text, or a union of these.

    Raises:
        UserError: The value is none that the type allows.
    """
    for part in get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,):
        try:
            return _converted(value, part)
        except (TypeError, ValueError):
            continue
    raise _refusal(name, value, allowed(kind))


def _converted(value: Any, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        if value in get_args(kind) and not isinstance(value, bool):
            return value
    elif get_origin(kind) is list:
        items = [value] if isinstance(value, str | os.PathLike) else list(value)
        return [_converted(item, get_args(kind)[0]) for item in items]
    elif kind is str:
        if isinstance(value, str | os.PathLike):
            return str(os.fspath(value))
    elif kind in (int, float):
        if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
            number = kind(value)
            if isinstance(value, str) or number == value or value != value:
                return number
    elif isinstance(value, kind):
        return value
    raise TypeError


def allowed(kind: Any) -> str:
    """What a type of option allows, in words."""
    parts = [part for part in (get_args(kind) or (kind,)) if part is not NoneType]
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, parts))}" if len(parts) > 1 else str(parts[0])
    if get_origin(kind) is list:
        return f"{_KINDS[parts[0]]}, once or several times"
    return " or ".join(map(allowed, parts)) if get_args(kind) else _KINDS[kind]


def _refusal(name: str, value: Any, expected: str) -> UserError:
    return UserError(f"{name}={value!r} is not accepted: it must be {expected}.")
