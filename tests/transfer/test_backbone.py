import functools

import keras
import numpy as np
import pytest

from transfer.backbone import build_network
from transfer.config import BackboneConfig, FreezingConfig, TransferConfig
from transfer.defaults import resolve
from transfer.freezing import find_last_frozen, find_stages, freeze, warn_of_cut_stage
from workbench.config import build
from workbench.errors import UserError


@functools.cache
def network(**values):
    """Build a network; tests that ask for the same one share it, and freeze it as they need."""
    config = resolve(build(TransferConfig, **{"weights": "none", "image_size": 32, **values}))
    return build_network(config.backbone, config.data.image_size, 3, config.training.seed)


@functools.cache
def build_small():
    return keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None, input_shape=(32, 32, 3))


def images():
    return np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", ["MobileNet", "ConvNeXtTiny", "VGG16"])
def test_raw_images_go_in_and_the_saved_model_loads(name, tmp_path):
    made = network(backbone=name)
    made.model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    np.testing.assert_allclose(loaded(images()), made.model(images()), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(layer, keras.Model) for layer in loaded.layers)


def test_preprocessing_is_the_backbones_own():
    made = network(backbone="VGG16")
    plain = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    plain.set_weights(made.model.get_weights()[:-2])
    maps = plain(keras.applications.vgg16.preprocess_input(images().astype(np.float32)))
    features = keras.Model(made.model.input, made.model.get_layer("head_pool").output)
    np.testing.assert_allclose(features(images()), np.mean(maps, axis=(1, 2)), rtol=1e-3, atol=1e-5)


def test_resnet50_has_175_layers_and_its_known_stages():
    made = network(backbone="ResNet50")
    assert len(made.layers) == 175
    assert [stage.start for stage in find_stages(made)] == [0, 7, 39, 81, 143]


def test_a_k_inside_a_residual_block_is_cut_before_the_block():
    made = network(backbone="ResNet50")
    frozen = freeze(made, FreezingConfig(mode="first_k", k=150))
    assert frozen == 150
    assert find_last_frozen(made).name == "conv4_block6_out"
    assert warn_of_cut_stage(made, frozen) == [
        "--k 150 cuts a stage of ResNet50 in two; its stages begin at 7, 39, 81, 143"
    ]
    assert not made.model.get_layer("conv5_block1_1_conv").trainable


def test_the_cut_is_as_late_as_what_trains_allows():
    made = network(backbone="EfficientNetB0")
    freeze(made, FreezingConfig())
    assert find_last_frozen(made).name == "head_pool"
    freeze(made, FreezingConfig(mode="all"))
    assert find_last_frozen(made) is None
    assert made.model.get_layer("block2b_drop").rate > 0


def test_layers_have_the_names_of_a_new_process_whatever_was_built_before():
    backbone = BackboneConfig(backbone="MobileNetV3Small", weights="none")
    before = keras.layers.Rescaling(1.0), keras.layers.ReLU()
    made = [build_network(backbone, 32, 3, seed=0) for _ in range(2)]
    names, again = ([layer.name for layer in network.layers] for network in made)
    assert names == again
    assert {"rescaling", "re_lu", "re_lu_1"} <= {*names}
    later = keras.layers.Rescaling(1.0), keras.layers.ReLU()
    assert not {layer.name for layer in later} & {*names, *(layer.name for layer in before)}


@functools.cache
def build_donor():
    return keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3))


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_weights_from_a_file(tmp_path, suffix):
    donor = build_donor()
    path = tmp_path / f"donor{suffix}"
    donor.save_weights(path) if suffix == ".weights.h5" else donor.save(path)
    made = network(backbone="MobileNet", weights=str(path))
    for one, other in zip(made.model.get_weights(), donor.get_weights(), strict=False):
        np.testing.assert_array_equal(one, other)


MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@functools.cache
def build_efficient_net():
    return keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))


@pytest.mark.parametrize(
    ("weights", "variance", "divisor"),
    [("imagenet", DEVIATION, DEVIATION), ("file", DEVIATION, DEVIATION), ("file", [0.04, 0.09, 0.16], [0.2, 0.3, 0.4])],
)
def test_efficientnet_normalizes_with_the_statistics_in_its_weights(tmp_path, monkeypatch, weights, variance, divisor):
    """Keras' ImageNet weights have standard deviations where variances belong."""
    donor, path = build_efficient_net(), str(tmp_path / "notop.h5")
    norm = next(layer for layer in donor.layers if isinstance(layer, keras.layers.Normalization))
    norm.set_weights([MEAN, np.array(variance), *norm.get_weights()[2:]])
    donor.save(path)
    monkeypatch.setattr("keras.src.applications.efficientnet.file_utils.get_file", lambda *_, **__: path)
    made = network(backbone="EfficientNetB0", weights=path if weights == "file" else weights)
    stem = keras.Model(made.model.input, made.model.get_layer("stem_conv").input)
    np.testing.assert_allclose(stem(images())[:, :-1, :-1], (images() / 255 - MEAN) / divisor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_weights_of_another_network_are_refused(tmp_path, suffix):
    path = tmp_path / f"small{suffix}"
    build_small().save_weights(path) if suffix == ".weights.h5" else build_small().save(path)
    with pytest.raises(UserError, match=r"small.*: not the weights of MobileNet without its top \(.*") as error:
        network(backbone="MobileNet", weights=str(path))
    assert "\n" not in str(error.value)
    assert "(3, 3, 3, 32)" in str(error.value)
    assert "(3, 3, 3, 8)" in str(error.value)


def test_weights_that_are_no_weights_are_refused(tmp_path):
    path = tmp_path / "text.weights.h5"
    path.write_text("no weights")
    with pytest.raises(UserError, match="not the weights of MobileNet"):
        network(backbone="MobileNet", weights=str(path))


def test_without_a_network_the_file_to_fetch_is_named(monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    with pytest.raises(UserError, match=r"fetch https://\S+vgg16\w+_notop.h5 elsewhere and put it into .*models"):
        network(backbone="VGG16", weights="imagenet")
