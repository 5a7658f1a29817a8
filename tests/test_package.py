"""The package as a whole: public names, import rules, and light imports."""

from __future__ import annotations

import ast
import graphlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from waiting import PATIENCE

import glmc_zoo

ROOT = Path(glmc_zoo.__file__).parents[1]
PACKAGE = ROOT / "glmc_zoo"
# Names that other code relies on.
CONTRACT = {
    *("train", "finetune", "second_stage", "evaluate", "inspect", "predict", "report", "export", "demo", "push"),
    *("register_method", "register_loss", "register_sampler"),
    *("class_weights", "sampling_weights", "draw_mix", "cut_box", "Mix", "mix_views", "cumulative_alpha"),
    *("GLMCOutput", "glmc_loss", "GLMCModel", "MaxNorm", "longtail_counts", "longtail_indices", "LongTailMetrics"),
    *("list_data", "load_data", "list_models", "create_model"),
}
HEAVY = {"torch", "timm", "datasets", "evaluate", "accelerate", "matplotlib", "sklearn", "torchvision", "PIL"}

# What each package may import from glmc_zoo. Packages of `TRADES` do not import each other.
FLOOR = {"client_limits", "disk", "documents", "errors", "facts", "fields", "files", "notebook", "results", "retry"}
FLOOR |= {"building", "screen", "text"}
TRADES = {"method", "backbones", "data", "metrics", "hub"}
# Light modules that `options` may import.
LIGHT = {"hub.push.target", "data.options", "data.catalogue", "method.registry", "method.switches"}
MAY_IMPORT: dict[str, set[str]] = {
    **{key: set() for key in ("text", "facts", "client_limits")},
    "errors": {"text"},
    **{key: {"errors"} for key in ("disk", "documents", "fields")},
    **{key: {"errors", "text"} for key in ("files", "screen")},
    "notebook": {"files", "text"},
    "retry": {"client_limits"},
    "building": {"disk", "errors", "retry"},
    "results": {"documents", "errors", "facts", "fields", "files", "notebook"},
    **dict.fromkeys(TRADES, FLOOR),
    "options": FLOOR | LIGHT,
    "machine": FLOOR,
    "scoring": FLOOR | TRADES | {"options", "machine"},
    "training": FLOOR | TRADES | {"options", "machine", "scoring"},
}
TOP = {"api", "cli", "completion", "conversion", "__main__", "__init__"}
ALL_BELOW = {*MAY_IMPORT, *TOP}
# Third-party packages that each package may import.
LIBRARIES = {
    "client_limits": {"huggingface_hub"},
    "retry": {"huggingface_hub"},
    "building": {"huggingface_hub"},
    "method": {"torch", "timm"},
    "backbones": {"torch", "timm"},
    "data": {"torch", "datasets", "torchvision", "PIL", "sklearn", "pyarrow", "huggingface_hub", "psutil", "tqdm"}
    | {"imagehash", "timm"},
    "metrics": {"evaluate", "datasets", "matplotlib"},
    "hub": {"timm", "torch", "huggingface_hub", "safetensors", "jinja2"},
    "options": set(),
    "machine": {"torch", "accelerate", "psutil", "filelock"},
    "completion": {"shtab"},
    "screen": {"tqdm"},
}
LIBRARIES["data"].add("pillow_heif")
LIBRARIES["scoring"] = {"pyarrow", "onnxruntime", "gradio"}.union(*LIBRARIES.values())
LIBRARIES["training"] = {"peft", "safetensors", *LIBRARIES["scoring"]}


def module_name(path: Path) -> str:
    """Dotted name below ``glmc_zoo``; ``__init__`` for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@dataclass(frozen=True)
class Import:
    """One module that a file imports."""

    module: str
    line: int
    when_loaded: bool
    """Whether it is imported when the file is: neither in a function, nor only for a type checker."""


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


@cache
def stub(name: str) -> ast.Module:
    """The lazy names of a package and their modules; empty for a module."""
    path = FILES[name].with_suffix(".pyi")
    return ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")


@cache
def imports(name: str) -> tuple[Import, ...]:
    return (*imports_below(tree(name), name), *imports_below(stub(name), name, False))


def imports_below(node: ast.AST, name: str, when_loaded: bool = True) -> Iterator[Import]:
    """Every import below ``node``, with those in functions and for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, when_loaded) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            module = absolute(child, name)
            yield Import(module, child.lineno, when_loaded)
            for alias in child.names:
                if (home := home_of(module, alias.name)) is not None:
                    yield Import(home, child.lineno, when_loaded)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from imports_below(child, name, False)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports_below(child, name, when_loaded and not function)


def absolute(node: ast.ImportFrom, name: str) -> str:
    """The module that ``from ... import`` names, without leading dots."""
    if not node.level:
        return node.module or ""
    parts = ["glmc_zoo", *name.split(".")]
    folder = parts[: len(parts) - node.level + (FILES[name].name == "__init__.py" and name != "__init__")]
    return ".".join([*folder, *([node.module] if node.module else [])])


def home_of(module: str, attribute: str) -> str | None:
    """The submodule that defines a name of one of our packages, whose names are lazy; ``None`` if there is none."""
    package = "__init__" if module == "glmc_zoo" else module.removeprefix("glmc_zoo.")
    if not f"{module}.".startswith("glmc_zoo.") or package not in FILES:
        return None
    if f"{module}.{attribute}".removeprefix("glmc_zoo.") in FILES:
        return f"{module}.{attribute}"
    if FILES[package].name != "__init__.py":
        return None
    for node in (*stub(package).body, *tree(package).body):
        if isinstance(node, ast.ImportFrom) and attribute in [alias.asname or alias.name for alias in node.names]:
            home = absolute(node, package)
            return home_of(home, attribute) or home
    return None


def package_of(name: str) -> str:
    """The package, or the module at the top, that a module belongs to."""
    return name.split(".")[0]


def may_import(name: str, target: str) -> bool:
    """Whether the module ``name`` of this package may import the module ``target``."""
    top, *rest = target.split(".")
    if "recipes" in (top, *rest):
        return False
    package = package_of(name)
    if top == "glmc_zoo":
        below = ALL_BELOW if package in TOP else MAY_IMPORT[package]
        module = ".".join(rest)
        return not rest or package_of(module) in below | {package} or module in below
    libraries = {"numpy", "yaml", "wrapt", "lazy_loader"} | LIBRARIES.get(package, set())
    return top in sys.stdlib_module_names or top in libraries


# ------------------------------------------------------------------------------------------------ public names
@pytest.mark.parametrize("name", glmc_zoo.__all__)
def test_public_name(name: str) -> None:
    value = getattr(glmc_zoo, name)
    assert value.__name__ == name
    assert value.__module__.startswith("glmc_zoo.")
    assert value.__doc__


def test_contract() -> None:
    assert set(glmc_zoo.__all__) >= CONTRACT
    assert set(dir(glmc_zoo)) >= CONTRACT
    assert glmc_zoo.__all__ == sorted(glmc_zoo.__all__)
    with pytest.raises(AttributeError, match=r"attribute '?nosuch"):
        _ = glmc_zoo.nosuch


def assigns_all(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and "__all__" in " ".join(map(ast.unparse, node.targets))


def test_public_names_are_listed_by_packages_alone_and_exist() -> None:
    # By the source, because timm adds an `__all__` to each module that registers a model.
    listing = [name for name in FILES if any(assigns_all(node) for node in tree(name).body)]
    assert set(listing) >= TRADES
    for name in listing:
        assert FILES[name].name == "__init__.py", name
        module = importlib.import_module("glmc_zoo" if name == "__init__" else f"glmc_zoo.{name}")
        assert [public for public in module.__all__ if not hasattr(module, public)] == [], name
        assert len(set(module.__all__)) == len(module.__all__), name


# ------------------------------------------------------------------------------------------------ import rules
def test_every_package_has_import_rules() -> None:
    assert {package_of(name) for name in FILES} == set(MAY_IMPORT) | TOP


def test_each_module_imports_what_its_package_may() -> None:
    wrong = [f"{name}:{i.line}: {i.module}" for name in FILES for i in imports(name) if not may_import(name, i.module)]
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "target"),
    [
        *(("method.task", f"glmc_zoo.{other}") for other in ("data", "hub.export", "metrics", "backbones", "options")),
        *(("data.load", f"glmc_zoo.{other}") for other in ("method.weights", "method.registry", "metrics", "api")),
        *(("hub.folder", f"glmc_zoo.{other}") for other in ("data.catalogue", "method", "options.run", "training")),
        *(("metrics.plots", f"glmc_zoo.{other}") for other in ("training.run", "scoring.loop")),
        *(("options.resolve", f"glmc_zoo.{other}") for other in ("data.load", "method.task", "hub", "machine.command")),
        *(("machine.hardware", f"glmc_zoo.{other}") for other in ("options.machine", "data", "training.loop")),
        *(("scoring.loop", f"glmc_zoo.{other}") for other in ("training.loop", "api", "cli")),
        *(("errors", "glmc_zoo.fields"), ("fields", "glmc_zoo.results"), ("files", "glmc_zoo.results")),
        *(
            ("method.task", "datasets"),
            ("data.load", "accelerate"),
            ("metrics.longtail", "torch"),
            ("options.run", "torch"),
        ),
        *(("api", "torch"), ("results", "torch"), ("machine.clock", "timm"), ("hub.folder", "accelerate")),
        *(("method.task", "recipes"), ("training.run", "recipes.train"), ("cli", "glmc_zoo.recipes")),
    ],
)
def test_the_rules_forbid(name: str, target: str) -> None:
    assert not may_import(name, target)


def test_all_kinds_of_imports_are_recognized() -> None:
    source = """
import a.b
from . import catalogue
from ..method import GLMCTask
if TYPE_CHECKING:
    from glmc_zoo.hub import open_model
def f():
    from glmc_zoo import load_data, hub
"""
    recognized = list(imports_below(ast.parse(source), "data.load"))
    assert [(i.module, i.when_loaded) for i in recognized] == [
        ("a.b", True),
        ("glmc_zoo.data", True),
        ("glmc_zoo.data.catalogue", True),
        ("glmc_zoo.method", True),
        ("glmc_zoo.method.task", True),
        ("glmc_zoo.hub", False),
        ("glmc_zoo.hub.load.source", False),
        ("glmc_zoo", False),
        ("glmc_zoo.data.load", False),
        ("glmc_zoo.hub", False),
    ]


def inner(name: str, *, when_loaded: bool) -> set[str]:
    """Modules of this package that a module imports, by their name in `FILES`."""
    targets = {i.module.removeprefix("glmc_zoo.") for i in imports(name) if i.when_loaded or not when_loaded}
    return {target for target in targets if target in FILES and target != name}


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    """Imports at the top of a module count. Imports in functions and for type checkers happen later."""
    graph = {name: inner(name, when_loaded=True) for name in FILES}
    assert sum(map(len, graph.values())) > 200  # the imports were recognized
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_packages_do_not_import_each_other_in_a_circle() -> None:
    """All imports count, those in functions too. ``glmc_zoo`` itself is left out, because its names are lazy."""
    graph: dict[str, set[str]] = {}
    for name in FILES:
        if package_of(name) != "__init__":
            targets = {package_of(target) for target in inner(name, when_loaded=False)} - {"__init__"}
            graph.setdefault(package_of(name), set()).update(targets - {package_of(name)})
    assert {"data", "hub", "scoring"} <= graph["training"]
    graphlib.TopologicalSorter(graph).prepare()


# ------------------------------------------------------------------------------------------------ imports are light
def run(code: str) -> str:
    """Run ``code`` in a new interpreter, and return what it prints."""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.processes
def test_import_and_help_are_light() -> None:
    """Neither ``import glmc_zoo`` nor ``--help`` of any recipe imports a heavy package."""
    scripts = [path for path in sorted((ROOT / "recipes").glob("*.py")) if path.stem != "minimal"]
    assert len(scripts) >= 7
    code = f"""
import contextlib, io, runpy, sys
heavy = {HEAVY!r}
import glmc_zoo
assert not (loaded := heavy & set(sys.modules)), loaded
for script in {[str(path) for path in scripts]!r}:
    sys.argv, text = [script, "--help"], io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        assert not stop.code, (script, stop.code)
    assert "usage: " in text.getvalue()
    assert not (loaded := heavy & set(sys.modules)), (script, loaded)
    print(script)
"""
    assert run(code).split() == [str(path) for path in scripts]


@pytest.mark.processes
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("import glmc_zoo", "import timm", "KNOWN"), "True"),
        (("import timm", "KNOWN", "import glmc_zoo", "KNOWN"), "False True"),
    ],
    ids=["ours first", "timm first"],
)
def test_backbones_are_registered(lines: tuple[str, ...], expected: str) -> None:
    """Both orders of import register them. timm without glmc_zoo does not know them."""
    code = "\n".join(lines).replace("KNOWN", "print(timm.is_model('resnet20_cifar'))")
    assert run(code).split() == expected.split()
