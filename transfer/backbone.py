"""Build the network that is fine-tuned: a pretrained backbone with its preprocessing, and a new head."""

import dataclasses
import difflib
import sys
from collections.abc import Callable

import keras

from transfer.config import BackboneConfig
from transfer.weights import check_weights, load_file_weights, load_imagenet_weights, set_pretrained_weights
from workbench.errors import UserError
from workbench.finished_run import open_run
from workbench.keras_graph import LOGITS, flatten_model, list_inputs, naming_from_start

POOL, DROPOUT = "head_pool", "head_dropout"  # names of the head's layers, with LOGITS


@dataclasses.dataclass(frozen=True)
class Network:
    """A backbone with a head.

    Attributes:
        model: flat functional Keras model from uint8 RGB images (batch, size, size, 3) to float32 logits.
        layers: the backbone's layers in order, its input layer first; `--k` counts them.
        name: name of the backbone, such as ResNet50.
        dropout_rates: name of a dropout layer of the backbone -> its rate.
    """

    model: keras.Model
    layers: list[keras.Layer]
    name: str
    dropout_rates: dict[str, float]


def build_network(backbone: BackboneConfig, image_size: int, num_classes: int, seed: int) -> Network:
    """Build a backbone and a head, not compiled. The initial weights depend only on the seed.

    Args:
        backbone: settings of the backbone and the head's dropout.
        image_size: side of the square images in pixels.
        num_classes: number of logits.
        seed: seed of the weights that are drawn.

    Raises:
        UserError: the backbone is unknown, the images are too small for it, or its weights cannot be loaded.
    """
    keras.utils.set_random_seed(seed)
    model = _load_trained(backbone.from_) if backbone.from_ else _build_application(backbone, image_size)
    x = model.output
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D(name=POOL)(x)
    dropout = keras.layers.Dropout(0.5, name=DROPOUT)  # a rate of 0 would draw no seed, and change the head's weights
    dropout.rate = backbone.dropout
    x = dropout(x)
    logits = keras.layers.Dense(num_classes, dtype="float32", name=LOGITS)(x)
    return Network(
        model=keras.Model(model.input, logits, name=model.name),
        layers=list(model.layers),
        name="network" if backbone.from_ else backbone.backbone,
        dropout_rates={layer.name: layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)},
    )


@naming_from_start()
def _build_application(backbone: BackboneConfig, image_size: int) -> keras.Model:
    """Build a network of keras.applications without its top, with its preprocessing and its weights.

    Its layers have the same names each time: `--until` names a layer, and stored features are found by the names.
    """
    build = find_application(backbone.backbone)
    check_weights(backbone.weights)
    image = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    preprocessed = sys.modules[build.__module__].preprocess_input(keras.ops.cast(image, "float32"))
    shape = (image_size, image_size, 3)
    try:
        output = build(include_top=False, weights=None, input_tensor=preprocessed, input_shape=shape).output
    except ValueError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--image-size {image_size}: {backbone.backbone} cannot take it ({reason})") from error
    model = keras.Model(image, output, name=backbone.backbone.lower())
    if backbone.weights == "imagenet":
        set_pretrained_weights(model, load_imagenet_weights(build))
    elif backbone.weights != "none":
        set_pretrained_weights(model, load_file_weights(build, image_size, backbone.weights, backbone.backbone))
    return flatten_model(model)


def find_application(name: str) -> Callable[..., keras.Model]:
    """Return the function of keras.applications that builds a network.

    Raises:
        UserError: there is none of this name.
    """
    names = [name for name in dir(keras.applications) if name[0].isupper()]
    if name not in names:
        close = difflib.get_close_matches(name.lower(), [name.lower() for name in names], n=1)
        suggested = [name for name in names if name.lower() in close]
        hint = f"did you mean {' or '.join(suggested)}?" if suggested else f"expected {', '.join(names)}"
        raise UserError(f"--backbone {name}: unknown; {hint}")
    return getattr(keras.applications, name)


def _load_trained(folder: str) -> keras.Model:
    """Load a trained network without its last dense layer and the dropout before it."""
    model = open_run(folder).model
    last = model.layers[-1].input
    before = list_inputs(model.layers[-1])[0]
    if isinstance(before, keras.layers.Dropout):
        last = before.input
    return keras.Model(model.input, last, name=model.name)
