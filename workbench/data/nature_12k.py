"""The home data set, the 10-class iNaturalist subset, as a TensorFlow Datasets builder."""

import io
import shutil
from pathlib import Path

import filelock
import tensorflow_datasets as tfds

from workbench.console import console, transfer_bar
from workbench.data.download import download, unpack
from workbench.data.sources import read_image_file
from workbench.data.tfds_source import data_dir, first_line, make, source_of
from workbench.errors import UserError
from workbench.files import file_hash, write_text

URL = "https://storage.googleapis.com/wandb_datasets/nature_12K.zip"
ARCHIVE_BYTES = 3_600_000_000  # about
CHECKSUMS = Path(__file__).with_name("checksums.tsv")  # TFDS' own form: URL, bytes, SHA-256, file name
CLASS_NAMES = (
    *("Amphibia", "Animalia", "Arachnida", "Aves", "Fungi"),
    *("Insecta", "Mammalia", "Mollusca", "Plantae", "Reptilia"),
)
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
        folder: holds `train/<class>/*` and `val/<class>/*`, at any depth; without it the archive is downloaded
            by TFDS itself.
    """

    name = "nature_12k"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "9,999 training and 2,000 test images."}  # noqa: RUF012 (TFDS reads this name)

    def __init__(self, *, folder=None, **kwargs):
        self._folder = folder
        super().__init__(**kwargs)

    def _info(self):
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

    def _split_generators(self, dl_manager):
        root = images_root(self._folder or dl_manager.download_and_extract(URL))
        return {"train": self._generate_examples(root / "train"), "test": self._generate_examples(root / "val")}

    def _generate_examples(self, folder):
        for label in CLASS_NAMES:
            for path in sorted((folder / label).iterdir()):
                data = None if path.name.startswith(".") or not path.is_file() else read_image_file(path)
                if data is not None:
                    key = f"{label}/{path.name}"
                    yield key, {"image": io.BytesIO(data), "image/filename": key, "label": label}


def images_root(folder):
    """The folder below `folder` that holds `train/` and `val/`, each with the ten classes.

    Raises:
        UserError: there is none, or a class is missing.
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


def open_nature_12k():
    """The source of the prepared set.

    Raises:
        UserError: it is not prepared yet.
    """
    builder = Nature12k(data_dir=data_dir())
    if not builder.is_prepared():
        raise UserError(
            f"--data nature_12k: not prepared yet in {builder.data_path}; run python -m workbench.data nature_12k "
            f"(a download of about {ARCHIVE_BYTES / 1e9:.1f} GB, or --archive FILE for a copy you have); "
            "a set prepared elsewhere is found through TFDS_DATA_DIR"
        )
    return source_of(builder, "nature_12k")


def prepare(config, url=URL):
    """Make the set ready for `--data nature_12k`: fetch, unpack, check, and write it as TFRecords.

    It lands where TensorFlow Datasets keeps its sets, $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Args:
        config: a `workbench.data.__main__.Nature12kConfig`.
        url: of the archive.

    Returns:
        Path of the prepared set.

    Raises:
        UserError: too little disk space, the download or the archive is not whole or not the right one.
    """
    if config.archive and config.folder:
        raise UserError("--archive and --folder: give one of them, the copy that you have")
    builder = Nature12k(data_dir=data_dir())
    downloads = Path(builder.data_path).parents[1] / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(downloads / "nature_12k.lock", timeout=0):
            if builder.is_prepared():
                console.print(f"nature_12k stands already in {builder.data_path}")
            else:
                _prepare(config, url, downloads)
    except filelock.Timeout:
        raise UserError(f"{downloads}: another process is preparing nature_12k; wait for it or stop it") from None
    return Path(builder.data_path)


def _prepare(config, url, downloads):
    root = images_root(config.folder) if config.folder else _unpacked(config, url, downloads)
    builder = Nature12k(data_dir=data_dir(), folder=str(root))
    for left in Path(builder.data_path).parent.glob("incomplete.*"):  # of a process that was killed
        shutil.rmtree(left)
    check_space(downloads, sum(path.stat().st_size for path in root.rglob("*") if path.is_file()), "preparing")
    try:
        make(builder)
    except Exception as error:
        raise UserError(f"nature_12k: cannot be prepared in {builder.data_path}: {first_line(error)}") from error
    shutil.rmtree(downloads / "nature_12k", ignore_errors=True)  # what it held stands in the TFRecords now
    _say_what_it_holds(builder)


def check_space(folder, needed, purpose):
    """Raises UserError where the disk of `folder` has fewer than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: {purpose} takes about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            "make room, or name a folder on another disk with TFDS_DATA_DIR=FOLDER (training reads it too)"
        )


def _unpacked(config, url, downloads):
    """The folder that holds train/ and val/, unpacked from a copy of the archive or from a download."""
    archive = Path(config.archive) if config.archive else _downloaded(downloads, url, config.register_checksum)
    if not archive.is_file():
        raise UserError(f"--archive {archive}: no such file")
    check_space(downloads, 2 * archive.stat().st_size, "unpacking and preparing")
    try:
        with transfer_bar("unpacking") as progress:
            unpack(archive, downloads / "nature_12k", progress)
        return images_root(downloads / "nature_12k")
    except UserError as error:
        if config.archive:
            raise
        archive.unlink()  # of no use, and in the way of a better one
        raise UserError(f"{error}; it was removed, the same command downloads it again") from error


def _downloaded(downloads, url, register):
    """Path of the archive, fetched now if it does not stand."""
    archive = downloads / url.rpartition("/")[2]
    if archive.exists():
        console.print(f"nature_12k: {archive} stands already")
        return archive
    registered = _registered(url)
    size = registered[0] if registered else ARCHIVE_BYTES
    part = archive.with_name(f"{archive.name}.part")
    had = part.stat().st_size if part.exists() else 0
    console.print(f"nature_12k: a download of about {size / 1e9:.1f} GB from {url}")
    console.print(f"to {archive}; stop it whenever you like, the same command goes on")
    if had:
        console.print(f"going on from {had / 1e9:.2f} GB")
    check_space(downloads, 3 * size - had, "fetching, unpacking and preparing")
    with transfer_bar("downloading") as progress:
        download(url, archive, checksum=registered, progress=progress)
    if register:
        row = [url, str(archive.stat().st_size), file_hash(archive, "sha256"), archive.name]
        others = [line for line in _checksum_lines() if line.split("\t")[0] != url]
        write_text(CHECKSUMS, "\n".join([*others, "\t".join(row)]) + "\n")
        console.print(f"registered its SHA-256 in {CHECKSUMS}: {row[2]}")
    return archive


def _checksum_lines():
    return CHECKSUMS.read_text(encoding="utf-8").splitlines() if CHECKSUMS.exists() else []


def _registered(url):
    """(bytes, SHA-256) registered for a URL, or None."""
    for line in _checksum_lines():
        fields = line.split("\t")
        if fields[0] == url:
            return int(fields[1]), fields[2]
    return None


def _say_what_it_holds(builder):
    counts = {split: builder.info.splits[split].num_examples for split in EXPECTED}
    console.print(f"nature_12k: {counts['train']:,} training and {counts['test']:,} test images")
    if counts != EXPECTED:
        console.print(f"note: the reference project's copy has {EXPECTED['train']:,} and {EXPECTED['test']:,}")
    console.print(f"prepared in {builder.data_path}; the archive is not needed any more")
    console.print("now: python -m cnn_scratch.train --data nature_12k")
