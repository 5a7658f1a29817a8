from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from glmc_zoo.data.photo_augment import augment_photos
from glmc_zoo.data.photo_draws import draw_views
from glmc_zoo.data.transforms import BatchCrop, EvalTransform, Normalize, build_transforms
from glmc_zoo.errors import UserError


def batch(count: int = 8, side: int = 32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def photographs(count: int = 3) -> list[Image.Image]:
    sizes = [(90, 60), (50, 120), (64, 64)]
    return [
        Image.fromarray(np.random.RandomState(index).randint(0, 256, (*sizes[index % 3], 3)).astype(np.uint8))
        for index in range(count)
    ]


def test_normalize_is_the_formula() -> None:
    images = batch()
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.1])
    expected = (images.numpy().astype(np.float64) / 255 - mean[:, None, None]) / std[:, None, None]
    got = Normalize(mean.tolist(), std.tolist())(images)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_normalize_equals_the_golden_numbers(shared: Path, name: str) -> None:
    from glmc_zoo.data.catalogue import list_data

    golden = np.load(shared / "reference" / "glmc_step.npz")
    expected = golden[f"org_raw_normalised_{name}"]
    entry = list_data()[f"{name}_lt"]
    raw = torch.from_numpy(golden["org_raw_uint8"][: len(expected)]).permute(0, 3, 1, 2)
    np.testing.assert_allclose(Normalize(entry.mean, entry.std)(raw).numpy(), expected, atol=1e-5)


def test_normalize_has_no_state_to_store_and_takes_bytes_only() -> None:
    normalize = Normalize((0.5,) * 3, (0.5,) * 3)
    assert normalize.state_dict() == {}
    with pytest.raises(TypeError, match="uint8"):
        normalize(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize("padding", [0, 4])
def test_batch_crop_equals_torchvision_image_by_image(padding: int) -> None:
    images = batch(16)
    crop = BatchCrop(32, padding)
    draw = crop.draw(16, torch.Generator().manual_seed(3))
    got = crop.apply(images, draw)
    for index, image in enumerate(images):
        expected = functional.crop(
            functional.pad(image, [padding]), int(draw.top[index]), int(draw.left[index]), 32, 32
        )
        expected = functional.horizontal_flip(expected) if draw.flip[index] else expected
        assert torch.equal(got[index], expected)
    assert 0 < draw.flip.sum() < 16


def test_batch_crop_resizes_antialiased_first() -> None:
    images = batch(4, side=48)
    crop = BatchCrop(16, 2, interpolation="bilinear")
    draw = crop.draw(4, torch.Generator().manual_seed(0))
    small = functional.resize(images, [16, 16], interpolation=functional.InterpolationMode.BILINEAR, antialias=True)
    assert torch.equal(crop.apply(images, draw), crop.apply(small, draw))
    assert crop(images).shape == (4, 3, 16, 16)


def test_draws_cover_every_offset_evenly() -> None:
    draw = BatchCrop(32, 4).draw(90_000, torch.Generator().manual_seed(0))
    for part in (draw.top, draw.left):
        counts = torch.bincount(part, minlength=9)
        # Chi-square with 8 degrees of freedom: above 26 once in a thousand.
        assert len(counts) == 9
        assert float(((counts - 10_000) ** 2 / 10_000).sum()) < 26
    assert abs(draw.flip.float().mean() - 0.5) < 0.01
    assert abs(np.corrcoef(draw.top, draw.left)[0, 1]) < 0.02


def test_batch_crop_leaves_its_input_and_the_global_generator_alone() -> None:
    images = batch()
    before, state = images.clone(), torch.get_rng_state()
    out = BatchCrop(32, 4)(images, torch.Generator().manual_seed(1))
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(
        out, BatchCrop(32, 4)(images.contiguous(memory_format=torch.channels_last), torch.Generator().manual_seed(1))
    )


@pytest.mark.parametrize("augment", ["crop_flip", "shift", "large"])
@pytest.mark.parametrize("decoded", [True, False])
def test_every_kind_gives_uint8_views(augment: str, decoded: bool) -> None:
    train, evaluate = build_transforms(augment, 32)
    images = batch(3, side=40) if decoded else photographs(3)
    state = torch.get_rng_state()
    views, draws = train(images, [5, 6, 7], 2)
    assert [view.shape for view in views] == [(3, 3, 32, 32)] * 2
    assert all(view.dtype == torch.uint8 and view.is_contiguous() for view in views)
    assert not torch.equal(*views)
    assert all(torch.equal(*pair) for pair in zip(views, train(images, [5, 6, 7], 2).images, strict=True))
    assert not torch.equal(views[0], train(images, [8, 9, 10], 1).images[0])
    assert (draws is not None) == (augment == "large")
    assert draws is None or [len(draw.colour) for draw in draws] == [3, 3]
    scored = evaluate(images)
    assert scored.shape == (3, 3, 32, 32)
    assert scored.dtype == torch.uint8
    assert torch.equal(torch.get_rng_state(), state)


def test_shift_never_mirrors() -> None:
    train, _ = build_transforms("shift", 16)
    assert not train.crop.draw(1000).flip.any()
    assert train.crop.padding == 2
    assert build_transforms("crop_flip", 32)[0].crop.padding == 4


def test_large_depends_on_the_images_own_stream_alone() -> None:
    train, _ = build_transforms("large", 32)
    images = photographs(3)
    whole = train(images, [11, 12, 13], 2)
    alone = train(images[1:2], [12], 2)
    assert whole.draws is not None and alone.draws is not None
    for view in range(2):
        assert torch.equal(whole.images[view][1], alone.images[view][0])
        assert torch.equal(whole.draws[view].colour[1], alone.draws[view].colour[0])
        assert (1 in whole.draws[view].flipped) == bool(len(alone.draws[view].flipped))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_crop_is_pils_of_the_same_box(interpolation: str) -> None:
    # PIL is what the published pipeline resizes with. Pixels beyond the box must have no part in either.
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (37, 50, 3)).astype(np.uint8))
    image = image.resize((500, 375), Image.Resampling.BICUBIC)
    train, _ = build_transforms("large", 224, interpolation=interpolation)
    for stream in range(10):
        (draw,) = draw_views(stream, 1, 375, 500)
        top, left, height, width = draw.box
        theirs = image.crop((left, top, left + width, top + height)).resize(
            (224, 224), Image.Resampling[interpolation.upper()]
        )
        got = train([image], [stream], 1).images[0][0].permute(1, 2, 0).numpy().astype(int)
        apart = np.abs(got - np.asarray(theirs))
        assert apart.max() <= 2  # of 255: both round between their two passes
        assert apart.mean() < 0.1


def test_the_device_finishes_what_the_draws_say() -> None:
    train, _ = build_transforms("large", 32)
    views = train(photographs(3), [1, 2, 3], 2)
    assert views.draws is not None
    normalize = Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.1))
    for image, draws in zip(views.images, views.draws, strict=True):
        expected = augment_photos(image, draws, normalize.mean, normalize.std)
        assert torch.equal(normalize(image, draws), expected)
        assert not torch.allclose(normalize(image), expected, atol=0.1)


def test_large_evaluation_is_resize_256_crop_224() -> None:
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (300, 400, 3)).astype(np.uint8))
    _, evaluate = build_transforms("large", 224)
    assert evaluate.resize == 256
    tensor = functional.pil_to_tensor(image)
    resized = functional.resize(tensor, [256], interpolation=functional.InterpolationMode.BICUBIC, antialias=True)
    expected = functional.center_crop(resized, [224, 224])
    assert torch.equal(evaluate([image])[0], expected)


def test_evaluation_of_the_right_size_changes_nothing() -> None:
    _, evaluate = build_transforms("crop_flip", 32)
    assert torch.equal(evaluate(batch()), batch())
    assert torch.equal(evaluate([Image.fromarray(batch()[0].permute(1, 2, 0).numpy())])[0], batch()[0])


def test_evaluation_keeps_the_aspect() -> None:
    wide = torch.zeros(1, 3, 10, 30, dtype=torch.uint8)
    wide[..., 10:20] = 200
    assert (EvalTransform(20, 20, "nearest")(wide) == 200).all()


@pytest.mark.parametrize("augment", ["crop_flip", "large"])
def test_transforms_travel_to_workers(augment: str) -> None:
    train, _ = build_transforms(augment, 16)
    copy = pickle.loads(pickle.dumps(train))
    assert torch.equal(copy(batch(2), [1, 2], 1).images[0], train(batch(2), [1, 2], 1).images[0])


@pytest.mark.parametrize(
    ("arguments", "options", "parts"),
    [
        (("huge", 32), {}, ["'huge'", "crop_flip, shift, large"]),
        (("large", 4), {}, ["4", "8 or more"]),
        (("large", 32), {"crop_pct": 0}, ["0", "up to 1"]),
        (("shift", 32), {"interpolation": "lanczos"}, ["'lanczos'", "bicubic, bilinear, nearest"]),
    ],
)
def test_bad_options(arguments: tuple, options: dict, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        build_transforms(*arguments, **options)
    assert all(part in str(caught.value) for part in parts)
    assert str(caught.value) == caught.value.sentence


@pytest.mark.parametrize("size", [64, 96, 160, 224, 256])
def test_large_evaluation_sees_what_timm_feeds_an_exported_model(size: int) -> None:
    import timm

    image = Image.fromarray(np.random.RandomState(size).randint(0, 256, (300, 400, 3)).astype(np.uint8))
    # Soft edges, as in photographs: on noise the two antialiasing filters differ by more than rounding.
    image = image.resize((50, 40)).resize((400, 300), Image.Resampling.BICUBIC)
    theirs = timm.data.create_transform(
        (3, size, size), interpolation="bicubic", crop_pct=0.875, mean=(0, 0, 0), std=(1, 1, 1)
    )(image)
    ours = build_transforms("large", size, crop_pct=0.875)[1]([image])[0]
    assert (ours / 255 - theirs).abs().max() < 0.02
