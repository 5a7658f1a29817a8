"""The launch files of recipes/accelerate: read by Accelerate itself, and two of them run, one on two nodes."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "recipes" / "accelerate"
SCRIPT = ROOT / "tests" / "training" / "two_process_script.py"

# File: kind, machines, processes in all, whether on CPUs.
FILES = {
    "one_gpu": ("NO", 1, 1, False),
    "eight_gpus": ("MULTI_GPU", 1, 8, False),
    "two_nodes": ("MULTI_GPU", 2, 16, False),
    "two_processes_cpu": ("MULTI_GPU", 1, 2, True),
}
# 68 training images, 2 steps an epoch of 2 x 16; 600 test images.
OPTIONS = [*("--max-count", 10), *("--imbalance-factor", 2), *("--batch-size", 16), *("--epochs", 1), *("--threads", 1)]
OPTIONS += ["--views", "mixup_cutmix"]


@pytest.fixture
def own_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of how these tests were started is taken for a user's choice."""
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)


def launch_words(text: str) -> list[str]:
    """The words after ``accelerate launch`` of the first command in a file's comment."""
    comment = re.sub(r"\\\n# +", "", text)
    command = next(line for line in comment.splitlines() if "accelerate launch" in line)
    return command.partition("accelerate launch ")[2].split()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_the_file_as_its_name_says(path: Path, own_accelerate: None) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    kind, machines, processes, on_cpus = FILES[path.stem]
    config = load_config_from_file(str(path))  # refuses a key that it does not know
    assert config.distributed_type.value == kind
    assert (config.num_machines, config.num_processes, config.use_cpu) == (machines, processes, on_cpus)
    assert config.mixed_precision == "no" and config.gpu_ids in (None, "all")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_command_in_the_file_is_one_of_the_launcher_and_of_the_recipe(path: Path, own_accelerate: None) -> None:
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    from glmc_zoo.options.parser import build_parser
    from glmc_zoo.options.sections import TRAIN

    words = launch_words(path.read_text())
    assert words[:2] == ["--config_file", f"recipes/accelerate/{path.name}"]
    words[1] = str(path)
    args, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    assert defaults is not None and args.training_script == "recipes/train.py"
    kind, machines, processes, _ = FILES[path.stem]
    assert (args.multi_gpu, args.num_machines, args.num_processes) == (kind == "MULTI_GPU", machines, processes)
    if machines > 1:
        assert (args.main_process_ip, args.machine_rank, args.main_process_port) == ("NODE_0", 0, 29500)
    build_parser(TRAIN, "").parse_args(args.training_script_args)


def test_every_file_is_here_and_in_the_docs() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(FILES)
    docs = (ROOT / "docs" / "multi_node.md").read_text()
    for name in FILES:
        assert f"recipes/accelerate/{name}.yaml" in docs
    # Commands on several lines, with every file that they name.
    for named in re.findall(r"(?:recipes|docs|glmc_zoo|benchmarks)/[\w/]+\.\w+", docs):
        assert (ROOT / named).is_file(), named


def free_port() -> int:
    """A free port below those that the system gives out, so that no other process gets it before the launcher."""
    for port in random.Random(os.getpid()).sample(range(15_000, 30_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def start(lab: Any, file: str, *words: Any, out: Path) -> subprocess.Popen[str]:
    """``accelerate launch`` of the script that runs recipes/train.py and writes down what each process saw."""
    launcher = ["-m", "accelerate.commands.launch", "--config_file", FOLDER / f"{file}.yaml", *words]
    return subprocess.Popen(
        [sys.executable, *map(str, [*launcher, SCRIPT, out, *OPTIONS, "--output-dir", out / "run"])],
        cwd=out, env=lab.environment(ACCELERATE_USE_CPU="true"), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finished(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What each launcher printed; none is left behind."""
    try:
        printed = [process.communicate(timeout=PATIENCE)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(printed)
    return printed


@pytest.mark.processes
def test_two_nodes_do_what_two_processes_of_one_do(lab: Any, tmp_path: Path, own_accelerate: None) -> None:
    nodes, single = tmp_path / "nodes", tmp_path / "single"
    nodes.mkdir()
    single.mkdir()
    address = ["--main_process_ip", "127.0.0.1", "--main_process_port", free_port()]
    printed = finished(
        [start(lab, "two_nodes", "--num_processes", 2, *address, "--machine_rank", r, out=nodes) for r in (0, 1)]
    )
    finished([start(lab, "two_processes_cpu", out=single)])

    # One run on both nodes: one folder, one line for the epoch, one set of scores with every test image once.
    results = lab.results(nodes / "run")
    assert len(list(nodes.rglob("results.json"))) == 2  # the run's, and the copy that goes with the model
    assert [row["epoch"] for row in lab.rows(nodes / "run")] == [1]
    assert results["processes"] == 2
    assert results["schedule"]["images_per_step"] == 32
    assert sum(map(sum, results["group_confusion"])) == results["data"]["test_images"] == 600
    assert [path.name for path in (nodes / "run" / "checkpoints").iterdir()] == ["step-000000002"]
    assert (nodes / "run" / "checkpoints" / "step-000000002" / "random_1.json").is_file()
    assert "batch 16 x 2 processes = 32 images a step" in printed[0]
    assert "results.json" in printed[0] and "results.json" not in printed[1]

    ranks = [torch.load(nodes / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1)]
    first, second = (rank["train"][0] for rank in ranks)
    assert len(first) == len(second) == 32 and len({*first, *second}) == 64
    for one, other in zip(ranks[0]["test"], ranks[1]["test"], strict=True):
        assert sorted(one + other) == list(range(600))
    for key, value in ranks[0]["weights"].items():
        assert torch.equal(value, ranks[1]["weights"][key]), key

    # Where the processes are makes no difference to what they compute, to the bit.
    assert lab.same_weights(lab.weights(nodes / "run"), lab.weights(single / "run"))
    assert lab.results(single / "run")["test"] == results["test"]
    saved = [yaml.safe_load((folder / "run" / "config.yaml").read_text()) for folder in (nodes, single)]
    assert saved[0] == saved[1]
