"""AdamW with a learning rate for each variable: the head's, and the backbone's falling towards the image."""

import keras

from transfer.freezing import stages
from workbench.training.optimizer import adam_step


class LayerwiseAdamW(keras.optimizers.Adam):
    """Adam with decoupled weight decay whose learning rate has a factor for each variable.

    Args:
        learning_rate: of the variables with a factor of 1.
        factors: path of a variable -> factor of its learning rate.
        decay: of the kernels' weights (those of two or more dimensions), times their own learning rate.

    Source: Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019.
    """

    def __init__(self, learning_rate=1e-3, factors=None, decay=0.0, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self._factors, self._decay = factors or {}, decay
        self._rates = []

    def build(self, variables):
        """Note each variable's factor and decay, in the order of its index."""
        self._rates = [
            (self._factors[variable.path], self._decay if len(variable.shape) > 1 else 0.0) for variable in variables
        ]
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        factor, decay = self._rates[self._get_variable_index(variable)]
        rate = keras.ops.cast(learning_rate, variable.dtype) * factor
        if decay:
            self.assign_sub(variable, variable * (rate * decay))
        adam_step(self, gradient, variable, rate)

    def get_config(self):
        return {**super().get_config(), "factors": self._factors, "decay": self._decay}


def optimizer(network, config, model):
    """The optimizer of a fine-tuning: the head at its rate, each stage of the backbone at its own.

    Args:
        network: a `transfer.backbone.Network`.
        config: a resolved `transfer.config.TransferConfig`.
        model: what is fitted: a part of the network, or a copy of it whose layers have the same names.
    """
    factor_of, factor = {}, config.backbone_learning_rate / config.learning_rate
    for stage in reversed(stages(network)):
        factor_of.update({layer.name: factor for layer in stage.layers})
        factor *= config.lr_decay
    trained = [(weight, layer.name) for layer in model.layers for weight in layer.trainable_weights]
    factors = {weight.path: factor_of.get(name, 1.0) for weight, name in trained}
    return LayerwiseAdamW(config.learning_rate, factors, config.weight_decay)
