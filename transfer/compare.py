"""Fine-tune one backbone in all three ways, on the same split and seed, and compare what comes out."""

import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path

from transfer.config import (
    MODE_DEFAULTS,
    BackboneConfig,
    FeaturesConfig,
    FineTuneConfig,
    TransferConfig,
    resolve,
)
from workbench import cli, commands
from workbench import compare as comparison
from workbench.config import DataConfig
from workbench.data.sources import open_source
from workbench.errors import UserError
from workbench.files import read_json, write_json
from workbench.finished_run import open_run
from workbench.runtime import make_python_path
from workbench.training.config import PrecisionConfig
from workbench.training.run_folder import RunConfig, read_config


@dataclasses.dataclass(frozen=True)
class StrategiesConfig:
    """Strategies.

    Args:
        k: Number of the backbone's layers that first_k freezes; by default all but the last stage.
        scratch: Run folder of a network that cnn_scratch trained on the same data, to be compared too.
    """

    k: int | None = None
    scratch: str | None = None


@dataclasses.dataclass(frozen=True)
class CompareConfig(
    RunConfig, FeaturesConfig, PrecisionConfig, FineTuneConfig, StrategiesConfig, BackboneConfig, DataConfig
):
    """Configuration of `python -m transfer.compare`."""


def compare(config):
    """Run the three strategies, one after the other, and compare them on the test images.

    A strategy that was run already with these settings is not run again, and a cut-off one goes on.

    Args:
        config: a `CompareConfig`; each strategy is `transfer.run` in `<name>-<mode>` beside the comparison.

    Returns:
        List of a dictionary a strategy: those of `workbench.compare.compare`, and trained_parameters, feature_seconds,
        epoch_seconds, training_images_per_second and peak_memory_bytes. It is left in `runs/<name>/` as
        strategies.json, with the files of `workbench.compare`.

    Raises:
        UserError: a strategy cannot be run, or stands there with other settings.
    """
    size = resolve(_strategy(config, "last_layer", "x")).image_size
    if config.scratch:
        open_run(config.scratch)
    name = config.name or f"compare-{config.backbone.lower()}-{open_source(config.data).name}-{size}px"
    folders = [_run(_strategy(config, mode, f"{name}-{mode}")) for mode in MODE_DEFAULTS]
    runs = [*map(str, folders), *([config.scratch] if config.scratch else [])]
    output = Path(config.runs_dir) / name
    rows = comparison.compare(commands.CompareConfig(runs, str(output)))
    for row, run in zip(rows, runs, strict=True):
        row.update(_cost(open_run(run).metrics))
    write_json(output / "strategies.json", rows)
    from workbench.console import show_table
    from workbench.reporting.comparison_page import write_page

    table = _cost_table(rows)
    show_table(table)
    write_page(output, rows, f"python -m transfer.compare{cli.format_options(config, skip={'overwrite'})}", [table])
    return rows


def _strategy(config, mode, name):
    """The configuration of one strategy's run."""
    fields = {field.name for field in dataclasses.fields(TransferConfig)}
    values = {key: value for key, value in dataclasses.asdict(config).items() if key in fields}
    k = config.k if mode == "first_k" else None
    return TransferConfig(**{**values, "mode": mode, "k": k, "name": name})


def _run(config):
    """The folder of a strategy's finished run; made now, in a process of its own, where it does not stand."""
    folder = Path(config.runs_dir) / config.name
    words = cli.format_options(config)
    if (folder / "config.yaml").exists() and not config.overwrite:
        saved, asked = read_config(folder, TransferConfig), resolve(config)
        if dataclasses.replace(saved, cache_dir=asked.cache_dir, wandb=asked.wandb) != asked:
            raise UserError(f"{folder}: made with other settings; replace it with --overwrite, or choose --name")
        if read_json(folder / "metrics.json"):
            return folder
        words = f" --resume {folder}"
    from workbench.console import console

    command = f"python -m transfer.run{words}"
    console.print(f"\n{config.mode}: {command}", soft_wrap=True)
    arguments, environment = shlex.split(words), {**os.environ, "PYTHONPATH": make_python_path()}
    if subprocess.run([sys.executable, "-m", "transfer.run", *arguments], env=environment, check=False).returncode:
        raise UserError(f"{command}: failed (see above); what is done is kept, and the same command goes on")
    return folder


def _cost(metrics):
    names = ("trained_parameters", "feature_seconds", "epoch_seconds", "peak_memory_bytes")
    cost = {name: metrics.get(name) for name in names}
    cost["trained_parameters"] = cost["trained_parameters"] or metrics.get("parameters")
    return {**cost, "training_images_per_second": metrics.get("images_per_second")}


def _cost_table(rows):
    from workbench.table import Column, Table

    labels = ("trained parameters", "features s", "epochs s", "trained on, images/s", "peak memory")
    cells = [[Path(row["run"]).name, *_costs(row)] for row in rows]
    return Table("What each training took", [Column("run", False), *map(Column, labels)], cells)


def _costs(row):
    memory = row["peak_memory_bytes"]
    return [
        f"{row['trained_parameters']:,}",
        f"{row['feature_seconds'] or 0:,.1f}",
        f"{row['epoch_seconds']:,.1f}",
        f"{row['training_images_per_second']:,.0f}",
        f"{memory / 1e9:.2f} GB" if memory else "?",
    ]


def main(argv=None):
    """Run the command line."""
    cli.main(compare, CompareConfig, prog="python -m transfer.compare", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
