"""Results for cards and exports: complete, minimal, and of a converted checkpoint."""

from __future__ import annotations

import dataclasses
from typing import Any

from glmc_zoo.results import (
    ConvertedFacts,
    DataFacts,
    FinetuneFacts,
    ModelFacts,
    Origin,
    RunResults,
    Scores,
    Seeds,
    Selection,
    Thresholds,
    WeightsFacts,
)


def scores(**values: float | None) -> Scores:
    """Scores with these values. Other required scores are 0.5."""
    required = {
        f.name: 0.5
        for f in dataclasses.fields(Scores)
        if f.default is dataclasses.MISSING and f.name != "balanced_accuracy"
    }
    return Scores(**{"balanced_accuracy": 0.5, **required, **values})  # type: ignore[arg-type]


def minimal_results(backbone: str = "resnet18", *, size: int = 32, classes: list[str] | None = None) -> RunResults:
    """The minimum that a card and an export need. Class counts are ..., 3, 2, 1."""
    names = classes if classes is not None else ["one", "two"]
    return RunResults(
        model=ModelFacts(
            name=f"{backbone}.glmc_mine",
            tag="glmc_mine",
            backbone=backbone,
            parameters=1,
            input_size=[3, size, size],
            mean=[0.5, 0.4, 0.3],
            std=[0.2, 0.3, 0.2],
            needs_glmc_zoo=backbone.endswith("_cifar"),
        ),
        data=DataFacts(name="mine"),
        method="glmc",
        class_names=names,
        class_counts=list(range(len(names), 0, -1)),
        test=scores(),
    )


RESULTS = RunResults(
    test=scores(top1=0.9512, balanced_accuracy=0.9034, many=0.99, medium=0.8901, nll=0.1234),
    class_counts=[120, 50, 20],
    class_names=["a|b", "two", "three"],
    class_recalls=[0.99, 0.9, 0.8],
    thresholds=Thresholds(many=100, few=20),
    groups={"many": 1, "medium": 2, "few": 0},
    data=DataFacts(
        name="cifar10_lt",
        hub_id="uoft-cs/cifar10",
        imbalance_factor=20,
        imbalance_type="exp",
        selection="ldam",
        data_seed=3,
        train_images=190,
        test_images=600,
        val_images=7,
        skipped_images=2,
        license="cc-by-4.0",
        description="Small images.",
    ),
    model=ModelFacts(
        name="resnet18.glmc_cifar10_lt",
        tag="glmc_cifar10_lt",
        backbone="resnet18",
        parameters=1234567,
        input_size=[3, 32, 32],
        mean=[0.5, 0.4, 0.3],
        std=[0.2, 0.2, 0.2],
    ),
    method="glmc",
    preset="official",
    config={"lr": 0.1, "epochs": 40},
    selection=Selection(epoch=40, how="last epoch"),
    seeds=Seeds(seed=11, data_seed=3),
    plots=["class_accuracy.png", "group_confusion.png", "training.png"],
    wall_time_s=3725.4,
    origin=Origin(
        command="accelerate launch recipes/train.py --data cifar10_lt",
        versions={"glmc_zoo": "0.1.0", "torch": "2.6.0"},
        hardware="one big GPU",
        processes=1,
        precision="bf16",
        commit="ef" * 20,
    ),
)

MORE = dataclasses.replace(
    RESULTS,
    finetune=FinetuneFacts(model="hf_hub:org/base@main", kind="hub", commit="abc123", tune="lora", kept=["heads"]),
    weights=WeightsFacts(
        file="model.safetensors", sha256="ab" * 32, dtype="float16", bytes=1234567, max_logit_difference=0.00123
    ),
)
"""The same with the facts that only some models have."""

CONVERTED = RunResults(
    converted=ConvertedFacts(file="published.pth.tar", sha256="cd" * 32),
    class_names=["one", "two"],
    data=DataFacts(name="cifar10_lt", in_catalogue=True),
    model=ModelFacts(
        name="resnet32x4_cifar.glmc_cifar10_lt",
        tag="glmc_cifar10_lt",
        backbone="resnet32x4_cifar",
        parameters=7,
        input_size=[3, 32, 32],
        mean=[0.5] * 3,
        std=[0.2] * 3,
        license="unknown",
        needs_glmc_zoo=True,
    ),
    method="glmc",
    origin=Origin(command="python recipes/convert.py --checkpoint published.pth.tar"),
)

MINIMAL = minimal_results()


def changed(results: RunResults = RESULTS, **changes: Any) -> RunResults:
    """The results with some values replaced. A dictionary replaces fields of the object with that name."""
    values = {}
    for name, value in changes.items():
        current = getattr(results, name)
        nested = isinstance(value, dict) and dataclasses.is_dataclass(current) and not isinstance(current, type)
        values[name] = dataclasses.replace(current, **value) if nested else value
    return dataclasses.replace(results, **values)
