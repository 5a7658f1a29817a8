"""What to label next: images that the model is unsure of and that may be of rare classes, no cluster of them alone.

An image scores its uncertainty times its rarity. In its cluster of similar images the best one keeps its score, the
second best has a quarter of it, the third a ninth, and so on; the ranking is by what is left.

Sources: the margin between the two most probable classes is that of Joshi, Porikli and Papanikolopoulos, Multi-Class
Active Learning for Image Classification, CVPR 2009; k-means for diversity that of Zhdanov, Diverse Mini-Batch Active
Learning, arXiv 1901.05954, 2019. The rarity and the division by the square of the place are choices of this package.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor, nn

from glmc_zoo.errors import UserError
from glmc_zoo.hub import ModelSource
from glmc_zoo.machine.processes import on_main_process
from glmc_zoo.scoring.model import Classifier
from glmc_zoo.scoring.prediction_files import Prediction

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_MAX_CLUSTERS = 500
_MAX_STEPS = 30


class FeatureRecorder(nn.Module):
    """A timm model that also collects the input of its classifier, float32 (B, D) for each batch, on the CPU."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.features: list[Tensor] = []

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, C)."""
        network: Any = self.network
        maps = network.forward_features(pixels)
        self.features.append(network.forward_head(maps, pre_logits=True).flatten(1).float().cpu())
        logits: Tensor = network.forward_head(maps)
        return logits


class LabellingRanking:
    """The ranking of the images of one prediction.

    Args:
        classifier: The model that classifies the images.
        source: The source of the model; its results have the number of training images of each class.

    Raises:
        UserError: The training images of each class are not known.
    """

    def __init__(self, classifier: Classifier, source: ModelSource) -> None:
        counts = None if source.results is None else source.results.class_counts
        if counts is None:
            raise UserError(
                f"rank_for_labelling=True needs the training images of each class, which {source.name} does not tell: "
                "give a model that glmc_zoo trained, or leave it out."
            )
        self.weights = rarity_weights(counts)
        self._recorder = FeatureRecorder(classifier.network)
        self.classifier = replace(classifier, network=self._recorder)
        """The same classifier, which also collects features."""
        self._positions: list[int] = []

    def record(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches of logits, positions and problems; the positions are those of the features."""
        self._positions, self._recorder.features = [], []
        for batch in batches:
            self._positions += batch[1]
            yield batch

    def measure(self, probabilities: Floats) -> list[tuple[float, float]]:
        """Uncertainty and rarity of each image, from its probabilities ``(B, C)``."""
        uncertainty, rarity = uncertainty_and_rarity(probabilities, self.weights)
        return list(zip(uncertainty.tolist(), rarity.tolist(), strict=True))

    def rank(self, predictions: Sequence[Prediction], accelerator: Accelerator) -> list[Prediction]:
        """The predictions of all processes by rank, the same in each; files that cannot be read come last.

        Args:
            predictions: In the order of the images, with uncertainty and rarity.
            accelerator: The accelerator of the run.
        """
        gathered = gather_object([(self._positions, self._recorder.features)])
        readable = [prediction for prediction in predictions if prediction.problem is None]
        if not readable:
            return list(predictions)

        def cluster_and_order() -> tuple[Integers, Integers]:
            positions = np.concatenate([np.asarray(process_positions, np.int64) for process_positions, _ in gathered])
            features = torch.cat([batch for _, process_features in gathered for batch in process_features])
            features = features[torch.from_numpy(positions.argsort())]
            clusters = similar_images(features.numpy())
            scores = np.array([(prediction.uncertainty or 0.0) * (prediction.rarity or 0.0) for prediction in readable])
            return labelling_order(scores, clusters), clusters

        order, clusters = on_main_process(accelerator, cluster_and_order)
        numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters[order].tolist()), 1)}
        ranked = [
            replace(readable[index], rank=number, cluster=numbers[int(clusters[index])])
            for number, index in enumerate(order.tolist(), 1)
        ]
        return ranked + [prediction for prediction in predictions if prediction.problem is not None]


def rarity_weights(class_counts: Sequence[int]) -> Floats:
    """Weight of each class, ``(C,)``: 1 for the rarest, else inversely proportional to its training images."""
    counts = np.maximum(np.asarray(class_counts, np.float64), 1)
    weights: Floats = counts.min() / counts
    return weights


def uncertainty_and_rarity(probabilities: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Uncertainty and rarity of images, ``(N,)`` each, from 0 to 1.

    The uncertainty is 1 less the margin, by which the most probable class is more probable than the next. The rarity is
    the weight of the image's class, in expectation.

    Args:
        probabilities: float64 ``(N, C)``.
        weights: By `rarity_weights`, ``(C,)``.
    """
    if probabilities.shape[1] == 1:
        return np.zeros(len(probabilities)), probabilities @ weights
    top_two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return 1 - (top_two[:, 1] - top_two[:, 0]), probabilities @ weights


def similar_images(features: NDArray[np.float32]) -> Integers:
    """Cluster of each image, ``(N,)``, by k-means with about the square root of N clusters.

    Args:
        features: float32 ``(N, D)``; only their direction counts.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    features = np.nan_to_num(features)
    features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    num_clusters = min(math.ceil(math.sqrt(len(features))), _MAX_CLUSTERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different images than clusters
        clusters = KMeans(num_clusters, n_init=1, max_iter=_MAX_STEPS, random_state=0).fit_predict(features)
    return np.asarray(clusters, np.int64)


def labelling_order(scores: Floats, clusters: Integers) -> Integers:
    """Positions of the images by rank, ``(N,)``: by their score, divided by the square of their place in their cluster.

    Places count from 1, the highest score first. Among equals the earlier image comes first.
    """
    cluster_ranks = np.empty(len(scores))
    by_cluster = np.lexsort((-scores, clusters))
    _, starts, sizes = np.unique(clusters[by_cluster], return_index=True, return_counts=True)
    cluster_ranks[by_cluster] = np.arange(len(scores)) - np.repeat(starts, sizes) + 1
    return np.argsort(-scores / cluster_ranks**2, kind="stable")
