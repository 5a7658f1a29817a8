"""The file of a search in the run folder, one JSON line for each step of it, so that a killed search goes on."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glmc_zoo.facts import SearchFacts, SearchTrial
from glmc_zoo.fields import from_json
from glmc_zoo.files import percent, text_table
from glmc_zoo.text import counted
from glmc_zoo.training.search_plan import SearchPlan

_NAME = "search.jsonl"


class SearchFile:
    """``search.jsonl``: the plan, then each trial as it finishes, then the facts of the finished search.

    Every line has ``spent``, the seconds that the search had taken until then, interruptions left out.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / _NAME

    def lines(self) -> list[dict[str, Any]]:
        """The lines; one that a killed run left half written is dropped."""
        if not self.path.is_file():
            return []
        lines: list[dict[str, Any]] = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return lines

    def plan(self, key: str) -> SearchPlan | None:
        """The plan of a search on the images that ``key`` names; ``None`` where there is none."""
        plans = [line["plan"] for line in self.lines() if "plan" in line and line["key"] == key]
        return SearchPlan(**plans[-1]) if plans else None

    def trials(self) -> list[SearchTrial]:
        """The finished trials."""
        return [from_json(SearchTrial, line["trial"], _NAME) for line in self.lines() if "trial" in line]

    def spent(self) -> float:
        """Seconds that the search took so far."""
        return max([float(line["spent"]) for line in self.lines()], default=0.0)

    def facts(self) -> SearchFacts | None:
        """What the search chose; ``None`` while it is not finished, or where there is none."""
        finished = [line["search"] for line in self.lines() if "search" in line]
        return from_json(SearchFacts, finished[-1], _NAME) if finished else None

    def begin(self, plan: SearchPlan, key: str, spent: float) -> None:
        """Write the plan, and drop what a search on other images left."""
        self.path.write_text("", encoding="utf-8")
        self._append({"plan": asdict(plan), "key": key, "spent": spent})

    def add(self, trial: SearchTrial, spent: float) -> None:
        """Add a finished trial."""
        self._append({"trial": asdict(trial), "spent": spent})

    def finish(self, facts: SearchFacts) -> None:
        """Add what was chosen."""
        self._append({"search": asdict(facts), "spent": facts.seconds})

    def _append(self, line: dict[str, Any]) -> None:
        text = json.dumps(line) + "\n"
        before = self.path.read_bytes()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text if not before or before.endswith(b"\n") else f"\n{text}")


def trial_line(trial: SearchTrial) -> str:
    """A trial in one line."""
    return (
        f"lr {trial.lr:g}, {counted(trial.epochs, 'epoch')} of {counted(trial.images, 'image')}: "
        f"{percent(trial.balanced_accuracy)} % balanced in {trial.seconds:.0f} s"
    )


def search_table(search: SearchFacts) -> str:
    """What was tried and chosen, on the screen."""
    head = ["lr", "weight decay", "layer decay", "epochs", "images", "balanced", "top-1", "seconds"]
    rows = [
        [
            f"{trial.lr:g}",
            f"{trial.weight_decay:g}",
            "-" if trial.layer_decay is None else f"{trial.layer_decay:g}",
            str(trial.epochs),
            str(trial.images),
            percent(trial.balanced_accuracy) + ("*" if trial == search.chosen else " "),
            percent(trial.top1),
            f"{trial.seconds:.0f}",
        ]
        for trial in search.trials
    ]
    fewer = f" of {search.planned} planned" if len(search.trials) < search.planned else ""
    return "\n".join(
        [
            f"search: {counted(len(search.trials), 'trial')}{fewer} in {search.seconds:.0f} s; accuracy in % on "
            f"{search.held_out_images} training images that none of them was trained on{search.kept_together}:",
            text_table([head, *rows], left=()),
            f"* chosen: --lr {search.chosen.lr:g} --epochs {search.chosen.epochs}, on all training images",
        ]
    )
