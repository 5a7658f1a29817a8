"""The content of benchmarks/RESULTS.md: every row, with its runs or that they are missing.

Narrow and wide networks have separate tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean
from typing import Any

import yaml
from _comparison import (
    NO_PARTNER,
    Entry,
    above,
    by_passes,
    comparison_lines,
    difference,
    equal_passes,
    passes_text,
    percent,
    seed_range,
    summary,
    table,
)
from _rows import (
    CONFIGS,
    PUBLISHED,
    ROOT,
    Filed,
    entries,
    load,
    published_rows,
    row_epochs,
    row_passes,
    suite_rows,
    suites,
)

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
epoch, chosen on the test split.** A row without a run says so. `python benchmarks/reproduce.py ROW` runs a row and
files its results for this page.

`n` is the number of seeds. With three seeds or more a cell is the mean ± half its 95 % t interval, which may reach past
0 or 100; with fewer it is the values, in the order of the seeds. A difference has an interval of its own by Welch's t
(unequal variances, unpaired). With fewer than three seeds on a side it is given from the smallest to the largest
difference of two values, which is no interval. Published numbers come without a spread: "minus published" has ours.

`passes` are the images that go through the network in training, over the size of the training set: one an epoch for
every view, of which GLMC has two and a baseline one, and with SAM another for each second gradient. Rows of equal
passes (within 7 %) stand together, and **only these are compared**. The best baseline is the one with the highest mean
on the test split, a choice that favours the baselines. What was chosen by a look at test scores is said in
[README.md](README.md#what-was-seen-of-the-test-scores)."""


def image_format(runs: list[Filed]) -> str:
    """The file format of the images that the runs were trained on."""
    formats = {run.results.data.image_format or "arrays, in no file" for run in runs}
    return ", ".join(sorted(formats))


def seeds_text(runs: list[Filed], wanted: list[int]) -> str:
    """Seeds that were run, and those of the suite that were not."""
    done = [run.seed for run in runs]
    left = [seed for seed in wanted if seed not in done]
    return seed_range(done) + (f" ({seed_range(left)}: {MISSING})" if left else "")


# ------------------------------------------------------------------------------------------------ published rows
def published_table(names: list[str], runs: dict[str, list[Filed]]) -> list[str]:
    """Published against ours, a line a recipe file."""
    rows, known = [], published_rows()
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
            rows.append([*cells, MISSING, *["-"] * 7])
            continue
        ours = [100 * run.test.top1 for run in filed]
        cells += [summary(ours), "-" if published is None else above(ours, published)]
        row = known[name]
        cells += [str(len(filed)), seeds_text(filed, []), row_epochs(row, runs), passes_text(row_passes(row, runs))]
        rows.append([*cells, filed[0].config["backbone"] or "-", image_format(filed)])
    heads = ["recipe", "published", "run again by others", "ours", "minus published", "n", "seeds", "epochs", "passes"]
    return table([*heads, "network", "images"], rows)


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
    """Scores of the methods of a suite, rows of equal passes together, and the differences at equal passes."""
    runs, rows = load(suite), suite_rows(suite)
    compared = entries(suite, runs)
    heads = ["method", "published, narrow ResNet-32, 200 epochs", "top-1", "minus published", "balanced", *GROUPS]
    heads += ["n", "seeds", "epochs", "passes", "images", "minutes a run"]
    if about.get("wide"):
        heads[1] = "published"
    lines = []
    for name in by_passes(compared):
        filed, one = runs.get(name, []), compared[name]
        published = narrow_published(one.label, about)
        first = [one.label, "-" if published is None else f"{published:.1f}"]
        if not filed:
            lines.append([*first, MISSING, *["-"] * (len(heads) - 6), passes_text(one.passes), "-", "-"])
            continue
        top1 = [100 * run.test.top1 for run in filed]
        alike = published is not None and all(equal_terms(run) for run in filed)
        cells = [summary(top1), above(top1, published) if alike else "-"]
        cells += [percent(getattr(run.test, key) for run in filed) for key in ("balanced_accuracy", *GROUPS)]
        length = [row_epochs(rows[name], runs), passes_text(one.passes)]
        cells += [str(len(filed)), seeds_text(filed, about["seeds"]), *length]
        minutes = mean(run.seconds for run in filed) / 60
        lines.append([*first, *cells, image_format(filed), f"{minutes:.1f}"])
    below = comparison_lines(list(compared.values()))
    return [*table(heads, lines), *([""] if below else []), *below]


def narrow_published(label: str, about: dict[str, Any]) -> float | None:
    """The published top-1 of a method on a suite's data; ``None`` where there is none."""
    data, _, factor = (about.get("recipe") or "").partition("_if")
    scores = None if about.get("wide") else NARROW_PUBLISHED.get(label, {}).get(data)
    return None if scores is None else scores[FACTORS.index(int(factor))]


def equal_terms(run: Filed) -> bool:
    """Whether a run has the network and the schedule of the published narrow numbers."""
    return (run.config.get("backbone"), run.config.get("epochs")) == ("resnet32_cifar", 200)


def ablation_table(suite: str, about: dict[str, Any]) -> list[str]:
    """What each change loses or gains against the unchanged base, by the runs of equal passes."""
    runs, rows = load(suite), suite_rows(suite)
    compared = entries(suite, runs)
    base = compared[about["base"]]
    heads = ["change", "balanced", "difference", *GROUPS, "n", "seeds", "epochs", "passes", "images"]
    lines = []
    for name in by_passes(compared):
        filed, one = runs.get(name, []), compared[name]
        if not filed:
            lines.append([one.label, MISSING, *["-"] * (len(heads) - 4), passes_text(one.passes), "-"])
            continue
        cells = [percent(run.test.balanced_accuracy for run in filed), _from_base(one, base)]
        cells += [percent(getattr(run.test, key) for run in filed) for key in GROUPS]
        length = [row_epochs(rows[name], runs), passes_text(one.passes)]
        cells += [str(len(filed)), seeds_text(filed, about["seeds"]), *length]
        lines.append([one.label, *cells, image_format(filed)])
    return table(heads, lines)


def _from_base(one: Entry, base: Entry) -> str:
    if one is base or not base.values:
        return "-"
    return difference(one.values, base.values) if equal_passes(one.passes, base.passes) else NO_PARTNER


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
        "test split, without times: between these methods it is no comparison at equal time. The difference of\n"
        "shorter schedules and smaller networks, below, from these numbers would say nothing.\n"
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
