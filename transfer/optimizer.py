"""AdamW with a learning rate for each variable: one for the head, and one for each stage of the backbone."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from transfer.backbone import Network
from transfer.config import FineTuneConfig
from transfer.freezing import find_stages
from workbench.training.optimizers.adam import FusedAdam


class LayerwiseAdamW(FusedAdam):
    """Adam with decoupled weight decay, and with a learning-rate factor for each variable.

    Source: Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019.
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        factors: Mapping[str, float] | None = None,
        decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Set the rates.

        Args:
            learning_rate: learning rate of the variables whose factor is 1.
            factors: path of a variable -> factor of its learning rate.
            decay: weight decay of the kernels (weights of two or more dimensions), multiplied by their learning rate.
            **kwargs: arguments of keras.optimizers.Adam.
        """
        super().__init__(learning_rate, **kwargs)
        self._factors, self._decay = dict(factors or {}), decay
        self._rates: list[tuple[float, float]] = []

    def build(self, variables: list[keras.Variable]) -> None:
        """Store each variable's factor and decay, in the order of its index."""
        self._rates = [
            (self._factors[variable.path], self._decay if len(variable.shape) > 1 else 0.0) for variable in variables
        ]
        super().build(variables)

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable | tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Decay one variable and update it with its own learning rate."""
        factor, decay = self._rates[self._get_variable_index(variable)]
        rate = keras.ops.cast(learning_rate, variable.dtype) * factor
        if decay:
            self.assign_sub(variable, variable * (rate * decay))
        super().update_step(gradient, variable, rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factors": self._factors, "decay": self._decay}


def build_optimizer(network: Network, training: FineTuneConfig, model: keras.Model) -> LayerwiseAdamW:
    """Build the optimizer of a fine-tuning. The head and each stage of the backbone have a learning rate of their own.

    Args:
        network: the network that is fine-tuned.
        training: settings of the training, resolved.
        model: what is fitted: a part of the network, or a copy of it whose layers have the same names.
    """
    head_rate, backbone_rate = training.learning_rate, training.backbone_learning_rate
    if head_rate is None or backbone_rate is None:
        raise TypeError("the learning rates are not resolved; see transfer.defaults.resolve")
    factor_of, factor = {}, backbone_rate / head_rate
    for stage in reversed(find_stages(network)):
        factor_of.update({layer.name: factor for layer in stage.layers})
        factor *= training.lr_decay
    trained = [(weight, layer.name) for layer in model.layers for weight in layer.trainable_weights]
    return LayerwiseAdamW(
        head_rate,
        factors={weight.path: factor_of.get(name, 1.0) for weight, name in trained},
        decay=training.weight_decay,
        use_ema=training.ema > 0,
        ema_momentum=training.ema or 0.99,
    )
