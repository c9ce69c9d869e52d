"""The lines that describe the result of a test on the console."""

import itertools
from collections.abc import Iterator

from workbench.evaluation.other_data.other_score import OtherMetrics
from workbench.evaluation.scoring import CalibratedMetrics, ModelMetrics
from workbench.wording import agree, format_count

LEFT_OUT = "balanced accuracy, precision and F1, because all test images are of one class"


def summarize(metrics: ModelMetrics) -> Iterator[str]:
    """Yield the lines that describe the metrics of a test on the console."""
    classes, k = len(metrics["per_class"]), metrics["top_k"]
    tested = sum(row["images"] > 0 for row in metrics["per_class"])
    of_classes = f"{classes} classes" if tested == classes else f"{tested} of {classes} classes"
    yield f"{format_count(metrics['images'], 'test image')} of {of_classes}, each used once"
    yield f"top-1:       {format_interval(metrics['accuracy'], metrics['accuracy_interval'])}"
    if metrics["leaked"]:
        yield describe_leaked(metrics)
    if k < classes:
        yield f"top-{k}:       {format_interval(metrics['top_k_accuracy'], metrics['top_k_interval'])}"
    if "macro_f1" in metrics:
        balanced, f1 = metrics["balanced_accuracy"], metrics["macro_f1"]
        yield f"balanced:    {format_interval(balanced, metrics['balanced_accuracy_interval'])}, mean of the classes"
        yield f"macro-F1:    {format_interval(f1, metrics['macro_f1_interval'])}"
    else:
        yield f"left out:     {LEFT_OUT}"
    means = f"mean confidence {metrics['confidence']:.1%}, accuracy {metrics['accuracy']:.1%}"
    yield f"calibration: {metrics['ece']:6.1%}   expected calibration error (ECE); {means}"
    if "calibrated" in metrics:
        yield from _summarize_calibrated(metrics["calibrated"])
    if tested > 1:
        weakest = sorted((row for row in metrics["per_class"] if row["images"]), key=lambda row: row["f1"])[:3]
        yield "weakest:      " + ", ".join(f"{row['class']} (F1 {row['f1']:.2f})" for row in weakest)
    if metrics["confused"]:
        pairs = (f"{pair['true']} as {pair['predicted']} ({pair['count']}x)" for pair in metrics["confused"][:3])
        yield "confused:     " + ", ".join(pairs)
    if "tta" in metrics:
        tta = metrics["tta"]
        change = f"{100 * tta['difference']:+.1f} points, p {tta['p']:.2g}"
        yield f"mirrored:    {format_interval(tta['accuracy'], tta['accuracy_interval'])}, {change}"
    for name, rows in itertools.groupby(metrics.get("robustness", []), key=lambda row: row["corruption"]):
        yield f"{name + ':':12} " + ", ".join(f"{row['accuracy']:6.1%}" for row in rows) + "   from weak to strong"
    yield f"speed:        {metrics['images_per_second']:,.0f} images/s"


def _summarize_calibrated(calibrated: CalibratedMetrics) -> Iterator[str]:
    images, temperature = format_count(calibrated["validation_images"], "validation image"), calibrated["temperature"]
    yield f"calibrated:  {calibrated['ece']:6.1%}   ECE with temperature {temperature:.2f}, fitted on {images}"
    unknown = calibrated["unknown"]
    right, wrong = unknown["right_unknown"], unknown["wrong_known"]
    yield (
        f"unknown:     below {unknown['threshold']:.0%} confidence: {right['share']:.1%} of the right predictions are "
        f"rejected, {wrong['share']:.1%} of the wrong ones pass"
    )


def describe_leaked(metrics: ModelMetrics) -> str:
    """Return a line with the accuracy on the test images whose photo was not used for training or validation."""
    leaked = metrics["leaked"]
    accuracy, interval = metrics["accuracy_without_leaked"], metrics["interval_without_leaked"]
    share = "none is left" if accuracy is None or interval is None else format_interval(accuracy, interval)
    these = agree(leaked, "this test image was", f"these {leaked:,} test images were")
    return f"{f'without {leaked:,}:':12} {share}; {these} also used for training or validation"


def format_interval(share: float, interval: tuple[float, float]) -> str:
    """Return a share with its 95 % interval."""
    low, high = interval
    return f"{share:6.1%}   (95 % interval {low:.1%} to {high:.1%})"


def summarize_foreign(metrics: OtherMetrics) -> Iterator[str]:
    """Yield a line on the images whose classes the run does not have; none if there are none, or no calibration."""
    if "foreign_unknown" in metrics:
        unknown = metrics["foreign_unknown"]
        images = format_count(unknown["of"], "image")
        low, high = unknown["interval"]
        yield (
            f"other classes: {images}, of which {unknown['share']:.1%} are called unknown "
            f"(95 % interval {low:.1%} to {high:.1%})"
        )
