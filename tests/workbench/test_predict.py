import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from workbench import cli
from workbench.commands import PREDICT, PredictConfig
from workbench.data.decoding import decode, decode_items
from workbench.data.image_formats import MISSING_DECODERS, READABLE
from workbench.errors import UserError
from workbench.evaluation.litert_model import LiteRTModel
from workbench.evaluation.model_copy import open_copy
from workbench.evaluation.probabilities import softmax
from workbench.finished_run import open_run
from workbench.predict import predict

NAMES = ["daisy", "iris", "rose"]


def run_command(*words):
    """Run the command line, and return its exit code."""
    return cli.main(PREDICT, words)


@pytest.fixture
def pictures(photos, tmp_path):
    """Seven photos, two of them in a folder below, among files that are no images."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for number in range(5):
        shutil.copy(photos / "test" / "iris" / f"iris-0{number}.png", folder / f"{number}.png")
    for name in ("daisy", "rose"):
        shutil.copy(photos / "test" / name / f"{name}-00.png", folder / "below" / f"{name}.png")
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def printed(capsys):
    """Return (printed JSON objects, lines on stderr)."""
    shown = capsys.readouterr()
    return [json.loads(line) for line in shown.out.splitlines()], shown.err.splitlines()


def expected(run, *paths, resize="crop"):
    """Return the saved model's probabilities for some files."""
    model = keras.saving.load_model(run / "model.keras")
    images = np.stack([decode(path.read_bytes(), 32, resize) for path in paths])
    return softmax(np.asarray(model(images, training=False)))


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_each_image_of_a_folder_once_and_in_order(trained_once, pictures, capsys, batch_size):
    config = PredictConfig(str(trained_once), [str(pictures)], top_k=2, json=True, batch_size=batch_size)
    assert predict(config) == (7, 0)
    found, _ = printed(capsys)
    files = [*(pictures / f"{number}.png" for number in range(5)), *sorted((pictures / "below").iterdir())]
    assert [row["image"] for row in found] == sorted(map(str, files))
    for row, probabilities in zip(found, expected(trained_once, *map(Path, sorted(map(str, files)))), strict=True):
        best = np.argsort(-probabilities)[:2]
        assert [top["class"] for top in row["predictions"]] == [NAMES[label] for label in best]
        assert [top["probability"] for top in row["predictions"]] == pytest.approx(
            probabilities[best].tolist(), abs=1e-5
        )


def test_the_table_has_one_line_per_image(trained_once, pictures, capsys):
    predict(PredictConfig(str(trained_once), [str(pictures / "0.png"), str(pictures / "below")]))
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert len(lines) == 3
    assert lines[0].endswith(str(pictures / "0.png"))
    probabilities = np.sort(expected(trained_once, pictures / "0.png")[0])[::-1]
    assert [part for part in lines[0].split() if "%" in part] == [f"{value:.1%}" for value in probabilities]
    assert shown.err.startswith("3 images in ")


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
def test_images_are_resized_as_in_training(tiny_run, configure, tmp_path, capsys, resize):
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, :32], wide[:, 32:64], wide[:, 64:] = (200, 190, 60), (110, 60, 190), (190, 60, 80)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    configure(tiny_run, resize=resize)
    predict(PredictConfig(str(tiny_run), [str(tmp_path / "wide.png")], json=True))
    ((row,), _) = printed(capsys)
    values = {top["class"]: top["probability"] for top in row["predictions"]}
    probabilities = expected(tiny_run, tmp_path / "wide.png", resize=resize)[0]
    assert [values[name] for name in NAMES] == pytest.approx(probabilities.tolist(), abs=1e-5)


def test_unreadable_files_are_reported_and_skipped(trained_once, pictures, capsys):
    (pictures / "1.png").write_bytes((pictures / "1.png").read_bytes()[:200])
    (pictures / "3b.jpg").write_text("no photo")
    named = [str(pictures), str(pictures / "notes.txt"), str(pictures / "missing.png")]
    with pytest.raises(SystemExit) as left:
        run_command(str(trained_once), *named, "--json")
    found, errors = printed(capsys)
    assert left.value.code == 1
    assert len(found) == 6
    assert errors.pop(0).startswith("device: ")
    reported = [line.split(": ")[0] for line in errors[:-1]]
    unreadable = [pictures / "1.png", pictures / "3b.jpg", pictures / "notes.txt", pictures / "missing.png"]
    assert reported == [f"cannot read {path}" for path in unreadable]
    assert "No such file" in errors[3]
    assert errors[-1].endswith("; 4 could not be read")


def test_photos_of_phones_and_scanners(trained_once, pictures, capsys):
    photo = Image.open(pictures / "0.png")
    for name, kind in (("a.heic", "HEIF"), ("b.avif", "AVIF"), ("c.tif", "TIFF")):
        photo.save(pictures / "below" / name, kind, quality=100)
    assert predict(PredictConfig(str(trained_once), [str(pictures / "below")], json=True)) == (5, 0)
    found, _ = printed(capsys)
    want = expected(trained_once, pictures / "0.png")[0]
    for row in found[:3]:
        values = {top["class"]: top["probability"] for top in row["predictions"]}
        assert [values[name] for name in NAMES] == pytest.approx(want.tolist(), abs=0.05)


def test_one_line_counts_the_heic_images_that_need_pillow_heif(trained_once, pictures, capsys, monkeypatch):
    monkeypatch.setitem(MISSING_DECODERS, "HEIF", "pillow-heif: pip install pillow-heif")
    for number in range(2):
        Image.open(pictures / "0.png").save(pictures / f"photo{number}.heic", "HEIF")
    assert predict(PredictConfig(str(trained_once), [str(pictures)], json=True)) == (7, 2)
    errors = printed(capsys)[1]
    assert errors[0] == "2 HEIC images need pillow-heif: pip install pillow-heif"
    assert errors[1].startswith("7 images in ")
    assert len(errors) == 2


def test_links_to_folders_are_not_followed_and_links_to_images_are(trained_once, pictures, capsys):
    (pictures / "below" / "up").symlink_to(pictures)
    (pictures / "linked.png").symlink_to(pictures / "0.png")
    assert predict(PredictConfig(str(trained_once), [str(pictures)], json=True)) == (8, 0)
    found, errors = printed(capsys)
    assert str(pictures / "linked.png") in [row["image"] for row in found]
    (line,) = [line for line in errors if "not followed" in line]
    assert line.startswith(f"{pictures / 'below' / 'up'} is a link to a folder")


def test_a_linked_folder_that_is_named_is_read(trained_once, pictures, tmp_path, capsys):
    (tmp_path / "link").symlink_to(pictures)
    assert predict(PredictConfig(str(trained_once), [str(tmp_path / "link")], json=True)) == (7, 0)
    assert not [line for line in printed(capsys)[1] if "not followed" in line]


def test_a_folder_without_images_is_an_error(trained_once, pictures, capsys):
    (pictures / "empty").mkdir()
    (pictures / "texts").mkdir()
    (pictures / "texts" / "notes.txt").write_text("not an image")
    for folder in ("empty", "texts"):
        assert run_command(str(trained_once), str(pictures / folder)) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        device, error = shown.err.splitlines()
        assert device.startswith("device: ")
        assert error.startswith(f"error: {pictures / folder}: holds no images ({READABLE}); give")


def test_a_folder_without_images_among_others_is_reported(trained_once, pictures, capsys):
    (pictures / "empty").mkdir()
    predict(PredictConfig(str(trained_once), [str(pictures / "empty"), str(pictures / "0.png")], json=True))
    found, errors = printed(capsys)
    assert len(found) == 1
    assert errors == [f"{pictures / 'empty'}: holds no images"]


def test_many_files_stream(trained_once, pictures, capsys, monkeypatch):
    for number in range(300):
        shutil.copy(pictures / "0.png", pictures / f"copy-{number:03d}.png")
    shown, counts = [], []
    monkeypatch.setattr("builtins.print", lambda *args, **kwargs: shown.append(args[0]))

    def counting(items, size, resize, decode_items=decode_items):
        for count, result in enumerate(decode_items(items, size, resize), 1):
            counts.append((count, len(shown)))
            yield result

    monkeypatch.setitem(predict.__globals__, "decode_items", counting)
    assert predict(PredictConfig(str(trained_once), [str(pictures)], batch_size=10)) == (307, 0)
    assert len(shown) == 308
    assert all(decoded - printed <= 10 for decoded, printed in counts)  # never more than a batch is held back


@pytest.mark.parametrize(
    ("config", "says"),
    [({"top_k": 0}, "--top-k"), ({"batch_size": 0}, "--batch-size"), ({"run": "none"}, "none: no such run folder")],
)
def test_refusals(trained_once, config, says):
    with pytest.raises(UserError, match=says):
        predict(PredictConfig(**{"run": str(trained_once), "images": ["x.png"], **config}))


def test_the_run_alone_is_not_enough(trained_once, capsys):
    assert run_command(str(trained_once)) == 2
    assert "IMAGE is missing; usage: python -m workbench.predict RUN IMAGE ..." in capsys.readouterr().err


def test_a_copy_of_a_small_model_predicts_without_tensorflow(trained_once, pictures, tmp_path, capsys):
    words = [str(trained_once), str(pictures / "0.png"), str(pictures / "1.png"), "--json"]
    assert not run_command(*words)
    rows, _ = printed(capsys)
    (copy,) = (tmp_path / "cache" / "image-workbench" / "predict").iterdir()
    code = (
        "import sys; from workbench import cli; from workbench.commands import PREDICT; "
        f"cli.main(PREDICT, {words}); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, has_loaded = done.stdout.splitlines()
    assert has_loaded == "False"
    for row, line in zip(rows, lines, strict=True):
        again = json.loads(line)
        assert (again["image"], len(again["predictions"])) == (row["image"], 3)
        for found, expected in zip(again["predictions"], row["predictions"], strict=True):
            assert found["class"] == expected["class"]
            assert found["probability"] == pytest.approx(expected["probability"], abs=1e-5)

    run, images = open_run(trained_once), [str(pictures / "0.png")]
    assert open_copy(run, [str(pictures)]) is None  # a folder may hold many images
    assert open_copy(run, images * 33) is None
    copy.write_bytes(b"damaged")
    assert open_copy(run, images) is None
    assert not copy.exists()


def test_no_copy_is_kept_where_none_can_be(tiny_run, pictures, tmp_path, monkeypatch, capsys):
    words = [str(tiny_run), str(pictures / "0.png"), "--json"]
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(blocked))
        assert not run_command(*words)
    with monkeypatch.context() as patch:
        patch.setattr("workbench.exporting.litert._export", refuse)
        assert not run_command(*words)
    (mark,) = (tmp_path / "cache" / "image-workbench" / "predict").iterdir()
    assert not run_command(*words)
    assert list(mark.parent.iterdir()) == [mark], "it is not tried again"
    assert len(printed(capsys)[0]) == 3
    mark.unlink()
    assert not run_command(*words)
    (copy,) = mark.parent.iterdir()
    assert LiteRTModel(copy).output_shape == (None, 3)


def refuse(*arguments):
    raise ValueError("LiteRT has no such operation")
