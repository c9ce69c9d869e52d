"""Search the labels of training and validation images for wrong ones."""

import shlex
from pathlib import Path

from workbench.commandline.calls import format_call
from workbench.console import console
from workbench.data.config import LabelsConfig
from workbench.data.corrections import (
    Correction,
    lock_corrections,
    merge_corrections,
    read_corrections,
    update_corrections,
    write_corrections,
)
from workbench.errors import UserError
from workbench.labels.predictions import collect_predictions
from workbench.labels.problems import LabelProblem, find_problems, make_table
from workbench.labels.ranking import check_cleanlab
from workbench.labels.table import FOLDER, PAGE, TABLE
from workbench.origin import find_command_of_run, read_run_options
from workbench.reporting.labels_page import write_page
from workbench.wording import format_count

_SHOWN = 5


def search_labels(config: LabelsConfig) -> list[LabelProblem]:
    """Rank the images by how likely their label is wrong; write a page and a table to review.

    Returns:
        The problems, the most likely first. The folder gets labels.html and labels.csv; the actions of a
        labels.csv that it has already are kept, see `update_corrections`.

    Raises:
        UserError: cleanlab is missing, a run or the labels.csv there cannot be used, or the folder cannot be written.
    """
    check_cleanlab()
    if not config.runs:
        raise UserError("name a run: one with --folds, a sweep, or any other")
    folder = Path(config.out or Path(config.runs[0]) / FOLDER)
    _read_review(folder)  # refused before the predictions are made
    predictions = collect_predictions(config.runs, config.data)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock_corrections(folder / TABLE):  # the live pages may write choices meanwhile
            reviewed = _read_review(folder)
            open_again = {row.image for row in reviewed if not row.action}  # also actions that were taken back
            trained = [row for row in predictions.corrections if row.image not in open_again]
            earlier = update_corrections(merge_corrections(trained, reviewed), predictions.dataset.get_source_classes())
            problems = find_problems(predictions, earlier)
            write_corrections(folder / TABLE, make_table(problems, earlier))
        write_page(folder / PAGE, problems, predictions)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; choose another folder with --out") from error
    console.print(
        f"{format_count(len(predictions.names), 'image')}, each by {predictions.models} that had not seen it: "
        f"{format_count(len(problems), 'label')} may be wrong"
    )
    if predictions.num_seen:
        console.print(
            f"left out: {format_count(predictions.num_seen, 'image')} that the network of --from was trained on"
        )
    if predictions.num_repeated:
        images = format_count(predictions.num_repeated, "validation image")
        console.print(f"left out: {images} whose photo is also a training image")
    for item in problems[:_SHOWN]:
        console.print(f"  {item.image}: {item.label}, but looks like {item.suggested} ({item.confidence:.0%})")
    console.print(f"look at:  {folder / PAGE}\nreview:   {folder / TABLE} (action: keep, relabel or exclude)")
    run = Path(config.runs[0])
    train = format_call(find_command_of_run(run, read_run_options(run)) or "transfer.run")
    console.print(f"apply:    {train} --data ... --labels {shlex.quote(str(folder / TABLE))}", soft_wrap=True)
    return problems


def _read_review(folder: Path) -> list[Correction]:
    """Return the rows of the table that an earlier search left; none if there is none."""
    return read_corrections(folder / TABLE) if (folder / TABLE).exists() else []
