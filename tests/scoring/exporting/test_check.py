"""What counts as agreement, the random images, and ratios of times."""

from __future__ import annotations

import pytest
import torch

from glmc_zoo.errors import UserError
from glmc_zoo.scoring.exporting import check
from glmc_zoo.scoring.exporting.check import Agreement, random_batches, time_ratio


def test_agreement_is_counted_over_batches() -> None:
    agreement = Agreement()
    agreement.count(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]), torch.tensor([[0.3, 0.5, 0.2], [0.1, 0.1, 0.8]]))
    agreement.count(torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.45, 0.35, 0.2]]))
    assert (agreement.images, agreement.equal, agreement.top1_agreement) == (3, 2, 2 / 3)
    assert agreement.max_difference == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("probabilities", "sentence"),
    [
        (
            [[0.6 + 2e-4, 0.4]],
            "in the class of 0 of 1 image, and in probabilities by up to 0.0002, where less than",
        ),
        ([[0.4, 0.6]], "in the class of 1 of 1 image"),
        ([[float("nan"), 0.4]], "probabilities by up to inf"),
    ],
)
def test_other_answers_are_refused(probabilities: list[list[float]], sentence: str) -> None:
    agreement = Agreement()
    agreement.count(torch.tensor([[0.6, 0.4]]), torch.tensor(probabilities))
    with pytest.raises(UserError, match=f"^The exported file differs from m: .*{sentence}"):
        agreement.check("m")


def test_close_answers_pass_and_another_shape_does_not() -> None:
    agreement = Agreement()
    agreement.count(torch.tensor([[0.6, 0.4]]), torch.tensor([[0.60005, 0.39995]]))
    agreement.check("m")
    with pytest.raises(UserError, match=r"shape \(1, 3\) instead of \(1, 2\)"):
        agreement.count(torch.zeros(1, 2), torch.zeros(1, 3))


def test_random_images_are_the_same_in_each_call() -> None:
    first, second = list(random_batches((3, 20, 24))), list(random_batches((3, 20, 24)))
    assert [tuple(batch.shape) for batch in first] == [(count, 3, 20, 24) for count in (1, 3, 16)]
    assert all(torch.equal(one, other) and one.dtype == torch.uint8 for one, other in zip(first, second, strict=True))
    noise, spots = (image.float().diff(dim=-1).abs().mean() for image in first[1][:2])
    assert noise > 2 * spots


def test_times_are_taken_in_turn(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """The median of the rounds, two of warm-up left out; the seconds that were asked for end it."""
    monkeypatch.setattr(check, "_ROUNDS", (3, 50))
    turns: list[str] = []

    def run(name: str, seconds: list[float]) -> check.Run:
        def call(images: torch.Tensor) -> torch.Tensor:
            turns.append(name)
            clock.append(clock[-1] + seconds.pop(0))
            return images

        return call

    ratio = time_ratio(run("torch", [9, 9, 1, 1, 1]), run("file", [9, 9, 0.5, 3, 0.25]), torch.zeros(1))
    assert ratio == 0.5 and turns == [*["torch"] * 2, *["file"] * 2, *["torch", "file"] * 3]
