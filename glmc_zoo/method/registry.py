"""Methods, losses and samplers by name: built-in ones, and those in files and notebooks of the user.

The module that defines a built-in one is imported only when it is needed, so that this module loads quickly.
"""

from __future__ import annotations

import hashlib
import inspect
import linecache
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from importlib import import_module
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from glmc_zoo.documents import read_content
from glmc_zoo.errors import UserError, did_you_mean
from glmc_zoo.fields import field_names
from glmc_zoo.results import PluginFacts

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["method", "loss", "sampler", "backbone"]
"""What a file can register. A backbone is registered with timm, and entered here by `load_plugin` or `plugins_of`."""
F = TypeVar("F", bound=Callable[..., Any])

# Modules that register the built-in names.
_BUILT_IN: dict[tuple[Kind, str], str] = {
    ("method", "glmc"): "glmc_zoo.method.task",
    ("loss", "ce"): "glmc_zoo.method.losses",
    ("loss", "balanced_softmax"): "glmc_zoo.method.losses",
    ("sampler", "power"): "glmc_zoo.method.weights",
}
_LOSS_SWITCHES = ("prior_tau", "sampler_power", "class_weight_power")
_NOTEBOOK = Path("<notebook>")


@dataclass(frozen=True)
class RegistryEntry:
    """A registered function and the file that registered it; a call drops keywords that the function does not take."""

    function: Callable[..., Any]
    title: str | None
    views: int
    partners: bool
    qualname: str
    file: Path
    sha256: str
    switches: Collection[str] | None = None
    """Names of the switches that a method reads; ``None`` for all."""

    @property
    def parameters(self) -> Collection[str]:
        """Names of the function's parameters."""
        return inspect.signature(self.function).parameters

    def __call__(self, *args: Any, **keywords: Any) -> Any:  # noqa: D102  # the class says it
        return self.function(*args, **{name: value for name, value in keywords.items() if name in self.parameters})


_ENTRIES: dict[tuple[Kind, str], RegistryEntry] = {}


def register_method(
    name: str,
    *,
    title: str | None = None,
    views: int = 1,
    partners: bool = False,
    switches: Collection[str] | None = None,
) -> Callable[[F], F]:
    """Decorator for a function ``build(setup: MethodSetup) -> timm.task.TrainingTask``.

    The task may have ``set_epoch(epoch)``, which is called at the start of every epoch.

    Args:
        name: Lower-case letters, digits and underscores, a letter first.
        title: The method in words, for model cards.
        views: Augmented views of each image, 1 or 2.
        partners: Whether each batch is mixed with a second, re-balanced batch. The task then needs
            ``draw(height, width, generator)`` and ``mix(first, second, targets, second_targets, mix=)``, as `GLMCTask`;
            a ``draw`` with a keyword ``step`` gets the number of the batch within the training.
        switches: Names of GLMC's switches that the function reads from ``setup.switches``, such as ``["beta"]``; the
            others are refused as options. If it is left out, a method with one view and no partners reads none, and
            any other method may read them all. Partners always use ``sampler`` and ``sampler_power``.

    Raises:
        UserError: The name is malformed or belongs to something else, ``views`` is neither 1 nor 2, or a switch is
            unknown.
    """
    from glmc_zoo.method.switches import GLMCSwitches

    if views not in (1, 2):
        raise UserError(f"views={views!r} is not accepted: a method sees 1 or 2 views of each image.")
    names = field_names(GLMCSwitches)
    for switch in switches or ():
        if switch not in names:
            raise UserError(f"switches= names {switch!r}, which is not one of {', '.join(names)}: correct it.")
    if switches is None and views == 1 and not partners:
        switches = ()
    return _register("method", name, title, views, partners, switches)


def register_loss(name: str, *, title: str | None = None) -> Callable[[F], F]:
    """Decorator for a loss: a baseline method of this name, and a choice for GLMC's re-balanced branch.

    It decorates a class or function that makes the loss. The argument is ``class_counts: list[int]``; if its signature
    has ``prior_tau``, ``sampler_power`` or ``class_weight_power``, it gets these as keywords too (``sampler_power`` is
    0 in a baseline, which has no partners).

    The loss is called as ``loss(logits (B, C), target) -> 0-d tensor``. As in `torch.nn.functional.cross_entropy`,
    ``target`` holds class indices ``(B,)`` in a baseline, and class probabilities ``(B, C)`` in GLMC and in a baseline
    on mixed images. If the loss has ``set_epoch(epoch, epochs)``, it is called at the start of every epoch.

    Raises:
        UserError: The name is malformed or belongs to something else.
    """
    return _register("loss", name, title)


def register_sampler(name: str, *, title: str | None = None) -> Callable[[F], F]:
    """Decorator for a function ``(labels (N,), class_counts) -> (N,)``: weights for drawing the partners of GLMC.

    ``labels`` is an int64 tensor. The function may take ``sampler_power`` by name.

    Raises:
        UserError: The name is malformed or belongs to something else.
    """
    return _register("sampler", name, title)


def _register(
    kind: Kind,
    name: str,
    title: str | None,
    views: int = 1,
    partners: bool = False,
    switches: Collection[str] | None = None,
) -> Callable[[F], F]:
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise UserError(f"name={name!r} is not accepted: give lower-case letters, digits and underscores, as my_loss.")
    file, sha256 = _origin(sys._getframe(2).f_code.co_filename)  # the file that applies the decorator

    def decorator(function: F) -> F:
        qualname = getattr(function, "__qualname__", type(function).__qualname__)
        entry = RegistryEntry(function, title, views, partners, qualname, file, sha256, switches)
        if owner := _other_owner(kind, name, entry):
            raise UserError(f"name={name!r} is already registered by {owner}: choose another name for this {kind}.")
        _ENTRIES[kind, name] = entry
        return function

    return decorator


def _origin(source_file: str) -> tuple[Path, str]:
    """The file of a code object, or `_NOTEBOOK`, and the SHA-256 of its content."""
    file, content = Path(source_file).resolve(), "".join(linecache.getlines(source_file)).encode()
    if file.is_file():
        content = file.read_bytes()
    else:
        file = _NOTEBOOK
    return file, hashlib.sha256(content).hexdigest() if content else "unknown"


def _other_owner(kind: Kind, name: str, entry: RegistryEntry) -> str | None:
    """The other owner of the name; ``None`` if the name is free or the same function was registered before."""
    if (kind, name) == ("loss", "reweighted"):  # GLMC's own branch
        return "glmc_zoo"
    # A loss is a baseline method of its name, so methods and losses share their names.
    kinds: tuple[Kind, ...] = ("sampler",) if kind == "sampler" else ("method", "loss")
    for other_kind in kinds:
        module, registered = _BUILT_IN.get((other_kind, name)), _ENTRIES.get((other_kind, name))
        if module and (other_kind, module) != (kind, entry.function.__module__):
            return "glmc_zoo"
        redefined = registered is not None and (other_kind, registered.file, entry.file) == (kind, _NOTEBOOK, _NOTEBOOK)
        owner = registered and (other_kind, registered.file, registered.qualname)
        if registered and not redefined and owner != (kind, entry.file, entry.qualname):
            return f"{registered.qualname} of {registered.file}"
    return None


def method_names() -> list[str]:
    """Names that `get_method` knows: the methods, then the losses as baselines."""
    return [*_names("method"), *_names("loss")]


def loss_names() -> list[str]:
    """Names that `get_loss` knows, the built-in ones first."""
    return _names("loss")


def sampler_names() -> list[str]:
    """Names that `get_sampler` knows, the built-in ones first."""
    return _names("sampler")


def _names(kind: Kind) -> list[str]:
    return list(dict.fromkeys(name for entry_kind, name in (*_BUILT_IN, *_ENTRIES) if entry_kind == kind))


def get_registered(name: str) -> RegistryEntry:
    """The registered loss or method of this name; a `UserError` if it is unknown."""
    return _get_entry("loss" if name in loss_names() else "method", name)


def get_loss(name: str) -> Callable[..., Callable[[Tensor, Tensor], Tensor]]:
    """The registered class or function; it ignores keywords that it does not take. `UserError` if unknown."""
    return _get_entry("loss", name)


def get_sampler(name: str) -> Callable[..., Tensor]:
    """The registered function; it ignores keywords that it does not take, and its result is checked.

    A `UserError` where the name is unknown, or the function does not return a weight for each label.
    """
    entry = _get_entry("sampler", name)

    def sample(labels: Tensor, class_counts: list[int], **keywords: Any) -> Tensor:
        weights: Tensor = entry(labels, class_counts, **keywords)
        if getattr(weights, "shape", None) != labels.shape:
            raise UserError(
                f"sampler={name!r} must return a tensor with a weight for each of the {len(labels)} labels."
            )
        return weights

    return sample


def loss_switches(name: str) -> list[str]:
    """Those of ``prior_tau``, ``sampler_power`` and ``class_weight_power`` that the loss of this name takes."""
    return [switch for switch in _LOSS_SWITCHES if switch in _get_entry("loss", name).parameters]


def sampler_takes_power(name: str) -> bool:
    """Whether the sampler of this name takes ``sampler_power``."""
    return "sampler_power" in _get_entry("sampler", name).parameters


def _get_entry(kind: Kind, name: str) -> RegistryEntry:
    if (kind, name) in _BUILT_IN:
        import_module(_BUILT_IN[kind, name])
    if (kind, name) not in _ENTRIES:
        names = method_names() if kind == "method" else _names(kind)
        raise UserError(
            f"{'rebalanced_loss' if kind == 'loss' else kind}={name!r} is not known: give one of {', '.join(names)}, "
            f"or the plugin that registers it.{did_you_mean(name, names)}"
        )
    return _ENTRIES[kind, name]


def load_plugin(path: str | PathLike[str]) -> PluginFacts:
    """Run a Python file that registers methods, losses, samplers or backbones; again only if its content changed.

    Backbones are registered with timm, by its own decorator ``register_model``.

    Raises:
        UserError: The file cannot be read or imported, or registers nothing.
    """
    plugin, file = f"plugin={str(path)!r}", Path(path).resolve()
    source = read_content(file, plugin, fix="Give a Python file.")
    entries = dict(_ENTRIES)
    sha256 = hashlib.sha256(source).hexdigest()
    if {entry.sha256 for entry in entries.values() if entry.file == file} != {sha256}:
        _restore({key: entry for key, entry in entries.items() if entry.file != file})
        # Not by an import: its cache takes two versions of equal size and time for one.
        module = ModuleType(f"glmc_zoo_plugin_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}")
        module.__file__, sys.modules[module.__name__] = str(file), module
        try:
            exec(compile(source, str(file), "exec"), vars(module))
        except (Exception, SystemExit) as error:
            _restore(entries)
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
            line = f"line {lines[-1]}, " if lines else ""
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"{plugin} cannot be imported ({line}{reason}): correct it.") from error
        timm: Any = sys.modules.get("timm")
        for name in [] if timm is None else timm.list_models(module=module.__name__):
            _enter_backbone(name, vars(module))
    facts = _facts(key for key, entry in _ENTRIES.items() if entry.file == file)
    if not facts:
        raise UserError(
            f"{plugin} registers nothing: decorate its functions or classes with register_method, register_loss or "
            "register_sampler of glmc_zoo, or with register_model of timm."
        )
    return facts[0]


def _enter_backbone(name: str, namespace: dict[str, Any] | None = None) -> None:
    """Enter a backbone that code of the user registered with timm, so that results can name its file.

    With a ``namespace`` only a backbone that was defined there: an earlier version of a file has other ones.
    """
    timm: Any = sys.modules.get("timm")
    if timm is None or not timm.is_model(name):
        return
    function = inspect.unwrap(timm.model_entrypoint(name))
    code, entry = getattr(function, "__code__", None), _ENTRIES.get(("backbone", name))
    if code is None or function.__module__.partition(".")[0] in ("timm", "glmc_zoo"):
        return
    if (namespace is None or function.__globals__ is namespace) and (entry is None or entry.function is not function):
        file, sha256 = _origin(code.co_filename)
        _ENTRIES["backbone", name] = RegistryEntry(function, None, 1, False, function.__qualname__, file, sha256)


def _restore(entries: dict[tuple[Kind, str], RegistryEntry]) -> None:
    _ENTRIES.clear()
    _ENTRIES.update(entries)


def plugins_of(*names: str) -> list[PluginFacts]:
    """Files that registered these names, apart from the built-in ones.

    In a notebook the file is ``<notebook>``, with the SHA-256 of the cell where Python finds it, else ``unknown``.
    """
    for name in names:
        _enter_backbone(name)
    return _facts(key for key in _ENTRIES if key[1] in names and key not in _BUILT_IN)


def _facts(keys: Iterable[tuple[Kind, str]]) -> list[PluginFacts]:
    names_by_file: dict[tuple[str, str], list[str]] = {}
    for key in keys:
        entry = _ENTRIES[key]
        names_by_file.setdefault((entry.file.name, entry.sha256), []).append(" ".join(key))
    return [PluginFacts(file=file, sha256=sha256, registered=names) for (file, sha256), names in names_by_file.items()]
