"""The command line: its surface, its help, and what it says about values that it does not take."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.engine.cli import build_parser, parse_config, parse_options, run_recipe
from glmc_zoo.engine.config import TrainConfig
from glmc_zoo.engine.evaluate import EvaluateConfig
from glmc_zoo.engine.finetune import FinetuneConfig
from glmc_zoo.engine.predict import PredictConfig
from glmc_zoo.errors import UserError

# People's scripts call these; one may be added, none may go.
SURFACE = """
augment backbone batch-size beta checkpoint-every checkpoint-steps class-weight-power clip-grad compile config
consistency-weight correct-lam cumulative-power data data-config data-dir data-seed drop-path-rate drop-rate ema-decay
epochs eval-every few-threshold grad-accum-steps image-column image-size imbalance-factor joint-views keep-checkpoints
label-column lr many-threshold max-count method min-lr mixed-precision momentum opt output-dir preset pretrained
profile projection-dim push-to-hub rebalanced-loss reduction resume sampler-power sched seed select selection
skip-bad-images test-split tracker train-split val-fraction warmup-epochs weight-decay workers
groups push-private push-revision push-pull-request push-tag push-collection push-overwrite export-half export-encoder
license lr-base-size sam-rho split-file official-val threads resident compile-mode imbalance-type
images-in-memory views constant-alpha prior-tau
"""
FINETUNE_SURFACE = "model tune last-blocks layer-decay lora-rank lora-alpha"


def options(parser: Any) -> set[str]:
    return {string for action in parser._actions for string in action.option_strings if string.startswith("--")}


SWITCHES = """
compile correct-lam joint-views pretrained skip-bad-images push-private push-pull-request push-overwrite export-half
export-encoder official-val resident profile images-in-memory
"""


@pytest.mark.parametrize("config_class", [TrainConfig, FinetuneConfig])
def test_the_surface_is_held(config_class: type) -> None:
    names, switches = set(SURFACE.split()), set(SWITCHES.split())
    if config_class is FinetuneConfig:  # the backbone is that of the model
        names = (names | set(FINETUNE_SURFACE.split())) - {"backbone", "pretrained"}
        switches -= {"pretrained"}
    expected = {f"--{name}" for name in names} | {f"--no-{name}" for name in switches} | {"--help"}
    assert options(build_parser(config_class, description="")) == expected


def help_of(lab: Any, name: str, cwd: Path) -> str:
    """What ``--help`` of a recipe prints, once it is sure that nothing heavy was imported for it."""
    code = f"""
import runpy, sys
sys.argv = [{str(lab.root / "recipes" / f"{name}.py")!r}, "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
packages = {{"torch", "timm", "datasets", "evaluate", "accelerate", "matplotlib", "sklearn", "huggingface_hub"}}
assert not (heavy := packages & set(sys.modules)), heavy
"""
    outcome = lab.run_python("-c", code, cwd=cwd)
    assert outcome.status == 0, outcome.err
    text: str = outcome.out
    return text


def test_help_is_one_line_an_option_and_imports_nothing_heavy(lab: Any, tmp_path: Path) -> None:
    text = help_of(lab, "train", tmp_path)
    listed = [line for line in text.splitlines() if re.match(r"  -", line)]
    assert len(listed) == len(dataclasses.fields(TrainConfig)) + 2  # --config and -h
    assert text.split("options:\n")[1].strip().count("\n") == len(listed) - 1
    assert all(len(line.split(None, 2)) == 3 for line in listed)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--lr", "abc"], "--lr abc is not accepted: it must be a number."),
        (["--lr", "nan"], "--lr nan"),
        (["--lr", "0"], "--lr 0.0 must be above 0."),
        (["--epochs", "2.5"], "--epochs 2.5 is not accepted: it must be a whole number."),
        (["--epochs", "0"], "--epochs 0 is too small: it must be at least 1."),
        (["--method", "foo"], "--method foo is not accepted: it must be one of glmc, ce, balanced_softmax."),
        (["--preset", "x"], "--preset x is not accepted: it must be one of official, paper, tuned."),
        (["--batch-sise", "3"], "Unknown option --batch-sise; --help lists every option. Did you mean --batch-size"),
        (["digits"], "Unknown option digits"),
        (["--lr"], "--lr: expected one argument"),
        (["--drop-rate", "1"], "--drop-rate 1.0 must lie in 0 to 1, 1 excluded."),
        (["--ema-decay", "2"], "--ema-decay 2.0 must lie between 0 and 1"),
        (["--seed", "99999999999"], "--seed 99999999999 is too large"),
        (["--select", "best"], "give --val-fraction"),
        (["--warmup-epochs", "50", "--epochs", "5"], "--warmup-epochs 50 must not exceed --epochs 5."),
        (["--config", "nowhere.yaml"], "'nowhere.yaml' cannot be read"),
        (["--imbalance-type", "flat"], "--imbalance-type flat is not accepted: it must be one of exp, step, pareto."),
        (["--profile", "exp"], "--profile exp is not accepted: the shape of a long tail is --imbalance-type exp."),
        (["--seed", "1", "--profile=step", "--lr", "1"], "the shape of a long tail is --imbalance-type step."),
        (["--profile", "flat"], "Unknown option flat; --help lists every option."),
        (["--epochs", "x", "--data", "exp", "--profile"], "--epochs x is not accepted: it must be a whole number."),
    ],
)
def test_one_sentence_about_a_value(argv: list[str], says: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(argv, description="")
    assert says in caught.value.sentence
    assert "\n" not in str(caught.value)


def test_the_earlier_name_of_a_shape_in_recipes_without_the_switch() -> None:
    with pytest.raises(UserError, match=r"^--profile step is not accepted: .* is --imbalance-type step\.$"):
        parse_options(EvaluateConfig, ["--model", "m", "--profile", "step"], description="")
    with pytest.raises(UserError, match=r"^Unknown option --profile; "):  # no data set is thinned here
        parse_options(PredictConfig, ["--model", "m", "--profile", "step"], description="")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("profile: flat\n", "--imbalance-type flat is not accepted: it must be one of exp, step, pareto."),
        ("profile: exp\nimbalance_type: step\n", "by its earlier name, profile 'exp': keep imbalance_type alone."),
        ("epoch: 3\n", "unknown key 'epoch'; allowed are the options of --help. Did you mean epochs"),
        ("lr: abc\n", "--lr abc is not accepted: it must be a number."),
        ("method: foo\n", "it must be one of glmc, ce, balanced_softmax."),
        ("- a\n- b\n", "must hold 'option: value' lines"),
        ("a: [\n", "is not YAML"),
    ],
)
def test_one_sentence_about_a_config_file(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        parse_config(["--config", str(path)], description="")
    assert says in caught.value.sentence
    assert "\n" not in str(caught.value)


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("lr: 1e-3\nepochs: '7'\nbatch-size: 8\ncompile: true\n")  # YAML reads 1e-3 as text
    config = parse_config(["--config", str(path), "--epochs", "9", "--no-compile"], description="")
    assert (config.lr, config.epochs, config.batch_size, config.compile) == (1e-3, 9, 8, False)


def test_other_errors_keep_their_traceback() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_recipe(broken)


def test_one_process_of_several_tells_what_all_find(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong() -> None:
        raise UserError("this is wrong")

    _expect_exit(wrong, 2)
    assert capsys.readouterr().err.endswith(": error: This is wrong.\n")
    monkeypatch.setenv("RANK", "1")
    _expect_exit(wrong, 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("fault", [None, UserError("The value 3 is odd: give 2.")])
def test_no_process_group_outlives_a_recipe(fault: Exception | None) -> None:
    from torch import distributed

    def main() -> None:
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        if fault is not None:
            raise fault

    with pytest.raises(SystemExit) if fault else nullcontext():
        run_recipe(main)
    assert not distributed.is_initialized()  # its threads would now and then abort the interpreter as it ends


def test_interrupting_is_no_traceback() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    _expect_exit(interrupted, 130)


def _expect_exit(main: Callable[[], None], status: int) -> None:
    with pytest.raises(SystemExit) as stop:
        run_recipe(main)
    assert stop.value.code == status


@pytest.mark.parametrize("launcher", [[], ["-m", "accelerate.commands.accelerate_cli", "launch", "--cpu"]])
def test_the_recipe_evaluate_does_not_hide_the_library(lab: Any, tmp_path: Path, launcher: list[str]) -> None:
    probe = "from glmc_zoo.engine.cli import run_recipe\nrun_recipe(lambda: print(__import__('evaluate').__file__))\n"
    (tmp_path / "evaluate.py").write_text("raise SystemExit('the wrong one')\n")
    (tmp_path / "train.py").write_text(probe)
    outcome = lab.run_python(*launcher, tmp_path / "train.py", cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    assert "site-packages" in outcome.out.splitlines()[-1]


@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_help_of_the_other_recipes_imports_nothing_heavy(lab: Any, tmp_path: Path, name: str) -> None:
    text = help_of(lab, name, tmp_path)
    assert "--model MODEL" in text and "==SUPPRESS==" not in text
