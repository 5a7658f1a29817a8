"""The content of benchmarks/RESULTS.md: every row, with its runs or that they are missing.

Narrow and wide networks have separate tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import mean, stdev
from typing import Any

import yaml
from _rows import CONFIGS, PUBLISHED, ROOT, Filed, load, published_rows, suites

PAGE = ROOT / "benchmarks" / "RESULTS.md"
MISSING = "not run yet"
GROUPS = ("many", "medium", "few")

# Narrow ResNet-32 (16/32/64 channels), 200 epochs, best epoch on the test set: top-1 at factor 100, 50 and 10.
NARROW_PUBLISHED = {
    "cross-entropy": {"cifar10_lt": (70.4, 74.8, 86.4), "cifar100_lt": (38.3, 43.9, 55.7)},
    "BCL": {"cifar10_lt": (84.3, 87.2, 91.1), "cifar100_lt": (51.9, 56.6, 64.9)},
    "ProCo": {"cifar10_lt": (85.9, 88.2, 91.9), "cifar100_lt": (52.8, 57.1, 65.5)},
}
FACTORS = (100, 50, 10)

INTRO = """# Results

Made by `python benchmarks/render.py --write` from the files in [results/](results), one a run, each with its command,
options, commit, versions, seeds and time; a test compares this page with them. Nothing on it is written by hand.

Scores are percent of the whole untouched test split. **Ours are of the last epoch; published ones are of the best
epoch, chosen on the test split.** Spreads are standard deviations over the seeds. A row without a run says so.
`python benchmarks/reproduce.py ROW` runs a row and files its results for this page."""


def percent(values: Iterable[float | None], digits: int = 2) -> str:
    """Mean in percent, with the standard deviation where there are several."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "-"
    return f"{mean(known):.{digits}f}" + (f" ± {stdev(known):.{digits}f}" if len(known) > 1 else "")


def signed(values: list[float]) -> str:
    """Mean of differences in points, with the standard deviation where there are several."""
    return f"{mean(values):+.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def image_format(runs: list[Filed]) -> str:
    """The file format of the images that the runs were trained on."""
    formats = {run.results.data.image_format or "arrays, in no file" for run in runs}
    return ", ".join(sorted(formats))


def epochs(runs: list[Filed]) -> str:
    """The epochs that the runs were trained for."""
    return ", ".join(sorted({str(run.config["epochs"]) for run in runs}))


def seeds_text(runs: list[Filed], wanted: list[int]) -> str:
    """Seeds that were run, and those of the suite that were not."""
    done = [run.seed for run in runs]
    left = [seed for seed in wanted if seed not in done]
    return ", ".join(map(str, done)) + (f" ({', '.join(map(str, left))}: {MISSING})" if left else "")


def table(heads: list[str], rows: Iterable[list[str]]) -> list[str]:
    """A table of Markdown; all columns but the first are set to the right."""
    lines = [f"| {' | '.join(heads)} |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


# ------------------------------------------------------------------------------------------------ published rows
def published_table(names: list[str], runs: dict[str, list[Filed]]) -> list[str]:
    """Published against ours, a line a recipe file."""
    rows = []
    for name in names:
        about = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))["about"]
        published = about["published"]["top1"] if about["published"] else None
        again = ", ".join(f"{other['top1']:.2f}" for other in about["others"])
        cells = [
            f"[{name}](../recipes/configs/{name}.yaml)",
            "-" if published is None else f"{published:.2f}",
            again or "-",
        ]
        if not (filed := runs.get(name)):
            rows.append([*cells, MISSING, *["-"] * 5])
            continue
        ours = [100 * run.test.top1 for run in filed]
        difference = "-" if published is None else f"{mean(ours) - published:+.2f}"
        cells += [percent(run.test.top1 for run in filed), difference, seeds_text(filed, [])]
        rows.append([*cells, epochs(filed), filed[0].config["backbone"] or "-", image_format(filed)])
    heads = ["recipe", "published", "run again by others", "ours", "difference", "seeds", "epochs", "network", "images"]
    return table(heads, rows)


def _order(name: str) -> tuple[str, str, int]:
    """By data set, then variant, then from the longest tail to the shortest."""
    data, _, rest = name.partition("_if")
    factor, _, variant = rest.partition("_")
    return data, variant, -int(factor or 0)


def published_section() -> Iterator[str]:
    """The rows of recipes/configs."""
    runs = load(PUBLISHED)
    rows = sorted(published_rows(), key=_order)
    cifar = [name for name in rows if name.startswith("cifar")]
    yield "## Published rows on CIFAR: wide ResNet-32 (64/128/256 channels)\n"
    yield "Top-1. Rows with SAM were published with a ResNet-34, single runs; the recipe takes the wide ResNet-32.\n"
    yield "\n".join(published_table(cifar, runs))
    for suite, about in page_suites(wide=True).items():
        yield from suite_section(suite, about)
    yield "\n## Published rows on large sets: ResNeXt-50\n"
    yield "Top-1.\n"
    yield "\n".join(published_table([name for name in rows if name not in cifar], runs))


# ------------------------------------------------------------------------------------------------ suites
def methods_table(suite: str, about: dict[str, Any]) -> list[str]:
    """Scores of the methods of a suite, and the differences of GLMC from the baselines, run by run."""
    runs, rows = load(suite), about["rows"]
    heads = ["method", "published, narrow ResNet-32, 200 epochs", "top-1", "difference", "balanced", *GROUPS]
    heads += ["seeds", "epochs", "images", "minutes a run"]
    if about.get("wide"):
        heads[1] = "published"
    lines = []
    for name, row in rows.items():
        filed = runs.get(name, [])
        published = narrow_published(row["label"], about)
        alike = all(equal_terms(run) for run in filed)
        first = [row["label"], "-" if published is None else f"{published:.1f}"]
        if not filed:
            lines.append([*first, MISSING, *["-"] * (len(heads) - 3)])
            continue
        top1 = [run.test.top1 for run in filed]
        difference = "-" if published is None or not alike else f"{100 * mean(top1) - published:+.2f}"
        cells = [percent(top1), difference]
        cells += [percent(getattr(run.test, key) for run in filed) for key in ("balanced_accuracy", *GROUPS)]
        minutes = mean(run.seconds for run in filed) / 60
        cells += [seeds_text(filed, about["seeds"]), epochs(filed), image_format(filed), f"{minutes:.1f}"]
        lines.append([*first, *cells])
    overs = [text for base in ("ce", "balanced_softmax") if (text := over(runs, rows, "glmc_tuned", base))]
    return [*table(heads, lines), *([""] if overs else []), *overs]


def narrow_published(label: str, about: dict[str, Any]) -> float | None:
    """The published top-1 of a method on a suite's data; ``None`` where there is none."""
    data, _, factor = (about.get("recipe") or "").partition("_if")
    scores = None if about.get("wide") else NARROW_PUBLISHED.get(label, {}).get(data)
    return None if scores is None else scores[FACTORS.index(int(factor))]


def equal_terms(run: Filed) -> bool:
    """Whether a run has the network and the schedule of the published narrow numbers."""
    return (run.config["backbone"], run.config["epochs"]) == ("resnet32_cifar", 200)


def paired(runs: dict[str, list[Filed]], one: str, other: str) -> dict[int, float]:
    """Balanced accuracy of one row over another's with the same seed, in points, by seed."""
    left, right = ({run.seed: run.test.balanced_accuracy for run in runs.get(name, [])} for name in (one, other))
    return {seed: 100 * (left[seed] - right[seed]) for seed in left if seed in right}


def over(runs: dict[str, list[Filed]], rows: dict[str, Any], one: str, other: str) -> str | None:
    """The difference of two rows in a sentence; ``None`` where no seed has both."""
    if not (points := paired(runs, one, other)):
        return None
    each = ", ".join(f"{value:+.2f}" for value in points.values())
    number = f"seed {next(iter(points))}" if len(points) == 1 else f"seeds {', '.join(map(str, points))}: {each}"
    difference = signed(list(points.values()))
    return f"- {rows[one]['label']} over {rows[other]['label']}, balanced: **{difference}** points ({number})."


def ablation_table(suite: str, about: dict[str, Any]) -> list[str]:
    """What each change loses or gains against the unchanged base with the same seed."""
    runs, base = load(suite), about["base"]
    heads = ["change", "balanced", "difference", "many", "medium", "few", "seeds", "epochs", "images"]
    lines = []
    for name, row in about["rows"].items():
        filed = runs.get(name, [])
        if not filed:
            lines.append([row["label"], MISSING, *["-"] * (len(heads) - 2)])
            continue
        pairs = list(paired(runs, name, base).values())
        difference = "-" if name == base or not pairs else signed(pairs)
        cells = [percent(run.test.balanced_accuracy for run in filed), difference]
        cells += [percent(getattr(run.test, key) for run in filed) for key in GROUPS]
        lines.append([row["label"], *cells, seeds_text(filed, about["seeds"]), epochs(filed), image_format(filed)])
    return table(heads, lines)


def page_suites(*, wide: bool) -> dict[str, dict[str, Any]]:
    """The suites that stand on the page, of wide networks or of narrow ones; the others stand in README.md alone."""
    return {name: s for name, s in suites().items() if s["kind"] != "scores" and s.get("wide", False) == wide}


def suite_section(suite: str, about: dict[str, Any]) -> Iterator[str]:
    """Heading, what was run, table."""
    yield f"\n### {about['title']}\n"
    yield f"`{suite}`: `{' '.join(about['options'].split())}`\n"
    maker = {"methods": methods_table, "ablation": ablation_table}[about["kind"]]
    yield "\n".join(maker(suite, about))


def narrow_section() -> Iterator[str]:
    """Published numbers of the field's narrow ResNet-32, then what was run with narrow networks."""
    yield "\n## Narrow networks\n"
    yield (
        "Published with the narrow ResNet-32 (16/32/64 channels, `resnet32_cifar`), 200 epochs, best epoch on the\n"
        "test split. Shorter schedules and smaller networks, below, show how methods compare on equal terms; their\n"
        "difference from these numbers would say nothing.\n"
    )
    heads = ["method", *(f"{data}, factor {factor}" for data in ("cifar10_lt", "cifar100_lt") for factor in FACTORS)]
    rows = [
        [name, *(f"{value:.1f}" for data in ("cifar10_lt", "cifar100_lt") for value in scores[data])]
        for name, scores in NARROW_PUBLISHED.items()
    ]
    yield "\n".join(table(heads, rows))
    for suite, about in page_suites(wide=False).items():
        yield from suite_section(suite, about)


# ------------------------------------------------------------------------------------------------ runs
def runs_section() -> Iterator[str]:
    """How each run was made."""
    yield "\n## Every run\n"
    yield "The whole command, every option and all versions stand in the file of the run.\n"
    rows = []
    for suite in (PUBLISHED, *page_suites(wide=False), *page_suites(wide=True)):
        for name, runs in load(suite).items():
            for run in runs:
                file = f"[{suite}/{name}, seed {run.seed}](results/{suite}/{name}_seed{run.seed}.json)"
                made = run.results.origin
                commit = made.commit or "-"
                how = [percent([run.test.balanced_accuracy]), commit[:7] + "-dirty" * commit.endswith("-dirty")]
                how += [f"{made.versions['torch']}, {made.versions['timm']}", made.precision or "-"]
                rows.append([file, *how, made.hardware or "-", f"{run.seconds / 60:.1f}"])
    yield "\n".join(table(["run", "balanced", "commit", "torch, timm", "arithmetic", "hardware", "minutes"], rows))


def page() -> str:
    """The whole page."""
    parts = [INTRO, "", *published_section(), *narrow_section(), *runs_section()]
    return "\n".join(parts) + "\n"
