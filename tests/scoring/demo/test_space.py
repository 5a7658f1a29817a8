"""The demo as a Space: its files, a process that starts them, and a push to a Hub on loopback."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from browser import CHROMIUM, browser_page
from csv_files import csv_rows
from hub_server import HubServer
from hub_server.cards import front_matter
from interruptible import interruptible
from PIL import Image
from waiting import PATIENCE

import glmc_zoo
from glmc_zoo.errors import UserError

gradio = pytest.importorskip("gradio", reason="it needs gradio (in the extra demo)")


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------ the folder
@pytest.fixture(scope="module")
def plain_run(shown_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run without the sample image, which no export writes."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    return Path(shutil.copytree(shown_run, folder, ignore=shutil.ignore_patterns("sample.jpg")))


@pytest.fixture(scope="module")
def written(plain_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Space of a run, with the files of the model and two images of each rare class."""
    folder = tmp_path_factory.mktemp("space") / "demo"
    assert glmc_zoo.push(model=plain_run / "model", space_folder=folder, space_images=2) == []
    return folder


def test_the_files_of_a_space(written: Path, plain_run: Path) -> None:
    images = {name for name in names(written) if name.startswith("rare_images/") and not name.endswith(".csv")}
    model = {f"model/{name}" for name in ("config.json", "model.safetensors", "results.json")}
    assert names(written) == {"README.md", "app.py", "requirements.txt", "rare_images/images.csv"} | images | model
    for name in model:
        assert (written / name).read_bytes() == (plain_run / name).read_bytes()
    rows = csv_rows(written / "rare_images" / "images.csv")
    assert {f"rare_images/{row['path']}" for row in rows} == images and len(rows) == 6
    assert sorted(row["label"] for row in rows) == ["ant", "ant", "bee", "bee", "cat", "cat"]
    for name in images:
        with Image.open(written / name) as image:
            assert max(image.size) <= 160 and not image.getexif()
    text = (written / "README.md").read_text()
    matter = front_matter(text)
    assert (matter["sdk"], matter["app_file"], matter["sdk_version"]) == ("gradio", "app.py", version("gradio"))
    assert "models" not in matter and "6 small training images of rare classes, in `rare_images/`" in text
    lines = (written / "requirements.txt").read_text().splitlines()
    assert lines[0] == f"glmc_zoo[demo]=={glmc_zoo.__version__}"
    assert all(re.fullmatch(r"\w+==\d+(\.\d+)+", line) for line in lines[1:]) and len(lines) == 4


@pytest.mark.processes
def test_the_folder_starts_and_answers(written: Path, lab: Any, animals: Path, tmp_path: Path) -> None:
    words = [sys.executable, str(written / "app.py")]
    with interruptible(words, tmp_path, lab, GRADIO_SERVER_PORT="7900") as process:
        assert process.stdout is not None and process.stderr is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        assert lines[0].endswith("; 6 training images of rare classes\n"), (lines, process.stderr.read())
        url = lines[1].removeprefix("demo  ").strip()
        with urlopen(url, timeout=PATIENCE) as answer:
            assert answer.status == 200 and b"test_efficientnet.ce_animals" in answer.read()
        if CHROMIUM is not None:
            with browser_page() as (page, _):
                page.goto(url)
                page.set_input_files("#glmc-upload input[type=file]", str(animals / "test" / "bee" / "001.png"))
                page.wait_for_selector("#glmc-answer img[alt*='001.png']")
                page.wait_for_function("document.querySelectorAll('#glmc-similar li').length == 6")
        process.send_signal(signal.SIGINT)
        process.wait(timeout=PATIENCE)


def test_what_a_space_cannot_have_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"space_images= takes training images of .* not on this machine"):
        glmc_zoo.push(model=model, space_folder=tmp_path / "a", space_images=1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(UserError, match=r"space_folder=.* already holds files \(mine.txt\)"):
        glmc_zoo.push(model=model, space_folder=tmp_path / "full")
    with pytest.raises(UserError, match="space='demo' is not a repository: give ORG/NAME"):
        glmc_zoo.push(model=model, space="demo")
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in model.iterdir():
        os.symlink(file, linked / file.name)
    with pytest.raises(UserError, match="a link, and what it points to is not exported or pushed"):
        glmc_zoo.push(model=linked, space_folder=tmp_path / "b")
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


# ------------------------------------------------------------------------------------------------ the Hub
PUSHES = """
import json, sys
import glmc_zoo
sys.argv = ["glmc-zoo push"]
for options in json.loads(sys.stdin.read()):
    try:
        print("RESULT", json.dumps([one.url for one in glmc_zoo.push(**options)]), flush=True)
    except glmc_zoo.errors.UserError as error:
        print("RESULT", json.dumps(error.sentence), flush=True)
"""


@pytest.mark.processes
def test_a_space_on_the_hub(hub: HubServer, hub_env: Callable[..., dict[str, str]], plain_run: Path) -> None:
    model = str(plain_run / "model")
    hub.repo("org/chat", repo_type="space").put({"app.py": b"import chat", "README.md": b"---\nsdk: gradio\n---\n"})
    both = {"model": model, "repo": "org/name", "space": "org/demo", "private": True}
    inside = {"model": model, "space": "org/demo"}
    pushes = [both, both, inside, both, {"model": model, "space": "org/chat"}]
    pushes.append({"model": model, "repo": "org/new", "space": "org/new_demo", "dry_run": True})
    for path in ("/repos/create", "/api/spaces/org/demo/commit/"):
        hub.fail("POST", path, status=503, times=1)
    done = subprocess.run(
        [sys.executable, "-c", PUSHES], input=json.dumps(pushes), env=hub_env(hub.token()), capture_output=True,
        text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    results = [json.loads(line.removeprefix("RESULT ")) for line in done.stdout.splitlines() if "RESULT " in line]

    # ---------------------------------------------------------------- what was made
    pushed, space = hub.find("org/name"), hub.find("org/demo", "space")
    assert pushed is not None and space is not None and space.private and len(pushed.history) == 1
    urls = [f"{hub.url}/org/name", f"{hub.url}/spaces/org/demo"]
    assert results[:4] == [urls, urls, urls[1:], urls]
    bodies = [json.loads(request.body) for request in hub.asked("POST", "/repos/create")]
    assert {body.get("sdk") for body in bodies if body.get("type") == "space"} == {"gradio"}

    # ---------------------------------------------------------------- each commit: with the repository, alone, again
    commits = space.history  # the second push changed nothing
    assert [set(commit.files) >= {"README.md", "app.py", "requirements.txt"} for commit in commits] == [True] * 3
    assert [len(commit.files) for commit in commits] == [3, 6, 3]
    assert set(commits[1].files) >= {"model/config.json", "model/model.safetensors", "model/results.json"}
    assert front_matter(commits[0].files["README.md"].decode())["models"] == ["org/name"]
    assert "model='hf-hub:org/name'" in commits[0].files["app.py"].decode()
    assert 'model=HERE / "model"' in commits[1].files["app.py"].decode()
    assert f"pushed  {urls[1]}\ncommit  {commits[0].oid}\n" in done.stdout
    assert "the Space reads a private model: give it a token as the secret HF_TOKEN" in done.stdout

    # ---------------------------------------------------------------- a Space of somebody else, and a dry run
    assert "org/chat failed" in results[4] and "holds files (app.py) but no demo of glmc_zoo" in results[4]
    assert f"Push later with `glmc-zoo push --model {model} --space org/chat`." in results[4]
    chat = hub.find("org/chat", "space")
    assert chat is not None and set(chat.head.files) == {"app.py", "README.md"}
    assert results[5] == [] and hub.find("org/new") is None and hub.find("org/new_demo", "space") is None
    listed = done.stdout.split("RESULT")[-2]
    assert re.search(r"^org/new +bytes$.*^model.safetensors +[\d,]+$", listed, re.DOTALL | re.MULTILINE)
    assert re.search(r"^Space org/new_demo +bytes$.*^app.py +[\d,]+$", listed, re.DOTALL | re.MULTILINE)
