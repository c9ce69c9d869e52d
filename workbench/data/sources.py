"""Open the source that a `--data` value names."""

from pathlib import Path

from workbench.data.folder_source import open_folder
from workbench.data.manifest_source import open_manifest
from workbench.data.source import UNSPLIT, Item, Source
from workbench.data.table_file import SUFFIXES
from workbench.data.tfds_source import PREFIX, open_nature_12k, open_tfds
from workbench.errors import UserError


def open_source(spec: str, min_classes: int = 2) -> Source:
    """Return the source for `digits`, `nature_12k`, `tfds:NAME[:VERSION]`, or the path of a folder or a CSV file.

    Args:
        spec: value of `--data`.
        min_classes: number of classes that a folder or a CSV file must have; 1 where nothing is trained on it.

    Raises:
        UserError: there is no such data, or it is not laid out as images with one label each.
    """
    if spec in NAMED:
        return NAMED[spec]()
    if spec.startswith(PREFIX):
        return open_tfds(spec)
    root = Path(spec).expanduser()
    if not root.exists():
        known = ", ".join(NAMED)
        kind = "file" if root.suffix.lower() in SUFFIXES else "folder"
        raise UserError(
            f"--data {spec}: no such {kind}; give a folder of class folders, a CSV file, {known}, or tfds:NAME"
        )
    if root.is_dir():
        return open_folder(root.resolve(), min_classes)
    if root.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"--data {spec}: is a file; give the folder that holds one folder of images a class, or a CSV file "
            "with the columns image,label"
        )
    return open_manifest(root, min_classes)


def open_digits() -> Source:
    """Return scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, which need no download."""

    def load_items(start: int = 0) -> list[Item]:
        from sklearn.datasets import load_digits  # here, because scikit-learn takes a second to import

        digits = load_digits()
        images = (digits.images * (255 / 16)).astype("uint8")
        return [
            Item.from_data(f"digit-{index:04d}", int(label), UNSPLIT, image)
            for index, (image, label) in enumerate(zip(images, digits.target, strict=True))
        ][start:]

    return Source("digits", [str(digit) for digit in range(10)], "scikit-learn digits 1797", 1797, load_items)


NAMED = {"digits": open_digits, "nature_12k": open_nature_12k}
