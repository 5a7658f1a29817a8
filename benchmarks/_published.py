"""Tables of published scores: the rows of recipes/configs beside our results, and narrow networks."""

from __future__ import annotations

import yaml
from _comparison import minus_published, passes_text, summary, table
from _rows import CONFIGS, PUBLISHED, Links, SeedResults, load_results, published_rows, row_epochs, row_passes

MISSING = "not run yet"
# Top-1 in percent at imbalance factor 100, 50 and 10: narrow ResNet-32 (16/32/64 channels), 200 epochs, best epoch on
# the test set.
NARROW = {
    "cross-entropy": {"cifar10_lt": (70.4, 74.8, 86.4), "cifar100_lt": (38.3, 43.9, 55.7)},
    "BCL": {"cifar10_lt": (84.3, 87.2, 91.1), "cifar100_lt": (51.9, 56.6, 64.9)},
    "ProCo": {"cifar10_lt": (85.9, 88.2, 91.9), "cifar100_lt": (52.8, 57.1, 65.5)},
}
FACTORS = (100, 50, 10)


def published_table(which: str, links: Links) -> str:
    """Published and our scores, a row for each recipe file.

    The difference is left out where the recipe file names another ``network`` of the published number.

    Args:
        which: ``cifar`` for the recipes on CIFAR, ``large`` for the others.
        links: Links of the page.
    """
    results, recipes = load_results(PUBLISHED), published_rows()
    names = [name for name in recipes if name.startswith("cifar") == (which == "cifar")]
    rows = []
    for name in sorted(names, key=_order):
        about = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))["about"]
        published = about["published"]["top1"] if about["published"] else None
        reruns = ", ".join(f"{other['top1']:.2f}" for other in about["others"])
        first = [f"[{name}]({links.to(f'recipes/configs/{name}.yaml')})", _number(published), reruns or "-"]
        if not (runs := results.get(name)):
            rows.append([*first, MISSING, *["-"] * 6])
            continue
        row, ours = recipes[name], [100 * run.test.top1 for run in runs]
        comparable = published is not None and "network" not in about["published"]
        cells = [summary(ours), minus_published(ours, published) if comparable else "-", str(len(runs))]
        cells += [links.seeds(row, runs), row_epochs(row, results), passes_text(row_passes(row, results))]
        rows.append([*first, *cells, runs[0].config["backbone"] or "-"])
    header = ["recipe", "published", "run again by others", "ours", "minus published", "n", "seeds", "epochs", "passes"]
    return "\n".join(table([*header, "network"], rows))


def narrow_table(_: str, __: Links) -> str:
    """Published top-1 with the narrow ResNet-32."""
    sets = ("cifar10_lt", "cifar100_lt")
    header = ["method", *(f"{data}, factor {factor}" for data in sets for factor in FACTORS)]
    rows = [[name, *(f"{value:.1f}" for data in sets for value in scores[data])] for name, scores in NARROW.items()]
    return "\n".join(table(header, rows))


def narrow_published(label: str, recipe: str | None) -> float | None:
    """The published top-1 of a method with the narrow ResNet-32 on a recipe's data; ``None`` if none was published."""
    data, _, factor = (recipe or "").partition("_if")
    scores = NARROW.get(label, {}).get(data)
    return None if scores is None else scores[FACTORS.index(int(factor))]


def equal_terms(run: SeedResults) -> bool:
    """Whether a run has the network and the epochs of the numbers in `NARROW`."""
    return (run.config.get("backbone"), run.config.get("epochs")) == ("resnet32_cifar", 200)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _order(name: str) -> tuple[str, str, int]:
    """Sort key: data set, then variant, then the largest imbalance factor first."""
    data, _, rest = name.partition("_if")
    factor, _, variant = rest.partition("_")
    return data, variant, -int(factor or 0)
