"""The options of `python -m workbench.data`'s commands; importing this module loads nothing heavy."""

import dataclasses

from workbench import cli


@dataclasses.dataclass(frozen=True)
class Nature12kConfig:
    """The source of nature_12k.

    Args:
        archive: A copy of nature_12K.zip that you have already; without it the archive is downloaded (3.6 GB).
        folder: The unpacked archive, if you have that already: it holds train/ and val/.
    """

    archive: str | None = None
    folder: str | None = None


@dataclasses.dataclass(frozen=True)
class InspectConfig:
    """Inspection.

    Args:
        data: Data to look through, as for training: a folder, a CSV file, `nature_12k`, `tfds:NAME[:VERSION]`,
            or `digits`.
        page: HTML file to write; by default inspect-NAME.html in the working folder.
        fix_splits: List the held-out images that are also in the training set in the data's left_out.csv, which
            every later command leaves out; without a split, all images of a photo but the first one. No image is moved
            or deleted.
    """

    data: str = cli.positional()
    page: str | None = None
    fix_splits: bool = False


@dataclasses.dataclass(frozen=True)
class LabelsConfig:
    """Labels.

    Args:
        runs: Folder of a training with --folds, which has predictions for all training and validation images; or of a
            sweep or another run, for its validation images. The predictions of several are averaged.
        out: Folder for labels.html and labels.csv; by default labels/ in the first run's folder.
        data: Where the data is now, if it has moved.
    """

    runs: list[str] = cli.positional([])
    out: str | None = None
    data: str | None = None
