"""What was published, beside what was run here: the rows of recipes/configs and the numbers of narrow networks."""

from __future__ import annotations

import yaml
from _comparison import above, passes_text, summary, table
from _rows import CONFIGS, PUBLISHED, Filed, Links, load, published_rows, row_epochs, row_passes

MISSING = "not run yet"
# Narrow ResNet-32 (16/32/64 channels), 200 epochs, best epoch on the test set: top-1 at factor 100, 50 and 10.
NARROW = {
    "cross-entropy": {"cifar10_lt": (70.4, 74.8, 86.4), "cifar100_lt": (38.3, 43.9, 55.7)},
    "BCL": {"cifar10_lt": (84.3, 87.2, 91.1), "cifar100_lt": (51.9, 56.6, 64.9)},
    "ProCo": {"cifar10_lt": (85.9, 88.2, 91.9), "cifar100_lt": (52.8, 57.1, 65.5)},
}
FACTORS = (100, 50, 10)


def published_table(which: str, links: Links) -> str:
    """Published against ours, a line a recipe file: rows on CIFAR (``cifar``) or on large sets (``large``)."""
    runs, known = load(PUBLISHED), published_rows()
    rows = []
    for name in sorted((name for name in known if name.startswith("cifar") == (which == "cifar")), key=_order):
        about = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))["about"]
        published = about["published"]["top1"] if about["published"] else None
        again = ", ".join(f"{other['top1']:.2f}" for other in about["others"])
        first = [f"[{name}]({links.to(f'recipes/configs/{name}.yaml')})", _number(published), again or "-"]
        if not (filed := runs.get(name)):
            rows.append([*first, MISSING, *["-"] * 6])
            continue
        row, ours = known[name], [100 * run.test.top1 for run in filed]
        cells = [summary(ours), "-" if published is None else above(ours, published), str(len(filed))]
        cells += [links.seeds(row, filed), row_epochs(row, runs), passes_text(row_passes(row, runs))]
        rows.append([*first, *cells, filed[0].config["backbone"] or "-"])
    heads = ["recipe", "published", "run again by others", "ours", "minus published", "n", "seeds", "epochs", "passes"]
    return "\n".join(table([*heads, "network"], rows))


def narrow_table(_: str, __: Links) -> str:
    """Published numbers of the field's narrow ResNet-32."""
    sets = ("cifar10_lt", "cifar100_lt")
    heads = ["method", *(f"{data}, factor {factor}" for data in sets for factor in FACTORS)]
    rows = [[name, *(f"{value:.1f}" for data in sets for value in scores[data])] for name, scores in NARROW.items()]
    return "\n".join(table(heads, rows))


def narrow_published(label: str, recipe: str | None) -> float | None:
    """The published top-1 of a method with the narrow ResNet-32 on the data of a recipe; ``None`` without one."""
    data, _, factor = (recipe or "").partition("_if")
    scores = NARROW.get(label, {}).get(data)
    return None if scores is None else scores[FACTORS.index(int(factor))]


def equal_terms(run: Filed) -> bool:
    """Whether a run has the network and the schedule of the published narrow numbers."""
    return (run.config.get("backbone"), run.config.get("epochs")) == ("resnet32_cifar", 200)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _order(name: str) -> tuple[str, str, int]:
    """By data set, then variant, then from the longest tail to the shortest."""
    data, _, rest = name.partition("_if")
    factor, _, variant = rest.partition("_")
    return data, variant, -int(factor or 0)
