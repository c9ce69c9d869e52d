"""Training images that grow during a training."""

import numpy as np
import pytest

from cnn_scratch.config import TrainConfig
from cnn_scratch.train import main
from tests.models import build_compiled_fast_model
from workbench.config import TrainingConfig, build, replace
from workbench.data.dataset import load_dataset
from workbench.training.batches import make_training_batches
from workbench.training.loop import fit
from workbench.training.progressive_resizing import list_stages
from workbench.training.training_model import get_saved_model


@pytest.fixture
def config(red_and_blue, workdir):
    return build(
        TrainConfig,
        data=str(red_and_blue),
        image_size=64,
        start_size=32,
        num_filters=16,
        dense_units=16,
        head="gap",
        epochs=4,
        batch_size=8,
        ema=0.8,
    )


@pytest.mark.parametrize(
    ("start", "size", "epochs", "expected"),
    [
        (0, 128, 10, [(10, 128)]),
        (64, 128, 44, [(14, 64), (29, 96), (44, 128)]),
        (96, 224, 8, [(2, 96), (4, 128), (6, 192), (8, 224)]),
        (32, 100, 1, [(0, 32), (0, 64), (1, 100)]),
        (64, 64, 3, [(3, 64)]),
        (128, 64, 3, [(3, 64)]),
    ],
)
def test_sizes_grow_in_stages_of_as_many_epochs(start, size, epochs, expected):
    assert list_stages(TrainingConfig(start_size=start, epochs=epochs), size) == expected


@pytest.mark.parametrize("data_aug", [True, False])
def test_the_batches_of_a_stage_are_smaller(config, data_aug):
    config = replace(config, data_aug=data_aug)
    dataset = load_dataset(config.data, 0)
    small, _ = next(iter(make_training_batches(dataset, config.training, image_size=32).make_on_host()))
    large, labels = next(iter(make_training_batches(dataset, config.training).make_on_host()))
    assert (small.shape, large.shape) == ((8, 32, 32, 3), (8, 64, 64, 3))
    if not data_aug:  # one colour an image, up to its noise
        np.testing.assert_allclose(np.mean(small, (1, 2)), np.mean(large, (1, 2)), atol=1)
    assert labels.shape == (8,)


def test_a_training_continued_in_a_later_stage_equals_an_uninterrupted_one(config):
    dataset = load_dataset(config.data, 0)
    model = build_compiled_fast_model(config, fuse=False)
    variables = [*model.variables, *model.optimizer.variables, *get_saved_model(model).variables]
    values = [variable.numpy() for variable in variables]
    whole = fit(model, dataset, config.training).history
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)  # as it was; the traced graphs are used again
    history = []
    part = fit(model, dataset, config.training, history=history, listeners=[lambda log: log["epoch"] == 3])
    assert len(history) == 3
    fit(model, dataset, config.training, history=history, best_weights=part.best_weights)
    for row, other in zip(whole, history, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert row["val_loss"] == pytest.approx(other["val_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--start-size", "32"], "--start-size 32: needs --head gap"),
        (["--start-size", "16", "--head", "gap"], "--start-size 16: must be 0, or at least 32"),
    ],
)
def test_images_that_cannot_grow_are_one_line(words, says, red_and_blue, workdir, capsys):
    assert main(["--data", str(red_and_blue), "--image-size", "64", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {says}")
    assert error.count("\n") == 1
