"""The rows of the tables, and their stored results.

A row is a published one, a file in recipes/configs, or one of benchmarks/suites.yaml. The results of a row with a seed
are in benchmarks/results/SUITE/ROW_seedN.json, a copy of the ``results.json`` of its run.
"""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import yaml
from _comparison import Entry, seed_range

from glmc_zoo.results import EvaluationResults, RunResults, Scores

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SUITES = ROOT / "benchmarks" / "suites.yaml"
CONFIGS = ROOT / "recipes" / "configs"
PUBLISHED = "published"
ONE_VIEW = ("alternate", "none")
"""Values of --views with which GLMC puts one view of an image through the network, and not two."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table: an experiment that is run with several seeds."""

    suite: str
    name: str
    script: str
    """The recipe that runs it, such as ``train.py``."""
    options: tuple[str, ...]
    data: str
    label: str
    seeds: tuple[int, ...] = (0,)
    after: str | None = None
    """Title of the row whose model this one starts from."""
    factor: float | None = None
    """Imbalance factor that the training split is thinned to."""
    baseline: bool = False
    """Whether new methods are compared with it, if it is the best such row with equal passes."""
    new: bool = False
    """Whether its difference from the best baseline is printed below the table."""
    passes: float | None = None
    """Planned `passes`, shown until there are results."""

    @property
    def on_features(self) -> bool:
        """Whether it trains a classifier on frozen features, which has no epochs."""
        return "--tune head" in " ".join(self.options) and not {"--method", "--views"} & {*self.options}

    @property
    def title(self) -> str:
        """Name of the row on the command line of reproduce.py."""
        return self.name if self.suite == PUBLISHED else f"{self.suite}/{self.name}"


@dataclass(frozen=True)
class SeedResults:
    """The results of a row with one seed, as they are stored in benchmarks/results/."""

    seed: int
    results: RunResults | EvaluationResults
    held_out: bool = False
    """Whether its suite compares scores on held-out training images; see `compares_held_out`."""

    @property
    def test(self) -> Scores:
        """Scores on the test split; for an evaluation, on the split that it scored."""
        scores = self.results.scores if isinstance(self.results, EvaluationResults) else self.results.test
        if scores is None:
            raise SystemExit(
                f"error: the results of {self.results.model.name} with seed {self.seed} have no test scores."
            )
        return scores

    @property
    def scores(self) -> Scores:
        """Scores for the tables: on the test split, or on the held-out images where the suite compares these.

        A run of another suite may hold images out too, for instance to fit a temperature.
        """
        return self.results.validation or self.test if self.held_out else self.test

    @property
    def config(self) -> dict[str, Any]:
        """The resolved options; empty for an evaluation."""
        return self.results.config if isinstance(self.results, RunResults) else {}

    @property
    def seconds(self) -> float:
        """Wall time of the run in seconds; 0 if unknown."""
        return self.results.wall_time_s or 0.0

    def rarest_recall(self, classes: int) -> float:
        """Mean recall (0 to 1) of the ``classes`` classes with the fewest training images.

        Of classes with equal numbers the first ones count, so that every run of a table counts the same classes.
        """
        recalls, counts = self.results.class_recalls or [], self.results.class_counts or []
        pairs = [(count, recall) for count, recall in zip(counts, recalls, strict=True) if recall is not None]
        return mean(recall for _, recall in sorted(pairs, key=lambda pair: pair[0])[:classes])


@dataclass(frozen=True)
class Links:
    """Relative links from one page to files of the repository."""

    folder: Path
    """The folder of the page."""

    def to(self, path: str) -> str:
        """Link to the file with this path in the repository."""
        return Path(os.path.relpath(ROOT / path, self.folder)).as_posix()

    def seeds(self, row: Row, runs: list[SeedResults]) -> str:
        """Seeds of a row, each with a link to the results of its run, and the seeds of the suite that were not run."""
        file = f"benchmarks/results/{row.suite}/{row.name}"
        done = ", ".join(f"[{run.seed}]({self.to(f'{file}_seed{run.seed}.json')})" for run in runs)
        missing = sorted({*row.seeds} - {run.seed for run in runs}) if row.suite != PUBLISHED else []
        return done + (f" ({seed_range(missing)}: not run yet)" if missing else "")


@cache
def suites() -> dict[str, dict[str, Any]]:
    """The content of benchmarks/suites.yaml, by suite."""
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(SUITES.read_text(encoding="utf-8"))
    return loaded


def compares_held_out(suite: str) -> bool:
    """Whether the tables of a suite show scores on held-out training images (``held_out: true`` in suites.yaml)."""
    return bool(suites().get(suite, {}).get("held_out", False))


def published_rows() -> dict[str, Row]:
    """The published rows, by the name of the file in recipes/configs."""
    rows = {}
    for path in sorted(CONFIGS.glob("*.yaml")):
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        first = recipe["about"].get("first_stage")
        rows[path.stem] = Row(
            suite=PUBLISHED,
            name=path.stem,
            script="second_stage.py" if first else "train.py",
            options=("--config", path.stem),
            data=recipe["data"],
            label=recipe["about"]["title"],
            after=first,
            factor=recipe.get("imbalance_factor"),
        )
    return rows


def suite_rows(suite: str) -> dict[str, Row]:
    """The rows of a suite, by name. Options of a row come after those of its suite, so they override them."""
    about = suites()[suite]
    rows = {}
    for name, row in about["rows"].items():
        script = row.get("script", "train.py")
        options = shlex.split(
            " ".join((about["options"], about.get("script_options", {}).get(script, ""), row["options"]))
        )
        thinned = "--imbalance-factor" in options
        rows[name] = Row(
            suite=suite,
            name=name,
            script=script,
            options=tuple(options),
            data=about["data"],
            label=row["label"],
            seeds=tuple(about["seeds"]),
            after=f"{suite}/{row['after']}" if "after" in row else None,
            factor=float(options[options.index("--imbalance-factor") + 1]) if thinned else None,
            baseline=row.get("baseline", False),
            new=row.get("new", False),
            passes=row.get("passes"),
        )
    return rows


def all_rows() -> dict[str, Row]:
    """Every row, by title."""
    rows = published_rows()
    for suite in suites():
        rows |= {row.title: row for row in suite_rows(suite).values()}
    return rows


def chosen_rows(names: list[str]) -> list[Row]:
    """The rows with these names, in this order.

    Raises:
        SystemExit: A name is neither a published row, nor a suite, nor a row of a suite.
    """
    rows = all_rows()
    chosen: list[Row] = []
    for name in names:
        if name not in rows and name not in suites():
            known = ", ".join([*published_rows(), *suites()])
            raise SystemExit(
                f"reproduce.py: error: {name!r} is not a row: give one of {known}, or SUITE/ROW; --list shows all."
            )
        chosen += [rows[name]] if name in rows else suite_rows(name).values()
    return chosen


def read_results(path: Path) -> RunResults | EvaluationResults:
    """Read the results of a run or of an evaluation."""
    values = json.loads(path.read_text(encoding="utf-8"))
    kind = EvaluationResults if "split" in values else RunResults
    return kind.from_dict(values, path.name)


def load_results(suite: str) -> dict[str, list[SeedResults]]:
    """The results of a suite, by row, sorted by seed."""
    results: dict[str, list[SeedResults]] = {}
    held_out = compares_held_out(suite)
    for path in (RESULTS / suite).glob("*_seed*.json"):
        name, _, seed = path.stem.rpartition("_seed")
        results.setdefault(name, []).append(SeedResults(int(seed), read_results(path), held_out))
    return {name: sorted(results[name], key=lambda run: run.seed) for name in sorted(results)}


# ------------------------------------------------------------------------------------------------ passes
def passes(config: dict[str, Any]) -> float:
    """Images through the network in training, divided by the size of the training set.

    The time of a run is about proportional to its passes. Each epoch has one pass for each view: GLMC has two views, or
    one with the values of `--views` in ``ONE_VIEW``; baselines and second stages have one. SAM adds a pass every
    ``sam_every`` steps. A classifier on features has one pass for each view of its features, without gradients.

    Args:
        config: The resolved options of the run.
    """
    if "epochs" not in config:
        return float(config["feature_views"])
    views = 1 if config.get("method") != "glmc" or config.get("views") in ONE_VIEW else 2
    gradients = 1 + 1 / (config.get("sam_every") or 1) if config.get("sam_rho") else 1
    return float(config["epochs"] * views * gradients)


def row_passes(row: Row, results: dict[str, list[SeedResults]]) -> float | None:
    """`passes` of a row and of the row that it starts from; the planned passes if the row has no results.

    Args:
        row: Row of a table.
        results: Results of its suite, see `load_results`.
    """
    if not (runs := results.get(row.name)):
        return row.passes
    trained = passes(runs[0].config) if runs[0].config else 0.0  # an evaluation trains nothing
    if (first := first_row(row)) is None:
        return trained
    before = row_passes(first, results)
    return None if before is None else before + trained


def row_epochs(row: Row, results: dict[str, list[SeedResults]]) -> str:
    """Epochs of the row that a row starts from, and its own: ``12 + 10``."""
    epochs = dict.fromkeys(str(run.config["epochs"]) for run in results.get(row.name, []) if "epochs" in run.config)
    first = first_row(row)
    return " + ".join(filter(None, [row_epochs(first, results) if first else "", ", ".join(epochs)]))


def first_row(row: Row) -> Row | None:
    """The row whose model a row starts from; ``None`` if it starts from nothing."""
    if row.after is None:
        return None
    rows = published_rows() if row.suite == PUBLISHED else suite_rows(row.suite)
    return rows[row.after.rpartition("/")[2]]


def entries(suite: str, results: dict[str, list[SeedResults]] | None = None) -> dict[str, Entry]:
    """The rows of a suite as entries of a comparison, by name."""
    results = load_results(suite) if results is None else results
    split = "scores" if suites()[suite]["kind"] == "scores" else "test"
    return {
        name: Entry(
            label=row.label,
            passes=row_passes(row, results),
            values=tuple(100 * getattr(run, split).balanced_accuracy for run in results.get(name, [])),
            baseline=row.baseline,
            new=row.new,
        )
        for name, row in suite_rows(suite).items()
    }
