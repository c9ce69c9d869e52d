import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnn_scratch import fused_block as kernels
from cnn_scratch.config import NetworkConfig, TrainConfig
from cnn_scratch.fast_model import LARGE_MAPS, build_fast_model
from cnn_scratch.model import build_cnn
from tests.models import build_compiled_cnn, build_compiled_fast_model
from workbench.config import build
from workbench.data.dataset import load_dataset
from workbench.errors import UserError
from workbench.training import tiled_convolution
from workbench.training.checkpoints import SaveCheckpoints
from workbench.training.loop import fit
from workbench.training.precision import choose_precision
from workbench.training.training_model import restore_checkpoint

NAMES = sorted(kernels.ACTIVATIONS)
PAIRS = [NAMES[first : first + 2] for first in range(0, len(NAMES), 2)]
MAGNITUDES = np.logspace(-37, 4, 400)  # from float32's smallest normal number on
POINTS = np.concatenate([-MAGNITUDES, [0.0], MAGNITUDES, np.linspace(-30, 30, 2000)])


@pytest.fixture(scope="module")
def config(shared_red_and_blue):
    return build(
        TrainConfig,
        data=str(shared_red_and_blue),
        image_size=32,
        num_filters=16,
        dense_units=16,
        epochs=2,
        batch_size=8,
    )


def build_fast(config, precision):
    """Build the fast model: normalization and the first two blocks are fused. XLA compiles each block for seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnn_scratch.fast_model.LARGE_MAPS", 3000)
        patch.setattr("cnn_scratch.fast_model.list_gpus", list)  # with a GPU nothing is fused
        return build_compiled_fast_model(config, precision, fuse=None)


@pytest.fixture(scope="module")
def train_fast(config, tmp_path_factory):
    """Function that trains the fast model once in each number format: (model, result, folder with checkpoints)."""

    @functools.cache
    def train(precision):
        model, history = build_fast(config, precision), []
        folder = tmp_path_factory.mktemp(precision)
        callbacks = [SaveCheckpoints(folder, history)]
        dataset = load_dataset(config.data, 0)
        return model, fit(model, dataset, config.training, history=history, callbacks=callbacks), folder

    return train


@pytest.mark.parametrize("name", NAMES)
def test_activations_and_slopes_over_the_whole_range(name):
    function, slope = kernels.ACTIVATIONS[name]
    with tf.GradientTape() as tape:
        exact = tf.constant(POINTS, tf.float64)
        tape.watch(exact)
        value = keras.activations.get(name)(exact)
    expected_slope = tape.gradient(value, exact)
    points = tf.constant(POINTS, tf.float32)
    compile_ = tf.function(lambda f: f(points), jit_compile=True)
    np.testing.assert_allclose(compile_(function), value, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(compile_(slope), expected_slope, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "batch_norm", "uses_tiles"),
    [*((name, batch_norm, False) for name in NAMES for batch_norm in (True, False)), ("silu", True, True)],
)
def test_kernels_give_the_values_and_gradients_of_the_reference(name, batch_norm, uses_tiles, monkeypatch):
    if uses_tiles:
        monkeypatch.setattr(tiled_convolution, "LARGE", 0)
        monkeypatch.setattr(tiled_convolution, "MIN_CHANNELS", 4)
    x = tf.random.stateless_normal((3, 9, 8, 5), (1, 2)) * 2 + 1
    kernel = tf.random.stateless_normal((3, 3, 5, 4), (3, 4)) / 5
    gamma, beta = tf.constant([1.5, -0.7, 1e-3, 1.0]), tf.constant([0.1, -0.5, 0.3, 0.0])
    inputs = [x, kernel, gamma, beta] if batch_norm else [x, kernel, beta]
    outcomes = []
    for is_reference in (True, False):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            if is_reference:
                output = kernels.reference_block(x, kernel, beta, name, gamma if batch_norm else None, 1e-3)
            elif batch_norm:
                output = kernels.train_batch_norm_block(x, kernel, gamma, beta, 1e-3, name)
            else:
                output = (kernels.bias_block(x, kernel, beta, name),)
            loss = tf.reduce_sum(output[0] * tf.random.stateless_normal(output[0].shape, (5, 6)))
        outcomes.append([*output, *tape.gradient(loss, inputs)])
    expected, found = outcomes
    expected = expected if batch_norm else [expected[0], *expected[3:]]  # without mean and variance
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=2e-5 * np.abs(one).max())


def test_large_maps_and_convolutions_that_are_faster_by_tiles_are_fused(monkeypatch):
    """Large maps, and convolutions of small maps that are faster by tiles."""
    monkeypatch.setattr("cnn_scratch.fast_model.list_gpus", list)
    plain = build_cnn(NetworkConfig(num_filters=32, filter_org="double"), 128, 3)
    blocks = [layer for layer in build_fast_model(plain).layers if "conv" in layer.name]
    assert [type(layer).__name__ for layer in blocks] == ["FusedBlock"] * 5
    assert np.prod(blocks[-1].output.shape[1:]) * 4 <= LARGE_MAPS  # the last one's maps are small
    plain = build_cnn(NetworkConfig(num_filters=8), 64, 3)
    blocks = [layer for layer in build_fast_model(plain).layers if "conv" in layer.name]
    assert [type(layer).__name__ for layer in blocks] == ["Conv2D"] * 5


@pytest.mark.parametrize(
    ("names", "batch_norm", "dtype"),
    [
        *((names, batch_norm, "float32") for names in PAIRS for batch_norm in (True, False)),
        (["relu"], True, "bfloat16"),
        (["mish"], True, "bfloat16"),
    ],
)
def test_blocks_are_keras_layers(names, batch_norm, dtype, monkeypatch):
    """Values, gradients and moving statistics, with odd sides, means far from zero, and parts of the batch.

    Two blocks, but one of bfloat16 maps: where rounding moves a winner, all gradients before it move.
    """
    monkeypatch.setattr(kernels, "PART_BYTES", 2000)
    keras.utils.set_random_seed(0)
    x = image = keras.Input((15, 13, 3))
    blocks = (5, 4) if len(names) == 2 else (4,)
    for name, filters in zip(names, blocks, strict=True):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=not batch_norm, bias_initializer="normal")(x)
        if batch_norm:
            x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.Activation(name)(x)
        x = keras.layers.MaxPooling2D(2)(x)
    reference = keras.Model(image, x)
    if batch_norm:
        gammas = {5: [1.5, -0.7, 0.0, 1.0, 2.0], 4: [1e-3, 1.2, -1.0, 0.5]}
        betas = {5: [0.1, -0.5, 0.3, 0.0, -1.0], 4: [0.5, -0.5, 0.3, 0.0]}
        norms = [layer for layer in reference.layers if isinstance(layer, keras.layers.BatchNormalization)]
        for norm, filters in zip(norms, blocks, strict=True):
            norm.set_weights(
                [np.array(gammas[filters]), np.array(betas[filters]), np.ones(filters), np.full(filters, 2.0)]
            )
    fast = build_fast_model(reference, dtype, fuse=True)
    assert [type(layer).__name__ for layer in fast.layers[1:]] == ["FusedBlock"] * len(blocks)
    images = tf.random.stateless_normal((4, 15, 13, 3), (1, 2)) * 2 + 3
    tolerance = 2e-5 if dtype == "float32" else 0.1
    outcomes = []
    for model in (reference, fast):
        with tf.GradientTape() as tape:
            pooled = model(images, training=True)
            loss = tf.reduce_sum(tf.cast(pooled, tf.float32) * tf.random.stateless_normal(pooled.shape, (3, 4)))
        gradients = tape.gradient(loss, model.trainable_weights)
        outcomes.append([pooled, model(images, training=False), *gradients])
    for one, other in zip(*outcomes, strict=True):
        one, other = np.float32(one), np.float32(other)
        error = np.abs(one - other) if dtype == "float32" else np.abs(one - other).mean()
        assert np.max(error) <= tolerance * np.abs(one).max()
    for one, other in zip(reference.get_weights(), fast.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5 if dtype == "float32" else 5e-2)


def test_a_fast_model_trains_as_the_plain_one(config, train_fast):
    """The losses and weights are the same in each epoch."""
    fast, result, _ = train_fast("float32")
    assert {"FusedNormalization", "FusedBlock"} <= {type(layer).__name__ for layer in fast.layers}
    plain_result = fit(build_compiled_cnn(config), load_dataset(config.data, 0), config.training)
    assert len(result.history) == 2
    for row, plain_row in zip(result.history, plain_result.history, strict=True):
        assert row["loss"] == pytest.approx(plain_row["loss"], rel=1e-3)
        assert row["val_loss"] == pytest.approx(plain_row["val_loss"], rel=1e-3)
    for one, other in zip(result.best_weights, plain_result.best_weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_saved_is_plain_and_resumes(config, train_fast, precision):
    trained, _, folder = train_fast(precision)
    for number, kind in ((1, "FusedBlock"), (2, "FusedBlock"), (3, "Conv2D")):
        layer = trained.get_layer(f"block{number}_conv")
        assert (type(layer).__name__, layer.compute_dtype) == (kind, precision)
    for name in ("model.keras", "last.keras"):
        loaded = keras.saving.load_model(folder / name, safe_mode=True)
        assert {type(layer).__module__.split(".")[0] for layer in loaded.layers} == {"keras"}
        assert {layer.compute_dtype for layer in loaded.layers} <= {"float32", "uint8"}
    assert type(loaded.optimizer) is keras.optimizers.Adam
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    np.testing.assert_allclose(
        loaded(images), trained(images, training=False), atol=1e-5 if precision == "float32" else 0.1
    )
    resumed = build_fast(config, precision)
    restore_checkpoint(resumed, folder / "last.keras")
    for one, other in zip(resumed.variables, trained.variables, strict=True):
        if "seed" not in one.path:
            np.testing.assert_array_equal(one, other)
    for one, other in zip(resumed.optimizer.variables, trained.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_auto_precision_is_right_on_a_machine_that_is_busy_at_times(cache):
    """The fastest steps decide, because on a busy machine 40 % of the steps take up to twice as long."""
    rng = np.random.default_rng(0)

    def measure(precision):
        return {"float32": 1.0, "bfloat16": 0.85}[precision] * (rng.uniform(1.0, 2.0) if rng.random() < 0.4 else 1.0)

    chosen = [choose_precision("auto", ["busy", number], 1e9, measure) for number in range(40)]
    assert chosen.count("bfloat16") >= 36


def test_auto_precision_measures_once_and_float16_needs_a_gpu(cache):
    asked = []

    def seconds(precision):
        asked.append(precision)
        return {"float32": 3.0, "bfloat16": 1.0}[precision]

    assert choose_precision("auto", ["small"], 1e6, seconds) == "float32"
    assert asked == []
    for _ in range(2):
        assert choose_precision("auto", ["large"], 1e9, seconds) == "bfloat16"
    assert asked == ["float32", "bfloat16"]
    assert choose_precision("auto", ["other"], 1e9, {"float32": 1.0, "bfloat16": 2.0}.get) == "float32"
    assert choose_precision("bfloat16", ["other"], 1e9, seconds) == "bfloat16"
    with pytest.raises(UserError, match=r"--precision float16.*GPU"):
        choose_precision("float16", ["other"], 1e9, seconds)
