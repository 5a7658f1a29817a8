"""GLMC on one page: the whole method in plain PyTorch, trained on long-tailed handwritten digits.

    $ python recipes/minimal.py                  # a line for each epoch, then the scores: 17 seconds on one CPU core
    epoch 40/40  loss 0.410  conventional 2.349  rebalanced 2.317  consistency -1.907
    top1 96.3  balanced_accuracy 96.3  medium 98.3  few 94.3

Each step mixes a shuffled batch with partners that favour rare classes, twice: MixUp makes the global view, CutMix the
local one. Training makes both views agree, and moves from a conventional classifier to a re-balanced one.

Source: Du et al., Global and Local Mixture Consistency Cumulative Learning for Long-tailed Visual Recognitions, CVPR
2023, arXiv 2305.08661; comments name its sections. `recipes/train.py --views mixup_cutmix` trains the same weights on
one CPU thread. It takes any images and any timm backbone. Without --views it mixes only if the training is long enough.
"""

import math
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn

from glmc_zoo import load_data  # importing the package also registers resnet20_cifar with timm

# ---------------------------------------------------------------- settings: the preset `tuned`
EPOCHS, SEED, BATCH_SIZE, LR, MOMENTUM, WEIGHT_DECAY = 40, 0, 64, 0.025, 0.9, 5e-4
SIZE, PADDING = 16, 2  # pixels: the 8 x 8 digits are enlarged to 16 x 16, and shifted by up to 2
SAMPLER_POWER = 0.5  # q: partners are drawn with weight n ** -q for a class of n training images; paper: 2
BETA = 1.0  # share of the first image in a mixture: lam ~ Beta(BETA, BETA); paper: 0.5
CUMULATIVE_POWER = 0.5  # the re-balanced loss takes over as (epoch / epochs) ** power; paper: 2
CONSISTENCY_WEIGHT = 1.0  # gamma; paper: 10


# ---------------------------------------------------------------- augmentation: two views of each image
def two_views(images: Tensor, seed: int) -> list[Tensor]:
    """Two random crops of each padded image, one for each view: (B, 3, SIZE, SIZE). Digits are not mirrored."""
    corners = torch.randint(0, 2 * PADDING + 1, (2, 2, len(images)), generator=torch.Generator().manual_seed(seed))
    crops = [[image[:, y : y + SIZE, x : x + SIZE] for image, y, x in zip(images, *yx, strict=True)] for yx in corners]
    return [torch.stack(view) for view in crops]


# ---------------------------------------------------------------- mixing (section 3.2)
def mix(views: list[Tensor], partner_views: list[Tensor], seed: int) -> tuple[Tensor, Tensor, float]:
    """The global view by MixUp, the local view by CutMix, and the share lam. The batch has one lam and one box."""
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=torch.Generator().manual_seed(seed))))
    lam = rng.beta(BETA, BETA)  # by NumPy, because torch's Beta distribution takes no generator
    mixup = (lam * views[0]).add(partner_views[0], alpha=1 - lam)
    half = math.ceil(SIZE * math.sqrt(1 - lam)) // 2
    rows, columns = (slice(max(centre - half, 0), centre + half) for centre in rng.integers(SIZE, size=2))
    cutmix = views[1].clone()
    cutmix[..., rows, columns] = partner_views[1][..., rows, columns]
    return mixup, cutmix, lam  # as in the published results, lam is not corrected where the border clips the box


# ---------------------------------------------------------------- backbone with four heads (section 3.1)
def build_model(classes: int) -> nn.ModuleList:
    """A backbone, whose classifier is the re-balanced one, and three heads that are only needed in training."""
    backbone: Any = timm.create_model("resnet20_cifar", num_classes=classes)
    width = backbone.num_features
    heads = nn.Linear(width, classes), nn.Linear(width, 128), nn.Linear(128, 128)
    for head in heads:
        backbone.init_head(head)  # like the classifier of the backbone: Kaiming-normal weights, biases of zero
    return nn.ModuleList([backbone, *heads])


# ---------------------------------------------------------------- loss (sections 3.2 and 3.3)
def glmc_loss(model: Any, views: tuple[Tensor, Tensor], labels: Tensor, log_prior: Tensor, alpha: Tensor) -> Any:
    """The loss and its three terms, by name. Both views have the same soft labels, (B, C)."""
    backbone, conventional_classifier, projector, predictor = model
    # Batch-norm needs each view by itself; the heads are linear and take both at once.
    features = torch.cat([backbone.forward_head(backbone.forward_features(x), pre_logits=True) for x in views])
    projection = projector(features)
    h, u = projection.chunk(2), predictor(projection).chunk(2)
    logits, balanced_logits = conventional_classifier(features).chunk(2), backbone.fc(features).chunk(2)

    conventional = sum(F.cross_entropy(x, labels) for x in logits)
    # Balanced softmax (Ren et al., NeurIPS 2020) replaces the re-weighted labels of the paper; only training uses it.
    rebalanced = sum(F.cross_entropy(x + log_prior, labels) for x in balanced_logits)
    # Each view predicts the projection of the other; -2 is best. Without detach() both could become constant.
    consistency = -F.cosine_similarity(u[0], h[1].detach()).mean() - F.cosine_similarity(u[1], h[0].detach()).mean()
    loss = alpha * conventional + (1 - alpha) * rebalanced + CONSISTENCY_WEIGHT * consistency
    return {"loss": loss, "conventional": conventional, "rebalanced": rebalanced, "consistency": consistency}


# ---------------------------------------------------------------- scores
@torch.inference_mode()
def score(backbone: nn.Module, data: Any) -> dict[str, float]:
    """Test scores of the backbone with its classifier, the only parts of the model that inference needs."""
    transform = create_transform((3, SIZE, SIZE), mean=data.mean, std=data.std, interpolation="bicubic", crop_pct=1.0)
    images = torch.stack([transform(Image.fromarray(pixels)) for pixels in data.test.pixels])
    counts, labels = torch.tensor(data.class_counts), torch.tensor(data.test.labels)
    correct = (backbone.eval()(images).argmax(1) == labels).double()
    recalls = torch.stack([correct[labels == label].mean() for label in range(len(counts))])
    groups = {"many": counts > 100, "medium": (counts >= 20) & (counts <= 100), "few": counts < 20}
    group_recalls = {name: recalls[classes].mean().item() for name, classes in groups.items() if classes.any()}
    return {"top1": correct.mean().item(), "balanced_accuracy": recalls.mean().item(), **group_recalls}


# ---------------------------------------------------------------- training
def seeds(count: int, *key: int) -> list[int]:
    """Seeds that depend only on ``key``, so that any epoch can be repeated without the epochs before it."""
    return [int(word) for word in np.random.SeedSequence(key).generate_state(count, np.uint64) >> 1]


def train(epochs: int, seed: int) -> tuple[nn.ModuleList, list[dict[str, float]], dict[str, float]]:
    """The trained model, the mean of each loss term in each epoch, and the test scores."""
    data = load_data("digits_lt")
    labels, counts = torch.tensor(data.train.labels), torch.tensor(data.class_counts, dtype=torch.float64)
    images = F.interpolate(torch.tensor(data.train.pixels).permute(0, 3, 1, 2), SIZE, mode="bicubic", antialias=True)
    mean, std = torch.tensor([data.mean, data.std]).view(2, 3, 1, 1)
    images = (F.pad(images, [PADDING] * 4) / 255 - mean) / std  # (N, 3, 20, 20), with a black border
    weights = counts**-SAMPLER_POWER
    # The class frequencies that training sees: the mean of those of the shuffled and of the re-balanced images.
    log_prior = ((counts / counts.sum() + counts * weights / (counts * weights).sum()) / 2).log().float()

    torch.manual_seed(seed)
    model = build_model(len(counts)).to(memory_format=torch.channels_last)  # faster for convolutions
    optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)
    history = []
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 0.5 * LR * (1 + math.cos(math.pi * epoch / epochs))
        alpha = torch.tensor(1 - (epoch / epochs) ** CUMULATIVE_POWER)  # weight of the conventional loss
        order_seed, partner_seed, *view_seeds = seeds(2 + len(images), seed, epoch)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(order_seed))
        generator = torch.Generator().manual_seed(partner_seed)
        partners = torch.multinomial(weights[labels], len(images), replacement=True, generator=generator)
        steps = []
        for batch, (i, j) in enumerate(torch.split(torch.stack((order, partners)), BATCH_SIZE, dim=1)):
            views = two_views(images[i], view_seeds[batch * BATCH_SIZE])
            partner_views = two_views(images[j], view_seeds[batch * BATCH_SIZE] ^ 0x2545F4914F6CDD1D)  # other crops
            mixup, cutmix, lam = mix(views, partner_views, *seeds(1, seed, epoch, batch, 0))  # 0: the first process
            mixed_labels = lam * F.one_hot(labels[i], len(counts)) + (1 - lam) * F.one_hot(labels[j], len(counts))
            terms = glmc_loss(model, (mixup, cutmix), mixed_labels, log_prior, alpha)
            optimizer.zero_grad()
            terms["loss"].backward()
            optimizer.step()
            steps.append({name: term.item() for name, term in terms.items()})
        history.append({name: sum(step[name] for step in steps) / len(steps) for name in terms})
        print(f"epoch {epoch + 1}/{epochs}", *(f"{name} {value:.3f}" for name, value in history[-1].items()), sep="  ")
    scores = score(model[0], data)
    print(*(f"{name} {100 * value:.1f}" for name, value in scores.items()), sep="  ")
    return model, history, scores


if __name__ == "__main__":
    torch.set_num_threads(1)  # more threads are not faster here, and one thread gives the same sums everywhere
    train(EPOCHS, SEED)
