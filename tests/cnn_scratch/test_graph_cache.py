import keras
import numpy as np
import pytest

from cnn_scratch.config import TrainConfig
from cnn_scratch.graph_cache import GraphCache, build_plain_model, draw_weights
from cnn_scratch.model import build_cnn
from workbench.config import build, replace
from workbench.data.dataset import load_dataset
from workbench.training.loop import fit


@pytest.fixture
def config(red_and_blue):
    return build(
        TrainConfig, data=str(red_and_blue), image_size=32, num_filters=16, dense_units=16, epochs=2, batch_size=8
    )


def test_a_reused_graph_gives_what_a_fresh_model_gives(config):
    """A trial with other dropout, learning rate, batch sizes, mixing, augmentation and seed on a traced graph.

    The weights are averaged in both. The network counts how often its loss is traced: once for training, once for
    validation.
    """
    dataset = load_dataset(config.data, 0)
    graphs = GraphCache()
    config = replace(config, ema=0.8)
    first = replace(config, dropout=0.0, learning_rate=1e-3, batch_size=8, data_aug=True, seed=0, mixup=0.2)
    second = replace(config, dropout=0.4, learning_rate=5e-3, batch_size=5, data_aug=False, seed=1, mixup=0.4)
    model = graphs.take(first.network, first.training, 32, 2)
    traced, compute_loss = [], model.compute_loss
    model.compute_loss = lambda *args, **kwargs: traced.append(1) or compute_loss(*args, **kwargs)
    fit(model, dataset, first.training)
    assert graphs.take(second.network, second.training, 32, 2) is model
    result = fit(model, dataset, second.training)
    assert len(traced) == 2
    with_keras_dropout = GraphCache(adjusts_dropout=False).take(second.network, second.training, 32, 2)
    fresh = fit(with_keras_dropout, dataset, second.training)
    for row, fresh_row in zip(result.history, fresh.history, strict=True):
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert row[name] == pytest.approx(fresh_row[name], rel=1e-4)
    for weights, fresh_weights in zip(result.best_weights, fresh.best_weights, strict=True):
        np.testing.assert_allclose(weights, fresh_weights, rtol=1e-3, atol=1e-5)


def test_the_dropout_rate_is_a_constant_of_the_graph_where_it_is_not_adjusted(config):
    graphs, models = GraphCache(adjusts_dropout=False), []
    for rate in (0.5, 0.0, 0.5):
        changed = replace(config, dropout=rate)
        models.append(graphs.take(changed.network, changed.training, 32, 2))
    assert models[0] is models[2] is not models[1]


def test_other_networks_have_other_graphs(config):
    others = [
        {"activation": "gelu"},
        {"num_filters": 32},
        {"filter_size": [2] * 5},
        {"head": "gap"},
        {"batch_norm": False},
        {"precision": "bfloat16"},
        {"ema": 0.9},
        {"mixup": 0.2},
    ]

    def key(image_size=32, **change):
        changed = replace(config, **change)
        return GraphCache.make_key(changed.network, changed.training, image_size)

    assert len({key(**change) for change in others}) == len(others)
    assert key() != key(image_size=64)
    assert key() == key(dropout=0.4, epochs=9)


def test_the_plain_model_predicts_as_the_trained_one(config, tmp_path):
    trained = GraphCache().take(config.network, config.training, 32, 2)
    plain = build_plain_model(config.network, 32, 2, trained.get_weights())
    plain.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    np.testing.assert_allclose(loaded(images), trained(images), rtol=1e-5)
    assert {type(layer).__module__.split(".")[0] for layer in loaded.layers} == {"keras"}


def test_weights_depend_on_the_seed_alone(config):
    model = build_cnn(config.network, 32, 2)
    drawn = []
    for seed in (1, 2, 1):
        draw_weights(model, seed)
        drawn.append(model.get_layer("block1_conv").get_weights()[0])
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert not np.array_equal(drawn[0], drawn[1])
    kernels = [model.get_layer(f"block{b}_conv").get_weights()[0] for b in (2, 3)]
    assert not np.array_equal(*kernels)
