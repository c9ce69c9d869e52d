"""The actor through which workers call the command, so that no port has to be opened for that."""

import asyncio
import itertools
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

Message = tuple[bytes, list["ray.ObjectRef"]]  # pickled values, and references to large ones in the object store
Call = tuple[int, str, Message]  # number of the call, name of the worker, method and arguments
_MOST_WAITING = 100_000  # workers that wait for an answer at the same time


class Mailbox:
    """Passes the calls of workers to the command, and its answers back. It does not look into them."""

    def __init__(self) -> None:
        self._numbers, self._new = itertools.count(), asyncio.Event()
        self._calls: list[Call] = []
        self._answers: dict[int, asyncio.Future[Message]] = {}

    async def ask(self, worker: str, call: Message) -> Message:
        """Call the command, and wait for its answer. For workers."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._calls.append((number, worker, call))
        self._new.set()
        try:
            return await answer
        finally:
            del self._answers[number]

    async def collect(self, patience: float) -> list[Call]:
        """Return the calls that have come, none after `patience` seconds. For the command."""
        try:
            await asyncio.wait_for(self._new.wait(), patience)
        except TimeoutError:
            return []
        self._new.clear()
        calls, self._calls = self._calls, []
        return calls

    async def answer(self, number: int, answer: Message) -> None:
        """Answer a call. For the command."""
        waiting = self._answers.get(number)
        if waiting and not waiting.done():
            waiting.set_result(answer)


def start_mailbox() -> Any:
    """Start a mailbox on the node of this process, on which it depends anyway."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Mailbox).options(num_cpus=0, max_concurrency=_MOST_WAITING, scheduling_strategy=here).remote()
