"""The run folder: who may use it, and the lines of its epochs."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate import Accelerator
from waiting import PATIENCE, wait_until

from glmc_zoo.errors import UserError
from glmc_zoo.options.resolve import training_options
from glmc_zoo.options.run import RunOptions
from glmc_zoo.options.sections import TRAIN
from glmc_zoo.options.user_options import parse_options
from glmc_zoo.training.folder import RunFolder, short_model_name


def options(**values: object) -> RunOptions:
    return training_options(parse_options(TRAIN, values, ""))


def test_half_a_line_is_not_an_epoch(accelerate: Callable[..., Accelerator], tmp_path: Path) -> None:
    folder = RunFolder(accelerate(), options(output_dir=str(tmp_path / "run")), "name")
    for epoch in range(1, 4):
        folder.append({"epoch": epoch, "test": {"top1": 0.5}})
    text = folder.metrics.read_text()
    folder.metrics.write_text(text[:-2])  # the braces are not closed
    assert [row["epoch"] for row in folder.epoch_lines().rows] == [1, 2]
    folder.drop_epochs_after(1)
    folder.append({"epoch": 2})
    assert [json.loads(line)["epoch"] for line in folder.metrics.read_text().splitlines()] == [1, 2]


def test_a_folder_belongs_to_one_run(accelerate: Callable[..., Accelerator], tmp_path: Path) -> None:
    accelerator, path = accelerate(), tmp_path / "run"
    RunFolder(accelerator, options(output_dir=str(path), lr=0.1), "name")
    before = (path / "config.yaml").read_bytes()
    with pytest.raises(UserError, match=r"already holds files \(config.yaml\); choose .* by resume='auto'"):
        RunFolder(accelerator, options(output_dir=str(path), lr=0.1), "name")
    with pytest.raises(UserError, match=r"because it has other options \(lr: 0.1 -> 0.2\): give the same options"):
        RunFolder(accelerator, options(output_dir=str(path), resume="auto", lr=0.2), "name")
    RunFolder(accelerator, options(output_dir=str(path), resume="auto", lr=0.1, keep_checkpoints=7), "name")
    assert (path / "config.yaml").read_bytes() == before


def test_a_run_of_a_version_without_an_option_is_the_same_run(
    accelerate: Callable[..., Accelerator], tmp_path: Path
) -> None:
    """Also where the default of the new option is made, as an empty list is."""
    path = tmp_path / "run"
    folder = RunFolder(accelerate(), options(output_dir=str(path)), "name")
    folder.release()
    saved = yaml.safe_load((path / "config.yaml").read_text())
    assert (saved.pop("plugin"), saved.pop("cutout")) == ([], None)
    (path / "config.yaml").write_text(yaml.safe_dump(saved))
    assert RunFolder(accelerate(), options(output_dir=str(path), resume="auto"), "name").path == path


def test_the_advice_fits_the_run_that_holds_the_folder(accelerate: Callable[..., Accelerator], tmp_path: Path) -> None:
    accelerator, path = accelerate(), tmp_path / "run"

    def advice(**values: object) -> str:
        with pytest.raises(UserError) as caught:
            RunFolder(accelerator, options(output_dir=str(path), **values), "name")
        return str(caught.value).partition("; ")[2]

    path.mkdir()
    (path / "notes.txt").touch()
    assert advice() == "they are not those of a run, so choose another folder."
    (path / "notes.txt").unlink()
    RunFolder(accelerator, options(output_dir=str(path), lr=0.1), "name").release()
    assert advice(lr=0.1) == "choose another folder, or go on with that run by resume='auto'."
    assert advice(lr=0.1, workers=3) == advice(lr=0.1)  # such an option may differ
    assert advice(lr=0.2) == "choose another folder, as its run has other options (lr: 0.1 -> 0.2)."
    assert advice(lr=0.2, seed=1, beta=2.0, momentum=0.5, views="mixup").endswith("; ...).")
    # A training whose epochs are done, and a run without checkpoints that is complete.
    (path / "results.json").touch()
    (path / "checkpoints").mkdir()
    again = "choose another folder, or write the outputs of its complete run again by resume='auto'."
    assert advice(lr=0.1) == again
    (path / "finished.json").touch()
    assert advice(lr=0.1) == "choose another folder, as its run is complete."
    (path / "config.yaml").write_text("{")
    assert advice(lr=0.1) == "choose another folder, as the config.yaml of its run cannot be read."


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"output_dir": "FOLDER/file"}, "is a file: give a folder"),
        (
            {"output_dir": "FOLDER/other", "resume": "auto"},
            r"holds files \(checkpoints\); they are not those of a run",
        ),
        ({"resume": "FOLDER/none"}, "is not a folder: give auto, or a folder in checkpoints/"),
        ({"resume": "FOLDER/other/checkpoints/step-1"}, "does not belong to a run"),
        ({"resume": "FOLDER/run/checkpoints/step-1", "output_dir": "FOLDER/new"}, "leave output_dir='.*new' out"),
    ],
)
def test_folders_that_cannot_be_used(
    accelerate: Callable[..., Accelerator], tmp_path: Path, values: dict[str, str], message: str
) -> None:
    (tmp_path / "file").touch()
    for run in ("other", "run"):
        (tmp_path / run / "checkpoints" / "step-1").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text("epochs: 1\n")
    given = {name: value.replace("FOLDER", str(tmp_path)) for name, value in values.items()}
    with pytest.raises(UserError, match=message):
        RunFolder(accelerate(), options(**given), "name")


def test_the_name_of_a_model_in_one_word(tmp_path: Path) -> None:
    (tmp_path / "numbers" / "model").mkdir(parents=True)
    assert short_model_name(str(tmp_path / "numbers" / "model")) == "numbers"
    assert short_model_name(f"local-dir:{tmp_path / 'numbers'}") == "numbers"
    assert short_model_name("hf_hub:org/name") == "org_name"
    assert short_model_name("resnet50.a1_in1k") == "resnet50.a1_in1k"


# ------------------------------------------------------------------------------------------------ one run, one folder
BUSY = """
import sys
from pathlib import Path
from glmc_zoo.machine.lock import lock_folder
Path(sys.argv[1]).mkdir(exist_ok=True)
lock = lock_folder(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()  # until the test ends
"""


@pytest.fixture
def busy(lab: Any) -> Iterator[Callable[[Path], int]]:
    """``busy(folder)`` starts another process that uses the folder, and gives its number."""
    children: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> int:
        words = [sys.executable, "-c", BUSY, str(folder)]
        children.append(
            subprocess.Popen(words, env=lab.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        output = children[-1].stdout
        assert output is not None and output.readline() == "locked\n"
        return children[-1].pid

    yield start
    for child in children:
        child.kill()
        child.wait()


@pytest.mark.processes
def test_a_folder_in_use_is_one_sentence(
    busy: Callable[[Path], int], train: Callable[..., Any], evaluate: Callable[..., Any], first: Path, lab: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    run, fresh, out = tmp_path / "run", tmp_path / "fresh", tmp_path / "out"
    options = [*lab.tiny, "--epochs", 2, "--output-dir"]
    assert train(*options, run).status == 0
    files = {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}
    used = {folder: busy(folder) for folder in (run, fresh, out)}
    checkpoint = max((run / "checkpoints").iterdir())
    for outcome, folder in (
        (train(*options, run, "--resume", "auto"), run),
        (train(*options[:-1], "--resume", checkpoint), run),
        (train(*options, fresh), fresh),
        (evaluate("--model", first, "--output-dir", out), out),
    ):
        sentence = outcome.sentence
        assert sentence.startswith(
            f"--output-dir {folder} is used by process {used[folder]} on {platform.node()}: wait"
        )
    now = {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file() and path.name[0] != "."}
    assert now == files


@pytest.mark.processes
def test_two_resumptions_at_once_are_one_run(lab: Any, tmp_path: Path) -> None:
    """The one that has locked the folder goes on once the other has ended, however late that one started."""
    run, file = tmp_path / "run", tmp_path / "go on"
    options = [*lab.tiny, "--epochs", 3, "--output-dir", run, "--resume", "auto"]
    script = lab.root / "tests" / "support" / "locked_run.py"
    words = [sys.executable, *map(str, [script, file, lab.recipe, *options])]
    children = [
        subprocess.Popen(words, env=lab.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        wait_until(lambda: any(child.poll() is not None for child in children))
        file.touch()
        ends = [(*child.communicate(timeout=PATIENCE), child.returncode) for child in children]
    finally:
        for child in children:
            child.kill()
    assert sorted(status for _, _, status in ends) == [0, 2], ends
    (error,) = [err for _, err, status in ends if status == 2]
    # The process that has the lock writes its number after it got the lock.
    assert re.search(r"is used by (process \d+|another process)", error) and "Traceback" not in error
    assert [row["epoch"] for row in lab.rows(run)] == [1, 2, 3]
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_what_killed_processes_left_is_removed_by_the_next_run(
    train: Callable[..., Any], lab: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    options = [*lab.tiny, "--epochs", 1, "--output-dir", run]
    assert train(*options).status == 0
    number = "0" * 32
    shutil.copytree(run / "model", run / f".model.{number}.old")
    (run / "model").rename(run / f".model.{number}.new")  # killed between the two renames
    (run / f".encoder.{number}.new").mkdir()
    (run / "checkpoints" / ".writing-step-000000099").mkdir()
    for name in (".lock", ".holder.json", ".writing-results.json", ".writing-metrics.jsonl"):
        (run / name).write_text("half")
    outcome = train(*options, "--resume", "auto")
    assert outcome.status == 0 and "Resumed from" in outcome.out, outcome.err
    assert list(run.rglob(".*")) == []
    assert (run / "model" / "model.safetensors").exists()


def test_damaged_lines_are_told_and_kept(
    accelerate: Callable[..., Accelerator], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for half a line at the end, whose epoch a resumed run repeats."""
    folder = RunFolder(accelerate(), options(output_dir=str(tmp_path / "run")), "name")
    folder.metrics.write_bytes(b'{"epoch": 1}\n\xff\x1b[2J\n{"loss": 1}\n{"epoch": 3}\n{"epoch": 4}\n{"epo')
    folder.drop_epochs_after(3)
    assert folder.metrics.read_bytes() == b'{"epoch": 1}\n\xff\x1b[2J\n{"loss": 1}\n{"epoch": 3}\n'
    notes = capsys.readouterr().out.splitlines()
    assert [note.split(" of ")[0] for note in notes] == ["note: Line 2", "note: Line 3", "note: Line 6"]
    assert notes[1].endswith("(it has no epoch number) and stays as it is.")
    assert notes[2].endswith("and is dropped, as its epoch is repeated.")
    lines = folder.epoch_lines()
    assert [row["epoch"] for row in lines.rows] == [1, 3] and list(lines.damaged) == [2, 3] and lines.incomplete is None
