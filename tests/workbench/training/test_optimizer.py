import itertools
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnn_scratch.config import TrainConfig
from cnn_scratch.graph_cache import draw_weights
from tests import processes
from tests.models import build_compiled_cnn
from workbench.config import TrainingConfig, build, replace
from workbench.data.dataset import load_dataset
from workbench.training.history import has_stalled
from workbench.training.loop import fit
from workbench.training.optimizer import compile_model
from workbench.training.optimizers.muon import ConvolutionMuon, count_multiply_adds, orthogonalize
from workbench.training.schedule import compute_learning_rate
from workbench.training.training_model import build_keras_optimizer, copy_variables

MUON = (3.4445, -4.7750, 2.0315)  # the coefficients of its iteration


def test_the_learning_rate_rises_and_falls():
    training = TrainingConfig(epochs=10, learning_rate=0.1, schedule="cosine", warmup_epochs=2)
    rates = [compute_learning_rate(training, 5, step) for step in range(50)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[9] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(0.1)
    assert all(one > other for one, other in itertools.pairwise(rates[10:]))
    assert rates[-1] < 0.001
    assert rates[10 + 20] == pytest.approx(0.05)


def test_one_cycle_is_two_lines():
    training = TrainingConfig(epochs=10, learning_rate=0.1, schedule="one_cycle")
    rates = [compute_learning_rate(training, 5, step) for step in range(50)]
    np.testing.assert_allclose(rates[:10], np.linspace(0.01, 0.1, 10))
    np.testing.assert_allclose(rates[10:], np.linspace(0.1, 0.0, 40, endpoint=False))
    assert compute_learning_rate(training, 5, 9.7) == pytest.approx(0.1)  # the clock is between two steps
    longer = replace(training, warmup_epochs=5)
    assert np.argmax([compute_learning_rate(longer, 5, step) for step in range(50)]) == 24


@pytest.fixture
def config(red_and_blue):
    return build(
        TrainConfig, data=str(red_and_blue), image_size=32, num_filters=16, dense_units=16, epochs=2, batch_size=8
    )


def build_small_network(config, optimizer=None):
    """Build a network of one block, compiled, which is traced in a fraction of the CNN's time."""
    image = keras.Input((32, 32, 3), dtype="uint8")
    has_norm = config.network.batch_norm  # a bias before it would have a gradient of rounding errors alone
    x = keras.layers.Conv2D(4, 3, strides=4, use_bias=not has_norm)(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.BatchNormalization()(x) if has_norm else x
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation("relu")(x))
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(x))
    draw_weights(model, config.training.seed)
    compile_model(model, config.training, optimizer)
    return model


def train(config, model=None, **kwargs):
    """Train the small network, or another one; return (model, history, best weights)."""
    model = model or build_small_network(config)
    result = fit(model, load_dataset(config.data, 0), config.training, **kwargs)
    return model, result.history, result.best_weights


class RecordLearningRates(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(float(self.model.optimizer.learning_rate))


def test_the_schedule_is_followed_in_training(config):
    config, rates = replace(config, schedule="cosine"), RecordLearningRates()
    _, rows, _ = train(config, callbacks=[rates])
    assert rates.seen == pytest.approx([compute_learning_rate(config.training, 2, step) for step in range(4)])
    assert rows[-1]["learning_rate"] == pytest.approx(rates.seen[-1])


def test_weight_decay_shrinks_kernels_and_nothing_else(config):
    decayed = replace(config, weight_decay=0.5, learning_rate=1e-2, epochs=1)
    plain, strong = train(replace(decayed, weight_decay=1e-9))[0], train(decayed)[0]
    for one, other in zip(plain.trainable_variables, strong.trainable_variables, strict=True):
        if one.name == "kernel":
            assert np.linalg.norm(other) < np.linalg.norm(one)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_adams_kernel_does_what_keras_adam_does(config, weight_decay):
    config = replace(config, weight_decay=weight_decay, ema=0.5)
    average = {"use_ema": True, "ema_momentum": 0.5}
    optimizer = keras.optimizers.Adam(config.training.learning_rate, **average)
    if weight_decay:
        optimizer = keras.optimizers.AdamW(config.training.learning_rate, weight_decay=weight_decay, **average)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    plain = build_small_network(config, optimizer)
    fit(plain, load_dataset(config.data, 0), config.training)
    ours, *_ = train(config)
    saved = build_keras_optimizer(ours.optimizer)
    assert type(saved) is type(optimizer)
    assert {**saved.get_config(), "name": None} == {**optimizer.get_config(), "name": None}
    for one, other in zip(plain.weights, ours.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_sgds_kernel_does_what_keras_sgd_does(config):
    config = replace(config, optimizer="sgd", weight_decay=0.01, ema=0.5, learning_rate=0.05)
    settings = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "use_ema": True, "ema_momentum": 0.5}
    optimizer = keras.optimizers.SGD(0.05, **settings)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    plain = build_small_network(config, optimizer)
    fit(plain, load_dataset(config.data, 0), config.training)
    ours, *_ = train(config)
    saved = build_keras_optimizer(ours.optimizer)
    assert type(saved) is keras.optimizers.SGD
    assert {**saved.get_config(), "name": None} == {**optimizer.get_config(), "name": None}
    for one, other in zip(plain.weights, ours.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def make_matrix(rows, columns, lowest):
    """Return a matrix whose singular values are between 1 and `lowest`, and the orthogonal one that is nearest."""
    rng = np.random.default_rng(0)
    u, _, v = np.linalg.svd(rng.normal(size=(rows, columns)), full_matrices=False)
    singular = np.geomspace(1, lowest, min(rows, columns))
    return tf.constant((u * singular) @ v, tf.float32), u @ v


@pytest.mark.parametrize(("rows", "columns"), [(12, 40), (40, 12), (20, 20)])
def test_an_orthogonalized_matrix_has_singular_values_of_about_one(rows, columns):
    matrix, nearest = make_matrix(rows, columns, lowest=0.05)
    found = orthogonalize(matrix, 5, MUON).numpy()
    singular = np.linalg.svd(found, compute_uv=False)
    assert 0.6 < singular.min() <= singular.max() < 1.25
    assert np.sum(found * nearest) / np.linalg.norm(found) / np.linalg.norm(nearest) > 0.98
    slow = keras.optimizers.Muon().zeropower_via_newtonschulz5(matrix, 5)
    np.testing.assert_allclose(found, slow, atol=1e-3)


def test_muon_does_to_a_dense_kernel_what_keras_muon_does():
    kernel, gradients = np.ones((6, 4), "float32"), np.random.default_rng(0).normal(size=(3, 6, 4)).astype("float32")
    ours, theirs = keras.Variable(kernel), keras.Variable(kernel)
    muon = ConvolutionMuon(learning_rate=0.1, weight_decay=0.1)
    saved = muon.to_keras()
    if "rms_rate" not in saved.get_config():
        pytest.skip(f"the Muon of Keras {keras.__version__} gives its updates another size")
    for optimizer, variable in ((muon, ours), (saved, theirs)):
        optimizer.build([variable])
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient)])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


@pytest.mark.parametrize(("rows", "columns", "steps"), [(40, 7, 5), (7, 40, 3), (12, 12, 1)])
def test_the_multiply_adds_of_an_orthogonalization_are_those_of_its_matrix_products(rows, columns, steps):
    matrix = tf.TensorSpec((rows, columns))
    graph = tf.function(lambda matrix: orthogonalize(matrix, steps, MUON)).get_concrete_function(matrix).graph
    counted = 0
    for product in (operation for operation in graph.get_operations() if operation.type == "MatMul"):
        inner = product.inputs[0].shape[0 if product.get_attr("transpose_a") else 1]
        counted += inner * product.outputs[0].shape.num_elements()
    assert count_multiply_adds(rows, columns, steps) == counted > 0


def test_muon_orthogonalizes_the_updates_of_hidden_kernels_and_no_others(config):
    config = replace(config, optimizer="muon", learning_rate=1e-3, weight_decay=0.0, epochs=1, batch_size=16)
    model = build_compiled_cnn(config)
    before = [np.array(variable) for variable in model.trainable_variables]
    fit(model, load_dataset(config.data, 0), config.training)
    for old, variable in zip(before, model.trainable_variables, strict=True):
        update = (np.array(variable) - old).reshape(-1, old.shape[-1]) / 1e-3
        if variable.name == "kernel" and "logits" not in variable.path:
            singular = np.linalg.svd(update, compute_uv=False) / (0.2 * max(update.shape) ** 0.5)
            assert singular.max() < 1.3
            assert np.median(singular) > 0.3
        else:  # the first step of Adam: the rate, in the gradient's direction
            assert np.abs(update).max() == pytest.approx(1.0, abs=0.02)


def test_muon_is_saved_as_keras_muon(config):
    model, *_ = train(replace(config, optimizer="muon", weight_decay=0.01, ema=0.5))
    saved = build_keras_optimizer(model.optimizer)
    assert type(saved) is keras.optimizers.Muon
    assert saved.get_config()["adam_lr_ratio"] == 1
    saved.build(model.trainable_variables)
    assert [variable.shape for variable in saved.variables] == [
        variable.shape for variable in model.optimizer.variables
    ]


@pytest.mark.parametrize("kernels", [True, False])
def test_a_training_with_muon_can_be_continued_in_plain_keras(kernels, monkeypatch):
    """Keras updates a convolution's kernel as Adam does; the first step is not larger than the one before."""
    monkeypatch.setattr("workbench.training.optimizers.muon.can_use_kernels", lambda: kernels)
    rng = np.random.default_rng(0)
    kernel = keras.Variable(rng.normal(size=(3, 3, 4, 8)).astype("float32"))
    mean = rng.normal(size=kernel.shape)  # of the gradients: its sum over the steps is twenty times as large

    def draw_gradient():
        return tf.constant(mean + rng.normal(size=kernel.shape), tf.float32)

    def measure_step(optimizer):
        before = np.array(kernel)
        optimizer.apply([draw_gradient()])
        return np.abs(np.array(kernel) - before).mean() / 0.01

    ours = ConvolutionMuon(learning_rate=0.01)
    ours.build([kernel])
    sizes = [measure_step(ours) for _ in range(60)]
    saved = ours.to_keras()
    saved.build([kernel])
    copy_variables(ours.variables, saved.variables)
    assert 0.1 < measure_step(saved) < 5 * sizes[-1]
    assert 0.1 < sizes[-1] < 0.3


def test_smoothed_labels_hold_the_loss_above_their_entropy(config):
    config = replace(config, label_smoothing=0.4, epochs=12, batch_norm=False, learning_rate=3e-3)
    _, rows, _ = train(config, build_compiled_cnn(config))
    assert rows[-1]["accuracy"] == 1.0
    assert min(row["loss"] for row in rows) >= -(0.8 * np.log(0.8) + 0.2 * np.log(0.2)) - 1e-4


def test_a_training_without_progress_ends_after_its_patience(config):
    rows = [{"val_accuracy": accuracy, "val_loss": 1.0} for accuracy in (0.5, 0.7, 0.6, 0.7, 0.6)]
    assert [has_stalled(rows[:done], 3) for done in range(1, 6)] == [False] * 4 + [True]
    assert not has_stalled(rows, 0)
    _, rows, _ = train(replace(config, epochs=30, patience=2, learning_rate=1e-9, batch_norm=False))
    assert len(rows) < 30
    assert has_stalled(rows, 2)
    assert not has_stalled(rows[:-1], 2)


def test_mixed_labels_are_trained_on_and_accuracy_stays_one(config):
    config = replace(config, mixup=0.2, cutmix=1.0, erasing=0.5, epochs=12, learning_rate=3e-3, batch_norm=False)
    _, rows, _ = train(config, build_compiled_cnn(config))
    assert 0.5 < rows[-1]["accuracy"] <= 1.0
    assert rows[-1]["val_accuracy"] == 1.0
    assert rows[-1]["val_loss"] < rows[-1]["loss"]


def test_the_average_of_the_weights_is_validated_and_kept(config):
    """By hand: the same training without averages, its weights after each step averaged."""
    config = replace(config, ema=0.6, epochs=3, batch_norm=False, schedule="cosine")
    averages = []

    def follow(batch, logs):
        raw = plain.get_weights()
        averages[:] = [0.6 * old + 0.4 * new for old, new in zip(averages or raw, raw, strict=True)]

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=follow)
    plain_config = replace(config, ema=0.0)
    plain = build_small_network(plain_config)
    fit(plain, load_dataset(config.data, 0), plain_config.training, callbacks=[callback])
    model, rows, kept = train(config)
    for one, other in zip(model.trainable_variables, averages, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert rows[-1]["val_loss"] == min(row["val_loss"] for row in rows)
    for one, other in zip(kept, averages, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_batch_norm_remembers_as_long_as_the_weights_average(config):
    for ema, momentum in ((0.0, 0.9), (0.5, 0.9), (0.98, 0.98)):
        model = build_compiled_cnn(replace(config, ema=ema))
        assert model.get_layer("block1_bn").momentum == momentum


ON_TWO_DEVICES = """
import keras
import numpy as np
from workbench.config import TrainingConfig
from workbench.runtime import distribute
from workbench.training.optimizer import compile_model
from workbench.training.training_model import TrainingModel

calls = []
for name in ("ResourceApplyAdam", "ResourceApplyKerasMomentum"):
    kernel = getattr(tf.raw_ops, name)
    setattr(tf.raw_ops, name, lambda kernel=kernel, **inputs: calls.append(inputs) or kernel(**inputs))

images, labels = np.random.default_rng(0).normal(size=(16, 6, 6, 3)), np.arange(16) % 2
weights = []
for strategy in ("single", "mirrored"):
    keras.utils.set_random_seed(0)
    with distribute(strategy):
        image = keras.Input((6, 6, 3))
        x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, name="conv")(image))
        plain = keras.Model(image, keras.layers.Dense(2, name="logits")(x))
        model = TrainingModel(plain.input, plain.output, saved_as=keras.models.clone_model(plain))
        model.set_weights([weight + 0.1 for weight in plain.get_weights()])
        compile_model(model, TrainingConfig(optimizer=sys.argv[1], learning_rate=0.01, weight_decay=0.1, ema=0.5))
    calls.clear()
    model.fit(images, labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
    weights.append(model.get_weights())
assert len(calls) == 2 * 4, len(calls)  # each device updates each variable
for one, other in zip(*weights, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
"""


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muon"])
def test_several_devices_update_the_weights_as_one_does(optimizer):
    """By one operation for each variable and device."""
    processes.run([sys.executable, "-c", processes.TWO_DEVICES + ON_TWO_DEVICES, optimizer], check=True)
