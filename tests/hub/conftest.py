"""Fixtures of these tests: exported models, and a process that pushes them with the Hub's client as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from card_results import minimal_results
from hub_server import HubServer
from waiting import PATIENCE


def make_export(
    folder: Path,
    *,
    classes: list[str] | None = None,
    backbone: str = "test_resnet",
    plots: tuple[str, ...] = ("training.png", "class_accuracy.png"),
    heads: bool = True,
    seed: int = 0,
) -> Path:
    """An exported model as a run leaves it, with random weights."""
    import timm
    import torch

    from glmc_zoo.hub import export_run

    results = minimal_results(backbone, classes=classes or ["ant", "bee", "cat", "dog", "emu"])
    torch.manual_seed(seed)
    model = timm.create_model(backbone, num_classes=len(results.class_names))
    drawn = folder.parent / f"{folder.name}_plots"
    drawn.mkdir(parents=True)
    for name in plots:
        (drawn / name).write_bytes(name.encode())
    return export_run(
        folder, model, results, heads={"fc.weight": torch.rand(5, 8)} if heads else None, plots=drawn,
        config_yaml="data: mine\n",
    )  # fmt: skip


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of five classes; not to be changed."""
    return make_export(tmp_path_factory.mktemp("export") / "model")


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., Path]:
    """``export(name, **options)`` makes another one; see `make_export`."""
    return lambda name, **options: make_export(tmp_path / name, **options)


class Pusher:
    """``push_folder`` in a process of its own, and the Hub that it talks to."""

    def __init__(self, hub: HubServer, env: dict[str, str], log: Path) -> None:
        self.hub, self.log, self.output = hub, log, ""
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).parent / "push" / "push_worker.py")],
                env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True,
            )  # fmt: skip

    def __call__(self, folder: Path, repo_id: str, *, token: str | None, **options: Any) -> dict[str, Any]:
        """What `PushResult` holds, or the ``sentence`` of the error."""
        assert self._process.stdin is not None and self._process.stdout is not None
        attempts = options.pop("attempts", 4)
        call = {"folder": str(folder), "target": {"repo": repo_id, **options}, "token": token, "attempts": attempts}
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self.log.read_text()
        self.output += line
        return json.loads(line)

    def close(self) -> None:
        """End the process; nothing that it said may hold a token."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(timeout=PATIENCE) == 0, self.log.read_text()
        said = self.output + self.log.read_text()
        assert not [token for token in self.hub.store.tokens if token in said]


@pytest.fixture(scope="module")
def pusher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pusher]:
    """``pusher(folder, repo_id, token=..., **options)``, with options of `PushTarget`; ``pusher.hub`` is its Hub.

    The tests of a module share it.
    """
    folder = tmp_path_factory.mktemp("pusher")
    with HubServer() as hub:
        pusher = Pusher(hub, hub.environment(folder / "hf_home"), folder / "log")
        yield pusher
        pusher.close()


@pytest.fixture(autouse=True)
def _healthy(request: pytest.FixtureRequest) -> Iterator[None]:
    """Faults of one test do not reach the next."""
    yield
    if "pusher" in request.fixturenames:
        request.getfixturevalue("pusher").hub.heal()
