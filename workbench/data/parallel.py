"""A function over many items on all cores, with results in order and few items in memory at a time."""

import collections
import concurrent.futures
import itertools
import os

_AHEAD = 16  # items in work for each thread


def in_order(function, items):
    """Results of `function` for each of `items`, in their order, from as many threads as there are cores.

    Of use where the work goes on outside Python's lock, as Pillow's decoding and resizing and hashing do.
    """
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    items = iter(items)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        window = collections.deque(pool.submit(function, item) for item in itertools.islice(items, _AHEAD * threads))
        while window:
            yield window.popleft().result()
            window.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
