"""The images whose label the models find wrong, the least fitting one first."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from workbench.data.corrections import Correction
from workbench.labels.predictions import Predictions
from workbench.labels.ranking import rank_labels


@dataclasses.dataclass(frozen=True)
class LabelProblem:
    """An image whose label may be wrong.

    Attributes:
        image: its name, as in the source.
        row: of the image in the data set.
        label, suggested: names of its class in the source and of the class that the models see.
        score: mean probability of its label, 0 to 1.
        confidence: mean probability of the suggested class.
        agreeing, models: how many of the models see the suggested class.
    """

    image: str
    row: int
    label: str
    suggested: str
    score: float
    confidence: float
    agreeing: int
    models: int


def find_problems(predictions: Predictions, earlier: Sequence[Correction]) -> list[LabelProblem]:
    """Return the images whose label confident learning finds wrong, and that the models see as another class.

    Args:
        predictions: of the models.
        earlier: rows with an action: images that were reviewed before, which are not proposed again. Other images have
            their label in the source, also if a run was trained with another one.
    """
    reviewed = {row.image for row in earlier}
    is_new = np.array([name not in reviewed for name in predictions.names], bool)
    labels = np.where(is_new, predictions.source_labels, predictions.labels)
    class_names = predictions.dataset.class_names
    scores, is_wrong = rank_labels(labels, predictions.probabilities)
    predicted = predictions.probabilities.argmax(axis=1)
    found = np.flatnonzero(is_wrong & (predicted != labels) & is_new)
    rows = predictions.rows
    return [
        LabelProblem(
            image=predictions.names[place],
            row=int(rows[place]),
            label=class_names[labels[place]],
            suggested=class_names[predicted[place]],
            score=float(scores[place]),
            confidence=float(predictions.probabilities[place, predicted[place]]),
            agreeing=int(predictions.votes[place, predicted[place]]),
            models=int(predictions.votes[place].sum()),
        )
        for place in found[np.argsort(scores[found], kind="stable")].tolist()
    ]


def make_table(problems: Sequence[LabelProblem], earlier: Sequence[Correction]) -> list[Correction]:
    """Return the rows of labels.csv: what was reviewed before, then the problems, without an action."""
    new = [
        Correction(
            image=item.image,
            label=item.label,
            suggested=item.suggested,
            score=f"{item.score:.4f}",
            seen=item.suggested,
            confidence=f"{item.confidence:.4f}",
            votes=f"{item.agreeing} of {item.models}",
        )
        for item in problems
    ]
    return [*earlier, *new]
