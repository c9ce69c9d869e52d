import keras
import numpy as np
from keras import layers

from tests.workbench.explaining.conftest import share_inside
from workbench.explaining.gradcam import choose_cam_layer, grad_cam
from workbench.explaining.network import build_float_model, find_stage_ends, select_outputs


def test_before_pooling_and_a_linear_head_it_is_cam(photos):
    """There a_k = w_k / positions, so that Grad-CAM is the class activation map (Zhou et al. 2016)."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3), dtype="uint8")
    x = layers.Conv2D(6, 3, strides=4, activation="relu", name="maps")(layers.Rescaling(1 / 255)(image))
    network = build_float_model(keras.Model(image, layers.Dense(3, name="logits")(layers.GlobalAveragePooling2D()(x))))
    classes = np.array([0, 1, 2, 1])
    maps = np.asarray(select_outputs(network, "maps")(np.float32(photos)))
    kernel = np.asarray(network.get_layer("logits").kernel)
    expected = np.maximum(np.einsum("nhwk,kn->nhw", maps, kernel[:, classes]), 0) / maps[0, ..., 0].size
    assert expected.any()
    np.testing.assert_allclose(grad_cam(network, "maps", photos, classes), expected, rtol=1e-4, atol=1e-7)


def test_a_planted_patch_is_found(planted):
    model, images, masks = planted
    heat = grad_cam(build_float_model(model), "last_maps", images, np.ones(len(images), np.int64))
    assert heat.shape == (16, 8, 8)
    assert share_inside(heat.repeat(4, axis=1).repeat(4, axis=2), masks) > 0.4  # of 1/16 of the area


def test_the_deepest_maps_that_tell_a_place(five_blocks):
    network = build_float_model(five_blocks(size=64))
    assert choose_cam_layer(network, find_stage_ends(network)) == "block5_activation"
    network = build_float_model(five_blocks(size=64, pool_first=True))
    assert choose_cam_layer(network, find_stage_ends(network)) == "block4_activation"
