"""Work on all cores: results in order, few items at a time, the first error ends it."""

import os
import threading
import time

import pytest

from workbench.data.thread_pool import map_in_order


def test_results_are_in_the_order_of_the_items():
    def slow_first(number):
        time.sleep(0.02 if number % 7 == 0 else 0)
        return 10 * number

    assert list(map_in_order(slow_first, range(100))) == [10 * number for number in range(100)]
    assert list(map_in_order(slow_first, [])) == []


def test_few_items_are_taken_before_their_results_are():
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield taken[-1]

    results = map_in_order(lambda number: number, endless())
    assert [next(results) for _ in range(10)] == list(range(10))
    assert len(taken) < 10_000
    results.close()


def test_an_error_is_raised_where_its_result_would_be():
    def broken(number):
        if number == 5:
            raise ValueError("five")
        return number

    results = map_in_order(broken, range(1000))
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(ValueError, match="five"):
        next(results)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_more_than_one_thread_works():
    meeting = threading.Barrier(2, timeout=10)  # each waits until the other has come
    assert len(list(map_in_order(lambda _: meeting.wait(), range(2)))) == 2
