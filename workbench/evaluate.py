"""Test a finished run on the held-out images: accuracy with its interval, calibration, confusions, figures."""

import sys

from workbench import cli
from workbench.commands import EVALUATE, EvaluateConfig

if __name__ == "__main__":  # parse first: the imports below load TensorFlow
    sys.exit(cli.main(EVALUATE))

from collections.abc import Iterator

from workbench.console import console
from workbench.evaluation.scoring import PREDICTIONS, ModelMetrics, score_run
from workbench.evaluation.tracking import log_test
from workbench.finished_run import open_run
from workbench.reporting.evaluation_figures import draw_figures
from workbench.reporting.run_report import leave_report
from workbench.wording import agree, format_count


def evaluate(config: EvaluateConfig) -> ModelMetrics:
    """Test a run, and save the results in its folder, or in that of `--out`.

    Returns:
        The metrics. They are saved in metrics.json under `test`; test_predictions.csv has one row per image, and
        figures/ and report.html show the results. TensorBoard gets the figures too, and so does Weights & Biases if
        the run was logged to it.

    Raises:
        UserError: the run cannot be opened, or its data has no test image.
    """
    run = open_run(config.run, data=config.data, output=config.out)
    outcome, metrics = score_run(run)
    for line in summarize(metrics):
        console.print(line)
    figures = draw_figures(run, outcome, metrics)
    logs = log_test(run, figures, metrics)
    tensorboard = f", and in TensorBoard from {logs}" if logs else ""
    console.print()
    console.print(
        f"numbers:      {run.results_path / 'metrics.json'} (test), each image in {run.results_path / PREDICTIONS}"
    )
    console.print(f"figures:      {run.results_path / 'figures'} ({len(figures)}){tensorboard}")
    console.print(f"report:       {leave_report(run.path, config.out)}")
    return metrics


def summarize(metrics: ModelMetrics) -> Iterator[str]:
    """Yield the lines that describe the metrics of a test on the console."""
    classes, k = len(metrics["per_class"]), metrics["top_k"]
    yield f"{format_count(metrics['images'], 'test image')} of {classes} classes, each used once"
    yield f"top-1:       {_format_share(metrics['accuracy'], metrics['accuracy_interval'])}"
    if metrics["leaked"]:
        yield describe_leaked(metrics)
    if k < classes:
        yield f"top-{k}:       {_format_share(metrics['top_k_accuracy'], metrics['top_k_interval'])}"
    means = f"mean confidence {metrics['confidence']:.1%}, accuracy {metrics['accuracy']:.1%}"
    yield f"calibration: {metrics['ece']:6.1%}   expected calibration error (ECE); {means}"
    weakest = sorted((row for row in metrics["per_class"] if row["images"]), key=lambda row: row["f1"])[:3]
    yield "weakest:      " + ", ".join(f"{row['class']} (F1 {row['f1']:.2f})" for row in weakest)
    if metrics["confused"]:
        pairs = (f"{pair['true']} as {pair['predicted']} ({pair['count']}x)" for pair in metrics["confused"][:3])
        yield "confused:     " + ", ".join(pairs)
    yield f"speed:        {metrics['images_per_second']:,.0f} images/s"


def describe_leaked(metrics: ModelMetrics) -> str:
    """Return a line with the accuracy on the test images whose photo was not used for training or validation."""
    leaked = metrics["leaked"]
    accuracy, interval = metrics["accuracy_without_leaked"], metrics["interval_without_leaked"]
    share = "none is left" if accuracy is None or interval is None else _format_share(accuracy, interval)
    these = agree(leaked, "this test image was", f"these {leaked:,} test images were")
    return f"{f'without {leaked:,}:':12} {share}; {these} also used for training or validation"


def _format_share(share: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{share:6.1%}   (95 % interval {low:.1%} to {high:.1%})"
