"""Facts about the official lists of the large data sets: names, sizes, digests, and the usual folder layouts."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from glmc_zoo.text import counted

Naming = Literal["imagenet", "inat", "places"]
"""How a data set names its images; lists are matched by these names, see `image_keys`."""


@dataclass(frozen=True)
class ListFacts:
    """One official list: its file name as published, its number of images, and those of its classes."""

    file: str
    lines: int
    largest: int
    smallest: int
    groups: tuple[int, int, int]
    """Classes with more than 100, with 20 to 100, and with fewer than 20 images."""
    counts_sha256: str
    """`counts_digest` of the class counts."""
    sha256: str | None = None
    """SHA-256 of the unpacked file, where it is known."""

    def has_counts(self, counts: Iterable[int]) -> bool:
        """Whether class counts, in the order of the labels, are those of the list, class by class."""
        return counts_digest(counts) == self.counts_sha256

    def in_words(self) -> str:
        """The number of images and those of the classes."""
        text = f"{counted(self.lines, 'image')} of {counted(sum(self.groups), 'class')}"
        if self.largest == self.smallest:
            return f"{text}, {self.largest} of each"
        return f"{text}, {self.largest} to {self.smallest} of each, many/medium/few {'/'.join(map(str, self.groups))}"


@dataclass(frozen=True)
class OfficialSplit:
    """The official lists of a data set, and what replaces a missing list."""

    naming: Naming
    train: ListFacts
    test: ListFacts
    val: ListFacts | None
    """Held-out training images to choose settings on; ``None`` where no such list was published."""
    layouts: tuple[tuple[str, str], ...]
    """Folders of the training and of the validation images of the original, in the usual layouts."""
    imbalance_factor: float
    """Imbalance factor of the Pareto curve that replaces a missing training list."""
    natural: bool = False
    """Whether the training list is the whole training split, long-tailed by nature, so that no curve is needed."""
    annotations: tuple[str, str] | None = None
    """Annotation files of the original with the content of the training and the test list."""


def counts_digest(counts: Iterable[int]) -> str:
    """SHA-256 of class counts, written one per line in the order of the labels."""
    return hashlib.sha256("".join(f"{count}\n" for count in counts).encode()).hexdigest()


def list_facts(file: str, counts: list[int], sha256: str | None = None) -> ListFacts:
    """The facts of a list with these class counts, in the order of its labels."""
    many, few = sum(count > 100 for count in counts), sum(count < 20 for count in counts)
    groups = (many, len(counts) - many - few, few)
    return ListFacts(file, sum(counts), max(counts), min(counts), groups, counts_digest(counts), sha256)


IMAGENET_LT = OfficialSplit(
    naming="imagenet",
    train=ListFacts(
        "ImageNet_LT_train.txt", 115_846, 1280, 5, (385, 479, 136),
        "264bf997dc8030998be446727caae6b209239e9a97052d97bc69bce7f8ffb838",
        "efdbdad4f050237c310b2f354cf95a8b1d7c8d57a63c4ea4bb6bf2bcb012f37f",
    ),
    val=list_facts(
        "ImageNet_LT_val.txt", 1000 * [20], "9af7ba688acf9532ff5845a8fb14a1e97fdc4c51ac48bc72c08ea9c3f7ff142e"
    ),
    test=list_facts(
        "ImageNet_LT_test.txt", 1000 * [50], "d1590191cf8a71fada7b1aaedaa2d139a2aea93ff2f1b755319d0bd8dbaa55d5"
    ),
    layouts=(
        ("train", "val"),
        ("ILSVRC/Data/CLS-LOC/train", "ILSVRC/Data/CLS-LOC/val"),
        ("Data/CLS-LOC/train", "Data/CLS-LOC/val"),
    ),
    imbalance_factor=256,
)  # fmt: skip

INAT18 = OfficialSplit(
    naming="inat",
    train=ListFacts(
        "iNaturalist18_train.txt", 437_513, 1000, 2, (842, 4076, 3224),
        "e0ffaa98acd4acdce9d6a57edc84606157efc32fb2b19b21fd570bf316ccabf8",
    ),
    val=None,
    test=list_facts(
        "iNaturalist18_val.txt", 8142 * [3], "efaeff65f80641b60864470e6f255aa69453406ef5717eec8c6681748f3a61f3"
    ),
    layouts=(("train_val2018", "train_val2018"),),
    imbalance_factor=500,
    natural=True,
    annotations=("train2018.json", "val2018.json"),
)  # fmt: skip

PLACES_LT = OfficialSplit(
    naming="places",
    train=ListFacts(
        "Places_LT_train.txt", 62_500, 4980, 5, (131, 163, 71),
        "6bcb74c72e15b2e41c23bc4bbe8db4e487328c46cfb5bf834c6ee9d3c912badc",
        "726c4871dcbf07ce2f857703bfe32e9a83ffbf52d704239f6d95c4f4f4c247f7",
    ),
    val=list_facts(
        "Places_LT_val.txt", 365 * [20], "719e3cf3766c09134ea28f56f1036c78def511ac1ed2c2532a6beef78f2439ba"
    ),
    test=list_facts(
        "Places_LT_test.txt", 365 * [100], "44eee8441c8098c59195465abede425721bc35525d75209f9433b161a6eb37bc"
    ),
    layouts=(
        ("train", "val"),
        ("data_256", "val_256"),
        ("data_large", "val_large"),
        ("data_large_standard", "val_large"),
        ("places365_standard/train", "places365_standard/val"),
    ),
    imbalance_factor=996,
)  # fmt: skip
