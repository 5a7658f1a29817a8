"""Results that cards are rendered from: of a usual model, what only some have, and the least."""

from __future__ import annotations

import copy
from typing import Any

RESULTS: dict[str, Any] = {
    "test": {"top1": 0.9512, "balanced_accuracy": 0.9034, "many": 0.99, "medium": 0.8901, "few": None, "nll": 0.1234},
    "class_counts": [120, 50, 20],
    "class_names": ["a|b", "two", "three"],
    "class_recalls": [0.99, 0.9, 0.8],
    "thresholds": {"many": 100, "few": 20, "few_inclusive": False},
    "groups": {"many": 1, "medium": 2, "few": 0},
    "data": {
        "name": "cifar10_lt",
        "hub_id": "uoft-cs/cifar10",
        "imbalance_factor": 20,
        "profile": "exp",
        "selection": "ldam",
        "data_seed": 3,
        "train_images": 190,
        "test_images": 600,
        "val_images": 7,
        "skipped_images": 2,
        "license": "cc-by-4.0",
        "description": "Small photographs.",
    },
    "model": {
        "backbone": "resnet18",
        "parameters": 1234567,
        "input_size": [3, 32, 32],
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.2],
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "pretrained_from": None,
        "tag": "glmc_cifar10_lt",
        "name": "resnet18.glmc_cifar10_lt",
    },
    "method": "glmc",
    "preset": "official",
    "config": {"lr": 0.1, "epochs": 40},
    "selection": {"epoch": 39, "how": "last epoch"},
    "seeds": {"seed": 11, "data_seed": 3},
    "command": "accelerate launch recipes/train.py --data cifar10_lt",
    "versions": {"glmc_zoo": "0.1.0", "torch": "2.6.0"},
    "hardware": "one big GPU",
    "processes": 1,
    "wall_time_s": 3725.4,
    "precision": "bf16",
    "plots": ["class_accuracy.png", "group_confusion.png", "training.png"],
}

# What only some models have.
MORE: dict[str, Any] = {
    "posthoc": {"logit_adjustment": {"tau": 1.0, "chosen_on": "validation"}},
    "finetune": {"model": "hf_hub:org/base@main", "kind": "hub", "commit": "abc123", "tune": "lora", "kept": ["heads"]},
    "weights": {
        "file": "model.safetensors",
        "sha256": "ab" * 32,
        "dtype": "float16",
        "bytes": 1234567,
        "max_logit_difference": 0.00123,
    },
    "encoder_only": True,
    "commit": "ef" * 20,
}

CONVERTED: dict[str, Any] = {
    "converted": {"file": "published.pth.tar", "sha256": "cd" * 32},
    "class_names": ["one", "two"],
    "data": {"name": "cifar10_lt", "in_catalogue": True},
    "model": {"backbone": "resnet32x4_cifar", "input_size": [3, 32, 32], "needs_glmc_zoo": True},
    "command": "python recipes/convert.py --checkpoint published.pth.tar",
}

MINIMAL: dict[str, Any] = {
    "test": {"top1": 0.5},
    "class_counts": [3, 1],
    "data": {"name": "mine"},
    "model": {"backbone": "resnet18", "input_size": [3, 32, 32]},
}


def changed(**parts: dict[str, Any]) -> dict[str, Any]:
    results = copy.deepcopy(RESULTS)
    for key, part in parts.items():
        results[key].update(part)
    return results
