"""Search the labels of training and validation images for wrong ones."""

from pathlib import Path

from workbench.commandline.calls import format_call
from workbench.console import console
from workbench.data.config import LabelsConfig
from workbench.data.corrections import write_corrections
from workbench.errors import UserError
from workbench.labels.predictions import collect_predictions
from workbench.labels.problems import LabelProblem, find_problems, make_table
from workbench.labels.ranking import check_cleanlab
from workbench.reporting.labels_page import write_page
from workbench.wording import agree, format_count

PAGE, TABLE, FOLDER = "labels.html", "labels.csv", "labels"
_SHOWN = 5


def search_labels(config: LabelsConfig) -> list[LabelProblem]:
    """Rank the images by how likely their label is wrong; write a page and a table to review.

    Returns:
        The problems, the most likely first. The folder gets labels.html and labels.csv.

    Raises:
        UserError: cleanlab is missing, a run cannot be used, or the folder cannot be written.
    """
    check_cleanlab()
    if not config.runs:
        raise UserError("name a run: one with --folds, a sweep, or any other")
    predictions = collect_predictions(config.runs, config.data)
    problems = find_problems(predictions)
    folder = Path(config.out or Path(config.runs[0]) / FOLDER)
    rows = make_table(problems, predictions.corrections)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_corrections(folder / TABLE, rows)
        write_page(folder / PAGE, problems, predictions)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; choose another folder with --out") from error
    models = int(predictions.votes.sum(axis=1).max())
    console.print(
        f"{format_count(len(predictions.names), 'image')}, each by {format_count(models, 'model')} that "
        f"{agree(models, 'has', 'have')} not seen it: {format_count(len(problems), 'label')} may be wrong"
    )
    for item in problems[:_SHOWN]:
        console.print(f"  {item.image}: {item.label}, but looks like {item.suggested} ({item.confidence:.0%})")
    console.print(f"look at:  {folder / PAGE}\nreview:   {folder / TABLE} (action: keep, relabel or exclude)")
    train = f"{format_call('transfer.run')} --data ... --labels {folder / TABLE}"
    console.print(f"apply:    {train}")
    return problems
