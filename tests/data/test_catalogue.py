from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from glmc_zoo.data.catalogue import list_data
from glmc_zoo.data.longtail import longtail_counts
from glmc_zoo.errors import UserError

NAMES = ["digits_lt", "clothing_small", "cifar10_lt", "cifar100_lt", "imagenet_lt", "inat18", "places_lt"]
RECIPE_FIELDS = {
    "backbone",
    "epochs",
    "batch_size",
    "lr",
    "weight_decay",
    "sampler_power",
    "class_weight_power",
    "consistency_weight",
    "warmup_epochs",
    "image_size",
}
SWITCHES = {"sampler_power", "class_weight_power", "consistency_weight"}


def test_names_and_lists() -> None:
    catalogue = list_data()
    assert list(catalogue) == NAMES
    assert [name for name in NAMES if catalogue[name].official is None] == NAMES[:4]
    assert all(catalogue[name].lists_repo and catalogue[name].local_layout for name in NAMES[4:])


def test_the_catalogue_cannot_be_changed() -> None:
    list_data().clear()
    assert list(list_data()) == NAMES
    with pytest.raises(dataclasses.FrozenInstanceError):
        list_data()["digits_lt"].max_count = 7  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "factor", "expected"),
    [
        ("cifar10_lt", 100, (0.0, 1.2, 1)),
        ("cifar10_lt", 50, (0.0, 1.2, 1)),
        ("cifar10_lt", 10, (0.2, 1.0, 2)),
        ("cifar100_lt", 100, (0.0, 1.2, 4)),
        ("cifar100_lt", 50, (0.2, 1.2, 6)),
        ("cifar100_lt", 10, (0.2, 1.2, 4)),
        ("cifar100_lt", 200, (0.0, 1.2, 4)),
        ("cifar100_lt", 20, (0.2, 1.2, 4)),
        ("cifar100_lt", 25, (0.2, 1.2, 6)),
        ("cifar100_lt", None, (0.0, 1.2, 4)),
    ],
)
def test_published_rows(name: str, factor: float | None, expected: tuple[float, float, float]) -> None:
    recipe = list_data()[name].recipe(factor)
    assert (recipe["sampler_power"], recipe["class_weight_power"], recipe["consistency_weight"]) == expected
    assert (recipe["lr"], recipe["batch_size"], recipe["epochs"], recipe["weight_decay"]) == (0.01, 64, 200, 5e-3)
    assert recipe["backbone"] == "resnet32x4_cifar"


def test_input_of_the_published_large_recipes() -> None:
    """iNaturalist's own statistics; ImageNet's elsewhere. Images of both are resized as torchvision does by default."""
    entries = list_data()
    assert (entries["inat18"].mean, entries["inat18"].std) == ((0.466, 0.471, 0.380), (0.195, 0.194, 0.192))
    assert {name for name in NAMES if entries[name].interpolation == "bilinear"} == {"imagenet_lt", "inat18"}
    assert {entries[name].interpolation for name in ("cifar10_lt", "cifar100_lt", "digits_lt", "places_lt")} == {None}


@pytest.mark.parametrize("factor", [0, 0.5, -3, float("nan"), float("inf")])
def test_an_impossible_factor_has_no_recipe(factor: float) -> None:
    for name in ("digits_lt", "places_lt"):
        with pytest.raises(UserError, match=rf"^imbalance_factor={factor} is not possible: .* or more\.$"):
            list_data()[name].recipe(factor)


def test_published_recipes_have_the_same_fields_and_a_recipe_is_a_copy() -> None:
    for entry in list_data().values():
        for factor in entry.recipes:
            # Nobody published settings of the method for the digits: only their schedule is a recipe.
            assert set(entry.recipe(factor)) == RECIPE_FIELDS - (SWITCHES if entry.name == "digits_lt" else set())
            entry.recipe(factor).clear()
            assert entry.recipe(factor)
    assert list_data()["places_lt"].recipe() == {}


def test_default_tails_can_be_made() -> None:
    for entry in list_data().values():
        if entry.default_imbalance_factor is not None:
            counts = longtail_counts(
                entry.num_classes, entry.max_count, entry.default_imbalance_factor, entry.imbalance_type
            )
            assert counts[0] == entry.max_count


def test_statistics_of_the_digits() -> None:
    from sklearn.datasets import load_digits

    pixels = load_digits().images / 16
    assert list_data()["digits_lt"].mean[0] == pytest.approx(pixels.mean(), abs=1e-3)
    assert list_data()["digits_lt"].std[0] == pytest.approx(pixels.std(), abs=1e-3)


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, json, glmc_zoo.data as d; d.list_data(); d.longtail_counts(3, 9, 3); "
        "print(json.dumps([m for m in ('torch', 'datasets', 'torchvision', 'sklearn', 'PIL') if m in sys.modules]))"
    )
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert json.loads(out.stdout) == []


def test_every_public_name_is_there() -> None:
    import glmc_zoo.data as package

    assert all(getattr(package, name) is not None for name in package.__all__)
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="nothing"):
        _ = package.nothing


def test_large_sets_state_their_known_sizes(shared: Path) -> None:
    for name in ("imagenet_lt", "inat18"):
        counts = np.loadtxt(shared / "data" / name / "train_class_counts.txt", dtype=int)
        entry = list_data()[name]
        assert (len(counts), counts.max()) == (entry.num_classes, entry.max_count)
        assert f"{counts.sum():,}" in entry.description
