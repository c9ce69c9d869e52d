"""Photos of other data that a run was trained or validated on: identical files, and near-duplicates."""

import numpy as np

from workbench.console import console, show_decoding
from workbench.data.source import TEST
from workbench.data.sources import open_source
from workbench.data.splits.earlier_runs import UsedImage, find_used_images
from workbench.data.splits.leaks import find_copies
from workbench.data.store import Store, open_store
from workbench.errors import UserError
from workbench.finished_run import FinishedRun


def find_seen_photos(run: FinishedRun, store: Store) -> dict[int, str]:
    """Return row of a store -> the run and the image in it that shows the same photo, such as `runs/a: rose/3.jpg`.

    Near-duplicates are found by comparing the images with those of the run's data; if these cannot be read, the reason
    is printed, and only identical files are found. So it is for the images of the runs that the network was taken from.

    Args:
        run: the run; images that it only tests do not count.
        store: other images, of the size and the resize mode of the run's.

    Raises:
        UserError: a split.csv is damaged.
    """
    used = {digest: use for digest, use in find_used_images(str(run.path)).items() if use.is_leak(TEST)}
    seen = _find_near_duplicates(run, store, used) if used else {}
    return seen | {row: used[digest].description for row, digest in enumerate(store.digests) if digest in used}


def _find_near_duplicates(run: FinishedRun, store: Store, used: dict[str, UsedImage]) -> dict[int, str]:
    config = run.data_config
    try:
        own = open_store(open_source(config.data), run.image_size, config.resize, config.cache_dir, show_decoding)
    except UserError as error:
        console.print(f"only identical files are compared with those of {run.path}, whose data cannot be read: {error}")
        return {}
    uses = [used.get(digest) for digest in own.digests]
    is_used = np.array([use is not None for use in uses])
    descriptions = {row: use.description for row, use in enumerate(uses) if use}
    return {row: descriptions[other] for row, other in find_copies(store, own, is_used).items()}
