import warnings

import numpy as np
from PIL import Image

from workbench.reporting import figures


def draw(path, name):
    with figures.open_figure(4, 1) as (figure, axes):
        axes.axis("off")
        axes.text(0, 0.5, name)
        figures.save_figure(figure, path, "title")
    return np.asarray(Image.open(path).convert("L"))


def test_class_names_are_drawn_as_they_are(tmp_path):
    one_dollar, two = draw(tmp_path / "a.png", "$x_1 & co"), draw(tmp_path / "b.png", "$x_1 & co$")
    assert (one_dollar < 128).sum() < (two < 128).sum()  # a sign more, no formula


def test_a_script_without_a_font_is_no_chatter(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(tmp_path / "a.png", "\u82b1 \U0001f33c")
