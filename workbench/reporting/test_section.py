"""The sections of a report about tests: on the run's own test images, and on other photos."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.evaluation.other_data.class_matching import list_first, name_classes
from workbench.evaluation.other_data.other_score import EVALUATIONS, list_evaluations
from workbench.evaluation.robustness.measuring import describe_worst
from workbench.evaluation.summary import LEFT_OUT
from workbench.finished_run import FinishedRun
from workbench.reporting.page import Picture, Section, load_pictures
from workbench.table import Column, Table
from workbench.wording import agree, format_count

TEST_FIGURES = ("prediction_grid", "confusion_matrix", "per_class", "reliability", "robustness", "most_wrong")
CONFUSIONS = "The most frequent confusions"
OF_EARLIER_MODEL = "of an earlier model"
_MAX_PAIRS = 10
Metrics = Mapping[str, Any]  # of a test
LoadPictures = Callable[[Sequence[Path]], list[Picture]]


def build_test_section(test: Metrics | None, figures: Sequence[Picture], *, is_old: bool = False) -> Section:
    """Build the section on the run's own test images; an empty one if they were not tested.

    Args:
        test: content of metrics.json under `test`.
        figures: of the test.
        is_old: whether the model has changed since the test.
    """
    if not test:
        return Section("test", "Test")
    first = f"{_describe_test_images(test)}: {_describe_accuracy(test)}.{_describe_leaked(test)}"
    paragraphs = [first, *_describe_more(test)]
    if is_old:
        paragraphs.insert(0, "The model has changed since then: this is the test of an earlier one. Test it again.")
    return Section("test", "Test", "\n".join(paragraphs), figures=figures, tables=_list_tables(test))


def build_evaluation_sections(run: FinishedRun, load: LoadPictures = load_pictures) -> list[Section]:
    """Build one section for each other data that the run was evaluated on.

    Args:
        run: the run.
        load: loads the figures at some paths.

    Raises:
        UserError: a saved result is damaged.
    """
    sections: list[Section] = []
    for folder, metrics in ((saved.folder, saved.metrics) for saved in list_evaluations(run)):
        evaluated = metrics["evaluated"][:1].upper() + metrics["evaluated"][1:]
        text = [f"{evaluated} ({metrics['data']}): {_describe_accuracy(metrics)}."]
        if metrics["leaked"]:
            text[0] += _describe_leaked(metrics)
        text += [*_describe_classes(metrics), *_describe_more(metrics)]
        if run.has_changed_since(metrics):
            text.insert(0, "The model has changed since then; evaluate it on these photos again.")
        figures = load([path for name in TEST_FIGURES if (path := folder / "figures" / f"{name}.png").exists()])
        heading = f"On other photos: {metrics['name']}"
        section_id = f"{EVALUATIONS}-{len(sections) + 1}"
        sections.append(Section(section_id, heading, "\n".join(text), figures=figures, tables=_list_tables(metrics)))
    return sections


def _describe_accuracy(test: Metrics) -> str:
    low, high = test["accuracy_interval"]
    return (
        f"top-1 {test['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%}), "
        f"top-{test['top_k']} {test['top_k_accuracy']:.1%}, calibration error {test['ece']:.1%}"
    )


def _describe_test_images(test: Metrics) -> str:
    """Return what is known of the test images. That nothing has seen them is said only if it was checked."""
    images = format_count(test["images"], "image")
    if test.get("leaked") == 0 and test["keeps_split"] and not test.get("unchecked_runs"):
        return f"{images} that {agree(test['images'], 'was', 'were')} used neither for training nor for any choice"
    return f"{images} of the test set"


def _describe_leaked(test: Metrics) -> str:
    """Return sentences on test images that training or a choice has seen, or may have seen."""
    if "leaked" not in test:
        return " An earlier version tested them and did not check whether they are also in the training set."
    text, leaked = "", test["leaked"]
    if leaked:
        were, them = agree(leaked, "photo was", "photos were"), agree(leaked, "it", "them")
        accuracy = test["accuracy_without_leaked"]
        text = f" {leaked:,} of these {were} also used for training or validation"
        if accuracy is None:
            text += "."
        else:
            low, high = test["interval_without_leaked"]
            text += f"; without {them} top-1 is {accuracy:.1%} (95 % interval {low:.1%} to {high:.1%})."
    if test.get("unchecked_runs"):
        text += " It is not known whether the network that was fine-tuned had been trained on some of them."
    if not test["keeps_split"]:
        text += " The run has no split.csv, so it is not known whether the data has changed since it was trained."
    return text


def _describe_classes(metrics: Metrics) -> list[str]:
    """Return sentences on how the classes of other data belong to those of the run."""
    sentences = []
    if metrics["renamed"]:
        pairs = list_first([f"'{name}' counts as '{known}'" for name, known in metrics["renamed"]])
        sentences.append(f"Some classes are spelled differently: {pairs}.")
    if metrics["only_in_run"]:
        sentences.append(f"The photos have no image of {name_classes(metrics['only_in_run'])}.")
    if metrics["only_in_data"]:
        images = format_count(metrics["foreign_images"], "image")
        sentence = f"The network does not know {name_classes(metrics['only_in_data'])} ({images}, not counted above)."
        if "foreign_unknown" in metrics:
            sentence += f" It calls {_format_share(metrics['foreign_unknown'])} of these images unknown."
        sentences.append(sentence)
    return sentences


def _describe_more(test: Metrics) -> list[str]:
    """Return one paragraph for each further result of a test: balanced scores, calibration, mirror images, robustness.

    Tests of earlier versions have none of them.
    """
    paragraphs = []
    if "macro_f1" in test:
        balanced, f1 = (
            f"{test[name]:.1%} ({low:.1%} to {high:.1%})"
            for name in ("balanced_accuracy", "macro_f1")
            for low, high in [test[f"{name}_interval"]]
        )
        paragraphs.append(
            f"Where each class counts as much as any other: balanced accuracy (mean recall) {balanced}, macro-F1 {f1}. "
            "These two 95 % intervals are by the bootstrap over images, those of shares of images by Wilson's method."
        )
    elif _is_of_one_class(test):
        paragraphs.append(f"Left out: {LEFT_OUT}.")
    if test.get("calibrated"):
        paragraphs += _describe_calibrated(test)
    if test.get("tta"):
        tta = test["tta"]
        low, high = tta["accuracy_interval"]
        paragraphs.append(
            f"If the predictions for each image and its mirror image are averaged, {tta['accuracy']:.1%} "
            f"({low:.1%} to {high:.1%}) are right, {_format_points(tta['difference'])}: it corrects "
            f"{format_count(tta['only_with'], 'image')} and spoils {tta['only_without']:,} (McNemar's test: "
            f"p {tta['p']:.2g})."
        )
    if test.get("robustness"):
        worst = min(test["robustness"], key=lambda row: row["difference"])
        paragraphs.append(
            f"On worse photos, {describe_worst(worst)}: {worst['accuracy']:.1%} are right, "
            f"{_format_points(worst['difference'])}."
        )
    return paragraphs


def _describe_calibrated(test: Metrics) -> list[str]:
    calibrated, unknown = test["calibrated"], test["calibrated"]["unknown"]
    images = format_count(calibrated["validation_images"], "validation image")
    return [
        f"Temperature scaling with {calibrated['temperature']:.2f}, fitted on {images}, changes the calibration "
        f"error on these test images from {test['ece']:.1%} to {calibrated['ece']:.1%}. Predict, explain and the live "
        "pages show the probabilities calibrated by it.",
        f"With --unknown, predict calls a prediction unknown if it is less than {unknown['threshold']:.1%} confident, "
        "a threshold that keeps 95 % of the right predictions on the validation images. On these test images this "
        f"rejects {_format_share(unknown['right_unknown'])} of the right predictions, and lets pass "
        f"{_format_share(unknown['wrong_known'])} of the wrong ones; of what is left, "
        f"{_format_share(unknown['right_of_known'])} are right.",
    ]


def _format_share(share: Metrics) -> str:
    """Return a share with its interval: `12.5 % (4 of 32; 5.0 % to 28.1 %)`."""
    low, high = share["interval"]
    if not share["of"]:
        return "none (0 of 0)"
    return f"{share['share']:.1%} ({share['count']:,} of {share['of']:,}; {low:.1%} to {high:.1%})"


def _format_points(difference: float) -> str:
    points = 100 * difference
    return f"{abs(points):.1f} points {'more' if points > 0 else 'less'}" if round(points, 1) else "as many as without"


def _is_of_one_class(test: Metrics) -> bool:
    return sum(row["images"] > 0 for row in test["per_class"]) == 1


def _list_tables(test: Metrics) -> list[Table]:
    columns = [Column("class", False), Column("images"), Column("precision"), Column("recall"), Column("F1")]
    rows = [
        [row["class"], f"{row['images']:,}", f"{row['precision']:.1%}", f"{row['recall']:.1%}", f"{row['f1']:.3f}"]
        for row in test["per_class"]
    ]
    tables = [] if _is_of_one_class(test) else [Table("Each class", columns, rows)]
    if test["confused"]:
        columns = [Column("true class", False), Column("predicted class", False), Column("images")]
        pairs = [[pair["true"], pair["predicted"], f"{pair['count']:,}"] for pair in test["confused"][:_MAX_PAIRS]]
        tables.append(Table(CONFUSIONS, columns, pairs))
    if test.get("robustness"):
        words, numbers = ("change", "strength"), ("accuracy", "95 % interval")
        columns = [*(Column(label, False) for label in words), *map(Column, numbers)]
        rows = [
            [row["corruption"], row["strength"], f"{row['accuracy']:.1%}", f"{low:.1%} to {high:.1%}"]
            for row in test["robustness"]
            for low, high in [row["accuracy_interval"]]
        ]
        tables.append(Table("Accuracy on worse photos", columns, rows))
    return tables
