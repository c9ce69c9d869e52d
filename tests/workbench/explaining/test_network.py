import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from workbench.errors import UserError
from workbench.explaining.network import (
    build_float_model,
    check_map_layer,
    find_first_convolution,
    find_stage_ends,
    list_rectified_layers,
    run_in_batches,
    select_outputs,
)


@pytest.fixture(scope="module")
def transfer():
    """A flat model on a backbone of keras.applications, its preprocessing made of operations."""
    keras.utils.set_random_seed(0)
    image = keras.Input((64, 64, 3), dtype="uint8")
    pixels = keras.applications.mobilenet_v2.preprocess_input(keras.ops.cast(image, "float32"))
    backbone = keras.applications.MobileNetV2(weights=None, include_top=False, alpha=0.35, input_tensor=pixels)
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(backbone.output)))


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "mish"])
def test_the_copy_gives_the_models_logits_and_takes_gradients(five_blocks, photos, activation):
    model = five_blocks(activation)
    before = model.get_config()
    network = build_float_model(model)
    pixels = tf.constant(photos, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        logits = network(pixels)
    np.testing.assert_allclose(logits, model(photos), rtol=1e-5, atol=1e-6)
    assert np.abs(tape.gradient(logits, pixels)).max() > 0
    assert model.get_config() == before
    assert all(len(layer._inbound_nodes) == 1 for layer in model.layers)


def test_a_loaded_and_an_adapted_model_are_copied_too(photos, tmp_path):
    adapted = layers.Normalization()
    adapted.adapt(photos)
    image = keras.Input((32, 32, 3), dtype="uint8")
    keras.Model(image, layers.Dense(2)(layers.Flatten()(adapted(image)))).save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(
        build_float_model(model)(np.float32(photos)), model.predict(photos, verbose=0), rtol=1e-4
    )


def test_mixed_precision_is_undone(photos):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        image = keras.Input((32, 32, 3), dtype="uint8")
        x = layers.Conv2D(4, 3, activation="gelu", name="maps")(layers.Rescaling(1 / 255)(image))
        model = keras.Model(image, layers.Dense(2, dtype="float32")(layers.Flatten()(x)))
    finally:
        keras.config.set_dtype_policy("float32")
    network = build_float_model(model)
    assert select_outputs(network, "maps")(np.float32(photos)).dtype == "float32"
    np.testing.assert_allclose(network(np.float32(photos)), model(photos), atol=0.05)


@pytest.mark.parametrize("pool_first", [False, True])
def test_the_stages_of_the_five_blocks(five_blocks, pool_first):
    network = build_float_model(five_blocks(pool_first=pool_first))
    assert find_stage_ends(network) == [f"block{block}_activation" for block in range(1, 6)]
    assert find_first_convolution(network).name == "block1_conv"


def test_the_stages_of_a_backbone(transfer, photos):
    network = build_float_model(transfer)
    photos = photos.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(network(np.float32(photos)), transfer(photos), rtol=1e-4, atol=1e-6)
    ends = ["block_1_expand_relu", "block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu", "out_relu"]
    assert find_stage_ends(network) == ends
    assert find_first_convolution(network).name == "Conv1"
    assert list_rectified_layers(network)[0].name == "Conv1_relu"


def test_activations_inside_convolutions_and_gates_beside_the_path():
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="silu", name="one")(image)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(2, 1, activation="silu", name="squeeze")(gate)
    x = x * layers.Conv2D(4, 1, activation="sigmoid", name="excite")(gate)
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="silu", name="two")(x)
    network = build_float_model(keras.Model(image, layers.Dense(2)(layers.Flatten()(x))))
    assert find_stage_ends(network) == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("block5_activaton", "--layer block5_activaton: no such layer; the nearest are block5_activation"),
        (
            "dense",
            "--layer dense: has no maps; the last layers with maps are block5_bn, block5_activation",
        ),
    ],
)
def test_an_unknown_layer_names_the_nearest(five_blocks, name, says):
    with pytest.raises(UserError, match=says):
        check_map_layer(build_float_model(five_blocks()), name)


def test_models_that_cannot_be_explained_are_refused(photos):
    image = keras.Input((32, 32, 3), dtype="uint8")
    inner = keras.Sequential([layers.Conv2D(2, 3)], name="backbone")
    with pytest.raises(UserError, match="contains another model, 'backbone'"):
        build_float_model(keras.Model(image, layers.Dense(2)(layers.Flatten()(inner(image)))))
    plain = build_float_model(keras.Model(image, layers.Dense(2)(layers.Flatten()(layers.Rescaling(1.0)(image)))))
    for search in (find_stage_ends, find_first_convolution):
        with pytest.raises(UserError, match="nothing to explain"):
            search(plain)


@pytest.mark.parametrize("count", [3, 70])
def test_batches_are_put_together(count):
    rows = np.arange(count, dtype=np.float32)
    doubled, summed = run_in_batches(lambda one, other: (2 * one, one + other), rows, rows)
    np.testing.assert_array_equal(doubled, 2 * rows)
    np.testing.assert_array_equal(summed, 2 * rows)
