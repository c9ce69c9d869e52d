import keras

from transfer.graph import consumers, cuts


def test_a_residual_block_has_no_cut_inside():
    image = keras.Input((4,), name="image")
    x = before = keras.layers.Dense(3, name="before")(image)
    x = keras.layers.Dense(3, name="inside")(x)
    x = keras.layers.Add(name="sum")([x, before])
    model = keras.Model(image, keras.layers.Dense(2, name="after")(x))
    assert [operation.name for operation in cuts(model)] == ["image", "before", "sum", "after"]
    assert [operation.name for operation in consumers(model)[model.get_layer("before")]] == ["inside", "sum"]
