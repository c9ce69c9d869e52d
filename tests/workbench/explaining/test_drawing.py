import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from workbench.explaining.drawing import shorten_class_name
from workbench.explaining.explainer import Explainer


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


@pytest.mark.parametrize(
    ("preprocess", "red"), [(keras.applications.vgg16.preprocess_input, 2), (layers.Rescaling(1 / 255), 0)]
)
def test_a_filter_of_red_is_drawn_in_red(preprocess, red, tmp_path):
    image = keras.Input((16, 16, 3), dtype="uint8")
    first = layers.Conv2D(1, 3, activation="relu")
    x = first(layers.ZeroPadding2D()(preprocess(keras.ops.cast(image, "float32"))))
    model = keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))
    kernel = np.zeros((3, 3, 3, 1), np.float32)
    kernel[:, :, red] = 1
    first.set_weights([kernel, np.zeros(1)])
    figure = Image.open(Explainer(model, ["one", "other"], tmp_path).draw_filters()).convert("RGB")
    colours = {colour for _, colour in figure.getcolors(figure.width * figure.height)}
    assert (255, 127, 127) in colours
    assert (127, 127, 255) not in colours
