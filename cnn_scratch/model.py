"""The five-block CNN: five times convolution, optional batch norm, activation and max-pooling, and a dense head."""

import dataclasses

import keras
from keras import layers

from cnn_scratch.config import (
    NUM_BLOCKS,
    SMALLEST_IMAGE,
    NetworkConfig,
    check_network,
    list_block_filter_sizes,
    list_block_filters,
)
from workbench.errors import UserError
from workbench.files import format_bytes
from workbench.keras_graph import LOGITS
from workbench.runtime import count_replicas, list_gpus, measure_memory

BATCH_NORM_MOMENTUM = 0.9  # Keras' 0.99 needs hundreds of steps before validation sees the trained network
# Names and configurations, because layers that shared one initializer object would draw the same weights.
_INITIALIZERS = {
    "glorot": "glorot_uniform",
    "fan_in": {
        "class_name": "VarianceScaling",
        "config": {"scale": 1 / 3, "mode": "fan_in", "distribution": "uniform"},
    },
}
_BYTES_OF_PARAMETER = 4 * 4  # in training: the weight, its gradient, and Adam's two averages, all float32
_BYTES_OF_OUTPUT = 2  # of one number in a map; bfloat16 is the smallest format
IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of RGB values 0..255
IMAGENET_STD = (58.395, 57.12, 57.375)


def build_cnn(
    config: NetworkConfig, image_size: int, num_classes: int, dropout_layer: layers.Dropout | None = None
) -> keras.Model:
    """Build the network as a functional Keras model, not compiled.

    Args:
        config: settings of the network.
        image_size: side of the square input in pixels.
        num_classes: number of logits.
        dropout_layer: replaces `keras.layers.Dropout(config.dropout)`.

    Returns:
        keras.Model from uint8 RGB (batch, image_size, image_size, 3), 0..255, to float32 logits
        (batch, num_classes). Its first layer normalizes by ImageNet's mean and standard deviation; the layers
        of block i are `block{i}_conv`, `_bn`, `_activation` and `_pool`.

    Raises:
        UserError: the configuration cannot be built, see `check_network`.
    """
    check_network(config, image_size)
    image = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    kernel = {"kernel_initializer": _INITIALIZERS[config.initializer]}
    variance = [deviation**2 for deviation in IMAGENET_STD]
    x = layers.Normalization(mean=IMAGENET_MEAN, variance=variance, name="normalization")(image)
    for block, (filters, size) in enumerate(
        zip(list_block_filters(config), list_block_filter_sizes(config), strict=True), 1
    ):
        name = f"block{block}"
        use_bias = not config.batch_norm  # batch norm adds a bias of its own
        x = layers.Conv2D(filters, size, padding="same", use_bias=use_bias, name=f"{name}_conv", **kernel)(x)
        if config.batch_norm:
            shared = count_replicas() > 1  # then statistics of the whole batch, as on one device
            x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, synchronized=shared, name=f"{name}_bn")(x)
        x = layers.Activation(config.activation, name=f"{name}_activation")(x)
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    x = layers.Flatten(name="flatten")(x) if config.head == "flatten" else layers.GlobalAveragePooling2D(name="gap")(x)
    if config.dense_units:
        x = layers.Dense(config.dense_units, name="dense", **kernel)(x)
        x = layers.Activation(config.activation, name="dense_activation")(x)
    x = (dropout_layer or layers.Dropout(config.dropout, name="dropout"))(x)
    logits = layers.Dense(num_classes, dtype="float32", name=LOGITS, **kernel)(x)
    return keras.Model(image, logits, name="cnn")


def check_growing(network: NetworkConfig, start_size: int, image_size: int) -> None:
    """Refuse training images that cannot grow from `start_size` to `image_size`, in pixels.

    Raises:
        UserError: the first images are too small, or the head takes one image size only.
    """
    if start_size and start_size < SMALLEST_IMAGE:
        raise UserError(f"--start-size {start_size}: must be 0, or at least {SMALLEST_IMAGE}")
    if 0 < start_size < image_size and network.head != "gap":
        raise UserError(
            f"--start-size {start_size}: needs --head gap, because flatten takes one image size only; 0 keeps one size"
        )


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of a network: trainable parameters, and multiply-adds of one image's forward pass."""

    parameters: int
    multiply_adds: int


def compute_network_cost(config: NetworkConfig, image_size: int, num_classes: int) -> Cost:
    """Compute the cost by closed formulas. The multiply-adds are those of convolutions and dense layers.

    Block i with n_i filters of side k_i on maps of side s_i = image_size // 2^i has
    k_i^2 * n_(i-1) * n_i weights, each used s_i^2 times, and n_i biases or, with batch norm, 2 n_i scales and
    shifts. The head is two dense layers, or one without `dense_units`, on s_5^2 * n_4 (flatten) or n_4 (gap) inputs.
    """
    parameters = multiply_adds = 0
    kernels = list_hidden_kernels(config, image_size)
    for block, (inputs, filters) in enumerate(kernels[:NUM_BLOCKS]):
        parameters += inputs * filters + (2 if config.batch_norm else 1) * filters
        multiply_adds += inputs * filters * (image_size // 2**block) ** 2
    last = (config.dense_units or _count_features(config, image_size), num_classes)
    for inputs, outputs in (*kernels[NUM_BLOCKS:], last):
        parameters += inputs * outputs + outputs
        multiply_adds += inputs * outputs
    return Cost(parameters, multiply_adds)


def list_hidden_kernels(config: NetworkConfig, image_size: int) -> list[tuple[int, int]]:
    """Return (inputs, outputs) of each kernel but the last layer's: of the five blocks, and of hidden units if any.

    A convolution's inputs are the values under one filter, its outputs are its filters.
    """
    filters = list_block_filters(config)
    areas = [size**2 for size in list_block_filter_sizes(config)]
    shapes = [(area * inputs, count) for area, inputs, count in zip(areas, [3, *filters[:-1]], filters, strict=True)]
    return [*shapes, (_count_features(config, image_size), config.dense_units)] if config.dense_units else shapes


def _count_features(config: NetworkConfig, image_size: int) -> int:
    """Return the length of the vector that the last maps become."""
    return list_block_filters(config)[-1] * ((image_size // 2**NUM_BLOCKS) ** 2 if config.head == "flatten" else 1)


def estimate_training_memory(config: NetworkConfig, image_size: int, num_classes: int, batch_size: int) -> int:
    """Return a lower bound of the memory that training takes, in bytes, by a closed formula.

    It counts the parameters with their gradients and Adam's averages, and the output of each block's convolution for
    one batch, in the smallest number format. A real training takes more.
    """
    parameters = compute_network_cost(config, image_size, num_classes).parameters
    outputs = sum(filters * (image_size // 2**block) ** 2 for block, filters in enumerate(list_block_filters(config)))
    return _BYTES_OF_PARAMETER * parameters + _BYTES_OF_OUTPUT * batch_size * outputs


def check_memory(config: NetworkConfig, image_size: int, num_classes: int = 2, batch_size: int = 1) -> None:
    """Refuse a network that cannot be trained in this machine's memory, before trying.

    With a GPU nothing is refused, because its memory is not known here.

    Raises:
        UserError: says how much is needed, and which options need less.
    """
    needed, available = estimate_training_memory(config, image_size, num_classes, batch_size), measure_memory()
    if needed <= available or list_gpus():
        return
    parameters = compute_network_cost(config, image_size, num_classes).parameters
    images = "one image" if batch_size == 1 else f"{batch_size} images"
    raise UserError(
        f"--num-filters {config.num_filters}, --filter-size {config.filter_size}, --dense-units {config.dense_units}, "
        f"--image-size {image_size}: the network has {parameters:,} parameters, and to train it with {images} "
        f"at a time takes at least {format_bytes(needed)} of memory; this machine has "
        f"{format_bytes(available)}. Lower one of these options" + (" or --batch-size" if batch_size > 1 else "")
    )
