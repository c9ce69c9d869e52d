"""The options of the commands in this package. Importing this module loads nothing heavy."""

import dataclasses
import importlib.util
from typing import Literal

from workbench import cli
from workbench.data.config import InspectConfig, LabelsConfig, Nature12kConfig
from workbench.errors import UserError


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate.

    Args:
        run: Folder of a finished run or sweep.
        data: Other photos to evaluate the run on, or where its own data is now, if it has moved; the content of the
            images decides which of the two it is.
        tta: Also average the prediction of each image with that of its mirror image, and compare.
        robustness: Also test blurred, noisy, compressed, dark and small versions of the images; takes 16 times as long.
        out: Folder for the results, figures and report; by default the run folder.
    """

    run: str = cli.positional("")
    data: str | None = None
    tta: bool = False
    robustness: bool = False
    out: str | None = None


@dataclasses.dataclass(frozen=True)
class ExplainConfig:
    """Explain.

    Args:
        run: Folder of a finished run or sweep.
        image: Image file to explain, or several; by default the validation images that are most wrong.
        layer: Name of the layer to explain; by default the last layer of rectified feature maps.
        photos: Number of validation images to explain, the most wrong ones.
        data: Where the run's data is now, if it has moved.
        out: Folder for the figures and the report; by default the run folder.
    """

    run: str = cli.positional("")
    image: list[str] = cli.positional([], optional=True)
    layer: str | None = None
    photos: int = 6
    data: str | None = None
    out: str | None = None


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Predict.

    Args:
        run: Folder of a finished run or sweep.
        images: Image files, and folders whose images are all classified, including those in subfolders. Links to
            folders in them are not followed.
        top_k: Number of classes to print for each image.
        json: Print one JSON object per line instead of a table.
        unknown: Print "unknown" where the network is less confident than the threshold that `workbench.evaluate` has
            chosen on the validation images.
        batch_size: Images in one step.
    """

    run: str = cli.positional("")
    images: list[str] = cli.positional([])
    top_k: int = 3
    json: bool = False
    unknown: bool = False
    batch_size: int = 32


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """Compare.

    Args:
        runs: Folders of finished runs or sweeps; the others are tested against the first one.
        output: Folder of the comparison.
    """

    runs: list[str] = cli.positional([])
    output: str = "comparison"


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Export.

    Args:
        run: Folder of a finished run or sweep.
        format: `savedmodel` for TensorFlow Serving, `litert` (also called `tflite`) for phones, `onnx` for ONNX
            Runtime, `openvino` for Intel's processors, `space` for a page of its own: a Hugging Face Space with Gradio.
        output: Folder in which the export is saved; by default export/ in the run folder, export/ensemble/ for an
            ensemble.
        data: Where the run's data is now, if it has moved.
        precision: Number format of the weights: `float16` makes the file half as large (litert, onnx, openvino), `int8`
            a quarter (litert, onnx).
        tolerance: How much accuracy on validation images the export may lose, as a share of the images; if it loses
            more, nothing is written.
        ensemble: Export the ensemble of a sweep's kept trials as one model, in place of the best trial's.
    """

    run: str = cli.positional("")
    format: Literal["savedmodel", "litert", "tflite", "onnx", "openvino", "space"] = "savedmodel"
    output: str | None = None
    data: str | None = None
    precision: Literal["float32", "float16", "int8"] = "float32"
    tolerance: float = 0.01
    ensemble: bool = False


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Report.

    Args:
        run: Folder of a run or a sweep, finished or not.
        out: Folder for the report and its figures; by default the run folder.
    """

    run: str = cli.positional("")
    out: str | None = None


@dataclasses.dataclass(frozen=True)
class AppConfig:
    """Pages.

    Args:
        runs_dir: Folder of the runs and sweeps to show.
        data: Data to look through on the page Data, besides the data of the runs: a folder, a CSV file, or `digits`;
            may be given several times.
        host: Address to listen at. Other than the default, it lets other machines see your runs and photos, stop
            and continue sweeps, and change decisions on labels.
        port: Port to listen at.
        show: Open the first page in the browser.
    """

    runs_dir: str = "runs"
    data: list[str] = dataclasses.field(default_factory=list)
    host: str = "127.0.0.1"
    port: int = 8080
    show: bool = True


def check_app(config: AppConfig) -> None:
    """Refuse to open the pages where a library that they need is missing.

    Raises:
        UserError: names the libraries.
    """
    missing = [name for name in ("nicegui", "plotly") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"the pages need {' and '.join(missing)}; pip install {' '.join(missing)}")


def check_run(config: EvaluateConfig | ExplainConfig | PredictConfig | ExportConfig) -> None:
    """Refuse a folder that is not that of one run. Commands call this before they import TensorFlow, which is slow.

    Raises:
        UserError: the run cannot be opened, or is a cross-validation.
    """
    from workbench.finished_run import open_run  # imported late: a help text must not wait for it

    open_run(config.run).check_is_single()


def needs_keras_model(config: PredictConfig) -> bool:
    """Return whether a prediction needs TensorFlow; a few images and a small model that was used before do not."""
    from workbench.evaluation.model_copy import open_copy  # imported late: a help text must not wait for it
    from workbench.finished_run import open_run

    return open_copy(open_run(config.run), config.images) is None


EVALUATE = cli.Command(EvaluateConfig, "workbench.evaluate:evaluate", before=check_run)
EXPLAIN = cli.Command(ExplainConfig, "workbench.explain:explain", before=check_run)
PREDICT = cli.Command(
    PredictConfig,
    "workbench.predict:predict_or_exit",
    before=check_run,
    needs_tensorflow=needs_keras_model,
    prints_data=True,
)
COMPARE = cli.Command(CompareConfig, "workbench.compare:compare", needs_tensorflow=False)
EXPORT = cli.Command(ExportConfig, "workbench.export:export", before=check_run)
REPORT = cli.Command(ReportConfig, "workbench.report:report", needs_tensorflow=False)
APP = cli.Command(AppConfig, "workbench.app:open_pages", before=check_app, needs_tensorflow=False)
DATA = cli.Group(
    "Prepare the data set nature_12k, and look through any data set before training on it.",
    {
        "nature_12k": cli.Command(
            Nature12kConfig,
            "workbench.data.nature_12k:prepare",
            "Download and prepare the 10-class iNaturalist subset for --data nature_12k.",
            use_gpu=False,
        ),
        "inspect": cli.Command(
            InspectConfig,
            "workbench.data.inspecting.inspection:inspect",
            "Count, measure and look through a data set: unreadable files, duplicates, leaks; write a page.",
            needs_tensorflow=False,
        ),
        "labels": cli.Command(
            LabelsConfig,
            "workbench.labels.search:search_labels",
            "Find labels that are probably wrong, by models that have not seen the images; write a page and a table.",
            needs_tensorflow=False,
        ),
    },
)
