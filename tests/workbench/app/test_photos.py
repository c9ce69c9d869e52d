import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.workbench.synthetic import write_run
from workbench.app.images import photos
from workbench.app.images.figures import read_figure
from workbench.app.images.photos import PhotoFinder
from workbench.errors import UserError


def open_jpeg(content):
    with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
        return image.convert("RGB")


def test_a_photo_is_found_by_its_name_in_the_data(red_and_blue):
    finder = PhotoFinder()
    thumbnail = open_jpeg(finder.read_thumbnail(str(red_and_blue), "train/red/000.png", 64))
    assert thumbnail.size == (64, 64)
    assert np.asarray(thumbnail).mean(axis=(0, 1))[0] > 150
    assert open_jpeg(finder.read_thumbnail("digits", "digit-0003", 64)).size == (64, 64)


def test_a_photo_that_came_later_is_found(red_and_blue, monkeypatch):
    finder, data, new = PhotoFinder(), str(red_and_blue), red_and_blue / "train" / "red" / "new.png"
    assert finder.read_thumbnail(data, "train/red/000.png")
    Image.new("RGB", (8, 8)).save(new)
    with pytest.raises(UserError, match="has no photo"):  # the list is not read for each wrong name
        finder.read_thumbnail(data, "train/red/new.png")
    monkeypatch.setattr(photos, "_LISTED_AGAIN", -1.0)
    assert finder.read_thumbnail(data, "train/red/new.png")


@pytest.mark.parametrize(
    "name", ["../secret.png", "train/red/../../../secret.png", "/etc/passwd", "train/red", "", "train/red/\0.png"]
)
def test_a_name_that_is_not_a_photo_of_the_data_reads_nothing(red_and_blue, name):
    Image.new("RGB", (8, 8)).save(red_and_blue.parent / "secret.png")
    with pytest.raises(UserError, match="has no photo"):
        PhotoFinder().read_thumbnail(str(red_and_blue), name)


def test_a_table_that_leads_out_of_its_folder_shows_no_photo_of_elsewhere(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / "data" / f"{name}.png")
    (tmp_path / "data" / "t.csv").write_text("image,label\na.png,x\nb.png,y\n../secret.png,x\n")
    finder, data = PhotoFinder(), str(tmp_path / "data" / "t.csv")
    assert finder.read_thumbnail(data, "a.png")
    for name in ("../secret.png", str(tmp_path / "secret.png")):
        with pytest.raises(UserError, match="has no photo"):
            finder.read_thumbnail(data, name)


def test_a_file_that_is_no_image_is_not_served(red_and_blue):
    (red_and_blue / "train" / "red" / "text.png").write_text("password: 1234")
    with pytest.raises(UserError):
        PhotoFinder().read_thumbnail(str(red_and_blue), "train/red/text.png")


def test_a_link_to_nowhere_is_not_served(red_and_blue):
    (red_and_blue / "train" / "red" / "gone.png").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"train/red/gone\.png: No such file or directory"):
        PhotoFinder().read_thumbnail(str(red_and_blue), "train/red/gone.png")


def test_photos_that_need_tensorflow_are_refused():
    with pytest.raises(UserError, match="not files that can be shown"):
        PhotoFinder().open("tfds:cifar10")


def test_only_png_figures_of_the_run_itself_are_served(tmp_path):
    folder = write_run(tmp_path)
    figures = folder / "figures"
    figures.mkdir()
    Image.new("RGB", (4, 4), "red").save(figures / "gradcam.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (figures / "link.png").symlink_to(tmp_path / "secret.png")
    (figures / "script.png").write_text("<script>alert(1)</script>")
    (figures / "data.json").write_text(json.dumps("secret"))
    with Image.open(io.BytesIO(read_figure(folder, "gradcam.png"))) as image:
        assert image.convert("RGB").getpixel((0, 0)) == (255, 0, 0)
    for name in ("link.png", "script.png", "data.json", "../config.yaml", "none.png", "../figures/gradcam.png"):
        with pytest.raises(UserError):
            read_figure(folder, name)
