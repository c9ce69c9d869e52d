"""Compiled networks, each traced once and used by every trial or training that can share its graph."""

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cnn_scratch.config import NetworkConfig
from cnn_scratch.fast_model import build_fast_model, choose_cnn_precision
from cnn_scratch.model import build_cnn
from workbench.config import TrainingConfig
from workbench.errors import UserError
from workbench.training.optimizer import compile_model, needs_one_hot
from workbench.training.training_model import TrainingModel, set_value

_GRAPH_CHANGING = ("optimizer", "weight_decay", "label_smoothing", "ema", "precision")  # settings of the training
_GRAPH_BYTES = 40 << 20  # of a traced graph, about
_DRAWN = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")


class AdjustableDropout(keras.layers.Dropout):
    """Dropout whose rate is a variable, so that one traced graph serves every rate.

    It draws and scales exactly as keras.layers.Dropout does. It is used while a graph is shared, and never saved.
    """

    def __init__(self, **kwargs: Any) -> None:
        """Make the layer with a rate of 0.5.

        Args:
            **kwargs: arguments of keras.layers.Layer.
        """
        super().__init__(rate=0.5, **kwargs)
        # Variables of TensorFlow's, so that they are no weights of the model.
        self._drop_rate = tf.Variable(0.5, trainable=False)
        self._scale = tf.Variable(2.0, trainable=False)

    def set_rate(self, rate: float) -> None:
        """Drop this share of the inputs from now on."""
        self._drop_rate.assign(rate)
        self._scale.assign(1 / (1 - rate))

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Drop inputs at random and scale up the rest, in training only."""
        if not training:
            return inputs
        seed = tf.cast(tf.math.floormod(self.seed_generator.next(), tf.int32.max - 1), tf.int32)  # as Keras casts it
        draw = tf.random.stateless_uniform(tf.shape(inputs), seed, dtype=inputs.dtype)
        kept = draw >= tf.cast(self._drop_rate, inputs.dtype)
        return tf.where(kept, inputs * tf.cast(self._scale, inputs.dtype), tf.zeros_like(inputs))


def draw_weights(model: keras.Model, seed: int) -> None:
    """Draw all weights of a model by its initializers. The same seed gives the same weights, whatever was before."""
    for position, layer in enumerate(layer for layer in model.layers if layer.weights):
        for offset, name in enumerate(_DRAWN):
            variable, initializer = getattr(layer, name, None), getattr(layer, f"{name}_initializer", None)
            if variable is None or initializer is None:
                continue
            config = initializer.get_config()
            if "seed" in config:
                config["seed"] = (seed * 1_000_003 + position * len(_DRAWN) + offset) % (1 << 31)
            set_value(variable, type(initializer).from_config(config)(variable.shape, variable.dtype))


@dataclasses.dataclass(frozen=True)
class _SharedNetwork:
    """A traced network: the compiled model that is trained, the plain one it is made from, and their dropout layer.

    `dropout` is None if the rate is a constant of the graph.
    """

    model: TrainingModel
    plain: keras.Model
    dropout: AdjustableDropout | None

    def reset(self, network: NetworkConfig, training: TrainingConfig) -> None:
        """Set weights, optimizer and rates to those of a network that was just built."""
        draw_weights(self.plain, training.seed)
        self.model.load_saved_weights()
        optimizer = self.model.optimizer
        make_zeros = functools.cache(tf.zeros)  # most zeros are used twice, for both moments of a weight
        for variable in optimizer.variables:
            set_value(variable, make_zeros(variable.shape, variable.dtype))
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer.dynamic_scale.assign(optimizer.initial_scale)
        optimizer.learning_rate.assign(training.learning_rate)
        if self.dropout:
            self.dropout.set_rate(network.dropout)

    def count_bytes(self) -> int:
        """Estimate the memory: the graph, and the weights with their gradients and two moments."""
        return _GRAPH_BYTES + 16 * self.model.count_params()


class GraphCache:
    """The compiled networks of a process, one for each different graph.

    Learning rate and, for sweeps, dropout rate are variables of the graph, and the batch size is left open. So of the
    reference's 9,216 points, 96 share one graph.
    """

    def __init__(self, memory: int = 1 << 30, *, adjusts_dropout: bool = True) -> None:
        """Make an empty cache.

        Args:
            memory: bytes that the networks may take. The one that was used longest ago is dropped for a new one, and
                a network that alone takes more is not kept.
            adjusts_dropout: whether networks that differ in their dropout rate share a graph. Then `get_saved_model`
                cannot be saved, because it has an `AdjustableDropout`; see `build_plain_model`.
        """
        self._networks: dict[tuple, _SharedNetwork] = {}
        self._memory, self._adjusts_dropout = memory, adjusts_dropout
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def lend(
        self,
        network: NetworkConfig,
        training: TrainingConfig,
        image_size: int,
        num_classes: int,
        *,
        steps_per_execution: int = 1,
    ) -> Iterator[TrainingModel]:
        """Give a compiled model to one training at a time: another thread gets another model.

        After any error but a `UserError`, the model is dropped.

        Args:
            network: settings of the network.
            training: settings of the training, with the number format resolved.
            image_size: side of the square images in pixels.
            num_classes: number of logits.
            steps_per_execution: see `compile_model`.
        """
        rate = None if self._adjusts_dropout else network.dropout
        key = (*self.make_key(network, training, image_size), num_classes, steps_per_execution, rate)
        with self._lock:
            shared = self._networks.pop(key, None)
        if shared is None:
            dropout = AdjustableDropout(name="dropout") if self._adjusts_dropout else None
            plain = build_cnn(network, image_size, num_classes, dropout)
            model = build_fast_model(plain, choose_cnn_precision(network, training, image_size))
            compile_model(model, training, steps_per_execution=steps_per_execution)
            shared = _SharedNetwork(model, plain, dropout)
        shared.reset(network, training)
        try:
            yield shared.model
        except UserError:  # such as a loss of NaN; `reset` sets all that the training has changed
            self._keep(key, shared)
            raise
        self._keep(key, shared)

    def take(
        self, network: NetworkConfig, training: TrainingConfig, image_size: int, num_classes: int
    ) -> TrainingModel:
        """Return a compiled model, reset to its initial state: weights from the seed, optimizer state zero.

        The next call may return the same one. See `lend` for the arguments.
        """
        with self.lend(network, training, image_size, num_classes) as model:
            return model

    def _keep(self, key: tuple, shared: _SharedNetwork) -> None:
        if shared.count_bytes() > self._memory:
            return
        with self._lock:
            while self._count_bytes() + shared.count_bytes() > self._memory:
                self._networks.pop(next(iter(self._networks)))
            self._networks[key] = shared

    @staticmethod
    def make_key(network: NetworkConfig, training: TrainingConfig, image_size: int) -> tuple:
        """Return a key; trials with equal keys share a traced graph."""
        names = [field.name for field in dataclasses.fields(NetworkConfig) if field.name != "dropout"]
        settings = [getattr(network, name) for name in names] + [getattr(training, name) for name in _GRAPH_CHANGING]
        return image_size, needs_one_hot(training), *map(str, settings)

    def _count_bytes(self) -> int:
        return sum(shared.count_bytes() for shared in self._networks.values())


def build_plain_model(
    network: NetworkConfig, image_size: int, num_classes: int, weights: list[np.ndarray]
) -> keras.Model:
    """Build the network with given weights as a plain Keras model, which loads without this project's code.

    Args:
        network: settings of the network.
        image_size: side of the square images in pixels.
        num_classes: number of logits.
        weights: `get_weights()` of a model that `GraphCache` or `build_cnn` made.
    """
    model = build_cnn(network, image_size, num_classes)
    model.set_weights(weights)
    return model
