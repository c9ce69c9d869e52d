"""Fine-tune one backbone in all three ways, on the same split with the same seed, and compare the results."""

import sys

from transfer.commands import COMPARE
from workbench import cli


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return cli.main(COMPARE, argv)


if __name__ == "__main__":  # parse first: the imports below are slow
    sys.exit(main())

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from transfer.config import CompareConfig, FreezingConfig, TransferConfig
from transfer.defaults import PLANNED, resolve
from workbench import commands
from workbench.commandline.calls import format_call
from workbench.compare import compare as compare_runs
from workbench.config import TrainingRunConfig, flatten, replace
from workbench.console import console, show_decoding, show_table
from workbench.data.corrections import CORRECTIONS, check_same_corrections
from workbench.data.dataset import check_options, load_dataset
from workbench.data.sources import open_source
from workbench.data.splits.groups import NO_GROUPS
from workbench.data.splits.kept_split import open_kept_split
from workbench.errors import UserError
from workbench.evaluation.comparison import ComparedRun
from workbench.files import write_json
from workbench.finished_run import open_run
from workbench.reporting.comparison_page import write_page
from workbench.runtime import make_python_path
from workbench.table import Column, Table
from workbench.training.augmentation_options import check_augmentation_options
from workbench.training.plan import is_planned
from workbench.training.run_folder import check_name, make_name, read_config
from workbench.training.saved_state import is_trained

Mode = Literal["last_layer", "first_k", "all"]
_AGAIN = "begin again with --overwrite or another --name"


class Cost(TypedDict):
    """What a training took. Values that are not known are None.

    Attributes:
        trained_parameters: number of trained parameters.
        features: `computed`, `cached`, `none` or `not known`, see `transfer.features.describe_origin`.
        feature_seconds: what computing the stored features costs, also where they came from the cache.
        epoch_seconds: seconds of all epochs.
        training_images_per_second: speed of the training.
        peak_memory_bytes: largest memory of the process.
    """

    trained_parameters: int | None
    features: str
    feature_seconds: float | None
    epoch_seconds: float | None
    training_images_per_second: float | None
    peak_memory_bytes: int | None


class ComparedStrategy(ComparedRun, Cost):
    """One run of the comparison: its test results, and what its training took."""


def compare(config: CompareConfig) -> list[ComparedStrategy]:
    """Run the three strategies one after the other, and compare them on the test images.

    A strategy that was finished with these settings is not run again, and an interrupted one is resumed. Each is a
    `transfer.run` called `<name>-<mode>`.

    Returns:
        One entry per strategy, and one for the network from scratch. `runs/<name>/` gets them as strategies.json, and
        the files of `workbench.compare`.

    Raises:
        UserError: a strategy cannot be run, its run folder was made with other settings, or the data or the table of
            `--labels` has changed since the first strategy was trained.
    """
    check_augmentation_options(config)
    sizes = [resolve(_build_strategy(config, mode, "x")).data.image_size for mode in get_args(Mode)]
    scratch = config.strategies.scratch
    if scratch:
        open_run(scratch)
    check_options(config.data, config.training.seed)
    data_name = open_source(config.data.data).name
    name = config.run.name or make_name(f"compare-{config.backbone.backbone.lower()}-{data_name}-{sizes[0]}px")
    check_name(name)
    folders: list[Path] = []
    for mode in get_args(Mode):
        folders.append(_run_strategy(_build_strategy(config, mode, f"{name}-{mode}"), folders))
        # The table may have been changed after `_check_same_data`, before the process of the strategy has read it.
        advice = f"the strategies were trained with different labels; {_AGAIN}"
        check_same_corrections(folders[-1] / CORRECTIONS, folders[0], advice)

    runs = [*map(str, folders), *([scratch] if scratch else [])]
    output = Path(config.run.runs_dir) / name
    rows: list[ComparedStrategy] = [
        {**row, **_read_cost(open_run(run).metrics)}
        for row, run in zip(compare_runs(commands.CompareConfig(runs, str(output))), runs, strict=True)
    ]
    write_json(output / "strategies.json", rows)
    table = _build_cost_table(rows)
    show_table(table)
    write_page(
        output, rows, f"{format_call('transfer.compare')}{cli.format_options(config, skip={'overwrite'})}", [table]
    )
    return rows


def _build_strategy(config: CompareConfig, mode: Mode, name: str) -> TransferConfig:
    """Return the configuration of one strategy's run."""
    training = config.training
    if mode == "last_layer":  # it trains the head alone anyway, and no stage of the backbone
        training = replace(training, head_epochs=None, unfreeze_epochs=0.0)
    return TransferConfig(
        data=config.data,
        backbone=config.backbone,
        freezing=FreezingConfig(mode=mode, k=config.strategies.k if mode == "first_k" else None),
        training=training,
        features=config.features,
        run=replace(TrainingRunConfig(**vars(config.run)), name=name),
        given=config.given - {"k", "scratch"},
    )


def _run_strategy(config: TransferConfig, others: Sequence[Path]) -> Path:
    """Return the folder of a strategy's finished run. If it is not finished, run it in a process of its own.

    Args:
        config: of the strategy's run.
        others: folders of the strategies that are finished.
    """
    folder = Path(config.run.runs_dir) / str(config.run.name)
    words = cli.format_options(config)
    if (folder / "config.yaml").exists() and not config.run.overwrite:
        if not _has_same_settings(read_config(folder, TransferConfig), config):
            raise UserError(f"{folder}: made with other settings; replace it with --overwrite, or choose --name")
        if is_trained(folder):
            return folder
        words = f" --resume {shlex.quote(str(folder))}"
    elif others:
        _check_same_data(config, others[0])
    command = f"{format_call('transfer.run')}{words}"
    console.print(f"\n{config.freezing.mode}: {command}", soft_wrap=True)
    arguments, environment = shlex.split(words), {**os.environ, "PYTHONPATH": make_python_path()}
    same = f"the same command {'without --overwrite ' * config.run.overwrite}continues"
    try:
        ended = subprocess.run([sys.executable, "-m", "transfer.run", *arguments], env=environment, check=False)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; finished work is kept, and {same}") from None
    if ended.returncode:
        raise UserError(f"{command}: failed (see above); finished work is kept, and {same}")
    return folder


def _check_same_data(config: TransferConfig, first: Path) -> None:
    """Refuse data, or a table of `--labels`, that has changed since the first strategy was trained.

    Raises:
        UserError: names the images.
    """
    if config.data.labels:
        table = Path(config.data.labels).expanduser()
        check_same_corrections(table, first, f"restore it, because the strategies need the same labels, or {_AGAIN}")
    kept = open_kept_split(first, "look")
    changes = load_dataset(resolve(config).data, config.training.seed, show_decoding, kept).changes if kept else []
    if changes:
        raise UserError(
            f"{changes[0]}, and the strategies would be trained on different images: restore the data, or {_AGAIN}"
        )


def _has_same_settings(saved: TransferConfig, asked: TransferConfig) -> bool:
    """Return whether a run was made with the settings that are asked for, apart from what may differ.

    A run's config.yaml has the number formats that `auto` became, the epochs that a budget became, and the plan.
    """
    had, wanted = flatten(saved), flatten(resolve(asked))
    may_differ = {"cache_dir", "wandb"}
    may_differ |= {name for name in ("precision", "feature_precision") if wanted[name] == "auto"}
    may_differ |= PLANNED - asked.given if is_planned(asked) else set()
    if wanted["budget"]:
        may_differ.add("epochs")
    if had["groups"] == NO_GROUPS and "groups" not in asked.given:
        may_differ.add("groups")  # the run is of an earlier version
    return all(had[name] == value for name, value in wanted.items() if name not in may_differ)


def _read_cost(metrics: Mapping[str, Any]) -> Cost:
    """Read what a training took from its metrics.json."""
    return {
        "trained_parameters": metrics.get("trained_parameters") or metrics.get("parameters"),
        "features": _read_origin(metrics),
        "feature_seconds": metrics.get("feature_seconds"),
        "epoch_seconds": metrics.get("epoch_seconds"),
        "training_images_per_second": metrics.get("images_per_second"),
        "peak_memory_bytes": metrics.get("peak_memory_bytes"),
    }


def _read_origin(metrics: Mapping[str, Any]) -> str:
    """Read where a run's features came from. Earlier versions wrote 0 seconds for cached ones and for none."""
    if "feature_seconds" not in metrics:
        return "none"
    return metrics.get("features") or ("computed" if metrics["feature_seconds"] else "not known")


def _build_cost_table(rows: Sequence[ComparedStrategy]) -> Table:
    labels = ("trained parameters", "features s", "epochs s", "trained on, images/s", "peak memory")
    cells = [[row["name"], *_format_cost(row)] for row in rows]
    return Table("What each training took", [Column("run", False), *map(Column, labels)], cells)


def _format_features(row: ComparedStrategy) -> str:
    """Return what the features cost, such as `12.3`, or `12.3 (cached)` if another run had computed them."""
    if row["features"] == "not known":
        return "?"
    return f"{row['feature_seconds'] or 0:,.1f}{' (cached)' if row['features'] == 'cached' else ''}"


def _format_cost(row: ComparedStrategy) -> list[str]:
    memory = row["peak_memory_bytes"]
    return [
        f"{row['trained_parameters']:,}",
        _format_features(row),
        f"{row['epoch_seconds']:,.1f}",
        f"{row['training_images_per_second']:,.0f}",
        f"{memory / 1e9:.2f} GB" if memory else "?",
    ]
