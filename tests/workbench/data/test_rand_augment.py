"""The operations of RandAugment, compared with Pillow's, and how they are drawn."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from workbench.data.augmentation import Augmentation, augment, draw_changes
from workbench.data.rand_augment import OPERATIONS, apply_operations, apply_rand_augment, draw_distortions

FACTOR = 1 + 0.9 * 0.5  # of brightness, contrast, colour and sharpness at half of the strength


def equalize(image):
    """Equalize each channel without Pillow's rounding, which is coarse for small images."""
    below = np.stack([np.searchsorted(np.sort(one.ravel()), one, "right") for one in np.moveaxis(image, -1, 0)], -1)
    lowest = below.min(axis=(0, 1))
    return (below - lowest) * 255 / (image[..., 0].size - lowest)


PILLOW = {
    "identity": lambda image: image,
    "autocontrast": ImageOps.autocontrast,
    "equalize": lambda image: equalize(np.asarray(image)),
    "solarize": lambda image: ImageOps.solarize(image, 128),
    "posterize": lambda image: ImageOps.posterize(image, 6),
    "brightness": lambda image: ImageEnhance.Brightness(image).enhance(FACTOR),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(FACTOR),
    "colour": lambda image: ImageEnhance.Color(image).enhance(FACTOR),
    "sharpness": lambda image: ImageEnhance.Sharpness(image).enhance(FACTOR),
}


@pytest.fixture(scope="module")
def image():
    """A photo of a soft gradient with some noise, 41 px, that does not reach 0 or 255."""
    rows, columns = np.mgrid[0:41, 0:41]
    channels = [60 + 3 * rows, 90 + 2 * columns, 180 - rows - columns]
    noise = np.random.default_rng(0).integers(-12, 13, (41, 41, 3))
    return (np.stack(channels, axis=-1) + noise).astype(np.uint8)


@pytest.fixture(scope="module")
def changed(image):
    """Operation -> the image changed by it at half of the strength; all in one batch."""
    batch = tf.cast(np.stack([image] * len(OPERATIONS)), tf.float32)
    results = apply_operations(batch, tf.range(len(OPERATIONS)), tf.fill([len(OPERATIONS)], 0.5)).numpy()
    assert results.min() >= 0
    assert results.max() <= 255
    return dict(zip(OPERATIONS, results, strict=True))


@pytest.mark.parametrize("name", PILLOW)
def test_colours_change_as_in_pillow(image, changed, name):
    expected = np.asarray(PILLOW[name](Image.fromarray(image))).astype(np.float32)
    inner = (slice(1, -1), slice(1, -1))  # Pillow does not sharpen the edge
    assert np.abs(changed[name] - expected)[inner].mean() < 1.0
    assert name == "identity" or np.abs(expected - image).mean() > 1


def test_images_are_moved_sheared_and_turned_around_their_centre(image, changed):
    moved = round(0.45 * 41 * 0.5, 3)  # 9.225 pixels: between two columns
    left = (1 - moved % 1) * image[:, 9:-1].astype(float) + moved % 1 * image[:, 10:]
    np.testing.assert_allclose(changed["translate_x"][:, : 41 - 10], left, atol=0.1)
    np.testing.assert_allclose(changed["translate_x"][:, -9:], 128, atol=1e-3)
    np.testing.assert_allclose(changed["translate_y"][-9:], 128, atol=1e-3)
    np.testing.assert_allclose(changed["shear_x"][20], image[20], atol=0.1)
    np.testing.assert_allclose(changed["shear_y"][:, 20], image[:, 20], atol=0.1)
    np.testing.assert_allclose(changed["rotate"][20, 20], image[20, 20], atol=0.1)
    for name in ("shear_x", "shear_y", "rotate"):
        assert np.abs(changed[name] - image).mean() > 1


def test_the_key_decides_what_happens_to_each_image(image):
    batch = np.stack([image] * 8)
    first, again = (
        apply_rand_augment(tf.cast(batch, tf.float32), 9.0, draw_distortions([1, 2], 8)).numpy() for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)
    assert len({one.tobytes() for one in first}) > 4
    how = Augmentation(rand_augment=9.0, jitter=0.0, shift=0.1)
    strong, weak = (
        augment(batch, draw_changes([1, 2], 8, how), how) for how in (how, Augmentation(jitter=0.0, shift=0.1))
    )
    assert strong.dtype == tf.uint8
    assert (strong.numpy() != weak.numpy()).mean() > 0.3
