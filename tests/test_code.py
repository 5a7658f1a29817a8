"""The code of the package: short files and functions, and docstrings that describe parameters that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import glmc_zoo

ROOT = Path(glmc_zoo.__file__).parents[1]
FILES = sorted((ROOT / "glmc_zoo").rglob("*.py"))


# ------------------------------------------------------------------------------------------------ limits
def test_files_and_functions_are_short() -> None:
    too_large = []
    for path in [*FILES, *sorted((ROOT / "recipes").rglob("*.py"))]:
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        if (lines := text.count("\n")) > 350:
            too_large.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                parameters = len(names) - (names[:1] in (["self"], ["cls"]))
                if length > 60 or parameters > 10:
                    too_large.append(f"{name}: {node.name} has {length} lines and {parameters} parameters")
    assert too_large == []


# ------------------------------------------------------------------------------------------------ docstrings
def parameters(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Names of the parameters of a function, or of those that make an object of a class."""
    if isinstance(node, ast.ClassDef):
        methods = {method.name: method for method in node.body if isinstance(method, ast.FunctionDef)}
        if "__init__" not in methods:  # a dataclass
            return {ast.unparse(field.target) for field in node.body if isinstance(field, ast.AnnAssign)}
        node = methods["__init__"]
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {argument.arg for argument in named if argument is not None}


def test_docstrings_describe_parameters_that_exist() -> None:
    checked = 0
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            section = re.search(r"^Args:\n(.*?)(?:\n\n|\Z)", ast.get_docstring(node) or "", re.DOTALL | re.MULTILINE)
            described = re.findall(r"^ {4}(\S[\w, *]*):", section[1] if section else "", re.MULTILINE)
            names = {word.strip(" *") for line in described for word in line.split(",")}
            assert names <= parameters(node), (path.name, node.name, names - parameters(node))
            checked += len(names)
    assert checked > 300
