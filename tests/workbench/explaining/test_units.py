import numpy as np

from workbench.explaining.network import build_float_model, select_outputs
from workbench.explaining.units import find_most_wrong, find_patch, select_distinctive_units, survey_units


def test_a_survey_knows_where_each_channel_is_strongest(five_blocks, photos):
    network = build_float_model(five_blocks())
    seen = survey_units(network, "block2_activation", photos)
    maps = np.asarray(select_outputs(network, "block2_activation")(np.float32(photos)))
    np.testing.assert_allclose(seen.strongest, maps.max(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(seen.positions, maps.reshape(4, -1, 4).argmax(axis=1))
    np.testing.assert_allclose(seen.logits, network(np.float32(photos)), rtol=1e-5, atol=1e-6)
    assert seen.rank_photos(1, 2)[0] == maps[..., 1].max(axis=(1, 2)).argmax()


def test_distinctive_units_are_selective_varied_and_not_silent():
    strongest = np.zeros((20, 5))
    strongest[:2, 0] = 9  # photos 0 and 1 alone
    strongest[:2, 1] = 9, 8  # the same photos
    strongest[5:15, 2] = 9  # half of the photos
    strongest[3:5, 3] = 4  # photos of its own
    chosen = select_distinctive_units(strongest, 10, photos=2)
    assert sorted(chosen) == [0, 1, 2, 3]  # not 4, which is silent
    assert {*chosen[:3]} in ({0, 2, 3}, {1, 2, 3})
    assert len(select_distinctive_units(strongest, 2, photos=2)) == 2


def test_a_patch_holds_the_gradient_and_stays_inside():
    gradient = np.zeros((32, 32, 3))
    gradient[0:5, 27:32] = -1
    top, left, side = find_patch(gradient)
    assert (top, left + side) == (0, 32)
    assert 5 <= side <= 9
    assert find_patch(np.zeros((32, 32, 3))) == (0, 0, 32)


def test_the_most_wrong_first():
    logits = np.array([[5.0, 0.0], [0.0, 5.0], [0.0, 1.0], [900.0, 0.0]])
    np.testing.assert_array_equal(find_most_wrong(logits, np.array([0, 0, 0, 0]), 3), [1, 2, 0])
