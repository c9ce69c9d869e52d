"""A function applied to many items on all cores, with results in order and few items in memory at a time."""

import collections
import concurrent.futures
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from workbench.runtime import count_cores

Input = TypeVar("Input")
Output = TypeVar("Output")
_AHEAD = 16  # items that each thread may be ahead of the results that were taken


def map_in_order(function: Callable[[Input], Output], items: Iterable[Input]) -> Iterator[Output]:
    """Yield `function(item)` for each item, in their order, computed by as many threads as there are cores.

    This helps where the work releases Python's lock, as hashing and Pillow's decoding and resizing do.
    """
    threads = count_cores()
    items = iter(items)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        window = collections.deque(pool.submit(function, item) for item in itertools.islice(items, _AHEAD * threads))
        while window:
            yield window.popleft().result()
            window.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
