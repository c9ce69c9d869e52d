"""The charts of runs on the live pages: learning curves, the confusion matrix, runs side by side."""

from collections.abc import Mapping, Sequence

from workbench.evaluation.comparison import ComparedRun, CurvePoint
from workbench.reporting.charts import Chart, escape, make_axis, make_figure
from workbench.reporting.figures import BLUE, ORANGE, PALETTE
from workbench.training.history import EpochLog, find_best_epoch
from workbench.wording import format_count

_FEW_EPOCHS = 10
_MAX_CLASSES = 60  # more rows cannot be pointed at
_HEIGHT_OF_RUN, _HEIGHT_OF_AXIS = 44, 90  # pixels, in the chart of test accuracies


def build_curves(history: Sequence[EpochLog]) -> list[Chart]:
    """Build the learning curves of a training: accuracy and loss over the epochs."""
    if not history:
        return []
    best = find_best_epoch(history)
    epochs = [log["epoch"] for log in history]
    ticks = {"dtick": 1} if len(epochs) <= _FEW_EPOCHS else {}  # else there would be ticks between the epochs
    charts = []
    for metric, format_ in (("accuracy", ".1%"), ("loss", ".3f")):
        data = [
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": epochs,
                "y": [log[key] for log in history],
                "line": {"color": colour, "width": 2},
                "hovertemplate": f"epoch %{{x}}: %{{y:{format_}}}<extra>{name}</extra>",
            }
            for name, key, colour in (("training", metric, BLUE), ("validation", f"val_{metric}", ORANGE))
        ]
        axis = make_axis(metric, **({"tickformat": ".0%"} if metric == "accuracy" else {}))
        figure = make_figure(data, xaxis=make_axis("epoch", tickformat="d", **ticks), yaxis=axis)
        title = {
            "accuracy": f"{best['val_accuracy']:.1%} validation accuracy after epoch {best['epoch']:.0f}",
            "loss": "The loss on training and validation images",
        }[metric]
        charts.append(Chart(metric, title, "", figure))
    return charts


def build_confusion(predictions: Sequence[Mapping[str, str]], class_names: Sequence[str]) -> Chart | None:
    """Build the confusion matrix of the test images; None if the classes are too many or nothing was tested.

    Args:
        predictions: rows of test_predictions.csv.
        class_names: in the order of the labels.
    """
    if not predictions or len(class_names) > _MAX_CLASSES:
        return None
    place = {name: number for number, name in enumerate(class_names)}
    counts = [[0] * len(class_names) for _ in class_names]
    for row in predictions:
        if row["true"] in place and row["predicted"] in place:
            counts[place[row["true"]]][place[row["predicted"]]] += 1
    shares = [[count / max(1, sum(line)) for count in line] for line in counts]
    texts = [[str(count) if count else "" for count in line] for line in counts]
    names = [escape(name) for name in class_names]
    matrix = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": shares,
        "text": texts,
        "texttemplate": "%{text}",
        "colorscale": [[0, "#ffffff"], [1, BLUE]],
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "hovertemplate": "%{y}, seen as %{x}: %{text} images<extra></extra>",
        "xgap": 1,
        "ygap": 1,
    }
    axis = {"type": "category", "automargin": True, "gridcolor": "rgba(0,0,0,0)"}
    figure = make_figure(
        [matrix],
        xaxis={**make_axis("predicted class"), **axis, "tickangle": -45},
        yaxis={**make_axis("true class"), **axis, "autorange": "reversed"},
        height=max(360, 26 * len(class_names) + 160),
    )
    wrong = sum(row["true"] != row["predicted"] for row in predictions)
    title = f"{wrong:,} of {format_count(len(predictions), 'test image')} are seen as another class"
    return Chart("confusion", title, "Click on a cell to see its images.", figure, is_wide=True)


def build_comparison(rows: Sequence[ComparedRun], curves: Sequence[Sequence[CurvePoint]]) -> list[Chart]:
    """Build the charts of runs side by side: test accuracy with its interval, and validation accuracy over time."""
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": [row["accuracy"] for row in rows],
        "y": [escape(row["name"]) for row in rows],
        "marker": {"color": _choose_colours(len(rows)), "size": 11},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [row["high"] - row["accuracy"] for row in rows],
            "arrayminus": [row["accuracy"] - row["low"] for row in rows],
        },
        "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
    }
    axis = make_axis("test accuracy", tickformat=".0%")
    accuracy = make_figure(
        [dots],
        xaxis=axis,
        yaxis={"type": "category", "automargin": True, "range": [len(rows) - 0.5, -0.5]},
        showlegend=False,
        height=_HEIGHT_OF_RUN * len(rows) + _HEIGHT_OF_AXIS,
    )
    charts = [
        Chart("accuracy", "Test accuracy with its 95 % interval", "Whether runs differ is decided above.", accuracy)
    ]
    lines = build_time_curves([row["name"] for row in rows], curves)
    return [*charts, lines] if lines else charts


def build_time_curves(names: Sequence[str], curves: Sequence[Sequence[CurvePoint]]) -> Chart | None:
    """Build the validation accuracy of runs over their training time; None if no run has a history."""
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": escape(name),
            "x": [point.seconds for point in points],
            "y": [point.accuracy for point in points],
            "line": {"color": colour, "width": 2},
            "hovertemplate": "%{x:.0f} s: %{y:.1%}<extra>%{fullData.name}</extra>",
        }
        for name, colour, points in zip(names, _choose_colours(len(names)), curves, strict=True)
        if points
    ]
    if not data:
        return None
    figure = make_figure(
        data,
        xaxis=make_axis("seconds of training", rangemode="tozero"),
        yaxis=make_axis("validation accuracy", tickformat=".0%"),
        showlegend=True,
    )
    return Chart("time", "Validation accuracy over the training time", "", figure)


def _choose_colours(count: int) -> list[str]:
    """Return the colour of each of so many runs."""
    return [PALETTE[place % len(PALETTE)] for place in range(count)]
