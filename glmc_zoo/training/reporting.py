"""The command ``glmc-zoo report``: makes plots, cards, page and table of a finished run or evaluation again."""

import csv
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from glmc_zoo.disk import disk_errors
from glmc_zoo.documents import read_text
from glmc_zoo.errors import UserError, for_screen
from glmc_zoo.hub.folder import RESULTS_FILE, WEIGHTS_FILE
from glmc_zoo.machine.lock import lock_folder
from glmc_zoo.options.commands import ReportOptions
from glmc_zoo.results import EvaluationResults, RunResults
from glmc_zoo.scoring.page.render import REPORT_FILE
from glmc_zoo.scoring.page.subject import Subject, check_comparable, read_keys
from glmc_zoo.scoring.report import decorate_evaluation, score_table, write_comparison, write_joint_report
from glmc_zoo.text import printable, printable_lines, unquoted_formula
from glmc_zoo.training.decoration import decorate_run
from glmc_zoo.training.folder import check_layout
from glmc_zoo.training.metrics_file import read_epochs
from glmc_zoo.training.report import result_table


def report_folder(options: ReportOptions) -> RunResults | list[EvaluationResults]:
    """Make the plots, cards and page in the folder of a run or an evaluation again, and print its table.

    The page also compares the first folder with all further ones, to which nothing is written.

    Raises:
        UserError: A folder holds no results, the first one cannot be written or is used by another process, or a
            further one has other classes.
    """
    folder, *others = (_check_run_folder(run) for run in options.run)
    baselines = [Subject.load(other) for other in others]
    with disk_errors(folder):
        lock = lock_folder(folder, option="run")
        try:
            if (folder / RESULTS_FILE).is_file() and "method" in read_keys(folder / RESULTS_FILE):
                return _report_run(folder, options.repo, baselines)
            return _report_evaluation(folder, baselines)
        finally:
            lock.release()


def _check_run_folder(run: str) -> Path:
    """The folder of a run or an evaluation."""
    folder = Path(run)
    if not os.path.isdir(folder):
        raise UserError(f"run={run!r} is not a folder: give the folder of a finished run or evaluation.")
    if (folder / WEIGHTS_FILE).exists():
        raise UserError(f"run={run!r} is an exported model: give the folder of its run, which contains model/.")
    check_layout(folder)
    return folder


def _report_run(folder: Path, repo_id: str | None, baselines: Sequence[Subject]) -> RunResults:
    results = RunResults.load(folder / RESULTS_FILE)
    check_comparable(Subject(folder, results), baselines)
    results = decorate_run(folder, results, lambda: read_epochs(folder / "metrics.jsonl"), repo_id, baselines=baselines)
    print(printable_lines(result_table(results, folder)))
    return results


def _comparison_order(comparison: Path) -> Callable[[Path], tuple[int, str]]:
    """A sort key for the folders of models: the order of an earlier comparison, then the names."""
    try:
        text = io.StringIO(read_text(comparison, str(comparison), fix=""), newline="")
        names = list(dict.fromkeys(unquoted_formula(str(row["model"])) for row in csv.DictReader(text)))
    except (ValueError, KeyError, csv.Error):  # a UserError is a ValueError
        names = []
    return lambda path: (names.index(path.name) if path.name in names else len(names), path.name)


def _report_evaluation(folder: Path, baselines: Sequence[Subject]) -> list[EvaluationResults]:
    """Report the evaluation of one model, or of several models with a folder for each."""
    model_folders = [path.parent for path in folder.glob(f"*/{RESULTS_FILE}") if "split" in read_keys(path)]
    model_folders.sort(key=_comparison_order(folder / "comparison.csv"))
    folders = [folder] if (folder / RESULTS_FILE).is_file() else model_folders
    if not folders:
        raise UserError(
            f"run={str(folder)!r} has no {RESULTS_FILE}: give the folder of a finished run or evaluation, or finish "
            "the run with resume='auto'."
        )
    for path in folders:
        check_layout(path)
    loaded = {path: EvaluationResults.load(path / RESULTS_FILE) for path in folders}
    for path, evaluation in loaded.items():
        check_comparable(Subject(path, evaluation), baselines)
    results = [decorate_evaluation(path, evaluation, baselines=baselines) for path, evaluation in loaded.items()]
    warnings = [warning for result in results for warning in result.warnings]
    if len(results) > 1:
        warnings += write_comparison(folder, results)
        warnings += write_joint_report(folder, folders, baselines)
    print(printable_lines(score_table(results)))
    if (folder / REPORT_FILE).is_file():
        print(printable(f"report   {folder / REPORT_FILE}"))
    for warning in warnings:
        print(f"warning: {for_screen(warning)}")
    return results
