"""When XLA compiles the training step. No GPU is needed: XLA compiles for the processor as well."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.config import TrainingConfig
from workbench.training import xla
from workbench.training.optimizer import compile_model


@pytest.fixture
def gpu(monkeypatch):
    """Let the processor be taken for a GPU."""
    xla._can_compile.cache_clear()
    monkeypatch.setattr(xla, "list_gpus", lambda: ["/device:CPU:0"])
    yield
    xla._can_compile.cache_clear()


def build_compiled_model():
    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Dense(2)(image))
    compile_model(model, TrainingConfig())
    return model


def list_kernels(model):
    """Return the kernels of an optimizer in a training step that has been traced."""

    @tf.function(autograph=False)
    def step():
        return model.train_step((tf.ones((8, 4)), tf.zeros(8)))

    return [node.op for node in step.get_concrete_function().graph.as_graph_def().node if "Apply" in node.op]


def test_a_gpu_trains_with_xla_which_fuses_the_update(gpu):
    model = build_compiled_model()
    assert model.jit_compile
    assert list_kernels(model) == []


def test_a_gpu_for_which_xla_cannot_compile_trains_without(gpu, monkeypatch, capsys):
    """As where CUDA's libdevice is missing."""
    monkeypatch.setattr(xla, "_compute", lambda matrix: tf.numpy_function(np.exp, [matrix], tf.float32))
    models = [build_compiled_model() for _ in range(2)]
    assert capsys.readouterr().out.count("training without XLA, which cannot compile for the GPU: ") == 1
    assert not any(model.jit_compile for model in models)
    assert list_kernels(models[0]) == ["ResourceApplyAdam"] * 2
    assert np.isfinite(models[0].train_on_batch(np.ones((8, 4), np.float32), np.zeros(8))[0])


def test_a_processor_trains_without_xla():
    assert not build_compiled_model().jit_compile
