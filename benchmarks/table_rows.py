"""The rows of the tables: the published ones, a file each in recipes/configs, and those of benchmarks/suites.yaml."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SUITES = ROOT / "benchmarks" / "suites.yaml"
CONFIGS = ROOT / "recipes" / "configs"
PUBLISHED = "published"


@dataclass(frozen=True)
class Row:
    """One line of a table, but for its seed."""

    suite: str
    name: str
    script: str
    options: tuple[str, ...]
    data: str
    label: str
    first_stage: str | None = None
    """The published row whose model a second stage starts from."""
    factor: float | None = None
    """Imbalance factor, of a row that is thinned to it."""

    @property
    def title(self) -> str:
        """As it is asked for."""
        return self.name if self.suite == PUBLISHED else f"{self.suite}/{self.name}"


def published_rows() -> dict[str, Row]:
    """The published rows, by the name of their files."""
    rows = {}
    for path in sorted(CONFIGS.glob("*.yaml")):
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        first = recipe["about"].get("first_stage")
        script = "second_stage.py" if first else "train.py"
        options = ("--config", path.stem)
        title, factor = recipe["about"]["title"], recipe.get("imbalance_factor")
        rows[path.stem] = Row(PUBLISHED, path.stem, script, options, recipe["data"], title, first, factor)
    return rows


def suites() -> dict[str, dict[str, Any]]:
    """The suites of benchmarks/suites.yaml as they stand there, by name."""
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(SUITES.read_text(encoding="utf-8"))
    return loaded


def suite_rows(suite: str, about: dict[str, Any]) -> dict[str, Row]:
    """The rows of a suite, by name."""
    rows = {}
    for name, row in about["rows"].items():
        options = shlex.split(f"{about['options']} {row['options']}")
        thinned = "--imbalance-factor" in options
        factor = float(options[options.index("--imbalance-factor") + 1]) if thinned else None
        rows[name] = Row(suite, name, "train.py", tuple(options), about["data"], row["label"], factor=factor)
    return rows


def chosen_rows(names: list[str]) -> Iterator[tuple[Row, list[int]]]:
    """The rows asked for, with the seeds of their suite.

    Raises:
        SystemExit: a name is neither a published row, nor a suite, nor a row of one.
    """
    recipes, known = published_rows(), suites()
    for name in names:
        suite, _, row = name.partition("/")
        if name in recipes:
            yield recipes[name], [0]
        elif suite in known and (not row or row in known[suite]["rows"]):
            rows = suite_rows(suite, known[suite])
            for chosen in [rows[row]] if row else rows.values():
                yield chosen, known[suite]["seeds"]
        else:
            every = [*recipes, *known]
            raise SystemExit(
                f"reproduce.py: error: {name!r} is no row: give one of {', '.join(every)}, or SUITE/ROW; --list shows "
                "all."
            )
