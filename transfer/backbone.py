"""The network that is fine-tuned: a pretrained backbone, its preprocessing inside, and a new head."""

import dataclasses
import difflib
import sys

import keras

from transfer.weights import file_weights, imagenet_weights
from workbench.errors import UserError
from workbench.finished_run import open_run
from workbench.keras_graph import LOGITS, flatten_model, list_inputs

POOL, DROPOUT = "head_pool", "head_dropout"


@dataclasses.dataclass(frozen=True)
class Network:
    """A backbone with a head.

    Attributes:
        model: flat functional Keras model from uint8 RGB (batch, size, size, 3) to float32 logits.
        layers: the backbone's layers in order, its input layer first; `--k` counts them.
        name: of the backbone, such as ResNet50.
        dropout_rates: of the backbone's dropout layers, by name.
    """

    model: keras.Model
    layers: list
    name: str
    dropout_rates: dict


def build_network(config, num_classes):
    """Backbone and head, not compiled; the initial weights depend on the seed alone.

    Args:
        config: a resolved `transfer.config.TransferConfig`.
        num_classes: number of logits.

    Raises:
        UserError: the backbone is unknown, the image too small for it, or its weights cannot be had.
    """
    keras.utils.set_random_seed(config.seed)
    backbone = _from_run(config.from_) if config.from_ else _application(config)
    x = backbone.output
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D(name=POOL)(x)
    dropout = keras.layers.Dropout(0.5, name=DROPOUT)  # with a rate of 0 it would draw no seed, and the head others
    dropout.rate = config.dropout
    x = dropout(x)
    logits = keras.layers.Dense(num_classes, dtype="float32", name=LOGITS)(x)
    model = keras.Model(backbone.input, logits, name=backbone.name)
    rates = {layer.name: layer.rate for layer in backbone.layers if isinstance(layer, keras.layers.Dropout)}
    return Network(model, list(backbone.layers), "network" if config.from_ else config.backbone, rates)


def _application(config):
    names = [name for name in dir(keras.applications) if name[0].isupper()]
    if config.backbone not in names:
        close = difflib.get_close_matches(config.backbone.lower(), [name.lower() for name in names], n=1)
        meant = [name for name in names if name.lower() in close] or names
        raise UserError(f"--backbone {config.backbone}: unknown; did you mean {' or '.join(meant)}?")
    build, size = getattr(keras.applications, config.backbone), config.image_size
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    preprocessed = sys.modules[build.__module__].preprocess_input(keras.ops.cast(image, "float32"))
    try:
        output = build(include_top=False, weights=None, input_tensor=preprocessed, input_shape=(size, size, 3)).output
    except ValueError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--image-size {size}: {config.backbone} cannot take it ({reason})") from error
    model = keras.Model(image, output, name=config.backbone.lower())
    if config.weights == "imagenet":
        model.set_weights(imagenet_weights(build))
    elif config.weights != "none":
        model.set_weights(file_weights(build, size, config.weights, config.backbone))
    return flatten_model(model)


def _from_run(folder):
    """What a trained network computes up to its last dense layer and the dropout in front of it."""
    model = open_run(folder).model
    last = model.layers[-1].input
    before = list_inputs(model.layers[-1])[0]
    if isinstance(before, keras.layers.Dropout):
        last = before.input
    return keras.Model(model.input, last, name=model.name)
