"""What `from workbench import ...` offers to programs and notebooks: the work with finished runs.

A run is given as what `train`, `tune`, `finetune` or `open_run` returned, or as the path of its folder.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from workbench.commandline.keywords import make_config
from workbench.commands import CompareConfig, EvaluateConfig, ExplainConfig, ExportConfig, PredictConfig, ReportConfig
from workbench.compare import compare_runs
from workbench.evaluate import evaluate as run_evaluate
from workbench.evaluation.comparison import ComparedRun
from workbench.evaluation.scoring import ModelMetrics
from workbench.explain import explain as run_explain
from workbench.export import Exported
from workbench.export import export as run_export
from workbench.finished_run import FinishedRun, open_run
from workbench.predict import Prediction, classify
from workbench.report import report as run_report
from workbench.sweep.finished_sweep import open_sweep

__all__ = ["compare", "evaluate", "explain", "export", "open_run", "open_sweep", "predict", "report"]

StrPath = str | os.PathLike


def evaluate(run: StrPath, **options: str | bool | None) -> ModelMetrics:
    """Test a run on the held-out images, and return the metrics: `accuracy`, `accuracy_interval`, `per_class`, ...

    Args:
        run: the run.
        options: those of `python -m workbench.evaluate`: `data`, `tta`, `robustness`, `out`.

    Raises:
        UserError: the run cannot be opened, or its data has no test image.
    """
    return run_evaluate(make_config(EvaluateConfig, "evaluate", {"run": run, **_list_places(run), **options}))


def explain(run: StrPath, images: StrPath | Sequence[StrPath] = (), **options: str | int | None) -> list[Path]:
    """Draw the figures that explain a network, and return their paths.

    Args:
        run: the run.
        images: file of an image to explain, or several; by default the validation images that are most wrong.
        options: those of `python -m workbench.explain`, such as `layer="block5_activation"`, `photos=3`.

    Raises:
        UserError: the run, an image or the layer cannot be used.
    """
    files = _list_paths(images)
    given = {"image": files} if files else {}
    return run_explain(make_config(ExplainConfig, "explain", {"run": run, **_list_places(run), **given, **options}))


def predict(run: StrPath, images: StrPath | Sequence[StrPath], **options: int) -> list[Prediction]:
    """Classify image files, and return the most probable classes of each. Files that cannot be read are left out.

    Args:
        run: the run.
        images: a file, a folder whose images are all classified, or several of them.
        options: those of `python -m workbench.predict`: `top_k`, `batch_size`.

    Raises:
        UserError: the run cannot be opened, an option is out of range, or there are no images.
    """
    config = make_config(PredictConfig, "predict", {"run": run, "images": _list_paths(images), **options})
    return [prediction for batch in classify(open_run(run), config, []) for prediction in batch]


def export(run: StrPath, format: str = "savedmodel", **options: str | float | None) -> Exported:
    """Write a run's model in another format, and return what the export costs in accuracy.

    Args:
        run: the run.
        format: `savedmodel`, `litert`, `onnx` or `openvino`.
        options: those of `python -m workbench.export`, such as `precision="int8"`, `tolerance=0.02`.

    Raises:
        UserError: the run cannot be opened, a library is missing, or the export is worse than allowed.
    """
    places = _list_places(run)
    if "out" in places:
        places["output"] = Path(places.pop("out")) / "export"
    return run_export(make_config(ExportConfig, "export", {"run": run, "format": format, **places, **options}))


def compare(runs: Sequence[StrPath], **options: str) -> list[ComparedRun]:
    """Compare runs on the same test images, and return one entry for each; the others are tested against the first.

    Args:
        runs: at least two.
        options: those of `python -m workbench.compare`: `output`, a folder.

    Raises:
        UserError: there are fewer than two runs, a run cannot be opened, or they were tested on different images.
    """
    given = _list_paths(runs)
    config = make_config(CompareConfig, "compare", {"runs": given, **options})
    return compare_runs([run if isinstance(run, FinishedRun) else open_run(run) for run in given], config.output)


def report(run: StrPath, **options: str | None) -> Path:
    """Make the report of a run or a sweep, and return its path.

    Args:
        run: the run.
        options: those of `python -m workbench.report`: `out`, a folder.

    Raises:
        UserError: the folder is not a run folder, or is incomplete.
    """
    places = {name: value for name, value in _list_places(run).items() if name == "out"}
    return run_report(make_config(ReportConfig, "report", {"run": run, **places, **options}))


def _list_paths(paths: StrPath | Sequence[StrPath]) -> list[StrPath]:
    """Return the paths as a list, also where only one is given: `list` would divide a text into its letters."""
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths)


def _list_places(run: StrPath) -> dict[str, StrPath]:
    """Return the options `data` and `out` of an opened run, which its path alone does not say."""
    places = (("data", run.moved_data), ("out", run.output)) if isinstance(run, FinishedRun) else ()
    return {name: value for name, value in places if value is not None}
