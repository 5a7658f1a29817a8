"""Plots, cards, page and table of a finished run or evaluation, made again from its results."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from glmc_zoo.disk import disk_errors
from glmc_zoo.documents import read_text
from glmc_zoo.errors import UserError, as_shown
from glmc_zoo.hub.folder import RESULTS_FILE, WEIGHTS_FILE
from glmc_zoo.machine.lock import take_folder
from glmc_zoo.options.commands import ReportOptions
from glmc_zoo.results import EvaluationResults, RunResults
from glmc_zoo.scoring.page.render import REPORT_FILE
from glmc_zoo.scoring.page.subject import Subject, check_comparable, keys_of
from glmc_zoo.scoring.report import decorate_evaluation, score_table, write_comparison, write_joint_report
from glmc_zoo.text import printable, printable_lines, unquoted_formula
from glmc_zoo.training.decoration import decorate_run
from glmc_zoo.training.folder import check_layout
from glmc_zoo.training.metrics_file import read_epochs
from glmc_zoo.training.report import result_table


def report_folder(options: ReportOptions) -> RunResults | list[EvaluationResults]:
    """Make the plots, cards and page in the folder of a run or an evaluation again, and print its table.

    Further folders are compared with the first one on its page; nothing is written to them.

    Raises:
        UserError: A folder holds no results of either, the folder cannot be written or is used by another process, or a
            further one is of other classes.
    """
    folder, *others = (_checked(run) for run in options.run)
    baselines = [Subject.load(other) for other in others]
    with disk_errors(folder):
        lock = take_folder(folder, option="run")
        try:
            if (folder / RESULTS_FILE).is_file() and "method" in keys_of(folder / RESULTS_FILE):
                return _report_run(folder, options.repo, baselines)
            return _report_evaluation(folder, baselines)
        finally:
            lock.release()


def _checked(run: str) -> Path:
    """The folder of a run or an evaluation."""
    folder = Path(run).expanduser()
    if not folder.is_dir():
        raise UserError(f"run={run!r} is not a folder: give that of a finished run or of an evaluation.")
    if (folder / WEIGHTS_FILE).exists():
        raise UserError(f"run={run!r} is an exported model: give the folder of its run, which holds model/.")
    check_layout(folder)
    return folder


def _report_run(folder: Path, repo_id: str | None, baselines: Sequence[Subject]) -> RunResults:
    results = RunResults.load(folder / RESULTS_FILE)
    check_comparable(Subject(folder, results), baselines)
    results = decorate_run(folder, results, lambda: read_epochs(folder / "metrics.jsonl"), repo_id, baselines=baselines)
    print(printable_lines(result_table(results, folder)))
    return results


def _order(comparison: Path) -> Callable[[Path], tuple[int, str]]:
    """Sorts the folders of models as an earlier comparison has them; others follow by name."""
    try:
        text = io.StringIO(read_text(comparison, str(comparison), fix=""), newline="")
        names = list(dict.fromkeys(unquoted_formula(str(row["model"])) for row in csv.DictReader(text)))
    except (ValueError, KeyError, csv.Error):  # a UserError is a ValueError
        names = []
    return lambda path: (names.index(path.name) if path.name in names else len(names), path.name)


def _report_evaluation(folder: Path, baselines: Sequence[Subject]) -> list[EvaluationResults]:
    """The evaluation of one model, or of several with a folder for each."""
    several = [path.parent for path in folder.glob(f"*/{RESULTS_FILE}") if "split" in keys_of(path)]
    several.sort(key=_order(folder / "comparison.csv"))
    folders = [folder] if (folder / RESULTS_FILE).is_file() else several
    if not folders:
        raise UserError(
            f"The folder {folder} has no {RESULTS_FILE}: give that of a run or evaluation that is finished, or go on "
            "with the run by resume='auto'."
        )
    for one in folders:
        check_layout(one)
    loaded = {one: EvaluationResults.load(one / RESULTS_FILE) for one in folders}
    for one, before in loaded.items():
        check_comparable(Subject(one, before), baselines)
    results = [decorate_evaluation(one, before, baselines=baselines) for one, before in loaded.items()]
    warnings = [warning for one in results for warning in one.warnings]
    if len(results) > 1:
        warnings += write_comparison(folder, results)
        warnings += write_joint_report(folder, folders, baselines)
    print(printable_lines(score_table(results)))
    if (folder / REPORT_FILE).is_file():
        print(printable(f"report   {folder / REPORT_FILE}"))
    for warning in warnings:
        print(f"warning: {as_shown(warning)}")
    return results
