"""Fine-tune a pretrained network: the head alone, all but the first k layers, or everything."""

import time

from transfer.config import TransferConfig, resolve
from workbench import cli
from workbench.data.dataset import load_dataset
from workbench.training.training_run import Part, resumed, run_folder, train_in


def run(config):
    """Fine-tune one network and leave a run folder.

    Args:
        config: a `transfer.config.TransferConfig`.

    Returns:
        Path of the run folder: `model.keras` (the whole network of the best epoch), `last.keras` and `best.keras` (the
        part that was trained, in the last and the best epoch), `history.csv`, `metrics.json`, `config.yaml`,
        `classes.json`.

    Raises:
        UserError: the data, the backbone, its weights, the freezing or the run folder cannot be used, or the loss
            became NaN.
    """
    started = time.perf_counter()
    config = resolve(resumed(config) if config.resume else config)
    from workbench.runtime import load_tensorflow

    load_tensorflow()
    from transfer.finetune import FineTuning
    from transfer.freezing import advice, table
    from workbench.console import console, show_decoding

    dataset = load_dataset(config, config.seed, show_decoding)
    tuning = FineTuning(config, dataset)
    folder = run_folder(config, f"{tuning.network.name}-{config.mode}-{dataset.name}-{config.image_size}px".lower())

    def make_model():
        if not (config.resume and (folder.path / "last.keras").exists()):
            row = tuning.train_head()
            if row:
                console.print(f"head alone: validation accuracy {row['val_accuracy']:.1%} in epoch {row['epoch']}")
        return tuning.compile()

    def make_part():
        return Part(tuning.network.model, tuning.settings(), tuning.examples())

    precision = f"precision of what trains: {tuning.precision}"
    shown = [table(tuning.network, tuning.frozen), *advice(tuning.network, tuning.frozen), precision]
    train_in(
        folder,
        config,
        dataset,
        make_model,
        tuning.facts,
        module="transfer.run",
        started=started,
        lines=shown,
        make_part=make_part if tuning.stores else None,
    )
    return folder.path


def main(argv=None):
    """Run the command line."""
    cli.main(run, TransferConfig, prog="python -m transfer.run", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
