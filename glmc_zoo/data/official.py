"""What is known of the official lists of the large sets: names, sizes, digests, and where pictures usually lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["IMAGENET_LT", "INAT18", "PLACES_LT", "ListFacts", "Naming", "OfficialSplit"]

Naming = Literal["imagenet", "inat", "places"]
"""How a set names its pictures, which is what a list is matched by; see `picture_keys`."""


@dataclass(frozen=True)
class ListFacts:
    """One official list."""

    file: str
    """Its name, as published."""
    lines: int
    """Pictures on it."""
    largest: int
    """Pictures of its largest class."""
    smallest: int
    """Pictures of its smallest class."""
    groups: tuple[int, int, int]
    """Classes with more than 100, with 20 to 100, and with fewer than 20 pictures."""
    counts_sha256: str
    """SHA-256 of the class counts in the order of the labels, written one a line."""
    sha256: str | None = None
    """SHA-256 of the unpacked file, where it is known."""


@dataclass(frozen=True)
class OfficialSplit:
    """The official lists of a set, and what to do without them."""

    naming: Naming
    train: ListFacts
    test: ListFacts
    val: ListFacts | None
    """Held-out training images to choose settings on; ``None`` where there is no such list."""
    layouts: tuple[tuple[str, str], ...]
    """Folders of the training and of the validation pictures of the original, in the usual layouts."""
    imbalance_factor: float
    """Of the Pareto curve that stands in for a training list that is not at hand."""
    natural: bool = False
    """Whether the training list is the whole training split, long-tailed by nature, so that no curve is needed."""
    annotations: tuple[str, str] | None = None
    """Files of the original that say the same as the training and the test list."""


IMAGENET_LT = OfficialSplit(
    naming="imagenet",
    train=ListFacts(
        file="ImageNet_LT_train.txt",
        lines=115_846,
        largest=1280,
        smallest=5,
        groups=(385, 479, 136),
        counts_sha256="264bf997dc8030998be446727caae6b209239e9a97052d97bc69bce7f8ffb838",
        sha256="efdbdad4f050237c310b2f354cf95a8b1d7c8d57a63c4ea4bb6bf2bcb012f37f",
    ),
    val=ListFacts(
        file="ImageNet_LT_val.txt",
        lines=20_000,
        largest=20,
        smallest=20,
        groups=(0, 1000, 0),
        counts_sha256="88dd46a413511c75ce9fc04f91ca5f8a2e11a090cd15ac9a74741d3e25d4f183",
        sha256="9af7ba688acf9532ff5845a8fb14a1e97fdc4c51ac48bc72c08ea9c3f7ff142e",
    ),
    test=ListFacts(
        file="ImageNet_LT_test.txt",
        lines=50_000,
        largest=50,
        smallest=50,
        groups=(0, 1000, 0),
        counts_sha256="d514b2e0f9a8e0fb639ee5b788ccf208afacf3760523d47322b3ad2a5cf2f99f",
        sha256="d1590191cf8a71fada7b1aaedaa2d139a2aea93ff2f1b755319d0bd8dbaa55d5",
    ),
    layouts=(
        ("train", "val"),
        ("ILSVRC/Data/CLS-LOC/train", "ILSVRC/Data/CLS-LOC/val"),
        ("Data/CLS-LOC/train", "Data/CLS-LOC/val"),
    ),
    imbalance_factor=256,
)

INAT18 = OfficialSplit(
    naming="inat",
    train=ListFacts(
        file="iNaturalist18_train.txt",
        lines=437_513,
        largest=1000,
        smallest=2,
        groups=(842, 4076, 3224),
        counts_sha256="e0ffaa98acd4acdce9d6a57edc84606157efc32fb2b19b21fd570bf316ccabf8",
    ),
    val=None,
    test=ListFacts(
        file="iNaturalist18_val.txt",
        lines=24_426,
        largest=3,
        smallest=3,
        groups=(0, 0, 8142),
        counts_sha256="ef0cb7a0105a4d253b5c0a383725ee2a406734f00f0b44389729395ff554c7a9",
        sha256="efaeff65f80641b60864470e6f255aa69453406ef5717eec8c6681748f3a61f3",
    ),
    layouts=(("train_val2018", "train_val2018"),),
    imbalance_factor=500,
    natural=True,
    annotations=("train2018.json", "val2018.json"),
)

PLACES_LT = OfficialSplit(
    naming="places",
    train=ListFacts(
        file="Places_LT_train.txt",
        lines=62_500,
        largest=4980,
        smallest=5,
        groups=(131, 163, 71),
        counts_sha256="6bcb74c72e15b2e41c23bc4bbe8db4e487328c46cfb5bf834c6ee9d3c912badc",
        sha256="726c4871dcbf07ce2f857703bfe32e9a83ffbf52d704239f6d95c4f4f4c247f7",
    ),
    val=ListFacts(
        file="Places_LT_val.txt",
        lines=7300,
        largest=20,
        smallest=20,
        groups=(0, 365, 0),
        counts_sha256="bd130e6f122fd51e2d5d47281431bfc394c2446b6229bb0c67101a4ee123a9d2",
        sha256="719e3cf3766c09134ea28f56f1036c78def511ac1ed2c2532a6beef78f2439ba",
    ),
    test=ListFacts(
        file="Places_LT_test.txt",
        lines=36_500,
        largest=100,
        smallest=100,
        groups=(0, 365, 0),
        counts_sha256="4cdc74d5a326c0981586819fb0803cd410c71f2c3254e12d6aa36405520a3849",
        sha256="44eee8441c8098c59195465abede425721bc35525d75209f9433b161a6eb37bc",
    ),
    layouts=(
        ("train", "val"),
        ("data_256", "val_256"),
        ("data_large", "val_large"),
        ("data_large_standard", "val_large"),
        ("places365_standard/train", "places365_standard/val"),
    ),
    imbalance_factor=996,
)
