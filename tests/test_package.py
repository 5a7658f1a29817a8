"""The package as a whole: its public names, what importing it costs, and which room may import which."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import glmc_zoo

PACKAGE = Path(glmc_zoo.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# Names that other code relies on.
CONTRACT = {
    *("class_weights", "sampling_weights", "draw_mix", "cut_box", "Mix", "mix_views", "cumulative_alpha"),
    *("GLMCOutput", "glmc_loss", "GLMCModel", "MaxNorm", "longtail_counts", "longtail_indices", "LongTailMetrics"),
    *("list_data", "load_data", "list_models", "create_model"),
}
LIGHT = {"numpy", "wrapt", "yaml"}
# Third-party packages of each room: those of its own trade, and what these bring with them.
LIBRARIES = {
    "method": {"torch", "timm"},
    "backbones": {"torch", "timm"},
    "data": {"torch", "datasets", "torchvision", "PIL", "sklearn", "pyarrow", "huggingface_hub", "psutil", "tqdm"},
    "metrics": {"evaluate", "datasets", "matplotlib"},
    "hub": {"timm", "torch", "huggingface_hub", "safetensors", "jinja2"},
}
LIBRARIES["engine"] = {"accelerate", "jsonargparse", "tqdm", "safetensors", "peft"}.union(*LIBRARIES.values())
ROOMS = set(LIBRARIES)


def room_of(path: Path) -> str:
    """Folder of the package that a file lies in, or ``""`` at the top."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def absolute(node: ast.ImportFrom, path: Path) -> str:
    """Module that ``from ... import`` names, its leading dots resolved."""
    if not node.level:
        return node.module or ""
    folder = path.relative_to(PACKAGE.parent).with_suffix("").parts[: -node.level]
    return ".".join((*folder, *([node.module] if node.module else [])))


def imports(path: Path, source: str | None = None) -> Iterator[tuple[str, int]]:
    """Dotted names that a file imports anywhere, functions and type checking included, and their lines.

    The package's own names are lazy; importing one of them is importing the room that it comes from.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8") if source is None else source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(node, path)
            if module != "glmc_zoo":
                yield module, node.lineno
                continue
            for alias in node.names:
                public = alias.name in glmc_zoo.__all__
                home = getattr(glmc_zoo, alias.name).__module__ if public else f"glmc_zoo.{alias.name}"
                yield home, node.lineno


def may_import(room: str, name: str) -> bool:
    """Whether a file of ``room`` may import the module ``name``.

    Rooms stand beside one another; only the engine, and the package's own front door, see them all.
    """
    top, *rest = name.split(".")
    if "recipes" in (top, *rest):
        return False
    if top == "glmc_zoo":
        target = rest[0] if rest and rest[0] in ROOMS else ""
        return room in ("", "engine") or target in ("", room)
    return top in sys.stdlib_module_names or top in LIGHT | LIBRARIES.get(room, set())


def run(code: str) -> str:
    """What ``code`` prints in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


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


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nosuch'"):
        _ = glmc_zoo.nosuch


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_all_is_declared_and_true(path: Path) -> None:
    if path.name == "__main__.py":
        pytest.skip("running a module is not importing it")
    dotted = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(dotted)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_import_is_light() -> None:
    loaded = run("import glmc_zoo, sys; print(*sys.modules)").split()
    assert {"accelerate", "datasets", "evaluate", "matplotlib", "sklearn", "timm", "torch"}.isdisjoint(loaded)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("import glmc_zoo", "import timm", "KNOWN"), "True"),
        (("import timm", "KNOWN", "import glmc_zoo", "KNOWN"), "False True"),
    ],
    ids=["ours first", "timm first"],
)
def test_backbones_are_registered(lines: tuple[str, ...], expected: str) -> None:
    """Whichever of the two is imported first; timm alone does not know them."""
    code = "\n".join(lines).replace("KNOWN", "print(timm.is_model('resnet20_cifar'))")
    assert run(code).split() == expected.split()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_import_rules(path: Path) -> None:
    room = room_of(path)
    assert [f"line {line}: {name}" for name, line in imports(path) if not may_import(room, name)] == []


@pytest.mark.parametrize(
    ("room", "name"),
    [
        *(("method", f"glmc_zoo.{other}") for other in ("data", "hub.export", "engine", "metrics")),
        *(("data", "glmc_zoo.method.weights"), ("metrics", "glmc_zoo.engine"), ("hub", "glmc_zoo.engine.config")),
        *(("method", "datasets"), ("data", "timm"), ("metrics", "torch"), ("", "torch"), ("engine", "recipes.train")),
        *(("method", "recipes"), ("engine", "glmc_zoo.recipes")),
    ],
)
def test_the_rules_forbid(room: str, name: str) -> None:
    assert not may_import(room, name)


def test_imports_are_all_seen() -> None:
    file = PACKAGE / "data" / "made_up.py"  # only its place counts
    source = "import a.b\nfrom . import c\nfrom ..method import d\ndef f():\n    from glmc_zoo import GLMCTask, hub\n"
    found = [name for name, _ in imports(file, source)]
    assert found == ["a.b", "glmc_zoo.data", "glmc_zoo.method", "glmc_zoo.method.task", "glmc_zoo.hub"]


def test_every_room_is_under_the_rules() -> None:
    assert {room_of(path) for path in FILES} == ROOMS | {""}
