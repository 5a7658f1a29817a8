"""Features of the training images from a frozen network, computed once for several views and stored on disk."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from glmc_zoo.data import ImageSplit
from glmc_zoo.data.feeding.datasets import EvalDataset
from glmc_zoo.data.feeding.loaders import batch_loader
from glmc_zoo.data.feeding.transforms import Images
from glmc_zoo.data.fingerprint import ordered_digest
from glmc_zoo.disk import disk_errors
from glmc_zoo.files import partial_name
from glmc_zoo.machine.processes import local_batches, on_main_process
from glmc_zoo.options.model import TuneOptions
from glmc_zoo.scoring.model import Classifier
from glmc_zoo.scoring.preprocessing import Preprocessing
from glmc_zoo.screen import say, show_progress
from glmc_zoo.text import counted
from glmc_zoo.training.adapters import encoder_tensors

FEATURES = "features"
"""Name of the folder of features in a run folder."""
_PART_IMAGES = 1024
_MARGIN = 1.25  # side of the image that corners are cut from, over the side of a view
# The views in their order, each as the index of its crop and whether it is mirrored. Crop 0 is the evaluation's.
_VIEWS = ((0, False), (0, True), (1, False), (4, True), (2, False), (3, True), (5, False))


class FeatureViews:
    """Cuts the crops of an image from which its views are made. Nothing is random.

    Args:
        data_config: timm's configuration of the evaluation.
        views: Number of views, from 1 to 7, in this order: as in the evaluation, the same mirrored, then the four
            corners and the centre of a larger image.
    """

    def __init__(self, data_config: dict[str, Any], views: int) -> None:
        self.views = _VIEWS[:views]
        self._eval_preprocessing = Preprocessing(data_config)
        self._side = data_config["input_size"][-1]
        self._large_side = round(self._side * _MARGIN)
        large_config = data_config | {"input_size": (3, self._large_side, self._large_side), "crop_pct": 1.0}
        self._large_preprocessing = Preprocessing(large_config) if any(crop for crop, _ in self.views) else None

    def __call__(self, images: Images) -> Tensor:
        """The crops of a batch, uint8 (B, crops, 3, S, S); only the evaluation's crop where the views need no other."""
        eval_crop = self._eval_preprocessing(images)
        if self._large_preprocessing is None:
            return eval_crop[:, None]
        pixels, side, offset = self._large_preprocessing(images), self._side, self._large_side - self._side
        corners = [(0, 0), (0, offset), (offset, 0), (offset, offset), (offset // 2, offset // 2)]
        crops = [pixels[..., top : top + side, left : left + side] for top, left in corners]
        return torch.stack([eval_crop, *crops], dim=1)


class FeatureParts:
    """Features on disk, in files of about a thousand images each. A file is complete or absent.

    Args:
        folder: The folder. Features of other images, weights, sizes or views are in other subfolders of it.
        key: Digest of everything that the features depend on; see `feature_key`.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder / key[:16], key

    def read(self, images: int, views: int) -> tuple[Tensor, Tensor | None]:
        """Read the stored features of a split.

        A file that is damaged, or that does not fit ``images`` and ``views``, is ignored. The caller computes those
        images again.

        Args:
            images: Number of images of the split.
            views: Number of views of each image.

        Returns:
            Positions in the split of the n stored images, int64 (n,), in the order of the files; and their features,
            float32 (views, n, D), with D features of each image. Without a usable file: no position, and ``None``.
        """
        positions, features = list[Tensor](), list[Tensor]()
        is_stored = torch.zeros(images, dtype=torch.bool)
        for file in sorted(self.folder.glob("part-*.safetensors")):
            part = self._read_part(file, images, views) if file.is_file() else None
            if part is None or is_stored[part[0]].any() or (features and part[1].shape[2] != features[0].shape[2]):
                continue
            is_stored[part[0]] = True
            positions.append(part[0])
            features.append(part[1])
        if not positions:
            return torch.empty(0, dtype=torch.int64), None
        return torch.cat(positions), torch.cat(features, dim=1)

    def _read_part(self, file: Path, images: int, views: int) -> tuple[Tensor, Tensor] | None:
        try:
            with safe_open(file, framework="pt") as part:
                if (part.metadata() or {}).get("key") != self.key:
                    return None
                positions, features = part.get_tensor("positions"), part.get_tensor("features")
        except (OSError, SafetensorError):
            return None
        if positions.ndim != 1 or positions.dtype != torch.int64 or len(positions) != len(positions.unique()):
            return None
        if not ((positions >= 0) & (positions < images)).all():
            return None
        if features.ndim != 3 or features.dtype != torch.float32 or features.shape[:2] != (views, len(positions)):
            return None
        return (positions, features) if features.isfinite().all() else None

    def write(self, positions: Tensor, features: Tensor) -> None:
        """Write the features (views, n, D) of the images at these positions as a file, named by its first image.

        Raises:
            UserError: The disk is full or read-only.
        """
        file = self.folder / f"part-{int(positions[0]):09d}.safetensors"
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = partial_name(file)
            save_file({"positions": positions, "features": features.contiguous()}, partial, metadata={"key": self.key})
            partial.replace(file)


def feature_folder(tune: TuneOptions, run_folder: Path) -> Path:
    """Folder of the features: ``feature_cache``, else a folder in the run folder that the finished run removes."""
    return run_folder / FEATURES if tune.feature_cache is None else Path(tune.feature_cache)


def feature_key(classifier: Classifier, split: ImageSplit, views: int, precision: str) -> str:
    """SHA-256 of everything that features depend on: images and their order, encoder, its input, views, precision."""
    network: Any = classifier.network
    weights = hashlib.sha256()
    for name, tensor in encoder_tensors(network).items():
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    content = {
        "architecture": network.default_cfg.get("architecture"),
        "encoder": weights.hexdigest(),
        "images": ordered_digest(split),
        "input": {name: str(value) for name, value in sorted(classifier.data_config.items())},
        "views": views,
        "precision": precision,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@torch.inference_mode()
def compute_features(
    classifier: Classifier,
    split: ImageSplit,
    parts: FeatureParts,
    accelerator: Accelerator,
    *,
    views: int,
    batch_size: int,
    workers: int,
) -> Tensor | None:
    """Features of every image of a split, float32 (views, N, D), on the CPU of the main process; ``None`` elsewhere.

    Features in ``parts`` are read. The processes share the other images, and write their features to ``parts``.

    Args:
        classifier: The network, whose encoder gives the features, and its preprocessing.
        split: The images.
        parts: Features on disk.
        accelerator: The accelerator of the run.
        views: Number of views of each image; see `FeatureViews`.
        batch_size: Images in a batch.
        workers: Processes that load images.

    Raises:
        UserError: An image cannot be read, or the disk is full or read-only.
    """
    stored: list[Any] = [torch.empty(0, dtype=torch.int64), None]
    if accelerator.is_main_process:
        stored = list(parts.read(len(split), views))
    stored_positions = on_main_process(accelerator, lambda: stored[0])
    missing = torch.ones(len(split), dtype=torch.bool)
    missing[stored_positions] = False
    missing_positions = missing.nonzero()[:, 0]
    process_positions = missing_positions[accelerator.process_index :: accelerator.num_processes].tolist()
    transform = FeatureViews(classifier.data_config, views)
    loader = batch_loader(EvalDataset(split, transform), process_positions, batch_size, workers)
    shown = accelerator.is_main_process and len(missing_positions) > 0
    stored_note = f" ({len(stored_positions):,} are stored)" if len(stored_positions) else ""
    views_text = counted(views, "view")
    say(f"computing the features of {counted(len(split), 'image')}{stored_note}, {views_text} each", main_process=shown)
    computed = []
    with show_progress(total=len(split), initial=len(stored_positions), desc="features", main_process=shown) as update:
        for positions, features in _join_batches(_batches(classifier, loader, transform, accelerator, update)):
            parts.write(positions, features)
            computed.append((positions, features))
    gathered = gather_object(computed)
    if not accelerator.is_main_process:
        return None
    if stored[1] is not None:
        gathered.append(tuple(stored))
    positions, features = torch.cat([part[0] for part in gathered]), torch.cat([part[1] for part in gathered], dim=1)
    if len(positions) != len(split) or len(positions.unique()) != len(split):
        raise RuntimeError(f"Features of {len(positions)} images were computed for a split of {len(split)}.")
    return features[:, positions.argsort()]


def _batches(
    classifier: Classifier,
    loader: Any,
    transform: FeatureViews,
    accelerator: Accelerator,
    update: Callable[[int], None],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions (B,) and features (views, B, D) of each batch of this process."""
    network: Any = classifier.network.eval()
    for crops, _, positions in local_batches(loader, accelerator):
        crops, features = crops.to(accelerator.device, non_blocking=True), []
        for crop, mirrored in transform.views:
            pixels = classifier.normalize(crops[:, crop])
            with accelerator.autocast():
                maps = network.forward_features(pixels.flip(-1) if mirrored else pixels)
                features.append(network.forward_head(maps, pre_logits=True).float().cpu())
        update(len(positions) * accelerator.num_processes)
        yield positions, torch.stack(features)


def _join_batches(batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches, joined into parts of about a thousand images."""
    pending: list[tuple[Tensor, Tensor]] = []
    images = 0
    for positions, features in batches:
        pending.append((positions, features))
        images += len(positions)
        if images >= _PART_IMAGES:
            yield torch.cat([part[0] for part in pending]), torch.cat([part[1] for part in pending], dim=1)
            pending, images = [], 0
    if pending:
        yield torch.cat([part[0] for part in pending]), torch.cat([part[1] for part in pending], dim=1)
