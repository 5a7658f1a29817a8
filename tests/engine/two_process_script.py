"""Runs recipes/train.py in this rank and writes down what the recipe itself does not show: ``SCRIPT OUT OPTIONS...``.

``OUT/rank-R.pt`` holds the training positions of each epoch, the test positions scored, the final weights, and the
first random numbers that mixing and dropout would draw.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any

import torch

from glmc_zoo.data.loaders import EvalDataset, TrainDataset
from glmc_zoo.data.resident import ResidentTrainDataset
from glmc_zoo.engine.loop import step_generator
from glmc_zoo.engine.run import TrainingRun

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "train.py"


def main() -> None:
    out, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    kill_at = int(os.environ.get("KILL_AT_EPOCH", "-1"))
    seen: dict[str, Any] = {"train": [], "test": []}
    eval_items = EvalDataset.__getitems__
    train_epoch, finish, init = TrainingRun.train_epoch, TrainingRun.finish, TrainingRun.__init__

    def record(kind: type) -> None:
        train_items = kind.__getitems__  # type: ignore[attr-defined]

        def train_getitems(self: Any, indices: Any) -> Any:
            seen["train"][-1].extend(index.first for index in indices)
            return train_items(self, indices)

        kind.__getitems__ = train_getitems  # type: ignore[attr-defined]

    def eval_getitems(self: EvalDataset, indices: Any) -> Any:
        seen["test"][-1].extend(indices)
        return eval_items(self, indices)

    def recorded_init(self: TrainingRun, config: Any) -> None:
        init(self, config)
        seen["dropout"] = torch.get_rng_state()
        seen["mixing"] = torch.rand(4, generator=step_generator(0, 0, 0, self.accelerator.process_index))

    def recorded_epoch(self: TrainingRun) -> dict[str, float]:
        seen["train"].append([])
        seen["test"].append([])
        losses = train_epoch(self)
        if self.progress.epoch == kill_at:
            os._exit(9)
        return losses

    def recorded_finish(self: TrainingRun) -> Any:
        seen["test"].append([])
        result = finish(self)
        seen["weights"] = {key: value.clone() for key, value in self.model.state_dict().items()}
        torch.save(seen, out / f"rank-{rank}.pt")
        return result

    for kind in (TrainDataset, ResidentTrainDataset):
        record(kind)
    EvalDataset.__getitems__ = eval_getitems  # type: ignore[method-assign]
    TrainingRun.__init__ = recorded_init  # type: ignore[method-assign]
    TrainingRun.train_epoch = recorded_epoch  # type: ignore[method-assign]
    TrainingRun.finish = recorded_finish  # type: ignore[method-assign]
    sys.argv = [str(RECIPE), *sys.argv[2:]]
    runpy.run_path(str(RECIPE), run_name="__main__")


if __name__ == "__main__":
    main()
