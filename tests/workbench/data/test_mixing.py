"""Erasing, MixUp and CutMix: what a pixel shows and what its label says agree."""

import numpy as np
import pytest

from workbench.data.mixing import draw_boxes, draw_mixing, erase_boxes, mix_images

COUNT, SIZE = 300, 24


@pytest.fixture
def batch():
    """Each image of one grey value, which its target says: image i is i % 5 times 50."""
    labels = np.random.default_rng(0).integers(0, 5, COUNT)
    images = np.broadcast_to((50 * labels).astype(np.uint8)[:, None, None, None], (COUNT, SIZE, SIZE, 3))
    return images, np.eye(5, dtype=np.float32)[labels]


def erase(images, probability, key):
    return erase_boxes(images, probability, draw_boxes(key, len(images))).numpy()


def mix(images, targets, key, mixup, cutmix):
    draws = draw_mixing(key, len(images), mixup=mixup, cutmix=cutmix)
    return [part.numpy() for part in mix_images(images, targets, draws, mixup=mixup, cutmix=cutmix)]


@pytest.mark.parametrize("alphas", [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_the_target_says_how_much_of_each_image_is_seen(batch, alphas):
    mixup, cutmix = alphas
    images, targets = mix(*batch, [1, 2], mixup, cutmix)
    assert images.dtype == np.uint8
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(images.mean((1, 2, 3)), targets @ (50 * np.arange(5)), atol=0.6)
    flat = np.ptp(images, axis=(1, 2, 3)) == 0
    whole = targets.max(1) > 0.999
    if not cutmix:
        assert flat.all()
    if not mixup:
        neighbours = np.roll(batch[0], 1, axis=0)
        assert ((images == batch[0]) | (images == neighbours)).all()
    if mixup and cutmix:
        assert 0.2 < flat[~whole].mean() < 0.8, "some images are blended and some are pasted into"
    assert (~whole).mean() > 0.2


def test_alpha_says_how_even_a_mixture_is(batch):
    shares = []
    for alpha in (0.1, 1.0, 10.0):
        _, targets = mix(*batch, [1, 2], alpha, 0.0)
        shares.append(targets.max(1).mean())
    assert shares[0] > shares[1] > shares[2]


def test_erasing_fills_a_box_of_some_images():
    images = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
    lost = (erase(images, 0.4, [1, 2]) != images).any(-1)
    assert 0.3 < lost.any((1, 2)).mean() < 0.5
    for image in lost[lost.any((1, 2))]:
        rows, columns = image.any(1), image.any(0)
        assert (image == rows[:, None] & columns[None]).mean() > 0.97  # a box, but for pixels of the same colour
    assert lost.mean((1, 2)).max() < 0.4
    assert not (erase(images, 0.0, [1, 2]) != images).any()


def test_the_same_key_gives_the_same_batch(batch):
    images = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)

    def drawn(key):
        boxed = erase(images, 0.5, key)
        return [boxed, *mix(boxed, batch[1], key, 0.4, 1.0)]

    for one, same, other in zip(drawn([1, 2]), drawn([1, 2]), drawn([1, 3]), strict=True):
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()
