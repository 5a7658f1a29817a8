"""Links, anchors, commands, options and Python on the pages work as written."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import _rows
import pytest
import timm

from glmc_zoo.hub import ExportInfo, export_model
from glmc_zoo.method import check_backbone, losses, registry, task, weights
from glmc_zoo.options import resolve
from glmc_zoo.options.parser import _LEVELS, read_command_line
from glmc_zoo.options.sections import COMMANDS, option_names
from glmc_zoo.options.user_options import UserOptions

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", *DOCS, ROOT / "benchmarks" / "README.md", ROOT / "CONTRIBUTING.md"]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES if page.exists()}
OTHERS = [ROOT / name for name in ("ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/gpu_todo.md")]
# Its Python is run by tests/scoring/exporting/test_page.py.
RUN_ELSEWHERE = {ROOT / "docs" / "export.md"}

RESOLVE: dict[str, Callable[[UserOptions], Any]] = {
    "train": resolve.training_options,
    "finetune": resolve.finetuning_options,
    # Without options of the first stage, because its model does not exist.
    "second_stage": partial(resolve.second_stage_options, first_stage={}),
    "evaluate": resolve.evaluation_options,
    "inspect": resolve.inspection_options,
    "predict": resolve.prediction_options,
    "demo": resolve.demo_options,
    "push": resolve.push_options,
    "export": resolve.export_options,
    "convert": resolve.conversion_options,
}
BUILT_IN = (losses, task, weights)  # imported here, because the import registers their names
SCRIPTS = {command.script or name: name for name, command in COMMANDS.items()}


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(text: str, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [content for name, content in fenced if name == language]


def lines_of(text: str) -> list[str]:
    """The commands in all shell blocks: continued lines are joined, comments and prompts removed."""
    joined = "\n".join(blocks(text, "")).replace("\\\n", " ")
    return [re.sub(r"(^|\s)#.*", "", line).removeprefix("$ ").strip() for line in joined.splitlines()]


def parsed_command(line: str) -> tuple[str, list[str]] | None:
    """The command of this package in a line, with its words; ``None`` if there is none."""
    if match := re.match(r"glmc-zoo (\S+)(.*)", line) or re.match(r"accelerate launch .*-m glmc_zoo (\S+)(.*)", line):
        return match[1].replace("-", "_"), shlex.split(match[2])
    if match := re.search(r"(?:accelerate launch|python)\b.* recipes/(\w+)\.py(.*)", line):
        assert (ROOT / "recipes" / f"{match[1]}.py").is_file(), line
        return SCRIPTS.get(match[1], match[1]), shlex.split(match[2])
    return None


SHOWN = [(page, line) for page, text in TEXTS.items() for line in lines_of(text) if parsed_command(line)]
MEASURED = [
    (page, line) for page, text in TEXTS.items() for line in lines_of(text) if re.search(r"^python benchmarks/\w", line)
]


# ------------------------------------------------------------------------------------------------ form
def test_the_readme_is_short() -> None:
    assert len(TEXTS[ROOT / "README.md"].splitlines()) <= 200


@pytest.mark.parametrize("page", TEXTS, ids=page_name)
def test_lines_are_short(page: Path) -> None:
    code = "\n".join(re.findall(r"^```.*?^```", TEXTS[page], re.DOTALL | re.MULTILINE))
    long = [line for line in TEXTS[page].splitlines() if len(line) > 120 and not line.startswith(("|", "<!--"))]
    assert not [line for line in long if line not in code.splitlines() or len(line) > 130]


@pytest.mark.parametrize("page", TEXTS, ids=page_name)
def test_pages_are_in_plain_english(page: Path) -> None:
    text = re.sub(r"<!-- .*?<!-- end -->", "", TEXTS[page], flags=re.DOTALL)  # labels of rows are not sentences
    dialect = "is no (?:folder|file|error|interval)|can(?:not)? be had|that which|in the place of|photographs?"
    assert not re.findall(rf"\b(?:{dialect})\b", re.sub(r"\s+", " ", text))
    assert not re.search(r"^Of ", text, re.MULTILINE)


@pytest.mark.parametrize("page", [*TEXTS, *OTHERS], ids=page_name)
def test_models_on_the_hub_have_the_prefix_of_timm(page: Path) -> None:
    assert "hf_hub:" not in page.read_text(encoding="utf-8")  # deprecated in timm in favour of hf-hub:


# ------------------------------------------------------------------------------------------------ links
def anchors(text: str) -> set[str]:
    """Anchors of the headings, where GitHub and mkdocs agree on them."""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    names = set()
    for title in re.findall(r"^#+ (.*)$", outside, re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", title.lower())
        if words.replace(" ", "-") == re.sub(r"[- ]+", "-", words):
            names.add(words.replace(" ", "-"))
    return names


@pytest.mark.parametrize("page", [*TEXTS, *OTHERS], ids=page_name)
def test_links_and_anchors_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text)):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert not broken


def test_every_page_can_be_reached() -> None:
    index = TEXTS[ROOT / "docs" / "index.md"] + TEXTS[ROOT / "docs" / "methods" / "index.md"]
    assert not [page_name(page) for page in DOCS if page.name != "index.md" and f"({page.name})" not in index]
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert not [page_name(page) for page in DOCS if page.relative_to(ROOT / "docs").as_posix() not in nav]


# ------------------------------------------------------------------------------------------------ commands
@pytest.mark.parametrize(("page", "line"), SHOWN, ids=[line for _, line in SHOWN])
def test_commands_parse(page: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    command = parsed_command(line)
    assert command
    name, words = command
    if name in RESOLVE and not {"--help", "..."} & set(words):
        assert RESOLVE[name](read_command_line(COMMANDS[name], "", "", words))
    else:
        assert name in {*RESOLVE, "COMMAND", "list", "report", "minimal", "demo_photos"}, line


@pytest.mark.parametrize(("page", "line"), MEASURED, ids=[line for _, line in MEASURED])
def test_benchmarks_have_their_options(page: Path, line: str) -> None:
    script, *words = shlex.split(line.removeprefix("python "))
    source = (ROOT / script).read_text(encoding="utf-8")
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    assert not [option for option in options if f'"{option}"' not in source]
    if script == "benchmarks/reproduce.py":
        rows = words[: words.index(options[0]) if options else None]
        assert not rows or _rows.chosen_rows(rows)


def test_extras_are_installed_in_one_form() -> None:
    """Before the first release only a clone can be installed: README and index say what that means for the pages."""
    section = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]\n")[2]
    extras = {"EXTRA", *re.findall(r"^(\w+) = \[", section.partition("\n[")[0], re.MULTILINE)}
    for page, text in TEXTS.items():
        for command in re.findall(r"pip install [^\n`]*\[[^\n`]*", text):
            match = re.match(r"pip install (-e '\.|'glmc_zoo)\[([\w,]+)\]'( |$)", command)
            assert match and {*match[2].split(",")} <= extras, (page_name(page), command)
            needs_clone = page.name in ("README.md", "index.md", "CONTRIBUTING.md") or "python benchmarks/" in text
            assert needs_clone or match[1] == "'glmc_zoo", (page_name(page), command)
    for page in (ROOT / "README.md", ROOT / "docs" / "index.md"):
        text = re.sub(r"\s+", " ", TEXTS[page])
        assert "`pip install 'glmc_zoo[EXTRA]'` works from the first release on: until then, run" in text
        assert "`pip install -e '.[EXTRA]'` in the clone instead (without an extra, `pip install -e .`)." in text


def test_every_command_is_shown() -> None:
    commands = {command[0] for _, line in SHOWN if (command := parsed_command(line))}
    assert commands >= set(RESOLVE)


def test_options_in_sentences_exist() -> None:
    names = {*option_names(), "help", *(level[1] for level in _LEVELS)}
    known = {f"--{prefix}{name.replace('_', '-')}" for name in names for prefix in ("", "no-")}
    for script in (ROOT / "benchmarks").glob("*.py"):
        known |= set(re.findall(r'"(--[a-z-]+)"', script.read_text(encoding="utf-8")))
    other_tools = {"--shm-size", "--signal", "--cpu", "--dist"}  # of Docker, Slurm, Accelerate and pytest
    unknown = {
        (page_name(page), option)
        for page, text in TEXTS.items()
        for code in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
        for option in re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*(?![\w])", code)
        if option not in known | other_tools
    }
    assert not unknown


# ------------------------------------------------------------------------------------------------ Python
SNIPPETS = [
    (page, snippet) for page, text in TEXTS.items() if page not in RUN_ELSEWHERE for snippet in blocks(text, "python")
]
# Replacements in the snippets: files that a test has, and a run of seconds instead of hours.
SMALL = {
    "resnet50": "test_resnet",
    "pretrained=True, epochs=30": "image_size=32, batch_size=8, epochs=1",
    "path/to/new_images": "path/to/my_images/test",
}


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize(("page", "snippet"), SNIPPETS, ids=[page_name(page) for page, _ in SNIPPETS])
def test_snippets_run(page: Path, snippet: str, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    if "glmc_zoo.train(" in snippet:
        lab.images(tmp_path / "path" / "to" / "my_images")
        assert all(words in snippet for words in SMALL)
        for text, replacement in SMALL.items():
            snippet = snippet.replace(text, replacement)
    elif "runs/wildlife/model" in snippet:
        model = timm.create_model("test_resnet", num_classes=2)
        statistics: Any = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 64, 64)}
        info = ExportInfo(class_names=["lynx", "roe deer"], tag="glmc_wildlife", **statistics)
        export_model(model, tmp_path / "runs" / "wildlife" / "model", info)
    module = ModuleType("page_snippet")  # timm's register_model looks for the module of a function
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(snippet, vars(module))
    if "resnet10_narrow" in snippet:
        model = timm.create_model("resnet10_narrow", num_classes=3)
        assert check_backbone(model, 64) is None and sum(p.numel() for p in model.parameters()) > 1e6


def test_the_pages_have_snippets_and_commands() -> None:
    assert len(SNIPPETS) >= 5 and len(SHOWN) >= 40 and len(MEASURED) >= 10
