"""One trial of a sweep of the network: KerasTuner's hypermodel of it."""

from cnn_scratch.graph_cache import GraphCache, build_plain_model
from cnn_scratch.model import network_cost
from workbench.sweep.hypermodel import TrialHyperModel

_OVERHEAD = 5e6  # multiply-adds that take as long as the rest of the work on an image


class CnnHyperModel(TrialHyperModel):
    """KerasTuner's view of the network: builds it for a point of the space, and fits it."""

    def __init__(self, *args):
        super().__init__(*args)
        self._graphs = GraphCache()

    def graph_key(self, values):
        """What the trials of two points have in common if they share a traced graph."""
        config = self.with_values(values)
        return GraphCache.make_key(config.network, config.training, config.data.image_size)

    def make(self, config):
        """A compiled model as freshly built for `config`."""
        return self._graphs.take(config.network, config.training, config.data.image_size, self.num_classes(config))

    def plain(self, config, weights):
        """The network with the given weights as a plain Keras model."""
        return build_plain_model(config.network, config.data.image_size, self.num_classes(config), weights)

    def work(self, config):
        """Multiply-adds of an image, all epochs together; `_OVERHEAD` stands for what is done besides them."""
        cost = network_cost(config.network, config.data.image_size, self.num_classes(config))
        return config.training.epochs * (cost.multiply_adds + _OVERHEAD)

    def parameters(self, config):
        """Number of trainable parameters."""
        return network_cost(config.network, config.data.image_size, self.num_classes(config)).parameters
