"""The file ``search.jsonl`` in the run folder, from which a killed search goes on."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glmc_zoo.documents import read_text
from glmc_zoo.errors import UserError
from glmc_zoo.facts import SearchFacts, SearchTrial
from glmc_zoo.fields import from_json
from glmc_zoo.files import percent, text_table
from glmc_zoo.text import counted
from glmc_zoo.training.search_plan import SearchPlan
from glmc_zoo.training.state_files import is_finite_number

_NAME = "search.jsonl"
_ADVICE = "remove it to search again, or begin in another output_dir="
_FIX = f"{_ADVICE[0].upper()}{_ADVICE[1:]}."


class SearchFile:
    """``search.jsonl``: one line for the plan, one for each finished trial, and one for the facts at the end.

    Every line has ``spent``, the seconds that the search had taken until then, without interruptions.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / _NAME

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the file, without a line that a killed run left incomplete.

        Raises:
            UserError: The file cannot be read, or a line was not written by a search.
        """
        if not self.path.exists():
            return []
        lines: list[dict[str, Any]] = []
        for text in read_text(self.path, str(self.path), fix=_FIX).splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            except (ValueError, RecursionError):
                line = None
            if not isinstance(line, dict) or not is_finite_number(line.get("spent")):
                raise UserError(f"{self.path} holds a line that no search writes: {_ADVICE}.")
            lines.append(line)
        return lines

    def plan(self, key: str) -> SearchPlan | None:
        """The plan of a search on the images with the digest ``key``; ``None`` where there is none."""
        plans = [line["plan"] for line in self.lines() if "plan" in line and line.get("key") == key]
        if not plans:
            return None
        plan: SearchPlan = from_json(SearchPlan, plans[-1], str(self.path))
        if not plan.images or not plan.rates or not all(_is_possible(lr, plan.epochs) for lr in plan.rates):
            raise UserError(f"{self.path} holds a plan that no search makes: {_ADVICE}.")
        return plan

    def trials(self) -> list[SearchTrial]:
        """The finished trials."""
        return [from_json(SearchTrial, line["trial"], str(self.path)) for line in self.lines() if "trial" in line]

    def seconds_so_far(self, key: str | None = None) -> float:
        """Seconds that the search has taken so far; 0 where it was made on other images than those of the ``key``."""
        if key is not None and self.plan(key) is None:
            return 0.0
        return max([float(line["spent"]) for line in self.lines()], default=0.0)

    def facts(self) -> SearchFacts | None:
        """The facts of a finished search; ``None`` where there is none."""
        finished = [line["search"] for line in self.lines() if "search" in line]
        if not finished:
            return None
        facts: SearchFacts = from_json(SearchFacts, finished[-1], str(self.path))
        if not _is_possible(facts.chosen.lr, facts.chosen.epochs):
            raise UserError(f"{self.path} holds a choice that no search makes: {_ADVICE}.")
        return facts

    def begin(self, plan: SearchPlan, key: str, seconds: float) -> None:
        """Begin a new file with the plan, in place of the lines of a search on other images."""
        self.path.write_text("", encoding="utf-8")
        self._append({"plan": asdict(plan), "key": key, "spent": seconds})

    def add(self, trial: SearchTrial, seconds: float) -> None:
        """Add a finished trial."""
        self._append({"trial": asdict(trial), "spent": seconds})

    def finish(self, facts: SearchFacts) -> None:
        """Add the facts of the finished search."""
        self._append({"search": asdict(facts), "spent": facts.seconds})

    def _append(self, line: dict[str, Any]) -> None:
        text = json.dumps(line) + "\n"
        content = self.path.read_bytes()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text if not content or content.endswith(b"\n") else f"\n{text}")


def _is_possible(lr: float, epochs: int) -> bool:
    return 0 < lr <= 1000 and 1 <= epochs <= 10_000


def trial_line(trial: SearchTrial) -> str:
    """One line for the screen about a trial."""
    return (
        f"lr {trial.lr:g}, {counted(trial.epochs, 'epoch')} of {counted(trial.images, 'image')}: "
        f"{percent(trial.balanced_accuracy)} % balanced in {trial.seconds:.0f} s"
    )


def search_table(search: SearchFacts) -> str:
    """The table of all trials for the screen, and the chosen values."""
    header = ["lr", "weight decay", "layer decay", "epochs", "images", "balanced", "top-1", "seconds"]
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
    planned = f" of {search.planned} planned" if len(search.trials) < search.planned else ""
    return "\n".join(
        [
            f"search: {counted(len(search.trials), 'trial')}{planned} in {search.seconds:.0f} s; accuracy in % on "
            f"{search.held_out_images} held-out training images{search.group_phrase}:",
            text_table([header, *rows], left=()),
            f"* chosen: --lr {search.chosen.lr:g} --epochs {search.chosen.epochs}, for all training images",
        ]
    )
