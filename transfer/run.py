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
from transfer.features import Features, compute_features, describe_origin
from transfer.finetune import build_trained_part, check_augmentation, count_trained_parameters, train_head
from transfer.freezing import build_table, find_last_frozen, freeze, warn_of_cut_stage
from transfer.optimizer import build_optimizer
from transfer.precision import build_in_precision, choose_model_precision
from workbench.config import replace
from workbench.console import console, show_decoding
from workbench.data.dataset import describe, load_dataset
from workbench.data.splits.earlier_runs import find_used_images
from workbench.runtime import distribute
from workbench.training.loop import explain_interrupt, train_network
from workbench.training.optimizer import compile_model
from workbench.training.run_folder import choose_run_folder, find_resumed_split, resume_config
from workbench.training.saved_state import has_checkpoint


def run(config: TransferConfig) -> Path:
    """Fine-tune one network and leave a run folder.

    Returns:
        Path of the run folder: `model.keras` (the whole network of the best epoch), `last.keras` and `best.keras` (the
        part that was trained, of the last and the best epoch), `history.csv`, `metrics.json`, `config.yaml`,
        `classes.json`.

    Raises:
        UserError: the data, the backbone, its weights, the freezing or the run folder cannot be used, the budget is
            too short, or the loss became NaN.
    """
    config = resolve(resume_config(config) if config.run.resume else config)
    training = config.training
    used, kept = find_used_images(config.backbone.from_), find_resumed_split(config.run)
    dataset = load_dataset(config.data, training.seed, show_decoding, kept, used)

    with distribute(training.strategy):
        network = build_network(config.backbone, dataset.image_size, len(dataset.class_names), training.seed)
        num_frozen = freeze(network, config.freezing)
        cut = find_last_frozen(network) if config.features.views else None  # its output is stored
        check_augmentation(training, cut)
        part = build_trained_part(network, cut)

        name = f"{network.name}-{config.freezing.mode}-{dataset.name}-{dataset.image_size}px".lower()
        folder = choose_run_folder(config.run, name)
        with folder.lock(), explain_interrupt(folder, "transfer.run"):
            precision = choose_model_precision(part, training)
            config = replace(config, precision=precision)  # written down: a resumed run keeps it
            training = config.training
            console.print(*describe(dataset, training.class_weights), sep="\n")
            console.print(build_table(network, num_frozen), *warn_of_cut_stage(network, num_frozen), sep="\n")
            console.print(f"precision of the trained layers: {training.precision}")

            computed: list[Features] = []
            has_trained_head = bool(config.run.resume) and has_checkpoint(folder.path)
            if training.head_epochs and not has_trained_head:
                head = train_head(network, dataset, config)
                accuracy, epoch = head.best["val_accuracy"], head.best["epoch"]
                console.print(f"head alone: validation accuracy {accuracy:.1%} in epoch {epoch}")
                computed += [head.features] if head.features else []
            if cut is not None:
                views = config.features.views if training.data_aug else 0
                computed.append(compute_features(dataset, network, cut, config, views))
            for features in computed:
                console.print(features.describe())
                config = replace(config, feature_precision=features.precision)  # written down like `precision`

            model = build_in_precision(part, training.precision)
            compile_model(model, training, build_optimizer(network, training, model))
            train_network(
                folder,
                config,
                model,
                dataset if cut is None else computed[-1].dataset,
                command="transfer.run",
                facts={
                    "mode": config.freezing.mode,
                    "frozen_layers": num_frozen,
                    "parameters": network.model.count_params(),
                    "trained_parameters": count_trained_parameters(part),
                    "features": describe_origin(computed, is_known=not (training.head_epochs and has_trained_head)),
                    "feature_seconds": sum((features.seconds for features in computed), 0.0),
                    "feature_images": sum(features.images for features in computed),
                    "feature_precision": config.features.feature_precision if computed else None,
                    "precision": training.precision,
                },
                whole_network=None if cut is None else network.model,
            )
    return folder.path
