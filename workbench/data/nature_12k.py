"""Prepare the data set nature_12k, a 10-class subset of iNaturalist, as a TensorFlow Datasets builder.

`workbench.data.tfds_source.open_nature_12k` reads what is written here.
"""

import dataclasses
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import tensorflow_datasets as tfds

from workbench.cache import find_cache_dir
from workbench.commandline.calls import format_call
from workbench.console import console, show_transfer
from workbench.data.config import Nature12kConfig
from workbench.data.download import Checksum, compute_checksum, download, unpack
from workbench.data.folder_source import read_image_file
from workbench.data.tfds_source import (
    NATURE_12K,
    NATURE_12K_VERSION,
    download_and_prepare,
    find_data_dir,
    get_first_line,
)
from workbench.errors import UserError
from workbench.files import read_json, write_json

URL = "https://storage.googleapis.com/wandb_datasets/nature_12K.zip"
ARCHIVE_BYTES = 3_600_000_000  # about
CLASS_NAMES = (
    *("Amphibia", "Animalia", "Arachnida", "Aves", "Fungi"),
    *("Insecta", "Mammalia", "Mollusca", "Plantae", "Reptilia"),
)
Examples = Iterator[tuple[str, dict[str, Any]]]  # (key, features)
EXPECTED = {"train": 9_999, "test": 2_000}
_CITATION = """\
@inproceedings{vanhorn2018inaturalist,
  title     = {The {iNaturalist} Species Classification and Detection Dataset},
  author    = {Van Horn, Grant and Mac Aodha, Oisin and Song, Yang and Cui, Yin and Sun, Chen and Shepard, Alex
               and Adam, Hartwig and Perona, Pietro and Belongie, Serge},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages     = {8769--8778},
  year      = {2018}
}
"""


class Nature12k(tfds.core.GeneratorBasedBuilder):
    """12,000 photos of 10 classes of living things, a subset of iNaturalist.

    Args:
        folder: holds `train/<class>/*` and `val/<class>/*`, at any depth; without it TensorFlow Datasets downloads the
            archive itself.
    """

    name = NATURE_12K
    VERSION = tfds.core.Version(NATURE_12K_VERSION)
    RELEASE_NOTES = {NATURE_12K_VERSION: "9,999 training and 2,000 test images."}  # noqa: RUF012 (TFDS reads this name)

    def __init__(self, *, folder: str | None = None, **kwargs: Any) -> None:
        self._folder = folder
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="A 10-class subset of iNaturalist: 9,999 training and 2,000 test photos (200 a class).",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "image/filename": tfds.features.Text(),
                    "label": tfds.features.ClassLabel(names=CLASS_NAMES),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://github.com/visipedia/inat_comp",
            citation=_CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Examples]:
        root = find_images_root(self._folder or dl_manager.download_and_extract(URL))
        return {"train": self._generate_examples(root / "train"), "test": self._generate_examples(root / "val")}

    def _generate_examples(self, folder: Path) -> Examples:
        for label in CLASS_NAMES:
            for path in sorted((folder / label).iterdir()):
                data = None if path.name.startswith(".") or not path.is_file() else read_image_file(path)
                if data is not None:
                    key = f"{label}/{path.name}"
                    yield key, {"image": io.BytesIO(data), "image/filename": key, "label": label}


def find_images_root(folder: str | Path) -> Path:
    """Return the folder, `folder` or one below it, that holds `train/` and `val/`, each with the ten classes.

    Raises:
        UserError: there is no such folder, or a class is missing.
    """
    folder = Path(folder)
    for root in (folder, *sorted(path.parent for path in folder.glob("**/train") if "__MACOSX" not in path.parts)):
        if (root / "train").is_dir() and (root / "val").is_dir():
            break
    else:
        raise UserError(f"{folder}: does not hold the folders train/ and val/ of nature_12k")
    for part in ("train", "val"):
        for name in CLASS_NAMES:
            if not (root / part / name).is_dir():
                raise UserError(f"{root / part}: the class folder {name} of nature_12k is missing")
    return root


def prepare(config: Nature12kConfig, url: str = URL) -> Path:
    """Download, unpack and check nature_12k, and write it as TFRecords for `--data nature_12k`.

    The set is written where TensorFlow Datasets keeps its sets, $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Args:
        config: says which copy to use instead of a download.
        url: of the archive.

    Returns:
        Path of the prepared set.

    Raises:
        UserError: there is too little disk space, or the archive is damaged or another one.
    """
    if config.archive and config.folder:
        raise UserError("--archive and --folder: give only one of them, the copy that you have")
    builder = Nature12k(data_dir=find_data_dir())
    downloads = Path(builder.data_path).parents[1] / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(downloads / "nature_12k.lock", timeout=0):
            if builder.is_prepared():
                console.print(f"nature_12k is already prepared in {builder.data_path}")
            else:
                _prepare(config, url, downloads)
    except filelock.Timeout:
        raise UserError(f"{downloads}: another process is preparing nature_12k; wait for it or stop it") from None
    return Path(builder.data_path)


def _prepare(config: Nature12kConfig, url: str, downloads: Path) -> None:
    root = find_images_root(config.folder) if config.folder else _unpack_archive(config, url, downloads)
    builder = Nature12k(data_dir=find_data_dir(), folder=str(root))
    for incomplete in Path(builder.data_path).parent.glob("incomplete.*"):  # of a process that was killed
        shutil.rmtree(incomplete)
    check_space(downloads, sum(path.stat().st_size for path in root.rglob("*") if path.is_file()), "preparing")
    try:
        download_and_prepare(builder)
    except Exception as error:
        raise UserError(f"nature_12k: cannot be prepared in {builder.data_path}: {get_first_line(error)}") from error
    shutil.rmtree(downloads / "nature_12k", ignore_errors=True)  # the TFRecords hold the images now
    counts = {split: builder.info.splits[split].num_examples for split in EXPECTED}
    console.print(f"nature_12k: {counts['train']:,} training and {counts['test']:,} test images")
    if counts != EXPECTED:
        console.print(f"note: the reference project's copy has {EXPECTED['train']:,} and {EXPECTED['test']:,}")
    console.print(f"prepared in {builder.data_path}; the archive is not needed any more")
    console.print(f"next: {format_call('cnn_scratch.train')} --data nature_12k")


def check_space(folder: Path, needed: float, purpose: str) -> None:
    """Check that the disk of a folder has `needed` bytes left.

    Raises:
        UserError: it has fewer.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: {purpose} takes about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            "make room, or name a folder on another disk with TFDS_DATA_DIR=FOLDER (training reads it too)"
        )


def _unpack_archive(config: Nature12kConfig, url: str, downloads: Path) -> Path:
    """Unpack the user's copy of the archive, or a download; return the folder that holds train/ and val/."""
    archive = Path(config.archive) if config.archive else _download_archive(url, downloads)
    if not archive.is_file():
        raise UserError(f"--archive {archive}: no such file")
    check_space(downloads, 2 * archive.stat().st_size, "unpacking and preparing")
    try:
        with show_transfer("unpacking") as progress:
            unpack(archive, downloads / "nature_12k", progress)
        root = find_images_root(downloads / "nature_12k")
    except UserError as error:
        if config.archive:
            raise
        archive.unlink()  # it is useless, and a better one needs its place
        raise UserError(f"{error}; it was removed, the same command downloads it again") from error
    if not config.archive:
        write_known_checksum(url, compute_checksum(archive))
    return root


def _download_archive(url: str, downloads: Path) -> Path:
    """Return the path of the archive; download it if it is not there."""
    archive = downloads / url.rpartition("/")[2]
    if archive.exists():
        console.print(f"nature_12k: {archive} is already downloaded")
        return archive
    checksum = read_known_checksum(url)
    size = checksum.size if checksum else ARCHIVE_BYTES
    part = archive.with_name(f"{archive.name}.part")
    had = part.stat().st_size if part.exists() else 0
    console.print(f"nature_12k: a download of about {size / 1e9:.1f} GB from {url}")
    console.print(f"to {archive}; you can stop it at any time, the same command continues it")
    if checksum:
        console.print(f"it must have the checksum of the last download, noted in {find_checksums_file()}")
    if had:
        console.print(f"continuing from {had / 1e9:.2f} GB")
    check_space(downloads, 3 * size - had, "downloading, unpacking and preparing")
    with show_transfer("downloading") as progress:
        download(url, archive, checksum=checksum, progress=progress)
    return archive


def find_checksums_file() -> Path:
    """Return the file in the user's cache folder that holds the checksums of complete downloads, by URL."""
    return find_cache_dir() / "checksums.json"


def read_known_checksum(url: str) -> Checksum | None:
    """Return the checksum that the last complete download of a URL had, or None."""
    known = (read_json(find_checksums_file()) or {}).get(url)
    return Checksum(**known) if known else None


def write_known_checksum(url: str, checksum: Checksum) -> None:
    """Note the checksum of a complete download, which later downloads of the URL must have."""
    path = find_checksums_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**(read_json(path) or {}), url: dataclasses.asdict(checksum)})
