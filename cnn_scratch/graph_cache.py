"""Compiled graphs of the network, each traced once and used by every trial that can share it."""

import dataclasses

import keras
import tensorflow as tf

from cnn_scratch.fast_model import accelerated, fastest_precision
from cnn_scratch.model import NetworkConfig, build_cnn
from workbench.training.optimizer import compiled, takes_one_hot

_GRAPH_CHANGING = ("weight_decay", "label_smoothing", "ema", "precision")  # besides the network
_GRAPH_SIZE = 40 << 20  # bytes
_INITIALIZED = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")


class AdjustableDropout(keras.layers.Dropout):
    """Dropout whose rate is a variable, so that one traced graph serves every rate.

    Draws and scales exactly as keras.layers.Dropout does. It is used while a graph is shared and never saved.
    The variables are TensorFlow's own, so that they are no weights of the model.
    """

    def __init__(self, **kwargs):
        super().__init__(rate=0.5, **kwargs)
        self._drop_rate = tf.Variable(0.5, trainable=False)
        self._scale = tf.Variable(2.0, trainable=False)

    def set_rate(self, rate):
        """Drop this share of the inputs from now on."""
        self._drop_rate.assign(rate)
        self._scale.assign(1 / (1 - rate))

    def call(self, inputs, training=False):
        if not training:
            return inputs
        seed = tf.cast(tf.math.floormod(self.seed_generator.next(), tf.int32.max - 1), tf.int32)  # as Keras casts it
        draw = tf.random.stateless_uniform(tf.shape(inputs), seed, dtype=inputs.dtype)
        kept = draw >= tf.cast(self._drop_rate, inputs.dtype)
        return tf.where(kept, inputs * tf.cast(self._scale, inputs.dtype), tf.zeros_like(inputs))


def initialize(model, seed):
    """Draw all weights anew: the same ones for the same seed, whatever the model did before."""
    for position, layer in enumerate(layer for layer in model.layers if layer.weights):
        for offset, name in enumerate(_INITIALIZED):
            variable, initializer = getattr(layer, name, None), getattr(layer, f"{name}_initializer", None)
            if variable is None or initializer is None:
                continue
            config = initializer.get_config()
            if "seed" in config:
                config["seed"] = (seed * 1_000_003 + position * len(_INITIALIZED) + offset) % (1 << 31)
            variable.assign(type(initializer).from_config(config)(variable.shape, variable.dtype))


class GraphCache:
    """The compiled models of a process, one for each network whose graph differs.

    Dropout rate and learning rate are variables of the graph, batch size is left open, so that of the
    reference's 9,216 points 96 share one graph.

    Args:
        memory: bytes that the models may take; the one used longest ago makes room for a new one.
    """

    def __init__(self, memory=1 << 30):
        self._models, self._memory = {}, memory

    def take(self, config, image_size, num_classes):
        """A compiled model as freshly built for `config`: weights from its seed, optimizer state zero."""
        key = self.key(config, image_size)
        model = self._models.pop(key, None)
        if model is None:
            plain = build_cnn(config, image_size, num_classes, AdjustableDropout(name="dropout"))
            model = compiled(accelerated(plain, fastest_precision(config, image_size)), config)
            while self._models and _size(model, *self._models.values()) > self._memory:
                self._models.pop(next(iter(self._models)))
        self._models[key] = model
        initialize(model.plain(), config.seed)
        model.set_weights(model.plain().get_weights())
        for variable in model.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))
        if hasattr(model.optimizer, "dynamic_scale"):
            model.optimizer.dynamic_scale.assign(model.optimizer.initial_scale)
        model.optimizer.learning_rate.assign(config.learning_rate)
        model.get_layer("dropout").set_rate(config.dropout)
        return model

    @staticmethod
    def key(config, image_size):
        """What two configurations must have in common to share a graph."""
        names = [field.name for field in dataclasses.fields(NetworkConfig) if field.name != "dropout"]
        return image_size, takes_one_hot(config), *(str(getattr(config, name)) for name in [*names, *_GRAPH_CHANGING])


def _size(*models):
    """Bytes that compiled models take, about: graphs, weights, gradients and two moments of each weight."""
    return sum(_GRAPH_SIZE + 16 * model.count_params() for model in models)


def plain_model(config, image_size, num_classes, weights):
    """The network with the given weights as a plain Keras model, which loads without this project's code.

    Args:
        weights: list of arrays, `get_weights()` of a model that `GraphCache` or `build_cnn` made.
    """
    model = build_cnn(config, image_size, num_classes)
    model.set_weights(weights)
    return model
