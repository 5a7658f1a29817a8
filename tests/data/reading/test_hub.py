"""Image files on the Hub, unpacked or in archives, downloaded or streamed: the rules of a local folder hold."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from subprocess import CompletedProcess
from typing import Any

import pytest
from hub_server import HubServer
from PIL import Image

READ = """
import json, sys
from glmc_zoo.data import load_data, load_stream
from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.sources import open_source
from glmc_zoo.errors import UserError

answers = []
for options in json.loads(sys.argv[1]):
    try:
        if options.pop("stream", False):
            data = load_stream("org/animals", **options)
            labels = [label for _, some, _ in data.test.batches(8) for label in some.tolist()]
            answers.append([data.class_names, data.class_counts, labels])
        else:
            raw = open_source(DataOptions(data="org/animals", **options), None)
            train, test = (
                None if split is None else sorted(raw.class_names[label] for label in split.labels[split.rows])
                for split in (raw.train, raw.test)
            )
            raw.train.source.read(raw.train.rows[:1])
            answers.append([train, test, {one.reason: one.files for one in raw.left_out.facts()}])
    except UserError as error:
        answers.append(error.sentence)
print(json.dumps(answers))
"""

Ask = Callable[..., list[Any]]
ANIMALS = {"train": ["ant/2020", "ant/2021", "ant/2021", "bee/2020"], "test": ["ant/2022", "bee/2022"]}


def png(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 2 * number, 0)).save(file, "PNG")
    return file.getvalue()


def animals(train: str = "train", test: str = "test") -> dict[str, bytes]:
    names = [(top, folder) for top, split in ((train, "train"), (test, "test")) for folder in ANIMALS[split]]
    return {f"{top}/{folder}/{number}.png".lstrip("/"): png(number) for number, (top, folder) in enumerate(names)}


def zipped(files: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def shards() -> list[bytes]:
    """The training images in two archives that each number their files from the start."""
    train = [(name, data) for name, data in animals().items() if name.startswith("train")]
    halves = [{f"{name[6:].rpartition('/')[0]}/0.png": data for name, data in train[half::2]} for half in (0, 1)]
    assert sum(map(len, halves)) == len(train)
    return [zipped(half) for half in halves]


@pytest.fixture
def ask(hub: HubServer, hub_python: Callable[..., CompletedProcess[str]]) -> Ask:
    """``ask(files, options, ...)``: what is read of a Hub data set with each of these options, in a child process."""

    def call(files: Mapping[str, bytes], *options: dict[str, Any]) -> list[Any]:
        hub.repo("org/animals", repo_type="dataset", files=files)
        done = hub_python("-c", READ, json.dumps(list(options)))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return call


CLASSES = [["ant", "ant", "ant", "bee"], ["ant", "bee"]]


@pytest.mark.processes
def test_image_files_are_read_as_those_of_a_folder(hub: HubServer, ask: Ask) -> None:
    files = {**animals("Training", "test_set"), "notes.txt": b"x", "__MACOSX/a.png": png(1), "docs/figure.png": png(2)}
    plain, wrong, stream = ask(files, {}, {"data_config": "small"}, {"stream": True})
    assert plain[:2] == CLASSES
    assert plain[2] == {"not an image": 1, "made by a program for itself": 1, "beside the folders of the splits": 1} | {
        "hidden": 1  # .gitattributes
    }
    assert "small" in wrong
    assert stream == [["ant", "bee"], [3, 1], [0, 1]]
    opened = {request.path for request in hub.requests if request.method == "GET" and "/resolve/" in request.path}
    assert len([path for path in opened if path.endswith("test_set/ant/2022/4.png")]) == 1


@pytest.mark.processes
def test_a_card_with_configurations(ask: Ask) -> None:
    card = b"""---
configs:
- config_name: all
  data_files:
  - {split: train, path: "train/**"}
  - {split: test, path: "test/**"}
- config_name: new
  data_dir: newer
---
"""
    files = {"README.md": card, **animals(), **animals("newer/train", "newer/test")}
    choices: list[dict[str, Any]] = [{"data_config": "all"}, {"data_config": "new"}, {}, {"data_config": "old"}]
    whole, new, none, old, stream = ask(files, *choices, {"stream": True, "data_config": "all"})
    assert whole[:2] == new[:2] == CLASSES
    assert whole[2]["not in the configuration of the dataset card"] == 6
    assert "all" in none and "new" in none and "old" in old
    assert stream == [["ant", "bee"], [3, 1], [0, 1]]


@pytest.mark.processes
@pytest.mark.parametrize(
    "files",
    [
        {"data.zip": zipped(animals())},
        {"pets.zip": zipped(animals("pets/train", "pets/test"))},
        {
            "data/train.zip": zipped({name[6:]: data for name, data in animals().items() if name.startswith("train")}),
            "data/test.zip": zipped({name: data for name, data in animals().items() if name.startswith("test")}),
        },
        {
            **dict(zip(("data/train-0-of-2.zip", "data/train-1-of-2.zip"), shards(), strict=True)),
            "data/test.zip": zipped({name: data for name, data in animals().items() if name.startswith("test")}),
        },
    ],
    ids=["one archive", "unpacked into its own name", "one for each split", "several for a split"],
)
def test_archives_are_unpacked_and_read_by_the_same_rules(ask: Ask, files: dict[str, bytes]) -> None:
    plain, stream = ask(files, {}, {"stream": True})
    assert plain[:2] == CLASSES, plain
    assert stream == f"streaming=True cannot read {min(files)} of org/animals: leave streaming=True out."


@pytest.mark.processes
def test_metadata_on_the_hub(ask: Ask) -> None:
    names = list(animals())
    rows = "".join(f"{name},{'xyxyxy'[index]}\n" for index, name in enumerate(names))
    plain, stream = ask({"metadata.csv": f"file_name,label\n{rows}".encode(), **animals()}, {}, {"stream": True})
    assert plain[:2] == [["x", "x", "y", "y"], ["x", "y"]]
    assert stream == "streaming=True cannot read metadata.csv of org/animals: leave streaming=True out."


@pytest.mark.processes
@pytest.mark.parametrize("path", ["/resolve/", "/api/datasets/"])
def test_a_busy_hub_is_asked_again(hub: HubServer, ask: Ask, path: str) -> None:
    hub.fail("GET", path, times=2)
    assert ask(animals(), {})[0][:2] == CLASSES


@pytest.mark.processes
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (lambda hub: hub.redirect_in_a_circle("*", "/resolve/"), "leads from one redirect to the next without end"),
        (lambda hub: hub.answer_page("*", "/api/"), "The answer is not one that the Hub sends"),
        (lambda hub: hub.fail("*", "/api/", times=None, retry_after="3600"), "busy and asks to wait 3600 s"),
    ],
    ids=["circle", "page", "wait"],
)
def test_a_hub_on_a_bad_day_gives_one_sentence(
    hub: HubServer, ask: Ask, fault: Callable[[HubServer], None], sentence: str
) -> None:
    fault(hub)
    plain, stream = ask(animals(), {}, {"stream": True})
    assert sentence in plain and sentence in stream
    assert plain.startswith("The data set org/animals cannot be read from the Hugging Face Hub: ")
