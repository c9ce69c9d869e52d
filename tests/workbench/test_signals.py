"""Ctrl-C and SIGTERM while native code calls Python, where an exception would be lost."""

import os
import signal

import pytest

from cnn_scratch.config import TrainConfig
from tests.models import build_compiled_cnn
from workbench.config import build
from workbench.data.dataset import load_dataset
from workbench.signals import delay_interrupts, interrupt_on_sigterm
from workbench.training.loop import fit


class Deleted:
    """Sends this process a signal when it is deleted. Python ignores what is raised then."""

    def __init__(self, number=signal.SIGINT):
        self._number = number

    def __del__(self):
        os.kill(os.getpid(), self._number)
        sum(range(10))  # Python calls the handler here


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_takes_effect_where_it_is_checked(number):
    with interrupt_on_sigterm(), delay_interrupts() as check:
        check()
        Deleted(number)
        with pytest.raises(KeyboardInterrupt):
            check()
        check()


def test_a_second_signal_takes_effect_at_once():
    with pytest.raises(KeyboardInterrupt), delay_interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_second_signal_that_is_lost_takes_effect_at_the_check():
    with delay_interrupts() as check:
        Deleted()
        Deleted()
        with pytest.raises(KeyboardInterrupt):
            check()


def test_a_signal_takes_effect_at_the_end_of_the_block_and_the_handlers_are_restored():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt), delay_interrupts():
        Deleted()
        raise ValueError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_training_ends_before_the_next_batch(red_and_blue):
    options = {"image_size": 32, "num_filters": 2, "dense_units": 2, "batch_size": 8, "epochs": 3}
    config = build(TrainConfig, data=str(red_and_blue), **options)
    history = []

    def interrupt(log):
        Deleted()

    with pytest.raises(KeyboardInterrupt):
        fit(
            build_compiled_cnn(config),
            load_dataset(config.data, 0),
            config.training,
            history=history,
            listeners=[interrupt],
        )
    assert len(history) == 1
