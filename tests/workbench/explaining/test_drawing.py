import pytest

from workbench.explaining.drawing import shorten_class_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("lily_of_the_valley", "lily of the valley"),
        ("a_very_long_class_name", "a very long class…"),
        ("Donaudampfschifffahrt", "Donaudampfschifff…"),
    ],
)
def test_a_class_name_is_cut_to_what_fits_above_a_photo(name, shown):
    assert shorten_class_name(name) == shown
