import keras
import numpy as np

from workbench.explaining.neighbours import compute_features, find_neighbours


def test_the_nearest_photos_have_the_same_features():
    """A network whose features are the mean colours finds the photos of the nearest colour, in order."""
    pixels = keras.Input((4, 4, 3), dtype="float32")
    pooled = keras.layers.GlobalAveragePooling2D()(pixels)
    network = keras.Model(pixels, keras.layers.Dense(5)(pooled))
    colours = np.array([[250, 0, 0], [0, 250, 0], [200, 60, 0], [0, 0, 0]], np.uint8)
    images = np.broadcast_to(colours[:, None, None, :], (4, 4, 4, 3))
    features = compute_features(network, images)
    assert features.shape == (4, 3)
    assert np.allclose(np.linalg.norm(features[:3], axis=1), 1)
    nearest = find_neighbours(features, features[0], 3)
    assert [near.row for near in nearest] == [0, 2, 1]
    assert np.isclose(nearest[0].similarity, 1)
    assert np.isclose(nearest[1].similarity, 200 / np.hypot(200, 60))


def test_a_classifier_of_maps_has_features_too():
    """Where the last layer with weights is a convolution, its whole input is the feature."""
    pixels = keras.Input((4, 4, 3), dtype="float32")
    network = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 1)(pixels)))
    assert compute_features(network, np.zeros((2, 4, 4, 3), np.uint8)).shape == (2, 48)
