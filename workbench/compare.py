"""Compare finished runs on the same test images: accuracy with intervals, a paired test, time, size, curves."""

import contextlib
import dataclasses
import shlex
from pathlib import Path

from workbench import cli
from workbench.errors import UserError
from workbench.evaluate import earlier_score, score_run
from workbench.files import read_csv, write_csv, write_json
from workbench.finished_run import open_run
from workbench.metrics import holm, mcnemar


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """Compare.

    Args:
        runs: Folders of finished runs or sweeps; the first is what the others are tested against.
        output: Folder of the comparison.
    """

    runs: list[str] = cli.positional([])
    output: str = "comparison"


def compare(config):
    """Compare runs that were tested on the same images; a run that was not tested yet is tested now.

    Args:
        config: a `CompareConfig`.

    Returns:
        List of a dictionary a run, in the order given: run, images, accuracy, low and high (Wilson, 95 %), top_k,
        top_k_accuracy, loss, ece, parameters, megabytes, epochs, training_seconds, images_per_second, and against
        the first run: difference (of accuracy), only_first and only_this (images that one alone has right), p
        (McNemar's exact test), p_adjusted (Holm's, for all the tests). What is not known is None. It is left in
        `output` as comparison.json, .csv and .png, and report.html.

    Raises:
        UserError: fewer than two runs, one cannot be opened, or they were tested on different images.
    """
    runs = [open_run(path) for path in config.runs]
    if len({run.path.resolve() for run in runs}) < max(2, len(runs)):
        raise UserError("give two runs or more, each once; usage: python -m workbench.compare RUN RUN ...")
    _check_classes(runs)
    scores = [_score(run) for run in runs]
    _check_same_images(runs, [predictions for predictions, _ in scores])
    rows = [_row(run, numbers) for run, (_, numbers) in zip(runs, scores, strict=True)]
    _test_against_first(rows, [[row["correct"] == "1" for row in predictions] for predictions, _ in scores])
    from workbench.console import console, show_table
    from workbench.reporting.comparison_page import results_table, verdict, write_page

    folder = Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "comparison.json", rows)
    write_csv(folder / "comparison.csv", rows)
    _draw(folder / "comparison.png", rows, [_history(run) for run in runs])
    show_table(results_table(rows))
    for row in rows[1:]:
        console.print(verdict(row, rows[0]))
    words = " ".join(map(shlex.quote, [*config.runs, "--output", config.output]))
    page = write_page(folder, rows, f"python -m workbench.compare {words}")
    console.print(f"\ncomparison: {folder} (comparison.json, .csv, .png)\nreport:     {page}")
    return rows


def _score(run):
    """(rows of test_predictions.csv, numbers) of a run, tested now if it was not."""
    found = earlier_score(run)
    if found is None:
        from workbench.runtime import load_tensorflow

        load_tensorflow()
        from workbench.console import console

        console.print(f"testing {run.path}", style="dim")
        score_run(run)
        found = earlier_score(run)
    return found


def _check_classes(runs):
    for run in runs[1:]:
        if run.class_names != runs[0].class_names:
            only = sorted(set(runs[0].class_names) ^ set(run.class_names))
            which = f"'{only[0]}' is a class of one alone" if only else "in another order"
            raise UserError(f"{runs[0].path} and {run.path} have different classes ({which}); they cannot be compared")


def _check_same_images(runs, predictions):
    """Refuse runs whose test images are not the same ones, in the same order, with the same true classes."""
    first = [(row["image"], row["true"]) for row in predictions[0]]
    for run, rows in zip(runs[1:], predictions[1:], strict=True):
        other = [(row["image"], row["true"]) for row in rows]
        if other == first:
            continue
        name = min(set(first) ^ set(other), default=("their order",))[0]
        raise UserError(
            f"{runs[0].path} and {run.path} were tested on different images ({len(first)} and {len(other)}; they "
            f"differ in {name}); compare runs of the same --data and, where it has no test set of its own, --seed"
        )


def _row(run, numbers):
    history = _history(run)
    low, high = numbers["accuracy_interval"]
    return {
        "run": str(run.path),
        "images": numbers["images"],
        "accuracy": numbers["accuracy"],
        "low": low,
        "high": high,
        **{name: numbers[name] for name in ("top_k", "top_k_accuracy", "loss", "ece")},
        "parameters": numbers["total_parameters"],
        "megabytes": numbers["model_bytes"] / 1e6,
        "epochs": len(history) or run.metrics.get("epochs"),
        "training_seconds": history[-1][0] if history else run.metrics.get("training_seconds"),
        "images_per_second": numbers["images_per_second"],
    }


def _history(run):
    """(seconds since the start, validation accuracy) of each epoch; empty where history.csv tells none."""
    seconds, points = 0.0, []
    with contextlib.suppress(KeyError, TypeError, ValueError):  # foreign or torn
        for row in read_csv(run.path / "history.csv"):
            seconds += float(row["seconds"])
            points.append((seconds, float(row["val_accuracy"])))
    return points


def _test_against_first(rows, correct):
    """Add to each row how its run differs from the first one."""
    tests = [mcnemar(correct[0], other) for other in correct]
    adjusted = [1.0, *holm([p for *_, p in tests[1:]])]
    for row, (only_first, only_this, p), p_adjusted in zip(rows, tests, adjusted, strict=True):
        row["difference"] = row["accuracy"] - rows[0]["accuracy"]
        row.update(only_first=only_first, only_this=only_this, p=p, p_adjusted=p_adjusted)


def _draw(path, rows, curves):
    from workbench.reporting import figures

    best = max(rows, key=lambda row: row["accuracy"])
    title = f"{best['run']} is right most often: {best['accuracy']:.1%} of {best['images']:,} test images"
    if best is not rows[0]:
        title += f" (p = {best['p_adjusted']:.2g} against {rows[0]['run']})"
    caption = (
        "Left: test accuracy with its 95 % interval. Right: validation accuracy after each epoch against training "
        "time, where the run has a history. Whether two runs differ is told by the paired test, not by whether their "
        "intervals overlap."
    )
    shape = {"ncols": 2, "width_ratios": [1, 1.2]}
    with figures.figure(10, 2.2 + 0.35 * max(4, len(rows)), **shape) as (made, (accuracy, time)):
        for place, (row, points) in enumerate(zip(rows, curves, strict=True)):
            colour = figures.PALETTE[place % len(figures.PALETTE)]
            accuracy.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=3, alpha=0.5)
            accuracy.plot(row["accuracy"], place, "o", color=colour)
            if points:
                time.plot(*zip(*points, strict=True), "o-", markersize=3, color=colour, label=row["run"])
        accuracy.set_yticks(range(len(rows)), [row["run"] for row in rows])
        accuracy.set(ylim=(len(rows) - 0.5, -0.5), xlabel="test accuracy")
        time.set(xlabel="seconds of training", ylabel="validation accuracy")
        if any(curves):
            time.legend(loc="lower right")
        made.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        figures.save(made, path, title, caption)


def main(argv=None):
    """Run the command line."""
    cli.main(compare, CompareConfig, prog="python -m workbench.compare", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
