import shlex

import numpy as np
import pytest
from PIL import Image

from cnn_scratch.train import main
from workbench.errors import UserError
from workbench.files import read_csv
from workbench.reporting.figure_metadata import read_words
from workbench.training.lr_finder import find_steepest_fall


def test_the_suggestion_is_where_the_loss_falls_fastest_before_it_explodes():
    rates = np.geomspace(1e-6, 1, 200)
    loss = 2 - 1.5 / (1 + np.exp(-3 * np.log(rates / 1e-3))) + 30 * np.clip(rates - 0.1, 0, None)
    assert find_steepest_fall(rates, loss) == pytest.approx(1e-3, rel=0.1)
    with pytest.raises(UserError, match="--lr-find: the loss fell at no learning rate"):
        find_steepest_fall(rates, np.linspace(1, 2, 200))


def test_rates_are_tried_and_one_is_suggested_with_its_command(red_and_blue, workdir, capsys):
    arguments = ["--data", str(red_and_blue), "--image-size", "32", "--num-filters", "16", "--no-batch-norm"]
    main([*arguments, "--lr-find"])
    folder = workdir / "runs" / "cnn-red_and_blue-32px-lr-find"
    rows = read_csv(folder / "lr_find.csv")
    rates, losses = ([float(row[name]) for row in rows] for name in ("learning_rate", "loss"))
    assert rates == sorted(rates)
    assert len(rows) > 100
    assert min(losses) < 0.5 * losses[0]
    assert Image.open(folder / "lr_find.png").width > 400
    title, caption = read_words(folder / "lr_find.png")
    assert "learning rate of" in title
    assert f"{len(rows)} training steps" in caption
    assert {path.name for path in folder.iterdir()} == {"lr_find.csv", "lr_find.png"}
    command = shlex.split(capsys.readouterr().out.strip().splitlines()[-1].partition("python -m cnn_scratch.train")[2])
    assert command[:-2] == ["--data", str(red_and_blue), "--image-size", "32", "--num-filters", "16", *command[6:-2]]
    assert 1e-5 < float(command[-1]) < 0.1
    main([*command, "--epochs", "1", "--name", "with-it"])
    assert (workdir / "runs" / "with-it" / "model.keras").exists()
