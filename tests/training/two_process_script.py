"""Run recipes/train.py in this process, and record what the recipe does not show: ``SCRIPT OUT OPTIONS...``.

``OUT/rank-R.pt`` holds the training positions of each epoch, the test positions scored, the final weights, and the
first random numbers of mixing and dropout.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any

import torch

from glmc_zoo.data.feeding.datasets import EvalDataset, TrainDataset
from glmc_zoo.training.loop import step_generator
from glmc_zoo.training.run import TrainingRun

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "train.py"


def main() -> None:
    out, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    kill_at = int(os.environ.get("KILL_AT_EPOCH", "-1"))
    record: dict[str, Any] = {"train": [], "test": []}
    train_items, eval_items = TrainDataset.__getitems__, EvalDataset.__getitems__
    train_epoch, finish, init = TrainingRun.train_epoch, TrainingRun.finish, TrainingRun.__init__

    def train_getitems(self: TrainDataset, indices: Any) -> Any:
        record["train"][-1].extend(index.first for index in indices)
        return train_items(self, indices)

    def eval_getitems(self: EvalDataset, indices: Any) -> Any:
        record["test"][-1].extend(indices)
        return eval_items(self, indices)

    def recorded_init(self: TrainingRun, options: Any) -> None:
        init(self, options)
        record["dropout"] = torch.get_rng_state()
        record["mixing"] = torch.rand(4, generator=step_generator(0, 0, 0, self.accelerator.process_index))

    def recorded_epoch(self: TrainingRun) -> dict[str, float]:
        record["train"].append([])
        record["test"].append([])
        losses = train_epoch(self)
        if self.progress.epoch == kill_at:
            os._exit(9)
        return losses

    def recorded_finish(self: TrainingRun) -> Any:
        record["test"].append([])
        result = finish(self)
        record["weights"] = {key: value.clone() for key, value in self.model.state_dict().items()}
        torch.save(record, out / f"rank-{rank}.pt")
        return result

    TrainDataset.__getitems__ = train_getitems  # type: ignore[method-assign]
    EvalDataset.__getitems__ = eval_getitems  # type: ignore[method-assign]
    TrainingRun.__init__ = recorded_init  # type: ignore[method-assign]
    TrainingRun.train_epoch = recorded_epoch  # type: ignore[method-assign]
    TrainingRun.finish = recorded_finish  # type: ignore[method-assign]
    sys.argv = [str(RECIPE), *sys.argv[2:]]
    runpy.run_path(str(RECIPE), run_name="__main__")


if __name__ == "__main__":
    main()
