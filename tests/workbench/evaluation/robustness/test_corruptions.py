import numpy as np
import pytest

from workbench.data.decoding import PAD_COLOUR
from workbench.evaluation.robustness.corruptions import CORRUPTIONS, corrupt

BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}


def draw_photo(size=48):
    """Return a smooth coloured image with an edge, uint8 (size, size, 3)."""
    y, x = np.mgrid[:size, :size] / size
    image = np.stack([255 * x, 255 * y, 128 + 100 * (x > 0.5)], axis=-1)
    return image.astype(np.uint8)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_stronger_change_moves_the_image_further(name):
    photo, corruption = draw_photo(), BY_NAME[name]
    before = photo.copy()
    changed = [corrupt(photo, corruption, strength, 0, 7) for strength in corruption.strengths]
    assert all(image.shape == photo.shape and image.dtype == np.uint8 for image in changed)
    distances = [np.abs(image - photo.astype(float)).mean() for image in changed]
    assert distances == sorted(distances)
    assert distances[0] > 0
    np.testing.assert_array_equal(photo, before)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_same_seed_and_row_give_the_same_image(name):
    photo, corruption = draw_photo(), BY_NAME[name]
    strong = corruption.strengths[-1]
    first, again = (corrupt(photo, corruption, strong, 3, 7) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    others = [corrupt(photo, corruption, strong, *where) for where in ((3, 8), (4, 7))]
    assert all((other != first).any() == (name == "noise") for other in others)


def test_what_the_changes_do():
    grey = np.full((50, 50, 3), 100, np.uint8)
    np.testing.assert_array_equal(corrupt(grey, BY_NAME["darkness"], 60, 0, 0), 60)
    np.testing.assert_array_equal(corrupt(grey, BY_NAME["blur"], 4, 0, 0), 100)
    noise = corrupt(grey, BY_NAME["noise"], 10, 0, 0).astype(float) - 100
    assert noise.std() == pytest.approx(25.5, rel=0.05)
    assert abs(noise.mean()) < 1
    small = corrupt(grey, BY_NAME["scale"], 40, 0, 0)
    assert (small[15:35, 15:35] == 100).all()
    assert (small[:15] == PAD_COLOUR).all()
    assert [BY_NAME["darkness"].describe(60), BY_NAME["JPEG"].describe(5)] == [
        "60 % of the brightness",
        "JPEG of quality 5",
    ]
