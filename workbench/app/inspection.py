"""The inspection of a data set for the page Data: it is made once, in a worker thread, and its progress can be read."""

import dataclasses
import itertools
import threading
from collections.abc import Iterable
from pathlib import Path

from workbench.app.images.photos import PhotoFinder
from workbench.data.inspecting.findings import Findings
from workbench.data.inspecting.scan import find_scanned_repeats, scan_source
from workbench.data.source import Item, Source


class Inspection:
    """An inspection that may take long.

    Args:
        photos: opens the data.
        data: value of `--data`.

    Attributes:
        done, total: images that were read, and that there are.
    """

    def __init__(self, photos: PhotoFinder, data: str) -> None:
        self._photos, self._data = photos, data
        self._lock = threading.Lock()
        self._findings: Findings | None = None
        self.done, self.total = 0, 0

    def run(self) -> Findings:
        """Return what the inspection finds; a second call returns the same.

        Raises:
            UserError: the data cannot be opened.
        """
        with self._lock:
            if self._findings is None:
                source = self._photos.open(self._data)
                self.done, self.total = 0, source.num_items
                scan = scan_source(self._count(source))
                repeats = find_scanned_repeats(scan, source.left_out)
                self._findings = Findings(source, scan, repeats, source.left_out, 0, Path())
            return self._findings

    def _count(self, source: Source) -> Source:
        """Return the source with items that are counted as they are read."""

        def load_items(start: int = 0) -> Iterable[Item]:
            for item, number in zip(source.load_items(start), itertools.count(1)):
                self.done = number
                yield item

        return dataclasses.replace(source, load_items=load_items)
