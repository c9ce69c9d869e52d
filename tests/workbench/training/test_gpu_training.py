"""Training on a GPU, where the training step makes the batches. No GPU is needed: the same code runs on a processor."""

import pytest

from cnn_scratch.config import TrainConfig
from tests.models import build_compiled_fast_model
from workbench.config import build, replace
from workbench.data import gpu_batches
from workbench.data.dataset import load_dataset
from workbench.devices.nvidia import Gpu
from workbench.training import batches, xla
from workbench.training.loop import fit
from workbench.training.optimizer import compile_model
from workbench.training.training_model import Unfreezing


@pytest.fixture
def config(red_and_blue):
    """The images grow from 32 to 64 px."""
    options = {"image_size": 64, "start_size": 32, "epochs": 2, "batch_size": 8, "num_filters": 4, "head": "gap"}
    return build(TrainConfig, data=str(red_and_blue), data_aug=True, ema=0.5, dropout=0.0, jitter=0.0, **options)


@pytest.fixture
def find_gpu(monkeypatch):
    """Function that lets trainings find a GPU from now on."""

    def find():
        monkeypatch.setattr(gpu_batches, "list_visible_gpus", lambda: [Gpu("0", "a card", 10**9)])
        monkeypatch.setattr(batches, "list_gpus", lambda: ["/device:CPU:0"])

    return find


def train(config, unfreezing=False):
    model = build_compiled_fast_model(config, fuse=False)
    if unfreezing:
        model.unfreezing = Unfreezing([model.layers[-1:], model.layers[:-1]], 1)
    return model, fit(model, load_dataset(config.data, 0), config.training)


def test_a_gpu_trains_as_the_processor_does_also_while_layers_are_unfrozen(config, find_gpu):
    _, expected = train(config, unfreezing=True)
    find_gpu()
    model, result = train(config, unfreezing=True)
    assert len(model._state.compiled_steps) == 2
    for epoch, other in zip(result.history, expected.history, strict=True):
        assert epoch["loss"] == pytest.approx(other["loss"], rel=1e-3)
        assert epoch["val_loss"] == pytest.approx(other["val_loss"], rel=1e-3)


def test_xla_compiles_a_step_of_each_size_once_for_all_trainings(config, find_gpu, monkeypatch):
    find_gpu()
    monkeypatch.setattr(xla, "list_gpus", lambda: ["/device:CPU:0"])
    model, _ = train(config)
    fit(model, load_dataset(config.data, 1), replace(config, seed=1, data_aug=False).training)
    steps = model._state.compiled_steps
    assert [size for size, _ in steps] == [32, 64]
    for step in steps.values():
        assert step.experimental_get_tracing_count() == 1
        assert step._jit_compile


def test_several_steps_at_a_time_change_no_result(config, find_gpu):
    find_gpu()
    config = replace(config, start_size=0)
    model = build_compiled_fast_model(config, fuse=False)
    variables = [*model.variables, *model.optimizer.variables]
    values = [variable.numpy() for variable in variables]
    losses = []
    for at_once in (1, 2):
        compile_model(model, config.training, steps_per_execution=at_once)
        for variable, value in zip([*model.variables, *model.optimizer.variables], values, strict=True):
            variable.assign(value)
        losses.append([epoch["loss"] for epoch in fit(model, load_dataset(config.data, 0), config.training).history])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
