"""Each file from the Hub is compared with its hash: on its way, in the cache, with a network and without one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from glmc_zoo.hub import ExportInfo, export_model, write_heads
from glmc_zoo.hub.folder import file_sha256
from glmc_zoo.hub.load.download import _hash, _links, _remove

pytestmark = pytest.mark.processes

# Downloads a model and prints what came of it, and how many seconds it waited: a busy machine computes for longer.
CHILD = """
import json, sys, time
from glmc_zoo.errors import UserError
from glmc_zoo.hub.load.download import download
waits, sleep = [], time.sleep
def counted_sleep(seconds):
    waits.append(seconds)
    sleep(seconds)
time.sleep = counted_sleep
try:
    files = ["config.json", "results.json", "model.safetensors", "glmc_heads.safetensors"]
    outcome = str(download("hf_hub:" + sys.argv[1], sys.argv[1], files))
except UserError as error:
    outcome = {"sentence": error.sentence}
print(json.dumps([outcome, sum(waits)]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3)
    info = ExportInfo(
        class_names=["a", "b", "c"], mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(3, 32, 32), tag="glmc_test"
    )
    made = export_model(model, tmp_path_factory.mktemp("source") / "model", info)
    write_heads({"projector.weight": torch.ones(2, 3)}, made)
    return made


@pytest.fixture
def ask(hub_python: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """``ask(reference, home=..., **env)``: the sentence, or whether the files are those of ``folder``; its waits."""

    def call(reference: str, *, home: Path, **env: str) -> tuple[Any, float]:
        done = hub_python("-c", CHILD, reference, HF_HOME=str(home), **env)
        assert done.returncode == 0, done.stderr
        outcome, seconds = json.loads(done.stdout)
        if isinstance(outcome, dict):
            assert "\n" not in outcome["sentence"]
            return outcome["sentence"], seconds
        return {path.name: path.read_bytes() for path in Path(outcome).iterdir()} == expected, seconds

    expected = {path.name: path.read_bytes() for path in folder.iterdir()}
    return call


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "glmc_heads.safetensors"])
def test_a_flipped_byte_is_fetched_again(hub: Any, ask: Any, folder: Path, tmp_path: Path, file: str) -> None:
    hub.repo("org/small", files=folder)
    hub.flip_byte(rf"/org/small/resolve/.*{file}$", times=1)
    assert ask("org/small", home=tmp_path)[0] is True
    assert len(hub.asked("GET", f"/{file}")) == 2


def test_a_byte_that_is_flipped_each_time_is_one_sentence_and_nothing_stays(
    hub: Any, ask: Any, folder: Path, tmp_path: Path
) -> None:
    hub.repo("org/small", files=folder)
    hub.flip_byte(r"/org/small/resolve/.*config\.json$", times=None)
    sentence, _ = ask("org/small", home=tmp_path)
    assert sentence.startswith("config.json of hf_hub:org/small was damaged on its way, twice")
    assert not list(tmp_path.rglob("config.json"))
    hub.heal()
    assert ask("org/small", home=tmp_path)[0] is True


def changed_mean(home: Path) -> None:
    (config,) = home.rglob("config.json")
    assert config.is_symlink()
    text = config.read_text()
    values = json.loads(text)
    values["pretrained_cfg"]["mean"] = [0.1, 0.2, 0.3]
    config.resolve().write_text(json.dumps(values))


def test_a_mean_that_was_changed_in_the_cache_does_not_pass(hub: Any, ask: Any, folder: Path, tmp_path: Path) -> None:
    hub.repo("org/small", files=folder)
    assert ask("org/small", home=tmp_path)[0] is True
    assert ask("org/small", home=tmp_path, HF_HUB_OFFLINE="1")[0] is True
    changed_mean(tmp_path)
    assert ask("org/small", home=tmp_path)[0] is True  # fetched again
    changed_mean(tmp_path)
    sentence, _ = ask("org/small", home=tmp_path, HF_HUB_OFFLINE="1")
    assert "config.json of hf_hub:org/small was changed in the cache" in sentence and "with a network" in sentence
    assert not list(tmp_path.rglob("config.json"))
    assert ask("org/small@main", home=tmp_path)[0] is True
    (config,) = tmp_path.rglob("config.json")
    content = config.read_bytes()
    config.unlink()
    config.write_bytes(content)  # a file instead of the link: there is no hash to compare it with
    sentence, _ = ask("org/small", home=tmp_path, HF_HUB_OFFLINE="1")
    assert "config.json of hf_hub:org/small was changed in the cache" in sentence


def test_without_a_network_the_cache_serves(hub: Any, ask: Any, folder: Path, tmp_path: Path) -> None:
    hub.repo("org/small", files=folder)
    assert ask("org/small", home=tmp_path)[0] is True
    outcome, seconds = ask("org/small", home=tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert outcome is True and seconds < 60


def test_a_hub_that_is_busy_is_asked_again(hub: Any, ask: Any, folder: Path, tmp_path: Path) -> None:
    hub.repo("org/small", files=folder)
    hub.fail("GET", "/api/models/org/small", status=503, times=1)
    hub.fail("HEAD", r"/resolve/.*config\.json", status=502, times=1)
    hub.fail("GET", r"/resolve/.*model\.safetensors", status=500, times=2)
    hub.fail("GET", r"/resolve/.*glmc_heads", status=429, times=1, retry_after="2")
    outcome, seconds = ask("org/small", home=tmp_path)
    assert outcome is True and 2 <= seconds < 60


def test_a_long_wait_that_the_hub_asks_for_is_not_waited(hub: Any, ask: Any, folder: Path, tmp_path: Path) -> None:
    hub.repo("org/small", files=folder)
    hub.fail("GET", "/api/models/org/small", status=429, times=None, retry_after="3600")
    sentence, seconds = ask("org/small", home=tmp_path)
    assert "busy and asks to wait 3600 s" in sentence and seconds < 20
    assert len(hub.asked("GET", "/api/models/org/small")) == 1


@pytest.mark.parametrize(("fault", "says"), [("page", "page of a proxy"), ("circle", "one redirect to the next")])
def test_what_the_hub_does_not_send(hub: Any, ask: Any, folder: Path, tmp_path: Path, fault: str, says: str) -> None:
    hub.repo("org/small", files=folder)
    (hub.answer_page if fault == "page" else hub.redirect_in_a_circle)("*", ".")
    sentence, seconds = ask("org/small", home=tmp_path)
    assert sentence.startswith("hf_hub:org/small cannot be read from the Hub") and says in sentence
    assert seconds < 60


def test_a_config_of_gigabytes_is_not_downloaded(hub: Any, ask: Any, folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "config.json").write_text(" " * (17 << 20))
    hub.repo("org/small", files=copy)
    sentence, _ = ask("org/small", home=tmp_path / "home")
    assert "config.json of hf_hub:org/small has 17,825,792 bytes, and at most 16 MiB are read" in sentence
    assert not hub.asked("GET", "/resolve/")


def test_hashes_are_those_of_git_and_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello")
    assert _hash(tmp_path / "a", "0" * 40) == "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"
    assert _hash(tmp_path / "a", "0" * 64) == file_sha256(tmp_path / "a")


def test_a_file_is_removed_with_all_that_it_links_to(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"x")
    (tmp_path / "store").symlink_to("blob")
    (tmp_path / "file").symlink_to(tmp_path / "store")
    assert [one.name for one in _links(tmp_path / "file")] == ["file", "store", "blob"]
    _remove(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
