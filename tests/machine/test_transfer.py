from __future__ import annotations

from typing import Any

import torch

from glmc_zoo.data import PairedBatch
from glmc_zoo.machine.transfer import Transfer


def test_a_batch_stays_what_it_is() -> None:
    view = (torch.zeros(2, 3, 4, 4, dtype=torch.uint8),) * 2
    batch = PairedBatch(view, torch.tensor([0, 1]), None, None)
    moved: Any = Transfer(torch.device("cpu"))(batch)
    assert isinstance(moved, PairedBatch) and moved.second is None
    assert moved.first[0].data_ptr() == view[0].data_ptr()
    meta: Any = Transfer(torch.device("meta"))(batch)
    assert meta.first[1].device.type == meta.first_targets.device.type == "meta"
