"""The command ``glmc-zoo``: the recipes under one name, for people who installed the package."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glmc_zoo.engine.cli import run_recipe
from glmc_zoo.engine.recipe_files import recipes_folder
from glmc_zoo.errors import UserError, did_you_mean

__all__ = ["main", "recipes"]

_LIST_HELP = "list the published models with their scores, and the data sets of the catalogue"
_ORDER = ("train", "finetune", "second_stage", "evaluate", "predict", "push", "convert")


def recipes() -> dict[str, Path]:
    """The scripts by name: those installed with the package, or the checkout's."""
    folder = recipes_folder()
    return {name: path for name in _ORDER if (path := folder / f"{name}.py").is_file()}


def main(argv: list[str] | None = None) -> None:
    """Run the recipe that the first argument names, with the rest as its command line.

    ``accelerate launch -m glmc_zoo train ...`` does the same on several processes.
    """
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name.replace("-", "_") in recipes():  # as options are spelled
        name = name.replace("-", "_")
    if name in ("-h", "--help"):
        print(_usage())
    elif name == "--version":
        from glmc_zoo import __version__

        print(f"glmc-zoo {__version__}")
    elif name in recipes():
        # The recipe reads its command line from here, and says in its results how it was called.
        sys.argv = [f"glmc-zoo {name}", *rest]
        run_recipe(_load(recipes()[name]).main)
    else:
        sys.argv = ["glmc-zoo"]
        run_recipe(lambda: _list(rest) if name == "list" else _unknown(name))


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"glmc_zoo_recipe_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _usage() -> str:
    lines = [
        "usage: glmc-zoo COMMAND [--option value ...]",
        "",
        "commands (glmc-zoo COMMAND --help lists the options):",
    ]
    for name, path in recipes().items():
        summary = path.read_text(encoding="utf-8").split('"""')[1].splitlines()[0]
        lines.append(f"  {name:<12} {summary}")
    lines.append(f"  {'list':<12} {_LIST_HELP[0].upper()}{_LIST_HELP[1:]}.")
    return "\n".join(lines)


def _unknown(name: str) -> None:
    known = [*recipes(), "list"]
    raise UserError(f"Unknown command {name!r}: give one of {', '.join(known)}.{did_you_mean(name, known)}")


def _list(arguments: list[str]) -> None:
    if arguments in (["-h"], ["--help"]):
        print(f"usage: glmc-zoo list\n\n{_LIST_HELP}")
        return
    if arguments:
        raise UserError(f"glmc-zoo list takes no {arguments[0]!r}: leave it out.")
    from glmc_zoo.data import list_data
    from glmc_zoo.hub.zoo import list_models

    columns = ("top1", "balanced_accuracy", "many", "medium", "few")
    models = [
        (m.name, f"{m.parameters / 1e6:.2f} M", *(_percent(m.scores.get(column)) for column in columns))
        for m in list_models()
    ]
    data = [
        (e.name, str(e.num_classes), e.hub_id or ("a folder" if e.official else "embedded"), e.description)
        for e in list_data().values()
    ]
    print(_table(("model", "parameters", "top-1", "balanced", "many", "medium", "few"), models))
    print(
        '\nTest scores in %. glmc_zoo.create_model("NAME") loads one; glmc-zoo finetune --model NAME starts from it.\n'
    )
    print(_table(("data", "classes", "images from", "what"), data, left=4))


def _percent(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.1f}"


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, left: int = 1) -> str:
    """Columns of text; the first ``left`` are flush left, the others, numbers, flush right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *rows)
    )
