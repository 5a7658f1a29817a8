"""The command line: the options that it holds, its help, and one sentence about a value that it does not take."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.fields import type_hints
from glmc_zoo.options.parser import build_parser, read_command_line
from glmc_zoo.options.resolve import finetuning_options, second_stage_options, training_options
from glmc_zoo.options.run import flatten_options
from glmc_zoo.options.sections import COMMANDS, INSPECT, REPORT, TRAIN, option_names
from glmc_zoo.options.user_options import UserOptions

# People's scripts call these; one may be added, none may go.
DATA = """data data-dir data-config imbalance-factor max-count imbalance-type selection data-seed val-fraction
split-file official-val image-column label-column train-split test-split intensity-range no-test skip-bad-images
duplicates allow-duplicates split-column split-by class-level follow-links"""
RUN = f"""{DATA} image-size augment workers epochs batch-size lr weight-decay warmup-epochs momentum sched min-lr
lr-base-size grad-accum-steps clip-grad sam-rho seed mixed-precision compile compile-mode threads resident profile
output-dir resume checkpoint-every checkpoint-steps keep-checkpoints eval-every select license export-half
export-encoder tracker push-to-hub push-private push-revision push-pull-request push-tag push-collection push-overwrite
many-threshold few-threshold groups"""
TRAINING = f"""{RUN} method preset opt ema-decay drop-rate drop-path-rate rebalanced-loss prior-tau sampler-power
class-weight-power cumulative-power constant-alpha consistency-weight beta correct-lam reduction views joint-views
projection-dim"""
SURFACE = {
    "train": f"{TRAINING} backbone pretrained",
    "finetune": f"{TRAINING} model tune last-blocks layer-decay lora-rank lora-alpha",
    "second_stage": f"{RUN} model class-balanced-beta maxnorm maxnorm-threshold",
    "evaluate": f"""{DATA} model split batch-size workers image-size mixed-precision logit-adjustment tau-norm streaming
        output-dir many-threshold few-threshold groups""",
    "inspect": f"{DATA} output overwrite examples near-duplicates many-threshold few-threshold groups",
    "predict": "model images top batch-size workers image-size output overwrite skip-bad-images",
    "report": "run repo",
    "demo": "model data data-dir prior model-prior classes min-probability image-size host port share",
    "push": """model dry-run repo private revision pull-request tag collection overwrite message space space-folder
        space-images""",
    "export": "model format output check-data data-dir int8 image-size overwrite",
    "convert": "checkpoint backbone data data-dir class-names image-size license output-dir",
}
ADDED = {name: set() for name in SURFACE} | {
    name: {"plugin", "sampler", "mix-off-epochs"} for name in ("train", "finetune")
}
for name in ("train", "finetune", "second_stage"):
    ADDED[name] |= {"accept-new-data", "dry-run", "passes", "sam-every", "auto-augment", "random-erasing", "cutout"}
for name in ("train", "finetune"):
    ADDED[name] |= {"unmixed-share"}
for name in ("train", "finetune", "second_stage"):
    ADDED[name] |= {"calibrate", "checkpoint-minutes", "preempt-signal", "sample-image"}
ADDED["evaluate"] |= {"temperature", "save"}
ADDED["predict"] |= {"follow-links", "prior", "model-prior", "classes", "min-probability", "precision"}
ADDED["predict"] |= {"rank-for-labelling"}
for name in ("second_stage", "evaluate", "predict", "demo", "export"):
    ADDED[name] |= {"plugin"}
for name in ("evaluate", "predict"):
    ADDED[name] |= {"quote-formulas"}
for name in ("train", "finetune", "second_stage", "evaluate"):
    ADDED[name] |= {"report"}
ADDED["finetune"] |= {"head-init", "head-kind", "head-loss", "feature-views", "feature-cache"}
ADDED["finetune"] |= {"adapter", "head-lr-scale", "freeze-bn", "search-minutes"}
# These take no value, and have a --no- beside them.
_SWITCHES = """compile correct-lam joint-views pretrained skip-bad-images push-private push-pull-request push-overwrite
dry-run export-half export-encoder official-val resident profile maxnorm no-test streaming overwrite private
pull-request allow-duplicates follow-links accept-new-data freeze-bn quote-formulas int8 report
rank-for-labelling share sample-image"""
SWITCHES = set(_SWITCHES.split())


def strings(name: str) -> set[str]:
    parser = build_parser(COMMANDS[name], "")
    return {string for action in parser._actions for string in action.option_strings if string.startswith("--")}


@pytest.mark.parametrize("name", SURFACE)
def test_the_options_of_each_command_are_held(name: str) -> None:
    names = {*SURFACE[name].split(), *ADDED[name]}
    expected = {f"--{option}" for option in (*names, "help", "config", "quiet", "verbose")}
    assert strings(name) == expected | {f"--no-{option}" for option in names & SWITCHES}
    assert not {"--token", "--no-help"} & strings(name)  # a token would be seen in the list of processes


def test_the_data_of_an_inspection_needs_no_name() -> None:
    assert read_command_line(INSPECT, "", "", ["my_images", "--no-test"]).explicit == {
        "data": "my_images", "no_test": True
    }  # fmt: skip
    with pytest.raises(UserError, match=r"^Unknown argument other; --help lists"):
        read_command_line(INSPECT, "", "", ["my_images", "other"])


def test_the_folders_of_a_report_need_no_name() -> None:
    for words in (["runs/a"], ["--run", "runs/a"], ["runs/a", "runs/b"], ["runs/a", "runs/b", "--repo", "org/name"]):
        given = read_command_line(REPORT, "", "", words)
        assert given.explicit["run"] == [word for word in words if word.startswith("runs")]
        assert given.get("repo") in (None, "org/name")
    with pytest.raises(UserError, match="Unknown argument x"):
        read_command_line(TRAIN, "", "", ["x"])


def test_every_option_still_takes_a_value_and_reaches_its_name() -> None:
    assert SURFACE.keys() == COMMANDS.keys()
    examples = {int: "3", float: "0.5", str: "text"}
    for name, command in COMMANDS.items():
        parser = build_parser(command, "")
        for option in SURFACE[name].split():
            key = option.replace("-", "_")
            if option in SWITCHES:
                parsed = [vars(parser.parse_args([f"--{prefix}{option}"])) for prefix in ("", "no-")]
                assert parsed == [{key: True}, {key: False}]
            else:
                kind = command.types[key]
                word = next((text for part, text in examples.items() if part == kind or part in parts(kind)), "low")
                for words in ([f"--{option}", word], [f"--{option}={word}"]):
                    assert vars(parser.parse_args(words)) == {key: [word] if kind == list[str] else word}


def parts(kind: Any) -> tuple[Any, ...]:
    return getattr(kind, "__args__", ())


def test_options_of_several_values() -> None:
    parsed = build_parser(COMMANDS["evaluate"], "").parse_args(["--model", "a", "b", "--model", "c"])
    assert parsed.model == ["a", "b", "c"]
    given = read_command_line(TRAIN, "", "", ["--lr", "-1", "--config", "cifar10_lt_if10"])
    assert given.explicit == {"lr": -1.0} and given.file["epochs"] == 200
    # An option is not abbreviated: a later one of that beginning would change what a script means.
    with pytest.raises(UserError, match=r"^Unknown option --epoch; "):
        read_command_line(TRAIN, "", "", ["--epoch", "3"])


def test_no_command_has_an_option_twice() -> None:
    for command in COMMANDS.values():
        assert sum(len(type_hints(group)) for group in command.groups) == len(command.types)
    assert {"config", "lr", "repo", "top", "checkpoint"} <= option_names()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_one_line_an_option_in_sections(name: str) -> None:
    text = build_parser(COMMANDS[name], "What it does.").format_help()
    listed = [line for line in text.splitlines() if re.match(r"  -", line)]
    assert len(listed) == len(COMMANDS[name].types) + 4  # --help, --config, --quiet and --verbose
    for line in listed[4:]:
        option, metavar, rest = re.fullmatch(r"  --([\w-]+)(?: ([A-Z]+))?  +(\S.*)", line).groups()  # type: ignore[union-attr]
        assert (metavar is None) == (option in SWITCHES), line
        assert re.search(r"\((default: .+|required)\)$", rest), line
    headings = [line.removesuffix(":") for line in text.splitlines() if re.fullmatch(r"\S[^:]*:", line)]
    assert headings == ["general", *COMMANDS[name].sections]
    assert "What it does." in text and "==SUPPRESS==" not in text and "None" not in text


def test_help_shows_choices_and_defaults() -> None:
    text = build_parser(TRAIN, "").format_help()
    for option, expected in {
        "method": r"\[auto \| glmc \| ce \| balanced_softmax.*\] \(default: auto\)",
        "preset": r"\[official \| paper \| tuned\] \(default: official where the data set has a published recipe, else",
        "epochs": r"epochs to train \(default: the data set's recipe, else 100\)",
        "compile": r"\(default: false\)",
        "clip-grad": r"\(default: none\)",
        "data": r"\(default: digits_lt\)",
    }.items():
        assert re.search(rf"^  --{option}( \w+)?  .*{expected}", text, re.MULTILINE), option
    assert "--model MODEL" in build_parser(COMMANDS["predict"], "").format_help()
    second = build_parser(COMMANDS["second_stage"], "").format_help()
    for option in ("data", "augment", "batch-size", "few-threshold"):
        assert re.search(rf"^  --{option} .*\(default: the first stage\)$", second, re.MULTILINE), option
    assert "the first stage)" not in text


def shown_default(command: str, option: str) -> str:
    """The default that ``--help`` names."""
    text = build_parser(COMMANDS[command], "").format_help()
    (default,) = re.findall(rf"^  --{option} .*\(default: (.*)\)$", text, re.MULTILINE)
    return str(default)


@pytest.mark.parametrize(
    ("command", "resolve", "given"),
    [
        ("finetune", finetuning_options, {"model": "resnet18", "data": "my_images"}),
        ("finetune", finetuning_options, {"model": "resnet18", "data": "my_images", "tune": "head"}),
        ("second_stage", partial(second_stage_options, first_stage={}), {"model": "x", "data": "my_images"}),
        ("train", training_options, {"data": "my_images"}),
    ],
)
def test_the_defaults_of_help_are_those_that_are_used(command: str, resolve: Any, given: dict[str, Any]) -> None:
    values = flatten_options(resolve(UserOptions(given)))
    for name in ("epochs", "batch_size", "lr", "weight_decay", "warmup_epochs", "preset", "sampler_power", "backbone"):
        if name not in values or (command, name) in (("second_stage", "batch_size"), ("train", "sampler_power")):
            continue
        shown = shown_default(command, name.replace("_", "-"))
        assert re.search(rf"(?<![\w.]){re.escape(str(values[name]))}(?![\w.])", shown), (name, shown)


def test_commands_without_a_published_recipe_name_none() -> None:
    for command in ("finetune", "second_stage"):
        assert "recipe" not in build_parser(COMMANDS[command], "").format_help().replace("recipes/configs", "")


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--lr", "abc"], "lr='abc' is not accepted: it must be a number."),
        (["--lr", "nan"], "lr='nan' is not accepted: it must be a number."),
        (["--lr", "0"], "lr=0.0 must be above 0."),
        (["--lr", "-1"], "lr=-1.0 must be above 0."),
        (["--lr"], "Argument --lr: expected one argument; --help lists every option."),
        (["--epochs", "2.5"], "epochs='2.5' is not accepted: it must be a whole number."),
        (["--epochs", "0"], "epochs=0 is too small: it must be at least 1."),
        (["--method", "foo"], "method='foo' is not accepted: it must be one of auto, glmc, ce, balanced_softmax"),
        (["--rebalanced-loss", "foo"], "rebalanced_loss='foo' is not accepted: it must be one of reweighted, ce, "),
        (["--sampler", "foo"], "sampler='foo' is not accepted: it must be one of power"),
        (["--preset", "x"], "preset='x' is not accepted: it must be one of official, paper, tuned."),
        (["--imbalance-type", "flat"], "imbalance_type='flat' is not accepted: it must be one of exp, step, pareto."),
        (["--batch-sise", "3"], "Unknown option --batch-sise; --help lists every option. Did you mean --batch-size"),
        (["--no-lr"], "Unknown option --no-lr; --help lists every option."),
        (["digits"], "Unknown argument digits; --help lists every option."),
        (["--drop-rate", "1"], "drop_rate=1.0 must be below 1."),
        (["--ema-decay", "2"], "ema_decay=2.0 must be below 1."),
        (["--seed", "99999999999"], "seed=99999999999 must be at most 4294967295."),
        (["--config", "nowhere.yaml"], "config='nowhere.yaml' cannot be read"),
        # What there was before.
        (["--images-in-memory"], "images_in_memory= was removed because it gained too little: leave it out; "),
        (["--selection", "glmc"], "selection='glmc' is not accepted: it must be one of ldam, first."),
        (["--profile", "exp"], "Unknown argument exp; --help lists every option."),
        (["--streaming"], "streaming= is for an evaluation. "),
    ],
)
def test_one_sentence_about_a_value(argv: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        training_options(read_command_line(TRAIN, "", "", argv))
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
