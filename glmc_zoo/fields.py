"""Dataclass fields: options with their help, limits and who decides them; values out of text, YAML and JSON."""

import dataclasses
import math
import os
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from numbers import Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from glmc_zoo.errors import UserError

_Group = TypeVar("_Group", bound="OptionGroup")
MAX_PROCESSES = 1025
"""Processes or threads that an option asks for are below this: a typing error must not bring a machine down."""
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def option(
    help: str,
    *,
    default: Any = dataclasses.MISSING,
    decided_by: str | None = None,
    choices: Callable[[], Iterable[str]] | None = None,
    example: str | None = None,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """A dataclass field that is an option.

    Args:
        help: One line for ``--help``, without the choices and the default, which are added from the field itself.
        default: Value when nobody gives one. A field without a default must be given when the group is built.
        decided_by: Who fills the value in, for ``--help``; for instance "the data set's recipe".
        choices: Gives the names allowed where they are not fixed (a registry); else the type says what is allowed.
        example: What the error about a missing required option advises to give.
        at_least: Smallest number allowed.
        above: Number that the value must exceed.
        below: Number that the value must not reach.
    """
    metadata: dict[str, Any] = {"help": help, "decided_by": decided_by, "choices": choices, "example": example}
    metadata |= {"at_least": at_least, "above": above, "below": below}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class OptionGroup:
    """Base of the dataclasses that hold a group of options: converts and checks every value when one is made.

    Subclasses are frozen, keyword-only dataclasses; their `check` refuses what types and limits allow.
    """

    def __post_init__(self) -> None:
        hints = type_hints(type(self))
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            value = convert(field.name, getattr(self, field.name), hints[field.name])
            choices = field.metadata.get("choices")
            if choices is not None and value is not None and value not in (allowed_values := list(choices())):
                raise _refusal(field.name, value, f"one of {', '.join(allowed_values)}")
            if isinstance(value, int | float):
                _check_limits(field, value)
            object.__setattr__(self, field.name, value)
        self.check()

    def check(self) -> None:  # noqa: D102  # the class says it
        pass


def _check_limits(field: dataclasses.Field[Any], value: float) -> None:
    low, above, below = (field.metadata.get(name) for name in ("at_least", "above", "below"))
    if low is not None and not value >= low:
        raise UserError(f"{field.name}={value!r} is too small: it must be at least {low}.")
    if above is not None and not value > above:
        raise UserError(f"{field.name}={value!r} must be above {above}.")
    if below is not None and not value < below:
        limit = f"at most {below - 1}" if isinstance(below, int) and isinstance(value, int) else f"below {below}"
        raise UserError(f"{field.name}={value!r} must be {limit}.")


type_hints: Callable[[Any], dict[str, Any]] = cache(get_type_hints)
"""Types of a dataclass's fields, by name."""


def replace_options(group: _Group, values: Mapping[str, Any]) -> _Group:
    """A group of options with those of the ``values`` that it has."""
    dataclass: Any = group  # a dataclass, as every subclass is
    replaced: _Group = dataclasses.replace(
        dataclass, **{name: values[name] for name in values_of(group) if name in values}
    )
    return replaced


def field_names(*groups: type) -> list[str]:
    """Names of the options of these groups, in order."""
    return [field.name for group in groups for field in dataclasses.fields(group)]


def values_of(group: Any) -> dict[str, Any]:
    """The options of a group, by name."""
    return {field.name: getattr(group, field.name) for field in dataclasses.fields(group)}


def convert(name: str, value: Any, hint: Any) -> Any:
    """``value`` as the type of an option asks for.

    Text that spells a number becomes the number. A ``~`` at the start of a path becomes the home folder; that of a user
    who does not exist stays as it is.

    Args:
        name: Name of the option, for the message.
        value: From a command line, a YAML file or Python.
        hint: Type of the option: a plain type, a ``Literal``, a list of text, or a union of these.

    Raises:
        UserError: The type does not allow the value, or it is text that is empty or holds a NUL character.
    """
    for member in get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,):
        try:
            converted = _convert_value(value, member)
        except (TypeError, ValueError, OverflowError):  # int(inf) overflows
            continue
        for text in converted if isinstance(converted, list) else [converted]:
            if isinstance(text, str):
                _check_text(name, text)
        return converted
    raise _refusal(name, value, describe_type(hint))


def _check_text(name: str, text: str) -> None:
    if not text.strip():  # such as a variable of the shell that is not set
        raise UserError(f"{name}={text!r} is empty: give a value, or leave {name}= out.")
    if "\0" in text:
        raise UserError(f"{name}={text[:100]!r} holds a NUL character, which no path and no name has: leave it out.")


def _convert_value(value: Any, hint: Any) -> Any:
    if get_origin(hint) is Literal:
        value = "no" if value is False else value  # YAML reads a bare no as false
        if value in get_args(hint) and not isinstance(value, bool):
            return value
    elif get_origin(hint) is list:
        items = [value] if isinstance(value, str | os.PathLike) else list(value)
        return [_convert_value(item, get_args(hint)[0]) for item in items]
    elif hint is str:
        if isinstance(value, str | os.PathLike):
            return os.path.expanduser(str(os.fspath(value)))  # as a shell does, but a quoted ~ reaches us as it is
    elif hint in (int, float):
        if isinstance(value, str) or (isinstance(value, Real) and not isinstance(value, bool)):
            number = hint(value)
            if abs(number) < math.inf and (isinstance(value, str) or number == value):
                return number
    elif isinstance(value, hint):
        return value
    raise TypeError


def describe_type(hint: Any) -> str:
    """What a type of option allows, in words."""
    members = [member for member in (get_args(hint) or (hint,)) if member is not NoneType]
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, members))}" if len(members) > 1 else str(members[0])
    if get_origin(hint) is list:
        return f"{_TYPE_NAMES[members[0]]}, once or several times"
    return " or ".join(map(describe_type, members)) if get_args(hint) else _TYPE_NAMES[hint]


def _refusal(name: str, value: Any, expected: str) -> UserError:
    text = repr(value)
    return UserError(
        f"{name}={text if len(text) < 200 else type(value).__name__} is not accepted: it must be {expected}."
    )


def from_json(hint: Any, value: Any, location: str) -> Any:
    """``value`` out of JSON as the type ``hint``, a dataclass or what its fields hold; ``location`` is for the message.

    Raises:
        UserError: A key is missing, a value is of another type, a whole number is negative, or a number is not finite.
    """
    if hint is Any:
        return value
    origin, members = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None and NoneType in members:
            return None
        (hint,) = (member for member in members if member is not NoneType)
        return from_json(hint, value, location)
    if dataclasses.is_dataclass(hint):
        return _dataclass_from_json(hint, value, location)
    if origin is list and isinstance(value, list):
        return [from_json(members[0], item, location) for item in value]
    if origin is dict and isinstance(value, dict):
        return {str(key): from_json(members[1], item, location) for key, item in value.items()}
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) <= sys.float_info.max:  # neither NaN nor infinite
            return value
    elif hint is int and isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise UserError(f"{location} is {value} and must be a whole number of 0 or more: export the run again.")
        return value
    elif origin is None and hint not in (int, float) and isinstance(value, hint):
        return value
    raise UserError(f"{location} is {_short(value)}, which has the wrong type: export the run again.")


def _short(value: Any) -> str:
    """A value out of JSON, short enough for a sentence whatever it is."""
    return repr((value if isinstance(value, str) else reprlib.repr(value))[:40])


def _dataclass_from_json(kind: Any, value: Any, location: str) -> Any:
    if not isinstance(value, dict):
        raise UserError(f"{location} is {_short(value)} and must be an object: export the run again.")
    hints, arguments = type_hints(kind), {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            arguments[field.name] = from_json(hints[field.name], value[field.name], f"{location}: {field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"{location} lacks {field.name}: give the results of a finished run.")
    return kind(**arguments)
