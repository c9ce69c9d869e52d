"""Train one five-block CNN from scratch."""

import dataclasses
import time

from cnn_scratch.model import SMALLEST_IMAGE, NetworkConfig, check_network, network_cost
from workbench import cli
from workbench.config import DataConfig
from workbench.data.dataset import load_dataset, resolve_image_size
from workbench.errors import UserError
from workbench.training.config import (
    BudgetConfig,
    DevicesConfig,
    ExecutionConfig,
    LearningRateConfig,
    PrecisionConfig,
    ProgressiveConfig,
    RecipeConfig,
    TrainingConfig,
    check_training,
    seconds,
)
from workbench.training.run_folder import RunConfig
from workbench.training.training_run import ResumeConfig, resumed, run_folder, train_in


@dataclasses.dataclass(frozen=True)
class TrainConfig(
    RunConfig,
    ResumeConfig,
    DevicesConfig,
    ExecutionConfig,
    PrecisionConfig,
    BudgetConfig,
    LearningRateConfig,
    ProgressiveConfig,
    RecipeConfig,
    TrainingConfig,
    NetworkConfig,
    DataConfig,
):
    """Configuration of `python -m cnn_scratch.train`."""


def train(config):
    """Train one network and leave a run folder.

    Args:
        config: a `TrainConfig`.

    Returns:
        Path of the run folder: `model.keras` (best epoch), `last.keras` (last epoch, with the optimizer),
        `history.csv`, `metrics.json`, `config.yaml`, `classes.json`; with `lr_find` it holds `lr_find.png` and `.csv`
        alone.

    Raises:
        UserError: the data, the network or the run folder cannot be used, nothing fits into the budget, or the loss
            became NaN.
    """
    started, asked = time.perf_counter(), config
    seconds(config.budget)
    config = resolve_image_size(resumed(config) if config.resume else config)
    check_training(config)
    check_network(config, config.image_size)
    _check_progressive(config)
    from workbench.runtime import distribution, load_tensorflow

    load_tensorflow()
    from cnn_scratch.fast_model import build_fast_model, choose_cnn_precision
    from cnn_scratch.graph_cache import draw_weights
    from cnn_scratch.model import build_cnn
    from workbench.console import decoding_progress
    from workbench.data.pipeline import steps_per_epoch
    from workbench.training.optimizer import choose_steps_per_execution, compile_model

    dataset = load_dataset(config, config.seed, decoding_progress)
    num_classes = len(dataset.class_names)
    cost = network_cost(config, config.image_size, num_classes)
    precision = choose_cnn_precision(config, config, config.image_size)

    def make_model():
        plain = build_cnn(config, config.image_size, num_classes)
        draw_weights(plain, config.seed)
        model = build_fast_model(plain, precision)
        steps = 1 if config.lr_find else choose_steps_per_execution(steps_per_epoch(dataset, config.batch_size))
        compile_model(model, config, steps_per_execution=steps)
        return model

    name = f"cnn-{dataset.name}-{config.image_size}px"
    if config.lr_find:
        return _find_learning_rate(asked, config, make_model, dataset, name)
    folder = run_folder(config, name)
    network = f"network: {cost.parameters:,} parameters, {cost.multiply_adds / 1e6:,.1f} million multiply-adds an image"
    facts = {**dataclasses.asdict(cost), "precision": precision}
    lines = [network, f"precision: {precision}"]
    with distribution(config.strategy):
        train_in(folder, config, dataset, make_model, facts, module="cnn_scratch.train", started=started, lines=lines)
    return folder.path


def _check_progressive(config):
    """Refuse images that cannot grow."""
    if config.start_size and config.start_size < SMALLEST_IMAGE:
        raise UserError(f"--start-size {config.start_size}: must be 0, or at least {SMALLEST_IMAGE}")
    if 0 < config.start_size < config.image_size and config.head != "gap":
        raise UserError(
            f"--start-size {config.start_size}: needs --head gap, since flatten takes one image size alone; "
            "0 keeps one size"
        )


def _find_learning_rate(asked, config, make_model, dataset, base_name):
    """Run the range test, leave its figure, and print the command that trains with what it suggests."""
    from workbench.console import console
    from workbench.training.lr_finder import leave, range_test

    folder = run_folder(config, f"{base_name}-lr-find")
    with folder.locked():
        found = range_test(make_model(), config, dataset)
        picture = leave(found, folder.path)
    rate = f"{found.suggestion:.2g}"
    words = cli.format_options(asked, skip=("lr_find", "learning_rate", "name", "overwrite"))
    console.print(f"the loss falls fastest at a learning rate of {rate}: {picture}", markup=False)
    console.print(f"train with it:  python -m cnn_scratch.train{words} --learning-rate {rate}", markup=False)
    return folder.path


def main(argv=None):
    """Run the command line."""
    cli.main(train, TrainConfig, prog="python -m cnn_scratch.train", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
