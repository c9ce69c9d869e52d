"""Train one five-block CNN from scratch."""

import dataclasses

from cnn_scratch.model import NetworkConfig, check_network, network_cost
from vision import cli
from vision.data.dataset import DataConfig, load_dataset, resolve_image_size
from vision.runs import RunConfig
from vision.settings import DevicesConfig, RecipeConfig, TrainingConfig, check_training
from vision.training_run import ResumeConfig, resumed, run_folder, train_in


@dataclasses.dataclass(frozen=True)
class TrainConfig(RunConfig, ResumeConfig, DevicesConfig, RecipeConfig, TrainingConfig, NetworkConfig, DataConfig):
    """Configuration of `python -m cnn_scratch.train`."""


def train(config):
    """Train one network and leave a run folder.

    Args:
        config: a `TrainConfig`.

    Returns:
        Path of the run folder: `model.keras` (best epoch), `last.keras` (last epoch, with the optimizer),
        `history.csv`, `metrics.json`, `config.yaml`, `classes.json`.

    Raises:
        UserError: the data, the network or the run folder cannot be used, or the loss became NaN.
    """
    config = resolve_image_size(resumed(config) if config.resume else config)
    check_training(config)
    check_network(config, config.image_size)
    from vision.runtime import distribution, load_tensorflow

    load_tensorflow()
    from cnn_scratch.graphs import initialize
    from cnn_scratch.model import build_cnn
    from vision.console import decoding_progress
    from vision.optimization import compiled

    dataset = load_dataset(config, config.seed, decoding_progress)
    num_classes = len(dataset.class_names)
    cost = network_cost(config, config.image_size, num_classes)

    def make_model():
        model = build_cnn(config, config.image_size, num_classes)
        initialize(model, config.seed)
        return compiled(model, config)

    folder = run_folder(config, f"cnn-{dataset.name}-{config.image_size}px")
    network = f"network: {cost.parameters:,} parameters, {cost.multiply_adds / 1e6:,.1f} million multiply-adds an image"
    facts = {"train_module": "cnn_scratch.train", **dataclasses.asdict(cost)}
    with distribution(config.strategy):
        train_in(folder, config, dataset, make_model, facts, [network])
    return folder.path


def main(argv=None):
    """Run the command line."""
    cli.main(train, TrainConfig, prog="python -m cnn_scratch.train", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
