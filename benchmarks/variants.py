"""What each variant of GLMC buys on CIFAR-100-LT: one network, one short schedule, several seeds.

    python benchmarks/variants.py --cifar100 DATA/cifar100 --seeds 0 1 2 --results benchmarks/results/SUITE
    python benchmarks/variants.py --cifar100 DATA/cifar100 --only "GLMC + balanced softmax + SAM"

A variant is trained, is a second stage of a trained one, or is a correction of a trained one's logits or weights when
it is scored. Runs that are finished already are not done again. ``--results`` puts the scores where benchmarks/table.py
reads them; of a correction that is the ``results.json`` of its training run with the corrected scores.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = "--data cifar100_lt --imbalance-factor 100"
# The switches are those of the published recipe; the schedule is a short one, with a learning rate to suit.
TRAIN = f"train.py {DATA} --backbone resnet20_cifar --preset official --epochs 12 --eval-every 12 --lr 0.05"
TRAIN += " --weight-decay 5e-4 --mixed-precision bf16"
STAGE = f"second_stage.py --model SOURCE {DATA} --mixed-precision bf16 --eval-every 10"
SCORE = f"evaluate.py --model SOURCE {DATA}"

# Command, and the variant that it starts from.
VARIANTS: dict[str, tuple[str, str | None]] = {"GLMC": (TRAIN, None)}
VARIANTS["GLMC + balanced softmax"] = (f"{TRAIN} --rebalanced-loss balanced_softmax", None)
VARIANTS["GLMC + balanced softmax + SAM"] = (f"{TRAIN} --rebalanced-loss balanced_softmax --sam-rho 0.05", None)
for name in tuple(VARIANTS):
    VARIANTS[f"{name} + MaxNorm"] = (STAGE, name)
for name in ("GLMC", "GLMC + balanced softmax"):
    VARIANTS[f"{name} + logit adjustment"] = (f"{SCORE} --logit-adjustment 1", name)
    VARIANTS[f"{name} + tau-normalisation"] = (f"{SCORE} --tau-norm 1", name)


def slug(name: str, seed: int) -> str:
    """Name of a variant's run and of its file."""
    return f"{'_'.join(name.replace('+', ' ').replace('-', ' ').split()).lower()}_seed{seed}"


def scored(folder: Path, source: Path | None) -> dict[str, Any]:
    """The results of a run; of a scoring those of the run it scored, with its own scores."""
    results: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    if "posthoc" not in results or source is None:
        return results
    trained = json.loads((source / "results.json").read_text(encoding="utf-8"))
    own = ("test", "class_recalls", "group_confusion", "posthoc", "command", "precision", "wall_time_s")
    return trained | {key: results[key] for key in own}


def main() -> None:
    """Run the variants asked for, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar100", type=Path, required=True, help="copy of the Hub's uoft-cs/cifar100")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", help="this variant alone; what it starts from must be there")
    parser.add_argument("--work", type=Path, default=Path("runs/variants"), help="where runs are kept")
    parser.add_argument("--results", type=Path, help="where the results of each run go")
    args = parser.parse_args()
    if args.only is not None and args.only not in VARIANTS:
        parser.error(f"--only {args.only!r} is no variant: give one of {', '.join(VARIANTS)}")

    for seed in args.seeds:
        for name, (command, start) in VARIANTS.items():
            run = args.work / slug(name, seed)
            source = None if start is None else args.work / slug(start, seed)
            if args.only in (None, name) and not (run / "results.json").is_file():
                shutil.rmtree(run, ignore_errors=True)
                script, *options = shlex.split(command.replace("SOURCE", f"{source}/model"))
                where = ["--data-dir", str(args.cifar100), "--output-dir", str(run)]
                seeding = [] if script == "evaluate.py" else ["--seed", str(seed)]
                subprocess.run([sys.executable, str(ROOT / "recipes" / script), *options, *where, *seeding], check=True)
            if args.results is not None and (run / "results.json").is_file():
                args.results.mkdir(parents=True, exist_ok=True)
                text = json.dumps({"variant": name, **scored(run, source)}, indent=1)
                (args.results / f"{slug(name, seed)}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
