"""Fine-tune a pretrained network: the head alone, all but the first k layers, or everything."""

import sys

from transfer.commands import RUN
from workbench import cli


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return cli.main(RUN, argv)


if __name__ == "__main__":  # parse first: the imports below load TensorFlow
    sys.exit(main())

from pathlib import Path

from transfer.backbone import build_network
from transfer.config import TransferConfig
from transfer.defaults import resolve
from transfer.features import describe_cost
from transfer.finetune import (
    build_trained_part,
    check_augmentation,
    count_trained_parameters,
    make_unfreezing,
    prepare_features,
)
from transfer.freezing import build_table, find_last_frozen, freeze, warn_of_cut_stage
from transfer.memory import check_memory
from transfer.optimizer import build_optimizer
from transfer.plan import plan_options
from transfer.precision import build_in_precision, choose_model_precision
from workbench.commandline.calls import format_call
from workbench.config import option_name, replace
from workbench.console import console, show_decoding
from workbench.data.dataset import load_dataset
from workbench.data.description import describe
from workbench.data.splits.earlier_runs import describe_unchecked_runs, find_used_images, list_unchecked_runs
from workbench.devices.multi_worker import compare_processes
from workbench.runtime import distribute
from workbench.training.augmentation_options import check_augmentation_options
from workbench.training.cross_validation import cross_validate
from workbench.training.loop import explain_interrupt, train_network
from workbench.training.lr_finder import suggest_learning_rate
from workbench.training.optimizer import compile_model
from workbench.training.plan import is_planned
from workbench.training.run_folder import choose_run_folder, find_resumed_split, resume_config
from workbench.training.saved_state import has_checkpoint


def run(config: TransferConfig) -> Path:
    """Fine-tune one network and leave a run folder.

    Returns:
        Path of the run folder: `model.keras` (the whole network of the best epoch), `last.keras` and `best.keras` (the
        part that was trained, of the last and the best epoch), `history.csv`, `metrics.json`, `config.yaml`,
        `classes.json`. With `lr_find` it holds only `lr_find.png` and `lr_find.csv`; with `folds` it holds a run
        folder for each fold, see `cross_validate`.

    Raises:
        UserError: the data, the backbone, its weights, the freezing or the run folder cannot be used, the budget is
            too short, or the loss became NaN.
    """
    if config.run.folds:
        kind = f"{'finetuned' if config.backbone.from_ else config.backbone.backbone}-{config.freezing.mode}"
        return cross_validate(config, run, command="transfer.run", kind=kind)
    asked = config
    if not config.run.resume:
        check_augmentation_options(config)
    config = resolve(resume_config(config) if config.run.resume else config)
    used, kept = find_used_images(config.backbone.from_), find_resumed_split(config.run)
    dataset = load_dataset(config.data, config.training.seed, show_decoding, kept, used)

    compare_processes(config, dataset.split)
    with distribute(config.training.strategy):
        network = build_network(config.backbone, dataset.image_size, len(dataset.class_names), config.training.seed)
        num_frozen = freeze(network, config.freezing)
        cut = find_last_frozen(network) if config.features.views else None  # its output is stored
        if is_planned(asked) and not config.run.resume:
            config = plan_options(config, asked.given, dataset, network, cut)
        check_augmentation(config.training, cut)
        part = build_trained_part(network, cut)
        check_memory(network, part, dataset, config)

        name = f"{network.name}-{config.freezing.mode}-{dataset.name}-{dataset.image_size}px".lower()
        folder = choose_run_folder(config.run, f"{name}-lr-find" if config.finder.lr_find else name)
        with folder.lock(), explain_interrupt(folder, "transfer.run"):
            precision = choose_model_precision(part, config.training)
            config = replace(config, precision=precision)  # written down: a resumed run keeps it
            unchecked = describe_unchecked_runs(list_unchecked_runs(config.backbone.from_))
            console.print(*describe(dataset, config.training.class_weights), *unchecked, sep="\n")
            console.print(build_table(network, num_frozen), *warn_of_cut_stage(network, num_frozen), sep="\n")
            console.print(f"precision of the trained layers: {precision}")

            has_trained_head = bool(config.run.resume) and has_checkpoint(folder.path)
            head_is_done = bool(config.training.head_epochs) and has_trained_head
            computed = prepare_features(network, dataset, config, cut, needs_head=not has_trained_head)
            for features in computed:
                config = replace(config, feature_precision=features.precision)  # written down like `precision`
            inputs = dataset if cut is None else computed[-1].dataset
            model = build_in_precision(part, precision)
            model.unfreezing = make_unfreezing(network, config.training, model)
            compile_model(model, config.training, build_optimizer(network, config.training, model))
            if config.finder.lr_find:
                rate = suggest_learning_rate(model, inputs, config.training, folder.path)
                print_next_command(asked, config, rate)
                return folder.path
            train_network(
                folder,
                config,
                model,
                inputs,
                command="transfer.run",
                facts={
                    "mode": config.freezing.mode,
                    "frozen_layers": num_frozen,
                    "parameters": network.model.count_params(),
                    "trained_parameters": count_trained_parameters(part),
                    **describe_cost(computed, is_known=not head_is_done),
                    "feature_precision": config.features.feature_precision if computed or head_is_done else None,
                    "precision": precision,
                },
                whole_network=None if cut is None else network.model,
            )
    return folder.path


def print_next_command(asked: TransferConfig, config: TransferConfig, rate: float) -> None:
    """Print the command that trains with a learning rate; the backbone's rate keeps its ratio to the head's.

    Args:
        asked: the configuration as typed.
        config: the same configuration, resolved.
        rate: of the head.
    """
    training = config.training
    ratio = (training.backbone_learning_rate or 0.0) / (training.learning_rate or 1.0)
    rates = {"learning_rate": rate, "backbone_learning_rate": rate * ratio}
    options = cli.format_options(asked, skip={"lr_find", "name", "overwrite", *rates})
    chosen = "".join(f" {option_name(name)} {value:.2g}" for name, value in rates.items() if value)
    console.print(f"train with it:  {format_call('transfer.run')}{options}{chosen}", soft_wrap=True)
