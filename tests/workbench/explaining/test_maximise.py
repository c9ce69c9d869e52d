import numpy as np

from workbench.explaining.maximise import build_ascent_network, maximise_units
from workbench.explaining.units import survey_units


def test_the_images_excite_more_than_any_photo(planted):
    model, images, _ = planted
    network = build_ascent_network(model, "last_maps")
    seen = np.asarray(model.layers[-1].kernel)[:, 1]
    channel = int(np.argmax(seen))
    strongest = survey_units(network, "last_maps", images).strongest.max(axis=0)[[channel]]
    made, values = maximise_units(network, "last_maps", [channel], strongest)
    assert made.shape == (1, 32, 32, 3)
    assert made.dtype == np.uint8
    assert values[0] > strongest[0]
    centre = made[0, 12:20, 12:20].mean(axis=(0, 1))
    assert centre[0] > centre[1:].max()  # it is red


def test_a_unit_that_is_silent_on_grey_is_excited(five_blocks):
    model = five_blocks("relu", size=64)
    bias = model.get_layer("block3_bn").beta
    bias.assign(np.full(bias.shape, -0.5))
    network = build_ascent_network(model, "block3_activation")
    _, values = maximise_units(network, "block3_activation", [0, 1, 2], np.ones(3))
    assert (values > 0).any()


def test_the_seed_fixes_it(five_blocks):
    network = build_ascent_network(five_blocks(), "block1_activation")
    first, again = (maximise_units(network, "block1_activation", [0], np.ones(1), seed=3)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
