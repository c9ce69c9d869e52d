"""Train one five-block CNN from scratch."""

import sys

from cnn_scratch.commands import TRAIN
from workbench import cli


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return cli.main(TRAIN, argv)


if __name__ == "__main__":  # parse first: the imports below load TensorFlow
    sys.exit(main())

import dataclasses
from pathlib import Path

from cnn_scratch.config import TrainConfig, check_network
from cnn_scratch.fast_model import choose_cnn_precision
from cnn_scratch.graph_cache import GraphCache
from cnn_scratch.model import check_growing, check_memory, compute_network_cost
from cnn_scratch.plan import plan_network, plan_options
from workbench.commandline.calls import format_call
from workbench.config import check_training, replace
from workbench.console import console, show_decoding
from workbench.data.dataset import Dataset, choose_image_size, load_dataset
from workbench.data.description import describe
from workbench.data.pipeline import count_steps
from workbench.devices.multi_worker import compare_processes
from workbench.runtime import distribute
from workbench.training.augmentation_options import check_augmentation_options, switch_augmentation_on
from workbench.training.cross_validation import cross_validate
from workbench.training.loop import train_network
from workbench.training.lr_finder import suggest_learning_rate
from workbench.training.optimizer import choose_steps_per_execution
from workbench.training.plan import is_planned
from workbench.training.run_folder import choose_run_folder, find_resumed_split, resume_config

# The folds of a cross-validation, and the calls of `train` in a Python session, share the graphs of small networks.
_GRAPHS = GraphCache(memory=1 << 28, adjusts_dropout=False)


def train(config: TrainConfig) -> Path:
    """Train one network and leave a run folder.

    Returns:
        Path of the run folder: `model.keras` (best epoch), `last.keras` (last epoch, with the optimizer),
        `history.csv`, `metrics.json`, `config.yaml`, `classes.json`. With `lr_find` it holds only `lr_find.png` and
        `lr_find.csv`; with `folds` it holds a run folder for each fold, see `cross_validate`.

    Raises:
        UserError: the data, the network or the run folder cannot be used, the budget is too short, or the loss
            became NaN.
    """
    if config.run.folds:
        return cross_validate(config, train, command="cnn_scratch.train", kind="cnn")
    asked = config
    if config.run.resume:
        config = resume_config(config)
    else:
        config = switch_augmentation_on(config)
        check_augmentation_options(config)
    plans = is_planned(config) and not config.run.resume
    check_training(config.training)
    if plans:
        config = plan_network(config)
    image_size = choose_image_size(config.data)
    config = replace(config, image_size=image_size)
    check_network(config.network, image_size)
    check_growing(config.network, config.training.start_size, image_size)
    check_memory(config.network, image_size)

    dataset = load_dataset(config.data, config.training.seed, show_decoding, find_resumed_split(config.run))
    num_classes = len(dataset.class_names)
    if plans:
        config = plan_options(config, dataset)
    check_memory(config.network, image_size, num_classes, min(config.training.batch_size, len(dataset.train)))
    precision = choose_cnn_precision(config.network, config.training, image_size)
    config = replace(config, precision=precision)  # written down: a resumed run keeps its number format
    compare_processes(config, dataset.split)
    cost = compute_network_cost(config.network, image_size, num_classes)
    if config.finder.lr_find:
        return try_learning_rates(asked, config, dataset)

    folder = choose_run_folder(config.run, f"cnn-{dataset.name}-{image_size}px")
    with folder.lock(), distribute(config.training.strategy):
        for line in describe(dataset, config.training.class_weights):
            console.print(line)
        multiply_adds = f"{cost.multiply_adds / 1e6:,.1f} million multiply-adds an image"
        console.print(f"network: {cost.parameters:,} parameters, {multiply_adds}\nprecision: {precision}")

        at_once = choose_steps_per_execution(count_steps(dataset, config.training.batch_size))
        is_single = config.training.strategy == "single"  # a distributed network belongs to its strategy's scope
        graphs = _GRAPHS if is_single else GraphCache(adjusts_dropout=False)
        sizes = image_size, num_classes
        with graphs.lend(config.network, config.training, *sizes, steps_per_execution=at_once) as model:
            train_network(
                folder,
                config,
                model,
                dataset,
                command="cnn_scratch.train",
                facts={**dataclasses.asdict(cost), "precision": precision},
            )
    return folder.path


def try_learning_rates(asked: TrainConfig, config: TrainConfig, dataset: Dataset) -> Path:
    """Run the learning-rate range test, save its figure, and print the command that trains with the suggestion.

    Args:
        asked: the configuration as typed, used to print the next command.
        config: the same configuration, resolved.

    Returns:
        Path of the run folder.
    """
    folder = choose_run_folder(config.run, f"cnn-{dataset.name}-{dataset.image_size}px-lr-find")
    sizes = dataset.image_size, len(dataset.class_names)
    with folder.lock(), _GRAPHS.lend(config.network, config.training, *sizes) as model:
        rate = suggest_learning_rate(model, dataset, config.training, folder.path)
    options = cli.format_options(asked, skip=("lr_find", "learning_rate", "name", "overwrite"))
    console.print(f"train with it:  {format_call('cnn_scratch.train')}{options} --learning-rate {rate:.2g}")
    return folder.path
