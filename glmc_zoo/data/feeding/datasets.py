"""Torch datasets that make whole batches: augmented pairs for training, and images in order for evaluation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from glmc_zoo.data.feeding.resident import ResidentImages
from glmc_zoo.data.feeding.samplers import SECOND_IMAGE, PairedBatch, PairIndex, SingleBatch
from glmc_zoo.data.feeding.transforms import Images, Views
from glmc_zoo.data.reading.split import ImageSplit
from glmc_zoo.data.streaming import StreamSplit

EvalBatch = tuple[Tensor, Tensor, Tensor]


@dataclass(eq=False)
class TrainDataset(Dataset[PairedBatch | SingleBatch]):
    """Augmented training batches, made a whole batch at a time (``DataLoader`` calls ``__getitems__``)."""

    split: ImageSplit
    transform: Callable[..., Views]
    """Called with images, a seed for each, and the number of views; see `train_transform`."""
    views: int = 2
    """Independent augmentations of each image, all from one decode."""
    resident: ResidentImages | None = None
    """The same images on the device; if given, batches are made there, with the same values."""

    def __len__(self) -> int:
        return len(self.split)

    def sample(self) -> Views:
        """The tensors that one image without a partner adds to a batch; only their size matters."""
        return self.transform(_blank(self.split), [0], self.views)

    def __getitems__(self, indices: Sequence[PairIndex]) -> PairedBatch | SingleBatch:
        """The batch of these samples: a `SingleBatch` with one view and no partners, else a `PairedBatch`."""
        seeds = [index.sample_seed for index in indices]
        samples = [([index.first for index in indices], seeds)]
        if indices[0].second >= 0:
            samples.append(([index.second for index in indices], [seed ^ SECOND_IMAGE for seed in seeds]))
        if self.resident is None:
            batches = [self._augment(*sample) for sample in samples]
        else:
            batches = self.resident.augment(samples, self.views)
        (first, targets), *partners = batches
        if partners:
            ((second, second_targets),) = partners
            return PairedBatch(first.images, targets, second.images, second_targets, first.params, second.params)
        if self.views == 1:
            return SingleBatch(first.images[0], targets, None if first.params is None else first.params[0])
        return PairedBatch(first.images, targets, None, None, first.params)

    def _augment(self, positions: list[int], sample_seeds: list[int]) -> tuple[Views, Tensor]:
        images = _images(self.split, positions)
        return self.transform(images, sample_seeds, self.views), torch.from_numpy(self.split.labels[positions])


@dataclass(eq=False)
class EvalDataset(Dataset[EvalBatch]):
    """Evaluation batches ``(images, targets, positions)``, made a whole batch at a time."""

    split: ImageSplit
    transform: Callable[[Images], Tensor]

    def __len__(self) -> int:
        return len(self.split)

    def sample(self) -> Tensor:
        """What one image adds to a batch; its content means nothing."""
        return self.transform(_blank(self.split))

    def __getitems__(self, indices: Sequence[int]) -> EvalBatch:
        """uint8 images (B, 3, S, S), int64 targets (B,) and int64 positions in the split (B,)."""
        positions = list(indices)
        images = self.transform(_images(self.split, positions))
        return images, torch.from_numpy(self.split.labels[positions]), torch.tensor(positions)


@dataclass(eq=False)
class StreamEvalDataset(IterableDataset[EvalBatch]):
    """The batches of `EvalDataset` from a stream; each worker reads its own share."""

    split: StreamSplit
    transform: Callable[[Images], Tensor]
    batch_size: int

    def sample(self) -> Tensor:
        """What one image adds to a batch; its content means nothing."""
        return self.transform([Image.new("RGB", (8, 8))])

    def __iter__(self) -> Iterator[EvalBatch]:
        worker, share = get_worker_info(), self.split
        if worker is not None:
            share = share.shard(share.rank * worker.num_workers + worker.id, share.world_size * worker.num_workers)
        for images, labels, positions in share.batches(self.batch_size):
            yield self.transform(images), torch.from_numpy(labels), torch.from_numpy(positions)


def _blank(split: ImageSplit) -> Images:
    """One image of the kind that the transform gets."""
    if split.pixels is None:
        return [Image.new("RGB", (8, 8))]
    return torch.zeros((1, 3, *split.pixels.shape[1:3]), dtype=torch.uint8)


def _images(split: ImageSplit, positions: list[int]) -> Images:
    if split.pixels is None:
        return split.images(positions)
    return torch.from_numpy(split.pixels[positions]).permute(0, 3, 1, 2)
