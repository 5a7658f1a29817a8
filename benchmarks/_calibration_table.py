"""The table of a suite's runs that fitted a temperature: calibration on the test images, before and after."""

from __future__ import annotations

from _comparison import Entry, by_passes, percent, summary, table
from _rows import Links, SeedResults, entries, load_results, suite_rows

from glmc_zoo.facts import CalibrationFacts
from glmc_zoo.results import RunResults

HEADER = ["method", "temperature", "ECE before", "ECE after", "ECE by chance", "NLL before", "NLL after", "n", "seeds"]


def calibration_table(suite: str, links: Links) -> str:
    """Rows with a temperature: ECE in percent and NLL in nats of the test images, mean and 95 % t interval over seeds.

    *By chance* is the ECE of perfectly calibrated probabilities on as many images, after the temperature.
    """
    results, rows = load_results(suite), suite_rows(suite)
    compared: dict[str, Entry] = entries(suite, results)
    lines = []
    for name in by_passes(compared):
        runs = [(run, facts) for run in results.get(name, []) if (facts := _calibrated(run))]
        if not runs:
            continue
        before = [facts.before["test"] for _, facts in runs]
        after = [facts.after["test"] for _, facts in runs]
        cells = [
            summary([facts.temperature for _, facts in runs if facts.temperature is not None]),
            *(percent(split.ece for split in splits) for splits in (before, after)),
            percent(split.chance_ece for split in after),
            *(summary([split.nll for split in splits]) for splits in (before, after)),
        ]
        lines.append([compared[name].label, *cells, str(len(runs)), links.seeds(rows[name], [run for run, _ in runs])])
    return "\n".join(table(HEADER, lines))


def _calibrated(run: SeedResults) -> CalibrationFacts | None:
    """What a training learnt about its probabilities, if it fitted a temperature and has test images."""
    facts = run.results.calibration if isinstance(run.results, RunResults) else None
    return facts if facts is not None and facts.temperature is not None and "test" in facts.after else None
