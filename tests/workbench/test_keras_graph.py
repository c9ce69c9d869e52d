import keras
import numpy as np
import pytest

from workbench.keras_graph import find_cuts, flatten_model, list_consumers, run_graph


def test_a_residual_block_has_no_cut_inside():
    image = keras.Input((4,), name="image")
    x = before = keras.layers.Dense(3, name="before")(image)
    x = keras.layers.Dense(3, name="inside")(x)
    x = keras.layers.Add(name="sum")([x, before])
    model = keras.Model(image, keras.layers.Dense(2, name="after")(x))
    assert [operation.name for operation in find_cuts(model)] == ["image", "before", "sum", "after"]
    assert [operation.name for operation in list_consumers(model)[model.get_layer("before")]] == ["inside", "sum"]


def test_the_layers_of_a_chain_become_the_models_own():
    image = keras.Input((4,), name="image")
    chain = keras.Sequential([keras.layers.Dense(3, name="one"), keras.layers.LayerNormalization(name="two")])
    x = keras.layers.Add(name="sum")([chain(image), keras.layers.Dense(3, name="beside")(image)])
    model = keras.Model(image, keras.layers.Dense(2, name="after")(x))
    copy = flatten_model(model)
    assert {layer.name for layer in copy.layers} == {"image", "one", "two", "beside", "sum", "after"}
    assert [operation.name for operation in find_cuts(copy)] == ["image", "sum", "after"]
    inputs = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_array_equal(copy(inputs), model(inputs))
    assert flatten_model(copy) is copy


def test_saving_a_model_makes_no_layers(tmp_path, monkeypatch):
    """Keras makes one for each layer of the model."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    made, make = [], keras.layers.Layer.__init__

    def count(layer, *args, **kwargs):
        made.append(layer)
        make(layer, *args, **kwargs)

    monkeypatch.setattr(keras.layers.Layer, "__init__", count)
    model.save(tmp_path / "model.keras")
    assert not made


def test_dropout_drops_in_training_only():
    image = keras.Input((1000,))
    model = keras.Model(image, keras.layers.Dropout(0.5)(image))
    inputs = np.ones((1, 1000), np.float32)
    for training, share in ((True, 0.5), (False, 0.0), (None, 0.0)):
        output = run_graph(
            model, inputs, lambda operation, *args, **known: operation(*args, **known), training=training
        )
        assert float(np.mean(np.asarray(output) == 0)) == pytest.approx(share, abs=0.1)
