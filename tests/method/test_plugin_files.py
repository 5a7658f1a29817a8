"""Files and notebook cells that register: loaded, refused, and traced to where they are."""

from __future__ import annotations

import hashlib
import linecache
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import timm
import torch

from glmc_zoo.errors import UserError
from glmc_zoo.method import MethodSetup, get_method, load_plugin, plugins_of, preset_switches, sampler_names
from glmc_zoo.method.registry import _ENTRIES as ENTRIES
from glmc_zoo.results import PluginFacts

pytestmark = pytest.mark.usefixtures("own_registry")

PLUGIN = """
from glmc_zoo import register_loss, register_sampler

@register_loss("mine", title="my loss")
class Mine:
    def __init__(self, class_counts):
        self.epochs = []
    def __call__(self, logits, target):
        return logits.sum()

@register_sampler("even")
def even(labels, class_counts):
    return labels * 0.0 + 1
"""
SETUP = MethodSetup(
    class_counts=[9, 3, 1],
    epochs=4,
    switches=preset_switches("official"),
    image_size=32,
    make_backbone=lambda: timm.create_model("resnet20_cifar", num_classes=3),
)


def write(folder: Path, source: str, name: str = "plugin.py") -> Path:
    file = folder / name
    file.write_text(source)
    return file


def test_plugin(tmp_path: Path) -> None:
    file = write(tmp_path, PLUGIN)
    expected = PluginFacts(
        file="plugin.py",
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        registered=["loss mine", "sampler even"],
    )
    assert load_plugin(file) == expected
    mine = ENTRIES["loss", "mine"].function
    assert get_method("mine").title == "my loss"
    assert load_plugin(str(file)) == expected and ENTRIES["loss", "mine"].function is mine
    assert not (tmp_path / "__pycache__").exists()
    (facts,) = plugins_of("glmc", "mine", "power")
    assert facts == PluginFacts(file="plugin.py", sha256=expected.sha256, registered=["loss mine"])
    assert plugins_of("mine", "even") == [expected]
    task: Any = get_method("mine").build(SETUP)
    task.set_epoch(1)  # a loss without set_epoch, and without a module
    assert task(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))["loss"].ndim == 0


def test_changed_plugin_replaces_what_it_registered(tmp_path: Path) -> None:
    file = write(tmp_path, PLUGIN)
    before = load_plugin(file)
    write(tmp_path, PLUGIN.replace("Mine", "Other").replace('"even"', '"level"'))
    after = load_plugin(file)
    assert after.registered == ["loss mine", "sampler level"] and after.sha256 != before.sha256
    assert "even" not in sampler_names()
    write(tmp_path, "1 / 0")
    with pytest.raises(UserError, match="ZeroDivisionError"):
        load_plugin(file)
    assert "level" in sampler_names()  # as it was


def test_two_plugins_of_one_name(tmp_path: Path) -> None:
    load_plugin(write(tmp_path, PLUGIN))
    other = write(tmp_path, PLUGIN.replace('"even"', '"level"'), "other.py")
    with pytest.raises(UserError, match=r"other.py'.*line 4, UserError: name='mine' is already registered by Mine of"):
        load_plugin(other)
    assert "level" not in sampler_names()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = = 1\n", r"cannot be imported \(SyntaxError: invalid syntax \(plugin.py, line 1\)\)"),
        ("x = '\0'\n", r"cannot be imported \(\w+Error: .* null bytes\)"),
        ("import os\nraise RuntimeError('no\\nluck')\n", r"cannot be imported \(line 2, RuntimeError: no luck\)"),
        ("import nosuchmodule\n", "ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
        ("x = 1\n", "registers nothing: decorate its functions or classes"),
    ],
)
def test_plugins_that_fail(tmp_path: Path, source: str, words: str) -> None:
    file = write(tmp_path, source)
    with pytest.raises(UserError, match=words) as caught:
        load_plugin(file)
    assert str(caught.value).startswith(f"plugin={str(file)!r} ") and "\n" not in str(caught.value)


def test_plugins_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^plugin='nosuch.py' cannot be read: No such file .* Give a Python"):
        load_plugin("nosuch.py")
    with pytest.raises(UserError, match=r"cannot be read: Is a directory\."):
        load_plugin(tmp_path)


def test_origin_of_what_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, PLUGIN, "my_losses_for_a_test.py")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("my_losses_for_a_test")
    (facts,) = plugins_of("mine")
    assert (facts.file, facts.sha256) == (file.name, hashlib.sha256(file.read_bytes()).hexdigest())
    assert load_plugin(file).registered == ["loss mine", "sampler even"]


BACKBONE = """
import timm

@timm.models.register_model
def net_of_a_test(pretrained=False, **kwargs):
    return timm.create_model("test_resnet", **kwargs)
"""


@pytest.mark.filterwarnings("ignore:Overwriting net_of_a_test")
def test_origin_of_a_backbone_that_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, BACKBONE, "my_nets_for_a_test.py")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("my_nets_for_a_test")
    expected = PluginFacts(
        file=file.name,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        registered=["backbone net_of_a_test"],
    )
    assert plugins_of("ce", "net_of_a_test") == [expected]
    file.write_text("# another version, which was not imported\n")
    assert plugins_of("net_of_a_test") == [expected]
    assert plugins_of("test_resnet", "resnet20_cifar") == []  # of timm and of glmc_zoo


@pytest.mark.filterwarnings("ignore:Overwriting net_of_a_test")
def test_origin_of_a_backbone_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cells", ModuleType("cells"))
    digests = set()
    for number, source in enumerate((BACKBONE, f"# edited{BACKBONE}")):
        name = f"/tmp/ipykernel_1/{number}.py"
        monkeypatch.setitem(linecache.cache, name, (len(source), None, source.splitlines(True), name))
        exec(compile(source, name, "exec"), {"__name__": "cells"})
        (facts,) = plugins_of("net_of_a_test")
        assert facts.file == "<notebook>"
        digests.add(facts.sha256)
    assert digests == {hashlib.sha256(source.encode()).hexdigest() for source in (BACKBONE, f"# edited{BACKBONE}")}


def test_origin_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """As IPython runs a cell: a file name that does not exist, with the lines in ``linecache``."""

    def run_cell(number: int, source: str) -> None:
        name = f"/tmp/ipykernel_1/{number}.py"
        monkeypatch.setitem(linecache.cache, name, (len(source), None, source.splitlines(True), name))
        exec(compile(source, name, "exec"), {"__name__": "cells"})

    monkeypatch.setitem(sys.modules, "cells", ModuleType("cells"))  # as __main__ there, without a file
    source = "from glmc_zoo import register_loss\n@register_loss('cell')\ndef cell(class_counts):\n    return {}\n"
    run_cell(1, source.format("abs"))
    (first,) = plugins_of("cell")
    run_cell(2, source.format("max"))  # the cell is edited and run again
    (second,) = plugins_of("cell")
    assert first.file == second.file == "<notebook>" and first.registered == ["loss cell"]
    assert len(first.sha256) == 64 and first.sha256 != second.sha256
    run_cell(3, f"{PLUGIN}    # a class too")
    (facts,) = plugins_of("mine")
    assert facts.file == "<notebook>" and len(facts.sha256) == 64


def test_origin_without_source() -> None:
    exec("from glmc_zoo import register_loss\n@register_loss('bare')\ndef bare(class_counts): ...\n", {})
    assert plugins_of("bare") == [PluginFacts(file="<notebook>", sha256="unknown", registered=["loss bare"])]


def test_a_later_cell_of_a_notebook_may_rename_what_it_registers() -> None:
    for name in ("First", "Second"):
        code = f"from glmc_zoo import register_loss\n@register_loss('celled')\nclass {name}: ...\n"
        exec(compile(code, "<cell>", "exec"), {"__name__": "__main__"})
    assert ENTRIES["loss", "celled"].qualname == "Second"
