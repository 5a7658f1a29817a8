"""A failure of the machine while a network is built or tried: it is named, and the image size is not blamed."""

from __future__ import annotations

import errno
import json
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import timm
import torch
from hub_server import HubServer
from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError

from glmc_zoo.building import outside_failures
from glmc_zoo.errors import UserError
from glmc_zoo.hub import ExportInfo, create_model, export_model
from glmc_zoo.method import UnsuitableClassifier, check_backbone, create_backbone
from glmc_zoo.method.posthoc import linear_classifier
from glmc_zoo.scoring.calibration import calibrate_classifier
from glmc_zoo.training.adapters import add_adapters

Run = Callable[..., "CompletedProcess[str]"]
MEMORY_FAILURES = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 49152 bytes."),
    RuntimeError("std::bad_alloc"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]


def fail_with(error: BaseException) -> Callable[..., Any]:
    """A function that raises ``error``, whatever it is called with."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("error", MEMORY_FAILURES, ids=repr)
def test_full_memory_while_building(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", fail_with(error))
    expected = "Backbone 'test_vit' needs more memory than is free: free some memory, or give a smaller network."
    with pytest.raises(UserError) as caught:
        create_backbone("test_vit", 3, image_size=32)
    assert str(caught.value) == expected
    with pytest.raises(UserError, match=r"^Model test_vit needs more memory than is free: .* a smaller network\.$"):
        create_model("test_vit", pretrained=False)


@pytest.mark.parametrize("error", MEMORY_FAILURES, ids=repr)
def test_full_memory_while_a_network_is_tried(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of a check of a backbone, of adapters, and of functions that need one linear layer."""
    model: Any = timm.create_model("test_vit", num_classes=3, img_size=32)
    monkeypatch.setattr(model, "forward_features", fail_with(error))
    sentence = "Backbone 'test_vit' for images of 32 x 32 pixels needs more memory than is free"
    fix = ": free some memory, or give a smaller image_size=."
    with pytest.raises(UserError) as caught:
        check_backbone(model, 32)
    assert str(caught.value) == sentence + fix
    with pytest.raises(UserError, match=sentence) as caught:
        linear_classifier(model, 32)
    assert not isinstance(caught.value, UnsuitableClassifier)
    monkeypatch.setattr(model, "forward", fail_with(error))
    pytest.importorskip("peft")
    with pytest.raises(UserError, match="with adapters for images of 32 x 32 pixels needs more memory"):
        add_adapters(model, rank=2, alpha=4.0, image_size=32, kind="lora")


def test_the_reason_of_a_missing_temperature_is_the_true_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights at the end of a training are kept, without a temperature."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    logits = (torch.nn.functional.one_hot(labels, 3) + torch.randn(60, 3, generator=generator)).double()
    model: Any = timm.create_model("test_vit", num_classes=3, img_size=32)
    monkeypatch.setattr(model, "forward_features", fail_with(MemoryError()))
    facts = calibrate_classifier(model, 32, logits.numpy(), labels.numpy(), None)
    assert facts.temperature is None
    assert facts.reason is not None and "needs more memory than is free" in facts.reason


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ModuleNotFoundError("No module named 'flash_attn.ops'", name="flash_attn.ops")
    monkeypatch.setattr(timm, "create_model", fail_with(missing))
    with pytest.raises(UserError) as caught:
        create_backbone("test_vit", 3, image_size=32)
    assert str(caught.value) == (
        "Backbone 'test_vit' needs the package flash_attn, which is not installed: install it with pip."
    )
    # An installed package lacks a module in some versions.
    missing = ModuleNotFoundError("No module named 'timm.layers.new'", name="timm.layers.new")
    monkeypatch.setattr(timm, "create_model", fail_with(missing))
    reason = r"a package that cannot be imported \(No module named 'timm\.layers\.new'\): install or update it with pip"
    with pytest.raises(UserError, match=reason):
        create_backbone("test_vit", 3, image_size=32)
    monkeypatch.setattr(timm, "create_model", fail_with(ImportError("cannot import name 'a' from 'b'")))
    with pytest.raises(UserError, match=r"needs a package that cannot be imported \(cannot import name 'a' from 'b'\)"):
        create_backbone("test_vit", 3, image_size=32)


@pytest.mark.parametrize("size", [None, 65])
def test_the_size_is_named_only_where_timm_was_given_one(size: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", fail_with(ValueError("bad shape")))
    with pytest.raises(UserError, match=r"^Backbone 'test_resnet' cannot be built: bad shape$"):
        create_backbone("test_resnet", 3, image_size=size)
    suffix = f" for images of {size} pixels" if size else ""
    with pytest.raises(UserError, match=f"^Backbone 'test_vit' cannot be built{suffix}: bad shape$"):
        create_backbone("test_vit", 3, image_size=size)


def test_a_refusal_of_the_size_is_still_one() -> None:
    model = timm.create_model("test_vit", num_classes=3, img_size=32)
    with pytest.raises(UserError, match="refuses images of 65 x 65 pixels"):
        check_backbone(model, 65)


@pytest.mark.parametrize("error", [HFValidationError("a/b/c"), ValueError("x"), KeyError("x"), OSError(28, "full")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, outside_failures("Backbone 'x'", smaller="another"):
        raise error
    assert caught.value is error


def test_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    reason = r"could not be downloaded \(HF_HUB_OFFLINE is set, and they are not in the Hub's cache\): unset it, "
    with pytest.raises(UserError, match=f"^The weights of 'resnet18' {reason}.*, or start .* pretrained=False.$"):
        create_backbone("resnet18", 3, pretrained=True, image_size=64)
    with pytest.raises(UserError, match=f"^The weights of resnet18 {reason}.* set HF_HUB_OFFLINE=1.$"):
        create_model("resnet18")
    with pytest.raises(UserError, match=f"^The weights of 'hf-hub:org/name' {reason}"):
        create_backbone("hf-hub:org/name", 3)


BUILD = """
import json, sys, time
from glmc_zoo.errors import UserError
from glmc_zoo.hub import create_model
from glmc_zoo.method import create_backbone
sentences, waits, sleep = [], [], time.sleep
def counted_sleep(seconds):  # a busy machine computes for longer, and waits no longer
    waits.append(seconds)
    sleep(seconds)
time.sleep = counted_sleep
backbone = sys.argv[1]
builds = [lambda: create_backbone(backbone, 3, pretrained=True, image_size=64), lambda: create_model("resnet18")]
for build in builds:
    try:
        build()
        sentences.append("")
    except UserError as error:
        sentences.append(str(error))
print(json.dumps([sum(waits), *sentences]))
"""


def build_both(hub_python: Run, backbone: str = "resnet18", **variables: str) -> tuple[float, list[str]]:
    """Seconds of waiting and the two sentences of a build by name, and of a model to start from, in a fresh process."""
    ended = hub_python("-c", BUILD, backbone, **variables)
    assert ended.returncode == 0, ended.stderr
    seconds, *sentences = json.loads(ended.stdout.splitlines()[-1])
    return seconds, sentences


@pytest.mark.processes
def test_a_hub_that_is_not_reached_is_named_soon(hub_python: Run) -> None:
    with socket.socket() as server:  # bound and not listening: connections to it are refused
        server.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        seconds, sentences = build_both(hub_python, HF_ENDPOINT=endpoint)
    for name, sentence in zip(("'resnet18'", "resnet18"), sentences, strict=True):
        assert sentence.startswith(
            f"The weights of {name} could not be downloaded (the Hub, {endpoint}, cannot be reached): connect to a "
        )
        assert "local-dir:FOLDER" in sentence and "HF_HUB_OFFLINE=1" in sentence and "pixels" not in sentence
    assert "pretrained=False" in sentences[0] and "pretrained=False" not in sentences[1]
    assert seconds < 15  # the client alone repeats for 23 s, for each of two names


@pytest.mark.processes
@pytest.mark.parametrize(
    ("status", "reason"),
    [(503, "the Hub answered with HTTP 503"), (403, "the Hub refuses them to this login, HTTP 403")],
)
def test_answers_of_the_hub(hub: HubServer, hub_python: Run, status: int, reason: str) -> None:
    hub.fail("HEAD", "resnet18", status=status, times=None)
    _, sentences = build_both(hub_python)
    assert all(f"could not be downloaded ({reason}): " in sentence for sentence in sentences), sentences


@pytest.mark.processes
def test_weights_of_the_cache_need_no_hub(hub: HubServer, hub_python: Run, tmp_path: Path) -> None:
    """A busy Hub does not stop a build whose weights were downloaded before."""
    info = ExportInfo(class_names=list("abc"), tag="a", mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(3, 32, 32))
    model = timm.create_model("test_resnet", num_classes=3)
    hub.repo("org/name", files=export_model(model, tmp_path / "exported", info))
    home = str(tmp_path / "home")
    assert build_both(hub_python, "hf-hub:org/name", HF_HOME=home)[1][0] == ""
    hub.fail("*", "org/name", times=None)
    assert build_both(hub_python, "hf-hub:org/name", HF_HOME=home)[1][0] == ""


STORE = """
from glmc_zoo.errors import UserError
from glmc_zoo.hub import create_model
from glmc_zoo.method import create_backbone
for build in (lambda: create_backbone("hf-hub:org/name", 3), lambda: create_model("hf_hub:org/name")):
    try:
        build()
    except UserError as error:
        print(error)
"""


@pytest.mark.processes
def test_a_cache_that_cannot_be_written_is_named_and_not_the_network(
    hub: HubServer, hub_python: Run, tmp_path: Path
) -> None:
    info = ExportInfo(class_names=list("abc"), tag="a", mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(3, 32, 32))
    model = timm.create_model("test_resnet", num_classes=3)
    hub.repo("org/name", files=export_model(model, tmp_path / "exported", info))
    (tmp_path / "file").write_text("")
    ended = hub_python("-c", STORE, HF_HOME=str(tmp_path / "file" / "home"))
    assert ended.returncode == 0, ended.stderr
    folder = re.escape(str(tmp_path / "file" / "home"))
    reason = rf"\({folder}\S* cannot be used, Not a directory\): set HF_HOME to a folder that"
    built, opened = ended.stdout.splitlines()
    assert re.match(rf"The weights of 'hf-hub:org/name' could not be downloaded {reason}", built), built
    assert re.match(rf"hf_hub:org/name cannot be stored {reason} you may write to\.$", opened), opened
    assert "network" not in built + opened


def test_without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match="needs peft, which is not installed"):
        add_adapters(timm.create_model("test_vit", num_classes=3, img_size=32), rank=2, alpha=4.0, image_size=32)
