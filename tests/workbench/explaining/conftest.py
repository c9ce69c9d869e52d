"""Small networks whose explanations are known."""

import keras
import numpy as np
import pytest
from keras import layers

SIZE, SIDE = 32, 8  # pixels of the images and of the planted patch


@pytest.fixture
def five_blocks():
    """Makes an untrained five-block network; batch norm has moments of its own, so that it does something."""

    def make(activation="relu", pool_first=False, size=32, filters=4, classes=3):
        keras.utils.set_random_seed(1)
        variances = keras.initializers.RandomUniform(0.1, 0.5)
        image = keras.Input((size, size, 3), dtype="uint8", name="image")
        x = layers.Normalization(mean=(120, 110, 100), variance=(3000, 3000, 3000))(image)
        for block in range(1, 6):
            x = layers.Conv2D(filters, 3, padding="same", name=f"block{block}_conv")(x)
            moments = {"moving_mean_initializer": "random_normal", "moving_variance_initializer": variances}
            x = layers.BatchNormalization(**moments, name=f"block{block}_bn")(x)
            both = [layers.Activation(activation, name=f"block{block}_activation")]
            both.insert(0 if pool_first else 1, layers.MaxPooling2D(2, name=f"block{block}_pool"))
            for layer in both:
                x = layer(x)
        x = layers.Dense(8, activation=activation, name="dense")(layers.Flatten()(x))
        return keras.Model(image, layers.Dense(classes, name="logits")(x))

    return make


@pytest.fixture
def photos():
    """Four uint8 images of noise, 32 px."""
    return np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="package")
def planted():
    """(model, images, masks): a network trained to find a red patch among green and blue ones.

    Each of the images contains all three patches on grey noise; class 1 has the red one, and `masks` are its pixels.
    """
    rng = np.random.default_rng(0)
    images, masks = zip(*(_with_patches(rng, red=number % 2) for number in range(512)), strict=True)
    images, labels = np.stack(images), np.arange(512) % 2
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    x = layers.Rescaling(1 / 127.5, -1)(image)
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(16, 3, padding="same")(x)
    x = layers.Activation("relu", name="last_maps")(x)
    model = keras.Model(image, layers.Dense(2)(layers.GlobalMaxPooling2D()(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    model.fit(images, labels, epochs=6, verbose=0)
    found = model.evaluate(images, labels, verbose=0)[1]
    assert found > 0.98
    return model, images[1::2][:16], np.stack(masks)[1::2][:16]


def _with_patches(rng, red):
    """An image of grey noise with a green, a blue and perhaps a red patch, and where the red one is."""
    pixels = rng.normal(110, 12, (SIZE, SIZE, 1)).repeat(3, axis=2)
    mask = np.zeros((SIZE, SIZE), bool)
    quarters = rng.permutation(4)[:3]
    for colour, quarter in zip(((30, 200, 30), (30, 30, 200), (220, 30, 30))[: 2 + red], quarters, strict=False):
        top, left = SIZE // 2 * np.array(divmod(quarter, 2)) + rng.integers(0, SIZE // 2 - SIDE + 1, 2)
        pixels[top : top + SIDE, left : left + SIDE] = colour
        mask[top : top + SIDE, left : left + SIDE] = colour[0] == 220
    return pixels.clip(0, 255).astype(np.uint8), mask


def share_inside(heat, masks):
    """The share of heat (n, height, width), each value at least 0, that lies in the masks, over all images."""
    return float((heat * masks).sum() / heat.sum())
